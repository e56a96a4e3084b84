"""Bradley–Terry strengths from comparisons, with intervals in which prompts are clusters.

Owns the fit, its sandwich variance, and the difference of two fits over the same prompts. What is compared is owned by
``data.strength`` and ``data.bias``.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.core.statistics import Estimate, t_quantile

__all__ = ["Comparisons", "Strengths", "bradley_terry", "differences"]

_STEPS = 100
_TOLERANCE = 1e-10

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Comparisons:
    """Comparisons of named players, as columns."""

    names: tuple[str, ...]
    first: Indices
    """Number of the first player of each comparison."""
    second: Indices
    outcome: Floats
    """1 when the first wins, 0 when the second does, ½ for a tie."""
    cluster: Indices
    """Number of the prompt that each belongs to."""

    @classmethod
    def make(cls, rows: Sequence[tuple[str, str, float, Hashable]]) -> "Comparisons":
        """Columns out of rows: first player, second player, outcome, cluster. Players are in alphabetical order.

        Raises:
            DataError: if a player meets itself, or an outcome is not between 0 and 1.
        """
        for first, second, outcome, _ in rows:
            if first == second or not 0 <= outcome <= 1:
                raise DataError(f"'{first}' against '{second}' with outcome {outcome} is no comparison of two players")
        names = sorted({name for first, second, *_ in rows for name in (first, second)})
        number = {name: index for index, name in enumerate(names)}
        clusters: dict[Hashable, int] = {}
        return cls(
            tuple(names),
            np.array([number[row[0]] for row in rows], dtype=np.intp),
            np.array([number[row[1]] for row in rows], dtype=np.intp),
            np.array([row[2] for row in rows], dtype=np.float64),
            np.array([clusters.setdefault(row[3], len(clusters)) for row in rows], dtype=np.intp),
        )

    def between(self, kept: set[str]) -> "Comparisons":
        """Only those between some players. Clusters keep their numbers."""
        inside = np.array([name in kept for name in self.names], dtype=bool)
        rows = inside[self.first] & inside[self.second]
        renumbered = np.cumsum(inside) - 1
        return Comparisons(
            tuple(name for name in self.names if name in kept),
            renumbered[self.first[rows]],
            renumbered[self.second[rows]],
            self.outcome[rows],
            self.cluster[rows],
        )

    def comparable(self) -> set[str]:
        """The largest group of players in which each has beaten each over some chain of wins; a tie is half a win.

        Outside it no strength is finite: who has only won, or only lost, could be as strong or as weak as one likes
        (Ford 1957, American Mathematical Monthly 64).
        """
        size = len(self.names)
        reach = np.eye(size, dtype=bool)
        reach[self.first[self.outcome > 0], self.second[self.outcome > 0]] = True
        reach[self.second[self.outcome < 1], self.first[self.outcome < 1]] = True
        for middle in range(size):
            reach |= reach[:, [middle]] & reach[[middle], :]
        mutual = reach & reach.T
        if not size:
            return set()
        best = int(mutual.sum(axis=1).argmax())
        group = {name for name, there in zip(self.names, mutual[best], strict=True) if there}
        return group if len(group) > 1 else set()


@dataclass(frozen=True)
class Strengths:
    """Strengths on the logit scale, relative to the mean of all players in the fit."""

    of: dict[str, Estimate]
    """Player → log-strength. Two players a, b: P(a beats b) = 1 / (1 + exp(b − a))."""
    without: tuple[str, ...]
    """Players of no finite strength, left out with their comparisons: see ``Comparisons.comparable``."""
    influence: Floats
    """Clusters × players: what each cluster moves each strength by, for differences."""


def bradley_terry(comparisons: Comparisons, kept: set[str] | None = None) -> Strengths | None:
    """Fit strengths by maximum likelihood, with a sandwich variance over clusters.

    With θ the strengths, p = 1 / (1 + exp(θ_b − θ_a)) for a comparison of a with b, y its outcome, and e_a a unit
    vector::

        u_g = Σ_{i in g} (y_i − p_i)(e_a − e_b)        A = Σ_i p_i (1 − p_i)(e_a − e_b)(e_a − e_b)ᵀ
        θ solves Σ_g u_g = 0 with Σ θ = 0              Var θ = G/(G−1) · Σ_g (A⁺ u_g)(A⁺ u_g)ᵀ
        interval = θ ± t(.975, G − 1) · se

    Sources: Bradley and Terry (1952), Biometrika 39; for the variance Liang and Zeger (1986), Biometrika 73.

    Args:
        comparisons: all of them.
        kept: players to fit; by default those that are comparable.

    Returns:
        None with fewer than two comparable players or fewer than two clusters.
    """
    kept = comparisons.comparable() if kept is None else kept
    inside = comparisons.between(kept)
    clusters = np.unique(inside.cluster)
    if len(inside.names) < 2 or len(clusters) < 2:
        return None
    theta, inverse = _fitted(inside)
    residual = inside.outcome - _won(theta, inside)
    size, players = int(comparisons.cluster.max()) + 1, len(inside.names)
    moved = np.zeros((size, players))
    np.add.at(moved, (inside.cluster, inside.first), residual)
    np.add.at(moved, (inside.cluster, inside.second), -residual)
    influence = moved @ inverse
    found = _estimates(theta, influence, len(inside.outcome), len(clusters))
    without = tuple(sorted(set(comparisons.names) - kept))
    return Strengths(dict(zip(inside.names, found, strict=True)), without, influence)


def differences(a: Comparisons, b: Comparisons) -> dict[str, Estimate]:
    """Strength in ``a`` minus strength in ``b``, for players that are comparable in both, largest first.

    Both must number the same prompts alike. A prompt moves both fits; its influences are subtracted before they are
    squared, so that what the two share is no noise.
    """
    kept = a.comparable() & b.comparable()
    # Of the players comparable in both, some may be so only by way of others; then the group shrinks until it holds.
    while (smaller := a.between(kept).comparable() & b.between(kept).comparable()) != kept:
        kept = smaller
    first, second = bradley_terry(a, kept), bradley_terry(b, kept)
    if first is None or second is None:
        return {}
    size = max(len(first.influence), len(second.influence))
    influence = _padded(first.influence, size) - _padded(second.influence, size)
    groups = len(np.union1d(a.between(kept).cluster, b.between(kept).cluster))
    names = sorted(kept)
    moved = np.array([first.of[name].mean - second.of[name].mean for name in names])
    found = _estimates(moved, influence, first.of[names[0]].n, groups)
    return dict(sorted(zip(names, found, strict=True), key=lambda item: -item[1].mean))


def _fitted(comparisons: Comparisons) -> tuple[Floats, Floats]:
    """Strengths and the pseudo-inverse of the information matrix, by Newton's method with halved steps."""
    players = len(comparisons.names)
    theta = np.zeros(players)
    for _ in range(_STEPS):
        won = _won(theta, comparisons)
        residual = comparisons.outcome - won
        slope = np.bincount(comparisons.first, residual, players) - np.bincount(comparisons.second, residual, players)
        step = np.linalg.pinv(_information(won, comparisons), hermitian=True) @ slope
        now = _likelihood(theta, comparisons)
        while _likelihood(theta + step, comparisons) < now - 1e-9 * abs(now) and np.abs(step).max() > _TOLERANCE:
            step /= 2
        theta = theta + step - step.mean()
        if np.abs(step).max() <= _TOLERANCE:
            break
    return theta, np.linalg.pinv(_information(_won(theta, comparisons), comparisons), hermitian=True).astype(np.float64)


def _won(theta: Floats, comparisons: Comparisons) -> Floats:
    won: Floats = 1 / (1 + np.exp(theta[comparisons.second] - theta[comparisons.first]))
    return won


def _likelihood(theta: Floats, comparisons: Comparisons) -> float:
    ahead = theta[comparisons.first] - theta[comparisons.second]
    return float(-np.logaddexp(0, -ahead) @ comparisons.outcome - np.logaddexp(0, ahead) @ (1 - comparisons.outcome))


def _information(won: Floats, comparisons: Comparisons) -> Floats:
    players = len(comparisons.names)
    weight = won * (1 - won)
    matrix = np.zeros((players, players))
    np.add.at(matrix, (comparisons.first, comparisons.second), -weight)
    matrix += matrix.T
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


def _estimates(values: Floats, influence: Floats, n: int, groups: int) -> list[Estimate]:
    errors = np.sqrt(groups / (groups - 1) * (influence**2).sum(axis=0))
    reach = t_quantile(0.975, groups - 1)
    return [
        Estimate(float(value), float(value - reach * error), float(value + reach * error), n, groups, "clustered t")
        for value, error in zip(values, errors, strict=True)
    ]


def _padded(influence: Floats, size: int) -> Floats:
    return np.pad(influence, ((0, size - len(influence)), (0, 0)))

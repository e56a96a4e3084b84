"""Bradley–Terry scores from comparisons, with intervals in which prompts are clusters.

Owns the fit, its sandwich variance, the difference of two fits over the same prompts, and the fit beside features of
the comparisons, such as length. Comparisons may have weights. What is compared is owned by ``audit.models``,
``audit.pairs`` and ``evaluate.score_files``.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.stats.distributions import t_quantile
from notus.stats.intervals import Estimate

__all__ = [
    "BradleyTerryScores",
    "Comparisons",
    "ControlledScores",
    "bradley_terry",
    "controlled_bradley_terry",
    "differences",
]

_STEPS = 100
_TOLERANCE = 1e-10
_AT_ONCE = 65_536
"""Clusters, or comparisons, of which something is held that is not a result."""

Floats = NDArray[np.float64]
Indices = NDArray[np.intp] | NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Comparisons:
    """Comparisons of named players, as columns."""

    names: tuple[str, ...]
    first: Indices
    """Number of the first player of each comparison."""
    second: Indices
    outcome: Floats | NDArray[np.float32]
    """1 when the first wins, 0 when the second does, ½ for a tie."""
    cluster: Indices
    """Number of the prompt that each belongs to."""
    weight: Floats | None = None
    """How much each counts; None: each once."""

    @classmethod
    def make(
        cls, rows: Sequence[tuple[str, str, float, Hashable]], weights: Sequence[float] | None = None
    ) -> "Comparisons":
        """Columns out of rows: first player, second player, outcome, cluster. Players are in alphabetical order.

        Args:
            rows: the comparisons.
            weights: how much each counts, above 0; None: each once.

        Raises:
            DataError: if a player meets itself, an outcome is not between 0 and 1, or a weight is not above 0.
        """
        if weights is not None and (len(weights) != len(rows) or any(not weight > 0 for weight in weights)):
            raise DataError(f"{len(rows)} comparisons came with {len(weights)} weights; each needs one above 0")
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
            None if weights is None else np.array(weights, dtype=np.float64),
        )

    def between(self, kept: set[str]) -> "Comparisons":
        """Only those between some players. Clusters keep their numbers."""
        inside = np.array([name in kept for name in self.names], dtype=bool)
        if inside.all():
            return self
        rows = inside[self.first] & inside[self.second]
        renumbered = np.cumsum(inside) - 1
        return Comparisons(
            tuple(name for name in self.names if name in kept),
            renumbered[self.first[rows]],
            renumbered[self.second[rows]],
            self.outcome[rows],
            self.cluster[rows],
            None if self.weight is None else self.weight[rows],
        )

    def won(self) -> Floats:
        """Players × players: how often the one has beaten the other, by weight; a tie is half a win for each."""
        players = len(self.names)
        table = np.zeros(players**2)
        for start in range(0, len(self.outcome), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            first, second = self.first[part].astype(np.intp), self.second[part].astype(np.intp)
            wins, losses = self.outcome[part], 1 - self.outcome[part]
            if self.weight is not None:
                wins, losses = wins * self.weight[part], losses * self.weight[part]
            table += np.bincount(first * players + second, wins, len(table))
            table += np.bincount(second * players + first, losses, len(table))
        return table.reshape(players, players)

    def comparable(self) -> set[str]:
        """The largest group of players in which each has beaten each over some chain of wins; a tie is half a win.

        Outside it no score is finite: who has only won, or only lost, could be as strong or as weak as one likes
        (Ford 1957, American Mathematical Monthly 64).
        """
        size = len(self.names)
        reach = np.eye(size, dtype=bool) | (self.won() > 0)
        for middle in range(size):
            reach |= reach[:, [middle]] & reach[[middle], :]
        mutual = reach & reach.T
        if not size:
            return set()
        best = int(mutual.sum(axis=1).argmax())
        group = {name for name, there in zip(self.names, mutual[best], strict=True) if there}
        return group if len(group) > 1 else set()


@dataclass(frozen=True)
class BradleyTerryScores:
    """Scores on the logit scale, relative to the mean of all players in the fit."""

    of: dict[str, Estimate]
    """Player → score. Two players a, b: P(a beats b) = 1 / (1 + exp(b − a))."""
    without: tuple[str, ...]
    """Players of no finite score, left out with their comparisons: see ``Comparisons.comparable``."""


def bradley_terry(comparisons: Comparisons, kept: set[str] | None = None) -> BradleyTerryScores | None:
    """Fit scores by maximum likelihood, with a sandwich variance over clusters.

    With θ the scores, p = 1 / (1 + exp(θ_b − θ_a)) for a comparison of a with b, y its outcome, and e_a a unit
    vector::

        u_g = Σ_{i in g} (y_i − p_i)(e_a − e_b)        A = Σ_i p_i (1 − p_i)(e_a − e_b)(e_a − e_b)ᵀ
        θ solves Σ_g u_g = 0 with Σ θ = 0              Var θ = G/(G−1) · Σ_g (A⁺ u_g)(A⁺ u_g)ᵀ
        interval = θ ± t(.975, G − 1) · se

    With weights each term of both sums counts as often as its weight says.

    Sources: Bradley and Terry (1952), Biometrika 39; for the variance Liang and Zeger (1986), Biometrika 73.

    Args:
        comparisons: all of them.
        kept: players to fit; by default those that are comparable.

    Returns:
        None with fewer than two comparable players or fewer than two clusters.
    """
    kept = comparisons.comparable() if kept is None else kept
    fit = _fit(comparisons.between(kept))
    if fit is None:
        return None
    found = _estimates(fit.theta, fit)
    without = tuple(sorted(set(comparisons.names) - kept))
    return BradleyTerryScores(dict(zip(fit.of.names, found, strict=True)), without)


def differences(a: Comparisons, b: Comparisons) -> dict[str, Estimate]:
    """Score in ``a`` minus score in ``b``, for players that are comparable in both, largest first.

    Both must number the same prompts alike. A prompt moves both fits; its influences are subtracted before they are
    squared, so that what the two share is no noise.
    """
    kept = a.comparable() & b.comparable()
    # Of the players comparable in both, some may be so only by way of others; then the group shrinks until it holds.
    while (smaller := a.between(kept).comparable() & b.between(kept).comparable()) != kept:
        kept = smaller
    first, second = _fit(a.between(kept)), _fit(b.between(kept))
    if first is None or second is None:
        return {}
    found = _estimates(first.theta - second.theta, first, second)
    return dict(sorted(zip(first.of.names, found, strict=True), key=lambda item: -item[1].mean))


@dataclass(frozen=True)
class ControlledScores:
    """Scores beside features of the comparisons, on the logit scale."""

    of: dict[str, Estimate]
    """Player → score, that of the anchor being 0: log-odds of beating the anchor where all features are 0."""
    features: tuple[Estimate, ...]
    """What a feature that is 1 adds to the log-odds that the first player wins."""
    without: tuple[str, ...]
    """Players that have only won or only lost, by weight: no score of theirs is finite; with their comparisons."""


def controlled_bradley_terry(
    comparisons: Comparisons, features: Floats, anchor: str, *, at: Floats | None = None
) -> ControlledScores | None:
    """Fit scores and the effect of features by maximum likelihood, with a sandwich variance over clusters.

    With x the features of a comparison of a with b::

        p = 1 / (1 + exp(θ_b − θ_a − x·β))        θ_anchor = 0

    fit and variance as in ``bradley_terry``, the unknowns being (θ, β). A logistic regression, in which a tie is half a
    win: https://lmsys.org/blog/2024-08-28-style-control/ has the idea.

    Args:
        comparisons: all of them; every player must meet the anchor over some chain.
        features: shape (comparisons, k).
        anchor: the player whose score is 0.
        at: features at which the scores are told, shape (k,): θ + at·β in the place of θ; None: where all are 0.

    Returns:
        None with fewer than two players, fewer than two clusters, or where the features cannot be told apart.

    Raises:
        DataError: if there is not a row of finite features for each comparison, or no such player.
    """
    features = np.asarray(features, dtype=np.float64).reshape(len(comparisons.outcome), -1)
    if anchor not in comparisons.names or not np.isfinite(features).all():
        raise DataError(f"no comparison with '{anchor}', or a feature that is no finite number; leave these out")
    won = comparisons.won()
    decided = (won.sum(axis=1) > 0) & (won.sum(axis=0) > 0)
    kept = {name for name, both in zip(comparisons.names, decided, strict=True) if both} | {anchor}
    inside = np.array([name in kept for name in comparisons.names])
    rows = inside[comparisons.first] & inside[comparisons.second]
    of, own = comparisons.between(kept), features[rows]
    if len(of.names) < 2 or _clusters(of) < 2:
        return None
    design = _design(of, own, anchor)
    weight = np.ones(len(of.outcome)) if of.weight is None else of.weight
    theta = _logistic(design, of.outcome.astype(np.float64), weight)
    if theta is None:
        return None
    players = [name for name in of.names if name != anchor]
    shift = np.zeros(own.shape[1]) if at is None else np.asarray(at, dtype=np.float64)
    told = np.eye(len(theta))
    told[: len(players), len(players) :] = shift
    found = _told_with_errors(design, of, weight, theta, told)
    scores = dict(zip(players, found, strict=False))
    return ControlledScores(scores, tuple(found[len(players) :]), tuple(sorted(set(comparisons.names) - kept)))


def _design(of: Comparisons, features: Floats, anchor: str) -> Floats:
    """Comparisons × (players but the anchor, and features)."""
    players = np.zeros((len(of.outcome), len(of.names)))
    rows = np.arange(len(of.outcome))
    players[rows, of.first] += 1
    players[rows, of.second] -= 1
    found: Floats = np.hstack([np.delete(players, of.names.index(anchor), axis=1), features])
    return found


def _logistic(design: Floats, outcome: Floats, weight: Floats) -> Floats | None:
    """Coefficients by Newton's method with halved steps; None where it does not come to an end."""

    def likelihood(theta: Floats) -> float:
        odds = design @ theta
        return -float((weight * (np.logaddexp(0, odds) - outcome * odds)).sum())

    theta = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(-np.clip(design @ theta, -700, 700)))
        slope = design.T @ (weight * (outcome - chances))
        matrix = (design * (weight * chances * (1 - chances))[:, None]).T @ design
        if np.linalg.matrix_rank(matrix, hermitian=True) < len(theta):
            return None
        step = np.linalg.solve(matrix, slope)
        now = likelihood(theta)
        while likelihood(theta + step) < now - 1e-9 * abs(now) and np.abs(step).max() > _TOLERANCE:
            step /= 2
        theta = theta + step
        if np.abs(step).max() <= _TOLERANCE:
            return theta
    return None


def _told_with_errors(design: Floats, of: Comparisons, weight: Floats, theta: Floats, told: Floats) -> list[Estimate]:
    """Linear combinations of the coefficients with errors over clusters; ``told`` has a row for each."""
    chances = 1 / (1 + np.exp(-np.clip(design @ theta, -700, 700)))
    inverse = np.linalg.inv((design * (weight * chances * (1 - chances))[:, None]).T @ design)
    moved = design * (weight * (of.outcome - chances))[:, None]
    size = _highest(of) + 1
    sums = np.stack([np.bincount(of.cluster, column, size) for column in moved.T], axis=1)
    influence = sums @ inverse @ told.T
    groups = _clusters(of)
    errors = np.sqrt(groups / (groups - 1) * (influence**2).sum(axis=0))
    reach = t_quantile(0.975, groups - 1)
    return [
        Estimate(float(value), float(value - reach * error), float(value + reach * error), len(design), groups, _METHOD)
        for value, error in zip(told @ theta, errors, strict=True)
    ]


_METHOD = "clustered t"


@dataclass(frozen=True)
class _Fit:
    of: Comparisons
    theta: Floats
    inverse: Floats
    """Pseudo-inverse of the information matrix."""

    def influence(self, start: int, stop: int) -> Floats:
        """Clusters × players: what each cluster from ``start`` to before ``stop`` moves each score by."""
        rows = np.flatnonzero((self.of.cluster >= start) & (self.of.cluster < stop))
        first, second = self.of.first[rows], self.of.second[rows]
        residual = self.of.outcome[rows] - 1 / (1 + np.exp(self.theta[second] - self.theta[first]))
        if self.of.weight is not None:
            residual = residual * self.of.weight[rows]
        players = len(self.theta)
        cells = (self.of.cluster[rows].astype(np.intp) - start) * players
        moved = np.bincount(cells + first, residual, (stop - start) * players)
        moved -= np.bincount(cells + second, residual, (stop - start) * players)
        return moved.reshape(-1, players) @ self.inverse


def _fit(comparisons: Comparisons) -> _Fit | None:
    """The fit by Newton's method with halved steps; None where there is too little to fit.

    How often each has beaten each is all that the scores depend on.
    """
    if len(comparisons.names) < 2 or _clusters(comparisons) < 2:
        return None
    won = comparisons.won()
    games = won + won.T
    theta = np.zeros(len(won))
    for _ in range(_STEPS):
        chances = _chances(theta)
        slope = (won - games * chances).sum(axis=1)
        step = np.linalg.pinv(_information(games, chances), hermitian=True) @ slope
        now = _likelihood(theta, won)
        while _likelihood(theta + step, won) < now - 1e-9 * abs(now) and np.abs(step).max() > _TOLERANCE:
            step /= 2
        theta = theta + step - step.mean()
        if np.abs(step).max() <= _TOLERANCE:
            break
    information = _information(games, _chances(theta))
    return _Fit(comparisons, theta, np.linalg.pinv(information, hermitian=True).astype(np.float64))


def _chances(theta: Floats) -> Floats:
    chances: Floats = 1 / (1 + np.exp(theta[None, :] - theta[:, None]))
    return chances


def _likelihood(theta: Floats, won: Floats) -> float:
    return -float((won * np.logaddexp(0, theta[None, :] - theta[:, None])).sum())


def _information(games: Floats, chances: Floats) -> Floats:
    matrix: Floats = -games * chances * (1 - chances)
    np.fill_diagonal(matrix, 0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


def _clusters(*comparisons: Comparisons) -> int:
    """Number of clusters in which there is a comparison of any."""
    size = max(_highest(of) for of in comparisons) + 1
    return int(np.count_nonzero(sum(np.bincount(of.cluster, minlength=size) for of in comparisons)))


def _highest(comparisons: Comparisons) -> int:
    return int(comparisons.cluster.max()) if len(comparisons.cluster) else -1


def _estimates(values: Floats, fit: _Fit, other: _Fit | None = None) -> list[Estimate]:
    """Values with the errors of a fit, or of the difference of two."""
    fits = [fit] if other is None else [fit, other]
    groups = _clusters(*(part.of for part in fits))
    size = max(_highest(part.of) for part in fits) + 1
    squares = np.zeros(len(values))
    for start in range(0, size, _AT_ONCE):
        influence = fit.influence(start, min(start + _AT_ONCE, size))
        if other is not None:
            influence -= other.influence(start, min(start + _AT_ONCE, size))
        squares += (influence**2).sum(axis=0)
    errors = np.sqrt(groups / (groups - 1) * squares)
    reach = t_quantile(0.975, groups - 1)
    n = len(fit.of.outcome)
    return [
        Estimate(float(value), float(value - reach * error), float(value + reach * error), n, groups, "clustered t")
        for value, error in zip(values, errors, strict=True)
    ]

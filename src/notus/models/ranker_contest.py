"""A contest of answers: which duel is next, and who is the best so far. Numbers alone; no text and no model.

First a bubble pass: each player against the best so far, n − 1 duels. Where two are nearly as good that pass often
keeps the other one than all duels together would, because single duels deviate from the players' strengths. So the pass
is followed by duels that tell most: with margins d_ij = s_i − s_j + noise, strengths s are fitted by least squares, the
rival is the player whose lead over the leader, in standard errors, is the least certain, and the next duel is the one
that most reduces the variance of the difference of these two (optimal design; ranking and selection call it top-two).

Owns the choice of duels. Whose duels they are and what a duel is are the business of ``ranker_pairs``.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Contest", "duels_of"]

_SHARE = 6
"""All duels are at least so many times as many as those of a contest, where a bubble pass leaves room for more."""
_LOOSE = 1e4
"""Variance of a strength that no duel has told of."""


def duels_of(players: int) -> int:
    """Number of duels of a contest: a bubble pass, and more up to a sixth of all duels, which is from 13 players on."""
    return max(players - 1, players * (players - 1) // 2 // _SHARE)


class Contest:
    """Finds the best of some players by duels.

    Args:
        order: of the players, numbered from 0, in the bubble pass.
    """

    def __init__(self, order: Sequence[int]) -> None:
        size = len(order)
        self._order = list(order)
        self._left = duels_of(size) if size > 1 else 0
        self._champion = self._order[0] if size else -1
        self._step = 1
        self._covariance = np.eye(size) * _LOOSE
        self._sums = np.zeros(size)
        self._played = np.eye(size, dtype=bool)
        self._duel: tuple[int, int] | None = None

    @property
    def strengths(self) -> NDArray[np.float64]:
        """Of each player, by least squares; only their differences mean something."""
        found: NDArray[np.float64] = self._covariance @ self._sums
        return found

    @property
    def best(self) -> int:
        """The strongest player so far, the first of equals; −1 without a player."""
        return int(self.strengths.argmax()) if len(self._order) else -1

    def next(self) -> tuple[int, int] | None:
        """The two players of the next duel, or None when it is over. The same until ``tell``."""
        if self._duel is None and self._left:
            if self._step < len(self._order):
                self._duel = self._order[self._step], self._champion
            else:
                self._duel = self._telling()
        return self._duel

    def tell(self, margin: float) -> None:
        """The margin of the duel that ``next`` named: above 0 where its first player is better.

        Raises:
            ValueError: if no duel is open.
        """
        if self._duel is None:
            raise ValueError("no duel is open: ask for the next one first")
        first, second = self._duel
        if self._step < len(self._order):
            self._champion = first if margin > 0 else second
            self._step += 1
        moved = self._covariance[first] - self._covariance[second]
        self._covariance -= np.outer(moved, moved) / (1 + moved[first] - moved[second])
        self._sums[first] += margin
        self._sums[second] -= margin
        self._played[first, second] = self._played[second, first] = True
        self._left -= 1
        self._duel = None

    def _telling(self) -> tuple[int, int]:
        strengths, covariance = self.strengths, self._covariance
        leader = int(strengths.argmax())
        variances = covariance.diagonal()
        apart = variances + variances[leader] - 2 * covariance[leader]
        apart[leader] = 1.0
        lead = (strengths[leader] - strengths) / np.sqrt(apart)
        lead[leader] = np.inf
        moved = covariance[leader] - covariance[int(lead.argmin())]
        # Of each duel: what it takes off the variance of the difference of the two (Sherman and Morrison).
        gain = (moved[:, None] - moved) ** 2 / (1 + variances[:, None] + variances - 2 * covariance)
        gain[self._played] = -1.0
        first, second = divmod(int(gain.argmax()), len(self._order))
        return first, second

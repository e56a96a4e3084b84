"""A contest of answers: which duels are next, and who is the best so far. Numbers alone; no text and no model.

First a knock-out, n − 1 duels in which each loser goes. Where two players are nearly as good it often keeps the other
one than all duels together would, because single duels deviate from the players' strengths. So it is followed by duels
that tell most: with margins d_ij = s_i − s_j + noise, strengths s are fitted by least squares, the rival is the player
whose distance from the leader, in standard errors, is the least, and the next duel is the one that most reduces the
variance of the difference of these two (optimal design; ranking and selection call it top-two).

Owns the choice of duels. Whose duels they are and what a duel is are the business of ``ranker_pairs``.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Contest", "duels_of"]

_SHARE = 6
"""All duels are at least so many times as many as those of a contest, where a knock-out leaves room for more."""
_LOOSE = 1e4
"""Variance of a strength that no duel has told of."""


def duels_of(players: int) -> int:
    """Number of duels of a contest: a knock-out, and more up to a sixth of all, which is from 13 players on."""
    return max(players - 1, players * (players - 1) // 2 // _SHARE)


class Contest:
    """Finds the best of some players by duels.

    Args:
        order: of the players, numbered from 0: neighbours meet first.
    """

    def __init__(self, order: Sequence[int]) -> None:
        size = len(order)
        self._left = duels_of(size) if size > 1 else 0
        self._alive = list(order)
        self._covariance = np.eye(size) * _LOOSE
        self._sums = np.zeros(size)
        self._played = np.eye(size, dtype=bool)
        self._open: list[tuple[int, int]] | None = None

    @property
    def strengths(self) -> NDArray[np.float64]:
        """Of each player, by least squares; only their differences mean something."""
        found: NDArray[np.float64] = self._covariance @ self._sums
        return found

    @property
    def best(self) -> int:
        """The strongest player so far, the first of equals; −1 without a player."""
        return int(self.strengths.argmax()) if len(self._sums) else -1

    def duels(self) -> list[tuple[int, int]]:
        """The duels that are next: a round of the knock-out, later one; none when it is over. ``tell`` goes on."""
        if self._open is None:
            if len(self._alive) > 1:
                self._open = list(zip(self._alive[::2], self._alive[1::2], strict=False))
            else:
                self._open = [self._telling()] if self._left else []
        return self._open

    def tell(self, margins: Sequence[float]) -> None:
        """The margins of the duels that are next, in their order: above 0 where the first player is better."""
        played = self.duels()
        for (first, second), margin in zip(played, margins, strict=True):
            moved = self._covariance[first] - self._covariance[second]
            self._covariance -= np.outer(moved, moved) / (1 + moved[first] - moved[second])
            self._sums[first] += margin
            self._sums[second] -= margin
            self._played[first, second] = self._played[second, first] = True
        self._left -= len(played)
        self._open = None
        lost = {second if margin > 0 else first for (first, second), margin in zip(played, margins, strict=True)}
        if len(self._alive) > 1:
            self._alive = [player for player in self._alive if player not in lost]

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
        first, second = divmod(int(gain.argmax()), len(self._sums))
        return first, second

"""Contests of answers: which duels are next, and who is the best so far. Numbers alone; no text and no model.

A contest begins with a knock-out, n − 1 duels in which each loser goes. Where two players are nearly as good it often
keeps the other one than all duels together would, because single duels deviate from the players' strengths. So what
is wanted is predicted, the score t_i = (1/n)·Σ_j d_ij by all duels: with margins d_ij = s_i − s_j + e_ij, strengths s
are fitted by least squares, duels that were played count as they are and the others as predicted, which gives the
scores' expectations and covariance (prediction of a finite population, Royall 1970). The next duels are those that take
most off the variance of t_leader − t_rival, the rival being the player that may best be ahead (ranking and selection
calls it top-two; optimal design chooses the duel).

Prompts differ in what they need: one has a winner that no further duel can change, another two answers that are
nearly equal. So contests share what there is (``Contests``), and the most doubtful play.

Owns the choice of duels. Whose duels they are and what a duel is are the business of ``ranker_pairs``.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from notus.core.statistics import t_cdf

__all__ = ["Contest", "Contests", "Duel", "duels_of"]

Duel = tuple[int, int]
"""Two players, numbered from 0."""
_SHARE = 6
"""All duels are at least so many times as many as those of a contest, where a knock-out leaves room for more."""
_LOOSE = 1e4
"""Variance of a strength that no duel has told of, in variances of a margin."""
_USUAL = 0.01
"""Variance of a margin about the strengths' difference, in variances of the strengths, before residuals tell of it."""
_USUAL_COUNTS = 2
"""The residuals that this guess is worth."""
_SURE = 0.01
"""Doubt below which a contest is over."""
_PARTS = 24
"""In so many parts the duels after the knock-outs are given out: who plays in one depends on those before it."""
_AT_ONCE = 2
"""A contest plays at most so many times in a part as would be its share of it, rounded up."""


def duels_of(players: int) -> int:
    """Number of duels for a contest: a knock-out, and more up to a sixth of all, which is from 13 players on."""
    return max(players - 1, players * (players - 1) // 2 // _SHARE)


class Contest:
    """Finds the best of some players by duels.

    Args:
        order: of the players, numbered from 0: neighbours meet first.
    """

    def __init__(self, order: Sequence[int]) -> None:
        size = len(order)
        self.order = list(order)
        self._alive = self.order
        self._covariance = np.eye(size) * _LOOSE
        self._margins = np.zeros((size, size))
        self._unplayed = 1 - np.eye(size)
        self._judged: tuple[int, int, float] | None = None

    @property
    def knocks_out(self) -> bool:
        """Whether the knock-out is still on."""
        return len(self._alive) > 1

    @property
    def strengths(self) -> NDArray[np.float64]:
        """Of each player, by least squares; only their differences mean something."""
        found: NDArray[np.float64] = self._covariance @ self._margins.sum(axis=1)
        return found

    @property
    def scores(self) -> NDArray[np.float64]:
        """Expected mean margin of each player over all n, its own 0 included; exact when all duels are played."""
        found: NDArray[np.float64] = self._margins.sum(axis=1) + _laplacian(self._unplayed) @ self.strengths
        return found / len(self.order)

    @property
    def best(self) -> int:
        """The player with the highest score so far, the first of equals; −1 without a player."""
        return self._judge()[0] if self.order else -1

    @property
    def doubt(self) -> float:
        """Sum of the other players' probabilities to be ahead of the best in truth; 0 when no duel is left."""
        return self._judge()[2] if self._unplayed.any() else 0.0

    def duels(self, count: int) -> list[Duel]:
        """The duels that are next: a round of the knock-out, after it up to ``count`` of those that tell most."""
        if self.knocks_out:
            return list(zip(self._alive[::2], self._alive[1::2], strict=False))
        leader, rival, _ = self._judge()
        covariance, unplayed = self._covariance.copy(), self._unplayed.copy()
        found: list[Duel] = []
        while len(found) < count and unplayed.any():
            found.append(_telling(leader, rival, covariance, unplayed))
            _play(found[-1], covariance, unplayed)  # what a duel takes off the variances depends on no margin
        return found

    def tell(self, margins: Mapping[Duel, float]) -> None:
        """The margins of the duels that were next: above 0 where the first player is better."""
        for duel, margin in margins.items():
            _play(duel, self._covariance, self._unplayed)
            self._margins[duel], self._margins[duel[::-1]] = margin, -margin
        self._judged = None
        if self.knocks_out:
            lost = {second if margin > 0 else first for (first, second), margin in margins.items()}
            self._alive = [player for player in self._alive if player not in lost]

    def _judge(self) -> tuple[int, int, float]:
        """The best, its rival, and the doubt."""
        if self._judged is None:
            scores, variances = self.scores, self._variances()
            best = int(scores.argmax())
            apart = np.sqrt(np.maximum(variances.diagonal() + variances[best, best] - 2 * variances[best], 0.0))
            lead = scores[best] - scores
            # Without a variance equals stay as likely as not, and for all others it is certain.
            ratio = np.divide(lead, apart, out=np.where(lead > 0, np.inf, 0.0), where=apart > 0)
            ahead = [t_cdf(-each, self._freedom) for each in ratio.tolist()]
            ahead[best] = 0.0
            self._judged = best, int(np.argmax(ahead)), sum(ahead)
        return self._judged

    @property
    def _freedom(self) -> int:
        size = len(self.order)
        played = (size * (size - 1) - int(self._unplayed.sum())) // 2
        return max(0, played - size + 1) + _USUAL_COUNTS

    def _variances(self) -> NDArray[np.float64]:
        """Covariance of the scores: the strengths' share, and that of the duels that are not played."""
        strengths, unplayed = self.strengths, _laplacian(self._unplayed)
        residuals = (self._margins - strengths[:, None] + strengths) * (1 - self._unplayed)
        squares = float((residuals**2).sum()) / 2 + _USUAL_COUNTS * _USUAL * float(strengths.var())
        found: NDArray[np.float64] = unplayed @ self._covariance @ unplayed + unplayed
        return found * (squares / self._freedom / len(self.order) ** 2)


class Contests:
    """Contests that share a number of duels, the sum of ``duels_of``: after the knock-outs the most doubtful play.

    So the best of one contest may depend on which others there are, as far as it is in doubt. It does not depend on
    where it stands among them.
    """

    def __init__(self, contests: Sequence[Contest]) -> None:
        self._contests = contests
        sizes = [len(contest.order) for contest in contests if contest.order]
        self._left = sum(map(duels_of, sizes))
        spare = self._left - sum(size - 1 for size in sizes)
        self._part = math.ceil(spare / _PARTS)
        self._at_once = _AT_ONCE * math.ceil(self._part / max(1, len(sizes)))

    def duels(self) -> dict[int, list[Duel]]:
        """The duels that are next, by the place of their contest; none when it is over. ``tell`` goes on."""
        contests = self._contests
        if found := {place: contest.duels(0) for place, contest in enumerate(contests) if contest.knocks_out}:
            return found
        doubtful = [place for place, contest in enumerate(contests) if contest.doubt > _SURE]
        room = min(self._part, self._left)
        for place in sorted(doubtful, key=lambda place: (-contests[place].doubt, contests[place].order)):
            if room:
                found[place] = contests[place].duels(min(room, self._at_once))
                room -= len(found[place])
        return found

    def tell(self, margins: Mapping[int, Mapping[Duel, float]]) -> None:
        """The margins of the duels that were next: above 0 where the first player is better."""
        for place, told in margins.items():
            self._contests[place].tell(told)
            self._left -= len(told)


def _laplacian(unplayed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Takes strengths to the sums of their differences over the duels that are not played."""
    return np.diag(unplayed.sum(axis=1)) - unplayed


def _play(duel: Duel, covariance: NDArray[np.float64], unplayed: NDArray[np.float64]) -> None:
    """What a duel changes whatever its margin is (Sherman and Morrison), in place."""
    first, second = duel
    moved = covariance[first] - covariance[second]
    covariance -= np.outer(moved, moved) / (1 + moved[first] - moved[second])
    unplayed[first, second] = unplayed[second, first] = 0.0


def _telling(leader: int, rival: int, covariance: NDArray[np.float64], unplayed: NDArray[np.float64]) -> Duel:
    """The duel that takes most off the variance of the difference of two scores."""
    wanted = np.zeros(len(unplayed))
    wanted[leader], wanted[rival] = 1.0, -1.0
    shared = covariance @ (_laplacian(unplayed) @ wanted) + wanted
    variances = covariance.diagonal()
    gain = (shared[:, None] - shared) ** 2 / (1 + variances[:, None] + variances - 2 * covariance)
    first, second = divmod(int(np.where(unplayed > 0, gain, -1.0).argmax()), len(unplayed))
    return first, second

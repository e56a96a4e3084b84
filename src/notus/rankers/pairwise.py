"""Ranking by pairs: from the logits of a model that compares two answers to a score for each answer.

Of all ordered pairs each answer gets its mean margin. Where the best alone is wanted, fewer pairs do: a tournament
begins with a knock-out, n − 1 comparisons in which each loser goes. Where two players are nearly as good it often keeps
the other one than all comparisons together would, because single ones deviate from the players' strengths. So what is
wanted is predicted, the score t_i = (1/n)·Σ_j d_ij by all comparisons: with margins d_ij = s_i − s_j + e_ij, strengths
s are fitted by least squares, comparisons that were made count as they are and the others as predicted, which gives the
scores' expectations and covariance (prediction of a finite population, Royall 1970). The next comparisons are those
that take most off the variance of t_leader − t_rival, the rival being the player that may best be ahead (ranking and
selection calls it top-two; optimal design chooses the comparison).

Prompts differ in what they need: one has a winner that no further comparison can change, another two answers that are
nearly equal. So tournaments share what there is (``Tournaments``), and the most doubtful go on.

Owns which pairs are computed and what is made of them. The logits come from ``rankers.pairrm``; any function that gives
them for (prompt, first, second) will do. Tournaments know numbers alone, no text and no model.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from notus.core.records import Message
from notus.core.stage import Tally
from notus.rankers.ref import Progress, Scores, check_lengths
from notus.rankers.roles import roles_fault
from notus.rankers.settings import Ranking
from notus.stats.distributions import t_cdf

__all__ = [
    "PairRanker",
    "Tournament",
    "Tournaments",
    "comparisons_of",
    "load_pair_ranker",
    "margins",
    "select",
]

_Comparison = tuple[int, int]
"""Two players, numbered from 0."""
_SHARE = 6
"""All comparisons are at least so many times those of a tournament, where a knock-out leaves room for more."""
_LOOSE = 1e4
"""Variance of a strength that no comparison has told of, in variances of a margin."""
_USUAL = 0.01
"""Variance of a margin about the strengths' difference, in variances of the strengths, before residuals tell of it."""
_USUAL_COUNTS = 2
"""The residuals that this guess is worth."""
_SURE = 0.01
"""Doubt below which a tournament is over."""
_PARTS = 24
"""In so many parts the comparisons after the knock-outs are given out: who plays in one depends on those before it."""
_AT_ONCE = 2
"""A tournament plays at most so many times in a part as would be its share of it, rounded up."""


def comparisons_of(players: int) -> int:
    """Comparisons of a tournament: a knock-out, and more up to a sixth of all, which is from 13 players on."""
    return max(players - 1, players * (players - 1) // 2 // _SHARE)


class Tournament:
    """Finds the best of some players by comparisons.

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
        """Expected mean margin of each player over all n, its own 0 included; exact when all comparisons are played."""
        found: NDArray[np.float64] = self._margins.sum(axis=1) + _laplacian(self._unplayed) @ self.strengths
        return found / len(self.order)

    @property
    def best(self) -> int:
        """The player with the highest score so far, the first of equals; −1 without a player."""
        return self._judge()[0] if self.order else -1

    @property
    def doubt(self) -> float:
        """Sum of the other players' probabilities to be ahead of the best in truth; 0 when no comparison is left."""
        return self._judge()[2] if self._unplayed.any() else 0.0

    def comparisons(self, count: int) -> list[_Comparison]:
        """The comparisons that are next: a round of the knock-out, after it up to ``count`` of those that tell most."""
        if self.knocks_out:
            return list(zip(self._alive[::2], self._alive[1::2], strict=False))
        leader, rival, _ = self._judge()
        covariance, unplayed = self._covariance.copy(), self._unplayed.copy()
        found: list[_Comparison] = []
        while len(found) < count and unplayed.any():
            found.append(_most_informative(leader, rival, covariance, unplayed))
            _play(found[-1], covariance, unplayed)  # what a comparison takes off the variances depends on no margin
        return found

    def record(self, margins: Mapping[_Comparison, float]) -> None:
        """The margins of the comparisons that were next: above 0 where the first player is better."""
        for comparison, margin in margins.items():
            _play(comparison, self._covariance, self._unplayed)
            self._margins[comparison], self._margins[comparison[::-1]] = margin, -margin
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
        """Covariance of the scores: the strengths' share, and that of the comparisons that are not played."""
        strengths, unplayed = self.strengths, _laplacian(self._unplayed)
        residuals = (self._margins - strengths[:, None] + strengths) * (1 - self._unplayed)
        squares = float((residuals**2).sum()) / 2 + _USUAL_COUNTS * _USUAL * float(strengths.var())
        found: NDArray[np.float64] = unplayed @ self._covariance @ unplayed + unplayed
        return found * (squares / self._freedom / len(self.order) ** 2)


class Tournaments:
    """Tournaments that share a number of comparisons, the sum of ``comparisons_of``.

    After the knock-outs the most doubtful go on.

    So the best of one tournament may depend on which others there are, as far as it is in doubt. It does not depend on
    where it stands among them.
    """

    def __init__(self, tournaments: Sequence[Tournament]) -> None:
        self._tournaments = tournaments
        sizes = [len(tournament.order) for tournament in tournaments if tournament.order]
        self._left = sum(map(comparisons_of, sizes))
        spare = self._left - sum(size - 1 for size in sizes)
        self._part = math.ceil(spare / _PARTS)
        self._at_once = _AT_ONCE * math.ceil(self._part / max(1, len(sizes)))

    def comparisons(self) -> dict[int, list[_Comparison]]:
        """The comparisons that are next, by the place of their tournament; none when it is over. ``record`` goes on."""
        tournaments = self._tournaments
        if found := {
            place: tournament.comparisons(0) for place, tournament in enumerate(tournaments) if tournament.knocks_out
        }:
            return found
        doubtful = [place for place, tournament in enumerate(tournaments) if tournament.doubt > _SURE]
        room = min(self._part, self._left)
        for place in sorted(doubtful, key=lambda place: (-tournaments[place].doubt, tournaments[place].order)):
            if room:
                found[place] = tournaments[place].comparisons(min(room, self._at_once))
                room -= len(found[place])
        return found

    def record(self, margins: Mapping[int, Mapping[_Comparison, float]]) -> None:
        """The margins of the comparisons that were next: above 0 where the first player is better."""
        for place, told in margins.items():
            self._tournaments[place].record(told)
            self._left -= len(told)


def _laplacian(unplayed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Takes strengths to the sums of their differences over the comparisons that are not played."""
    return np.diag(unplayed.sum(axis=1)) - unplayed


def _play(comparison: _Comparison, covariance: NDArray[np.float64], unplayed: NDArray[np.float64]) -> None:
    """What a comparison changes whatever its margin is (Sherman and Morrison), in place."""
    first, second = comparison
    moved = covariance[first] - covariance[second]
    covariance -= np.outer(moved, moved) / (1 + moved[first] - moved[second])
    unplayed[first, second] = unplayed[second, first] = 0.0


def _most_informative(
    leader: int, rival: int, covariance: NDArray[np.float64], unplayed: NDArray[np.float64]
) -> _Comparison:
    """The comparison that takes most off the variance of the difference of two scores."""
    wanted = np.zeros(len(unplayed))
    wanted[leader], wanted[rival] = 1.0, -1.0
    shared = covariance @ (_laplacian(unplayed) @ wanted) + wanted
    variances = covariance.diagonal()
    gain = (shared[:, None] - shared) ** 2 / (1 + variances[:, None] + variances - 2 * covariance)
    first, second = divmod(int(np.where(unplayed > 0, gain, -1.0).argmax()), len(unplayed))
    return first, second


Pair = tuple[tuple[Message, ...], str, str]
"""A prompt, a first and a second answer."""
Compare = Callable[[Sequence[Pair]], list[float]]
"""Gives the logit of each pair; above 0 where the first answer is better."""


class PairRanker:
    """Ranks by comparing answers two by two.

    Args:
        name: what it is called.
        compare: the logits of pairs; each pair of texts is asked for once.
        settings: ``selection`` and ``seed`` count here.
        unfit: why a prompt cannot be read, in words; empty where it can. None reads all.
    """

    def __init__(
        self,
        name: str,
        compare: Compare,
        settings: Ranking | None = None,
        unfit: Callable[[tuple[Message, ...]], str] | None = None,
    ) -> None:
        self.name = name
        self.unfit = unfit or (lambda _: "")
        self._compare = compare
        self._settings = settings or Ranking()

    def rank(self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates of each prompt, as ``Ranker`` says.

        With ``full``, the mean margin over the other answers, see ``margins``. With ``bubble``, 1 for the best and 0
        for the others, among which nothing is known. Answers to a prompt that is ``unfit`` have no score: None.
        """
        check_lengths(prompts, candidates)
        fit = [place for place, prompt in enumerate(prompts) if not self.unfit(prompt)]
        found = self._rank([prompts[place] for place in fit], [candidates[place] for place in fit])
        scores: Scores = [[None] * len(answers) for answers in candidates]
        for place, own in zip(fit, found, strict=True):
            scores[place] = own
        return scores

    def _rank(self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]) -> Scores:
        if self._settings.selection == "bubble":
            return select(prompts, candidates, self._compare, self._settings.seed)
        return margins(prompts, candidates, self._compare)


def load_pair_ranker(source: str, settings: Ranking, progress: Progress | None, tally: Tally) -> PairRanker:
    """A ranker by a PairRM.

    Args:
        source: folder or hub id of the model.
        settings: how it works; the lengths that the checkpoint names are taken where it names some.
        progress: told how many of the pairs at hand are done.
        tally: receives the counts of cut texts.

    Raises:
        ConfigError: if there is no such model.
    """
    from notus.rankers.pairrm import PairEncoder, budget_of, load_pairrm, score_pairs

    model, tokenizer = load_pairrm(source, precision=settings.precision)
    encoder = PairEncoder(tokenizer, budget_of(source) or settings.budget, tally)

    def compare(pairs: Sequence[Pair]) -> list[float]:
        return score_pairs(
            model,
            encoder.encode(pairs),
            pad_id=tokenizer.pad_token_id,
            max_tokens=settings.max_tokens,
            progress=progress,
        )

    return PairRanker(f"pairrm:{Path(source).name}", compare, settings, roles_fault)


def margins(prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]], compare: Compare) -> Scores:
    """Score each answer by its mean margin over the others, from all n(n − 1) ordered pairs.

    With M_ij the logit of the pair that has answer i first and answer j second::

        score_i = (1/n) · Σ_j (M_ij − M_ji)

    j runs over all n answers; i itself and its equals add 0 and are not computed. A single answer scores 0.
    """
    wanted = dict.fromkeys(
        (prompt, first, second)
        for prompt, answers in zip(prompts, candidates, strict=True)
        for first in answers
        for second in answers
        if first != second
    )
    logits = _logits(compare, list(wanted))
    return [
        [
            sum(logits[prompt, own, other] - logits[prompt, other, own] for other in answers if other != own)
            / len(answers)
            for own in answers
        ]
        for prompt, answers in zip(prompts, candidates, strict=True)
    ]


def select(
    prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]], compare: Compare, seed: int
) -> Scores:
    """Find the best answer of each prompt by a tournament, see ``Tournament``.

    A comparison takes both ordered pairs, and its margin is M_ij − M_ji. Up to twelve answers take 2(n − 1) pairs, more
    of them at most a sixth of all; this is a mean over the prompts, and the ones in doubt take more than the clear
    ones. So the best of a prompt may depend on the other prompts of the call, and not on its place among them. Who
    meets first is decided by the prompt's text and the seed; all prompts take their steps together, so that batches are
    full.

    Returns:
        1 for the best answer of each prompt, 0 for the others.
    """
    texts = [list(dict.fromkeys(answers)) for answers in candidates]
    tournaments = [Tournament(_order(prompt, len(of), seed)) for prompt, of in zip(prompts, texts, strict=True)]
    shared = Tournaments(tournaments)
    logits: dict[Pair, float] = {}

    def pair(index: int, first: int, second: int) -> Pair:
        return prompts[index], texts[index][first], texts[index][second]

    while comparisons := shared.comparisons():
        both = [
            order
            for index, of in comparisons.items()
            for a, b in of
            for order in (pair(index, a, b), pair(index, b, a))
        ]
        logits |= _logits(compare, list(dict.fromkeys(both)))
        shared.record(
            {
                index: {(a, b): logits[pair(index, a, b)] - logits[pair(index, b, a)] for a, b in of}
                for index, of in comparisons.items()
            }
        )
    found: Scores = [[0.0] * len(answers) for answers in candidates]
    for scores, answers, distinct, tournament in zip(found, candidates, texts, tournaments, strict=True):
        if answers:
            scores[answers.index(distinct[tournament.best])] = 1.0
    return found


def _logits(compare: Compare, pairs: list[Pair]) -> dict[Pair, float]:
    return dict(zip(pairs, compare(pairs), strict=True)) if pairs else {}


def _order(prompt: tuple[Message, ...], count: int, seed: int) -> list[int]:
    """A seeded order that depends on the prompt and not on where it stands."""
    order = list(range(count))
    text = "".join(f"{len(turn.content)}:{turn.role}:{turn.content}" for turn in prompt)
    random.Random(f"{seed}:{text}").shuffle(order)
    return order

"""Why a completion's record is suspicious: signals on one scale, combined into one, with their reasons.

Every signal is a number for each completion (NaN: not known) and becomes the chance p that a sound record would look
at least so odd. The combined score is −log10 of the smallest p, and the signals below ``REASON`` are its reasons, the
least likely first.

* Two views of one thing, such as overall score and ratings, are put on mid-ranks, 0 to 1; their difference d is signed
  (positive: the score is higher than the other says). Under an empirical null (Efron 2004, J. American Statistical
  Association 99, pages 96–104), z = d / s with s the median of abs(d) over 0.6745, and p = 2Φ(−abs(z)). Half of the set
  may be faulty before s tells of the faults. The tails of honest disagreement are heavier than normal ones: p ranks,
  and is no promise of a rate of error.
* Views that share the overall score (ratings, wording of the critique) also speak together: z = Σz, divided by its own
  s, which allows for their dependence (after Stouffer et al. 1949). It is one more signal, and its parts are reasons.
* The place among the siblings is told by the same two numbers as the score against the ratings: it is named as a
  reason, and adds nothing to the score.
* The 10s have a known way to be false: deserved 1s were recorded as 10. So each 10 is weighed between the two. What
  ratings and wording look like for a deserved 1 and a deserved 10 is told by the lowest and the highest scores of the
  set other than 10, with normal scores x of the views, means m and a common covariance C (Fisher's discriminant)::

      logit P(false | x) = (m₁ − m₀)ᵀ C⁻¹ (x − (m₀ + m₁)/2) + logit π

  π, the share of false ones among the 10s, is fitted to the 10s themselves by EM. No rate of faults is assumed, and no
  10 takes part in what a 10 should look like, however many are false. Above ½ a 10 is more likely false than not.

Owns which columns make which signal, the arithmetic on them, and the evidence in words. Where the columns come from is
the business of ``audit.feedback``, what wording says that of ``audit.wording``.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from notus.audit.context.judge import ByContext
from notus.audit.wording import TextScores
from notus.core.errors import DataError

__all__ = [
    "FEWEST",
    "REASON",
    "SIGNALS",
    "CombinedScore",
    "Reasons",
    "SignalCombiner",
    "blocks",
    "empirical_p",
    "false_tens",
    "find_reasons",
    "margins_against_labels",
    "mid_ranks",
    "rank_difference",
    "sibling_difference",
]

Floats = NDArray[np.float64]
Column = Floats | NDArray[np.float32]

SIGNALS = {
    "ten-for-one": "a 10 that ratings and wording show to be a 1 misread",
    "score-against-ratings": "the overall score is far from what the ratings say",
    "score-against-wording": "the overall score is far from what the critique's wording says",
    "score-against-siblings": "the answer's place among its siblings is another by score than by ratings",
    "score-against-context": "the score is far from what siblings, model and form of the answer speak for",
    "score-against-all": "ratings and wording together contradict the overall score",
    "rating-against-rationale": "a rating is far from what its rationale's wording says",
    "spread-of-ratings": "repeated ratings of one aspect disagree",
    "same-text-other-score": "another answer to the prompt has the same text and another score",
    "reward-against-label": "a model that has not seen the prompt rewards the rejected answer",
}
"""Slug → what it says of a completion."""

REASON = 0.01
"""A signal is named as a reason when a sound record would look at least so odd at most so often."""

FEWEST = 20
"""Completions below which a share of the set says nothing, and no reason is named."""

_COUNTED_ALREADY = "score-against-siblings"
_OF_JUDGEMENTS = "score-against-context"
_NOT_COMBINED = {_COUNTED_ALREADY, _OF_JUDGEMENTS}
_BLOCK = 65_536
_TEN = 10.0
_EDGE = 0.02
_LEAST_AT_EDGE = 20
_FARTHEST = 1e12
"""Largest z: far beyond what has a p of its own."""
_MEDIAN = 0.6744897501960817
"""Median of the absolute value of a standard normal."""


@dataclass(frozen=True)
class CombinedScore:
    """Suspicion of each completion: a score for each, and more only of those that a signal speaks against."""

    minus_log_p: Floats
    """−log10 of the smallest p; NaN where no signal is known."""
    against: Mapping[str, tuple[NDArray[np.uint32], Floats]]
    """Slug → numbers of the completions with p of at most ``REASON``, ascending, and their p."""

    def reasons(self, start: int, stop: int) -> dict[int, tuple[str, ...]]:
        """Number of a completion → its slugs, the least likely first; of those from ``start`` to before ``stop``."""
        found: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
        for slug in (slug for slug in SIGNALS if slug in self.against):
            numbers, p = self.against[slug]
            here = slice(*np.searchsorted(numbers, (start, stop)))
            for number, value in zip(numbers[here].tolist(), p[here].tolist(), strict=True):
                found[number].append((value, slug))
        return {
            number: tuple([slug for _, slug in sorted(pairs, key=lambda pair: pair[0])])
            for number, pairs in found.items()
        }


class SignalCombiner:
    """Takes signal after signal, and holds two numbers of a completion, however many signals there are."""

    def __init__(self, count: int) -> None:
        self._smallest = np.full(count, np.inf)
        self._together = np.zeros(count)
        self._views = 0
        self._against: dict[str, tuple[NDArray[np.uint32], Floats]] = {}

    def difference(self, slug: str, values: Floats) -> None:
        """Take in signed differences of the overall score from another view. They also speak together.

        A column in which nothing is known says nothing; likewise in ``chance``.
        """
        if np.isnan(values).all():
            return
        self.chance(slug, empirical_p(values))
        if slug != _COUNTED_ALREADY:
            scale = _scale(values)
            for block in blocks(len(values)):
                self._together[block] += _z(values[block], scale)
            self._views += 1

    def chance(self, slug: str, p: Floats) -> None:
        """Take in a signal that is a chance already; NaN where it is not known."""
        if np.isnan(p).all():
            return
        found = np.flatnonzero(p <= REASON)
        self._against[slug] = found.astype(np.uint32), p[found]
        if slug not in _NOT_COMBINED:
            np.fmin(self._smallest, p, out=self._smallest)

    def combine(self) -> CombinedScore:
        """All signals together."""
        if self._views > 1:
            self.chance("score-against-all", empirical_p(self._together))
        found = self._smallest
        found[np.isinf(found)] = np.nan
        np.maximum(found, 1e-300, out=found)
        np.abs(np.log10(found, out=found), out=found)
        return CombinedScore(found, self._against)


@dataclass(frozen=True)
class Reasons:
    """What speaks against each completion, in columns."""

    combined: CombinedScore
    false_ten: Floats
    means: Floats
    scores: Floats
    expected: Floats
    """Score that the wording of the critique speaks for."""
    spreads: Floats
    rationale: NDArray[np.float32]
    """Largest distance of a rating from its rationale's, signed."""
    by_context: ByContext | None = None

    def columns(self, start: int, stop: int) -> dict[str, pa.Array]:
        """The columns of the rows from ``start`` to before ``stop``; NaN is null."""
        # Most completions have nothing against them: they are not looked at one by one.
        found: list[tuple[str, ...]] = [()] * (stop - start)
        evidence = [""] * (stop - start)
        for number, slugs in self.combined.reasons(start, stop).items() if self._enough else ():
            found[number - start] = slugs
            evidence[number - start] = self._evidence(number, slugs)
        floats = {"strength": self.combined.minus_log_p, "false_ten": self.false_ten, "expected_score": self.expected}
        here = {name: values[start:stop] for name, values in floats.items()}
        if not self._enough:
            here = {name: np.full(stop - start, np.nan) for name in floats}
        return {name: pa.array(values, from_pandas=True) for name, values in here.items()} | {
            "reasons": pa.array(found, pa.list_(pa.string())),
            "evidence": pa.array(evidence, pa.string()),
        }

    def counts(self) -> dict[str, int]:
        """Slug → the completions that it speaks against, where there are any."""
        against = self.combined.against if self._enough else {}
        return {slug: len(numbers) for slug, (numbers, _) in against.items() if len(numbers)}

    @property
    def _enough(self) -> bool:
        return len(self.means) >= FEWEST

    def _evidence(self, index: int, slugs: tuple[str, ...]) -> str:
        """One line: the score, and what each reason sets against it."""
        score = self.scores[index]
        said = [] if math.isnan(score) else [f"overall score {score:g}"]
        if not math.isnan(self.means[index]):
            said.append(f"mean rating {self.means[index]:.2f}")
        if not math.isnan(self.expected[index]):
            said.append(f"the wording speaks for {self.expected[index]:.1f}")
        if "score-against-context" in slugs and self.by_context is not None:
            said.append(self.by_context.evidence(index))
        if "ten-for-one" in slugs:
            said.append(f"a misread 1 with probability {self.false_ten[index]:.3f}")
        if "rating-against-rationale" in slugs:
            said.append(f"a rating is {self.rationale[index]:+.1f} from what its rationale speaks for")
        if "spread-of-ratings" in slugs:
            said.append(f"repeated ratings have a standard deviation of {self.spreads[index]:.2f}")
        return "; ".join(said)


def find_reasons(
    means: Floats,
    scores: Floats,
    against: Floats,
    prompts: NDArray[np.unsignedinteger],
    spreads: Floats,
    text_scores: TextScores,
    *,
    tens: bool = True,
    by_context: ByContext | None = None,
) -> Reasons:
    """Combine all that is known of the completions of a set.

    Args:
        means: mean ratings, NaN where there is none; likewise ``scores`` and ``spreads``.
        against: ``rank_difference`` of scores and means.
        prompts: number of the prompt of each completion, counted from 0.
        spreads: standard deviations of repeated ratings.
        text_scores: finished, of the same completions in the same order. What it holds of rationales is let go of.
        tens: whether overall scores go from 1 to 10, so that a 10 may be a 1 misread.
        by_context: what the contexts say of the scores.
    """
    # Signal after signal, and each is forgotten once it is taken in; what is held most of, the rationales, comes first.
    combiner = SignalCombiner(len(means))
    p, distance = _rationale_signal(len(means), text_scores)
    combiner.chance("rating-against-rationale", p)
    del p
    expected = np.asarray(text_scores.expected)
    combiner.difference("score-against-ratings", against)
    combiner.difference("score-against-wording", rank_difference(scores, expected))
    combiner.difference("score-against-siblings", sibling_difference(against, prompts))
    false_ten = false_tens(scores if tens else np.full(len(scores), np.nan), [means, expected])
    combiner.chance("ten-for-one", np.maximum(1 - false_ten, 1e-300))
    repeated = np.asarray(text_scores.repeated, dtype=np.int8)
    if repeated.any():
        combiner.chance("same-text-other-score", np.where(repeated > 0, repeated.mean(), np.nan))
    combiner.chance("spread-of-ratings", empirical_p(spreads))
    if by_context is not None:
        combiner.chance(_OF_JUDGEMENTS, empirical_p(by_context.context.odd))
    return Reasons(combiner.combine(), false_ten, means, scores, expected, spreads, distance, by_context)


def _rationale_signal(count: int, text_scores: TextScores) -> tuple[Floats, NDArray[np.float32]]:
    """Of each completion, the smallest p of its ratings times their number, and the distance that it stands for."""
    p, distance, ratings = np.full(count, np.nan), np.full(count, np.nan, np.float32), np.zeros(count, np.uint16)
    for owners, values, predicted in text_scores.rationales():
        here = empirical_p(rank_difference(values, predicted))
        for block in blocks(len(here)):
            # Of several ratings of one completion the least likely is written last, and stays.
            order = np.argsort(-here[block], kind="stable") + block.start
            order = order[~np.isnan(here[order])]
            np.add.at(ratings, owners[order], 1)
            order = order[~(here[order] >= p[owners[order]])]
            p[owners[order]], distance[owners[order]] = here[order], values[order] - predicted[order]
    np.multiply(p, ratings, out=p)
    return np.minimum(p, 1.0, out=p), distance


def mid_ranks(values: Sequence[float] | Column) -> Floats:
    """Rank of each value among all, 0 to 1, equal values in the middle of their places: (below + ½ equal) / n.

    NaN stays NaN, and does not count.
    """
    data = np.asarray(values)
    ranks = np.empty(len(data))
    ordered = np.sort(data)  # NaN at the end
    ordered = ordered[: len(data) - int(np.isnan(ordered).sum())]
    for block in blocks(len(data)):
        here = data[block]
        order = np.argsort(here)  # neighbours are looked up after one another: several times as fast
        below = np.searchsorted(ordered, here[order])
        ranks[block][order] = (below + np.searchsorted(ordered, here[order], "right")) / 2 / max(len(ordered), 1)
        ranks[block][np.isnan(here)] = np.nan
    return ranks


def rank_difference(score: Column, view: Column) -> Floats:
    """Mid-rank of the score minus mid-rank of another view, both among the completions that have both; −1 to 1."""
    either = np.isnan(score) | np.isnan(view)
    found = mid_ranks(np.where(either, np.nan, score))
    found -= mid_ranks(np.where(either, np.nan, view))
    return found


def sibling_difference(difference: Floats, prompts: NDArray[np.unsignedinteger]) -> Floats:
    """A completion's difference minus the median of its prompt's; NaN with fewer than three that have one.

    Args:
        difference: of each completion.
        prompts: number of its prompt, counted from 0.

    What a whole prompt shares, such as a strict judge in one of the two calls, is taken out; a single faulty sibling
    does not move the median of three.
    """
    known = ~np.isnan(difference)
    groups, values = prompts[known], difference[known]
    counts = np.bincount(groups)
    values = values[np.lexsort((values, groups))]
    starts = np.cumsum(counts) - counts
    medians = np.full(len(counts), np.nan)
    several = np.flatnonzero(counts > 2)
    starts, sizes = starts[several], counts[several]
    medians[several] = (values[starts + (sizes - 1) // 2] + values[starts + sizes // 2]) / 2
    del values
    found = np.full(len(difference), np.nan)
    found[known] = difference[known] - medians[groups]
    return found


def empirical_p(difference: Floats) -> Floats:
    """p of each difference under the empirical null; NaN stays, and p is 1 where nothing differs at all."""
    scale = _scale(difference)
    found = np.empty(len(difference))
    for block in blocks(len(difference)):
        # The C function over a list: some sixty nanoseconds a value, and to the last bit what it gives for one. A list
        # of all values would take five times what they take.
        z = (np.abs(_z(difference[block], scale)) / math.sqrt(2)).tolist()
        found[block] = np.fromiter(map(math.erfc, z), np.float64, len(z))
    return np.maximum(found, 1e-300, out=found)


def false_tens(scores: Floats, views: Sequence[Floats]) -> Floats:
    """Chance that a 10 is a 1 misread; NaN for other scores, and where the set cannot tell.

    Args:
        scores: overall scores.
        views: mean ratings, scores by the wording …: what a higher value of speaks for a better answer. A view that is
            missing (NaN) counts as its median.

    Returns:
        NaN throughout without a 10, without a view, or with fewer than twenty scores at either end.
    """
    found = np.full(len(scores), np.nan)
    ten, usable = scores == _TEN, [view for view in views if np.isfinite(view).any()]
    other = np.isfinite(scores) & ~ten
    if not ten.any() or not usable or other.sum() < 2 * _LEAST_AT_EDGE:
        return found
    low, high = (_edge(scores, other, side) for side in (1, -1))
    if len(low) < _LEAST_AT_EDGE or len(high) < _LEAST_AT_EDGE or len(np.intersect1d(low, high)):
        return found
    tens = np.flatnonzero(ten)
    bad, good, x = _normal_scores(usable, (low, high, tens))
    covariance = (np.cov(bad.T, ddof=0) * len(bad) + np.cov(good.T, ddof=0) * len(good)) / (len(bad) + len(good))
    covariance = np.atleast_2d(covariance) + 1e-6 * np.eye(len(usable))
    weights = np.linalg.solve(covariance, bad.mean(axis=0) - good.mean(axis=0))
    logits = (x - (bad.mean(axis=0) + good.mean(axis=0)) / 2) @ weights
    found[ten] = _mixture(logits)
    return found


def margins_against_labels(margins: Sequence[float]) -> Floats:
    """p that a sound pair has an implicit-reward margin so low.

    The margin is β·(log π/π_ref of chosen − of rejected), from a model that was trained without the pair's prompt. Most
    pairs are sound, and their margins lie above 0: z = (margin − m) / s, with m the median, s the median of
    abs(margin − m) over 0.6745, and p = Φ(z). Only a margin below 0 contradicts its label.

    Raises:
        DataError: if a margin is not finite.
    """
    data = np.asarray(margins, dtype=np.float64)
    if not np.isfinite(data).all():
        raise DataError("a reward margin is not a finite number; leave such pairs out and count them")
    if not len(data):
        return data
    below = data - np.median(data)
    return np.where(below < 0, empirical_p(below) / 2, 1 - empirical_p(below) / 2)


def blocks(count: int) -> Iterator[slice]:
    """Blocks of a column: what is computed on the way to a result is held of a block, not of the whole."""
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


def _scale(difference: Floats) -> float:
    """The s of the module's text; 0 where nothing differs."""
    sizes = difference[~np.isnan(difference)]
    np.abs(sizes, out=sizes)
    scale = float(np.median(sizes, overwrite_input=True)) / _MEDIAN if len(sizes) else 0.0
    if scale == 0 and len(sizes):  # more than half are equal to the last digit: what differs sets the scale
        scale = math.sqrt(float((sizes**2).mean()))
    return scale


def _z(difference: Floats, scale: float) -> Floats:
    if not scale:
        return difference * 0.0
    with np.errstate(over="ignore"):  # where all but one are equal to hundreds of digits
        found = np.clip(difference / scale, -_FARTHEST, _FARTHEST)
    # Rounded, so that equal differences stay equal whatever the last bit of their sums is.
    return np.round(found, 9, out=found)


def _edge(scores: Floats, other: NDArray[np.bool_], side: int) -> NDArray[np.intp]:
    """The fiftieth of the scores at one end, at least ``_LEAST_AT_EDGE``, with all that equal the last of them."""
    values = np.sort(side * scores[other])
    border = values[max(_LEAST_AT_EDGE, int(len(values) * _EDGE)) - 1]
    return np.flatnonzero(other & (side * scores <= border))


def _normal_scores(views: Sequence[Floats], groups: Sequence[NDArray[np.intp]]) -> list[Floats]:
    """Of each group of rows, a column for each view: ranks in the whole set as quantiles of the standard normal (van
    der Waerden); what is missing stands in the middle."""
    grid = np.linspace(-6, 6, 4801)
    cumulative = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in grid.tolist()])
    columns: list[list[Floats]] = [[] for _ in groups]
    for view in views:
        ranks = mid_ranks(view)
        for group, found in zip(groups, columns, strict=True):
            found.append(np.interp(np.nan_to_num(ranks[group], nan=0.5), cumulative, grid))
    return [np.stack(found, axis=1) for found in columns]


def _mixture(logits: Floats) -> Floats:
    """Chances by Bayes' rule, with the share of the first kind fitted by EM; half a case of each kind is added."""
    share, chances = 0.5, np.full(len(logits), 0.5)
    for _ in range(500):
        chances = 1 / (1 + np.exp(-np.clip(logits + math.log(share / (1 - share)), -500, 500)))
        before, share = share, (float(chances.sum()) + 0.5) / (len(logits) + 1)
        if abs(share - before) < 1e-9:
            break
    return chances

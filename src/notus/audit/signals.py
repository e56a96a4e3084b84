"""Why a completion's record is suspicious: signals with a chance each, what they say together, and how sure that is.

Every signal is a number for each completion (NaN: not known) and becomes the chance p that a sound record would look
at least so odd. The strength is −log10 of the smallest p, and the signals below ``REASON`` are its reasons, the least
likely first. How many completions chance alone would give each reason is known: ``REASON`` of those it was known for.

* Two views of one thing, such as overall score and ratings, are put on normal scores of their ranks; their difference d
  is signed (positive: the score is higher than the other says). What is usual of d is told by the set itself: its tail
  is fitted to the eleven twelfths that agree best (``stats.false_discovery.tail_p``).
* Views that share the overall score (ratings, wording of the critique) speak together: Σ d/s with s the median of
  abs(d) over 0.6745, and its own tail, which allows for their dependence (after Stouffer et al. 1949). Where several
  are known they count together alone: a view that agrees with the score counts for it. Each stays named as a reason.
* The place among the siblings is told by the same two numbers as the score against the ratings: it is named as a
  reason, and adds nothing to the strength.
* The strength puts the rows in an order. It is that of a normal null, and of differences of plain ranks, which are
  bounded: in simulations with few faults they lead the list more often than those of normal scores do.
* What siblings, model and form of an answer speak for (``audit.context``) is named as a reason; whether a fresh score
  would be far from the given one has an order of its own.
* 10s are weighed between a deserved 10 and a misread 1 (``audit.ratings.tens``), ratings against one another
  (``audit.ratings.judgements``), and a rating against its rationale.

How many of the flagged are sound? q of a completion is the share of sound ones among all that are at least so odd, an
estimate that is held from above. Each signal is a family of its own: q of its cautious p by Benjamini and Hochberg,
over its share of the rate, and the least of these counts. Shares add up to 1: three fifths for the 10s, which are known
to go wrong, equal ones for the rest. The false-discovery rate of all that have q of at most α is then at most α, for
that of a union of families is at most the sum of theirs. What rests on no chance, such as an equal text with another
score, is a fact: a reason without q.

Owns which columns make which signal, the arithmetic on them, and the evidence in words. Where the columns come from is
the business of ``audit.feedback``, what wording says that of ``audit.wording``.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from notus.audit.context.judge import ByContext
from notus.audit.ratings.judgements import Oddest, OddRatings, Signal
from notus.audit.ratings.tens import TEN, weigh_tens
from notus.audit.wording import TextScores
from notus.core.errors import DataError
from notus.core.text import counted, format_list
from notus.stats.false_discovery import benjamini_hochberg, empirical_p, robust_scale, robust_z
from notus.stats.ranks import blocks, normal_difference, rank_difference

__all__ = [
    "FACTS",
    "FEWEST",
    "REASON",
    "SIGNALS",
    "SURE",
    "Chance",
    "CombinedScore",
    "Extra",
    "Judged",
    "Reasons",
    "SignalCombiner",
    "find_reasons",
    "format_odds",
    "margin_signal",
    "margins_against_labels",
    "sibling_difference",
    "union_q",
]

Floats = NDArray[np.float64]

SIGNALS = {
    "ten-for-one": "a 10 that the other judgements show to be a 1 misread",
    "score-against-ratings": "the overall score is far from what the ratings say",
    "score-against-wording": "the overall score is far from what the critique's wording says",
    "score-against-siblings": "the answer's place among its siblings is another by score than by ratings",
    "score-against-context": "the score is far from what siblings, model and form of the answer speak for",
    "score-against-all": "ratings and wording together contradict the overall score",
    "rating-against-rationale": "a rating is far from what its rationale's wording says",
    "rating-against-ratings": "the rating of an aspect is far from what the other aspects say",
    "spread-of-ratings": "repeated ratings of one aspect disagree",
    "same-text-other-score": "another answer to the prompt has the same text and another score",
    "reward-against-label": "a model that has not seen the prompt rewards the rejected answer",
}
"""Slug → what it says of a completion."""

FACTS = frozenset({"same-text-other-score"})
"""Signals that rest on no chance: what they say is so, and how odd it is nobody can tell."""

REASON = 0.01
"""A signal is named as a reason when a sound record would look at least so odd at most so often."""

SURE = 0.1
"""q up to which a completion is counted as flagged: of these at most a tenth should be sound."""

FEWEST = 20
"""Completions below which a share of the set says nothing, and no reason is named."""

_COUNTED_ALREADY = "score-against-siblings"
_OF_JUDGEMENTS = "score-against-context"
_TENS = "ten-for-one"
_SHARE_OF_TENS = 0.6
_LEAST = 1e-300


@dataclass(frozen=True)
class Chance:
    """What is to be thought of the number of completions that a signal speaks against."""

    flagged: int
    """Completions that it speaks against."""
    known: int
    """Completions of which it is known."""
    expected: float | None
    """Completions that chance alone would give; None of a fact."""


@dataclass(frozen=True)
class Extra:
    """A signal that another module brings."""

    slug: str
    """One of ``SIGNALS``."""
    signal: Signal
    evidence: Mapping[int, str]
    """Number of a completion → what speaks against it, for those that it may speak against."""


@dataclass(frozen=True)
class CombinedScore:
    """Suspicion of each completion: a score for each, and more only of those that a signal speaks against."""

    minus_log_p: Floats
    """−log10 of the smallest p; NaN where no signal is known."""
    q: Floats
    """Share of sound ones among the completions at least so odd; NaN where no signal with a chance is known."""
    against: Mapping[str, tuple[NDArray[np.uint32], Floats]]
    """Slug → numbers of the completions with p of at most ``REASON``, ascending, and their p."""
    chances: Mapping[str, Chance]
    """Slug → how many it speaks against, and how many chance alone would give."""

    def reasons(self, start: int, stop: int) -> dict[int, tuple[tuple[float, str], ...]]:
        """Number of a completion → p and slugs, the least likely first; of those from ``start`` to before ``stop``."""
        found: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
        for slug in (slug for slug in SIGNALS if slug in self.against):
            numbers, p = self.against[slug]
            here = slice(*np.searchsorted(numbers, (start, stop)))
            for number, value in zip(numbers[here].tolist(), p[here].tolist(), strict=True):
                found[number].append((value, slug))
        return {number: tuple(sorted(pairs, key=lambda pair: pair[0])) for number, pairs in found.items()}


class SignalCombiner:
    """Takes signal after signal, and holds four numbers of a completion, however many signals there are."""

    def __init__(self, count: int) -> None:
        self._smallest = np.full(count, np.inf)
        self._together, self._ranks_together = np.zeros(count), np.zeros(count)
        self._views: list[tuple[str, Signal]] = []
        self._of_tens, self._others, self._families = np.full(count, np.nan), np.full(count, np.nan), 0
        self._against: dict[str, tuple[NDArray[np.uint32], Floats]] = {}
        self._chances: dict[str, Chance] = {}
        self._low: list[tuple[str, NDArray[np.uint32], Floats, Floats]] = []

    def difference(self, slug: str, values: Floats, ranks: Floats) -> None:
        """Take in signed differences of the overall score from another view. They also speak together.

        A column in which nothing is known says nothing; likewise in ``chance``.

        Args:
            slug: of the signal.
            values: differences of normal scores.
            ranks: the same in ranks, for the order.
        """
        if np.isnan(values).all():
            return
        signal = Signal.of(values, ranks)
        self._name(slug, signal.likely)
        if slug != _COUNTED_ALREADY:
            for sums, differences in ((self._together, values), (self._ranks_together, ranks)):
                scale = robust_scale(differences)
                for block in blocks(len(differences)):
                    sums[block] += robust_z(differences[block], scale)
            self._views.append((slug, signal))

    def chance(self, slug: str, signal: Signal) -> None:
        """Take in a signal that is a chance already; NaN where it is not known."""
        if np.isnan(signal.likely).all():
            return
        self._name(slug, signal.likely)
        if slug != _OF_JUDGEMENTS:
            self._count(slug, signal)

    def combine(self) -> CombinedScore:
        """All signals together."""
        if len(self._views) > 1:
            signal = Signal.of(self._together, self._ranks_together)
            alone = np.isnan(signal.likely)
            self.chance("score-against-all", signal)
            # Where the views speak together, none of them counts alone.
            self._views = [(slug, view.each(lambda p: np.where(alone, p, np.nan))) for slug, view in self._views]
        for slug, view in self._views:
            if not np.isnan(view.likely).all():
                self._count(slug, view)
        found = self._smallest
        found[np.isinf(found)] = np.nan
        np.maximum(found, _LEAST, out=found)
        np.abs(np.log10(found, out=found), out=found)
        of_tens = not np.isnan(self._of_tens).all()
        share = _SHARE_OF_TENS if of_tens and self._families else float(of_tens)
        q = self._of_tens / share if of_tens else np.full(len(found), np.nan)
        if self._families:
            np.fmin(q, self._others * (self._families / (1 - share)), out=q)
        self._name_the_sure(share)
        return CombinedScore(found, np.minimum(q, 1.0, out=q), self._against, self._chances)

    def _name_the_sure(self, share: float) -> None:
        """Nothing is flagged without a reason: what has a low q by a signal is spoken against by it, whatever its p."""
        for slug, numbers, q, likely in self._low:
            of = share if slug == _TENS else (1 - share) / self._families
            sure = q / of <= SURE
            known, p = self._against[slug]
            both, first = np.unique(np.concatenate([known, numbers[sure]]), return_index=True)
            self._against[slug] = both, np.concatenate([p, likely[sure]])[first]
            self._chances[slug] = replace(self._chances[slug], flagged=len(both))

    def _name(self, slug: str, likely: Floats) -> None:
        """Note which completions a signal speaks against."""
        found = np.flatnonzero(likely <= REASON)
        known = int((~np.isnan(likely)).sum())
        self._against[slug] = found.astype(np.uint32), likely[found]
        self._chances[slug] = Chance(len(found), known, None if slug in FACTS else REASON * known)

    def _count(self, slug: str, signal: Signal) -> None:
        """Let a signal count in the strength, and in q where it is a chance."""
        np.fmin(self._smallest, signal.plain, out=self._smallest)
        if slug in FACTS or np.isnan(signal.cautious).all():
            return
        q = benjamini_hochberg(signal.cautious)
        if slug == _TENS:  # no more sure than that this very 10 is false
            self._of_tens = q = np.maximum(q, signal.plain)
        else:
            np.fmin(self._others, q, out=self._others)
            self._families += 1
        low = np.flatnonzero(q <= SURE)
        self._low.append((slug, low.astype(np.uint32), q[low], signal.likely[low]))


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
    aspects: OddRatings | None = None
    repeated: OddRatings | None = None
    extras: tuple[Extra, ...] = ()
    by_context: ByContext | None = None

    def columns(self, start: int, stop: int) -> dict[str, pa.Array]:
        """The columns of the rows from ``start`` to before ``stop``; NaN is null."""
        # Most completions have nothing against them: they are not looked at one by one.
        found: list[tuple[str, ...]] = [()] * (stop - start)
        evidence = [""] * (stop - start)
        for number, pairs in self.combined.reasons(start, stop).items() if self._enough else ():
            found[number - start] = tuple([slug for _, slug in pairs])
            evidence[number - start] = self._evidence(number, pairs)
        floats = {
            "strength": self.combined.minus_log_p,
            "q": self.combined.q,
            "false_ten": self.false_ten,
            "expected_score": self.expected,
        }
        here = {name: values[start:stop] for name, values in floats.items()}
        if not self._enough:
            here = {name: np.full(stop - start, np.nan) for name in floats}
        return {name: pa.array(values, from_pandas=True) for name, values in here.items()} | {
            "reasons": pa.array(found, pa.list_(pa.string())),
            "evidence": pa.array(evidence, pa.string()),
        }

    def counts(self) -> dict[str, int]:
        """Slug → the completions that it speaks against, where there are any."""
        return {slug: chance.flagged for slug, chance in self.chances().items() if chance.flagged}

    def chances(self) -> Mapping[str, Chance]:
        """Slug → how many it speaks against, and how many chance alone would give; of all signals that are known."""
        return self.combined.chances if self._enough else {}

    def suspects(self) -> NDArray[np.uint32]:
        """Numbers of the completions with a reason, ascending."""
        found = [numbers for numbers, _ in self.combined.against.values()] if self._enough else []
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint32)

    def unread(self) -> list[str]:
        """What the signals were not applied to, why, and what they would need; in sentences."""
        count = len(self.means)
        if not self._enough:
            return [f"No reason is named in a set of {count:,} completions: shares of it say nothing below {FEWEST}."]
        said = []
        if self.aspects is not None and self.aspects.skipped:
            skipped = format_list(self.aspects.skipped, len(self.aspects.skipped))
            said.append(
                f"rating-against-ratings does not look at {skipped}: the other aspects tell less than a fifth of "
                "its variance."
            )
        tens = int((self.scores == TEN).sum())
        if tens and np.isnan(self.false_ten).all():
            said.append(
                f"ten-for-one was not applied to {counted(tens, 'completion')} with a 10: it takes an overall score "
                "from 1 to 10, ratings or a critique beside it, and twenty completions at either end of the other "
                "scores."
            )
        return said

    @property
    def _enough(self) -> bool:
        return len(self.means) >= FEWEST

    def _evidence(self, index: int, pairs: tuple[tuple[float, str], ...]) -> str:
        """One line: the score, what each reason sets against it, and how often chance does so."""
        slugs = [slug for _, slug in pairs]
        score = self.scores[index]
        said = [] if math.isnan(score) else [f"overall score {score:g}"]
        if not math.isnan(self.means[index]):
            said.append(f"mean rating {self.means[index]:.2f}")
        if not math.isnan(self.expected[index]):
            said.append(f"the wording speaks for {self.expected[index]:.1f}")
        if _OF_JUDGEMENTS in slugs and self.by_context is not None:
            said.append(self.by_context.evidence(index))
        if "ten-for-one" in slugs and not math.isnan(self.false_ten[index]):
            said.append(f"a misread 1 with probability {self.false_ten[index]:.3f}")
        if "rating-against-rationale" in slugs:
            said.append(f"a rating is {self.rationale[index]:+.1f} from what its rationale speaks for")
        if "rating-against-ratings" in slugs and self.aspects is not None:
            odd = self.aspects
            said.append(
                f"{odd.names[odd.which[index]]} {odd.value[index]:g} is {odd.distance[index]:+.1f} standard deviations "
                "from what the other aspects say"
            )
        if "spread-of-ratings" in slugs:
            said.append(f"repeated ratings have a standard deviation of {self.spreads[index]:.2f}")
        if self.repeated is not None and {"spread-of-ratings", "ten-for-one"} & {*slugs}:
            odd = self.repeated
            said.append(f"a rating of {odd.value[index]:g} is {odd.distance[index]:+.1f} from the mean of the others")
        said += [extra.evidence[index] for extra in self.extras if extra.slug in slugs and index in extra.evidence]
        return "; ".join([*said, *(f"by chance {slug} in {format_odds(p)}" for p, slug in pairs if slug not in FACTS)])


@dataclass(frozen=True)
class Judged:
    """What is known of the completions of a set beside their texts, in columns."""

    means: Floats
    """Mean ratings, NaN where there is none; likewise the others."""
    scores: Floats
    prompts: NDArray[np.unsignedinteger]
    """Number of the prompt of each completion, counted from 0."""
    spreads: Floats
    """Standard deviations of repeated ratings."""
    aspects: OddRatings | None = None
    repeated: OddRatings | None = None
    extras: tuple[Extra, ...] = ()
    tens: bool = True
    """Whether overall scores go from 1 to 10, so that a 10 may be a 1 misread."""
    by_context: ByContext | None = None
    """What the contexts say of the scores."""


def find_reasons(judged: Judged, text_scores: TextScores) -> Reasons:
    """Combine all that is known of the completions of a set.

    Args:
        judged: what judges gave.
        text_scores: finished, of the same completions in the same order. What it holds of rationales is let go of.
    """
    # Signal after signal, and each is forgotten once it is taken in; what is held most of, the rationales, comes first.
    means, scores, aspects, repeated = judged.means, judged.scores, judged.aspects, judged.repeated
    combiner = SignalCombiner(len(means))
    signal, distance = _rationale_signal(len(means), text_scores)
    combiner.chance("rating-against-rationale", signal)
    del signal
    expected = np.asarray(text_scores.expected)
    against, ranks = normal_difference(scores, means), rank_difference(scores, means)
    combiner.difference("score-against-ratings", against, ranks)
    combiner.difference("score-against-wording", normal_difference(scores, expected), rank_difference(scores, expected))
    beside = sibling_difference(against, judged.prompts)
    combiner.difference("score-against-siblings", beside, beside)
    del against, ranks, beside
    weighed = weigh_tens(scores if judged.tens else np.full(len(scores), np.nan), [means, expected])
    ten = _ten_signal(1 - weighed.false, weighed.p)
    if repeated is not None and repeated.tens is not None:
        more = _ten_signal(repeated.tens.plain, repeated.tens.cautious)
        ten = Signal(*(np.fmin(a, b) for a, b in zip(ten.parts, more.parts, strict=True)))
    combiner.chance("ten-for-one", ten)
    same = np.asarray(text_scores.repeated, dtype=np.int8)
    if same.any():
        share = np.where(same > 0, same.mean(), np.nan)
        combiner.chance("same-text-other-score", Signal(share, share, share))
    if aspects is not None:
        combiner.chance("rating-against-ratings", aspects.signal)
    if repeated is not None:
        combiner.chance("spread-of-ratings", repeated.signal)
    for extra in judged.extras:
        combiner.chance(extra.slug, extra.signal)
    if judged.by_context is not None:
        combiner.chance(_OF_JUDGEMENTS, Signal.of(judged.by_context.context.odd))
    return Reasons(
        combiner.combine(),
        weighed.false,
        means,
        scores,
        expected,
        judged.spreads,
        distance,
        aspects,
        repeated,
        judged.extras,
        judged.by_context,
    )


def _ten_signal(sound: Floats, p: Floats) -> Signal:
    """Of 10s: the chance of being no misread 1. It says nothing above ½, nor more than decoys that look as bad do."""
    unlikely = sound > 0.5
    return Signal(np.maximum(sound, _LEAST), np.maximum(sound, p), np.where(unlikely, 1.0, p))


def format_odds(p: float) -> str:
    """A chance in words that need no zeros."""
    return "1 of a million or less" if p < 1e-6 else f"1 of {1 / p:,.0f}" if p < 0.1 else f"{p:.0%}"


def _rationale_signal(count: int, text_scores: TextScores) -> tuple[Signal, NDArray[np.float32]]:
    """Of each completion, the smallest p of its ratings times their number, and the distance that it stands for."""
    odd = Oddest(count)
    for owners, values, predicted in text_scores.rationales():
        signal = Signal.of(normal_difference(values, predicted), rank_difference(values, predicted))
        odd.take(owners, 0, signal, values, values - predicted)
    found = odd.finish(("",), ())
    if found is None:
        nothing = np.full(count, np.nan)
        return Signal(nothing, nothing, nothing), nothing.astype(np.float32)
    return found.signal, found.distance


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


def margin_signal(margins: Floats) -> Signal:
    """Chance that a sound pair has a margin so low: the lower tail about the median margin; NaN stays.

    As in ``margins_against_labels``, but with the tail that the margins themselves have.
    """
    middle = float(np.nanmedian(margins)) if np.isfinite(margins).any() else math.nan
    below = margins - middle
    return Signal.of(below).each(lambda p: np.where(below < 0, p / 2, np.where(np.isnan(below), np.nan, 1 - p / 2)))


def union_q(families: Sequence[Floats]) -> Floats:
    """q of each row from cautious p of several families that share the rate evenly; NaN where none knows of it."""
    q = np.full(len(families[0]), np.nan)
    for p in families:
        np.fmin(q, benjamini_hochberg(p) * len(families), out=q)
    return np.asarray(np.minimum(q, 1.0))

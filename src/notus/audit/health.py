"""The health of a feedback set: what its scores do, as counts with intervals and as sentences.

Owns the figures of the set as a whole: ties, disagreement of critique and ratings, N/A, length preference, means per
model and source, the 10s. Which single completion is suspicious is owned by ``audit.feedback``; tables and pictures are
owned by who shows them.
"""

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from notus.core.records import DESCRIPTIVE, VERIFIED, Feedback, Rating, Scale
from notus.core.text import counted
from notus.preferences.repair import verdict
from notus.preferences.scores import STRATEGIES
from notus.stats.intervals import Estimate, Share, clustered_mean

__all__ = ["Beyond", "ChoiceCounts", "Collector", "Columns", "Group", "Health", "Ties"]

Numbers = NDArray[np.float64]
_COMPARED = ("critique", "mean-rating")


@dataclass(frozen=True)
class Ties:
    """How often one strategy cannot tell completions apart."""

    prompts: int
    """Prompts with at least two scored completions."""
    best: int
    """… in which several completions share the best score, but not all: the first of them is chosen."""
    all: int
    """… in which all scores are equal: there is no pair."""
    too_few: int
    """Prompts with fewer than two scored completions: there is no pair."""


@dataclass(frozen=True)
class ChoiceCounts:
    """Whether critique and mean rating choose the same answer, each its first maximum."""

    differ: Share
    """Of the prompts in which at least two completions have both scores: the two choices differ."""
    by_tie: int
    """… only by how a tie is broken: some answer is among the best of both."""
    apart: int
    """… whatever way ties are broken: no answer is among the best of both."""


@dataclass(frozen=True)
class Group:
    """Means over the completions of one model or one source; the intervals take prompts as clusters."""

    name: str
    completions: int
    mean_rating: float | None
    mean_rating_interval: Estimate | None
    overall_score: float | None
    overall_score_interval: Estimate | None
    rated: int
    scored: int


_END = 16
"""Different values of an aspect that are kept at each end."""
_ENOUGH = 20
"""Ratings of an aspect from which on it is said that few of them lie beyond all others."""


@dataclass(frozen=True)
class Beyond:
    """A few ratings that lie far from all others of their aspect, as a 55 among 1 to 5: mostly a slip in typing."""

    values: tuple[float, ...]
    count: int
    of: int
    low: float
    """The least of all others."""
    high: float
    """The greatest of all others."""

    def __str__(self) -> str:
        named = ", ".join(f"{value:g}" for value in self.values[:3]) + (", …" if len(self.values) > 3 else "")
        lie = "lies" if self.count == 1 else "lie"
        return (
            f"{self.count:,} of {self.of:,} ratings ({named}) {lie} far from all others, which go from {self.low:g} to "
            f"{self.high:g}"
        )


@dataclass(frozen=True)
class Health:
    """The figures of a feedback set."""

    prompts: int
    """Rows, each a prompt with its completions."""
    repeated_prompts: int
    """Rows whose prompt stood in an earlier row."""
    completions: int
    per_prompt: dict[int, int]
    """Number of completions → number of prompts."""
    rated: int
    """Completions with a mean rating."""
    scored: int
    """Completions with an overall score."""
    not_applicable: dict[str, Share]
    """Aspect → ratings that are N/A."""
    choice: ChoiceCounts
    ties: dict[str, Ties]
    """Strategy → ties."""
    longer_best: dict[str, Share]
    """Strategy → prompts in which the best answer is longer (in characters) than the worst; equal lengths left out."""
    models: tuple[Group, ...]
    sources: tuple[Group, ...]
    scores: dict[float, int]
    """Overall score → completions."""
    means: dict[float, int]
    """Mean rating, rounded to quarters → completions."""
    tens: dict[str, int]
    """Verdict of the published rule → completions with an overall score of 10."""
    other_scales: dict[str, dict[str, int]] = field(default_factory=dict)
    """``mean rating`` or ``overall score`` → scale → completions that are left out of the figures above, because most
    stand on another scale."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Aspect that measures no quality, and is in no mean rating → ratings of it."""
    beyond: dict[str, Beyond] = field(default_factory=dict)
    """Aspect without a stated scale → ratings that lie beyond all others."""
    flags: dict[str, int] = field(default_factory=dict)
    """Flag → completions. See ``audit.feedback``."""

    def sentences(self) -> list[str]:
        """The figures in words, the most important first."""
        size = f"{counted(self.prompts, 'prompt')} with {counted(self.completions, 'completion')}"
        said = [f"{size}; with a mean rating: {self.rated:,}, with an overall score: {self.scored:,}."]
        if self.repeated_prompts:
            more = counted(self.repeated_prompts, "further row has", "further rows have")
            said.append(f"{more} a prompt that stands on another row too; notus clean looks at such rows.")
        if tens := sum(self.tens.values()):
            verdicts = ", ".join(f"{count:,} {name}" for name, count in sorted(self.tens.items()))
            carry = counted(tens, "completion carries", "completions carry")
            said.append(f"{carry} an overall score of 10; the published rule says: {verdicts}.")
        if self.choice.differ.of:
            said.append(
                f"Critique and mean rating choose different answers in {self.choice.differ} prompts: "
                f"{self.choice.apart:,} however ties are broken, {self.choice.by_tie:,} only because of ties."
            )
        for name, scales in self.other_scales.items():
            named = ", ".join(f"{scale}: {counted(count, 'completion')}" for scale, count in scales.items())
            said.append(f"On another scale than most, and left out of the figures: {name} on {named}.")
        if self.left_out:
            named = ", ".join(f"{aspect} ({count:,})" for aspect, count in self.left_out.items())
            said.append(f"In no mean rating, because they measure no quality: {named}.")
        said += [f"{aspect}: {few}; is that a slip?" for aspect, few in self.beyond.items()]
        said += [_tie_sentence(name, ties) for name, ties in self.ties.items() if ties.prompts]
        said += [
            f"By {name} the best answer is longer than the worst in {share} prompts."
            for name, share in self.longer_best.items()
            if share.of
        ]
        said += [f"{aspect}: N/A in {share} ratings." for aspect, share in self.not_applicable.items() if share.count]
        flagged = {name: counted(n, "completion is", "completions are") for name, n in sorted(self.flags.items())}
        return said + [f"{said_of} flagged {name}." for name, said_of in flagged.items()]


class Collector:
    """Takes feedback row by row, and holds of each completion its two scores and its model, some twenty bytes.

    Collectors of the parts of a set are put together with ``merge``, in the order of the set. The figures do not depend
    on how it was divided: means and intervals are computed at the end, from the same columns. (Sums per part would need
    less memory; but a prompt may stand in two parts, and rounding would depend on the border.)
    """

    def __init__(self) -> None:
        self.columns = Columns()
        self._ratings: Counter[str] = Counter()
        self._not_applicable: Counter[str] = Counter()
        self._ties = {name: Counter[str]() for name in STRATEGIES}
        self._lengths = {name: Counter[str]() for name in STRATEGIES}
        self._choice: Counter[str] = Counter()
        self._tens: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._ends: dict[str, _Ends] = {}

    def add(self, feedback: Feedback) -> None:
        """Take one row in."""
        scores = {name: [score(item) for item in feedback.completions] for name, score in STRATEGIES.items()}
        self.columns.add(feedback, scores["mean-rating"])
        self._add_ratings([rating for completion in feedback.completions for rating in completion.ratings])
        for completion in feedback.completions:
            if what := verdict(completion):
                self._tens[what] += 1
        lengths = [len(completion.text) for completion in feedback.completions]
        if not self.columns.last_on_one_scale():
            return
        for name, values in scores.items():
            self._ties[name][_tie(values)] += 1
            self._lengths[name][_longer(values, lengths)] += 1
        self._choice[_choice(*(scores[name] for name in _COMPARED))] += 1

    def merge(self, other: "Collector") -> None:
        """Take in what another collector holds of the rows that follow."""
        self.columns.merge(other.columns)
        for mine, others in (
            (self._ratings, other._ratings),
            (self._not_applicable, other._not_applicable),
            (self._choice, other._choice),
            (self._tens, other._tens),
            (self._left_out, other._left_out),
            *((self._ties[name], other._ties[name]) for name in STRATEGIES),
            *((self._lengths[name], other._lengths[name]) for name in STRATEGIES),
        ):
            mine.update(others)
        for name, ends in other._ends.items():
            self._ends.setdefault(name, _Ends()).merge(ends)

    def health(self, flags: dict[str, int]) -> Health:
        """The figures of all that was taken in."""
        columns = self.columns
        means, scores = columns.scored()
        sizes = Counter(columns.sizes)
        rounded = np.round(means[~np.isnan(means)] * 4) / 4
        return Health(
            prompts=len(columns.sizes),
            repeated_prompts=len(columns.sizes) - len(np.unique(np.asarray(columns.prompts))),
            completions=len(columns.means),
            per_prompt=dict(sorted(sizes.items())),
            rated=int(np.isfinite(means).sum()),
            scored=int(np.isfinite(scores).sum()),
            not_applicable={
                aspect: Share.make(self._not_applicable[aspect], count)
                for aspect, count in sorted(self._ratings.items())
            },
            choice=self._choices(),
            ties={name: _ties(counts) for name, counts in self._ties.items()},
            longer_best={
                name: Share.make(counts["longer"], counts["longer"] + counts["shorter"])
                for name, counts in self._lengths.items()
            },
            models=_groups(columns.models, columns.by_model(), columns),
            sources=_groups(columns.sources, columns.by_source(), columns),
            scores=_count_values(scores[~np.isnan(scores)]),
            means=_count_values(rounded),
            tens=dict(sorted(self._tens.items())),
            other_scales=columns.other_scales(),
            left_out=dict(sorted(self._left_out.items())),
            beyond={name: found for name, ends in sorted(self._ends.items()) if (found := ends.beyond())},
            flags=dict(sorted(flags.items())),
        )

    def _add_ratings(self, ratings: Sequence[Rating]) -> None:
        aspects = [rating.aspect for rating in ratings]
        self._ratings.update(aspects)
        self._not_applicable.update([rating.aspect for rating in ratings if rating.value is None])
        if not (DESCRIPTIVE | VERIFIED).isdisjoint(aspects):
            self._left_out.update([rating.aspect for rating in ratings if not rating.measures_quality])
        for rating in ratings:
            if rating.value is not None and rating.scale is None:  # a scale that is said was kept to where it was read
                self._ends.setdefault(rating.aspect, _Ends()).add(rating.value)

    def _choices(self) -> ChoiceCounts:
        counts = self._choice
        differ = counts["by-tie"] + counts["apart"]
        return ChoiceCounts(Share.make(differ, differ + counts["same"]), counts["by-tie"], counts["apart"])


class _Ends:
    """The least and the greatest values of an aspect, each with how often it stands there."""

    def __init__(self) -> None:
        self._counts: dict[float, int] = {}
        self._total = 0

    def add(self, value: float, times: int = 1) -> None:
        """Take a value in. One that falls out between the ends is never among them later: they only move apart."""
        self._total += times
        self._counts[value] = self._counts.get(value, 0) + times
        if len(self._counts) > 4 * _END:
            self._trim()

    def merge(self, other: "_Ends") -> None:
        """Take in what stands at the ends of another part."""
        for value, times in other._counts.items():
            self.add(value, times)
        self._total += other._total - sum(other._counts.values())

    def _trim(self) -> None:
        values = sorted(self._counts)
        self._counts = {value: self._counts[value] for value in (*values[:_END], *values[-_END:])}

    def beyond(self) -> Beyond | None:
        """The few values that lie further from all others than these lie from one another; None without any."""
        if self._total < _ENOUGH:
            return None
        self._trim()
        values = sorted(self._counts)
        for order in (values[::-1], values):
            for few in range(1, min(_END, len(order) - 1)):
                count = sum(self._counts[value] for value in order[:few])
                if count > max(1, self._total // 100):
                    break
                nearest, width = order[few], abs(order[few] - order[-1])
                if width and abs(order[few - 1] - nearest) > width:
                    low, high = sorted((nearest, order[-1]))
                    return Beyond(tuple(sorted(order[:few])), count, self._total, low, high)
        return None


class Columns:
    """What is held of each row and each completion: numbers in columns, and no object for any of them."""

    def __init__(self) -> None:
        self.prompts, self.sizes, self._sources = array("Q"), array("I"), array("I")
        self.means, self.scores, self._models = array("d"), array("d"), array("I")
        self._mean_scales, self._score_scales = array("H"), array("H")
        self.models: dict[str, int] = {}
        self.sources: dict[str, int] = {}
        self.scales: dict[Scale | None, int] = {None: 0}

    def add(self, feedback: Feedback, means: Sequence[float | None]) -> None:
        """Take one row in, whose mean ratings are given."""
        self.prompts.append(int(feedback.prompt_id, 16))
        self.sizes.append(len(feedback.completions))
        self._sources.append(self.sources.setdefault(feedback.source, len(self.sources)))
        for item, mean in zip(feedback.completions, means, strict=True):
            score = item.overall_score
            self.means.append(math.nan if mean is None else mean)
            self.scores.append(math.nan if score is None else score)
            self._models.append(self.models.setdefault(item.model, len(self.models)))
            on = None if mean is None else next((each.scale for each in item.ratings if each.scale), None)
            self._mean_scales.append(self.scales.setdefault(on, len(self.scales)))
            on = item.critique.scale if item.critique else None
            self._score_scales.append(self.scales.setdefault(on, len(self.scales)))

    def last_on_one_scale(self) -> bool:
        """Whether the answers of the row that came last are on one scale each, by rating and by overall score."""
        last = self.sizes[-1]
        return all(len({*numbers[-last:]} - {0}) < 2 for numbers in (self._mean_scales, self._score_scales))

    def merge(self, other: "Columns") -> None:
        """Put the columns of the rows that follow behind these."""
        for mine, others in ((self.models, other.models), (self.sources, other.sources)):
            for name in others:
                mine.setdefault(name, len(mine))
        for scale in other.scales:
            self.scales.setdefault(scale, len(self.scales))
        places = [self.scales[scale] for scale in other.scales]
        self._mean_scales.extend([places[number] for number in other._mean_scales])
        self._score_scales.extend([places[number] for number in other._score_scales])
        self._models.extend(_renumber(other._models, other.models, self.models))
        self._sources.extend(_renumber(other._sources, other.sources, self.sources))
        for name in ("prompts", "sizes", "means", "scores"):
            getattr(self, name).extend(getattr(other, name))

    def scored(self) -> tuple[Numbers, Numbers]:
        """Mean rating and overall score of each completion; NaN where there is none, or on another scale than most."""
        means, scores = np.asarray(self.means), np.asarray(self.scores)
        if len(self.scales) < 3:
            return means, scores
        return _on_one(means, np.asarray(self._mean_scales)), _on_one(scores, np.asarray(self._score_scales))

    def scales_of_most(self) -> tuple[Scale | None, Scale | None]:
        """The scales that ``scored`` is on, of mean ratings and of overall scores; None where nothing says it."""
        names = list(self.scales)
        values = (self.means, self._mean_scales), (self.scores, self._score_scales)
        mean, score = (_commonest(np.asarray(on)[~np.isnan(np.asarray(of))]) for of, on in values)
        return names[mean], names[score]

    def other_scales(self) -> dict[str, dict[str, int]]:
        """What ``scored`` leaves out: ``mean rating`` or ``overall score`` → scale → completions."""
        names = {number: f"{scale.low:g} to {scale.high:g}" for scale, number in self.scales.items() if scale}
        found: dict[str, dict[str, int]] = {}
        columns = {"mean rating": (self.means, self._mean_scales), "overall score": (self.scores, self._score_scales)}
        for what, (values, scales) in columns.items():
            numbers = np.asarray(scales)[~np.isnan(np.asarray(values))]
            counts = np.bincount(numbers, minlength=len(self.scales))
            most = _commonest(numbers)
            other = {name: int(counts[number]) for number, name in names.items() if number != most and counts[number]}
            found |= {what: other} if other else {}
        return found

    def by_model(self) -> NDArray[np.uint32]:
        """Number of the model of each completion."""
        return np.asarray(self._models)

    def by_source(self) -> NDArray[np.uint32]:
        """Number of the source of each completion."""
        return np.repeat(np.asarray(self._sources), self.sizes)

    def by_prompt(self) -> NDArray[np.uint32]:
        """Number of the prompt of each completion, counted from 0; the same prompt may stand in several rows."""
        _, numbers = np.unique(np.asarray(self.prompts), return_inverse=True)
        return np.repeat(numbers.astype(np.uint32), self.sizes)


def _commonest(scales: NDArray[np.unsignedinteger]) -> int:
    """Number of the scale that most stand on, of those that are known; 0 where none is."""
    counts = np.bincount(scales, minlength=1)
    counts[0] = 0
    return int(counts.argmax())


def _on_one(values: Numbers, scales: NDArray[np.unsignedinteger]) -> Numbers:
    """Values on the commonest scale, and those that do not say on which; NaN for all others."""
    most = _commonest(scales[~np.isnan(values)])
    return np.where((scales == 0) | (scales == most), values, np.nan)


def _renumber(numbers: "array[int]", theirs: dict[str, int], ours: dict[str, int]) -> "array[int]":
    places = np.array([ours[name] for name in theirs], dtype=np.uint32)
    return array("I", places[np.asarray(numbers)].tobytes() if len(numbers) else b"")


def _groups(names: dict[str, int], numbers: NDArray[np.uint32], columns: Columns) -> tuple[Group, ...]:
    """One group for each name; ``numbers`` says to which each completion belongs."""
    prompts = columns.by_prompt()
    means, scores = columns.scored()
    return tuple(_group(name, numbers == number, prompts, means, scores) for name, number in sorted(names.items()))


def _group(
    name: str, members: NDArray[np.bool_], prompts: NDArray[np.uint32], means: Numbers, scores: Numbers
) -> Group:
    rated, scored = members & ~np.isnan(means), members & ~np.isnan(scores)
    return Group(
        name=name,
        completions=int(members.sum()),
        mean_rating=float(means[rated].mean()) if rated.any() else None,
        mean_rating_interval=_interval(means[rated], prompts[rated]),
        overall_score=float(scores[scored].mean()) if scored.any() else None,
        overall_score_interval=_interval(scores[scored], prompts[scored]),
        rated=int(rated.sum()),
        scored=int(scored.sum()),
    )


def _interval(values: Numbers, prompts: NDArray[np.uint32]) -> Estimate | None:
    return clustered_mean(values, prompts) if len(values) else None  # type: ignore[arg-type]  # arrays do as sequences


def _count_values(values: Numbers) -> dict[float, int]:
    return dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True))


def _tie(values: Sequence[float | None]) -> str:
    scored = [value for value in values if value is not None]
    if len(scored) < 2:
        return "too-few"
    if len(set(scored)) == 1:
        return "all"
    return "best" if scored.count(max(scored)) > 1 else "none"


def _ties(counts: Counter[str]) -> Ties:
    usable = counts["none"] + counts["best"] + counts["all"]
    return Ties(prompts=usable, best=counts["best"], all=counts["all"], too_few=counts["too-few"])


def _tie_sentence(name: str, ties: Ties) -> str:
    said = f"By {name}, all answers tie in {Share.make(ties.all, ties.prompts)} prompts, which give no pair; "
    said += f"in {ties.best:,} more, several but not all share the best score, and the first of them is chosen"
    have = counted(ties.too_few, "prompt has", "prompts have")
    return said + (f"; {have} fewer than two scored answers." if ties.too_few else ".")


def _longer(values: Sequence[float | None], lengths: Sequence[int]) -> str:
    """Best against worst: one pair for each prompt, so that the pairs are independent."""
    scored = [(value, length) for value, length in zip(values, lengths, strict=True) if value is not None]
    if len(scored) < 2:
        return "none"
    best, worst = max(scored, key=lambda item: item[0]), min(scored, key=lambda item: item[0])
    if best[0] == worst[0] or best[1] == worst[1]:
        return "none"
    return "longer" if best[1] > worst[1] else "shorter"


def _choice(critique: Sequence[float | None], mean: Sequence[float | None]) -> str:
    """Compare the first maxima, over the completions that have both scores."""
    both = [(a, b) for a, b in zip(critique, mean, strict=True) if a is not None and b is not None]
    if len(both) < 2:
        return "too-few"
    first, second = (_best([pair[side] for pair in both]) for side in (0, 1))
    if first[0] == second[0]:
        return "same"
    return "by-tie" if set(first) & set(second) else "apart"


def _best(values: Sequence[float]) -> list[int]:
    best = max(values)
    return [index for index, value in enumerate(values) if value == best]

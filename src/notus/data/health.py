"""The health of a feedback set: what its scores do, as counts with intervals and as sentences.

Owns the figures of the set as a whole: ties, disagreement of critique and ratings, N/A, length preference, means per
model and source, the 10s. Which single completion is suspicious is owned by ``data.audit``; tables and pictures are
owned by who shows them.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from notus.core.records import Completion, Feedback
from notus.core.statistics import Estimate, clustered_mean, proportion
from notus.data.binarize import STRATEGIES
from notus.data.repair import verdict

__all__ = ["Choice", "Collector", "Group", "Health", "Share", "Ties"]

_COMPARED = ("critique", "mean-rating")


@dataclass(frozen=True)
class Share:
    """A count out of so many, with Wilson's 95 % interval; None where there is nothing to count."""

    count: int
    of: int
    interval: Estimate | None

    @classmethod
    def make(cls, count: int, of: int) -> "Share":
        """The share with its interval. The cases must be independent, for example one per prompt."""
        return cls(count, of, proportion(count, of) if of else None)

    def __str__(self) -> str:
        if self.interval is None:
            return "0 of 0"
        low, high = self.interval.low, self.interval.high
        return f"{self.count:,} of {self.of:,} ({self.count / self.of:.1%}, 95 % {low:.1%} to {high:.1%})"


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
class Choice:
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
    choice: Choice
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
    flags: dict[str, int] = field(default_factory=dict)
    """Flag → completions. See ``data.audit``."""

    def sentences(self) -> list[str]:
        """The figures in words, the most important first."""
        said = [f"{self.prompts:,} prompts with {self.completions:,} completions; {self.rated:,} have a mean rating, "]
        said[0] += f"{self.scored:,} an overall score."
        if tens := sum(self.tens.values()):
            verdicts = ", ".join(f"{count:,} {name}" for name, count in sorted(self.tens.items()))
            said.append(f"{tens:,} completions carry an overall score of 10; the published rule says: {verdicts}.")
        if self.choice.differ.of:
            said.append(
                f"Critique and mean rating choose different answers in {self.choice.differ} prompts: "
                f"{self.choice.apart:,} however ties are broken, {self.choice.by_tie:,} only because of ties."
            )
        said += [_tie_sentence(name, ties) for name, ties in self.ties.items() if ties.prompts]
        said += [
            f"By {name} the best answer is longer than the worst in {share} prompts."
            for name, share in self.longer_best.items()
            if share.of
        ]
        said += [f"{aspect}: N/A in {share} ratings." for aspect, share in self.not_applicable.items() if share.count]
        return said + [f"{count:,} completions are flagged {name}." for name, count in sorted(self.flags.items())]


class Collector:
    """Takes feedback row by row, and holds of each completion only what the figures need."""

    def __init__(self) -> None:
        self.prompts: Counter[str] = Counter()
        self._per_prompt: Counter[int] = Counter()
        self._ratings: Counter[str] = Counter()
        self._not_applicable: Counter[str] = Counter()
        self._ties = {name: Counter[str]() for name in STRATEGIES}
        self._lengths = {name: Counter[str]() for name in STRATEGIES}
        self._choice: Counter[str] = Counter()
        self._scores: Counter[float] = Counter()
        self._means: Counter[float] = Counter()
        self._tens: Counter[str] = Counter()
        self._by_model: defaultdict[str, _Values] = defaultdict(_Values)
        self._by_source: defaultdict[str, _Values] = defaultdict(_Values)

    def add(self, feedback: Feedback) -> None:
        """Take one row in."""
        prompt = feedback.prompt_id
        self.prompts[prompt] += 1
        self._per_prompt[len(feedback.completions)] += 1
        for completion in feedback.completions:
            self._add_completion(completion, prompt, feedback.source)
        lengths = [len(completion.text) for completion in feedback.completions]
        scores = {name: [score(item) for item in feedback.completions] for name, score in STRATEGIES.items()}
        for name, values in scores.items():
            self._ties[name][_tie(values)] += 1
            self._lengths[name][_longer(values, lengths)] += 1
        self._choice[_choice(*(scores[name] for name in _COMPARED))] += 1

    def health(self, flags: dict[str, int]) -> Health:
        """The figures of all that was taken in."""
        rows = self.prompts.total()
        return Health(
            prompts=rows,
            repeated_prompts=rows - len(self.prompts),
            completions=sum(size * count for size, count in self._per_prompt.items()),
            per_prompt=dict(sorted(self._per_prompt.items())),
            rated=self._means.total(),
            scored=self._scores.total(),
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
            models=_groups(self._by_model),
            sources=_groups(self._by_source),
            scores=dict(sorted(self._scores.items())),
            means=dict(sorted(self._means.items())),
            tens=dict(sorted(self._tens.items())),
            flags=dict(sorted(flags.items())),
        )

    def _add_completion(self, completion: Completion, prompt: str, source: str) -> None:
        for rating in completion.ratings:
            self._ratings[rating.aspect] += 1
            self._not_applicable[rating.aspect] += rating.value is None
        mean, score = completion.mean_rating, completion.overall_score
        if mean is not None:
            self._means[round(mean * 4) / 4] += 1
        if score is not None:
            self._scores[score] += 1
        if what := verdict(completion):
            self._tens[what] += 1
        for values in (self._by_model[completion.model], self._by_source[source]):
            values.add(mean, score, prompt)

    def _choices(self) -> Choice:
        counts = self._choice
        differ = counts["by-tie"] + counts["apart"]
        return Choice(Share.make(differ, differ + counts["same"]), counts["by-tie"], counts["apart"])


class _Values:
    """The scores of one group of completions, each with its prompt."""

    def __init__(self) -> None:
        self.completions = 0
        self.means: list[float] = []
        self.mean_prompts: list[str] = []
        self.scores: list[float] = []
        self.score_prompts: list[str] = []

    def add(self, mean: float | None, score: float | None, prompt: str) -> None:
        self.completions += 1
        if mean is not None:
            self.means.append(mean)
            self.mean_prompts.append(prompt)
        if score is not None:
            self.scores.append(score)
            self.score_prompts.append(prompt)


def _groups(groups: dict[str, _Values]) -> tuple[Group, ...]:
    return tuple(
        Group(
            name=name,
            completions=values.completions,
            mean_rating=_mean(values.means),
            mean_rating_interval=clustered_mean(values.means, values.mean_prompts) if values.means else None,
            overall_score=_mean(values.scores),
            overall_score_interval=clustered_mean(values.scores, values.score_prompts) if values.scores else None,
            rated=len(values.means),
            scored=len(values.scores),
        )
        for name, values in sorted(groups.items())
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


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
    return said + (f"; {ties.too_few:,} prompts have fewer than two scored answers." if ties.too_few else ".")


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

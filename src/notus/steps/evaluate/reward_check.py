"""The step that scores pairs, or n answers of which some are good, by a ranker: how often a good one wins."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar

import pydantic

from notus.core.artifacts import FINDINGS, HELD_OUT, PAIR_SCORES, SCORES, Artifact
from notus.core.errors import DataError
from notus.core.records import Feedback, Unpaired
from notus.core.tables import table_exists
from notus.evaluate.choices.figures import ChoiceScore, choice_report, score_choices
from notus.evaluate.choices.rows import Choice, from_rankings, from_unpaired
from notus.evaluate.rewards import PairScore, default_tie, reward_report, score_pairs
from notus.llm.protocol import Ranker
from notus.rankers.ref import RankerRef, RankerText
from notus.report.evaluations.rewards import reward_sections
from notus.report.sets.choices import choice_sections
from notus.stats.intervals import estimates_as_json
from notus.steps.base import ChoicesRef, Context, Refs
from notus.steps.evaluate.ranked import (
    Ranked,
    by_kind,
    models_named,
    open_asking_if,
    pairs_of,
    rankers_of,
    write_pair_scores,
)
from notus.steps.evaluate.scores import note_estimate

__all__ = ["RewardCheck"]

T = TypeVar("T")


_CHOICES = Artifact("choice-scores", "choices.parquet", ChoiceScore)
"""Each choice among n answers with the scores that a ranker gives them."""


class RewardCheck(Ranked):
    """Accuracy of a ranker on preference pairs or on best-of-n rows, by subset, with its bias to length."""

    step_type: ClassVar[str] = "reward-check"
    least_written: ClassVar[float] = 0.05
    leaves: ClassVar[tuple[Artifact, ...]] = (PAIR_SCORES, _CHOICES, SCORES, FINDINGS)
    compared_by: ClassVar[tuple[str, ...]] = ("tie_counts",)
    draws: ClassVar[bool] = False
    data: ChoicesRef = "data"
    """Preference pairs; in the run directory of a step those that it held out, where there are some. Or prompts with
    several answers of which some are good: RewardBench 2, rankings, or single answers with a label."""
    ranker: RankerText
    """In its text form, such as ``length`` or ``reward-model:PATH``."""
    tie: float | None = pydantic.Field(default=None, ge=0, le=0.5)
    """What two equal scores count. Null: ½, and 0 where every pair is RewardBench's, whose rule that is."""
    subset: str = "subset"
    """Column that names the part of the set; ``source`` takes the row's source."""
    question: str | None = None
    """Of several questions on which answers are ranked, the one that says which are good; null takes the only one."""
    scale: float | None = pydantic.Field(default=None, gt=0)
    """Makes a logit of a margin: 1 for a Bradley–Terry reward model, β for an implicit reward. null: no calibration."""

    settings_if_given: ClassVar[frozenset[str]] = Ranked.settings_if_given | {"question"}

    models: Refs = pydantic.Field(default_factory=lambda given: models_named((given.get("ranker", ""),)), exclude=True)
    """What the ranker names; it is filled in, so that a changed model is another input."""

    @pydantic.field_serializer("ranker")
    def _by_kind(self, ranker: str) -> str:
        return by_kind(ranker)

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether the ranker is a model of ours, whose last bits depend on the number of threads."""
        return RankerRef.read(self.ranker).about.computes

    def run(self, context: Context) -> None:
        """Score pairs or choices by a ranker, and sum up how often a good answer wins."""
        choices = self._choices(context)
        if choices is None:
            if self.question is not None:
                raise DataError(
                    f"question is for choices among several answers, and {context.inputs['data']} holds pairs, whose "
                    "chosen answer is the good one; leave it out"
                )
            self._check_pairs(context)
        else:
            self._check_choices(context, choices)

    def _check_pairs(self, context: Context) -> None:
        preferences = pairs_of(context, self, context.inputs["data"])
        tie = default_tie(preferences, subset=self.subset) if self.tie is None else self.tie
        tally = context.tally("reward-check")
        name, scores = self._scored(
            context,
            2 * len(preferences),
            lambda ranker: score_pairs(ranker, preferences, tally, tie=tie, subset=self.subset),
        )
        if not scores:
            raise context.run.refuse_losses(f"{context.inputs['data']} holds no pair that can be scored")
        report = reward_report(name, scores, scale=self.scale)
        context.write(PAIR_SCORES, scores, PairScore)
        write_pair_scores(context, scores, [(s.prompt_id, s.sample, s.value, s.reason) for s in scores])
        context.write_findings(reward_sections(report, tie=tie))
        context.note(ranker=name, asked=report.asked, scored=report.scored, ties=report.ties, tie_counts=tie)
        context.note(accuracy=note_estimate(report.accuracy), total=note_estimate(report.total))

    def _check_choices(self, context: Context, choices: list[Choice]) -> None:
        """Score choices among n answers.

        Raises:
            DataError: if there is none, or settings are given that are for pairs.
        """
        if not choices:
            raise context.run.refuse_losses(f"{context.inputs['data']} holds no prompt with good and bad answers")
        for setting in ("tie", "scale"):
            if getattr(self, setting) is not None:
                raise DataError(
                    f"{setting} is for pairs, and {context.inputs['data']} holds choices among several answers, where "
                    "a shared first place counts the share of good answers in it; leave it out"
                )
        pairs = sum(len(choice.answers) * (len(choice.answers) - 1) for choice in choices)
        tally = context.tally("reward-check")
        name, scores = self._scored(context, pairs, lambda ranker: score_choices(ranker, choices, tally))
        report = choice_report(name, scores)
        context.write(_CHOICES, scores)
        write_pair_scores(context, scores, [(s.prompt_id, s.sample, s.value, s.reason) for s in scores])
        context.write_findings(choice_sections(report))
        context.note(ranker=name, tie_counts="shared")
        context.note(**estimates_as_json({"report": report}, "share"))

    def _scored(self, context: Context, total: int, work: Callable[[Ranker], list[T]]) -> tuple[str, list[T]]:
        """What a function makes of the ranker, and what that is called."""
        asks = RankerRef.read(self.ranker).about.asks
        with open_asking_if(context, self, needed=asks, total=total) as generator:
            ((name, ranker),) = rankers_of(context, (self.ranker,), self.ranking, generator)
            return name, work(ranker)

    def _choices(self, context: Context) -> list[Choice] | None:
        """The choices of a source; None where it holds pairs."""
        given = context.inputs["data"]
        if table_exists(HELD_OUT.at(Path(given))):
            return None
        source = context.open(self, given)
        if source.record not in (Feedback, Unpaired):
            return None
        context.note(layout=source.format)
        records = list(context.records(source))
        if source.record is Unpaired:
            return list(from_unpaired(records, context.tally("choices"), subset=self.subset))
        if not any(record.rankings for record in records):
            raise DataError(
                f"{source.name} holds feedback (layout {source.format}) without rankings, so that nothing says which "
                "answers are good; pairs are needed (notus binarize), or rows that say it, such as RewardBench 2's"
            )
        return list(from_rankings(records, context.tally("choices"), question=self.question, subset=self.subset))

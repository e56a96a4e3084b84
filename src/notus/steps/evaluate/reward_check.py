"""The step that scores preference pairs by a ranker, and sums up how often the chosen answer wins."""

from typing import ClassVar

import pydantic

from notus.core.artifacts import FINDINGS, PAIR_SCORES, SCORES, Artifact
from notus.evaluate.rewards import PairScore, default_tie, reward_report, score_pairs
from notus.rankers.ref import RankerRef, RankerText
from notus.report.evaluations.rewards import reward_sections
from notus.steps.base import Context, PairsRef, Refs
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


class RewardCheck(Ranked):
    """Accuracy of a ranker on preference pairs, by subset, with its bias to length."""

    step_type: ClassVar[str] = "reward-check"
    least_written: ClassVar[float] = 0.05
    leaves: ClassVar[tuple[Artifact, ...]] = (PAIR_SCORES, SCORES, FINDINGS)
    compared_by: ClassVar[tuple[str, ...]] = ("tie_counts",)
    draws: ClassVar[bool] = False
    data: PairsRef = "data"
    """Preference pairs; in the run directory of a step those that it held out, where there are some."""
    ranker: RankerText
    """In its text form, such as ``length`` or ``reward-model:PATH``."""
    tie: float | None = pydantic.Field(default=None, ge=0, le=0.5)
    """What two equal scores count. Null: ½, and 0 where every pair is RewardBench's, whose rule that is."""
    subset: str = "subset"
    """Column that names the part of the set; ``source`` takes the pair's source."""
    scale: float | None = pydantic.Field(default=None, gt=0)
    """Makes a logit of a margin: 1 for a Bradley–Terry reward model, β for an implicit reward. null: no calibration."""

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
        """Score preference pairs by a ranker, and sum up how often the chosen answer wins."""
        preferences = pairs_of(context, self, context.inputs["data"])
        tie = default_tie(preferences, subset=self.subset) if self.tie is None else self.tie
        asks = RankerRef.read(self.ranker).about.asks
        with open_asking_if(context, self, needed=asks, total=2 * len(preferences)) as generator:
            ((name, ranker),) = rankers_of(context, (self.ranker,), self.ranking, generator)
            tally = context.tally("reward-check")
            scores = score_pairs(ranker, preferences, tally, tie=tie, subset=self.subset)
        if not scores:
            raise context.run.refuse_losses(f"{context.inputs['data']} holds no pair that can be scored")
        report = reward_report(name, scores, scale=self.scale)
        context.write(PAIR_SCORES, scores, PairScore)
        write_pair_scores(context, scores, [(s.prompt_id, s.sample, s.value, s.reason) for s in scores])
        context.write_findings(reward_sections(report, tie=tie))
        context.note(ranker=name, asked=report.asked, scored=report.scored, ties=report.ties, tie_counts=tie)
        context.note(accuracy=note_estimate(report.accuracy), total=note_estimate(report.total))

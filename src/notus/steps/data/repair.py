"""The step that repairs overall scores, by ratings or by wording: each change recorded, what is in doubt queued."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pydantic

from notus.audit.weigh import Floats, ScoresAndTexts, weigh
from notus.audit.wording import TextModels, learn_models, sample_prompts
from notus.core.artifacts import DECISIONS, FEEDBACK, QUEUE, Artifact
from notus.core.records import Decision, Feedback
from notus.core.stage import apply
from notus.formats.source import Shard, Source
from notus.preferences.repair import BY_WORDING, RULE, Doubt, Weighed, doubts, repair_by_wording
from notus.preferences.repair import repair as repair_by_ratings
from notus.steps.base import Context, FeedbackRef, Reads, require_feedback

__all__ = ["Repair"]

_CONFIDENCE = 0.95


def _rule(value: Any) -> dict[str, Any]:
    """What ``rule`` said before there were two ways: ``published`` went by the ratings."""
    if value not in ("published", None):
        raise ValueError(f"'rule' is {value!r}; it was 'published', which is called by=ratings today")
    return {} if value is None else {"by": "ratings"}


class Repair(Reads):
    """Repair overall scores before pairs are made of them: each change is recorded, what is in doubt is queued."""

    step_type: ClassVar[str] = "repair"
    results: ClassVar[int] = 2
    aliases: ClassVar[Mapping[str, Any]] = {"rule": _rule}
    least_written: ClassVar[float] = 0.05
    leaves: ClassVar[tuple[Artifact, ...]] = (FEEDBACK, DECISIONS, QUEUE)
    draws: ClassVar[bool] = False
    data: FeedbackRef = "data"
    """Feedback: a file, a folder, a run directory or a hub id (owner/name); in a recipe, a step."""
    by: Literal["ratings", "wording"] = "ratings"
    """``ratings``: the published rule, a 10 beside a mean rating of at most 2 becomes 1. ``wording``: where there are
    no ratings, a 10 whose critique shows it to be a 1 misread becomes 1 (``audit.weigh``)."""
    confidence: float | None = pydantic.Field(default=None, gt=0.5, lt=1)
    """By wording: the chance from which on a 10 is set to 1, and under one minus which it stands; null takes 0.95. What
    lies between is queued."""

    @pydantic.model_validator(mode="after")
    def _confident_by_wording(self) -> Self:
        if self.confidence is not None and self.by != "wording":
            raise ValueError("'confidence' is of by=wording, and the published rule has none; leave it out")
        return self

    def run(self, context: Context) -> None:
        """Repair: the records with their scores set right, each change, and what is in doubt as a queue."""
        source = context.source("data")
        require_feedback(source)
        work = partial(_repair_shard, context.path)
        weighed: list[dict[int, Weighed]] = []
        if self.by == "wording":
            weighed = self._weigh(context, source)
            work = partial(_repair_shard_by_wording, context.path, weighed)
        decisions: list[Decision] = []
        queue: list[Doubt] = []
        prompts = scored = 0
        for count, with_score, made, doubtful in context.shards(source, work, self.workers, again=self.by == "wording"):
            prompts, scored = prompts + count, scored + with_score
            decisions += made
            queue += doubtful
        context.write(DECISIONS, decisions, Decision)
        context.write(QUEUE, queue, Doubt)
        rule = BY_WORDING if self.by == "wording" else RULE
        context.note(layout=source.format, rule=rule, prompts=prompts, overall_scores=scored)
        context.note(changed=len(decisions), queued=len(queue))
        if self.by == "ratings" and queue and all(each.mean_rating is None for each in queue):
            context.note(hint="no 10 in doubt has a rating beside it; by=wording goes by the text of the critiques")

    def _weigh(self, context: Context, source: Source) -> list[dict[int, Weighed]]:
        """The first reading: for each shard, number of the completion in it → what its wording says of its score."""
        models = learn_models(sample_prompts(source), aspects=False)
        held, starts = ScoresAndTexts(), [0]
        for part in context.shards(source, partial(_weigh_shard, models), self.workers):
            held.merge(part)
            starts.append(len(held))
        scores, expected, settled = held.columns()
        confidence = self.confidence or _CONFIDENCE
        found = weigh(scores, expected, settled, confidence)
        context.note(confidence=confidence, texts_learned_from=models.critique.texts if models.critique else 0)
        if models.critique is None:
            context.note(hint=_unread(scores))
        if held.other_scale:
            context.note(other_scale=held.other_scale)
        by_shard: list[dict[int, Weighed]] = [{} for _ in starts[1:]]
        for number in sorted(found):
            shard = bisect_right(starts, number) - 1
            by_shard[shard][number - starts[shard]] = found[number]
        return by_shard


def _unread(scores: Floats) -> str:
    """What is said where no wording could be learned."""
    if np.isnan(scores).all():
        return "no completion has an overall score: there is nothing to repair"
    if not (scores == 10).any():
        return "the wording of the critiques says nothing of their scores, and no score is a 10: nothing is in doubt"
    return "the wording of the critiques says nothing of their scores: every 10 is in doubt"


def _weigh_shard(models: TextModels, records: Iterator[Feedback], shard: Shard) -> ScoresAndTexts:
    del shard
    held = ScoresAndTexts(models)
    for feedback in records:
        held.add(feedback)
    held.finish()
    return held


_Repaired = tuple[int, int, list[Decision], list[Doubt]]
"""Of a shard: the numbers of its prompts and of its overall scores, the changes, and what is in doubt."""


def _repair_shard(folder: Path, records: Iterator[Feedback], shard: Shard) -> _Repaired:
    decisions: list[Decision] = []
    queue: list[Doubt] = []

    def repaired() -> Iterator[Feedback]:
        for feedback in apply(partial(repair_by_ratings, decisions=decisions), records, shard.tally("repair")):
            queue.extend(doubts(feedback))
            yield feedback

    return *_write_counted(folder, repaired(), shard), decisions, queue


def _repair_shard_by_wording(
    folder: Path, weighed: list[dict[int, Weighed]], records: Iterator[Feedback], shard: Shard
) -> _Repaired:
    decisions: list[Decision] = []
    queue: list[Doubt] = []
    stage = partial(repair_by_wording, weighed=weighed[shard.number], decisions=decisions, queue=queue)
    return *_write_counted(folder, apply(stage, records, shard.tally("repair")), shard), decisions, queue


def _write_counted(folder: Path, records: Iterator[Feedback], shard: Shard) -> tuple[int, int]:
    """Write the records of a shard: the numbers of its prompts and of its overall scores."""
    scored = 0

    def counted() -> Iterator[Feedback]:
        nonlocal scored
        for feedback in records:
            scored += sum(item.overall_score is not None for item in feedback.completions)
            yield feedback

    count = shard.write(FEEDBACK.at(folder), counted(), Feedback)
    return count, scored

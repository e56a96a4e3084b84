"""The step that repairs overall scores by a rule: each change recorded, what is in doubt queued."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from notus.core.artifacts import DECISIONS, FEEDBACK, Artifact
from notus.core.records import (
    Decision,
    Feedback,
)
from notus.core.stage import apply
from notus.formats.source import Shard
from notus.preferences.repair import RULE, Doubt, doubts
from notus.preferences.repair import repair as repairing
from notus.steps.base import Context, FeedbackRef, Reads, require_feedback

__all__ = ["QUEUE", "Repair"]

QUEUE = Artifact("queue", "queue.parquet", Doubt)
"""Scores in doubt, for a judge or a person."""


class Repair(Reads):
    """Repair feedback by a rule, before it is binarized: each change is recorded, what is in doubt is queued."""

    step_type: ClassVar[str] = "repair"
    least_written: ClassVar[float] = 0.05
    leaves: ClassVar[tuple[Artifact, ...]] = (FEEDBACK, DECISIONS, QUEUE)
    draws: ClassVar[bool] = False
    data: FeedbackRef = "data"
    """Feedback: a file, a folder, a run directory or a hub id (owner/name); in a recipe, a step."""
    rule: Literal["published"] = "published"
    """``published``: a 10 beside a mean rating of at most 2 becomes 1, see ``preferences.repair``."""

    def run(self, context: Context) -> None:
        """Apply the published rule: the repaired records, each change, and the doubtful middle as a queue."""
        source = context.source("data")
        require_feedback(source)
        decisions: list[Decision] = []
        queue: list[Doubt] = []
        prompts = scored = 0
        for count, with_score, made, doubtful in context.shards(
            source, partial(_repair_shard, context.path), self.workers
        ):
            prompts, scored = prompts + count, scored + with_score
            decisions += made
            queue += doubtful
        context.write(DECISIONS, decisions, Decision)
        context.write(QUEUE, queue)
        context.note(layout=source.format, rule=RULE, prompts=prompts, overall_scores=scored)
        context.note(changed=len(decisions), queued=len(queue))


def _repair_shard(
    folder: Path, records: Iterator[Feedback], shard: Shard
) -> tuple[int, int, list[Decision], list[Doubt]]:
    """Repair a shard: the numbers of its prompts and of its overall scores, the changes, and what is in doubt."""
    scored = 0
    decisions: list[Decision] = []
    queue: list[Doubt] = []

    def repaired() -> Iterator[Feedback]:
        nonlocal scored
        for feedback in apply(partial(repairing, decisions=decisions), records, shard.tally("repair")):
            queue.extend(doubts(feedback))
            scored += sum(item.overall_score is not None for item in feedback.completions)
            yield feedback

    count = shard.write(FEEDBACK.at(folder), repaired(), Feedback)
    return count, scored, decisions, queue

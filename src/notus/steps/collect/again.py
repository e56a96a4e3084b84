"""The step that asks a judge again for the scores that a repair has queued, through the ledger."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pydantic

from notus.collect.again import Place, ask_again, decide_again, queued_questions, requests_again
from notus.collect.settings import EndpointSettings, JudgeSettings
from notus.core.artifacts import DECISIONS, FEEDBACK, QUEUE, Artifact
from notus.core.errors import DataError
from notus.core.records import Decision, Feedback
from notus.core.stage import Tally, apply
from notus.core.tables import read_records, table_exists
from notus.formats.quarantine import Quarantine
from notus.llm.judge import Question
from notus.llm.judges.reading import ReadingWatch
from notus.llm.pool import EndpointPool
from notus.preferences.repair import Doubt
from notus.steps.base import Context, Reads, Reference, Serving, require_feedback
from notus.steps.collect.asking import Asking, ToyJudge, open_asking, replies_read

__all__ = ["AskAgain", "queue_in"]


class AskAgain(Reads, Serving, EndpointSettings):
    """Ask a judge again for the scores that are in doubt, for exactly those; what it says replaces or confirms them."""

    step_type: ClassVar[str] = "ask-again"
    results: ClassVar[int] = 2
    leaves: ClassVar[tuple[Artifact, ...]] = (FEEDBACK, DECISIONS, QUEUE)
    draws: ClassVar[bool] = False
    collects: ClassVar[bool] = True
    aliases: ClassVar[Mapping[str, Any]] = {"miniature_judge": "toy_judge"}
    data: Annotated[str, Reference((QUEUE,)), pydantic.Field(min_length=1)] = "data"
    """The run directory of a repair, which holds the queue and the feedback that it is of; in a recipe, the step."""
    judge: JudgeSettings
    """Who is asked, and with which prompt: the settings of a collection. Aspects are not rated again."""
    draw: int = pydantic.Field(default=1, ge=0, le=1000)
    """Number of the draw: a judge that samples is asked once more than a collection did. 0 takes what the ledger of
    the collection holds, 2 asks yet again."""
    toy_judge: ToyJudge | None = None
    """Asked under the endpoint name ``miniature``; for prompts of the toy world."""

    def run(self, context: Context) -> None:
        """Ask, and write the feedback with what was said, a decision for each, and what is still in doubt."""
        source = context.source("data")
        require_feedback(source)
        queue = queue_in(context.place("data"))
        judges = self.judge.judges()
        rows = (row for row in source.records(Tally("again"), Quarantine()) if isinstance(row, Feedback))
        questions = dict(queued_questions(rows, queue, judges))
        with open_asking(context, self, judge=self.toy_judge) as asked:
            asked.progress.total = len(questions)
            _estimate(context, self, tuple(questions.values()), asked)
            watch = ReadingWatch(self.judge.endpoint, stops=self.judge.unread == "stop")
            judged = ask_again(questions.values(), asked.judge, self.judge, self.draw, watch)
        rater = next((one.model for one in self.endpoints if one.name == self.judge.endpoint), "")
        rater = rater or self.judge.endpoint
        decisions: list[Decision] = []
        left: set[Place] = set()
        tally = context.tally("ask-again")

        def decided(records: Iterable[Feedback], tally: Tally) -> Iterator[Feedback]:
            return decide_again(records, tally, judged, rater, decisions, left)

        count = context.write(FEEDBACK, apply(decided, context.records(source), tally), Feedback)
        context.write(DECISIONS, decisions, Decision)
        still = [each for each in queue if (each.feedback_id, each.index, each.file, each.line) in left]
        context.write(QUEUE, still, Doubt)
        context.note(
            prompts=count,
            queued=len(queue),
            not_found=len(queue) - len(judged),
            confirmed=tally.counts["confirmed"],
            replaced=tally.counts["replaced"],
            still_in_doubt=len(still),
            judge=rater,
            **replies_read(context, watch),
        )


def queue_in(place: Path) -> list[Doubt]:
    """The queue of a run directory.

    Raises:
        DataError: if it holds none, or an empty one.
    """
    path = QUEUE.at(place)
    if not table_exists(path):
        raise DataError(f"{place} holds no {QUEUE.file}; name the run directory of a repair, which leaves what to ask")
    queue = list(read_records(path, Doubt))
    if not queue:
        raise DataError(f"{place}: its repair left no score in doubt, so there is nothing to ask again")
    return queue


def _estimate(context: Context, config: AskAgain, questions: Sequence[Question[Any]], asked: Asking) -> None:
    """Say what the run will ask and cost, before it starts."""
    if not isinstance(asked.judge, EndpointPool):
        return
    found = asked.judge.estimate(requests_again(questions, asked.judge, config.judge, config.draw))
    told = {"requests": found.requests, "to_ask": found.to_ask, "cost": found.cost}
    context.note(estimate=told)
    context.log(f"at most, if each reply is as long as it may be and can be read: {told}")

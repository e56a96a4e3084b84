"""The step that collects AI feedback: answers of several models, and what a judge says of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import msgspec

from notus.collect.collect import Draft, expected_requests
from notus.collect.collect import collect as collecting
from notus.collect.settings import Collection
from notus.collect.verify import COLUMNS, NOBODY, Verifier
from notus.core.artifacts import FEEDBACK, RAW_FEEDBACK, Artifact
from notus.core.errors import ConfigError, DataError
from notus.core.records import Feedback, Message, Preference, Unpaired
from notus.core.run import atomic
from notus.core.stage import Tally
from notus.formats.format import Data, record_id
from notus.formats.write import encode_row
from notus.llm.judges.reading import ReadingWatch
from notus.llm.pool import EndpointPool
from notus.steps.base import Context, PromptsRef, Reads, Seed, Serving
from notus.steps.collect.asking import Asking, ToyJudge, _line, open_asking, replies_read

__all__ = ["Collect", "check_demands", "drafts_of", "requests_per_prompt"]

_KEPT = ("correct_answers", "incorrect_answers", *COLUMNS)
"""Columns of a prompt that go with it: what is known of right and wrong answers, and what is verified of them."""
_SAMPLE = 200
"""Prompts that the estimate looks at."""


class Collect(Reads, Serving, Collection):
    """Collect feedback: answers of several models to the prompts of a source, and what a judge says of them."""

    step_type: ClassVar[str] = "collect"
    results: ClassVar[int] = 2
    least_written: ClassVar[float] = 0.05
    leaves: ClassVar[tuple[Artifact, ...]] = (RAW_FEEDBACK, FEEDBACK)
    collects: ClassVar[bool] = True
    aliases: ClassVar[Mapping[str, Any]] = {"miniature_judge": "toy_judge"}
    data: PromptsRef = "data"
    """Where the prompts are from: a file, a folder, a run directory or a hub id; in a recipe, a step."""
    toy_judge: ToyJudge | None = None
    """Asked under the endpoint name ``miniature``; for prompts of the toy world."""
    seed: Seed | None = None

    def run(self, context: Context) -> None:
        """Collect feedback, in the order of the prompts: our records, and the raw layout of UltraFeedback."""
        drafts = list(drafts_of(context, self, context.inputs["data"]))
        tally = context.tally("collect")
        asked_about = check_demands(self, drafts)
        with open_asking(context, self, judge=self.toy_judge) as asked:
            asked.progress.total = len(drafts) * requests_per_prompt(self) + asked_about
            _estimate(context, self, drafts, context.seed, asked)
            watch = None if self.judge is None else ReadingWatch(self.judge.endpoint, stops=self.judge.unread == "stop")
            found = collecting(
                drafts, tally, settings=self, seed=context.seed, answerer=asked.answerer, judge=asked.judge, watch=watch
            )
            raw = context.tally("raw layout", "parts")
            with atomic(context.path / "feedback.jsonl", "wb") as file:
                rows = context.write(FEEDBACK, _also_raw(found, file.write, raw), Feedback)
        if not raw.given:
            (context.path / "feedback.jsonl").unlink()  # an empty file would stand in the way of the records
        scored, unscored = tally.counts["scored"], sum(n for k, n in tally.counts.items() if k.startswith("unscored-"))
        context.note(
            prompts=len(drafts),
            rows=rows,
            ratings=scored + unscored,
            ratings_read=scored,
            share_read=round(scored / (scored + unscored), 4) if scored + unscored else None,
            **({} if self.verify is None else {"verified": _verified(tally)}),
            **({} if watch is None else replies_read(context, watch)),
            **({"verbatim": "candidates stood in the judge's prompts as they are"} if _is_verbatim(self) else {}),
        )


def check_demands(config: Collection, drafts: Iterable[Draft]) -> int:
    """Look at what all prompts demand before anything is paid for; the number of questions about requirements.

    Raises:
        ConfigError, DataError: as ``collect.verify`` does.
    """
    if config.verify is None:
        return 0
    verifier = Verifier(config.verify)
    count = 0
    for draft in drafts:
        own = verifier.demands(draft.prompt, draft.extra, draft)
        verifier.try_out(own, draft)
        count += len(own.requirements)
    if count and config.judge is None and config.verify.endpoint is None:
        raise ConfigError(NOBODY)
    return count * config.completions * config.samples


def _verified(tally: Tally) -> dict[str, dict[str, int]]:
    """What came of checks and requirements, over all answers."""
    counts = tally.counts
    return {
        "checks": {"followed": counts["check-followed"], "not_followed": counts["check-not-followed"]},
        "requirements": {
            "met": counts["requirement-met"],
            "not_met": counts["requirement-not-met"],
            "not_read": counts["requirement-unreadable"] + counts["requirement-unanswered"],
        },
        "prompts": {"nothing_to_verify": counts["nothing-to-verify"]},
    }


def requests_per_prompt(config: Collection) -> int:
    """Requests that a prompt takes if all of them are answered at once."""
    answers = config.completions * config.samples
    judged = 0 if config.judge is None else len(config.judge.aspects) + answers * config.judge.critique
    return config.completions + judged


def _estimate(context: Context, config: Collect, drafts: list[Draft], seed: int, asked: Asking) -> None:
    """Say what the run will ask and cost, before it starts: of a sample of the prompts, carried over to all."""
    if not isinstance(asked.judge, EndpointPool) or asked.answerer is not asked.judge or not drafts:
        return
    sample = drafts[:: max(1, len(drafts) // _SAMPLE)]
    found = asked.judge.estimate(
        expected_requests(sample, config, seed=seed, answerer=asked.answerer, judge=asked.judge)
    )
    share = len(drafts) / len(sample)
    cost = None if found.cost is None else round(found.cost * share, 6)
    estimate = {
        "requests": round(found.requests * share),
        "tokens_in": round(found.tokens_in * share),
        "tokens_out": round(found.tokens_out * share),
        "cost": cost,
        "prompts_looked_at": len(sample),
    }
    context.note(estimate=estimate)
    told = ", ".join(f"{value:,} {name}" for name, value in estimate.items() if value is not None)
    context.log(f"at most, if each answer is as long as it may be, and beyond completions that are paid for: {told}")
    first = _line(asked.progress.snapshot()) | {"to_come": cost}
    context.run.metric(**first)


def _also_raw(feedback: Iterable[Feedback], write: Callable[[bytes], object], tally: Tally) -> Iterator[Feedback]:
    """Write each record as a raw row too, where that layout has a place for it."""
    encoder = msgspec.json.Encoder()
    for record in feedback:
        tally.taken += 1
        try:
            row = encode_row(record, "ultrafeedback")
        except DataError as error:
            tally.drop(record.id, "no-place", str(error), at=record)
        else:
            write(encoder.encode(row) + b"\n")
            tally.given += 1
        yield record


def drafts_of(context: Context, config: Reads, given: str) -> Iterator[Draft]:
    """The prompts of a source: of feedback and pairs the prompt, of a dialogue the turns before its first answer."""
    tally = Tally("prompts")
    for record in context.records(context.open_prompts(config, given)):
        tally.taken += 1
        if (draft := _draft(record)) is None:
            tally.drop(record_id(record), "no-prompt", "no user asks anything before the first answer", at=record)
            continue
        tally.given += 1
        yield draft
    if tally.dropped:
        context.run.tallies.append(tally)
        context.run.check_losses(given)  # before anything is paid for


def _draft(record: Data) -> Draft | None:
    if isinstance(record, Feedback | Preference | Unpaired):
        kept = {key: record.extra[key] for key in _KEPT if key in record.extra}
        return Draft(record.prompt, record.source, kept, file=record.file, line=record.line)
    turns: list[Message] = []
    for message in record.messages:
        if message.role == "assistant":
            break
        turns.append(message)
    if not any(turn.role == "user" for turn in turns):
        return None
    kept = {key: record.extra[key] for key in COLUMNS if key in record.extra}
    return Draft(tuple(turns), record.source, kept, file=record.file, line=record.line)


def _is_verbatim(config: Collection) -> bool:
    return config.judge is not None and config.judge.verbatim

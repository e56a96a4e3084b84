"""The steps that ask models: collect feedback, converse, refine.

Owns what a step opens for that (endpoints, servers of its own, the ledger), its progress, and its end: whatever ends
it, what was answered is in the ledger, and the same command goes on from there. What is asked is the business of
``data.collect`` and ``data.collect_dialogues``.

Progress stands in ``metrics.jsonl``: ``step`` of ``steps`` requests, ``rate`` per second, ``cost`` so far, ``to_come``,
and ``failed`` by kind.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from notus.core.errors import ConfigError, DataError, require
from notus.core.records import Dialogue, Feedback, Message, Preference, Unpaired
from notus.core.run import Run, atomic
from notus.core.stage import Tally
from notus.core.tables import write_records
from notus.data.collect import Draft, foreseen
from notus.data.collect import collect as collecting
from notus.data.collect_dialogues import converse as conversing
from notus.data.collect_dialogues import refine as refining
from notus.data.collect_settings import Asking, Collection
from notus.data.layouts import Data
from notus.data.sharded import Shard, sharded
from notus.data.writers import row_of
from notus.flow import kinds
from notus.flow.datasteps import open_given
from notus.flow.serving import miniature_judge, served_model
from notus.flow.stepconfig import Reads
from notus.models.endpoint import Endpoint
from notus.models.fleet import Fleet
from notus.models.ledger import Ledger
from notus.models.progress import Progress, Snapshot
from notus.models.protocols import Generator

__all__ = ["LOCAL", "Opened", "collect", "converse", "ledger_of", "opened", "refine", "requests_per_prompt"]

LOCAL, MINIATURE = "local", "miniature"
"""Names of the endpoints that a step starts for itself."""
_SAMPLE = 200
"""Prompts that the estimate looks at."""
_EVERY_S = 2.0
"""Seconds between two lines of progress."""

Inputs = Mapping[str, str]


@dataclass(frozen=True)
class Opened:
    """What a step asks with."""

    answerer: Generator
    judge: Generator
    progress: Progress
    ledger: Ledger


def collect(run: Run, config: kinds.Collect, inputs: Inputs, seed: int | None) -> None:
    """Collect feedback, in the order of the prompts: our records, and the raw layout of UltraFeedback."""
    assert seed is not None
    drafts = list(_drafts(run, config, inputs["data"]))
    tally = run.tally("collect")
    with opened(run, config, inputs, judge=config.miniature_judge) as asked:
        asked.progress.total = len(drafts) * requests_per_prompt(config)
        _estimate(run, config, drafts, seed, asked)
        found = collecting(drafts, tally, settings=config, seed=seed, answerer=asked.answerer, judge=asked.judge)
        raw = run.tally("raw layout")
        with atomic(run.path / "feedback.jsonl", "wb") as file:
            rows = write_records(run.path / "feedback.parquet", _also_raw(found, file.write, raw), Feedback)
    if not raw.given:
        (run.path / "feedback.jsonl").unlink()  # an empty file would stand in the way of the records
    scored, unscored = tally.counts["scored"], sum(n for k, n in tally.counts.items() if k.startswith("unscored-"))
    run.note(
        prompts=len(drafts),
        rows=rows,
        ratings=scored + unscored,
        ratings_read=scored,
        share_read=round(scored / (scored + unscored), 4) if scored + unscored else None,
        **({"verbatim": "candidates stood in the judge's prompts as they are"} if _is_verbatim(config) else {}),
    )


def converse(run: Run, config: kinds.Converse, inputs: Inputs, seed: int | None) -> None:
    """Collect dialogues."""
    assert seed is not None
    tally = run.tally("converse")
    with opened(run, config, inputs) as asked:
        asked.progress.total = config.dialogues * (2 * config.turns) + round(config.dialogues * config.materials)
        found = conversing(config, tally, seed=seed, generator=asked.answerer)
        run.note(dialogues=write_records(run.path / "dialogues.parquet", found, Dialogue))


def refine(run: Run, config: kinds.Refine, inputs: Inputs, seed: int | None) -> None:
    """Collect rewritten instructions."""
    assert seed is not None
    drafts = list(_drafts(run, config, inputs["data"]))
    tally = run.tally("refine")
    with opened(run, config, inputs) as asked:
        asked.progress.total = 2 * len(drafts)
        found = refining(config, drafts, tally, seed=seed, generator=asked.answerer)
        run.note(prompts=len(drafts), refined=write_records(run.path / "dialogues.parquet", found, Dialogue))


def ledger_of(run: Path, given: str | None) -> Path:
    """The ledger of a step: the one that is named, or ``ledger.sqlite`` beside the run."""
    if given is not None:
        return Path(given)
    beside = run.parent.parent if run.parent.name == "steps" else run
    return beside.absolute().parent / "ledger.sqlite"


def requests_per_prompt(config: Collection) -> int:
    """Requests that a prompt takes if all of them are answered at once."""
    answers = config.completions * config.samples
    judged = 0 if config.judge is None else len(config.judge.aspects) + answers * config.judge.critique
    return config.completions + judged


def _estimate(run: Run, config: kinds.Collect, drafts: list[Draft], seed: int, asked: Opened) -> None:
    """Say what the run will ask and cost, before it starts: of a sample of the prompts, carried over to all."""
    if not isinstance(asked.judge, Fleet) or asked.answerer is not asked.judge or not drafts:
        return
    sample = drafts[:: max(1, len(drafts) // _SAMPLE)]
    found = asked.judge.estimate(foreseen(sample, config, seed=seed, answerer=asked.answerer, judge=asked.judge))
    share = len(drafts) / len(sample)
    cost = None if found.cost is None else round(found.cost * share, 6)
    estimate = {
        "requests": round(found.requests * share),
        "tokens_in": round(found.tokens_in * share),
        "tokens_out": round(found.tokens_out * share),
        "cost": cost,
        "prompts_looked_at": len(sample),
    }
    run.note(estimate=estimate)
    told = ", ".join(f"{value:,} {name}" for name, value in estimate.items() if value is not None)
    run.log(f"at most, if each answer is as long as it may be, and beyond completions that are paid for: {told}")
    first = _line(asked.progress.snapshot()) | {"to_come": cost}
    run.metric(**first)


@contextmanager
def opened(run: Run, config: Any, inputs: Inputs, *, judge: kinds.MiniatureJudge | None = None) -> Iterator[Opened]:
    """Open ledger, servers and endpoints, and note at the end what was asked and paid."""
    asking: Asking = config
    require("httpx2", extra="collect")
    path = ledger_of(run.path, asking.ledger)
    progress = Progress()
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(path))
        run.log(f"ledger: {path}")
        endpoints = list(asking.endpoints)
        local: Generator | None = None
        if config.serve is not None:
            folder = _model_folder(inputs["serve"])
            if config.engine == "inprocess":
                local = _in_process(folder, ledger)
            else:
                endpoints.append(stack.enter_context(served_model(folder, LOCAL, run.path / "server.log")))
        if judge is not None:
            server = miniature_judge(MINIATURE, noise=judge.noise, malformed=judge.malformed)
            endpoints.append(stack.enter_context(server))
        fleet = _fleet(stack, endpoints, ledger, asking, progress) if endpoints else local
        if fleet is None:
            raise ConfigError("there is nobody to ask: name endpoints, or a model with 'serve'")
        stack.enter_context(_telling(run, progress))
        try:
            yield Opened(local or fleet, fleet, progress, ledger)
        finally:
            _note(run, progress.snapshot(), path)


def _fleet(
    stack: ExitStack, endpoints: list[Endpoint], ledger: Ledger, asking: Asking, progress: Progress
) -> Generator:
    return stack.enter_context(Fleet(endpoints, ledger, max_cost=asking.max_cost, progress=progress))


def _in_process(folder: Path, ledger: Ledger) -> Generator:
    for library in ("torch", "transformers"):
        require(library, extra="train")
    from notus.models.inprocess import InProcess

    return InProcess({LOCAL: str(folder)}, ledger)


@contextmanager
def _telling(run: Run, progress: Progress) -> Iterator[None]:
    """Write the progress down every few seconds, and once more at the end."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(_EVERY_S):
            run.metric(**_line(progress.snapshot()))

    thread = threading.Thread(target=tell, name="notus-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        run.metric(**_line(progress.snapshot()))


def _line(state: Snapshot) -> dict[str, float | int | str | None]:
    failed = ", ".join(f"{count} {kind}" for kind, count in sorted(state.failed.items()))
    return {
        "step": state.done,
        "steps": max(state.done, state.total or 0),
        "stored": state.stored,
        "rate": round(state.rate, 2),
        "cost": round(state.cost + state.cost_before, 6),
        "to_come": None if state.cost_to_come is None else round(state.cost_to_come, 6),
        "failed": failed,
    }


def _note(run: Run, state: Snapshot, ledger: Path) -> None:
    run.log(
        f"{state.asked:,} requests asked, {state.stored:,} answered by the ledger, {sum(state.failed.values()):,} "
        f"failed, cost {state.cost:.4f}; what was answered is in {ledger}, and the same command goes on from there"
    )
    run.note(
        asked=state.asked,
        stored=state.stored,
        failed=state.failed,
        faults=state.faults,
        tokens_in=state.tokens_in,
        tokens_out=state.tokens_out,
        cost=state.cost,
        cost_before=state.cost_before,
        ledger=str(ledger),
    )


def _also_raw(feedback: Iterable[Feedback], write: Callable[[bytes], object], tally: Tally) -> Iterator[Feedback]:
    """Write each record as a raw row too, where that layout has a place for it."""
    encoder = msgspec.json.Encoder()
    for record in feedback:
        tally.taken += 1
        try:
            row = row_of(record, "ultrafeedback")
        except DataError as error:
            tally.drop(record.id, "no-place", str(error))
        else:
            write(encoder.encode(row) + b"\n")
            tally.given += 1
        yield record


def _drafts(run: Run, config: Reads, given: str) -> Iterator[Draft]:
    """The prompts of a source: of feedback and pairs the prompt, of a dialogue the turns before its first answer."""
    for drafts in sharded(run, open_given(config, given), _drafted, 1):
        yield from drafts


def _drafted(records: Iterator[Data], shard: Shard) -> list[Draft]:
    del shard
    return [draft for record in records if (draft := _draft(record))]


def _draft(record: Data) -> Draft | None:
    if isinstance(record, Feedback | Preference | Unpaired):
        kept: dict[str, Any] = {
            key: record.extra[key] for key in ("correct_answers", "incorrect_answers") if key in record.extra
        }
        return Draft(record.prompt, record.source, kept)
    turns: list[Message] = []
    for message in record.messages:
        if message.role == "assistant":
            break
        turns.append(message)
    return Draft(tuple(turns), record.source) if any(turn.role == "user" for turn in turns) else None


def _model_folder(source: str) -> Path:
    inside = Path(source) / "model"
    folder = inside if inside.is_dir() else Path(source)
    if not folder.is_dir():
        raise ConfigError(
            f"'serve' is {source!r}, which is no folder; download the model, or start a server and name it"
        )
    return folder


def _is_verbatim(config: Collection) -> bool:
    return config.judge is not None and config.judge.verbatim

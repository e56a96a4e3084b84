"""What a step opens to ask models: endpoints, servers of its own, the ledger; its progress, and its end.

Whatever ends it, what was answered is in the ledger, and the same command goes on from there. Progress stands in
``metrics.jsonl``: ``step`` of ``steps`` requests, ``rate`` per second, ``cost`` so far, ``to_come``, ``failed`` by
kind, and ``elsewhere``: those that another process is asking through the same ledger, whose answers are waited for.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from notus.collect.settings import EndpointSettings
from notus.core.artifacts import find_model
from notus.core.config import Config
from notus.core.errors import ConfigError, require
from notus.llm.endpoint import Endpoint
from notus.llm.judges.reading import ReadingWatch
from notus.llm.ledger import Ledger
from notus.llm.pool import EndpointPool
from notus.llm.progress import Progress, Snapshot
from notus.llm.protocol import Generator
from notus.llm.wire.messages import unsent
from notus.stats.intervals import Share
from notus.steps.base import Context
from notus.steps.collect.serving import served_model, toy_judge
from notus.steps.evaluate.scores import note_estimate

__all__ = ["LOCAL", "TOY", "Asking", "ToyJudge", "ledger_of", "open_asking", "replies_read"]


class ToyJudge(Config):
    """The judge of the toy world, behind a loopback server that the step starts."""

    noise: float = pydantic.Field(default=0.8, ge=0)
    """Standard deviation of each rating's noise, in points."""
    malformed: float = pydantic.Field(default=0.1, ge=0, le=1)
    """Probability that a reply cannot be read."""


LOCAL, TOY = "local", "miniature"  # stored in ledgers: the toy world's old name stays
"""Names of the endpoints that a step starts for itself."""


_EVERY_S = 2.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True)
class Asking:
    """What a step asks with."""

    answerer: Generator
    judge: Generator
    progress: Progress
    ledger: Ledger


def ledger_of(run: Path, given: str | None) -> Path:
    """The ledger of a step: the one that is named, or ``ledger.sqlite`` beside the run."""
    if given is not None:
        return Path(given)
    beside = run.parent.parent if run.parent.name == "steps" else run
    return beside.absolute().parent / "ledger.sqlite"


def replies_read(context: Context, watch: ReadingWatch) -> dict[str, Any]:
    """How many of the judge's replies were read, with its interval, and why the others were not: said and stored."""
    found, why = Share.make(watch.replies_read, watch.replies), watch.why()
    reasons = f"; not read: {', '.join(f'{count:,} {reason}' for reason, count in why.items())}" if why else ""
    told = f"of the judge's replies, those asked for again among them, {found} were read{reasons}"
    context.log(told)
    stored = {"replies": watch.replies, "read": watch.replies_read, "share": note_estimate(found.interval)}
    return {"judge_read": told, "judge_replies": stored | ({"not_read": why} if why else {})}


@contextmanager
def open_asking(context: Context, config: Any, *, judge: ToyJudge | None = None) -> Iterator[Asking]:
    """Open ledger, servers and endpoints, and note at the end what was asked and paid."""
    asking: EndpointSettings = config
    require("httpx2", extra="collect")
    path = ledger_of(context.path, asking.ledger)
    progress = Progress()
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(path))
        context.log(f"ledger: {path}")
        endpoints = list(asking.endpoints)
        local: Generator | None = None
        if config.serve is not None:
            folder = _model_folder(context.inputs["serve"])
            if config.engine == "inprocess":
                local = _in_process(folder, ledger)
            else:
                endpoints.append(stack.enter_context(served_model(folder, LOCAL, context.path / "server.log")))
        if judge is not None:
            server = toy_judge(TOY, noise=judge.noise, malformed=judge.malformed)
            endpoints.append(stack.enter_context(server))
        _say_unsent(context, endpoints)
        pool = _endpoint_pool(stack, endpoints, ledger, asking, progress) if endpoints else local
        if pool is None:
            raise ConfigError("there is nobody to ask: name endpoints, or a model with 'serve'")
        stack.enter_context(_writing_progress(context, progress))
        try:
            yield Asking(local or pool, pool, progress, ledger)
        finally:
            _note(context, progress.snapshot(), path)


def _endpoint_pool(
    stack: ExitStack, endpoints: list[Endpoint], ledger: Ledger, asking: EndpointSettings, progress: Progress
) -> Generator:
    return stack.enter_context(EndpointPool(endpoints, ledger, max_cost=asking.max_cost, progress=progress))


def _say_unsent(context: Context, endpoints: list[Endpoint]) -> None:
    """Say which settings of a draw an endpoint has no place for."""
    left_out = {e.name: list(unsent(e.api_version)) for e in endpoints if e.api == "messages"}
    for name, settings in left_out.items():
        context.log(f"endpoint '{name}' has api: messages, which is sent no {', '.join(settings)}, whatever is set")
    if left_out:
        context.note(not_sent=left_out)


def _in_process(folder: Path, ledger: Ledger) -> Generator:
    for library in ("torch", "transformers"):
        require(library, extra="train")
    from notus.engine.generator import InProcess

    return InProcess({LOCAL: str(folder)}, ledger)


@contextmanager
def _writing_progress(context: Context, progress: Progress) -> Iterator[None]:
    """Write the progress down every few seconds, and once more at the end."""
    over = threading.Event()

    def tell() -> None:
        waited = False
        while not over.wait(_EVERY_S):
            state = progress.snapshot()
            context.run.metric(**_line(state))
            if state.elsewhere and not waited:
                waited = True
                context.log(
                    f"{state.elsewhere:,} requests are being asked by another process through the same ledger; their "
                    "answers are waited for"
                )

    thread = threading.Thread(target=tell, name="notus-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        context.run.metric(**_line(progress.snapshot()))


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
        "elsewhere": state.elsewhere,
    }


def _note(context: Context, state: Snapshot, ledger: Path) -> None:
    context.log(
        f"{state.asked:,} requests asked, {state.stored:,} answered by the ledger, {sum(state.failed.values()):,} "
        f"failed, cost {state.cost:.4f}; what was answered is in {ledger}, and the same command goes on from there"
    )
    context.note(
        asked=state.asked,
        stored=state.stored,
        failed=state.failed,
        faults=state.errors,
        tokens_in=state.tokens_in,
        tokens_out=state.tokens_out,
        cost=state.cost,
        cost_before=state.cost_before,
        ledger=str(ledger),
    )


def _model_folder(source: str) -> Path:
    folder = Path(find_model(source))
    if not folder.is_dir():
        raise ConfigError(
            f"'serve' is {source!r}, which is no folder; download the model, or start a server and name it"
        )
    return folder

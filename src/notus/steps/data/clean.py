"""The step that cleans a source: two readings, shard by shard, with the evidence in tables."""

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec
import pydantic

from notus.clean.benchmarks import read_benchmarks
from notus.clean.clean import (
    Cleaning,
    Contaminated,
    Evidence,
    Examined,
    Plan,
    Plans,
    Repeated,
    ShownRecord,
    apply_plan,
    apply_to_columns,
    contaminated_rows,
    decide,
    examine,
    repeated_rows,
)
from notus.clean.contamination import ItemIndex, Matching
from notus.clean.private.guard import Found, Guard
from notus.core.artifacts import (
    DECISIONS,
    DIALOGUES,
    FEEDBACK,
    FINDINGS,
    PREFERENCES,
    QUARANTINE,
    UNPAIRED,
    Artifact,
)
from notus.core.records import Decision, Feedback
from notus.core.run import atomic
from notus.core.stage import apply
from notus.formats.format import Data
from notus.formats.quarantine import Entry
from notus.formats.source import Shard, Source
from notus.report.cleaning import cleaning_sections, few_of_each
from notus.steps.base import TABLES, Context, Reads, Refs, SourceRef, held_out_beside

__all__ = ["CONTAMINATION", "DUPLICATES", "PRIVATE", "Clean"]

T = TypeVar("T")
Files = tuple[tuple[Path, str], ...]
"""Files with the hashes of what is in them."""


DUPLICATES = Artifact("duplicates", "duplicates.parquet", Repeated)
"""Each prompt that goes for another that it repeats."""
CONTAMINATION = Artifact("contamination", "contamination.parquet", Contaminated)
"""Each prompt that goes for a benchmark item that it holds."""
PRIVATE = Artifact("private", "private.parquet", Found)
"""Each piece of personal data and each secret: its kind and place, never the thing itself."""
_EXAMPLES = 8
_ANSWER = ("critique", "extra", "principle", "ratings", "system_prompt", "text", "turns")
_BESIDE_THE_PROMPT = frozenset(["extra", "rankings", "source", *(f"completions.{name}" for name in _ANSWER)])
"""Fields of feedback that the first reading has no use for."""


class Clean(Reads, Cleaning):
    """Take out prompts that repeat others or hold questions of benchmarks, and answers that nobody should learn."""

    step_type: ClassVar[str] = "clean"
    least_written: ClassVar[float] = 0.05
    leaves: ClassVar[tuple[Artifact, ...]] = (
        FEEDBACK,
        PREFERENCES,
        UNPAIRED,
        DIALOGUES,
        DECISIONS,
        FINDINGS,
        DUPLICATES,
        CONTAMINATION,
        PRIVATE,
    )
    draws: ClassVar[bool] = False
    settings_if_given: ClassVar[frozenset[str]] = frozenset(["decisions", "drop"])
    data: SourceRef = "data"
    """A file, a folder, a run directory or a hub id (owner/name); in a recipe, a step."""
    against: Refs = pydantic.Field(default=(), exclude=True)
    """Files of questions of benchmarks, or folders of such files. What is in them counts, not where they lie."""
    keep: tuple[str, ...] = ()
    """Ids of records and answers, or of prompts, or their beginnings, that stay: no filter takes them out, and no
    decision that was made before; records and prompts also where their prompt repeats another or holds an item."""
    controls: bool = True
    """Whether controls are looked for too, which the curve of the thresholds needs; it takes about as long again."""
    dry_run: bool = False
    """Whether only the evidence is written, and no cleaned data."""

    def run(self, context: Context) -> None:
        """Clean a source: what stays, the evidence for each record that goes or is edited, findings and pictures."""
        source = context.source("data")
        against = tuple(zip(context.places("against"), context.hashes("against"), strict=True))
        # A mistake in these files is told before anything else is read.
        guard = Guard(self.private)
        skipped: dict[Path, str] = {}
        count = len(read_benchmarks((path for path, _ in against), skipped))
        first = source
        if source.record is Feedback and not self.keep and not self.truecases(Feedback):
            first = source.lean(_BESIDE_THE_PROMPT)
        try:
            parts = context.shards(first, partial(_examine_shard, self, against), self.workers)
            plans = decide(parts, self, lambda: {target for target, _ in context.seen})
        finally:
            _shield_quarantine(QUARANTINE.at(context.path), guard)
        shown, examples, found = _second_reading(context, self, source, plans)
        evidence = repeated_rows(plans, shown), contaminated_rows(plans, shown, guard)
        context.write(DUPLICATES, evidence[0])
        context.write(CONTAMINATION, evidence[1])
        tally = context.run.tallies[-1]
        if not tally.given and not self.dry_run:  # a dry run shows what takes all of them
            raise context.run.refuse_losses(
                f"no record of {source.name} is left; loosen the settings, or look with --dry-run"
            )
        names = sorted(path.name for path in skipped)
        findings = cleaning_sections(
            tally, plans, self, evidence, examples, questions=count, skipped=names, private=found
        )
        context.write_findings(findings)
        _note(context, self, source, plans, count)
        if skipped:
            context.note(no_benchmarks=names)


def _second_reading(
    context: Context, config: Clean, source: Source, plans: Plans
) -> tuple[dict[int, ShownRecord], list[Decision], list[Found]]:
    """Write what stays, unless this is a dry run; records that are evidence, and examples of decisions and finds."""
    folder = context.path / ".plans"
    folder.mkdir(exist_ok=True)
    for number, plan in enumerate(plans.shards):
        (folder / f"{number:05d}.json").write_bytes(msgspec.json.encode(plan))
    table = None if config.dry_run else TABLES[source.record].at(context.path)
    work = partial(_clean_shard, config, folder, table, context.path, source.record, dict(plans.names))
    shown: dict[int, ShownRecord] = {}
    examples: list[Decision] = []
    private: list[Found] = []
    for start, (found, some, few) in zip(
        plans.starts, context.shards(source, work, config.workers, again=True), strict=True
    ):
        shown |= {start + row: record for row, record in found.items()}
        examples += some
        private = few_of_each(private + few)
    shutil.rmtree(folder)
    return shown, examples[:_EXAMPLES], private


def _shield_quarantine(path: Path, guard: Guard) -> None:
    """Mask what bad rows hold: they are kept as they were read, and nothing else looks at them."""
    if not path.is_file():
        return
    entries = [msgspec.json.decode(line, type=Entry) for line in path.read_bytes().splitlines()]
    with atomic(path, "wb") as file:
        for entry in entries:
            masked = {name: guard.shield(getattr(entry, name)) for name in ("value", "detail", "row")}
            file.write(msgspec.json.encode(msgspec.structs.replace(entry, **masked)) + b"\n")


@lru_cache(maxsize=1)
def _questions(against: Files, matching: Matching, with_controls: bool) -> ItemIndex:
    """The questions, made once in each process: they are larger than what a shard is."""
    return ItemIndex(read_benchmarks(path for path, _ in against), matching, with_controls=with_controls)


def _examine_shard(config: Clean, against: Files, records: Iterator[Data], shard: Shard) -> Examined:
    del shard
    questions = _questions(against, config.matching, config.controls) if against else None
    return examine(records, config, questions)


def _clean_shard(
    config: Clean,
    plans: Path,
    table: Path | None,
    run: Path,
    kind: type[Data],
    names: Mapping[str, str],
    records: Iterator[Data],
    shard: Shard,
) -> tuple[dict[int, ShownRecord], list[Decision], list[Found]]:
    """Clean a shard: its records that are evidence, and a few of its decisions and of what is private."""
    plan = msgspec.json.decode((plans / f"{shard.number:05d}.json").read_bytes(), type=Plan)
    evidence = Evidence()
    tally = shard.tally("clean")
    batches = None if config.edits(kind) else shard.source.batches(plan.rows)
    if batches is not None:
        columns = apply_to_columns(plan, kind, evidence, batches, tally)
        _write(columns, table, shard.write_columns, kind)
    else:
        kept = apply(partial(apply_plan, plan, config, names, evidence), records, tally)
        _write(kept, table, shard.write, kind)
    if evidence.decisions:
        shard.write(DECISIONS.at(run), evidence.decisions, Decision)
    if evidence.found:
        shard.write(PRIVATE.at(run), evidence.found, Found)
    return evidence.shown, evidence.decisions[:_EXAMPLES], few_of_each(evidence.found)


def _write(rows: Iterable[T], table: Path | None, write: Callable[[Path, Iterable[T], Any], int], kind: Any) -> None:
    """Write rows, or in a dry run only let them be made."""
    if table is not None:
        write(table, rows, kind)
    else:
        deque(rows, maxlen=0)


def _note(context: Context, config: Clean, source: Source, plans: Plans, questions: int) -> None:
    tally = context.run.tallies[-1]
    context.note(layout=source.format, records=tally.taken, kept=tally.given, dropped=len(tally.dropped))
    context.note(questions=questions, look_alikes=len(plans.spared), dry_run=config.dry_run)
    if held_out_beside(source) is not None:
        context.note(not_read="the held-out pairs beside them")

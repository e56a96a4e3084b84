"""The step that cleans a source: two readings, shard by shard, with the evidence in tables."""

import shutil
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path

import msgspec

from notus.app.cleaning import cleaning_findings
from notus.core.errors import DataError
from notus.core.records import Decision
from notus.core.run import Run
from notus.core.stage import apply
from notus.core.tables import write_records
from notus.data.benchmarks import read_benchmarks
from notus.data.clean import Examined, Leavings, Plan, Plans, cleaned, decide, examine
from notus.data.contamination import Matching, Questions
from notus.data.evidence import Contaminated, Repeated, contaminated_rows, repeated_rows
from notus.data.layouts import Data
from notus.data.sharded import Shard, sharded
from notus.data.sources import Source
from notus.flow import kinds
from notus.flow.datasteps import TABLES, held_out_beside, open_given, write_findings

__all__ = ["clean"]

Files = tuple[tuple[Path, str], ...]
"""Files with the hashes of what is in them."""

_EXAMPLES = 8


def clean(run: Run, config: kinds.Clean, inputs: Mapping[str, str], seed: int | None) -> None:
    """Clean a source: the records that stay, the evidence for each that goes or is edited, findings and pictures."""
    del seed
    source = open_given(config, inputs["data"])
    names = [f"against.{number}" for number in range(len(config.against))]
    against = tuple((Path(inputs[name]), run.inputs[name]) for name in names)
    # A mistake in these files is told before anything else is read.
    skipped: dict[Path, str] = {}
    count = len(read_benchmarks((path for path, _ in against), skipped))
    plans = decide(sharded(run, source, partial(_examined, config, against), config.workers), config)
    texts, examples = _second_reading(run, config, source, plans)
    evidence = repeated_rows(plans, texts), contaminated_rows(plans, texts)
    write_records(run.path / "duplicates.parquet", evidence[0], Repeated)
    write_records(run.path / "contamination.parquet", evidence[1], Contaminated)
    tally = run.tallies[-1]
    if not tally.given and not config.dry_run:  # a dry run shows what takes all of them
        reasons = ", ".join(f"{count} {reason}" for reason, count in tally.summary()["dropped"].items())
        raise DataError(f"no record of {source.name} is left ({reasons}); loosen the settings, or look with --dry-run")
    names = sorted(path.name for path in skipped)
    findings = cleaning_findings(tally, plans, config, evidence, examples, questions=count, skipped=names)
    write_findings(run, findings)
    _note(run, config, source, plans, count)
    if skipped:
        run.note(no_benchmarks=names)


def _second_reading(
    run: Run, config: kinds.Clean, source: Source, plans: Plans
) -> tuple[dict[int, str], list[Decision]]:
    """Write what stays, unless this is a dry run; the prompts that are evidence, and some examples of decisions."""
    folder = run.path / ".plans"
    folder.mkdir(exist_ok=True)
    for number, plan in enumerate(plans.shards):
        (folder / f"{number:05d}.json").write_bytes(msgspec.json.encode(plan))
    table = None if config.dry_run else run.path / f"{TABLES[source.record]}.parquet"
    work = partial(_cleaned, config, folder, table, run.path / "decisions.parquet", source.record, dict(plans.names))
    texts: dict[int, str] = {}
    examples: list[Decision] = []
    for start, (found, some) in zip(plans.starts, sharded(run, source, work, config.workers, again=True), strict=True):
        texts |= {start + row: text for row, text in found.items()}
        examples += some
    shutil.rmtree(folder)
    return texts, examples[:_EXAMPLES]


@lru_cache(maxsize=1)
def _questions(against: Files, matching: Matching, with_controls: bool) -> Questions:
    """The questions, made once in each process: they are larger than what a shard is."""
    return Questions(read_benchmarks(path for path, _ in against), matching, with_controls=with_controls)


def _examined(config: kinds.Clean, against: Files, records: Iterator[Data], shard: Shard) -> Examined:
    del shard
    questions = _questions(against, config.matching, config.controls) if against else None
    return examine(records, config, questions)


def _cleaned(
    config: kinds.Clean,
    plans: Path,
    table: Path | None,
    decisions: Path,
    kind: type[Data],
    names: Mapping[str, str],
    records: Iterator[Data],
    shard: Shard,
) -> tuple[dict[int, str], list[Decision]]:
    """Clean a shard: its prompts that are evidence, and a few of its decisions."""
    plan = msgspec.json.decode((plans / f"{shard.number:05d}.json").read_bytes(), type=Plan)
    leavings = Leavings()
    kept = apply(partial(cleaned, plan, config, names, leavings), records, shard.tally("clean"))
    if table is None:
        for _ in kept:
            pass
    else:
        shard.write(table, kept, kind)
    if leavings.decisions:
        shard.write(decisions, leavings.decisions, Decision)
    return leavings.texts, leavings.decisions[:_EXAMPLES]


def _note(run: Run, config: kinds.Clean, source: Source, plans: Plans, questions: int) -> None:
    tally = run.tallies[-1]
    run.note(layout=source.layout, records=tally.taken, kept=tally.given, dropped=len(tally.dropped))
    run.note(questions=questions, look_alikes=len(plans.spared), dry_run=config.dry_run)
    if held_out_beside(source) is not None:
        run.note(not_read="the held-out pairs beside them")

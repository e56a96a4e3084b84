"""The steps that make preferences and compare them: binarize, diff."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from notus.app.difference import difference_findings, difference_report
from notus.app.report import render
from notus.core.config import difference
from notus.core.errors import DataError
from notus.core.records import Decision, Feedback, Preference
from notus.core.run import Run, atomic
from notus.core.stage import Stage, Tally, apply
from notus.core.tables import read_records, write_records
from notus.core.wording import counted
from notus.data.benchmarks import read_questions
from notus.data.binarize import binarize as binarizing
from notus.data.binarize import is_held_out
from notus.data.difference import PromptDifference, compare_sets
from notus.data.presets import excluding, published_split
from notus.data.quarantine import Quarantine
from notus.data.repair import repair
from notus.data.selection import Selection
from notus.data.sharded import Shard, sharded
from notus.data.sources import Source
from notus.flow import kinds
from notus.flow.datasteps import HELD, held_out_beside, open_given, require_feedback, write_findings

__all__ = ["binarize", "binarizing_stages", "diff"]

Inputs = Mapping[str, str]


def binarizing_stages(
    config: kinds.Binarize, inputs: Inputs, decisions: list[Decision]
) -> list[tuple[str, Stage[Feedback, Feedback]]]:
    """The stages before the pairs are made, each with its name: what is left out, and the repair.

    ``decisions`` takes the changes of the repair. Each stage looks at one row at a time.
    """
    stages: list[tuple[str, Stage[Feedback, Feedback]]] = []
    preset = config.published()
    sources = preset.without_sources if preset else ()
    questions = read_questions(Path(inputs["questions"])) if "questions" in inputs else []
    if sources or questions:
        stages.append(("leave-out", excluding(sources, questions)))
    if config.selection().strategy == "repaired-critique":
        stages.append(("repair", partial(repair, decisions=decisions)))
    return stages


def binarize(run: Run, config: kinds.Binarize, inputs: Inputs, seed: int | None) -> None:
    """Make preferences of feedback, in TRL's conversational layout."""
    assert seed is not None
    source = open_given(config, inputs["data"])
    require_feedback(source)
    # A published split is a permutation of all pairs, which must be held for it; a split by prompt needs none.
    sizes, decisions = (_split_as_published if config.parts() else _split_by_prompt)(run, config, inputs, source, seed)
    tally = next((tally for tally in run.tallies if tally.stage == "binarize"), None)
    if tally is None or not tally.given:
        reasons = ", ".join(
            f"{count:,} {reason}" for of in run.tallies for reason, count in of.summary()["dropped"].items()
        )
        how = config.preset or config.selection().strategy
        # An empty table is no result: without it, the same directory may be used with other settings.
        table = run.path / "preferences.parquet"
        shutil.rmtree(table) if table.is_dir() else table.unlink(missing_ok=True)
        raise DataError(f"no prompt of {source.name} gives a pair by {how}: {reasons or 'there is none'}")
    if decisions:
        write_records(run.path / "decisions.parquet", decisions, Decision)
    _note(run, config, source, tally, sizes)


def diff(run: Run, config: kinds.Diff, inputs: Inputs, seed: int | None) -> None:
    """Compare two preference sets: a table of all prompts, findings as JSON, pictures as SVG, a page."""
    del seed
    sources = (open_given(config, inputs["a"]), open_given(config, inputs["b"]))
    reads = tuple(_pairs_of(run, source, name) for source, name in zip(sources, ("a", "b"), strict=True))
    found = compare_sets(reads[0], reads[1], (inputs["a"], inputs["b"]))
    write_records(run.path / "differences.parquet", found.rows, PromptDifference)
    write_findings(run, difference_findings(found))
    with atomic(run.path / "report.html") as file:
        file.write(render(difference_report(found)))
    run.note(pairs_a=found.pairs[0], pairs_b=found.pairs[1], **dict(sorted(found.counts.items())))


def _split_by_prompt(
    run: Run, config: kinds.Binarize, inputs: Inputs, source: Source, seed: int
) -> tuple[tuple[int, int], list[Decision]]:
    """Make and write the pairs shard by shard; the numbers of train and held-out, and what was repaired."""
    train = held_out = 0
    decisions: list[Decision] = []
    for sizes, made in sharded(run, source, partial(_divided, run.path, config, inputs, seed), config.workers):
        train, held_out = train + sizes[0], held_out + sizes[1]
        decisions += made
    return (train, held_out), decisions


def _split_as_published(
    run: Run, config: kinds.Binarize, inputs: Inputs, source: Source, seed: int
) -> tuple[tuple[int, int], list[Decision]]:
    """Make all pairs, then divide and write them; the numbers of train and test, and what was repaired."""
    pairs: list[Preference] = []
    decisions: list[Decision] = []
    for made, changes in sharded(run, source, partial(_listed, config, inputs, seed), config.workers):
        pairs += made
        decisions += changes
    train, test = published_split(pairs, config.parts()) if pairs else ([], [])
    if test:
        write_records(run.path / "held_out.parquet", test, Preference)
    return (write_records(run.path / "preferences.parquet", train, Preference), len(test)), decisions


def _divided(
    folder: Path, config: kinds.Binarize, inputs: Inputs, seed: int, records: Iterator[Feedback], shard: Shard
) -> tuple[tuple[int, int], list[Decision]]:
    aside: list[Preference] = []
    decisions: list[Decision] = []
    pairs = _made(config, inputs, seed, records, shard, decisions)
    written = shard.write(folder / "preferences.parquet", _train(pairs, config.held_out, seed, aside), Preference)
    if aside:
        shard.write(folder / "held_out.parquet", aside, Preference)
    return (written, len(aside)), decisions


def _listed(
    config: kinds.Binarize, inputs: Inputs, seed: int, records: Iterator[Feedback], shard: Shard
) -> tuple[list[Preference], list[Decision]]:
    decisions: list[Decision] = []
    return list(_made(config, inputs, seed, records, shard, decisions)), decisions


def _made(
    config: kinds.Binarize,
    inputs: Inputs,
    seed: int,
    records: Iterable[Feedback],
    shard: Shard,
    decisions: list[Decision],
) -> Iterator[Preference]:
    """The pairs of a shard, after the stages that come before."""
    for name, before in binarizing_stages(config, inputs, decisions):
        records = apply(before, records, shard.tally(name))
    return apply(binarizing(config.selection(), seed), records, shard.tally("binarize"))


def _train(pairs: Iterable[Preference], share: float, seed: int, aside: list[Preference]) -> Iterator[Preference]:
    """Pass on what is trained on, as a stream, and put aside what is held out: the same sides as ``split`` gives."""
    for pair in pairs:
        if is_held_out(pair.prompt_id, share, seed):
            aside.append(pair)
        else:
            yield pair


def _note(run: Run, config: kinds.Binarize, source: Source, tally: Tally, sizes: tuple[int, int]) -> None:
    selection, preset = config.selection(), config.published()
    run.note(layout=source.layout, strategy=selection.strategy, pairs=sizes[0], held_out=sizes[1])
    if preset is not None:
        run.note(preset=config.preset, drawn=preset.drawn, test_size=config.parts())
        run.note(without_sources=list(preset.without_sources))
        if selection == preset.selection:
            run.note(about=preset.about)
        else:
            run.note(about=f"As the preset {config.preset}, but {_changes(selection, preset.selection)}.")
    if not selection.strict:
        run.note(ties=f"{tally.counts['tied-pair']:,} of {counted(tally.given, 'pair')} tie, as this selection allows")
    run.note(selection=selection.resolved())


def _changes(selection: Selection, published: Selection) -> str:
    """What was given in place of the settings of a preset."""
    changed = difference(published.resolved(), selection.resolved())
    return ", ".join(f"{key} {_said(new)} in place of {_said(old)}" for key, (old, new) in changed.items())


def _said(value: object) -> str:
    return "nothing" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _pairs_of(run: Run, source: Source, name: str) -> Callable[[], Iterator[Preference]]:
    """What reads a set from its beginning, the part that was held out included; only the first time counts rows."""
    if source.record is not Preference:
        raise DataError(
            f"{source.name} holds {HELD[source.record]} (layout {source.layout}); a comparison needs preference "
            f"pairs{', binarize it first' if source.record is Feedback else ''}"
        )
    tallies = iter((run.tally(f"read-{name}"),))

    def read() -> Iterator[Preference]:
        first = next(tallies, None)
        with Quarantine(run.path / f"quarantine_{name}.jsonl" if first else None) as quarantine:
            for record in source.records(first or Tally("again"), quarantine):
                assert isinstance(record, Preference)
                yield record
            if first and quarantine.counts.total():
                run.note(**{f"quarantined_{name}": quarantine.summary()})
        if aside := held_out_beside(source):
            yield from read_records(aside, Preference)

    return read

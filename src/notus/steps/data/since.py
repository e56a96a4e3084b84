"""An audit of what has come since another: the old rows stay as they were audited, the new ones are read and placed.

What is new is told by bytes: a file that only grew is read from where it ended, one whose beginning is another is read
whole, and the rows that are in the old table are passed over. What an old audit said of the others is kept, so a row
that is gone or says something else is an error: only an audit of the whole can tell then. New rows are placed among a
sample of the old ones (the yardstick), with the models of wording that the old audit learned; a place by suspicion is
that which a row would have had then.

Owns what is new, the placing and the sections. What an audit leaves for the next is the business of
``audit.since.held``, what has drifted of ``audit.since.drift``.
"""

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from notus.audit.feedback import Accumulator, Audit, StoredRows, Suspicion, audit_of
from notus.audit.raters import RaterRow
from notus.audit.since.drift import Drifted, commonest, compare_sides, figures_of, rater_figures
from notus.audit.since.held import FileMark, Held, held_models, restored_models
from notus.audit.wording import TextModels
from notus.core.artifacts import Artifact
from notus.core.disk.hashes import hash_prefix
from notus.core.errors import DataError
from notus.core.records import Feedback
from notus.core.run import atomic, read_json
from notus.core.stage import Tally
from notus.core.tables import parts_of, read_columns, read_records, table_exists, write_columns, write_records
from notus.core.text import counted
from notus.evaluate.compare import format_estimate
from notus.formats.families.ultrafeedback import SCORED
from notus.formats.lookup import format_named
from notus.formats.quarantine import Quarantine
from notus.formats.registry import OWN
from notus.formats.rows import Part, count_lines, lines_from
from notus.formats.source import Source, read_counted
from notus.report.section import ReportSection
from notus.report.table import Cell, Table
from notus.steps.base import Context

__all__ = ["HELD", "News", "Since", "audit_since", "drift_section", "find_news", "write_held"]

HELD = Artifact("held", "held.json")
"""What an audit of feedback leaves for the next: ``audit.since.held``."""
_COLUMNS = (
    *("id", "feedback_id", "prompt_id", "file", "line", "index", "mean_rating", "overall_score", "model"),
    *("ratings", "not_applicable", "length", "flags", "strength", "chance_far"),
)
_READING = ("map", "split", "config", "encoding")
_LEAST, _MOST = 128, 2048
"""Prompts of the yardstick: as many as are new, within these bounds."""
_PLACES = 16
_SHOWN = 5
_AUDITED_BEFORE = "audited-before"

Sign = tuple[str, tuple[tuple[float | None, float | None], ...]]
"""What a row is known by: its id, and of each answer the mean rating and the overall score."""


@dataclass(frozen=True)
class News:
    """What of a source is new since an audit."""

    sources: tuple[Source, ...]
    """What is read, in the order of the source."""
    rewritten: Mapping[str, str] = field(default_factory=dict)
    """Name of each file among them that holds old rows too → what it was called then."""
    anew: bool = False
    """Whether all is read anew, and old rows may stand anywhere: records of ours say where they stood first of all."""
    same: tuple[tuple[Source, FileMark], ...] = ()
    """What is not read again, or only from the end of what was."""


@dataclass(frozen=True)
class Since:
    """An audit of what is new."""

    result: Audit
    """Of the new rows, places by suspicion counted among them."""
    drifted: Sequence[Drifted]
    prompts_before: int
    completions_before: int
    yardstick: int
    """Old completions that the new ones were placed among."""
    raters: list[RaterRow] = field(default_factory=list)
    """Of old and new together."""
    sources: tuple[Source, ...] = ()
    """Where the new rows stand."""


def write_held(context: Context, source: Source, models: TextModels, before: Held | None = None) -> None:
    """Leave for the next audit what was read, and what was learned. Of a source with a limit nothing is left.

    Args:
        context: of the run.
        source: all that was audited by now.
        models: that were learned.
        before: what an earlier audit left, whose lines are not counted again.
    """
    if source.limit is not None:
        return
    # How many lines a file has is known up to its last shard.
    begun = {shard.paths[0]: shard.part for shard in source.shards() if shard.part} if before is None else {}
    old = {mark.name: Part(mark.bytes, 0, mark.lines + 1) for mark in before.files if mark.lines} if before else {}
    marks = tuple(_mark(name, each, begun.get(each.paths[0]) or old.get(name)) for name, each in source.tables())
    held = Held(format=source.format, reading=_reading(context), files=marks, models=held_models(models))
    with atomic(HELD.at(context.path), "wb") as file:
        file.write(msgspec.json.encode(held))


def audit_since(context: Context, source: Source) -> Since:
    """Audit what has come since another audit, and put the table of both together.

    Raises:
        DataError: if the other run holds nothing to go on from, was made of another source or otherwise, or something
            of what it audited is gone or changed.
    """
    folder = context.place("since")
    held = _read_held(context, source, folder)
    table = read_columns(folder / "completions.parquet", _COLUMNS)
    _refuse_withdrawn(context, source, folder, table)
    _refuse_decided(context, folder)
    news = find_news(source, held)
    models = restored_models(held.models)
    new, drafts = Accumulator(models), context.path / ".drafts.parquet"
    old: list[Feedback] = []
    rows = (row for record in _read_news(context, source, news, table, old) for row in new.add(record))
    count = write_records(drafts, rows, Suspicion)
    new.finish()
    yard = Accumulator(models)
    wanted = max(_LEAST, min(_MOST, len(new.collector.columns.sizes)))
    for record in _yardstick(news, wanted) if news.same else old[:: max(1, len(old) // wanted)]:
        yard.add(record)
    yard.finish()
    first = len(yard)
    yard.merge(new)
    placed = yard.place()
    late = placed.columns(first, first + count)
    late["suspicion"] = _places_among(table["strength"], late["strength"])
    late["place_by_context"] = _places_among(table["chance_far"], late["chance_far"])
    part = _copy_table(folder, context.path)  # now that nothing speaks against it
    if count:
        write_columns(part, [_with(read_columns(drafts), late)], Suspicion)
    drafts.unlink()
    unchanged = Held(format=held.format, reading=held.reading, files=tuple(m for _, m in news.same), models=())
    write_held(context, source, models, unchanged)
    order = _order(late["strength"])
    stored: StoredRows | tuple[Suspicion, ...] = StoredRows(part, count) if count else ()
    result = audit_of(stored, new, placed, order, late)
    old_raters = _old_raters(folder)
    return Since(
        result=result,
        drifted=_drift(table, part, old_raters, result) if count else (),
        prompts_before=_prompts_in(table),
        completions_before=len(table),
        yardstick=first,
        raters=_pooled(old_raters, result.raters.rows()),
        sources=news.sources,
    )


def find_news(source: Source, held: Held) -> News:
    """What of a source is new, by the bytes of its files.

    Raises:
        DataError: if a file is gone that was audited.
    """
    tables = list(source.tables())
    if source.format in OWN:
        pairs = tuple(zip((each for _, each in tables), held.files, strict=False))
        if len(tables) == len(held.files) and all(_is_same(each, mark) for each, mark in pairs):
            return News((), same=pairs)
        return News(tuple(each for _, each in tables), anew=True)
    known = {mark.name for mark in held.files}
    called = {name: name for name in known}
    if len(known) == len(tables) == 1 and source.root is None:  # a single file may have another name by now
        called = {tables[0][0]: known.pop()}
    marks = {new: mark for mark in held.files for new, old in called.items() if old == mark.name}
    if gone := sorted(called.keys() - {name for name, _ in tables}):
        raise _whole(f"{', '.join(gone[:_SHOWN])} {'is' if len(gone) == 1 else 'are'} gone since it was audited")
    read: list[Source] = []
    rewritten: dict[str, str] = {}
    same: list[tuple[Source, FileMark]] = []
    for name, each in tables:
        path, mark = each.paths[0], marks.get(name)
        if mark is None:
            read.append(each)
            continue
        size = path.stat().st_size
        grown = size > mark.bytes and mark.lines > 0
        if (size == mark.bytes or grown) and hash_prefix(path, mark.bytes) == mark.sha256:
            same.append((each, mark))
            if grown:
                read.append(replace(each, part=Part(mark.bytes, size, mark.lines + 1)))
        else:
            read.append(each)
            rewritten[name] = called[name]
    return News(tuple(read), rewritten=rewritten, same=tuple(same))


def _is_same(each: Source, mark: FileMark) -> bool:
    path = each.paths[0]
    return path.stat().st_size == mark.bytes and hash_prefix(path, mark.bytes) == mark.sha256


def drift_section(since: Since) -> ReportSection:
    """What has drifted since the last time, as a section of the report."""
    heading = "What has drifted since"
    if not since.drifted:
        return ReportSection(heading, ("Nothing has come that could be compared with what was audited before.",))
    apart = [each for each in since.drifted if each.distinguishable]
    compared = counted(len(since.drifted), "figure")
    lead = f"Of {compared} that old and new rows have in common, {len(apart):,} can be told apart"
    lead += (
        f": {', '.join(each.what for each in apart[:_SHOWN])}{' …' if len(apart) > _SHOWN else ''}." if apart else "."
    )
    rows: list[tuple[Cell, ...]] = [
        (
            each.what,
            _number(each.before, each.unit),
            each.n_before,
            _number(each.since, each.unit),
            each.n_since,
            format_estimate(each.difference, sign=True, digits=_digits(each.unit)),
            round(each.p, 4),
            "drifted" if each.distinguishable else "not distinguishable",
        )
        for each in sorted(since.drifted, key=lambda each: (each.p, each.what))
    ]
    note = (
        "Since minus before, 95 % intervals with prompts as clusters; p is adjusted by Holm over all figures of this "
        "table. n counts completions, or ratings."
    )
    columns = ("Figure", "Before", "n", "Since", "n since", "Difference", "p", "Says")
    return ReportSection(heading, (lead,), Table(columns, tuple(rows), note))


def _read_held(context: Context, source: Source, folder: Path) -> Held:
    """What the other audit left, after a look at whether it is of this source, read in this way."""
    if source.record is not Feedback or not HELD.is_in(folder) or not table_exists(folder / "completions.parquet"):
        raise _whole(
            f"{folder} is no audit of feedback that another can go on from (one with a limit leaves nothing either)"
        )
    held: Held = msgspec.json.decode(HELD.at(folder).read_bytes(), type=Held)
    if source.limit is not None:
        raise DataError("'since' audits all that is new, and 'limit' reads only the first rows; leave one of them out")
    if held.format != source.format or held.reading != _reading(context):
        told = f"the format {held.format}" if held.format != source.format else "other settings of reading"
        raise _whole(f"{folder} was made of {told}")
    if format_named(source.format).key is not None:
        raise _whole(f"the format {source.format} puts several rows together, which may stand before and after")
    return held


def _refuse_withdrawn(context: Context, source: Source, folder: Path, table: pa.Table) -> None:
    """Refuse a table with rows of which something was withdrawn since it was made."""
    then = read_json(folder / "inputs.json").get("forget", {}).get("hash")
    if source.withdrawn is None or then == context.run.inputs.get("forget"):
        return
    gone = pa.array(sorted(source.withdrawn.prompts | source.withdrawn.whole), pa.string())
    count = pc.sum(pc.is_in(table["prompt_id"], gone)).as_py() or 0
    if count:
        raise _whole(f"{folder} holds {counted(count, 'completion')} to prompts of which something is withdrawn by now")


def _refuse_decided(context: Context, folder: Path) -> None:
    """Refuse a table that was made before something else was decided on its rows."""
    settings = read_json(folder / "config.json")
    then = read_json(folder / "inputs.json").get("decisions", {}).get("hash")
    now = context.run.inputs.get("decisions")
    same = all((settings.get(key) or []) == (context.run.config.get(key) or []) for key in ("keep", "drop"))
    if then != now or not same:
        raise _whole(f"{folder} was made of other decisions than these")


def _whole(why: str) -> DataError:
    return DataError(f"{why}; audit the whole again, without --since")


def _reading(context: Context) -> dict[str, Any]:
    settings = context.run.config
    return {key: settings.get(key) for key in _READING}


def _mark(name: str, each: Source, last: Part | None) -> FileMark:
    """The mark of a file, whose lines are known up to those of the part ``last``."""
    path = each.paths[0]
    size = path.stat().st_size
    start, known = (last.start, last.first - 1) if last else (0, 0)
    lines = known if start == size else 0 if any(each.members) else count_lines(path, each.encoding, start=start)
    lines += known if lines and start < size else 0
    return FileMark(name=name, bytes=size, sha256=hash_prefix(path, size), lines=lines)


def _copy_table(folder: Path, out: Path) -> Path:
    """Take the parts of the old table over as they are; where the part of the new rows goes."""
    parts = parts_of(folder / "completions.parquet")
    place = out / "completions.parquet"
    place.mkdir(exist_ok=True)
    for number, part in enumerate(parts):
        shutil.copyfile(part, place / f"{number:05d}.parquet")
    return place / f"{len(parts):05d}.parquet"


def _read_news(
    context: Context, source: Source, news: News, table: pa.Table, old: list[Feedback]
) -> Iterator[Feedback]:
    """The new records, once each; those of rewritten files that were audited before are counted and passed over.

    ``old`` receives some ``_MOST`` of these, from all over.
    """
    step = -(-_prompts_in(table) // _MOST)
    passed = {name: _signs(table.filter(pc.equal(table["file"], old))) for name, old in news.rewritten.items()}
    everywhere = _signs(table) if news.anew else None
    passed |= {source.name: everywhere} if everywhere is not None else {}
    tally = context.tally("since")
    for record in read_counted(context.run, news.sources, name=source.name):
        assert isinstance(record, Feedback)
        tally.taken += 1
        known = everywhere if everywhere is not None else passed.get(record.file)
        sign = _sign(record) if known is not None else None
        if known is not None and sign is not None and known[sign] > 0:
            known[sign] -= 1
            old += [record] if len(tally.dropped) % step == 0 else []
            tally.drop(record.id, _AUDITED_BEFORE, at=record, asked_by="since")
            continue
        tally.given += 1
        yield record
    left = {name: +signs for name, signs in passed.items() if +signs}
    if left:
        lost = sum(signs.total() for signs in left.values())
        some = [sign[0] for signs in left.values() for sign in signs][:_SHOWN]
        raise _whole(
            f"{counted(lost, 'row')} of {', '.join(left)} {'is' if lost == 1 else 'are'} gone since it was audited, or "
            f"judged otherwise ({', '.join(some)}{' …' if lost > len(some) else ''})"
        )


def _signs(own: pa.Table) -> Counter[Sign]:
    """What old rows are known by."""
    found: Counter[Sign] = Counter()
    sign: list[tuple[float | None, float | None]] = []
    before = ""
    for row in own.select(["feedback_id", "index", "mean_rating", "overall_score"]).to_pylist():
        if row["index"] == 0 and sign:
            found[before, tuple(sign)] += 1
            sign = []
        before = row["feedback_id"]
        sign.append((row["mean_rating"], row["overall_score"]))
    if sign:
        found[before, tuple(sign)] += 1
    return found


def _sign(record: Feedback) -> Sign:
    return record.id, tuple((item.mean_rating, item.overall_score) for item in record.completions)


def _yardstick(news: News, count: int) -> Iterator[Feedback]:
    """About so many old prompts from places all over what was audited before, and has not changed."""
    whole = sum(mark.bytes for _, mark in news.same) or 1
    spread = news.same[:: max(1, len(news.same) // _PLACES)]
    for each, mark in spread:
        wanted = max(1, round(count * mark.bytes * len(news.same) / len(spread) / whole))
        sources: list[Source] = [each]
        if mark.lines:
            places = min(_PLACES, wanted)
            starts = [mark.bytes * number // places for number in range(places)]
            parts = (lines_from(each.paths[0], start, mark.bytes, -(-wanted // places)) for start in starts)
            sources = [replace(each, part=part) for part in parts if part is not None]
        for one in sources:
            for record in islice(one.records(Tally("yardstick"), Quarantine()), -(-wanted // len(sources))):
                assert isinstance(record, Feedback)
                yield record


def _with(table: pa.Table, late: Mapping[str, pa.Array]) -> pa.Table:
    for name, column in late.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _places_among(old: pa.ChunkedArray, new: pa.Array) -> pa.Array:
    """The place by suspicion that each new row would have had among the old ones; null without a strength."""
    known = np.sort(_strengths(old.combine_chunks()))
    known = known[~np.isnan(known)]
    here = _strengths(new)
    places = 1 + len(known) - np.searchsorted(known, np.nan_to_num(here), "right")
    return pa.array(places.astype(np.int64), mask=np.isnan(here))


def _order(strengths: pa.Array) -> NDArray[np.uint32]:
    """Place of each new row among the new ones, 1 for the most suspicious; 0 without a strength."""
    values = _strengths(strengths)
    known = np.sort(values[~np.isnan(values)])
    places = 1 + len(known) - np.searchsorted(known, np.nan_to_num(values), "right")
    return np.where(np.isnan(values), 0, places).astype(np.uint32)


def _strengths(values: pa.Array) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
    return np.round(found, 12).astype(np.float64)


def _drift(table: pa.Table, part: Path, raters: Iterable[RaterRow], result: Audit) -> list[Drifted]:
    new = read_columns(part, _COLUMNS)
    models, flags = commonest(table, new)
    tens = result.columns.scales_of_most()[1] in (None, SCORED)
    before, since = (figures_of(each, models, flags, tens=tens) for each in (table, new))
    return compare_sides(before | rater_figures(raters), since | rater_figures(result.raters.rows()))


def _prompts_in(table: pa.Table) -> int:
    """Rows of the source that the table is of: each begins with its first answer."""
    return int(pc.sum(pc.equal(table["index"], 0)).as_py() or 0)


def _old_raters(folder: Path) -> list[RaterRow]:
    path = folder / "raters.parquet"
    return list(read_records(path, RaterRow)) if table_exists(path) else []


def _pooled(old: Sequence[RaterRow], new: Sequence[RaterRow]) -> list[RaterRow]:
    """The raters of both audits; of one that is in both, numbers and mean are put together, and no more is known."""
    keys = {_rater_key(row): row for row in new}
    found = []
    for row in old:
        other = keys.pop(_rater_key(row), None)
        found.append(row if other is None else _one_of(row, other))
    return found + list(keys.values())


def _rater_key(row: RaterRow) -> tuple[Any, ...]:
    return row.rater, row.what, row.of, row.scale_low, row.scale_high


def _one_of(a: RaterRow, b: RaterRow) -> RaterRow:
    n, known = a.n + b.n, (a.mean_low, a.mean_high, b.mean_low, b.mean_high)
    mean = None if a.mean is None or b.mean is None else (a.n * a.mean + b.n * b.mean) / n
    low = high = None
    if mean is not None and None not in known:
        half = [((row.mean_high or 0) - (row.mean_low or 0)) / 2 * row.n / n for row in (a, b)]
        error = math.hypot(*half)
        low, high = mean - error, mean + error
    return RaterRow(
        rater=a.rater,
        what=a.what,
        of=a.of,
        scale_low=a.scale_low,
        scale_high=a.scale_high,
        n=n,
        shared=a.shared + b.shared,
        prompts=a.prompts + b.prompts,
        mean=mean,
        mean_low=low,
        mean_high=high,
    )


def _number(value: float, unit: str) -> Cell:
    return f"{value:.{_digits(unit)}f}"


def _digits(unit: str) -> int:
    return {"share": 4, "points": 3, "characters": 1}[unit]

"""Open what is to be reviewed: feedback, pairs, unpaired answers or dialogues, of a source or of a run.

    open_review("ultrafeedback.jsonl")           a file, a folder, a hub id
    open_review("runs/audit-1")                  an audit: what it read, with suspicion, q, reasons and evidence
    open_review("runs/binarize-1")               pairs, with the feedback that they were made from beside them

A run that left records is reviewed by these; an audit leaves none, and what it read is. The feedback behind pairs is
looked for on the way from the run to its sources, the nearest first. Owns what is read for a review, and what is said
of what could not be read or found.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from notus.core.artifacts import records_in
from notus.core.columns import without_pandas
from notus.core.disk.withdrawn import Sieve, forgotten_beside, read_withdrawn
from notus.core.errors import DataError, InputError
from notus.core.parallel import usable_cores
from notus.core.records import Dialogue, Feedback
from notus.core.run import MANIFEST, check_run, read_json, read_manifest
from notus.core.tables import table_exists
from notus.core.text import counted
from notus.decisions.store import Store
from notus.formats.source import Source, open_source
from notus.provenance.lineage import Link, format_of, links_of
from notus.review.query import Review
from notus.review.records import Facts
from notus.review.tables.build import Built, build, cache_of
from notus.review.tables.columns import Columns, load
from notus.review.tables.decided import Decided
from notus.review.tables.join import add_audit, add_feedback
from notus.review.tables.search import Search
from notus.review.tables.select import Selection
from notus.review.tables.view import Views
from notus.review.tables.whole import Records

__all__ = ["open_review"]

_AUDITED = ("completions.parquet", "pairs.parquet")
"""Tables of an audit: of feedback, of pairs."""
_MANY = 20_000
_READ = ("data", "path")
"""Settings that name what a run read."""

Opener = Callable[[str], Source]


@dataclass(frozen=True)
class _Found:
    """What is to be read."""

    source: Source
    place: Path | str
    """Beside which the tables lie."""
    audit: Path | None = None
    said: tuple[str, ...] = ()


def open_review(
    given: str | Path,
    *,
    opened: Opener = open_source,
    feedback: str | Path | None = None,
    audit: str | Path | None = None,
    decisions: Store | None = None,
    cache: Path | None = None,
    workers: int | None = None,
) -> Review:
    """Open a source or a run for review; the tables are built where they are not there yet.

    Args:
        given: a file, a folder, a hub id, or a run directory: of an audit, or one that left records.
        opened: how a path or a hub id becomes a source; the command line gives what reads its settings.
        feedback: the feedback that pairs came from, where it is not found by the run's inputs.
        audit: an audit of this source, or of that feedback, for suspicion and reasons.
        decisions: the store that decisions are read from; it is not closed here.
        cache: folder for the tables; None takes ``.notus/review`` beside what is read.
        workers: number of processes of the build; None takes the cores that may be used.

    Raises:
        InputError: if there is nothing to read, or what is given does not belong together.
        MissingExtraError: if the extra ``review`` is not installed.
    """
    without_pandas()
    found = _find(str(given), opened, audit)
    said = [*found.said, *([f"not read: {found.source.not_read}"] if found.source.not_read else [])]
    columns, records, search = _tables(found, cache, workers)
    said += _dropped(columns.built)
    of_feedback = found.audit is not None and found.audit.name == _AUDITED[0]
    if found.audit is not None and (columns.built.of == "completion" or not of_feedback):
        said += add_audit(columns, found.audit)
    other = _find_feedback(str(given), found.source, opened, feedback)
    beside, others, critiques = None, None, None
    if other is not None:
        below, others, critiques = _tables(other, cache, workers)
        table = found.audit if of_feedback else other.audit
        if table is not None:
            said += add_audit(below, table)
        beside = add_feedback(columns, below, other.source.name)
        said += beside.said
    elif columns.built.of in ("pair", "row"):
        said.append("no feedback stands beside: critiques and ratings are not known")
    if "suspicion" not in columns.numbers:
        said.append(_without_suspicion(columns, audited=found.audit is not None))
    decided = Decided(columns, decisions, None if beside is None else beside.columns)
    decided.refresh()
    if len(columns) > _MANY:  # while the page is opened
        threading.Thread(target=columns.warm, daemon=True).start()
    selection = Selection(columns, decided, search, beside, critiques)
    views = Views(columns, records, decided, beside, others)
    closing = tuple(each.close for each in (records, search, others, critiques) if each is not None)
    spans = columns.built.scales if beside is None else beside.columns.built.scales
    facts = _facts(str(given), columns, selection, tuple(said))
    return Review(facts, columns, selection, decided, views, spans, closing)


def _tables(found: _Found, cache: Path | None, workers: int | None) -> tuple[Columns, Records, Search]:
    built = build(found.source, cache or cache_of(found.place), workers)
    columns = load(built)
    if columns.built.of == "pair":  # what stands in a pair by itself is known without an audit
        columns.words["reason"] = columns.words["faults"]
    return columns, Records(built), Search(built, columns, min(2, usable_cores()))


def _without_suspicion(columns: Columns, *, audited: bool) -> str:
    if not audited:
        return "no audit stands beside: there is no suspicion to sort by"
    told = "this audit ranks no pair by suspicion, which takes rewards (notus audit PAIRS --rewards); "
    if "flagged" in columns.numbers:
        return f"{told}they are sorted by their flags: facts first, then labels against their texts, then q"
    return f"{told}nothing is flagged either"


def _facts(name: str, columns: Columns, selection: Selection, said: tuple[str, ...]) -> Facts:
    numbers = tuple(key for key in selection.sorts if key in columns.numbers)
    return Facts(
        name=name,
        of=columns.built.of,
        rows=len(columns),
        prompts=len(np.unique(columns.prompt)),
        said=said,
        numbers=numbers,
        sorts=selection.sorts,
        facets=selection.keys,
    )


def _dropped(built: Built) -> list[str]:
    dropped = built.dropped
    if not dropped:
        return []
    why = ", ".join(f"{name} {count:,}" for name, count in dropped.most_common(3))
    return [f"{counted(sum(dropped.values()), 'row')} of the source could not be read or were left out: {why}"]


def _find(given: str, opened: Opener, audit: str | Path | None) -> _Found:
    """What a path or a hub id means."""
    folder = Path(given)
    if (folder / "experiment.json").is_file() or (folder / "steps").is_dir():
        raise DataError(
            f"{folder} holds the runs of a whole recipe; name one of them, for example {folder}/steps/audit-…"
        )
    named = None if audit is None else _audit_in(Path(audit))
    if not (folder / MANIFEST).is_file():
        return _Found(opened(given), given, named)
    check_run(folder, weights=False)
    if records_in(folder) is not None:
        return _Found(opened(given) if opened is not open_source else _records(folder), given, named)
    table = _audit_in(folder)
    read = read_json(folder / "inputs.json").get("data", {}).get("path")
    if not read:
        raise DataError(f"{folder} does not say what it read; name the source, and the run as its audit")
    return _Found(_source_read(folder, read), given, named or table)


def _audit_in(folder: Path) -> Path:
    """The table of an audit's run directory.

    Raises:
        DataError: if it is none.
    """
    for name in _AUDITED:
        if table_exists(folder / name):
            return folder / name
    stage = read_manifest(folder).get("stage") if (folder / MANIFEST).is_file() else None
    what = f"is a run of '{stage}'" if stage else "is no run directory"
    raise DataError(f"{folder} {what}: neither records nor an audit to review; make one with 'notus audit'")


def _records(folder: Path) -> Source:
    """The records that a run left."""
    place = records_in(folder)
    assert place is not None, "asked before"
    return _without_withdrawn(open_source(str(place)), folder)


def _source_read(run: Path, given: str) -> Source:
    """What a run read, as it read it."""
    place = _moved(given, run)
    config = read_json(run / "config.json")
    folder = Path(place)
    if (folder / MANIFEST).is_file():
        check_run(folder, weights=False)
        if (records := records_in(folder)) is None:
            raise DataError(f"{run} read {place}, which holds no records any more")
        return _without_withdrawn(open_source(str(records), limit=config.get("limit")), run, config.get("forget"))
    if not folder.exists() and Path(given).is_absolute():
        raise InputError(f"{given}, which {run} read, is gone; name where it lies now, and {run} as its audit")
    source = open_source(
        place,
        format=format_of(config),
        limit=config.get("limit"),
        split=config.get("split"),
        config=config.get("config"),
        encoding=config.get("encoding"),
    )
    return _without_withdrawn(source, run, config.get("forget"))


def _without_withdrawn(source: Source, run: Path, forget: str | None = None) -> Source:
    """A source without what was withdrawn since: what the run was told, and what its folder of runs says."""
    named = [Path(forget)] if forget and Path(forget).is_file() else []
    beside = forgotten_beside(run)
    places = dict.fromkeys([*named, *([beside] if beside else [])])
    lines = [line for place in places for line in read_withdrawn(place)]
    return replace(source, withdrawn=Sieve.of(lines)) if lines else source


def _moved(path: str, child: Path) -> str:
    """Where an input lies now: runs that lay side by side may have been moved together."""
    beside = child.parent / Path(path).name
    return str(beside) if not Path(path).exists() and beside.exists() else path


def _find_feedback(given: str, source: Source, opened: Opener, feedback: str | Path | None) -> _Found | None:
    """The feedback that pairs or unpaired rows were made from."""
    if source.record is Feedback or source.record is Dialogue:
        if feedback is not None:
            raise DataError(f"{given} holds no pairs that feedback could stand beside; leave --feedback out")
        return None
    if feedback is not None:
        found = _find(str(feedback), opened, None)
        if found.source.record is not Feedback:
            raise DataError(f"{feedback} holds no feedback; name what the pairs of {given} were made from")
        return found
    for place, read in _upward(given):
        if read.record is Feedback:
            return _Found(read, place)
    return None


def _upward(given: str) -> Iterator[tuple[str, Source]]:
    """What the runs on the way to a place read, the nearest first."""
    if not (Path(given) / MANIFEST).is_file():
        return
    links: dict[str, Link] = {each.path: each for each in links_of(given)}
    waiting, seen = [given], set[str]()
    while waiting:
        link = links.get(waiting.pop(0))
        if link is None or link.path in seen or not link.stage:
            continue
        seen.add(link.path)
        for setting, parent in zip(link.settings, link.parents, strict=True):
            if setting.partition(".")[0] in _READ and links[parent].found:
                yield parent, _source_read(Path(link.path), parent)
                waiting.append(parent)

"""What a withdrawn row has touched, in a folder of runs: every pair, every run, every model.

A run *holds* a row where one of its tables has it, or what was made of it; it *names* it where it was dropped, changed
or audited there; a model was *trained on* it where the data of its training hold it; and a run *comes of* it where it
was made from a run that was trained on it, or from one that comes of such a one. What holds a row is found by reading
all records of all runs and of the files that they read, and not by their ids alone: a pair, a dialogue or a single
answer that was made of a withdrawn one has another id.

Owns the search. What keeps a row out from then on is the business of ``core.disk.withdrawn``, how a place is read that
of ``provenance.lineage``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from notus.core.artifacts import (
    DIALOGUES,
    DROPPED,
    FEEDBACK,
    HELD_OUT,
    MODEL,
    OUTPUTS,
    PREFERENCES,
    RAW_FEEDBACK,
    ROWS,
    ROWS_TABLE,
    UNPAIRED,
    artifacts_in,
)
from notus.core.disk.withdrawn import FORGOTTEN, REASON, Sieve, Withdrawn, answer_digest, prompt_of, withdraw
from notus.core.errors import DataError, InputError
from notus.core.records import Dialogue, Feedback, Output, Preference, Unpaired
from notus.core.run import MANIFEST
from notus.core.stage import Tally
from notus.core.tables import read_records, read_table
from notus.formats.quarantine import Quarantine
from notus.provenance.lineage import Link, links_of, open_link, read_named_rows

__all__ = ["Forgotten", "TouchedPair", "TouchedRun", "forget"]

_TABLES = (RAW_FEEDBACK, FEEDBACK, PREFERENCES, HELD_OUT, UNPAIRED, DIALOGUES, OUTPUTS, ROWS, ROWS_TABLE)
_TRAINS = {"sft": "train sft", "dpo": "train dpo", "train-ranker": "train ranker"}
"""Type of a step that trains → its command."""
_COMMANDS = {"sample": "generate", "toy": "", "reward-check": "eval rewards", "alpaca": "eval alpaca"}
_NAMING = (
    ("completions.parquet", ("id", "feedback_id", "prompt_id")),
    ("pairs.parquet", ("id", "prompt_id")),
    ("decisions.parquet", ("target",)),
    ("queue.parquet", ("id", "feedback_id", "prompt_id")),
)
"""Tables that say something of records, and their columns of ids."""
_SHOWN = 5
_WHOLE = re.compile(r"[0-9a-f]{16}")
_PLACE = re.compile(r"(.+):(\d+)")

_Record = Feedback | Preference | Unpaired | Dialogue | Output


@dataclass(frozen=True)
class TouchedPair:
    """A pair that was made of what is withdrawn, or is it itself."""

    id: str
    run: str
    table: str
    """``preferences.parquet``, ``held_out.parquet``, or the file."""


@dataclass(frozen=True)
class TouchedRun:
    """A run directory that a withdrawn row has touched."""

    run: str
    stage: str
    how: str
    """``holds``, ``names``, ``trained on`` or ``comes of``."""
    rows: int
    """Rows of its tables that hold it."""
    again: str = ""
    """The command that makes it again without them."""


@dataclass(frozen=True)
class Forgotten:
    """What was withdrawn, and what it has touched."""

    file: str
    """The file of withdrawn ids."""
    withdrawn: tuple[Withdrawn, ...]
    added: tuple[str, ...]
    """Ids that were not withdrawn before; empty where nothing was to be written."""
    pairs: tuple[TouchedPair, ...]
    runs: tuple[TouchedRun, ...]
    """In the order of the work."""
    models: tuple[TouchedRun, ...]
    """Those of the runs that left a model which was trained on it, or comes of one that was."""
    sources: tuple[tuple[str, int], ...] = ()
    """Files outside of all runs that hold it, with the number of rows; they are not changed."""
    unread: tuple[str, ...] = field(default=())
    """Places that runs have read and that are gone, or cannot be read: what they held is not known."""


def forget(identifiers: Sequence[str], folder: Path, *, why: str = "", write: bool = True) -> Forgotten:
    """Find what withdrawn rows have touched in a folder of runs, and keep them out from then on.

    Args:
        identifiers: of feedback rows, completions, prompts, pairs, unpaired rows, dialogues or outputs, or beginnings
            that fit a single one; or ``file:line``.
        folder: of the runs; the file of withdrawn ids lies in it.
        why: kept in the file.
        write: False looks only.

    Raises:
        InputError: if the folder holds no run, an id is empty, or its beginning fits several.
    """
    links, unread = _links_in(folder)
    if wrong := [each for each in identifiers if not each.strip()]:
        raise InputError(f"an empty id ({wrong[0]!r}) fits every record; give the first digits of one")
    rows = _Rows(links, unread)
    withdrawn = tuple(_resolve(identifiers, rows))
    sieve = Sieve.of(withdrawn)
    held: dict[str, int] = {}
    pairs: list[TouchedPair] = []
    for path, table, record in rows.read():
        if sieve.touches(record):
            held[path] = held.get(path, 0) + 1
            if isinstance(record, Preference):
                pairs.append(TouchedPair(record.id, links[path].path, table))
    named = {path for path, link in links.items() if link.stage and _names(Path(path), withdrawn)}
    runs = list(_touched(links, held, named, folder))
    models = [each for each in runs if each.how in ("trained on", "comes of") and MODEL.at(Path(each.run)).exists()]
    file = folder / FORGOTTEN
    added = withdraw(file, withdrawn, why) if write else []
    return Forgotten(
        file=str(file),
        withdrawn=withdrawn,
        added=tuple(each.id for each in added),
        pairs=tuple(pairs),
        runs=tuple(runs),
        models=tuple(models),
        sources=tuple((links[path].path, count) for path, count in held.items() if not links[path].stage),
        unread=tuple(dict.fromkeys(rows.unread)),
    )


def _links_in(folder: Path) -> tuple[dict[str, Link], list[str]]:
    """All runs of a folder and what they were made from, by their resolved paths, each after what it was made from; and
    what cannot be read."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the one that holds the runs, for example runs")
    found: dict[str, Link] = {}
    unread: list[str] = []
    for inputs in sorted(folder.rglob("inputs.json")):
        run = inputs.parent
        if not (run / "config.json").is_file():
            continue
        try:
            links = links_of(str(run))
        except (InputError, DataError) as error:
            unread.append(f"{run}: {error}")
            continue
        for link in links:
            # A run is shown by its place in the folder, however another one names it.
            if _key(link.path) not in found or link.path == str(run):
                found[_key(link.path)] = replace(link, parents=tuple(map(_key, link.parents)))
    if not found and not unread:
        raise InputError(f"{folder} holds no run directory; name the folder that holds the runs, for example runs")
    return _in_order(found), unread


def _key(path: str) -> str:
    """What a place is known by, whatever it is called; a hub id by its name."""
    return str(Path(path).resolve()) if Path(path).exists() else path


def _in_order(links: Mapping[str, Link]) -> dict[str, Link]:
    """Each link after those that it was made from."""
    ordered: dict[str, Link] = {}
    seen: set[str] = set()

    def visit(path: str) -> None:
        if path in seen or path not in links:
            return
        seen.add(path)
        for parent in links[path].parents:
            visit(_run_of(parent, links))
            visit(parent)
        ordered[path] = links[path]

    for path in links:
        visit(path)
    return ordered


class _Rows:
    """All records of all places; what cannot be read is noted once."""

    def __init__(self, links: Mapping[str, Link], unread: Iterable[str]) -> None:
        self._links, self.unread = links, list(unread)
        """Places that cannot be read, with what is wrong."""

    def read(self) -> Iterator[tuple[str, str, _Record]]:
        """Path of the place, name of the table, and record."""
        for path, link in self._links.items():
            folder = Path(path)
            if not link.stage and not link.found:
                self.unread.append(f"{path} is gone")
            tables = artifacts_in(folder, _TABLES) if link.stage else ()
            for table in tables:
                place = table.at(folder)
                if table is OUTPUTS:
                    yield from ((path, table.file, record) for record in read_records(place, Output))
                else:
                    yield from self._records(path, table.file, str(place), link)
            if not link.stage and link.readable and folder.exists() and _run_of(path, self._links) == path:
                yield from self._records(path, folder.name, path, link)

    def _records(self, path: str, name: str, place: str, link: Link) -> Iterator[tuple[str, str, _Record]]:
        try:
            for record in open_link(link, place).records(Tally("forget"), Quarantine()):
                yield path, name, record
        except (DataError, InputError) as error:
            self.unread.append(f"{place}: {error}")


def _resolve(identifiers: Sequence[str], rows: _Rows) -> Iterator[Withdrawn]:
    """What is meant by each id.

    Raises:
        InputError: if a beginning fits several.
    """
    found: dict[str, dict[str, Withdrawn]] = {each: {} for each in identifiers}
    places = {each: place for each in identifiers if (place := _PLACE.fullmatch(each))}
    last = dict.fromkeys(places, 0)
    """Of a place, the last line of its file on which a record stands."""
    for _, _, record in rows.read():
        for identifier, place in places.items():
            if record.file and f"/{record.file}".endswith(f"/{place[1]}"):
                last[identifier] = max(last[identifier], record.line)
        meanings = list(_meanings(record))
        for identifier, matches in found.items():
            # The beginning of a file:line is never enough: line 1 is not line 12.
            at = f"/{record.file}:{record.line}".endswith(f"/{identifier}") and bool(record.file)
            for each in meanings[:1] if at else (one for one in meanings if one.id.startswith(identifier)):
                known = matches.get(each.id)
                answers = tuple(dict.fromkeys((*(known.answers if known else ()), *each.answers)))
                matches[each.id] = msgspec.structs.replace(each, answers=answers)
    for identifier, matches in found.items():
        meant = {identifier: matches[identifier]} if identifier in matches else matches
        if len(meant) > 1:
            some = ", ".join(sorted(meant)[:_SHOWN])
            raise InputError(
                f"'{identifier}' fits {len(meant):,} ids, such as {some}; give more of the one that is meant"
            )
        if not meant:
            _refuse_unknown(identifier, int(places[identifier][2]) if identifier in places else 0, last)
        yield next(iter(meant.values()), Withdrawn(id=identifier, kind="unknown"))


def _refuse_unknown(identifier: str, line: int, last: Mapping[str, int]) -> None:
    """Refuse what nobody can have meant; a line on which a row became no record may be, and a whole id."""
    if identifier in last:
        if line > last[identifier]:
            where = (
                f"the last one there stands on line {last[identifier]:,}" if last[identifier] else "nor in that file"
            )
            raise InputError(f"no record that a run of this folder has read stands at '{identifier}'; {where}")
    elif not _WHOLE.fullmatch(identifier):
        raise InputError(
            f"no record that a run of this folder has read has an id that begins with '{identifier}'; what is not "
            "there yet is withdrawn by its whole id, 16 hexadecimal digits"
        )


def _meanings(record: _Record) -> Iterator[Withdrawn]:
    """What of a record can be withdrawn; first what a place means: the row that stood there."""
    prompt = prompt_of(record)
    if isinstance(record, Feedback):
        answers = tuple(answer_digest(item.text) for item in record.completions)
        yield Withdrawn(id=record.id, kind="feedback", prompt=prompt, answers=answers)
        for index, answer in enumerate(answers):
            yield Withdrawn(id=record.completion_id(index), kind="completion", prompt=prompt, answers=(answer,))
    elif isinstance(record, Preference):
        if record.feedback_id:
            answers = (answer_digest(record.chosen[-1].content), answer_digest(record.rejected[-1].content))
            yield Withdrawn(id=record.feedback_id, kind="feedback", prompt=prompt, answers=answers)
        yield Withdrawn(id=record.id, kind="pair", prompt=prompt)
    elif isinstance(record, Unpaired):
        yield Withdrawn(id=record.id, kind="row", prompt=prompt)
    elif isinstance(record, Dialogue):
        yield Withdrawn(id=record.id, kind="dialogue", prompt=prompt)
    else:
        yield Withdrawn(id=record.id, kind="output", prompt=prompt, answers=(answer_digest(record.text),))
    yield Withdrawn(id=prompt, kind="prompt", prompt=prompt)


def _names(folder: Path, withdrawn: Iterable[Withdrawn]) -> bool:
    """Whether a run's tables of what it dropped, changed or audited name one of the ids."""
    ids = {each.id for each in withdrawn}
    if any(read_named_rows(folder / name, column, ids) for name, columns in _NAMING for column in columns):
        return True
    return DROPPED.is_in(folder) and any(
        row["reason"] != REASON and (row.get("id") in ids or f"{row.get('file')}:{row.get('line')}" in ids)
        for row in read_table(DROPPED.at(folder))
    )


def _touched(links: Mapping[str, Link], held: Mapping[str, int], named: set[str], folder: Path) -> Iterator[TouchedRun]:
    """The runs that are touched, in the order of the work."""
    trained: set[str] = set()
    for path, link in links.items():
        if not link.stage:
            continue
        parents = [_run_of(parent, links) for parent in link.parents]
        how = ""
        if link.stage in _TRAINS and any(parent in held or parent in trained for parent in parents):
            how = "trained on"
            trained.add(path)
        elif any(parent in trained for parent in parents):
            how = "comes of"
            trained.add(path)
        elif path in held:
            how = "holds"
        elif path in named:
            how = "names"
        if how:
            yield TouchedRun(link.path, link.stage, how, held.get(path, 0), _again(link, folder))


def _run_of(place: str, links: Mapping[str, Link]) -> str:
    """The run that a place is, or lies in."""
    above = str(Path(place).parent)
    return above if place not in links or (not links[place].stage and above in links) else place


def _again(link: Link, folder: Path) -> str:
    """The command that makes a run again; of a step of a recipe that of the recipe, which does only what changed."""
    run = Path(link.path)
    if run.parent.name == "steps" and run.is_relative_to(folder):
        return f"notus run RECIPE --out {run.parent.parent}"
    command = _TRAINS.get(link.stage) or _COMMANDS.get(link.stage, link.stage)
    if not command or not (run / MANIFEST).is_file():
        return ""
    given = [parent for setting, parent in zip(link.settings, link.parents, strict=True) if _is_read(setting)]
    start = [
        f"--start {parent}" for setting, parent in zip(link.settings, link.parents, strict=True) if setting == "start"
    ]
    return " ".join(["notus", command, *given, *start, "--out", f"{link.path}-again"])


def _is_read(setting: str) -> bool:
    return setting.partition(".")[0] in ("data", "path", "pairs", "a", "b", "model", "ranker", "outputs")

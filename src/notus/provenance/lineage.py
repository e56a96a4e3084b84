"""Lineage: what became of one record, from the source row through every run directory that touched it.

A run directory says in ``inputs.json`` what it was made from; following that leads to the source. On the way records,
changes (``decisions.parquet``), drops (``dropped.parquet``, ``quarantine.jsonl``) and what an audit says of them
(``completions.parquet``, ``pairs.parquet``) are found by id. Why an answer was rejected is not stored: the selection is
a pure function of the row, the settings and the seed, so it is made again, and compared with what the run has written.

Owns the search. What is shown of it is owned by ``report.lineage``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from notus.core.artifacts import (
    DECISIONS,
    DIALOGUES,
    FEEDBACK,
    HELD_OUT,
    PREFERENCES,
    QUARANTINE,
    RAW_FEEDBACK,
    UNPAIRED,
    artifacts_in,
)
from notus.core.disk.withdrawn import prompt_of
from notus.core.errors import InputError
from notus.core.records import Dialogue, Feedback, Preference, Unpaired
from notus.core.run import MANIFEST, check_run, read_json
from notus.core.stage import Tally
from notus.core.tables import count_rows, read_table
from notus.core.text import HubId
from notus.decisions.database import is_url, without_password
from notus.decisions.note import kept_by
from notus.decisions.read import place_in, read_rulings
from notus.decisions.ruling import Ruling
from notus.decisions.settle import standings
from notus.formats.format import NoFormatError
from notus.formats.mapping.decode import mapping_name
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source, open_source
from notus.preferences.annotators import consensus, said_of
from notus.preferences.raters import without_raters
from notus.preferences.selection import Choice, Selection, choose
from notus.preferences.take.outvoted import OUTVOTED

__all__ = [
    "Decided",
    "Event",
    "Explanation",
    "Link",
    "PairStory",
    "explain",
    "format_of",
    "links_of",
    "open_link",
    "read_named_rows",
]

_TABLES = (RAW_FEEDBACK, FEEDBACK, PREFERENCES, HELD_OUT, UNPAIRED, DIALOGUES)
"""Where a record may stand in a run directory."""
_DATA = ("data", "path", "a", "b", "pairs")
"""Settings that name feedback or pairs."""
_SHOWN = 5


@dataclass(frozen=True)
class Link:
    """One place on the way: a run directory, or a source that lies outside of all runs."""

    path: str
    stage: str
    """What the run did; empty for a source."""
    config: dict[str, Any]
    parents: tuple[str, ...]
    """Paths of the links that it was made from."""
    settings: tuple[str, ...] = ()
    """The setting that names each of them."""
    format: str | None = None
    """Format that the run which reads this source was told to take."""
    chosen: dict[str, Any] = field(default_factory=dict)
    """Split and configuration that it was told to read."""
    readable: bool = True
    """Whether its rows are looked at: a file of questions, or a model, is on the way too and holds none."""
    found: bool = True
    """False when the place that ``inputs.json`` names is gone."""


@dataclass(frozen=True)
class Event:
    """Something that was done to the record, or said of it."""

    run: str
    stage: str
    what: str


@dataclass(frozen=True)
class PairStory:
    """A pair that was made of the prompt, and why."""

    run: str
    held_out: bool
    pair: Preference
    selection: Selection | None = None
    seed: int = 0
    feedback: Feedback | None = None
    choice: Choice | None = None
    """The selection made again; None where the run did not binarize, or its source is gone."""

    @property
    def reproduced(self) -> bool:
        """Whether the selection, made again, gives this very pair."""
        one, other = (self.pair.extra.get(f"{side}_index") for side in ("chosen", "rejected"))
        made = (other, one) if OUTVOTED in self.pair.extra else (one, other)
        return self.choice is not None and made in self.choice.pairs


@dataclass(frozen=True)
class Explanation:
    """All that is known of an id."""

    id: str
    kind: str
    """``prompt``, ``feedback``, ``completion``, ``pair``, ``unpaired``, ``dialogue``; ``row``: a bad one of a file."""
    links: tuple[Link, ...]
    """From the source to the run that was asked."""
    feedback: tuple[tuple[str, Feedback], ...]
    """Where it stands, and the row, for each different state of it."""
    pairs: tuple[PairStory, ...]
    events: tuple[Event, ...]
    decided: tuple["Decided", ...] = ()
    """What persons decided on it, or on what belongs to it, in their order; also what was taken back."""
    others: tuple[tuple[str, Unpaired | Dialogue], ...] = ()
    """Where they stand, and the single rows and dialogues of the prompt."""


@dataclass(frozen=True)
class Decided:
    """A decision of a person."""

    store: str
    """Where it stands, without a password."""
    ruling: Ruling
    state: str
    """``counts``, ``in conflict: nothing is done``, ``taken back by 7`` …, see ``decisions.settle.standings``; of what
    takes another back empty."""


@dataclass(frozen=True)
class _Match:
    id: str
    kind: str
    prompt: str
    feedback: str
    """Id of the feedback that it belongs to; empty where the prompt as a whole is meant."""


_Source = tuple[Link, str]
"""A link, and the name of the file in it."""
_Record = Feedback | Preference | Unpaired | Dialogue
_Row = tuple[_Source, _Record]


def explain(identifier: str, start: str, decisions: str | None = None) -> Explanation:
    """Tell what is known of a record.

    Args:
        identifier: of a pair, a prompt, a feedback row, a completion, a single row or a dialogue, or its beginning; or
            ``file:line`` of a bad row.
        start: a run directory, the directory of a recipe that was run, or a file.
        decisions: where decisions of persons are kept; None takes the files that the runs on the way have read, and
            what lies in the run directory, beside it or beside the file.

    Raises:
        InputError: if nothing has such an id, or several prompts have; or if decisions cannot be read.
    """
    if not identifier.strip():
        raise InputError("an empty id fits every record; give the first digits of one")
    links = links_of(start)
    match = _resolve(identifier, links, start)
    rows = [] if match.kind == "row" else list(_family(links, match))
    feedback = [(source, row) for source, row in rows if isinstance(row, Feedback)]
    ids = {match.id} | {of for _, row in rows for of in _ids(row)}
    pairs = tuple(
        _tell_pair(link, row, feedback, held_out=name == HELD_OUT.file)
        for (link, name), row in rows
        if isinstance(row, Preference)
    )
    states: dict[bytes, tuple[str, Feedback]] = {}
    for (link, _), row in feedback:
        states.setdefault(msgspec.json.encode(row), (link.path, row))
    events = (*(event for link in links for event in _find_events(link, ids)), *_kept(rows))
    stores = [decisions] if decisions else _stores_of(links, Path(start))
    decided = tuple(each for store in stores for each in _decided_on(store, ids, match.prompt))
    others = tuple((link.path, row) for (link, _), row in rows if isinstance(row, Unpaired | Dialogue))
    return Explanation(match.id, match.kind, tuple(links), tuple(states.values()), pairs, events, decided, others)


def _stores_of(links: Iterable[Link], start: Path) -> list[str]:
    """The files of decisions that runs have read, and those that lie beside."""
    found: dict[Path, str] = {}
    for link in links:
        for setting, parent in zip(link.settings, link.parents, strict=True):
            if setting == "decisions" and Path(parent).exists():
                place = place_in(Path(parent)) if Path(parent).is_dir() else Path(parent)
                found |= {place.resolve(): str(place)} if place is not None else {}
    above = start.parent.parent if start.parent.name == "steps" else start
    for folder in (start, above, above.parent):
        if folder.is_dir() and (place := place_in(folder)) is not None:
            found.setdefault(place.resolve(), str(place))
    return list(found.values())


def _decided_on(store: str, ids: set[str], prompt: str) -> Iterator[Decided]:
    """The decisions on one of the ids, or on something of the prompt, with what became of each."""
    rulings = read_rulings(store)
    states = standings(rulings)
    own = {each.number for each in rulings if each.target in ids or (prompt and each.prompt == prompt)}
    for each in rulings:
        if each.number in own:
            yield Decided(without_password(store), each, states[each.number])


def links_of(start: str) -> list[Link]:
    """The way from the sources to a place, each link after those that it was made from.

    Raises:
        InputError: if the place does not exist.
    """
    if not Path(start).exists() and HubId.parse(start) is None:
        raise InputError(f"{start} does not exist; give a run directory, for example runs/binarize")
    found: dict[str, Link] = {}

    def visit(path: str, reads: dict[str, Any], *, readable: bool = True) -> None:
        if path in found:
            return
        link = _link(path, reads, readable)
        found[path] = link  # kept before its parents are seen, so that no circle is walked twice
        for setting, parent in zip(link.settings, link.parents, strict=True):
            visit(parent, link.config, readable=setting.partition(".")[0] in _DATA)
        found[path] = found.pop(path)

    folder = Path(start)
    steps = sorted((folder / "steps").glob(f"*/{MANIFEST}")) if (folder / "steps").is_dir() else []
    for manifest in steps:
        visit(str(manifest.parent), {})
    if not steps:
        visit(start, {})
    return list(found.values())


def format_of(config: dict[str, Any]) -> str | None:
    """The format that a run was told to read its data as, whatever the setting was called when it ran."""
    if config.get("map"):
        return mapping_name(config["map"])
    found: str | None = config.get("format", config.get("layout"))
    return found


def _link(path: str, reads: dict[str, Any], readable: bool) -> Link:
    folder = Path(path)
    if not (folder / "inputs.json").is_file():
        found = folder.exists() or HubId.parse(path) is not None or is_url(path)
        chosen = {key: reads.get(key) for key in ("split", "config", "encoding")}
        of = format_of(reads)
        return Link(path, "", {}, (), format=of, chosen=chosen, readable=readable and found, found=found)
    if (folder / MANIFEST).is_file():
        check_run(folder, weights=False)
    config = read_json(folder / "config.json")
    given = {name: entry["path"] for name, entry in read_json(folder / "inputs.json").items() if entry["path"]}
    return Link(path, config["stage"], config, tuple(_find_moved(of, folder) for of in given.values()), tuple(given))


def _find_moved(path: str, child: Path) -> str:
    """Where an input lies now: runs that lay side by side may have been moved together."""
    if is_url(path):
        return path
    beside = child.parent / Path(path).name
    return str(beside) if not Path(path).exists() and beside.exists() else path


def _read_records(links: Iterable[Link]) -> Iterator[_Row]:
    """All feedback and all pairs of all places; a run may leave a table without a row, such as of held-out pairs."""
    for link in links:
        folder = Path(link.path)
        if link.stage:
            tables = [table for table in artifacts_in(folder, _TABLES) if _has_rows(table.at(folder))]
            files = [(table.file, str(table.at(folder))) for table in tables]
        else:
            files = [(folder.name, link.path)] if link.readable else []
        for name, path in files:
            for record in open_link(link, path).records(Tally("explain"), Quarantine()):
                yield (link, name), record


def open_link(link: Link, path: str) -> Source:
    """The records of a place as the run has read them that was made from it, of a file of prompts alone too.

    Raises:
        DataError, ConfigError: as ``open_source``.
    """
    try:
        return open_source(path, format=link.format, **link.chosen)
    except NoFormatError as error:
        if not error.prompts:
            raise
        return open_source(path, format=mapping_name(error.prompts), **link.chosen)


def _has_rows(table: Path) -> bool:
    return count_rows(table) > 0 if table.suffix == ".parquet" else table.stat().st_size > 0


def _ids(row: _Record) -> Iterator[str]:
    yield row.id
    yield prompt_of(row)
    if isinstance(row, Feedback):
        yield from (row.completion_id(index) for index in range(len(row.completions)))


def _resolve(identifier: str, links: list[Link], start: str) -> _Match:
    """The one record, or the one prompt, that is meant."""
    matches = {match.id: match for _, row in _read_records(links) for match in _matches(identifier, row)}
    if identifier in matches:
        return matches[identifier]
    if not matches:
        matches = {record: _Match(record, "row", record, "") for record in _dropped_like(identifier, links)}
    prompts = {match.prompt for match in matches.values()}
    if not matches:
        where = " → ".join(Path(link.path).name for link in links)
        raise InputError(f"no record of {start} has an id that begins with '{identifier}'; looked through {where}")
    if len(prompts) > 1:
        some = ", ".join(sorted(matches)[:_SHOWN])
        raise InputError(
            f"'{identifier}' fits {len(matches):,} ids of {len(prompts):,} prompts, such as {some}; give more"
        )
    return next(iter(matches.values()))


def _matches(identifier: str, row: _Record) -> Iterator[_Match]:
    prompt = prompt_of(row)
    if prompt.startswith(identifier):
        yield _Match(prompt, "prompt", prompt, "")
    if isinstance(row, Preference | Unpaired):
        if row.id.startswith(identifier):
            yield _Match(row.id, "pair" if isinstance(row, Preference) else "unpaired", prompt, row.feedback_id)
        if row.feedback_id.startswith(identifier):
            yield _Match(row.feedback_id, "feedback", prompt, row.feedback_id)
        return
    if isinstance(row, Dialogue):
        if row.id.startswith(identifier):
            yield _Match(row.id, "dialogue", prompt, "")
        return
    if row.id.startswith(identifier):
        yield _Match(row.id, "feedback", prompt, row.id)
    for index in range(len(row.completions)):
        if (of := row.completion_id(index)).startswith(identifier):
            yield _Match(of, "completion", prompt, row.id)


def _family(links: list[Link], match: _Match) -> Iterator[_Row]:
    """The rows that belong to what was meant."""
    for source, row in _read_records(links):
        if prompt_of(row) == match.prompt:
            of = row.id if isinstance(row, Feedback) else "" if isinstance(row, Dialogue) else row.feedback_id
            if not match.feedback or of == match.feedback:
                yield source, row


def _tell_pair(link: Link, pair: Preference, feedback: list[tuple[_Source, Feedback]], *, held_out: bool) -> PairStory:
    selection, seed = _selection(link), int(link.config.get("seed") or 0)
    rows = [row for (at, _), row in feedback if at.path in link.parents]
    row = next((row for row in rows if row.id == pair.feedback_id), None)
    if selection is None or row is None:
        return PairStory(link.path, held_out, pair)
    if names := link.config.get("without_raters"):
        row = next(without_raters(names)([row], Tally("explain")))
    row = next(iter(_put_together(link, row)), row)
    choice = choose(row, selection, selection.score(), seed)
    return PairStory(link.path, held_out, pair, selection, seed, row, choice)


def _put_together(link: Link, row: Feedback) -> Iterator[Feedback]:
    """The row with the votes of its raters made one, where the run did so."""
    if method := link.config.get("consensus"):
        parts = read_named_rows(Path(link.path) / "posteriors.parquet", "feedback_id", {row.id})
        said = {row.id: tuple(said_of(part) for part in parts)}
        yield from consensus(said, method, link.config.get("sure") or 0.0)([row], Tally("explain"))


def _selection(link: Link) -> Selection | None:
    """The settings that a run binarized with."""
    if link.stage != "binarize":
        return None
    given = read_json(Path(link.path) / MANIFEST)["summary"].get("selection") if _is_finished(link) else None
    return Selection.parse(given or {"strategy": link.config["strategy"]}, where=link.path)


def _is_finished(link: Link) -> bool:
    return (Path(link.path) / MANIFEST).is_file()


def _find_events(link: Link, ids: set[str]) -> Iterator[Event]:
    folder = Path(link.path)
    if not link.stage:
        return
    for row in read_named_rows(folder / "completions.parquet", "id", ids):
        yield Event(link.path, link.stage, _describe_suspicion(row))
    for row in read_named_rows(folder / "pairs.parquet", "id", ids):
        if row.get("suspicion"):
            what = f"margin {row['reward_margin']:+.3g} by {row['judged_by']}, place {row['suspicion']:,} by suspicion"
            yield Event(link.path, link.stage, f"pair {row['id']}: {what}")
        if row.get("flags"):
            yield Event(link.path, link.stage, f"pair {row['id']}: {_flags(row['flags'], row)}")
    for row in read_named_rows(DECISIONS.at(folder), "target", ids):
        what = f"{row['field']} of {row['target']}: {row['before']} → {row['after']} by {row['rule']} ({row['by']})"
        yield Event(link.path, link.stage, what)
    for row in _dropped_of(folder, ids):
        place = row["id"] or f"{row['file']}:{row['line']}"
        yield Event(link.path, row["stage"], f"{place} dropped: {row['reason']} ({row['detail']})")
    for entry in _read_quarantine(folder):
        if f"{entry['file']}:{entry['line']}" in ids:
            yield Event(link.path, "quarantine", f"the row begins {entry['row']}")


def _kept(rows: Iterable[_Row]) -> Iterator[Event]:
    """What was kept by decision, by the note in what a run has written; each thing once, where it was first."""
    seen: set[str] = set()
    for (link, _), row in rows:
        found = {row.id: kept_by(row)}
        if isinstance(row, Feedback) and not found[row.id]:
            found = {row.completion_id(index): kept_by(each) for index, each in enumerate(row.completions)}
        for of, who in found.items():
            if who and link.stage and of not in seen:
                seen.add(of)
                yield Event(link.path, link.stage, f"{of} kept as it is by {who}")


def _dropped_of(folder: Path, ids: set[str]) -> Iterator[dict[str, Any]]:
    """What was dropped under one of the ids, or, before it had one, in one of the places ``file:line``."""
    path = folder / "dropped.parquet"
    for row in read_table(path) if path.is_file() else ():
        own = row.get("id") or row.get("record")  # its name in directories of before
        if (own or f"{row.get('file')}:{row.get('line')}") in ids:
            yield row | {"id": own}


def _describe_suspicion(row: dict[str, Any]) -> str:
    place = f"place {row['suspicion']:,} by suspicion" if row.get("suspicion") else "no suspicion"
    disagreement = row.get("disagreement")
    said = f"completion {row['index']}: {place}"
    said += f", disagreement {disagreement:+.3f}" if disagreement is not None else ""
    said += f", published rule: {row['repair']}" if row.get("repair") else ""
    reasons = row.get("reasons")
    said += f", reasons {', '.join(reasons)} ({row.get('evidence') or 'no figures'})" if reasons else ""
    return said + (f", {_flags(row['flags'])}" if row.get("flags") else "")


def _flags(flags: Iterable[str], row: Mapping[str, Any] | None = None) -> str:
    evidence = row.get("evidence") if row else ""
    return f"flags {', '.join(flags)}" + (f" ({evidence})" if evidence else "")


def read_named_rows(path: Path, column: str, ids: set[str]) -> list[dict[str, Any]]:
    """The rows of a table, or of a folder of its parts, that name one of the ids; nothing where it is no such table."""
    if not path.exists() or column not in pq.ParquetDataset(path).schema.names:
        return []
    found: list[dict[str, Any]] = pq.read_table(
        path, filters=[(column, "in", sorted(ids))], page_checksum_verification=True
    ).to_pylist()
    return found


def _dropped_like(identifier: str, links: list[Link]) -> Iterator[str]:
    """Records that were dropped before they had an id: rows of files, by ``file:line``."""
    for link in links:
        path = Path(link.path) / "dropped.parquet"
        for row in read_table(path) if link.stage and path.exists() else ():
            place = f"{row.get('file')}:{row.get('line')}"
            # The beginning of a file:line is never enough: line 1 is not line 12. Either may be the longer path.
            if not row.get("id") and any(a == b or a.endswith(f"/{b}") for a, b in permutations((place, identifier))):
                yield place


def _read_quarantine(folder: Path) -> list[dict[str, Any]]:
    path = QUARANTINE.at(folder)
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.is_file() else []

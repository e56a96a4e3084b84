"""Lineage: what became of one record, from the source row through every run directory that touched it.

A run directory says in ``inputs.json`` what it was made from; following that leads to the source. On the way records,
changes (``decisions.parquet``), drops (``dropped.parquet``, ``quarantine.jsonl``) and what an audit says of them
(``completions.parquet``, ``pairs.parquet``) are found by id. Why an answer was rejected is not stored: the selection is
a pure function of the row, the settings and the seed, so it is made again, and compared with what the run has written.

Owns the search. What is shown of it is owned by ``app.lineage``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from notus.core.errors import InputError
from notus.core.hub_id import HubId
from notus.core.records import Feedback, Preference
from notus.core.run import MANIFEST, read_json
from notus.core.stage import Tally
from notus.data.quarantine import Quarantine
from notus.data.selection import Choice, Selection, choose
from notus.data.sources import open_source

__all__ = ["Event", "Explanation", "Link", "PairStory", "explain", "links_of"]

_FILES = ("feedback.jsonl", "feedback.parquet", "feedback", "preferences.parquet", "preferences", "held_out.parquet")
_RECORDS = ("data", "path", "a", "b", "pairs")
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
    layout: str | None = None
    """Layout that the run which reads this source was told to take."""
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
        return (
            self.choice is not None
            and (
                self.pair.extra.get("chosen_index"),
                self.pair.extra.get("rejected_index"),
            )
            in self.choice.pairs
        )


@dataclass(frozen=True)
class Explanation:
    """All that is known of an id."""

    id: str
    kind: str
    """``prompt``, ``feedback``, ``completion``, ``pair`` or ``row`` (a bad row of a file)."""
    links: tuple[Link, ...]
    """From the source to the run that was asked."""
    feedback: tuple[tuple[str, Feedback], ...]
    """Where it stands, and the row, for each different state of it."""
    pairs: tuple[PairStory, ...]
    events: tuple[Event, ...]


@dataclass(frozen=True)
class _Match:
    id: str
    kind: str
    prompt: str
    feedback: str
    """Id of the feedback that it belongs to; empty where the prompt as a whole is meant."""


_Source = tuple[Link, str]
"""A link, and the name of the file in it."""
_Row = tuple[_Source, Feedback | Preference]


def explain(wanted: str, start: str) -> Explanation:
    """Tell what is known of a record.

    Args:
        wanted: id of a pair, a prompt, a feedback row or a completion, or its beginning; or ``file:line`` of a bad row.
        start: a run directory, the directory of a recipe that was run, or a file.

    Raises:
        InputError: if nothing has such an id, or several prompts have.
    """
    if not wanted.strip():
        raise InputError("an empty id fits every record; give the first digits of one")
    links = links_of(start)
    match = _resolved(wanted, links, start)
    rows = [] if match.kind == "row" else list(_family(links, match))
    feedback = [(source, row) for source, row in rows if isinstance(row, Feedback)]
    ids = {match.id} | {of for _, row in rows for of in _ids(row)}
    pairs = tuple(
        _story(link, row, feedback, held_out=name == "held_out.parquet")
        for (link, name), row in rows
        if isinstance(row, Preference)
    )
    states: dict[bytes, tuple[str, Feedback]] = {}
    for (link, _), row in feedback:
        states.setdefault(msgspec.json.encode(row), (link.path, row))
    events = tuple(event for link in links for event in _events(link, ids))
    return Explanation(match.id, match.kind, tuple(links), tuple(states.values()), pairs, events)


def links_of(start: str) -> list[Link]:
    """The way from the sources to a place, each link after those that it was made from.

    Raises:
        InputError: if the place does not exist.
    """
    if not Path(start).exists() and HubId.parse(start) is None:
        raise InputError(f"{start} does not exist; give a run directory, for example runs/binarize")
    found: dict[str, Link] = {}

    def visit(path: str, layout: str | None, *, readable: bool = True) -> None:
        if path in found:
            return
        link = _link(path, layout, readable)
        found[path] = link  # kept before its parents are seen, so that no circle is walked twice
        for setting, parent in zip(link.settings, link.parents, strict=True):
            visit(parent, link.config.get("layout"), readable=setting in _RECORDS)
        found[path] = found.pop(path)

    folder = Path(start)
    steps = sorted((folder / "steps").glob(f"*/{MANIFEST}")) if (folder / "steps").is_dir() else []
    for manifest in steps:
        visit(str(manifest.parent), None)
    if not steps:
        visit(start, None)
    return list(found.values())


def _link(path: str, layout: str | None, readable: bool) -> Link:
    folder = Path(path)
    if not (folder / "inputs.json").is_file():
        found = folder.exists() or HubId.parse(path) is not None
        return Link(path, "", {}, (), layout=layout, readable=readable and found, found=found)
    config = read_json(folder / "config.json")
    given = {name: entry["path"] for name, entry in read_json(folder / "inputs.json").items() if entry["path"]}
    return Link(path, config["stage"], config, tuple(_moved(of, folder) for of in given.values()), tuple(given))


def _moved(path: str, child: Path) -> str:
    """Where an input lies now: runs that lay side by side may have been moved together."""
    beside = child.parent / Path(path).name
    return str(beside) if not Path(path).exists() and beside.exists() else path


def _rows(links: Iterable[Link]) -> Iterator[_Row]:
    """All feedback and all pairs of all places."""
    for link in links:
        folder = Path(link.path)
        if link.stage:
            names = [name for name in _FILES if (folder / name).exists()]
            files: list[tuple[str, str, str | None]] = [(name, str(folder / name), None) for name in names]
        else:
            files = [(folder.name, link.path, link.layout)] if link.readable else []
        for name, path, layout in files:
            for record in open_source(path, layout=layout).records(Tally("explain"), Quarantine()):
                if isinstance(record, (Feedback, Preference)):
                    yield (link, name), record


def _ids(row: Feedback | Preference) -> Iterator[str]:
    yield row.id
    yield row.prompt_id
    if isinstance(row, Feedback):
        yield from (row.completion_id(index) for index in range(len(row.completions)))


def _resolved(wanted: str, links: list[Link], start: str) -> _Match:
    """The one record, or the one prompt, that is meant."""
    matches = {match.id: match for _, row in _rows(links) for match in _matches(wanted, row)}
    if wanted in matches:
        return matches[wanted]
    if not matches:
        matches = {record: _Match(record, "row", record, "") for record in _dropped_like(wanted, links)}
    prompts = {match.prompt for match in matches.values()}
    if not matches:
        where = " → ".join(Path(link.path).name for link in links)
        raise InputError(f"no record of {start} has an id that begins with '{wanted}'; looked through {where}")
    if len(prompts) > 1:
        some = ", ".join(sorted(matches)[:_SHOWN])
        raise InputError(f"'{wanted}' fits {len(matches):,} ids of {len(prompts):,} prompts, such as {some}; give more")
    return next(iter(matches.values()))


def _matches(wanted: str, row: Feedback | Preference) -> Iterator[_Match]:
    prompt = row.prompt_id
    if prompt.startswith(wanted):
        yield _Match(prompt, "prompt", prompt, "")
    if isinstance(row, Preference):
        if row.id.startswith(wanted):
            yield _Match(row.id, "pair", prompt, row.feedback_id)
        if row.feedback_id.startswith(wanted):
            yield _Match(row.feedback_id, "feedback", prompt, row.feedback_id)
        return
    if row.id.startswith(wanted):
        yield _Match(row.id, "feedback", prompt, row.id)
    for index in range(len(row.completions)):
        if (of := row.completion_id(index)).startswith(wanted):
            yield _Match(of, "completion", prompt, row.id)


def _family(links: list[Link], match: _Match) -> Iterator[_Row]:
    """The rows that belong to what was meant."""
    for source, row in _rows(links):
        if row.prompt_id == match.prompt:
            of = row.id if isinstance(row, Feedback) else row.feedback_id
            if not match.feedback or of == match.feedback:
                yield source, row


def _story(link: Link, pair: Preference, feedback: list[tuple[_Source, Feedback]], *, held_out: bool) -> PairStory:
    selection, seed = _selection(link), int(link.config.get("seed") or 0)
    rows = [row for (at, _), row in feedback if at.path in link.parents]
    row = next((row for row in rows if row.id == pair.feedback_id), None)
    if selection is None or row is None:
        return PairStory(link.path, held_out, pair)
    choice = choose(row, selection, selection.score(), seed)
    return PairStory(link.path, held_out, pair, selection, seed, row, choice)


def _selection(link: Link) -> Selection | None:
    """The settings that a run binarized with."""
    if link.stage != "binarize":
        return None
    given = read_json(Path(link.path) / MANIFEST)["summary"].get("selection") if _finished(link) else None
    return Selection.parse(given or {"strategy": link.config["strategy"]}, where=link.path)


def _finished(link: Link) -> bool:
    return (Path(link.path) / MANIFEST).is_file()


def _events(link: Link, ids: set[str]) -> Iterator[Event]:
    folder = Path(link.path)
    if not link.stage:
        return
    for row in _table(folder / "completions.parquet", "id", ids):
        yield Event(link.path, link.stage, _suspicion(row))
    for row in _table(folder / "pairs.parquet", "id", ids):
        if row.get("suspicion"):
            what = f"margin {row['reward_margin']:+.3g} by {row['judged_by']}, place {row['suspicion']:,} by suspicion"
            yield Event(link.path, link.stage, f"pair {row['id']}: {what}")
    for row in _table(folder / "decisions.parquet", "target", ids):
        what = f"{row['field']} of {row['target']}: {row['before']} → {row['after']} by {row['rule']} ({row['by']})"
        yield Event(link.path, link.stage, what)
    for row in _table(folder / "dropped.parquet", "record", ids):
        yield Event(link.path, row["stage"], f"{row['record']} dropped: {row['reason']} ({row['detail']})")
    for entry in _quarantined(folder):
        if f"{entry['file']}:{entry['line']}" in ids:
            yield Event(link.path, "quarantine", f"the row begins {entry['row']}")


def _suspicion(row: dict[str, Any]) -> str:
    place = f"place {row['suspicion']:,} by suspicion" if row.get("suspicion") else "no suspicion"
    disagreement = row.get("disagreement")
    said = f"completion {row['index']}: {place}"
    said += f", disagreement {disagreement:+.3f}" if disagreement is not None else ""
    said += f", published rule: {row['repair']}" if row.get("repair") else ""
    return said + (f", flags {', '.join(row['flags'])}" if row.get("flags") else "")


def _table(path: Path, column: str, ids: set[str]) -> list[dict[str, Any]]:
    """The rows of a table, or of a folder of its parts, that name one of the ids; nothing where it is no such table."""
    if not path.exists() or column not in pq.ParquetDataset(path).schema.names:
        return []
    found: list[dict[str, Any]] = pq.read_table(path, filters=[(column, "in", sorted(ids))]).to_pylist()
    return found


def _dropped_like(wanted: str, links: list[Link]) -> Iterator[str]:
    """Records that were dropped before they had an id: rows of files, by ``file:line``."""
    for link in links:
        path = Path(link.path) / "dropped.parquet"
        if link.stage and path.exists():
            records = pq.read_table(path, columns=["record"]).column("record").to_pylist()
            # The beginning of a file:line is never enough: line 1 is not line 12.
            yield from (record for record in records if record == wanted or record.endswith(f"/{wanted}"))


def _quarantined(folder: Path) -> list[dict[str, Any]]:
    path = folder / "quarantine.jsonl"
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.is_file() else []

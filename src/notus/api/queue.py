"""A queue of what is to be decided: the records of a source or of an audit, the most suspicious first.

Of a run of the audit the order, the reasons and the evidence are those of its table, and the texts are read where they
stand in its source; where it ranks no pair by suspicion, pairs with a fact against them come first, then those whose
texts speak most against their label. Of anything else the order is that of the file. A random sample beside it is
drawn from all rows that nobody has decided, by a hash of seed and id: the same in every order of the rows.

Owns the order, the sample, and the joining with the feedback behind pairs. What is shown of a record is owned by
``decisions.forms``, what is suspicious by the audit.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from notus.audit.feedback import Suspicion
from notus.audit.labels import AGAINST
from notus.audit.pairs import Pair, has_fact, order_by_flags
from notus.audit.signals import SURE
from notus.clean.private.guard import masked
from notus.core.artifacts import FEEDBACK, RAW_FEEDBACK, Artifact, artifacts_in
from notus.core.errors import ConfigError, DataError, InputError, nearest
from notus.core.records import Feedback, Preference, digest
from notus.core.run import MANIFEST, check_run, read_json
from notus.core.stage import Tally
from notus.core.tables import read_at, read_columns, table_exists
from notus.core.text import HubId
from notus.decisions.forms.item import Item
from notus.decisions.forms.records import completion_item, items_of, pair_item, with_feedback
from notus.formats.format import Data
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source, open_source
from notus.provenance.lineage import Link, links_of
from notus.steps.base import HELD, Reads, open_records
from notus.steps.data.audit import COMPLETIONS, PAIRS, Audit

__all__ = ["Queue", "make_queue", "places_of"]

_REPAIRS = ("set-to-1", "ask-again")


@dataclass(frozen=True)
class Queue:
    """What is to be decided, in its order, and what was left out of it."""

    items: list[Item]
    source: str
    """Name of what was read."""
    of: int
    """Rows that there are."""
    by_suspicion: bool
    by_flags: bool = False
    """Whether nothing ranks them by suspicion, and their flags do."""
    facts: int = 0
    """Pairs with a fact against them, where flags order them."""
    against_text: int = 0
    """Pairs whose label their texts contradict, where flags order them."""
    left_out: int = 0
    """Rows that are decided already."""
    random: int = 0
    """Items of the random sample."""
    both: int = 0
    """Items of the random sample that are among the first too."""
    repeated: int = 0
    """Rows that hold the same as another one, which stands for them."""
    unread: int = 0
    """Rows of a file that cannot be read."""
    feedback_of: int = 0
    """Pairs that say which feedback they came from."""
    joined: int = 0
    """Of those, how many stand beside it."""


class _Row(NamedTuple):
    """A row of an audit's table, as far as the order needs it."""

    number: int
    id: str
    reasons: tuple[str, ...]
    place: int | None
    q: float | None
    by_text: int | None


def make_queue(
    given: str,
    *,
    top: int,
    random: int = 0,
    seed: int = 0,
    reason: str | None = None,
    decided: Set[str] = frozenset(),
    feedback: str | None = None,
    layout: str | None = None,
) -> Queue:
    """Make a queue of a source or of a run.

    Args:
        given: a run of the audit, another run that holds records, a file, a folder or a hub id.
        top: so many of the first.
        random: so many more, drawn from all that are not decided.
        seed: of the drawing.
        reason: only what an audit raised this flag for.
        decided: ids that are left out.
        feedback: that pairs were made from; of a run it is found by itself.
        layout: name of the format of a file.

    Raises:
        DataError: if there is no such source, or its rows are no longer those that were audited.
        ConfigError: for a reason where nothing was audited, or that no row has.
    """
    folder = Path(given)
    if (folder / MANIFEST).is_file() and read_json(folder / MANIFEST)["stage"] == Audit.step_type:
        if layout is not None:
            raise ConfigError(f"{given} is an audit, which knows how its source is read; leave --layout out")
        queue = _of_audit(folder, top, random, seed, reason, decided)
    elif reason is not None:
        raise ConfigError(f"{given} is no audit, and without one nothing has a reason; run notus audit {given} first")
    else:
        settings = {"data": given} | ({"layout": layout} if layout else {})
        source = open_records(Audit.parse(settings, where="notus decide export"), given)
        queue = _of_source(source, top, random, seed, decided)
    return _with_feedback(queue, given, feedback)


def _of_source(source: Source, top: int, random: int, seed: int, decided: Set[str]) -> Queue:
    """The first rows of a source, and as many drawn as were asked for."""
    tally, seen, rows = Tally("read"), set[str](), 0
    first: list[Item] = []
    drawn: list[tuple[int, int, Item]] = []
    left_out = 0
    for item in (item for record in source.records(tally, Quarantine()) for item in items_of(record)):
        rows += 1
        if item.id in seen:
            continue
        seen.add(item.id)
        if item.id in decided:
            left_out += 1
            continue
        if len(first) < top:
            first.append(item)
        if random:
            # The smallest hashes are kept; as a heap holds its largest on top, they are turned round.
            entry = (_turned(_lot(seed, item.id)), rows, item)
            if len(drawn) < random:
                heapq.heappush(drawn, entry)
            else:
                heapq.heappushpop(drawn, entry)
    if not rows:
        raise DataError(f"none of the {tally.taken:,} rows of {source.name} can be read; see notus read {source.name}")
    sample = [item for *_, item in sorted(drawn, reverse=True)]
    items = _together(first, [_queued(item, "random") for item in sample])
    both = len(first) + len(sample) - len(items)
    bad = tally.taken - tally.given if tally.taken > tally.given else 0
    return Queue(
        items,
        source.name,
        rows,
        by_suspicion=False,
        left_out=left_out,
        random=len(sample),
        both=both,
        repeated=rows - len(seen),
        unread=bad,
    )


def _lot(seed: int, id_: str) -> str:
    return digest(str(seed), id_)


def _turned(lot: str) -> int:
    return -int(lot, 16)


def _queued(item: Item, queue: str) -> Item:
    return msgspec.structs.replace(item, queue=queue)


def _together(first: Sequence[Item], sample: Sequence[Item]) -> list[Item]:
    """The queue with the sample behind it; what was drawn too stays in its place, and counts for the sample."""
    drawn = {item.id for item in sample}
    held = {item.id for item in first}
    marked = [_queued(item, "random") if item.id in drawn else item for item in first]
    return [*marked, *(item for item in sample if item.id not in held)]


def _of_audit(folder: Path, top: int, random: int, seed: int, reason: str | None, decided: Set[str]) -> Queue:
    check_run(folder, weights=False)
    link = links_of(str(folder))[-1]
    source = _audited_source(link)
    kind, table = _table_of(folder)
    rows = _read_rows(table.at(folder), kind)
    if reason is not None:
        known = {slug for row in rows for slug in row.reasons}
        if reason not in known:
            raise ConfigError(f"no row of {folder} has the reason '{reason}'; {nearest(reason, known)}")
    ordered, name = _in_order(rows, kind)
    once = list({row.id: row for row in reversed(ordered)}.values())[::-1]
    free = [row for row in once if row.id not in decided]
    first = [row for row in free if reason is None or reason in row.reasons][:top]
    drawn = heapq.nsmallest(random, free, key=lambda row: _lot(seed, row.id)) if random else []
    found = _items_at(source, read_at(table.at(folder), kind, [row.number for row in (*first, *drawn)]), folder)
    by_id = {item.id: item for item in found}
    items = {row.id: _told(by_id[row.id], row) for row in (*first, *drawn) if row.id in by_id}
    if missing := len({row.id for row in (*first, *drawn)} - by_id.keys()):
        raise DataError(
            f"{missing:,} of the rows that {folder} audited no longer stand in {source.name} as they did; audit it "
            "again"
        )
    together = _together(
        [_queued(items[row.id], name) for row in first], [_queued(items[row.id], "random") for row in drawn]
    )
    return Queue(
        together,
        source.name,
        len(rows),
        by_suspicion=name == "suspicion",
        by_flags=name == "flags",
        facts=sum(has_fact(row.reasons) for row in once) if name == "flags" else 0,
        against_text=sum(AGAINST in row.reasons for row in once) if name == "flags" else 0,
        left_out=len(once) - len(free),
        random=len(drawn),
        both=len(first) + len(drawn) - len(together),
        repeated=len(rows) - len(once),
    )


def places_of(run: Path) -> dict[str, int]:
    """Id of each record of an audit → its place by suspicion; where that ranks no pair, its place by flags.

    Raises:
        InputError: if it is no audit.
    """
    for kind, table in ((Suspicion, COMPLETIONS), (Pair, PAIRS)):
        if table_exists(table.at(run)):
            rows = _read_rows(table.at(run), kind)
            ordered, name = _in_order(rows, kind)
            if name != "flags":
                return {row.id: row.place for row in rows if row.place is not None}
            return {id_: place for place, id_ in enumerate(dict.fromkeys(row.id for row in ordered), 1)}
    raise InputError(f"{run} is no run of the audit; name one (notus audit FILE --out {run})")


def _in_order(rows: Sequence[_Row], kind: type[Suspicion] | type[Pair]) -> tuple[list[_Row], str]:
    """The rows as they come before a person, and the name of that queue; none where nothing orders them."""
    if kind is Suspicion or any(row.place is not None for row in rows):
        return sorted(rows, key=_doubt), "suspicion"
    facts = np.array([has_fact(row.reasons) for row in rows], bool)
    places, q = (np.array(each, float) for each in ([row.by_text for row in rows], [row.q for row in rows]))
    ordered = [rows[number] for number in order_by_flags(facts, places, q).tolist()]
    return ordered, "flags" if facts.any() or np.isfinite(places).any() or np.isfinite(q).any() else ""


def _audited_source(link: Link) -> Source:
    """What an audit read, opened as it was.

    Raises:
        DataError: if it is gone.
    """
    places = dict(zip(link.settings, link.parents, strict=True))
    place = places["data"]
    if not Path(place).exists() and HubId.parse(place) is None:
        raise DataError(f"{link.path} audited {place}, which is gone; put it back, or audit what there is now")
    # All that says how it was read: what is a setting stands in the config, what lies in a file among the inputs.
    settings = {key: link.config[key] for key in Reads.model_fields if link.config.get(key) is not None}
    settings |= {key: places[key] for key in Reads.model_fields if key in places}
    return open_records(Audit.parse(settings | {"data": place}, where=link.path), place)


def _table_of(folder: Path) -> tuple[type[Suspicion] | type[Pair], Artifact]:
    return (Suspicion, COMPLETIONS) if artifacts_in(folder, (COMPLETIONS,)) else (Pair, PAIRS)


def _read_rows(path: Path, kind: type[Suspicion] | type[Pair]) -> list[_Row]:
    own_names = ["reasons", "repair"] if kind is Suspicion else ["place_by_text"]
    table = read_columns(path, ["id", "flags", "suspicion", "q", *own_names])
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    count = len(columns["id"])
    reasons, repairs = columns.get("reasons", [()] * count), columns.get("repair", [""] * count)
    texts = columns.get("place_by_text", [None] * count)
    return [
        _Row(number, id_, _reasons(own, flags, repair), place, q, text)
        for number, (id_, own, flags, repair, place, q, text) in enumerate(
            zip(
                columns["id"],
                reasons,
                columns["flags"],
                repairs,
                columns["suspicion"],
                columns["q"],
                texts,
                strict=True,
            )
        )
    ]


def _reasons(reasons: Iterable[str], flags: Iterable[str], repair: str) -> tuple[str, ...]:
    """All that speaks against a row, each once; what the published rule would do, where it would do something."""
    return tuple(dict.fromkeys([*reasons, *flags, *([repair] if repair in _REPAIRS else [])]))


def _doubt(row: _Row) -> tuple[bool, bool, float, int]:
    """What sorts rows: those with a reason, those that chance would hardly give, their places, the order of the set."""
    last = float("inf")
    return not row.reasons, row.q is None or row.q > SURE, last if row.place is None else row.place, row.number


def _told(item: Item, row: _Row) -> Item:
    return msgspec.structs.replace(item, reasons=row.reasons, place=row.place, q=row.q)


def _items_at(source: Source, rows: Sequence[Suspicion | Pair], folder: Path) -> list[Item]:
    """The items of some rows, read where they stand; behind masks where the audit looked for what is private."""
    private = _is_private(str(folder))
    wanted: dict[str, Any] = {row.id: row for row in rows}
    found: dict[str, Item] = {}
    for record in source.standing_at({(row.file, row.line) for row in rows}) if rows else ():
        for make in _makers(record):
            item = make(record)
            if item.id in wanted and item.id not in found:
                shown = _behind_masks(item, make, record) if private else item
                found[item.id] = msgspec.structs.replace(shown, evidence=wanted[item.id].evidence)
    return list(found.values())


def _makers(record: Data) -> Iterator[Callable[[Any], Item]]:
    if isinstance(record, Feedback):
        yield from (partial(completion_item, index=index) for index in range(len(record.completions)))
    elif isinstance(record, Preference):
        yield pair_item


def _behind_masks(item: Item, make: Callable[[Any], Item], record: Data) -> Item:
    """An item with its texts masked; what is masked cannot be edited, for the mask would stand in the data."""
    if isinstance(record, Feedback):
        shown = make(masked(record))
    else:
        assert isinstance(record, Preference)
        shown = make(masked(record))
    same = tuple(name for name in item.editable if shown.texts[name] == item.texts[name])
    return msgspec.structs.replace(item, texts=shown.texts, critiques=shown.critiques, editable=same)


def _with_feedback(queue: Queue, given: str, feedback: str | None) -> Queue:
    """The queue with pairs beside the feedback that they came from.

    Raises:
        DataError: if what is named holds no feedback, or none of theirs.
    """
    pairs = {item.feedback_id for item in queue.items if item.of == "pair" and item.feedback_id}
    if not pairs:
        if feedback is not None:
            raise DataError(f"{queue.source} holds nothing that says which feedback it came from; leave --feedback out")
        return queue
    found = _find_feedback(given, feedback, pairs)
    if feedback is not None and not found:
        raise DataError(f"none of the {len(pairs):,} pairs came from a row of {feedback}; name the feedback of theirs")
    private = _is_private(given)
    items = []
    for item in queue.items:
        row = found.get(item.feedback_id)
        items.append(item if row is None else with_feedback(item, masked(row) if private else row))
    of, joined = (sum(each.feedback_id in ids for each in items) for ids in (pairs, found))
    return replace(queue, items=items, feedback_of=of, joined=joined)


def _find_feedback(given: str, feedback: str | None, wanted: Set[str]) -> dict[str, Feedback]:
    """The rows of feedback with some ids: of what is named, or of what the run was made from."""
    if feedback is not None:
        source = open_records(Audit.parse({"data": feedback}, where="--feedback"), feedback)
        if source.record is not Feedback:
            raise DataError(f"{feedback} holds {HELD[source.record]}; --feedback names what the pairs were made from")
        return _rows_with(source, wanted)
    if not (Path(given) / MANIFEST).is_file():
        return {}
    for link in reversed(links_of(given)):
        tables = artifacts_in(Path(link.path), (FEEDBACK, RAW_FEEDBACK)) if link.stage else []
        places = [str(table.at(Path(link.path))) for table in tables] if link.stage else [link.path] * link.readable
        for place in places:
            source = open_source(place, format=None if link.stage else link.format, **link.chosen)
            if source.record is Feedback and (found := _rows_with(source, wanted)):
                return found
    return {}


def _rows_with(source: Source, wanted: Set[str]) -> dict[str, Feedback]:
    found: dict[str, Feedback] = {}
    for record in source.records(Tally("beside"), Quarantine()):
        if isinstance(record, Feedback) and record.id in wanted:
            found.setdefault(record.id, record)
    return found


def _is_private(given: str) -> bool:
    """Whether it is a run that looked for what is private, and shows it behind masks."""
    place = Path(given) / "config.json"
    return place.is_file() and bool(read_json(place).get("private"))

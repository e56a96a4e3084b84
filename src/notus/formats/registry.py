"""All formats of Notus, and which of them a row has.

Each module of ``formats.families`` names its own at its top; what a row of each looks like is its ``sample``.

A row may fit several. Our own records are tried first, for they carry exactly our fields, and nobody else's rows do;
then each format before those that it names in ``Format.before``, from the most particular names to the most general.

Owns the list, its order, and the formats of our own records. All others stand in the modules of ``formats.families``:
each has a tuple ``FORMATS``, and what lies in that folder is found here, so that a new format is one place. Names that
are not ours are owned by ``formats.lookup``, where rows come from and what becomes of bad ones by ``formats.source``.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import msgspec

from notus.core import tables
from notus.core.columns import computed_columns
from notus.core.records import Completion, Dialogue, Feedback, Message, Preference, Unpaired
from notus.formats import families
from notus.formats.format import Data, Format, Row
from notus.formats.quarantine import explain

__all__ = ["FORMATS", "OWN", "Near", "detect", "fitting", "in_order", "nearest_formats", "rivals", "unlike"]

T = TypeVar("T", Feedback, Preference, Unpaired, Dialogue)


def detect(row: Row) -> str | None:
    """Name of the format that the row has, or None."""
    return next((name for name, found in FORMATS.items() if found.matches is not None and found.matches(row)), None)


def fitting(row: Row) -> list[str]:
    """Names of all formats that the row fits, as they are tried: the first is what it is read as."""
    return [name for name, found in FORMATS.items() if found.matches is not None and found.matches(row)]


def rivals(row: Row) -> list[str]:
    """Formats that the row fits too and that would make something else of it: another record, or out of any order."""
    first, *others = fitting(row) or [""]
    behind: set[str] = set()
    waiting = [first] if first else []
    while waiting:
        more = set(FORMATS[waiting.pop()].before) & FORMATS.keys() - behind
        behind |= more
        waiting += sorted(more)
    return [name for name in others if FORMATS[name].record is not FORMATS[first].record or name not in behind]


@dataclass(frozen=True)
class Near:
    """A format that a row nearly fits, and why it does not."""

    format: str
    reasons: tuple[str, ...]
    """``chosen is missing``, ``chosen is a text, and a list there``."""
    shared: tuple[str, ...]
    """What the format needs and the row has."""


def nearest_formats(row: Row, most: int = 2) -> list[Near]:
    """The formats that need most of what the row has, and least of what it has not; none that shares nothing with it.

    What a format needs is tried out on its ``sample``: a name without which the sample is no longer of the format.
    """
    found = [near for name in FORMATS if name not in OWN if (near := unlike(row, FORMATS[name])) is not None]
    found = [near for near in found if near.shared and near.reasons]
    return sorted(found, key=lambda near: (len(near.reasons) - len(near.shared), len(near.reasons)))[:most]


def unlike(row: Row, own: Format) -> Near | None:
    """Why a row is not of a format; no reason where it is, None for a format never detected or without a sample."""
    sample, matches = own.sample, own.matches
    if sample is None or matches is None or not matches(sample):
        return None
    needed = [name for name in sample if not matches({each: sample[each] for each in sample if each != name})]
    shared = tuple(name for name in needed if row.get(name) is not None)
    if matches(row):
        return Near(own.name, (), shared)
    reasons = [f"{name} is missing" for name in needed if name not in shared]
    others = (name for name in shared if not matches(sample | {name: row[name]}))
    reasons += [_unlike_value(name, row[name], sample, matches) for name in others]
    if not reasons:
        reasons = [_unlike_rest(row, sample, matches)]
    return Near(own.name, tuple(reasons), shared)


def _unlike_value(name: str, value: object, sample: Row, matches: Callable[[Row], bool]) -> str:
    """Why the value of a column is none of the format: a field of it that is missing, or its type."""
    theirs = sample[name]
    ours, known = (
        each[0] if isinstance(each, list) and each and isinstance(each[0], dict) else each for each in (value, theirs)
    )
    if isinstance(ours, dict) and isinstance(known, dict):
        listed = ".*" if isinstance(value, list) else ""
        for field in known:
            left = {each: known[each] for each in known if each != field}
            if field not in ours and not matches(sample | {name: [left] if listed else left}):
                return f"{name}{listed}.{field} is missing"
    return f"{name} is {_kind(value)}, and {_kind(theirs)} there"


def _unlike_rest(row: Row, sample: Row, matches: Callable[[Row], bool]) -> str:
    """Why a row is none of a format though it has all it needs: a column that must not be there, or one of some."""
    for name in row:
        if name not in sample and not matches(sample | {name: row[name]}):
            return f"{name} is there, and not of the format"
    others = [name for name in sample if name not in row]
    return f"{' or '.join(others)} is missing" if others else "its values are others"


def _kind(value: object) -> str:
    """The type of a value in words."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        turns = {"role", "content"} <= value[0].keys() or {"from", "value"} <= value[0].keys()
        return "a list of messages" if turns else "a list of objects"
    names = {"NoneType": "null", "bool": "true or false", "int": "a number", "float": "a number", "str": "a text"}
    return names.get(type(value).__name__, {"dict": "an object", "list": "a list"}.get(type(value).__name__, "other"))


def in_order(formats: Sequence[Format]) -> list[Format]:
    """Formats in the order in which they are tried; those that no ``before`` speaks of come first, dialogues last.

    Raises:
        ValueError: if the wishes go round in a circle.
    """
    named = {name for each in formats for name in each.before}
    ordered = [each for each in formats if not each.before and each.name not in named]
    left = [each for each in formats if each not in ordered]
    while left:
        waiting = {name for each in left for name in each.before}
        free = next((each for each in left if each.name not in waiting), None)
        if free is None:
            raise ValueError(f"formats that each want to be before the next: {', '.join(each.name for each in left)}")
        ordered.append(free)
        left.remove(free)
    # A dialogue says least of a row: what some other format reads as a judged answer is never taken for one to imitate.
    return sorted(ordered, key=lambda each: each.record is Dialogue)


def _own_format(name: str, kind: type[T]) -> Format:
    """The format of our own records of one kind."""
    own = frozenset(kind.__struct_fields__)
    fields = own.union(computed_columns(kind))  # rows out of our tables have both
    # Rows of feedback may come without the fields that have a default; the names are enough to know them by.
    first = frozenset({"prompt", "completions"} if kind is Feedback else own)

    def matches(row: Row) -> bool:
        # A text as prompt is somebody else's: ours is a list of turns.
        return first <= row.keys() <= fields and not isinstance(row.get("prompt"), str)

    def decode(row: Row) -> T:
        try:
            return tables.from_row(row, kind)
        except msgspec.ValidationError as error:
            raise explain(error, "", row) from None

    return Format(name=name, record=kind, decode=decode, matches=matches, sample=msgspec.to_builtins(_SAMPLES[name]))


_ASKED = (Message(role="user", content="Name a river."),)
_SAID = (Message(role="assistant", content="The Oder."),)
_POOR = (Message(role="assistant", content="No."),)
_SAMPLES: dict[str, Data] = {
    "notus-feedback": Feedback(prompt=_ASKED, completions=(Completion(text="The Oder.", model="alder"),)),
    "notus-preferences": Preference(prompt=_ASKED, chosen=_SAID, rejected=_POOR),
    "notus-unpaired": Unpaired(prompt=_ASKED, answer=_SAID, desirable=True),
    "notus-dialogues": Dialogue(messages=(*_ASKED, *_SAID)),
}


OWN: dict[str, Format] = {
    each.name: each
    for each in (
        _own_format("notus-feedback", Feedback),
        _own_format("notus-preferences", Preference),
        _own_format("notus-unpaired", Unpaired),
        _own_format("notus-dialogues", Dialogue),
    )
}
"""Name → format of our own records."""


class _Formats(Mapping[str, Format]):
    """Name → format, in the order in which they are tried. The families are imported when one is asked for."""

    @cached_property
    def _all(self) -> dict[str, Format]:
        modules = (f"{families.__name__}.{each.name}" for each in pkgutil.iter_modules(families.__path__))
        others: list[Format] = [each for name in modules for each in importlib.import_module(name).FORMATS]
        return OWN | {each.name: each for each in in_order(others)}

    def __getitem__(self, name: str) -> Format:
        return OWN[name] if name in OWN else self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


FORMATS: Mapping[str, Format] = _Formats()
"""Name → format, in the order in which they are tried; imported when one is asked for."""

"""What is listed, and in which order: a filter is a URL.

    Filter.parse([("source", "flan"), ("score", "9..10"), ("rating", "..<3"), ("decided", "no"), ("sort", "-margin")])

Values of one key are alternatives, keys must all hold. A value ``-`` is that a row has none. A range is ``9..10`` (with
both ends), ``9..<10`` (without the upper one), ``9..``, ``..3``, ``10``, or ``none`` for rows without the number.
Whatever is unknown is an error, so that no page shows more than its URL asks for. Owns keys and spelling, no query.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Self
from urllib.parse import urlencode

from notus.core.errors import ConfigError, nearest

__all__ = ["CHOICES", "DECIDED", "NUMBERS", "SORTS", "Filter", "Range", "key_of", "shown_number"]

NUMBERS = ("score", "rating", "margin", "length", "suspicion", "flagged", "q")
"""Keys of ranges: overall score, mean rating, margin, characters of the answer, place by suspicion, by flags, q."""
CHOICES = ("source", "model", "rejected", "aspect", "rater", "reason", "desirable", "decided", "who")
"""Keys of which counts can be asked; the last two are of the decisions."""
DECIDED = ("no", "yes", "keep", "drop", "swap", "set-score", "edit", "cannot-tell", "note", "conflict")
"""Values of ``decided``. A note alone decides nothing."""
SORTS = (*NUMBERS, "file", "random")
"""What a list is sorted by, with ``-`` before it the other way round. Rows without the number come last either way."""
_RANGE = re.compile(r"(?P<low>[^.<]*(?:\.\d+[^.<]*)?)\.\.(?P<without><?)(?P<high>.*)")
_LONGEST = 10_000
"""Characters of a text that is looked for."""
_MOST = 1_000
"""Values of one key."""
_SEED = 2**32


@dataclass(frozen=True)
class Range:
    """Numbers that are let through."""

    low: float | None = None
    high: float | None = None
    without_high: bool = False
    none: bool = False
    """Whether rows without the number are asked for, and they alone."""

    @classmethod
    def parse(cls, key: str, text: str) -> Self:
        """Read ``9..10``, ``9..<10``, ``9..``, ``..3``, ``10`` or ``none``.

        Raises:
            ConfigError: if it is something else, or lets nothing through.
        """
        if text == "none":
            return cls(none=True)
        if (found := _RANGE.fullmatch(text)) is None:
            value = _number(key, text, text)
            return cls(value, value)
        low, high = (_number(key, each, text) if each else None for each in found.group("low", "high"))
        if low is None and high is None:
            raise ConfigError(f"{key}={text}: a range names at least one end, such as {key}=9.. or {key}=..3")
        if low is not None and high is not None and (low > high or (low == high and bool(found["without"]))):
            raise ConfigError(f"{key}={text}: nothing lies between {shown_number(low)} and {shown_number(high)}")
        return cls(low, high, without_high=bool(found["without"]) and high is not None)

    def __str__(self) -> str:
        if self.none:
            return "none"
        if self.low is not None and self.low == self.high:
            return shown_number(self.low)
        low, high = ("" if each is None else shown_number(each) for each in (self.low, self.high))
        return f"{low}..{'<' if self.without_high else ''}{high}"


@dataclass(frozen=True)
class Filter:
    """What is listed. Empty, it lets everything through."""

    source: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    """Of the answer; of a pair of the chosen one."""
    rejected: tuple[str, ...] = ()
    """Model of a pair's rejected answer."""
    aspect: tuple[str, ...] = ()
    """Aspects of which the answer has a rating with a value."""
    rater: tuple[str, ...] = ()
    """Who rated the answer, or wrote its critique."""
    reason: tuple[str, ...] = ()
    """Reasons and flags of the audit."""
    desirable: tuple[str, ...] = ()
    """``yes``, ``no``: of unpaired rows."""
    score: Range | None = None
    rating: Range | None = None
    margin: Range | None = None
    length: Range | None = None
    suspicion: Range | None = None
    flagged: Range | None = None
    """Place by flags, where an audit ranks no pair by suspicion."""
    q: Range | None = None
    text: str = ""
    """Stands in the prompt, the answer or the critique, in whatever case."""
    id: tuple[str, ...] = ()
    """Ids of the record, its prompt or its feedback, or how they begin."""
    decided: tuple[str, ...] = ()
    """See ``DECIDED``."""
    who: tuple[str, ...] = ()
    """Decided by one of them."""
    not_who: tuple[str, ...] = ()
    """Decided by none of them: what a second person has before them."""
    sort: str = ""
    """See ``SORTS``; empty takes the first that the data have."""
    seed: int = 0
    """Of ``sort=random``."""

    @classmethod
    def parse(cls, params: Iterable[tuple[str, str]], also: Collection[str] = ()) -> Self:
        """Read the parameters of a URL; keys of ``also`` are not looked at.

        Raises:
            ConfigError: if a key or a value is unknown.
        """
        given: dict[str, list[str]] = {}
        for key, value in params:
            if key not in also:
                given.setdefault(key, []).append(value)
        if unknown := [key for key in given if key not in _FIELDS]:
            raise ConfigError(f"there is no filter '{unknown[0][:40]}'; {nearest(unknown[0][:40], _FIELDS)}")
        return cls(**{_FIELDS[key]: _READ[key](key, values) for key, values in given.items() if any(values)})

    def params(self) -> list[tuple[str, str]]:
        """The parameters of its URL, always in one order; what lets everything through is left out."""
        found: list[tuple[str, str]] = []
        for each in fields(self):
            value = getattr(self, each.name)
            values = value if isinstance(value, tuple) else () if value in (None, "", 0) else (value,)
            found += [(key_of(each.name), str(one)) for one in values]
        return found

    def url(self, **more: str) -> str:
        """The query of its URL, without ``?``."""
        return urlencode([*self.params(), *more.items()])

    def put(self, key: str, *values: str) -> Self:
        """The same with these values of a key in place of its own; without one, with none.

        Raises:
            ConfigError: if a key or a value is unknown.
        """
        kept = [(name, value) for name, value in self.params() if name != key]
        return type(self).parse([*kept, *((key, value) for value in values)])

    def toggle(self, key: str, value: str) -> Self:
        """The same with a value more, or less where it has it: a click on a facet or a bar."""
        own = [each for name, each in self.params() if name == key]
        if key in CHOICES or key in ("id", "not-who"):
            return self.put(key, *([each for each in own if each != value] if value in own else [*own, value]))
        return self.put(key, *(() if own == [value] else (value,)))

    def without(self, *keys: str) -> Self:
        """The same without some keys."""
        empty: dict[str, Any] = {each.name: each.default for each in fields(self)}
        return replace(self, **{_FIELDS[key]: empty[_FIELDS[key]] for key in keys})

    @property
    def narrows(self) -> bool:
        """Whether it lets less than everything through."""
        return bool(self.without("sort", "seed").params())

    @property
    def on_decisions(self) -> bool:
        """Whether what it lets through changes with decisions."""
        return bool(self.decided or self.who or self.not_who)


def key_of(name: str) -> str:
    """How a URL calls a field of the filter."""
    return name.replace("_", "-")


def shown_number(value: float) -> str:
    """A number as a URL has it, so that it is read as the same number again."""
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


_FIELDS = {key_of(each.name): each.name for each in fields(Filter)}


def _number(key: str, text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(
            f"{key}={whole[:40]}: a number or a range is expected, such as {key}=9..10, {key}=..<3, {key}=none"
        )
    return value


def _read_many(key: str, values: list[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(value for value in values if value))
    if len(found) > _MOST:
        raise ConfigError(f"{key} has {len(found):,} values; at most {_MOST:,} are read")
    return found


def _read_known(known: Collection[str]) -> Callable[[str, list[str]], tuple[str, ...]]:
    def read(key: str, values: list[str]) -> tuple[str, ...]:
        found = _read_many(key, values)
        for value in found:
            if value not in known:
                raise ConfigError(f"{key}={value[:40]}: {nearest(value[:40], known)}")
        return found

    return read


def _one(key: str, values: list[str]) -> str:
    found = [value for value in values if value]
    if len(found) > 1:
        raise ConfigError(f"{key} is given {len(found)} times; give it once")
    return found[0]


def _read_range(key: str, values: list[str]) -> Range:
    return Range.parse(key, _one(key, values))


def _read_text(key: str, values: list[str]) -> str:
    text = _one(key, values)
    if len(text) > _LONGEST:
        raise ConfigError(f"{key} has {len(text):,} characters; at most {_LONGEST:,} are looked for")
    return text


def _read_sort(key: str, values: list[str]) -> str:
    value = _one(key, values)
    if value.removeprefix("-") not in SORTS:
        raise ConfigError(f"{key}={value[:40]}: {nearest(value.removeprefix('-')[:40], SORTS)}")
    return value


def _read_seed(key: str, values: list[str]) -> int:
    value = _one(key, values)
    if not (value.isascii() and value.isdigit() and int(value[:12]) < _SEED and len(value) < 12):
        raise ConfigError(f"{key}={value[:40]}: a whole number from 0 to {_SEED - 1} is expected")
    return int(value)


_READ: dict[str, Callable[[str, list[str]], Any]] = {
    **dict.fromkeys(("source", "model", "rejected", "aspect", "rater", "reason", "id", "who", "not-who"), _read_many),
    **dict.fromkeys(NUMBERS, _read_range),
    "desirable": _read_known(("yes", "no")),
    "decided": _read_known(DECIDED),
    "text": _read_text,
    "sort": _read_sort,
    "seed": _read_seed,
}

"""Paths into rows: find what a dotted path names, say which rows lack it, and take away what was found.

    question                 a column
    info.post                a field of an object, also of an object that stands as JSON text in a cell
    answers.0.text           a field of the first item of a list
    answers.*.text           that field of every item, of a list or of an object
    preference.responses.*   a column whose own name has a dot is found first

    rating_*                 with ``wild``: every field whose name fits, such as rating_anna, labelled anna

What a path finds is labelled with the places that its stars stood for: ``answers.*.ratings.*.value`` finds the value of
the rating ``(0, 2)``. Values that stand in several lists are put together by these labels, never by their order alone.
Owns no meaning of a value.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

__all__ = ["MISSING", "STAR", "Found", "Label", "Missing", "Path", "Place", "leaf_paths", "opened", "without"]

Label: TypeAlias = tuple[int | str, ...]
"""What the stars of a path stood for: numbers of items, or names of an object's fields."""
Place: TypeAlias = tuple[int | str, ...]
"""Where a value stands: the names and numbers on the way to it from the row."""

STAR: Final = "*"
_DEEPEST = 6
"""Levels of objects and lists in which ``leaf_paths`` looks for paths."""


class Missing:
    """What a path finds where a row lacks it; a null is a value, and is found as None."""

    def __repr__(self) -> str:
        return "missing"


MISSING: Final = Missing()


class Found(NamedTuple):
    """One thing that a path found."""

    value: Any
    place: Place
    """Where it stands; of what is missing, as far as the path could be followed."""
    item: Place = ()
    """Where the item stands that the last star found; empty without a star."""


@dataclass(frozen=True)
class Path:
    """A dotted path into a row."""

    text: str
    wild: bool = False
    """Whether a star within its last name stands for a part of that name."""

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The names between the dots."""
        return tuple(self.text.split("."))

    @cached_property
    def depth(self) -> int:
        """How many stars it has: the length of its labels."""
        return self.parts.count(STAR) + (self._fits is not None)

    @cached_property
    def _fits(self) -> re.Pattern[str] | None:
        """Which fields a name with a star in it means, and what the star stands for."""
        begin, star, end = self.parts[-1].partition(STAR)
        if not self.wild or not star or not (begin or end):
            return None
        return re.compile(f"{re.escape(begin)}(.+){re.escape(end)}")

    @cached_property
    def _names(self) -> tuple[tuple[tuple[str, int], ...], ...]:
        """From each part on, the names that it may begin, the longest first, and which part comes behind each."""
        parts, ends = self.parts, range(len(self.parts), 0, -1)
        return tuple(
            tuple((".".join(parts[start:end]), end) for end in ends if end > start) for start in range(len(parts))
        )

    def find(self, row: Mapping[str, Any]) -> dict[Label, Found]:
        """Label → what stands there. Without a star there is one, whose label is empty.

        A list or an object without an item gives nothing, and neither does a null in front of a star.
        """
        found: dict[Label, Found] = {}
        self._walk(row, 0, (), (), (), found)
        return found

    def _walk(self, value: Any, at: int, label: Label, place: Place, item: Place, found: dict[Label, Found]) -> None:
        """Follow the parts from number ``at`` on, and put what stands at their end under its label."""
        if at == len(self.parts):
            found[label] = Found(value, place, item)
            return
        value = opened(value)
        if isinstance(value, dict):
            # The longest name first: a column may have dots in its own name.
            for name, behind in self._names[at]:
                if name in value:
                    self._walk(value[name], behind, label, (*place, name), item, found)
                    return
        part = self.parts[at]
        if self._fits is not None and at == len(self.parts) - 1 and isinstance(value, dict):
            named = ((key, self._fits.fullmatch(key)) for key in value)
            found |= {(*label, fits[1]): Found(value[key], (*place, key), item) for key, fits in named if fits}
        elif part == STAR and isinstance(value, dict | list | tuple):
            for key, held in value.items() if isinstance(value, dict) else enumerate(value):
                here = (*place, key)
                self._walk(held, at + 1, (*label, key), here, here, found)
        elif part.isdecimal() and isinstance(value, list | tuple) and int(part) < len(value):
            self._walk(value[int(part)], at + 1, label, (*place, int(part)), item, found)
        elif not (value is None and STAR in self.parts[at:]):
            found[(*label, *[""] * self.parts[at:].count(STAR))] = Found(MISSING, place, item)

    def is_in(self, row: Mapping[str, Any]) -> bool:
        """Whether the row has what the path names; null counts."""
        return any(not isinstance(one.value, Missing) for one in self.find(row).values())

    def __str__(self) -> str:
        return self.text


def opened(value: Any) -> Any:
    """The value, or, of a text that holds a JSON object or list, what it holds."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            held = msgspec.json.decode(value)
        except (ValueError, RecursionError):
            return value
        return held if isinstance(held, dict | list) else value
    return value


def without(row: Mapping[str, Any], taken: Iterable[Place]) -> dict[str, Any]:
    """A row without what stands at the given places. What that empties goes too; items of a list keep their numbers."""
    places = list(taken)
    if all(len(place) == 1 for place in places):  # whole columns, as a rule
        names = {place[0] for place in places}
        return {name: value for name, value in row.items() if name not in names}
    trie: dict[Any, Any] = {}
    for place in places:
        node = trie
        for name in place:
            node = node.setdefault(name, {})
        node[_ALL] = True
    left = _rest(row, trie)
    return {} if isinstance(left, Missing) else dict(left)


_ALL: Final = object()


def _rest(value: Any, taken: dict[Any, Any]) -> Any:
    if not taken:
        return value
    if _ALL in taken:
        return MISSING
    value = opened(value)
    if isinstance(value, Mapping):
        parts = {name: _rest(item, taken.get(name, {})) for name, item in value.items()}
        left = {name: item for name, item in parts.items() if not isinstance(item, Missing)}
        return left or MISSING
    items = [_rest(item, taken.get(number, {})) for number, item in enumerate(value)]
    if all(isinstance(item, Missing) for item in items):
        return MISSING
    gone: list[Any] = [{} if isinstance(opened(item), Mapping) else item for item in value]
    return [gone[number] if isinstance(item, Missing) else item for number, item in enumerate(items)]


def leaf_paths(row: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Every path of a row, with stars for the items of lists → the values that stand there, in their order.

    A list of plain values is a path of its own and one for its items; so is an object, and each of its fields.
    """
    found: dict[str, list[Any]] = {}
    for name, value in row.items():
        _leaves(value, str(name), 1, found)
    return found


def _leaves(value: Any, at: str, depth: int, found: dict[str, list[Any]]) -> None:
    found.setdefault(at, []).append(value)
    held = opened(value)
    if depth >= _DEEPEST:
        return
    if isinstance(held, Mapping):
        for name, item in held.items():
            _leaves(item, f"{at}.{name}", depth + 1, found)
    elif isinstance(held, list | tuple):
        for item in held:
            _leaves(item, f"{at}.{STAR}", depth + 1, found)

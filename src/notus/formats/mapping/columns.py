"""What columns a file has: their types, how much of them is null, what stands there. A look, and no reading.

Owns the names of types as they are told to people. What the columns may mean is guessed in ``formats.mapping.suggest``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from notus.core.text import one_line
from notus.formats.mapping.paths import STAR, opened

__all__ = ["Column", "columns_of", "type_of"]

MOST_VALUES = 12
"""Different values of a column that are kept, with how often each stands there."""
_DEEPEST = 5
_WORD = re.compile(r"[A-ZÀ-ÖØ-Þ]+(?![a-zß-öø-ÿ])|[A-ZÀ-ÖØ-Þ]?[a-zß-öø-ÿ]+|\d+")


@dataclass
class Column:
    """What stands at one path, in the rows that were looked at."""

    path: str
    types: dict[str, int] = field(default_factory=dict)
    """Type in words → how many values have it; null is a type."""
    values: dict[str, int] = field(default_factory=dict)
    """The first different values as texts → how often each stands there."""
    many: bool = False
    """Whether there are more different values than are kept."""
    characters: int = 0
    """Of all texts together."""

    @property
    def count(self) -> int:
        """Values, nulls included."""
        return sum(self.types.values())

    @property
    def nulls(self) -> float:
        """Share of the values that are null."""
        return self.types.get("null", 0) / self.count if self.count else 0.0

    @property
    def type(self) -> str:
        """The types of what is not null, the commonest first."""
        found = sorted((name for name in self.types if name != "null"), key=lambda name: -self.types[name])
        return " or ".join(found) or "null"

    @property
    def length(self) -> float:
        """Mean length of its texts in characters."""
        return self.characters / max(1, self.types.get("text", 0))

    @property
    def depth(self) -> int:
        """How many lists it lies in."""
        return self.path.split(".").count(STAR)

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of its path, in small letters."""
        return frozenset(word.lower() for word in _WORD.findall(self.path))

    @cached_property
    def last_words(self) -> frozenset[str]:
        """The words of its own name."""
        named = [part for part in self.path.split(".") if part != STAR]
        return frozenset(word.lower() for word in _WORD.findall(named[-1]))

    def add(self, value: Any) -> None:
        """Count one value."""
        kind = type_of(value)
        self.types[kind] = self.types.get(kind, 0) + 1
        if isinstance(value, str):
            self.characters += len(value)
        if value is None or isinstance(value, dict | list):
            return
        text = str(value).lower() if isinstance(value, bool) else one_line(str(value), 60)
        if text in self.values or len(self.values) < MOST_VALUES:
            self.values[text] = self.values.get(text, 0) + 1
        else:
            self.many = True


def type_of(value: Any) -> str:
    """The type of a value in words."""
    if _are_messages(opened(value)):
        return "messages"
    if isinstance(value, str) and opened(value) is not value:
        return "JSON text"
    names = {"NoneType": "null", "bool": "true or false", "int": "number", "float": "number", "str": "text"}
    return names.get(type(value).__name__, {"dict": "object", "list": "list"}.get(type(value).__name__, "other"))


def _are_messages(value: Any) -> bool:
    items = [value] if isinstance(value, dict) else value
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        return False
    return all(
        ("role" in item and bool({"content", "tool_calls"} & item.keys())) or {"from", "value"} <= item.keys()
        for item in items
    )


def columns_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Column]:
    """Path → column, of all paths of the rows, with ``*`` for the items of lists; message lists are not opened."""
    found: dict[str, Column] = {}
    for row in rows:
        for name, value in row.items():
            _add(value, str(name), 1, found)
    return found


def _add(value: Any, at: str, depth: int, found: dict[str, Column]) -> None:
    column = found.setdefault(at, Column(at))
    column.add(value)
    held = opened(value)
    if depth >= _DEEPEST or _are_messages(held):
        return
    if isinstance(held, Mapping):
        for name, item in held.items():
            _add(item, f"{at}.{name}", depth + 1, found)
    elif isinstance(held, list):
        for item in held:
            _add(item, f"{at}.{STAR}", depth + 1, found)

"""Values of raw rows, checked: the small readers that all layouts share.

Each takes a value and its path in the row, and returns what a record takes or raises ``RowError``. Null counts as
absent, because Parquet gives every row every column.
"""

import math
import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from notus.core.records import Message
from notus.data.quarantine import RowError, explained

__all__ = ["divided", "flag", "grade", "items", "needed", "number", "turns", "typed"]

T = TypeVar("T")

_LARGEST = 1e300
_DECIMAL = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_TURN = ("role", "content")
_Turns = Annotated[tuple[Message, ...], msgspec.Meta(min_length=1)]
Role = Literal["system", "user", "assistant"]


def typed(value: object, kind: type[T], at: str) -> T:
    """The value as the given type, strictly."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise explained(error, at, value) from None
    except (OverflowError, RecursionError) as error:
        raise RowError(at, "wrong-type", value, str(error)) from None


def divided(row: dict[str, Any], names: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that a layout knows, nulls left out, and all further ones as they came."""
    known = {name: value for name, value in row.items() if name in names and value is not None}
    return known, {name: value for name, value in row.items() if name not in names}


def needed(row: dict[str, Any], name: str, at: str = "") -> Any:
    """The value of a field that must be there."""
    value = row.get(name)
    if value is None:
        raise RowError(at + name, "missing-field")
    return value


def items(value: object, at: str) -> list[Any]:
    """The value as a list that is not empty."""
    if not isinstance(value, (list, tuple)):
        raise RowError(at, "wrong-type", value, "a list is needed")
    if not value:
        raise RowError(at, "no-completion" if at == "completions" else "empty-list", value)
    return list(value)


def number(value: object, at: str) -> float:
    """A finite number, written as a number or as its decimal digits."""
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value.strip()):
            raise RowError(at, "not-a-number", value)
        value = float(value)
    not_a_number = isinstance(value, bool) or (isinstance(value, float) and math.isnan(value))
    if not isinstance(value, (int, float)) or not_a_number:
        raise RowError(at, "not-a-number", value)
    if abs(value) > _LARGEST:
        raise RowError(at, "out-of-range", value)
    return float(value)


def grade(value: object, at: str) -> float | None:
    """A rating or an overall score, 0 to 100, or None for the judge's "N/A". "7.5" stays 7.5."""
    if isinstance(value, str) and value.strip().upper() == "N/A":
        return None
    found = number(value, at)
    if not 0 <= found <= 100:
        raise RowError(at, "out-of-range", value)
    return found


def flag(value: object, at: str) -> bool:
    """A label: true or false, or 1 or 0 for them."""
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    raise RowError(at, "wrong-type", value, "true or false is needed")


def turns(value: object, at: str, role: Role) -> tuple[tuple[Message, ...], bool]:
    """Messages out of a text (one turn of the given role), a message or a list of messages.

    The second value says whether a message held more than role and content.
    """
    if isinstance(value, str):
        return (Message(role=role, content=value),), False
    if isinstance(value, dict):
        value = [value]
    try:
        return msgspec.convert(value, _Turns), False
    except (msgspec.ValidationError, OverflowError, RecursionError):
        pass  # the usual list goes at once; of any other it is said below what is amiss
    found, more = [], False
    for index, item in enumerate(items(value, at)):
        here = f"{at}[{index}]"
        if not isinstance(item, dict):
            raise RowError(here, "wrong-type", item, "a message with role and content is needed")
        known, further = divided(item, _TURN)
        found.append(typed(known, Message, here))
        more = more or any(part is not None for part in further.values())
    return tuple(found), more

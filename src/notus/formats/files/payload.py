"""What files give: rows as they lie there, and parts that can be read by themselves.

Owns the shared words of the readers beside it, one a kind of file. What a row means is owned by the formats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from notus.core.stage import Tally
from notus.formats.quarantine import REPEATED, RowError, check_depth, repeats_key

__all__ = [
    "JSON_ERRORS",
    "OTHER_ENCODING",
    "ROWS_AT_ONCE",
    "FilledRow",
    "Part",
    "Payload",
    "count_oddities",
    "excerpt",
    "find_json_cells",
    "parse_cells",
    "parse_row",
]

Payload = bytes | dict[str, Any] | RowError | msgspec.Struct
"""A row as it lies in the file: JSON text, the cells of a table's row, what is wrong with it, or a record of ours that
its columns have proven."""
ROWS_AT_ONCE = 256
"""Rows of columns that are made into plain rows at once."""
JSON_ERRORS = (ValueError, RecursionError)
"""What msgspec raises for a text that is no JSON."""
OTHER_ENCODING = "save the file as UTF-8, or say what it is in (--encoding cp1252)"
"""What to do about a text that is no UTF-8."""
_ANY = msgspec.json.Decoder()


@dataclass(frozen=True)
class Part:
    """A part of a file that can be read by itself: lines between two bytes, or whole row groups of Parquet."""

    start: int
    """Byte at which its first line begins, or number of its first row group."""
    stop: int
    """Where the next part begins."""
    first: int
    """Line or number of its first row, counted from 1."""


class FilledRow(dict[str, Any]):
    """A row of a sheet with what merged cells say of it: it stands in the first of the rows that they reach over."""

    filled = 0
    """How many of its values are such."""


def count_oddities(payload: Payload, tally: Tally) -> None:
    """Count what is to be known of a row that was read: ``repeated-key``, ``merged-cell``."""
    if isinstance(payload, bytes):
        if repeats_key(payload):
            tally.count(REPEATED)
    elif isinstance(payload, FilledRow) and payload.filled:
        tally.count("merged-cell", payload.filled)


def parse_row(payload: Payload) -> dict[str, Any]:
    """The row as an object.

    Raises:
        RowError: if it is no UTF-8, no JSON or no object.
    """
    if isinstance(payload, RowError):
        raise payload
    if isinstance(payload, dict):
        return payload
    if isinstance(payload, msgspec.Struct):
        return msgspec.structs.asdict(payload)
    try:
        row = _ANY.decode(payload)
    except JSON_ERRORS as error:
        raise _row_error(payload, error) from None
    if not isinstance(row, dict):
        raise RowError("", "not-an-object", row)
    check_depth(payload, row)
    return row


def _row_error(payload: bytes, error: Exception) -> RowError:
    if isinstance(error, RecursionError):
        return RowError("", "too-deep", excerpt(payload))
    try:
        payload.decode()
    except UnicodeDecodeError as fault:
        return RowError("", "wrong-encoding", f"byte {fault.start}: {payload[fault.start]:#04x}", OTHER_ENCODING)
    return RowError("", "broken-json", excerpt(payload), str(error))


def excerpt(payload: Payload, length: int = 200) -> str:
    """The beginning of a row as text."""
    if isinstance(payload, RowError):
        return ""
    if isinstance(payload, (dict, msgspec.Struct)):
        return repr(payload)[:length]
    return payload[: 4 * length].decode("utf-8", "replace").strip()[:length]


def find_json_cells(rows: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Columns of which every cell that is filled holds a list or an object as JSON text, and at least one is."""
    found: dict[str, bool] = {}
    for row in rows:
        for name, cell in row.items():
            if cell is not None:
                found[name] = found.get(name, True) and not isinstance(_parse_cell(cell), str | int | float)
    return frozenset(name for name, holds in found.items() if holds)


def parse_cells(row: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """The row with the JSON text in these columns parsed; a cell that holds none stays as it is."""
    return {name: _parse_cell(cell) if name in names else cell for name, cell in row.items()}


def _parse_cell(cell: Any) -> Any:
    if not isinstance(cell, str) or cell.lstrip()[:1] not in ("[", "{"):
        return cell
    try:
        return _ANY.decode(cell)
    except JSON_ERRORS:
        return cell

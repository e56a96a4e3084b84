"""Rows out of workbooks: Excel (xlsx, xlsm, xlsb, xls) and OpenDocument (ods), read by calamine.

Every cell is text, as in CSV: a sheet turns an answer that looks like a number into one. A number is written with the
digits that it has (``4``, ``2.5``), a date or time as in ISO 8601, a truth value as ``TRUE`` or ``FALSE``; an empty
cell is null, and a row without a filled cell is none. The first row that has one names the columns, as in CSV. Several
sheets are several tables, of which one is chosen like a split. Cells of a column that are merged over several rows are
said once and meant of each, such as a prompt beside its answers: below the names, each row gets what they hold, and it
is counted. Of cells that are merged over several columns, the first column holds it.

Owns how a workbook is told and opened.
"""

import datetime
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from notus.core.errors import DataError, require
from notus.formats.files.delimited import HEADER_ROWS, UNNAMED, read_header
from notus.formats.files.packed import check_expansion
from notus.formats.files.payload import FilledRow, Payload

__all__ = ["is_workbook", "sheet_members", "sheet_rows"]

_ZIP = b"PK\x03\x04"
_OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_ROW = re.compile(rb'<row [^>]*?\br="(\d{1,9})"|<c [^>]*?\br="[A-Z]{1,3}(\d{1,9})"')
_CELL = re.compile(rb'<c [^>]*?\br="([A-Z]{1,3})\d')
_MOST_CELLS = 50_000_000
"""Of a sheet: each takes some tens of bytes."""
_MARKS = ("xl/workbook.xml", "xl/workbook.bin", "content.xml")


def is_workbook(path: Path, head: bytes) -> bool:
    """Whether a file that begins so is a workbook."""
    if head.startswith(_OLD):
        return True
    if not head.startswith(_ZIP) or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        return any(mark in file.namelist() for mark in _MARKS)


def sheet_members(path: Path) -> dict[str, int]:
    """The sheets that hold something, with the numbers of their rows, the header not counted.

    Raises:
        MissingExtraError: if calamine is not installed.
        DataError: if the workbook is damaged or protected.
    """
    _check_size(path)
    with _open(path) as book:
        heights = {name: book.get_sheet_by_name(name).height for name in book.sheet_names}
    return {name: height - 1 for name, height in heights.items() if height}


def sheet_rows(path: Path, member: str = "") -> Iterator[tuple[int, Payload]]:
    """The rows of a sheet, or of the first that holds something, each with its number as the sheet shows it.

    Raises:
        MissingExtraError: if calamine is not installed.
        DataError: if the workbook is damaged or protected, or the sheet has no row.
    """
    sheet = member or next(iter(sheet_members(path)), None)
    if sheet is None:
        raise DataError(f"{path} is empty; a sheet with a header and at least one row is needed")
    _check_size(path)
    with _open(path) as book:
        opened = book.get_sheet_by_name(sheet)
        cells, merged = opened.to_python(skip_empty_area=False), opened.merged_cell_ranges or ()
    filled = ((number, [_text(cell) for cell in row]) for number, row in enumerate(cells, 1))
    rows = [(number, values) for number, values in filled if any(value is not None for value in values)]
    names, above = read_header(path, [values for _, values in rows[: HEADER_ROWS + 1]]) if rows else ([], 0)
    count = len(rows) - above
    told = _merged_values(rows[above:], merged)
    for number, values in rows[above:]:
        yield number, _row(names, values, told.get(number, {}))
    if not count:
        raise DataError(f"sheet '{sheet}' of {path} is empty; a header and at least one row are needed")


def _check_size(path: Path) -> None:
    """Refuse a workbook that unpacks, or spreads out, to more than memory holds.

    Raises:
        DataError: with the limit.
    """
    if not zipfile.is_zipfile(path):  # the old form of Excel has at most 65,536 rows of 256 cells
        return
    try:
        with zipfile.ZipFile(path) as file:
            check_expansion(path, sum(part.file_size for part in file.infolist()))
            for part in file.infolist():
                if _SHEET.fullmatch(part.filename):
                    _check_cells(path, file.read(part))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, zlib.error, EOFError) as error:
        raise DataError(f"{path} is damaged: {error}") from None


def _check_cells(path: Path, sheet: bytes) -> None:
    """A sheet is held as a rectangle: one cell far away makes it as large as the way there."""
    rows = max((int(row or cell) for row, cell in _ROW.findall(sheet)), default=0)
    columns = max((_column(name) for name in set(_CELL.findall(sheet))), default=0)
    if rows * columns > _MOST_CELLS:
        raise DataError(
            f"{path} has a sheet of {rows:,} rows and {columns:,} columns, more than {_MOST_CELLS:,} cells; delete "
            "what stands far away, or write it as CSV"
        )


def _column(name: bytes) -> int:
    number = 0
    for letter in name:
        number = 26 * number + letter - 64
    return number


_Corner = tuple[int, int]
"""Row and column of a cell, from 0."""


def _merged_values(
    rows: Sequence[tuple[int, Sequence[str | None]]], merged: Sequence[tuple[_Corner, _Corner]]
) -> dict[int, dict[int, str]]:
    """Number of a row → column → what merged cells that begin above say of it; of rows that hold something else."""
    held = dict(rows)
    found: dict[int, dict[int, str]] = {}
    ends: dict[int, int] = {}
    for (top, column), (bottom, _) in sorted(merged):
        if top < ends.get(column, -1):  # cells cannot be merged twice: such a file would take a very long time
            continue
        ends[column] = bottom + 1
        first = held.get(top + 1)
        value = first[column] if first is not None and column < len(first) else None
        if value is None:
            continue
        for number in range(top + 2, min(bottom + 1, rows[-1][0]) + 1):
            if number in held and held[number][column] is None:
                found.setdefault(number, {})[column] = value
    return found


def _row(names: list[str], values: list[str | None], merged: Mapping[int, str]) -> dict[str, str | None]:
    """A row without the columns that have neither a name nor a value, as those beside the table."""
    whole = [merged.get(column, value) for column, value in enumerate(values)] if merged else values
    cells = zip(names, whole, strict=True)
    row = FilledRow((name, value) for name, value in cells if value is not None or not name.startswith(UNNAMED))
    row.filled = len(merged)
    return row


def _text(cell: Any) -> str | None:
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float):
        return format(Decimal(repr(cell)).normalize(), "f")
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell) or None


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    calamine = require("python_calamine", extra="files")
    try:
        with calamine.CalamineWorkbook.from_path(path) as book:
            yield book
    except calamine.PasswordError:
        raise DataError(f"{path} is protected by a password; save it without one") from None
    except (calamine.CalamineError, OSError) as error:
        raise DataError(f"{path} is damaged: {str(error).partition(chr(10))[0]}") from None

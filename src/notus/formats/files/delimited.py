"""Rows out of tables in text: CSV, TSV, and the like with semicolons or bars, by the standard library's reader.

Every cell is text, so that numbers and ids stay exactly as they are written; an empty cell is null, for the table
cannot say which of the two it means. What JSON text in cells becomes is decided by ``formats.source``. The first row
names the columns; a column without a name gets the one that pandas gives it, ``Unnamed: 0``. Lines of a title above it
are passed over, and of two rows of names, as sheets with merged cells have them, both are taken: see ``read_header``. A
row is known by the line on which it begins, and a quoted cell may hold line ends.

Owns how such a file is told, its delimiter, and which rows are bad: a row with more or fewer cells than columns, a
quote that is not closed, a text that is no UTF-8.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

from notus.core.errors import DataError
from notus.formats.files.packed import open_unpacked, read_head
from notus.formats.files.payload import OTHER_ENCODING, Payload
from notus.formats.quarantine import LONGEST_ROW, RowError

__all__ = ["HEADER_ROWS", "TABLE_SUFFIXES", "UNNAMED", "delimited_rows", "is_delimited", "read_header"]

UNNAMED = "Unnamed: "
"""What the name of a column without one begins with; its number follows, from 0."""
TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.zst", ".tsv.zst")
"""Names of files that are such a table unless they begin as JSON."""
HEADER_ROWS = 20
"""Rows that ``read_header`` looks at, as many as there are."""
_LONGEST_NAME = 60
_DELIMITERS = ",\t;|"
_LOOKED_AT = 1 << 18
"""Bytes in which the delimiter is looked for."""
_RECORDS = 20
_SURE = 0.9
"""Share of the first rows that must have as many cells as there are columns, where no name says what the file is."""
_LONGEST = LONGEST_ROW
"""Characters of a cell; the library would refuse those above 131,072."""
_SAID = "sep="
"""How a first line that is written for Excel names the delimiter."""


def is_delimited(path: Path, encoding: str | None = None) -> bool:
    """Whether a file of text is such a table: nearly all of its first rows have as many cells as the first."""
    head = _head(path, encoding)
    delimiter = _delimiter(head)
    fit = _fit(head, delimiter) if delimiter else _Fit()
    return fit.share >= _SURE and fit.rows > 1


def delimited_rows(path: Path, encoding: str | None = None) -> Iterator[tuple[int, Payload]]:
    """The rows, each as column → text or None, with the line on which it begins.

    Raises:
        DataError: if the columns have no or equal names, or there is no row.
    """
    head = _head(path, encoding)
    delimiter = _delimiter(head) or ","
    spaced = _fit(head, delimiter).spaced
    csv.field_size_limit(_LONGEST)
    with open_unpacked(path, encoding) as file:
        text = io.TextIOWrapper(
            cast("IO[bytes]", _Raw(file)), encoding="utf-8-sig", errors="surrogateescape", newline=""
        )
        reader = csv.reader(_bounded(path, text), delimiter=delimiter, strict=True, skipinitialspace=spaced)
        rows = _records(reader)
        first = [(line, cells) for line, cells in islice(rows, HEADER_ROWS + 1) if not _is_said(cells)]
        begin = next((at for at, (_, cells) in enumerate(first) if isinstance(cells, list)), len(first))
        plain = [cells for _, cells in first[begin:] if isinstance(cells, list)]
        names, above = read_header(path, plain) if plain else ([], 0)
        count = 0
        for number, (line, cells) in enumerate(chain(first, rows)):
            if begin <= number < begin + above:
                continue
            count += 1
            yield line, cells if isinstance(cells, RowError) else _row(names, cells)
    if not count:
        raise DataError(f"{path} is empty; a header and at least one row are needed")


def _bounded(path: Path, text: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a text.

    Raises:
        DataError: if one is longer than a row may be.
    """
    while line := text.readline(LONGEST_ROW + 1):
        if len(line) > LONGEST_ROW:
            raise DataError(
                f"{path} has a line of more than {LONGEST_ROW >> 20} MiB, which is no row of a table; write JSON "
                "lines, of which long ones are put aside"
            )
        yield line


def _is_said(cells: list[str] | RowError) -> bool:
    """Whether it is the line that names the delimiter for Excel."""
    return isinstance(cells, list) and len(cells) <= 2 and cells[0].startswith(_SAID)


def read_header(path: Path, rows: Sequence[Sequence[str | None]]) -> tuple[list[str], int]:
    """The names of the columns out of the first rows, and how many rows they and what stands above them are.

    Rows of a single cell above those of three and more are a title, where the next row is one of names: a text in each
    column that is filled below, which stands nowhere below it. Where more than half of the names are missing, two and
    more, and the next row is one of names, both are: a name of the first row is that of all columns up to the next, and
    stands before theirs, as in ``Answer A Text``.

    Raises:
        DataError: if two are equal.
    """
    above = next((at for at, cells in enumerate(rows) if _filled(cells) > 1), 0)
    if above and not _are_names(rows, above) and not _are_two(rows, above):
        above = 0
    first = rows[above]
    if not _are_two(rows, above):
        return _column_names(path, first), above + 1
    second = rows[above + 1]
    group = ""
    found = []
    for upper, lower in zip(first, second, strict=True):
        group = _clean(upper) or group
        found.append(f"{group} {_clean(lower)}".strip())
    # What stands behind the last group need not be of it: a name that is no other's stays as it is.
    alone = [_clean(lower) for lower in second]
    last = max(at for at, upper in enumerate(first) if _clean(upper))
    names = [
        lower if at > last + 1 and alone.count(lower) == 1 else name
        for at, (name, lower) in enumerate(zip(found, alone, strict=True))
    ]
    return _column_names(path, names), above + 2


def _filled(cells: Sequence[str | None]) -> int:
    return sum(bool(_clean(cell)) for cell in cells)


def _clean(cell: str | None) -> str:
    return (cell or "").strip()


def _are_two(rows: Sequence[Sequence[str | None]], at: int) -> bool:
    """Whether a row that lacks names and the next one name the columns together."""
    missing = len(rows[at]) - _filled(rows[at])
    return (
        missing > 1 and 2 * missing > len(rows[at]) > _filled(rows[at]) + 1 and _are_names(rows, at + 1, len(rows[at]))
    )


def _are_names(rows: Sequence[Sequence[str | None]], at: int, columns: int = 3) -> bool:
    """Whether a row holds names, and no values: of so many columns at least, each that is filled below."""
    below = rows[at + 1 :]
    if not below or _filled(rows[at]) < max(columns, *map(_filled, below)):
        return False
    names = [_clean(cell) for cell in rows[at] if _clean(cell)]
    texts = all(len(name) <= _LONGEST_NAME and re.search(r"[^\W\d_]", name) for name in names)
    return texts and not any(
        cell and cell == row[n] for row in below for n, cell in enumerate(rows[at]) if n < len(row)
    )


def _column_names(path: Path, cells: Sequence[str | None]) -> list[str]:
    """The names of columns out of the first row.

    Raises:
        DataError: if two are equal, or one is no UTF-8.
    """
    names = [_clean(cell) for cell in cells]
    names = [name or f"{UNNAMED}{index}" for index, name in enumerate(names)]
    for number, name in enumerate(names, 1):
        if not _is_utf8(name):
            raise DataError(f"{path}: the name of column {number} is not UTF-8; {OTHER_ENCODING}")
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{path} has two columns named '{repeated}'; give each a name of its own")
    return names


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _records(reader: Any) -> Iterator[tuple[int, list[str] | RowError]]:
    """The rows that are not empty, with the lines on which they begin, and what is wrong with a row."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            last = reader.line_num
            where = f"lines {line} to {last}" if last > line else f"line {line}"
            yield line, RowError("", "broken-row", where, str(error))
            continue
        if cells:
            yield line, cells


def _row(names: Sequence[str], cells: Sequence[str]) -> Payload:
    if len(cells) != len(names):
        return RowError("", "other-columns", f"{len(cells)} cells", f"there are {len(names)} columns")
    row = dict(zip(names, (cell or None for cell in cells), strict=True))
    try:
        for cell in cells:
            cell.encode()
    except UnicodeEncodeError as error:
        byte = ord(error.object[error.start]) & 0xFF
        return RowError("", "wrong-encoding", f"byte {byte:#04x}", OTHER_ENCODING)
    return cast("Payload", row)


@dataclass(frozen=True)
class _Fit:
    """How well a delimiter fits the first rows."""

    share: float = 0.0
    """Of the rows, with as many cells as the first; 0 where that has only one, or two that are equal."""
    columns: int = 0
    rows: int = 0
    spaced: bool = False
    """Whether a space stands behind each delimiter of the first row."""


def _delimiter(head: str) -> str | None:
    """The delimiter that fits best, or that the first line names; None where none divides anything."""
    if head.startswith(_SAID) and head[len(_SAID) : len(_SAID) + 1] in tuple(_DELIMITERS):
        return head[len(_SAID)]
    fits = {delimiter: _fit(head, delimiter) for delimiter in _DELIMITERS}
    best = max(fits, key=lambda each: (fits[each].share, fits[each].columns))
    return best if fits[best].columns else None


def _fit(head: str, delimiter: str) -> _Fit:
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, strict=True)
    rows = [[] if isinstance(cells, RowError) else cells for _, cells in islice(_records(reader), _RECORDS)]
    if rows and rows[0] and rows[0][0].startswith(_SAID):
        rows = rows[1:]
    if len(head) > _LOOKED_AT // 8 and 1 < len(rows) < _RECORDS:
        rows = rows[:-1]  # the last of them may have been cut
    # Lines of a title have no delimiter, or nothing but delimiters behind it; they are rows that do not fit.
    every = len(rows)
    rows = rows[next((at for at, cells in enumerate(rows) if _filled(cells) > 1), 0) :]
    names = rows[0] if rows else []
    if len(names) < 2 or len(set(filter(None, names))) < _filled(names):
        return _Fit()
    share = sum(len(cells) == len(names) for cells in rows) / every
    return _Fit(share, len(names), len(rows), all(name.startswith(" ") for name in names[1:]))


def _head(path: Path, encoding: str | None) -> str:
    return read_head(path, _LOOKED_AT, encoding).decode("utf-8", "replace")


class _Raw(io.BufferedIOBase):
    """What is unpacked, for a reader of text, which asks more of a file than all of them have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        return self._file.read(-1 if size is None else size)

    def read1(self, size: int = -1, /) -> bytes:
        return self._file.read(1 << 16 if size < 0 else size)

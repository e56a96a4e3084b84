"""Rows out of files, as a stream: whatever the file is, told from its content rather than its name.

    JSON           lines, a list, one object, an object of lists        formats.files.json_text
    text tables    CSV, TSV, with semicolons or bars                    formats.files.delimited
    columns        Parquet; Arrow's streams and files, Feather          formats.files.columns
    workbooks      Excel, OpenDocument                                  formats.files.sheets

Text may be packed with gzip or zstandard and be written in UTF-8 or UTF-16 (``formats.files.packed``), or in what the
user says (``formats.files.encoding``). Owns which
reader takes which file, and how a large one is cut into parts that can be read side by side (``cut_file``). What a row
means is owned by the formats.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from notus.core.errors import DataError
from notus.formats.files.columns import arrow_rows, cut_groups, is_arrow, is_parquet, parquet_rows
from notus.formats.files.delimited import TABLE_SUFFIXES, delimited_rows, is_delimited
from notus.formats.files.json_text import (
    begins_as_json,
    cut_lines,
    has_json_line,
    is_lines,
    json_lists,
    json_members,
    json_rows,
    unfinished_list,
)
from notus.formats.files.packed import is_packed, is_plain, read_head, refuse_foreign
from notus.formats.files.payload import (
    Part,
    Payload,
    count_oddities,
    excerpt,
    find_json_cells,
    parse_cells,
    parse_row,
)
from notus.formats.files.sheets import is_workbook, sheet_members, sheet_rows

__all__ = [
    "Kind",
    "Part",
    "Payload",
    "count_lines",
    "count_oddities",
    "cut_file",
    "excerpt",
    "find_json_cells",
    "kind_of",
    "lines_from",
    "members_of",
    "parse_cells",
    "parse_row",
    "read_rows",
    "unfinished_list",
]

_BLOCK = 1 << 22
Kind = Literal["json", "delimited", "parquet", "arrow", "workbook"]
"""What a file is made of."""


def kind_of(path: Path, encoding: str | None = None) -> Kind:
    """What a file is made of, by its content; of one of text, with the encoding in which it is read.

    Raises:
        DataError: if it is missing, empty, damaged, or of a kind that is not read.
    """
    head = read_head(path, 4096)
    found: Kind | None = "parquet" if is_parquet(head) else "arrow" if is_arrow(head) else None
    if found is None and is_workbook(path, head):
        found = "workbook"
    if found is not None:
        if is_packed(path):
            raise DataError(f"{path} is a packed file of {found.capitalize()}: unpack it first")
        return found
    refuse_foreign(path, head)
    if not head.strip() and not read_head(path, 1 << 24).strip():
        raise DataError(f"{path} is empty; a file with at least one row is needed")
    if begins_as_json(path, encoding):
        return "json"
    named = path.name.lower().endswith(TABLE_SUFFIXES)
    return "delimited" if named or (not has_json_line(path, encoding) and is_delimited(path, encoding)) else "json"


def members_of(path: Path, encoding: str | None = None, *, every: bool = False) -> dict[str, int]:
    """The tables that one file holds under names, with their numbers of rows: sheets, or lists of a JSON object.

    Empty where the file is one table. ``every`` takes all lists of objects of a JSON object, whatever their names.

    Raises:
        DataError, MissingExtraError: as ``read_rows``.
    """
    kind = kind_of(path, encoding)
    if kind == "workbook":
        return sheet_members(path)
    return {} if kind != "json" else json_lists(path, encoding) if every else json_members(path, encoding)


def cut_file(path: Path, size: int, encoding: str | None = None) -> list[Part | None]:
    """Cut a file into parts of about ``size`` bytes, uncompressed; one that cannot be cut is the single part None.

    JSON lines are cut at the ends of lines, Parquet between row groups. All others, and what is packed, are not cut.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        kind = kind_of(path, encoding)
        if kind == "parquet":
            return cut_groups(path, size)
        whole = kind != "json" or path.stat().st_size <= size or not is_plain(path, encoding)
        return [None] if whole or not is_lines(path) else cut_lines(path, size)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def count_lines(path: Path, encoding: str | None = None, *, start: int = 0) -> int:
    """Lines from a byte on of a plain file of JSON lines that ends with one: rows may be added to it.

    0 for all other files: what is packed, a list, a table, one whose last line may go on.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        if kind_of(path, encoding) != "json" or not is_plain(path, encoding) or not is_lines(path):
            return 0
        lines, last = 0, b""
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            while block := file.read(_BLOCK):
                lines += block.count(b"\n")
                last = block[-1:]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    return lines if last == b"\n" else 0


def lines_from(path: Path, start: int, stop: int, count: int) -> Part | None:
    """So many whole lines of a file as a part, from the first that begins at a byte or behind it; None without any.

    The part does not know its line numbers: they begin with 1.
    """
    with path.open("rb") as file:
        file.seek(max(start - 1, 0))
        if start:
            file.readline()
        begin = end = file.tell()
        for _ in range(count):
            if end >= stop or not file.readline():
                break
            end = file.tell()
    return Part(begin, min(end, stop), 1) if begin < min(end, stop) else None


def read_rows(
    path: Path,
    part: Part | None = None,
    record: type[msgspec.Struct] | None = None,
    member: str = "",
    encoding: str | None = None,
    without: frozenset[str] = frozenset(),
) -> Iterator[tuple[int, Payload]]:
    """The rows of a file, each with its line (JSON lines, text tables) or its number (all others), counted from 1.

    Empty lines are passed over; a byte-order mark and Windows line ends do no harm. Only one row is held at a time; a
    JSON list is mapped into memory, not read; a sheet is held whole.

    Args:
        path: the file.
        part: read only this part, one of those of ``cut_file``.
        record: if it is a Parquet file of such records, written by ``core.tables``, give the records at once.
        member: the sheet, or the name of the list, that is read: one of ``members_of``.
        encoding: of a file of text that is neither UTF-8 nor begins with a byte-order mark.
        without: fields of such records that are not read; see ``core.tables.read_records``.

    Raises:
        DataError: if the file is missing, empty, damaged, or of a kind that is not read.
        MissingExtraError: if it is a workbook and calamine is not installed.
    """
    kind = "json" if part is not None and not is_parquet(read_head(path, 4)) else kind_of(path, encoding)
    if kind == "parquet":
        return parquet_rows(path, part, record, without)
    if kind == "arrow":
        return arrow_rows(path)
    if kind == "workbook":
        return sheet_rows(path, member)
    return delimited_rows(path, encoding) if kind == "delimited" else json_rows(path, part, member, encoding)

"""Rows out of JSON: lines, one list, one object; and an object that holds lists of rows under names.

    {"prompt": …}        [{"prompt": …},        {"data": [{"prompt": …}, …]}        {"train": [{"prompt": …}, …],
    {"prompt": …}         {"prompt": …}]                                             "test": [{"prompt": …}, …]}

    {"q-1": {"prompt": …},        {"prompt": {"0": …, "1": …},
     "q-2": {"prompt": …}}         "chosen": {"0": …, "1": …}}

Owns the shapes, how large lines are cut into parts, and the names under which an object holds rows rather than being
one: those in ``_HOLDERS`` and those of splits; any other name is read where it is asked for. An object of objects that
all have the same names, and whose own names are no words, holds rows by their ids: each row gets its own as ``id``. One
whose columns hold values under the same numbers is a table as pandas writes it.
Only one row is held at a time; a list is mapped into memory, not read. What becomes of a broken list is owned by
``formats.files.broken_list``.
"""

import mmap
import re
from collections.abc import Iterator
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec

from notus.core.errors import DataError
from notus.formats.files.broken_list import list_within, salvage_rows
from notus.formats.files.packed import BOM, is_plain, open_unpacked, read_head, read_unpacked
from notus.formats.files.payload import JSON_ERRORS, Part, Payload, parse_row
from notus.formats.quarantine import LONGEST_ROW, RowError, load_json

__all__ = [
    "begins_as_json",
    "cut_lines",
    "has_json_line",
    "is_lines",
    "json_lists",
    "json_members",
    "json_rows",
    "unfinished_list",
]

_LINES = (".jsonl", ".ndjson")
_PACKED = (".gz", ".zst")
_BUFFER = 1 << 20
_LOOKED_AT = 20
"""Lines in which a row is looked for, where the first is none."""
_WHOLE = msgspec.json.Decoder(msgspec.Raw)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NAMES, _TABLE = msgspec.json.Decoder(list[str]), msgspec.json.Decoder(list[list[msgspec.Raw]])
_SPLIT_TABLE = {"columns", "index", "data"}
"""What pandas calls the parts of a table, where it is asked to write them apart."""
_HOLDERS = frozenset(["data", "dataset", "examples", "instances", "items", "records", "rows", "samples"])
_ID = re.compile(
    r"(?!(?:answer|completion|message|model|output|response|turn)[_ -]?[0-9]+$)\S*(?:[0-9]|[:/#@])\S*", re.I
)
"""How an id looks that no column is called: with a digit, or a mark that names places."""
_LEAST_BY_ID = 3
"""Rows that an object of rows by id has at least; of fewer, one row is likelier."""
_ROWS = re.compile(rb"\s*\[\s*\{")
"""How a list of objects begins."""
_SPLIT = re.compile(r"(train|training|valid|validation|val|dev|test|testing|eval|evaluation)([_-].*)?")


def begins_as_json(path: Path, encoding: str | None = None) -> bool:
    """Whether the first character of a file of text is that of an object or a list."""
    return _first(path, encoding) in (b"[", b"{")


def has_json_line(path: Path, encoding: str | None = None) -> bool:
    """Whether one of the first lines is an object, behind a beginning that may be broken."""
    lines = islice(_lines(path, encoding=encoding), _LOOKED_AT)
    return any(isinstance(line, bytes) and line.lstrip()[:1] == b"{" and _is_json(line) for _, line in lines)


def is_lines(path: Path, encoding: str | None = None) -> bool:
    """Whether the name or the first line says that JSON is in lines."""
    return _is_lines(path, _first(path, encoding), encoding)


def json_rows(
    path: Path, part: Part | None = None, member: str = "", encoding: str | None = None
) -> Iterator[tuple[int, Payload]]:
    """The rows of JSON of any shape, each with its line, or its number in a list.

    Args:
        path: of a file that is not empty.
        part: of lines, only these.
        member: the name under which an object holds the rows, with dots where it lies deeper.
        encoding: of the file, where it is not UTF-8.

    Raises:
        DataError: if it is no JSON, or holds no row.
    """
    if part is not None:
        return _lines(path, part)
    if member:
        return _numbered(_LIST.decode(_members(path, encoding)[member]))
    first = _first(path, encoding)
    if _is_lines(path, first, encoding):
        return _lines(path, encoding=encoding)
    if first == b"{" and (by_id := _rows_by_id(path, encoding)):
        return _numbered(by_id)
    whole = _document(path, many=first == b"[", encoding=encoding)
    if whole is not None:
        return whole
    named = _is_named_lines(path)
    if not named and (broken := _broken_list(path, first, encoding)) is not None:
        if (salvaged := salvage_rows(broken)) is None:
            begins = "begins as" if first == b"[" else "holds"
            raise DataError(
                f"{path} {begins} a JSON list but is broken: {_fault(path, encoding)}, and where its next row begins "
                "cannot be told; correct that place, or write the rows as JSON lines, of which bad ones are put aside"
            )
        return enumerate(salvaged, 1)
    # With a broken first line it is still lines if its name or a later line says so.
    if named or any(_is_json(line) for _, line in islice(_lines(path, encoding=encoding), _LOOKED_AT)):
        return _lines(path, encoding=encoding)
    raise DataError(f"{path} is neither JSON nor a table: {_fault(path, encoding)}")


def _broken_list(path: Path, first: bytes, encoding: str | None) -> bytes | None:
    """The text of a list that is the file, or ends the object that is the file."""
    if first == b"[":
        return bytes(_map_file(path, encoding))
    if first != b"{":
        return None
    return list_within(bytes(_map_file(path, encoding)), lambda name: name in _HOLDERS or _is_split(name))


def json_members(path: Path, encoding: str | None = None) -> dict[str, int]:
    """Names under which an object holds rows, with their numbers; empty where the file is of another shape."""
    members = {name: rows for name, rows in _lists(path, encoding).items() if "." not in name}
    if not any(name in _HOLDERS or _is_split(name) for name in members):
        return {}
    return {name: len(_LIST.decode(rows)) for name, rows in members.items()}


def json_lists(path: Path, encoding: str | None = None) -> dict[str, int]:
    """All lists of objects that a single object holds, also one below another (``result.traces``), with their sizes.

    A file of one row has such lists too: they are rows only where somebody says so.
    """
    if _is_named_lines(path):
        return {}
    return {name: len(_LIST.decode(rows)) for name, rows in _lists(path, encoding).items()}


def _is_split(name: str) -> bool:
    return _SPLIT.fullmatch(name) is not None


def _lists(path: Path, encoding: str | None) -> dict[str, msgspec.Raw]:
    several = is_lines(path, encoding) and len(list(islice(_lines(path, encoding=encoding), 2))) > 1
    return {} if several or _first(path, encoding) != b"{" else _members(path, encoding)


def unfinished_list(path: Path, encoding: str | None = None) -> bool:
    """Whether the file is a list that breaks off before its end, as a download does; its last rows are then missing."""
    if _first(path, encoding) != b"[":
        return False
    try:
        _LIST.decode(_map_file(path, encoding))
    except JSON_ERRORS as error:
        ends = bytes(_map_file(path, encoding)[-4096:]).rstrip()[-1:]
        return "truncated" in str(error) or ends != b"]"
    return False


def cut_lines(path: Path, size: int) -> list[Part | None]:
    """Lines as parts of about ``size`` bytes, cut at their ends, which are counted on the way."""
    parts: list[Part | None] = []
    start, first = 0, 1
    with path.open("rb") as file:
        while start < path.stat().st_size:
            lines = _count_lines(file, size)
            if next(_bounded_lines(file), b""):
                lines += 1
            parts.append(Part(start, file.tell(), first))
            start, first = file.tell(), first + lines
    return parts


def _first(path: Path, encoding: str | None = None) -> bytes:
    return read_head(path, 4096, encoding).lstrip()[:1]


def _is_lines(path: Path, first: bytes, encoding: str | None) -> bool:
    line = None if first == b"[" else next(_lines(path, encoding=encoding), None)
    if line is None or not (_is_named_lines(path) or _is_json(line[1])):
        return False
    return _is_named_lines(path) or not _rows_by_id(path, encoding)


def _rows_by_id(path: Path, encoding: str | None) -> list[msgspec.Raw]:
    """The rows of an object that holds them by their ids, or as columns by number; empty where it is of another shape.

    JSON lines cost one line here: what follows the first object ends the reading. Numbers of rows that pandas counted
    itself say nothing; others stay as ``index``.

    Raises:
        DataError: if a name stands twice, so that a row or a value would be lost.
    """
    try:
        rows = _as_rows(_FIELDS.decode(_map_file(path, encoding)))
        repeated = load_json(bytes(_map_file(path, encoding)))[1] if rows else 0
    except JSON_ERRORS:
        return []
    if repeated:
        raise DataError(
            f"{path} holds its rows in one object, in which a name stands twice; one of the two would be lost"
        )
    return [msgspec.Raw(msgspec.json.encode(row)) for row in rows]


def _as_rows(held: dict[str, msgspec.Raw]) -> list[dict[str, Any]]:
    """The rows that an object holds, if it holds some: as pandas writes a table, or each under its id."""
    if held.keys() == _SPLIT_TABLE:
        names, rows = _NAMES.decode(held["columns"]), _TABLE.decode(held["data"])
        found: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in rows]
        return _with_index(found, msgspec.json.decode(held["index"]))
    fields = [_FIELDS.decode(value) for value in held.values()]
    shared, all_ = set(fields[0]).intersection(*fields) if fields else set(), set().union(*fields)
    if len(held) > 1 and shared == all_ and all_ and all(name.isdecimal() for name in all_):
        columns = list(zip(held, fields, strict=True))
        found = [{name: column[number] for name, column in columns} for number in fields[0]]
        return _with_index(found, [int(number) for number in fields[0]])
    numbered = len(held) > 1 and all(name.isdecimal() for name in held)
    by_id = numbered or (len(held) >= _LEAST_BY_ID and all(_ID.fullmatch(name) for name in held))
    if not by_id or len(shared) < 2 or 2 * len(shared) < len(all_):
        return []
    return [{("key" if "id" in row else "id"): name, **row} for name, row in zip(held, fields, strict=True)]


def _with_index(rows: list[dict[str, Any]], index: list[Any]) -> list[dict[str, Any]]:
    """Rows with what a table calls them, unless it only counts them."""
    if index == list(range(len(rows))):
        return rows
    return [{"index": name, **row} for name, row in zip(index, rows, strict=True)]


def _is_named_lines(path: Path) -> bool:
    name = path.name.lower()
    for suffix in _PACKED:
        name = name.removesuffix(suffix)
    return name.endswith(_LINES)


def _lines(path: Path, part: Part | None = None, encoding: str | None = None) -> Iterator[tuple[int, Payload]]:
    """The lines that are not empty; in place of one that is too long, what is wrong with it."""
    with open_unpacked(path, encoding) as file:
        lines = _bounded_lines(file)
        for number, line in (
            enumerate(lines, 1) if part is None else enumerate(_lines_of_part(file, lines, part), part.first)
        ):
            if len(line) > LONGEST_ROW:
                yield number, _too_large(line)
                continue
            row = line[len(BOM) :] if line.startswith(BOM) else line
            if row and not row.isspace():  # not stripped: that would copy every row, and JSON allows the line's end
                yield number, row


def _bounded_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; of one that is too long only so much that this is seen."""
    while line := file.readline(LONGEST_ROW + 1):
        rest = line
        while len(rest) > LONGEST_ROW and not rest.endswith(b"\n"):
            rest = file.readline(LONGEST_ROW + 1)
        yield line


def _too_large(begin: bytes) -> RowError:
    return RowError("", "too-large", begin[:200].decode("utf-8", "replace"))


def _lines_of_part(file: IO[bytes], lines: Iterator[bytes], part: Part) -> Iterator[bytes]:
    file.seek(part.start)
    while file.tell() < part.stop and (line := next(lines, b"")):
        yield line


def _count_lines(file: BufferedReader, size: int) -> int:
    """Read on, and count the ends of lines: of ``size`` bytes, or fewer at the end of the file."""
    lines = 0
    block = bytearray(min(size, _BUFFER))  # always the same: memory that is new must be fetched first
    view = memoryview(block)
    while size > 0 and (read := file.readinto(view[: min(size, _BUFFER)])):
        size -= read
        lines += block.count(b"\n", 0, read)
    return lines


def _document(path: Path, *, many: bool, encoding: str | None) -> Iterator[tuple[int, Payload]] | None:
    """The file as one JSON list or one JSON value, or None if it is not one."""
    try:
        rows = _LIST.decode(_map_file(path, encoding)) if many else [_WHOLE.decode(_map_file(path, encoding))]
    except JSON_ERRORS:
        return None
    if not rows:
        raise DataError(f"{path} holds an empty list; at least one row is needed")
    return _numbered(rows)


def _numbered(rows: list[msgspec.Raw]) -> Iterator[tuple[int, Payload]]:
    for number, row in enumerate(rows, 1):
        view = memoryview(row)
        yield number, _too_large(bytes(view[:200])) if len(view) > LONGEST_ROW else bytes(view)


def _members(path: Path, encoding: str | None) -> dict[str, msgspec.Raw]:
    """The lists of objects that one object holds, by their names; of an object in it, with its name and a dot."""
    try:
        fields = _FIELDS.decode(_map_file(path, encoding))
    except JSON_ERRORS:
        return {}
    found: dict[str, msgspec.Raw] = {}
    for name, value in fields.items():
        if _ROWS.match(_begin(value)):
            found[name] = value
        elif _begin(value).lstrip()[:1] == b"{":
            inside = _FIELDS.decode(value)
            found |= {f"{name}.{below}": held for below, held in inside.items() if _ROWS.match(_begin(held))}
    return found


def _begin(value: msgspec.Raw) -> bytes:
    return bytes(memoryview(value)[:4096])


def _map_file(path: Path, encoding: str | None = None) -> memoryview:
    """The bytes of a file, as a map into memory; what is packed or not in UTF-8 is read, and held whole."""
    if is_plain(path, encoding):
        with path.open("rb") as plain:
            view = memoryview(mmap.mmap(plain.fileno(), 0, access=mmap.ACCESS_READ))
    else:
        view = memoryview(read_unpacked(path, encoding))
    return view[len(BOM) :] if view[: len(BOM)] == BOM else view


def _fault(path: Path, encoding: str | None) -> str:
    try:
        _WHOLE.decode(_map_file(path, encoding))
    except JSON_ERRORS as error:
        return str(error)
    return "it is a single value and no row"


def _is_json(line: Payload) -> bool:
    try:
        parse_row(line)
    except RowError as error:
        return error.rule == "not-an-object"
    return True

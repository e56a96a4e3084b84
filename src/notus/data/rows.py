"""Rows out of files, as a stream: JSON lines, one JSON object, a JSON list, each also packed with gzip; Parquet.

Owns what a file is made of, told from its content rather than its name, and how a large one is cut into parts that can
be read side by side. What a row means is owned by the layouts.
"""

import gzip
import mmap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from notus.core.errors import DataError
from notus.core.tables import read_batch, record_kind
from notus.data.quarantine import RowError

__all__ = ["Part", "Payload", "cut", "excerpt", "parsed", "read_rows"]

Payload = bytes | dict[str, Any] | RowError | msgspec.Struct
"""A row as it lies in the file: JSON text, the fields of a Parquet row, what is wrong with it, or a record of ours that
its columns have proven."""

_BOM = b"\xef\xbb\xbf"
_LINES = (".jsonl", ".ndjson")
_PARQUET_ROWS = 256
_OWN_ROWS = 1024
"""Rows of a file of ours that are made into records at once."""
_BUFFER = 1 << 20
_ANY = msgspec.json.Decoder()
_WHOLE = msgspec.json.Decoder(msgspec.Raw)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_FOREIGN = {
    b"\x28\xb5\x2f\xfd": "zstandard: unpack it first",
    b"PK\x03\x04": "zip: unpack it first",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}
_JSON_ERRORS = (ValueError, RecursionError)
_GZIP = b"\x1f\x8b"
_GZIP_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class Part:
    """A part of a file that can be read by itself: lines between two bytes, or whole row groups of Parquet."""

    start: int
    """Byte at which its first line begins, or number of its first row group."""
    stop: int
    """Where the next part begins."""
    first: int
    """Line or number of its first row, counted from 1."""


def cut(path: Path, size: int) -> list[Part | None]:
    """Cut a file into parts of about ``size`` bytes, uncompressed; one that cannot be cut is the single part None.

    JSON lines are cut at the ends of lines, which are counted on the way; Parquet between row groups. What is packed
    is not cut.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        if head.startswith(_GZIP):
            return [None]
        if head.startswith(b"PAR1"):
            return _cut_groups(path, size)
        first = head.removeprefix(_BOM).lstrip()[:1]
        if path.stat().st_size <= size or not _is_lines(path, first, next(_lines(path), None)):
            return [None]
        return _cut_lines(path, size)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def read_rows(
    path: Path, part: Part | None = None, record: type[msgspec.Struct] | None = None
) -> Iterator[tuple[int, Payload]]:
    """The rows of a file, each with its line (JSON lines) or its number (all others), counted from 1.

    Empty lines are passed over; a byte-order mark and Windows line ends do no harm. Only one row is held at a time; a
    JSON list is mapped into memory, not read.

    Args:
        part: read only this part, one of those of ``cut``.
        record: if it is a Parquet file of such records, written by ``core.tables``, give the records at once.

    Raises:
        DataError: if the file is missing, empty, damaged, packed otherwise than with gzip, in UTF-16, or neither JSON
            nor Parquet.
    """
    try:
        with _unpacked(path) as file:
            head = file.read(4096)
            empty = not head.removeprefix(_BOM).strip() and not file.read(1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {what}")
    if head.startswith(b"PAR1"):
        if _is_packed(path):
            raise DataError(f"{path} is Parquet packed with gzip: unpack it first")
        return _parquet(path, part, record)
    if part is not None:
        return _lines(path, part)
    if empty:
        raise DataError(f"{path} is empty; a file with at least one row is needed")
    return _json(path, head.removeprefix(_BOM).lstrip()[:1])


def parsed(payload: Payload) -> dict[str, Any]:
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
    except _JSON_ERRORS as error:
        raise _broken(payload, error) from None
    if not isinstance(row, dict):
        raise RowError("", "not-an-object", row)
    return row


def _broken(payload: bytes, error: Exception) -> RowError:
    try:
        payload.decode()
    except UnicodeDecodeError as fault:
        return RowError("", "wrong-encoding", f"byte {fault.start}: {payload[fault.start]:#04x}")
    return RowError("", "broken-json", excerpt(payload), str(error))


def excerpt(payload: Payload, length: int = 200) -> str:
    """The beginning of a row as text."""
    if isinstance(payload, RowError):
        return ""
    if isinstance(payload, (dict, msgspec.Struct)):
        return repr(payload)[:length]
    return payload[: 4 * length].decode("utf-8", "replace").strip()[:length]


def _json(path: Path, first: bytes) -> Iterator[tuple[int, Payload]]:
    """JSON of one of three shapes. With a broken first line it is still lines if its name or a later line says so."""
    suffixed = _is_named_lines(path)
    line = next(_lines(path), None)
    if line is None:
        raise DataError(f"{path} is empty; a file with at least one row is needed")
    if _is_lines(path, first, line):
        return _lines(path)
    whole = _document(path, many=first == b"[")
    if whole is not None:
        return whole
    if first == b"[" and not suffixed:
        raise DataError(
            f"{path} begins as a JSON list but is broken: {_fault(path)}; as JSON lines its bad rows could be skipped"
        )
    if suffixed or any(_is_json(line) for _, line in islice(_lines(path), 20)):
        return _lines(path)
    raise DataError(f"{path} is neither JSON nor Parquet: {_fault(path)}")


def _is_lines(path: Path, first: bytes, line: tuple[int, Payload] | None) -> bool:
    """Whether the name or the first line says that a file is JSON lines."""
    return first != b"[" and line is not None and (_is_named_lines(path) or _is_json(line[1]))


def _is_named_lines(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(_LINES)


def _lines(path: Path, part: Part | None = None) -> Iterator[tuple[int, Payload]]:
    with _unpacked(path) as file:
        lines = enumerate(file, 1) if part is None else enumerate(_between(file, part), part.first)
        for number, line in lines:
            row = line[len(_BOM) :] if line.startswith(_BOM) else line
            if row and not row.isspace():  # not stripped: that would copy every row, and JSON allows the line's end
                yield number, row


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file for reading, through gzip where it is packed with it.

    Raises:
        DataError: if what is packed is damaged.
    """
    try:
        with gzip.open(path) if _is_packed(path) else path.open("rb", buffering=_BUFFER) as file:
            yield file
    except _GZIP_ERRORS as error:
        raise DataError(f"{path} is damaged: {error}; pack it again") from None


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def _between(file: IO[bytes] | gzip.GzipFile, part: Part) -> Iterator[bytes]:
    file.seek(part.start)
    left = part.stop - part.start
    for line in file:
        if left <= 0:
            return
        left -= len(line)
        yield line


def _cut_lines(path: Path, size: int) -> list[Part | None]:
    parts: list[Part | None] = []
    start, first = 0, 1
    with path.open("rb", buffering=_BUFFER) as file:
        while start < path.stat().st_size:
            lines = _counted(file, size)
            if rest := file.readline():
                lines += rest.endswith(b"\n")
            parts.append(Part(start, file.tell(), first))
            start, first = file.tell(), first + lines
    return parts


def _counted(file: IO[bytes], size: int) -> int:
    """Read on, and count the ends of lines: of ``size`` bytes, or fewer at the end of the file."""
    lines = 0
    while size > 0 and (block := file.read(min(size, _BUFFER))):
        size -= len(block)
        lines += block.count(b"\n")
    return lines


def _cut_groups(path: Path, size: int) -> list[Part | None]:
    parts: list[Part | None] = []
    start, first, held, rows = 0, 1, 0, 0
    with _opened(path) as file:
        for group in range(file.num_row_groups):
            held += file.metadata.row_group(group).total_byte_size
            rows += file.metadata.row_group(group).num_rows
            if held >= size or group == file.num_row_groups - 1:
                parts.append(Part(start, group + 1, first))
                start, first, held, rows = group + 1, first + rows, 0, 0
    return parts or [None]


def _document(path: Path, *, many: bool) -> Iterator[tuple[int, Payload]] | None:
    """The file as one JSON list or one JSON value, or None if it is not one. The rows are views into the map."""
    try:
        rows = _LIST.decode(_mapped(path)) if many else [_WHOLE.decode(_mapped(path))]
    except _JSON_ERRORS:
        return None
    if not rows:
        raise DataError(f"{path} holds an empty list; at least one row is needed")
    return ((number, bytes(memoryview(row))) for number, row in enumerate(rows, 1))


def _mapped(path: Path) -> memoryview:
    """The bytes of a file, as a map into memory; what is packed is unpacked, and held whole."""
    with _unpacked(path) as file:
        packed = isinstance(file, gzip.GzipFile)
        view = memoryview(file.read() if packed else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return view[len(_BOM) :] if view[: len(_BOM)] == _BOM else view


def _fault(path: Path) -> str:
    try:
        _WHOLE.decode(_mapped(path))
    except _JSON_ERRORS as error:
        return str(error)
    return "it is a single value and no row"


def _is_json(line: Payload) -> bool:
    try:
        parsed(line)
    except RowError as error:
        return error.rule == "not-an-object"
    return True


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged: {_first_line(error)}") from None


def _parquet(path: Path, part: Part | None, record: type[msgspec.Struct] | None) -> Iterator[tuple[int, Payload]]:
    file = _opened(path)
    if file.metadata.num_rows == 0:
        raise DataError(f"{path} is empty; a file with at least one row is needed")
    own = record if record is not None and record_kind(path) == record.__name__ else None
    return _parquet_rows(path, file, part, own)


def _parquet_rows(
    path: Path, file: pq.ParquetFile, part: Part | None, own: type[msgspec.Struct] | None
) -> Iterator[tuple[int, Payload]]:
    number = part.first - 1 if part else 0
    groups = range(part.start, part.stop) if part else range(file.num_row_groups)
    rows = _OWN_ROWS if own else _PARQUET_ROWS
    try:
        with file:
            for batch in file.iter_batches(batch_size=rows, row_groups=list(groups), use_threads=False):
                records = read_batch(batch, own) if own else None
                for payload in _batch(batch) if records is None else records:
                    number += 1
                    yield number, payload
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged after row {number}: {_first_line(error)}") from None


def _batch(batch: pa.RecordBatch) -> Iterator[Payload]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):  # one text is no UTF-8: find the row that holds it
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield RowError("", "wrong-encoding", f"byte {error.start}: {error.object[error.start]:#04x}")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]

"""Rows out of files, as a stream: JSON lines, one JSON object, a JSON list, Parquet.

Owns what a file is made of, told from its content rather than its name. What a row means is owned by the layouts.
"""

import mmap
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from notus.core.errors import DataError
from notus.data.quarantine import RowError

__all__ = ["Payload", "excerpt", "parsed", "read_rows"]

Payload = bytes | dict[str, Any] | RowError
"""A row as it lies in the file: JSON text, the fields of a Parquet row, or what is wrong with it."""

_BOM = b"\xef\xbb\xbf"
_LINES = (".jsonl", ".ndjson")
_PARQUET_ROWS = 256
_BUFFER = 1 << 20
_ANY = msgspec.json.Decoder()
_WHOLE = msgspec.json.Decoder(msgspec.Raw)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_FOREIGN = {
    b"\x1f\x8b": "gzip: unpack it first",
    b"\x28\xb5\x2f\xfd": "zstandard: unpack it first",
    b"PK\x03\x04": "zip: unpack it first",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}
_JSON_ERRORS = (ValueError, RecursionError)


def read_rows(path: Path) -> Iterator[tuple[int, Payload]]:
    """The rows of a file, each with its line (JSON lines) or its number (all others), counted from 1.

    Empty lines are passed over; a byte-order mark and Windows line ends do no harm. Only one row is held at a time; a
    JSON list is mapped into memory, not read.

    Raises:
        DataError: if the file is missing, empty, compressed, in UTF-16, or neither JSON nor Parquet.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {what}")
    if head.startswith(b"PAR1"):
        return _parquet(path)
    start = head.removeprefix(_BOM).lstrip()
    if not start and path.stat().st_size <= len(head):
        raise DataError(f"{path} is empty; a file with at least one row is needed")
    return _json(path, start[:1])


def parsed(payload: Payload) -> dict[str, Any]:
    """The row as an object.

    Raises:
        RowError: if it is no UTF-8, no JSON or no object.
    """
    if isinstance(payload, RowError):
        raise payload
    if isinstance(payload, dict):
        return payload
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
    if isinstance(payload, dict):
        return repr(payload)[:length]
    return payload[: 4 * length].decode("utf-8", "replace").strip()[:length]


def _json(path: Path, first: bytes) -> Iterator[tuple[int, Payload]]:
    """JSON of one of three shapes. With a broken first line it is still lines if its name or a later line says so."""
    suffixed = path.suffix.lower() in _LINES
    line = next(_lines(path), None)
    if line is None:
        raise DataError(f"{path} is empty; a file with at least one row is needed")
    if first != b"[" and (suffixed or _is_json(line[1])):
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


def _lines(path: Path) -> Iterator[tuple[int, Payload]]:
    with path.open("rb", buffering=_BUFFER) as file:
        for number, line in enumerate(file, 1):
            row = line[len(_BOM) :] if line.startswith(_BOM) else line
            if row and not row.isspace():  # not stripped: that would copy every row, and JSON allows the line's end
                yield number, row


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
    with path.open("rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
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


def _parquet(path: Path) -> Iterator[tuple[int, Payload]]:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged: {_first_line(error)}") from None
    if file.metadata.num_rows == 0:
        raise DataError(f"{path} is empty; a file with at least one row is needed")
    return _parquet_rows(path, file)


def _parquet_rows(path: Path, file: pq.ParquetFile) -> Iterator[tuple[int, Payload]]:
    number = 0
    try:
        with file:
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for payload in _batch(batch):
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

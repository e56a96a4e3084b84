"""Rows out of columns: Parquet, and Arrow's streams and files, which Feather and ``save_to_disk`` of datasets are, too.

Owns how they are opened, cut and made into rows. Only Parquet that Notus itself wrote is read as finished records at
once.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from notus.core.errors import DataError
from notus.core.tables import columns_without, read_batch, record_kind, schema_of
from notus.formats.files.packed import check_expansion
from notus.formats.files.payload import ROWS_AT_ONCE, Part, Payload
from notus.formats.quarantine import RowError

__all__ = ["arrow_rows", "cut_groups", "is_arrow", "is_parquet", "own_batches", "own_rows", "parquet_rows"]

_OWN_ROWS = 1024
"""Rows of a file of ours that are made into records at once, at most."""
_TOGETHER = 64 << 20
"""Bytes that rows read at once unpack to, about."""
_FILE = b"ARROW1"
_STREAM = b"\xff\xff\xff\xff"


def is_parquet(head: bytes) -> bool:
    """Whether a file that begins so is Parquet."""
    return head.startswith(b"PAR1")


def is_arrow(head: bytes) -> bool:
    """Whether a file that begins so is Arrow's stream or file."""
    return head.startswith((_FILE, _STREAM))


def parquet_rows(
    path: Path, part: Part | None, record: type[msgspec.Struct] | None, without: frozenset[str] = frozenset()
) -> Iterator[tuple[int, Payload]]:
    """The rows of a Parquet file, or the records of one of ours, each with its number.

    Args:
        path: the file.
        part: only these groups.
        record: what it is read as, if it is a file of such records.
        without: fields of the records that are not read; see ``core.tables.read_records``.

    Raises:
        DataError: if it is damaged, or has no row.
    """
    file = _open_parquet(path)
    if file.metadata.num_rows == 0:
        raise DataError(f"{path} is empty; a file with at least one row is needed")
    groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    check_expansion(path, sum(group.total_byte_size for group in groups))
    own = record if record is not None and record_kind(path) == record.__name__ else None
    return _parquet_rows(path, file, part, own, without if own else frozenset())


def own_rows(path: Path, part: Part | None, record: type[msgspec.Struct]) -> int | None:
    """Rows of a file or a part of one; None where it is no Parquet of ours with the columns that are written today."""
    with path.open("rb") as head:
        if not is_parquet(head.read(4)) or record_kind(path) != record.__name__:
            return None
    with _open_parquet(path) as file:
        groups = range(part.start, part.stop) if part else range(file.num_row_groups)
        rows = sum(file.metadata.row_group(group).num_rows for group in groups)
        return rows if file.schema_arrow.equals(schema_of(record)) else None


def own_batches(path: Path, part: Part | None, name: str) -> Iterator[pa.RecordBatch]:
    """Records of such a file as columns; ``name`` and its number are the place of a row that does not say its own.

    Raises:
        DataError: if it is damaged.
    """
    number = part.first - 1 if part else 0
    try:
        with _open_parquet(path) as file:
            groups = range(part.start, part.stop) if part else range(file.num_row_groups)
            for batch in file.iter_batches(batch_size=_OWN_ROWS, row_groups=list(groups), use_threads=False):
                yield _placed(batch, name, number + 1)
                number += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged after row {number}: {_first_line(error)}") from None


def _placed(batch: pa.RecordBatch, name: str, first: int) -> pa.RecordBatch:
    """The batch with a file and a line in each row."""
    import pyarrow.compute as pc  # slow to import, and few files are copied as columns

    bare = pc.equal(batch["file"], "")
    if not pc.any(bare).as_py():
        return batch
    lines = pa.array(range(first, first + batch.num_rows), batch["line"].type)
    own = {"line": lines, "file": pa.scalar(name, batch["file"].type)}
    columns = [
        pc.if_else(bare, own[field.name], batch[field.name]) if field.name in own else batch[field.name]
        for field in batch.schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def cut_groups(path: Path, size: int) -> list[Part | None]:
    """Parquet as parts of about ``size`` bytes, uncompressed, cut between row groups."""
    parts: list[Part | None] = []
    start, first, held, rows = 0, 1, 0, 0
    with _open_parquet(path) as file:
        for group in range(file.num_row_groups):
            held += file.metadata.row_group(group).total_byte_size
            rows += file.metadata.row_group(group).num_rows
            if held >= size or group == file.num_row_groups - 1:
                parts.append(Part(start, group + 1, first))
                start, first, held, rows = group + 1, first + rows, 0, 0
    return parts or [None]


def arrow_rows(path: Path) -> Iterator[tuple[int, Payload]]:
    """The rows of an Arrow stream or file, each with its number; batch by batch, and not mapped: damage would crash.

    Raises:
        DataError: if it is damaged, or has no row.
    """
    try:
        number, held = 0, 0
        with pa.OSFile(str(path)) as file:
            for batch in _batches(file):
                _check_places(batch)
                held += batch.nbytes
                check_expansion(path, held)
                for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                    for payload in _batch(batch.slice(start, ROWS_AT_ONCE)):
                        number += 1
                        yield number, payload
    except (OSError, pa.ArrowException, SystemError) as error:
        raise DataError(f"{path} is damaged after row {number}: {_first_line(error)}") from None
    if not number:
        raise DataError(f"{path} is empty; a file with at least one row is needed")


def _check_places(batch: pa.RecordBatch) -> None:
    """Refuse columns that say that a value lies where there is none; which text is no UTF-8 is told row by row.

    Raises:
        pa.ArrowInvalid: if they do.
    """
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise


def _batches(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    if file.read(len(_FILE)) == _FILE:
        reader = pa.ipc.open_file(file)
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
    else:
        file.seek(0)
        yield from pa.ipc.open_stream(file)


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged: {_first_line(error)}") from None


def _parquet_rows(
    path: Path, file: pq.ParquetFile, part: Part | None, own: type[msgspec.Struct] | None, without: frozenset[str]
) -> Iterator[tuple[int, Payload]]:
    before = number = part.first - 1 if part else 0
    groups = range(part.start, part.stop) if part else range(file.num_row_groups)
    # Of what is packed beyond all that texts are, a value may stand in each row, and a row may be all that fits.
    rows = _rows_at_once(path, file, groups, _OWN_ROWS if own else ROWS_AT_ONCE)
    columns = columns_without(file, own, without) if own else None
    held = 0
    try:
        with file:
            for batch in file.iter_batches(
                batch_size=rows, row_groups=list(groups), columns=columns, use_threads=False
            ):
                held += batch.nbytes
                check_expansion(path, held)
                records = read_batch(batch, own, without) if own else None
                if records is None and without:  # a row is to be looked at by itself, and as a whole
                    whole = _parquet_rows(path, _open_parquet(path), part, own, frozenset())
                    yield from islice(whole, number - before, None)
                    return
                for payload in _batch(batch) if records is None else records:
                    number += 1
                    yield number, payload
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged after row {number}: {_first_line(error)}") from None


def _rows_at_once(path: Path, file: pq.ParquetFile, groups: range, most: int) -> int:
    """How many rows are unpacked together: about 64 MiB of them, and one where a group is packed beyond all texts.

    Only what a group says of itself is asked: pyarrow ends the process where a damaged column's figures are asked for.
    """
    packed = path.stat().st_size
    for group in groups:
        about = file.metadata.row_group(group)
        size = about.total_byte_size
        if size > max(1 << 20, 100 * packed):
            return 1
        most = min(most, max(1, _TOGETHER * about.num_rows // max(1, size)))
    return most


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

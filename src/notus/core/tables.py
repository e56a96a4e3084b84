"""Tables: records and plain rows as Parquet, with a schema that follows from the type.

Owns the files: atomic, repeatable writing, and validated reading. How values get into columns is owned by
``core.columns``, what a column means by the record; reading the layouts of others is the business of
``formats.source``.

A large table is a folder under the name that the file would have, with the parts ``00000.parquet``, ``00001.parquet``
…, which processes write side by side (``part_path``). All that reads a table reads either.

Equal rows give equal bytes under one version of pyarrow: nothing in the file depends on time, machine or path.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import msgspec.inspect as kinds
import pyarrow as pa
import pyarrow.parquet as pq

from notus.core.columns import arrow_type, computed_columns, from_columns, leaves, optional, to_columns
from notus.core.disk.outputs import sync, sync_folder
from notus.core.errors import DataError, cannot_write

__all__ = [
    "columns_without",
    "count_rows",
    "from_row",
    "part_path",
    "parts_of",
    "read_at",
    "read_batch",
    "read_columns",
    "read_records",
    "read_table",
    "record_kind",
    "schema_of",
    "table_exists",
    "to_row",
    "write_columns",
    "write_records",
    "write_table",
]

T = TypeVar("T")

_CHUNK = 2048
"""Rows per row group: what is held in memory while a table is written or read."""
_KIND = b"notus.record"
_ARROW_ERRORS = (pa.ArrowException, UnicodeError, OverflowError)


def write_records(path: Path, records: Iterable[T], type: type[T]) -> int:  # noqa: A002
    """Write records of one type as Parquet, atomically and as a stream; the number of records is returned.

    Values of ``dict`` and ``Any`` fields become JSON text; a NaN inside them is written as null.

    Raises:
        DataError: if the file cannot be written, or a value has no place in its column (a lone surrogate in a text,
            an integer beyond 64 bits, something that is not JSON).
    """
    schema = schema_of(type)
    rows = iter(records)
    count = 0
    with _atomic_path(path) as part, _writer(part, schema) as writer:
        while chunk := list(islice(rows, _CHUNK)):
            try:
                table = pa.Table.from_arrays(to_columns(chunk, type), schema=schema)
            except (*_ARROW_ERRORS, TypeError) as error:
                raise DataError(f"{path}: a {type.__name__} cannot be written as Parquet: {_line(error)}") from None
            writer.write_table(table)
            count += len(chunk)
    return count


def read_records(path: Path, type: type[T], *, without: Collection[str] = ()) -> Iterator[T]:  # noqa: A002
    """Read records that ``write_records`` wrote, validated, as a stream.

    Args:
        path: a file, or a folder of parts.
        without: dotted names of fields that are not read and take their defaults, a text without one is empty: for
            example ``completions.ratings.rationale``. What needs no texts does not pay for them. Such records are not
            to be written again.

    Raises:
        DataError: at once if the file is missing or no Parquet; while iterating if a row does not hold such a record.
        TypeError: at once, if a field of ``without`` is none of the type's, or neither has a default nor is a text.
    """
    leaves(type, frozenset(without))  # an error comes at once; so the first is opened now
    first, *others = parts_of(path)
    return _records([(first, _open(first))], others, type, frozenset(without))


def read_at(path: Path, type: type[T], places: Sequence[int]) -> list[T]:  # noqa: A002
    """The records at some places of a table, counted from 0, in the order of the places; only their groups are read.

    Raises:
        DataError: if a file is missing or no Parquet, a row does not hold such a record, or the table ends before.
    """
    found: dict[int, T] = {}
    start = 0
    for part in parts_of(path):
        first = start
        with _open(part) as file:
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                inside = sorted({place for place in places if start <= place < stop})
                if inside:
                    with _damaged(part):
                        rows = file.read_row_group(group, use_threads=False).take([place - start for place in inside])
                    numbers = [place - first for place in inside]
                    found |= zip(
                        inside, _read_rows(part, numbers, rows.combine_chunks().to_batches()[0], type), strict=True
                    )
                start = stop
    missing = sorted(set(places) - found.keys())
    if missing:
        raise DataError(f"{path} has {start:,} rows; there is none at place {missing[0]:,}, counted from 0")
    return [found[place] for place in places]


def read_columns(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table as columns, all at once.

    Args:
        path: a file, or a folder of parts.
        columns: names of those that are read; None reads all.

    Raises:
        DataError: if a file is missing or no Parquet.
    """
    with _damaged(path):
        parts = [_open(part).read(list(columns) if columns else None, use_threads=False) for part in parts_of(path)]
        return pa.concat_tables(parts)


def write_columns(path: Path, tables: Iterable[pa.Table], type: type[Any]) -> int:  # noqa: A002
    """Write columns of records, one table after another, as ``write_records`` writes the records: the same bytes.

    Raises:
        DataError: if the file cannot be written, or the columns are not those of the type.
    """
    schema = schema_of(type)
    count, waiting = 0, schema.empty_table()
    with _atomic_path(path) as part, _writer(part, schema) as writer:
        for table in tables:
            try:
                waiting = pa.concat_tables([waiting, table.cast(schema)])
            except (*_ARROW_ERRORS, ValueError) as error:
                raise DataError(f"{path}: these are not the columns of {type.__name__}: {_line(error)}") from None
            full = len(waiting) - len(waiting) % _CHUNK
            if full:
                writer.write_table(waiting.slice(0, full), row_group_size=_CHUNK)
            waiting = waiting.slice(full)
            count += len(table)
        if len(waiting):
            writer.write_table(waiting)
    return count


def read_batch(batch: pa.RecordBatch, type: type[T], without: frozenset[str] = frozenset()) -> list[T] | None:  # noqa: A002
    """The records of a batch of a file that ``write_records`` wrote; None where a row is to be looked at by itself.

    Args:
        without: as ``read_records`` has it.
    """
    return from_columns(batch, type, without)


def columns_without(file: pq.ParquetFile, type: type[Any], without: frozenset[str]) -> list[str] | None:  # noqa: A002
    """The columns of a file that hold a type but for some fields; None for all."""
    known = _names(file)
    return [name for name in leaves(type, without) if name in known] if without else None


def part_path(path: Path, number: int, of: int) -> Path:
    """Where part ``number`` of a table lies; the only part is the file itself. The folder is made."""
    if of == 1:
        return path
    path.mkdir(exist_ok=True)
    return path / f"{number:05d}.parquet"


def parts_of(path: Path) -> list[Path]:
    """The files of a table, in order: its parts where it is a folder, and otherwise itself.

    Raises:
        DataError: if the folder holds no part.
    """
    if not path.is_dir():
        return [path]
    found = sorted(part for part in path.glob("*.parquet") if not part.name.startswith("."))
    if not found:
        raise DataError(f"{path} is a folder without a part of a table in it")
    return found


def table_exists(path: Path) -> bool:
    """Whether a table lies there, in one file or in parts."""
    return path.is_file() or (path.is_dir() and any(path.glob("*.parquet")))


def count_rows(path: Path) -> int:
    """How many rows a table has, in one file or in parts, as its files say; no row is read.

    Raises:
        DataError: if a file is missing or damaged.
    """
    total = 0
    for part in parts_of(path):
        with _open(part) as file:
            total += int(file.metadata.num_rows)
    return total


def write_table(path: Path, rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]) -> int:
    """Write plain rows, or whole columns (NumPy arrays too), as Parquet, atomically; the number of rows is returned.

    The columns are the union of the rows' keys, in the order in which they first appear; a missing value is null.

    Raises:
        DataError: if the file cannot be written, or a column mixes types.
    """
    columns = dict(rows) if isinstance(rows, Mapping) else _columns(rows)
    try:
        table = pa.table(columns)
    except (*_ARROW_ERRORS, TypeError) as error:
        raise DataError(f"{path}: the rows cannot be written as Parquet: {_line(error)}") from None
    with _atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd", row_group_size=65536, write_page_checksum=True)
    return int(table.num_rows)


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read a Parquet file as plain rows, all at once.

    Raises:
        DataError: if the file is missing or no Parquet.
    """
    with _damaged(path):
        rows: list[dict[str, Any]] = [row for part in parts_of(path) for row in _open(part).read().to_pylist()]
    return rows


def record_kind(path: Path) -> str | None:
    """Name of the record type that ``write_records`` noted in the file, or None when it is another Parquet file.

    Raises:
        DataError: if the file is missing or no Parquet.
    """
    name = (_open(parts_of(path)[0]).schema_arrow.metadata or {}).get(_KIND)
    return name.decode() if name else None


def schema_of(type: type[Any]) -> pa.Schema:  # noqa: A002
    """The Arrow schema of a record type or a dataclass.

    The file notes the name of the type, or the one in its class variable ``STORED_AS``, so that a class may be renamed
    and its files stay the same.

    Raises:
        TypeError: if a field has a type that no column can hold.
    """
    info = kinds.type_info(type)
    if not isinstance(info, (kinds.StructType, kinds.DataclassType)):
        raise TypeError(f"{type.__name__} is neither a record nor a dataclass; its fields give the columns")
    fields = [(name, pa.string()) for name in computed_columns(type)]
    fields += [(field.encode_name, arrow_type(field.type)) for field in info.fields]
    return pa.schema(fields, metadata={_KIND: getattr(type, "STORED_AS", type.__name__).encode()})


def to_row(record: object) -> dict[str, Any]:
    """The record as a row of plain values, as it stands in the table."""
    row: dict[str, Any] = _coders(type(record))[0](record)
    return {name: getattr(record, name) for name in computed_columns(type(record))} | row


def from_row(row: Mapping[str, Any], type: type[T]) -> T:  # noqa: A002
    """The record that a row holds, validated. ``dict`` fields may stand as JSON text or as an object.

    Raises:
        msgspec.ValidationError: if the row does not hold such a record.
    """
    try:
        if computed := computed_columns(type):
            row = {key: value for key, value in row.items() if key not in computed}
        return msgspec.convert(_coders(type)[1](row), type)
    except (OverflowError, RecursionError) as error:
        raise msgspec.ValidationError(str(error)) from None


def _records(
    opened: list[tuple[Path, pq.ParquetFile]],
    others: list[Path],
    type: type[T],  # noqa: A002
    without: frozenset[str],
) -> Iterator[T]:
    for path, file in chain(opened, ((path, _open(path)) for path in others)):
        number = 0
        with file:
            for batch in _batches(path, file, columns_without(file, type, without)):
                found = from_columns(batch, type, without)
                yield from _records_row_by_row(path, number, batch, type) if found is None else found
                number += batch.num_rows


def _batches(path: Path, file: pq.ParquetFile, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    batches = file.iter_batches(batch_size=_CHUNK, columns=columns, use_threads=False)
    while True:
        with _damaged(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Name the file in what pyarrow says of bytes that it cannot read, such as a page that fails its checksum."""
    try:
        yield
    except (OSError, *_ARROW_ERRORS) as error:
        raise DataError(f"{path} is damaged: {_line(error)}") from None


def _records_row_by_row(path: Path, number: int, batch: pa.RecordBatch, type: type[T]) -> Iterator[T]:  # noqa: A002
    """The records of a batch row by row, so that what is wrong can be named."""
    for row in batch.to_pylist():
        number += 1
        try:
            yield from_row(row, type)
        except msgspec.ValidationError as error:
            raise DataError(f"{path}, row {number}: no {type.__name__}: {error}") from None


def _read_rows(path: Path, numbers: list[int], batch: pa.RecordBatch, type: type[T]) -> list[T]:  # noqa: A002
    """The records of a batch whose rows lie apart in the file, at ``numbers``."""
    records = from_columns(batch, type)
    if records is not None:
        return records
    rows = (_records_row_by_row(path, number, batch.slice(index, 1), type) for index, number in enumerate(numbers))
    return [record for row in rows for record in row]


def _names(file: pq.ParquetFile) -> set[str]:
    return {file.schema.column(index).path for index in range(len(file.schema.names))}


_CODERS: dict[object, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}
"""Type → its encoder and decoder: they are made once, not for every row."""


def _coders(type: type[Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:  # noqa: A002
    if type not in _CODERS:
        info = kinds.type_info(type)
        _CODERS[type] = (_encoder(info), _decoder(info))
    return _CODERS[type]


def _encoder(info: kinds.Type) -> Callable[[Any], Any]:
    """A function from a value of the type to what pyarrow takes."""
    if isinstance(info, kinds.UnionType):
        inner = _encoder(optional(info))
        return lambda value: None if value is None else inner(value)
    if isinstance(info, (kinds.StructType, kinds.DataclassType)):
        parts = [(field.name, field.encode_name, _encoder(field.type)) for field in info.fields]
        return lambda value: {column: encode(getattr(value, name)) for name, column, encode in parts}
    if isinstance(info, (kinds.VarTupleType, kinds.ListType)):
        item = _encoder(info.item_type)
        return lambda value: [item(part) for part in value]
    if isinstance(info, (kinds.DictType, kinds.AnyType)):
        return lambda value: msgspec.json.encode(value).decode()
    return _as_is


def _decoder(info: kinds.Type) -> Callable[[Any], Any]:
    """A function from a column's value to plain values that ``msgspec.convert`` takes; what is amiss is left to it."""
    if isinstance(info, kinds.UnionType):
        return _decoder(optional(info))
    if isinstance(info, (kinds.StructType, kinds.DataclassType)):
        parts = {field.encode_name: _decoder(field.type) for field in info.fields}
        return lambda value: (
            {key: parts.get(key, _as_is)(part) for key, part in value.items()} if isinstance(value, Mapping) else value
        )
    if isinstance(info, (kinds.VarTupleType, kinds.ListType)):
        item = _decoder(info.item_type)
        return lambda value: [item(part) for part in value] if isinstance(value, list) else value
    return _parse_json if isinstance(info, (kinds.DictType, kinds.AnyType)) else _as_is


def _as_is(value: Any) -> Any:
    return value


def _parse_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except ValueError as error:
        raise msgspec.ValidationError(f"a column of JSON holds {value[:40]!r}: {error}") from None


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(key for row in rows for key in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except OSError as error:
        raise DataError(f"cannot read {path}: {_reason(error)}") from None
    except _ARROW_ERRORS as error:
        raise DataError(f"{path} is no Parquet file: {_line(error)}") from None


@contextmanager
def _atomic_path(path: Path) -> Iterator[Path]:
    """A path to write to; the file appears under its own name only when it is complete."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        sync(part)
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        _remove(part)
        raise cannot_write(path, error) from None
    except BaseException:
        _remove(part)
        raise


def _remove(part: Path) -> None:
    with suppress(OSError):  # where it could not be made, there is nothing to remove
        part.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    """What the system says, without the path that pyarrow puts before it."""
    return os.strerror(error.errno) if error.errno else _line(error)


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]

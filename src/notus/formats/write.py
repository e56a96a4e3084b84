"""Writing the formats of others: records → rows, and rows → a file.

What is written reads back as the same record: each row is read again, from its JSON, by the reader of its format before
it is given out. A record for which that does not hold is dropped as ``no-place``, with the fields that got lost.

| format | rows of | columns of the format | what it cannot hold |
|---|---|---|---|
| `trl` | pairs | prompt[], chosen[], rejected[] | (a) |
| `trl-implicit` | pairs | chosen[], rejected[] | (a), (b) |
| `h4` | pairs | prompt, prompt_id, chosen[], rejected[], messages[] | (a), (b), (c) |
| `argilla-cleaned` | pairs | prompt, chosen[], rejected[], …-rating, …-model | (a), (b), (c) |
| `argilla` | pairs | instruction, …_response, …_avg_rating, chosen_model | more than one user's turn and one answer |
| `trl-unpaired` | answers with a label | prompt[], completion[], label | nothing |
| `ultrachat` | dialogues | prompt, prompt_id, messages[] | nothing |
| `trl-sft` | dialogues | messages[] | nothing |
| `trl-prompt-completion` | dialogues | prompt[], completion[] | one without a prompt, or that ends with it |
| `trl-grpo` | dialogues | prompt[], checks | one that ends with an answer, or without checks as in IFEval |
| `ultrafeedback` | feedback | see its family | a prompt of several turns, an aspect rated twice |

(a) an answer that does not begin with the assistant; (b) answers that begin with the same turn and go on after it, and
a prompt that begins with the assistant: where the prompt ends is lost; (c) a prompt without a user's turn.

Messages are written as they were read: thoughts as the field or the block that they were, calls of tools, content parts
and whatever else a message held; a text of ``argilla`` holds no more than a block of thoughts.

For all of them: a further column with the name of one of the format's, a text that is no UTF-8 (a lone surrogate), and
numbers that JSON does not know (NaN, infinity). Where the format has no column for a field of ours (score, source,
models, feedback_id), it follows as a further column under our name; ``extra`` follows column by column. A Parquet file
moreover gives every row every column, and every object in a column the union of the keys.

Owns the promise that what is written reads back, and the files. How a record becomes a row is owned by the formats.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from notus.core.errors import ConfigError, DataError, cannot_write, nearest
from notus.core.run import atomic
from notus.core.stage import Stage, Tally
from notus.formats.format import Data, NoPlaceError, Row, record_id
from notus.formats.lookup import format_named
from notus.formats.quarantine import RowError
from notus.formats.registry import FORMATS
from notus.formats.source import write_jsonl

__all__ = ["NO_PLACE", "Writer", "encode_row", "encode_rows", "write_parquet", "writer_named"]

NO_PLACE = "no-place-"
"""Begins the counts of fields that a format does not hold."""
_CHUNK = 1024
_PLACE = ("file", "line")
_NO_JSON = (ValueError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Writer:
    """What writes records of one kind as rows of a format, and reads them again."""

    name: str
    record: type[Data]
    encode: Callable[[Any], Row]
    decode: Callable[[Row], Data]


def writer_named(name: str) -> Writer:
    """The writer of a format.

    Raises:
        ConfigError: if there is no format of that name that can be written, with the nearest.
    """
    found = format_named(name)
    if found.encode is None or found.record is None:
        known = [each.name for each in FORMATS.values() if each.encode is not None]
        raise ConfigError(f"no writer of the format '{name}'; {nearest(name, known)}")
    return Writer(name, found.record, found.encode, found.decode)


def encode_row(record: Data, name: str) -> Row:
    """The record as a row of a format that reads back as the same record.

    Raises:
        ConfigError: if there is no format of that name that can be written.
        DataError: if the format is for other records, or has no place for something in this one.
    """
    return _encode(record, writer_named(name))


def encode_rows(name: str) -> Stage[Data, Row]:
    """A stage that makes rows of a format; what the format cannot hold is dropped as ``no-place``, with the reason.

    Counted are the fields that have no place, behind ``NO_PLACE``; ``row`` where it is the whole of it.

    Raises:
        ConfigError: at once, if there is no format of that name that can be written.
    """
    writer = writer_named(name)

    def stage(records: Iterable[Data], tally: Tally) -> Iterator[Row]:
        for record in records:
            try:
                yield _encode(record, writer)
            except DataError as error:
                if not isinstance(record, writer.record):
                    raise
                tally.drop(record_id(record), "no-place", str(error), at=record)
                for field in error.fields if isinstance(error, NoPlaceError) else ("row",):
                    tally.count(f"{NO_PLACE}{field}")

    return stage


def _encode(record: Data, writer: Writer) -> Row:
    if not isinstance(record, writer.record):
        kind = writer.record.__name__
        raise DataError(f"the format '{writer.name}' is written from {kind}, and this is a {type(record).__name__}")
    row = writer.encode(record)
    try:
        plain = msgspec.convert(msgspec.to_builtins(record), writer.record)
        again = writer.decode(msgspec.json.decode(msgspec.json.encode(row)))
    except RowError as error:
        at = re.split(r"[.\[]", error.field)[0] or "row"
        raise NoPlaceError(f"the format '{writer.name}' has no place for this: {error}", [at]) from None
    except _NO_JSON as error:
        raise DataError(f"the format '{writer.name}' is JSON, and this is none: {error}") from None
    # Where a record stood in what was read is not what it says.
    fields = (field for field in plain.__struct_fields__ if field not in _PLACE)
    if lost := [field for field in fields if getattr(plain, field) != getattr(again, field)]:
        raise NoPlaceError(f"the format '{writer.name}' does not hold the record's {', '.join(lost)}", lost)
    return row


def write_parquet(path: Path, rows: Iterable[Row]) -> int:
    """Write rows as Parquet, atomically; the number of rows is returned.

    The rows go through a file of JSON lines beside it, because the columns are known only when all rows were seen;
    memory does not grow with their number.

    Raises:
        DataError: if the file cannot be written, there is no row, or a column mixes types.
    """
    lines = path.with_name(f".{path.name}.jsonl")
    count = write_jsonl(lines, rows)
    try:
        if not count:
            raise DataError(f"{path}: there is no row to write")
        schema = pa.unify_schemas((table.schema for table in _tables(lines)), promote_options="permissive")
        with (
            atomic(path, "wb") as file,
            pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
        ):
            for table in _tables(lines, schema):
                writer.write_table(table)
    except (pa.ArrowException, OverflowError) as error:
        what = str(error).strip().partition("\n")[0]
        raise DataError(f"{path}: the rows cannot be written as Parquet: {what}; write JSON lines instead") from None
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        lines.unlink(missing_ok=True)
    return count


def _tables(lines: Path, schema: pa.Schema | None = None) -> Iterator[pa.Table]:
    with lines.open("rb") as file:
        while chunk := [msgspec.json.decode(line) for line in islice(file, _CHUNK)]:
            names = dict.fromkeys(name for row in chunk for name in row)
            # Of a chunk without a schema all rows count, not only the first, which names the columns by itself.
            full = chunk if schema else [{name: row.get(name) for name in names} for row in chunk]
            yield pa.Table.from_pylist(full, schema=schema)

"""Writing the layouts of others: records → rows, and rows → a file. The list is ``WRITERS``.

What is written reads back as the same record: each row is read again, from its JSON, by the reader of its layout before
it is given out. A record for which that does not hold is dropped as ``no-place``, with the fields that got lost.

| layout | rows of | columns of the layout | what it cannot hold |
|---|---|---|---|
| `trl` | pairs | prompt[], chosen[], rejected[] | (a) |
| `trl-implicit` | pairs | chosen[], rejected[] | (a), (b) |
| `h4` | pairs | prompt, prompt_id, chosen[], rejected[], messages[] | (a), (b), (c) |
| `argilla-cleaned` | pairs | prompt, chosen[], rejected[], …-rating, …-model | (a), (b), (c) |
| `argilla` | pairs | instruction, …_response, …_avg_rating, chosen_model | more than one user's turn and one answer |
| `trl-unpaired` | answers with a label | prompt[], completion[], label | nothing |
| `ultrachat` | dialogues | prompt, prompt_id, messages[] | nothing |
| `ultrafeedback` | feedback | see ``data.ultrafeedback`` | a prompt of several turns, an aspect rated twice |

(a) an answer that does not begin with the assistant; (b) answers that begin with the same turn and go on after it, and
a prompt that begins with the assistant: where the prompt ends is lost; (c) a prompt without a user's turn.

For all of them: a further column with the name of one of the layout's, a text that is no UTF-8 (a lone surrogate), and
numbers that JSON does not know (NaN, infinity). Where the layout has no column for a field of ours (score, source,
models, feedback_id), it follows as a further column under our name; ``extra`` follows column by column. A Parquet file
moreover gives every row every column, and every object in a column the union of the keys.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from notus.core.errors import ConfigError, DataError, nearest
from notus.core.records import Dialogue, Feedback, Message, Preference, Unpaired, digest
from notus.core.run import atomic
from notus.core.stage import Stage, Tally
from notus.data.layouts import LAYOUTS, Data
from notus.data.layouts_pairs import ARGILLA, ARGILLA_CLEANED, OURS, h4_prompt_id
from notus.data.quarantine import RowError
from notus.data.sources import write_jsonl
from notus.data.ultrafeedback import to_ultrafeedback

__all__ = ["WRITERS", "Writer", "row_of", "write_layout", "write_parquet", "writer_named"]

Row = dict[str, Any]
_CHUNK = 1024
_NO_JSON = (ValueError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Writer:
    """How records of one kind become rows of one layout."""

    record: type[Data]
    encode: Callable[[Any], Row]


def writer_named(layout: str) -> Writer:
    """The writer of a layout.

    Raises:
        ConfigError: if there is none, with the nearest.
    """
    if layout not in WRITERS:
        raise ConfigError(f"no writer of the layout '{layout}'; {nearest(layout, WRITERS)}")
    return WRITERS[layout]


def row_of(record: Data, layout: str) -> Row:
    """The record as a row that reads back as the same record.

    Raises:
        ConfigError: if there is no writer of that layout.
        DataError: if the layout is for other records, or has no place for something in this one.
    """
    writer = writer_named(layout)
    if not isinstance(record, writer.record):
        raise DataError(
            f"the layout '{layout}' is written from {writer.record.__name__}, and this is a {type(record).__name__}"
        )
    row = writer.encode(record)
    try:
        plain = msgspec.convert(msgspec.to_builtins(record), writer.record)
        again = LAYOUTS[layout].decode(msgspec.json.decode(msgspec.json.encode(row)))
    except RowError as error:
        raise DataError(f"the layout '{layout}' has no place for this: {error}") from None
    except _NO_JSON as error:
        raise DataError(f"the layout '{layout}' is JSON, and this is none: {error}") from None
    if lost := [name for name in plain.__struct_fields__ if getattr(plain, name) != getattr(again, name)]:
        raise DataError(f"the layout '{layout}' does not hold the record's {', '.join(lost)}")
    return row


def write_layout(layout: str) -> Stage[Data, Row]:
    """A stage that makes rows of a layout; what the layout cannot hold is dropped as ``no-place``, with the reason.

    Raises:
        ConfigError: at once, if there is no writer of that layout.
    """
    writer = writer_named(layout)

    def stage(records: Iterable[Data], tally: Tally) -> Iterator[Row]:
        for record in records:
            try:
                yield row_of(record, layout)
            except DataError as error:
                if not isinstance(record, writer.record):
                    raise
                tally.drop(_id(record), "no-place", str(error))

    return stage


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
        with atomic(path, "wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for table in _tables(lines, schema):
                writer.write_table(table)
    except (pa.ArrowException, OverflowError) as error:
        what = str(error).strip().partition("\n")[0]
        raise DataError(f"{path}: the rows cannot be written as Parquet: {what}; write JSON lines instead") from None
    except OSError as error:
        raise DataError(f"cannot write {path}: {os.strerror(error.errno) if error.errno else error}") from None
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


def _trl(pair: Preference) -> Row:
    row = {"prompt": _plain(pair.prompt), "chosen": _plain(pair.chosen), "rejected": _plain(pair.rejected)}
    return _with_extra(row | _beside(pair, OURS), pair.extra)


def _trl_implicit(pair: Preference) -> Row:
    row = {name: _plain((*pair.prompt, *getattr(pair, name))) for name in ("chosen", "rejected")}
    # A column 'prompt' would be read as the prompt: it has no place here.
    return _with_extra(row | _beside(pair, OURS), pair.extra, reserved=("prompt",))


def _h4(pair: Preference) -> Row:
    prompt = _asked(pair.prompt)
    extra = dict(pair.extra)
    chosen, rejected = (_plain((*pair.prompt, *answer)) for answer in (pair.chosen, pair.rejected))
    row = {"prompt": prompt, "prompt_id": extra.pop("prompt_id", h4_prompt_id(prompt))}
    row |= {"chosen": chosen, "rejected": rejected, "messages": extra.pop("messages", chosen)}
    return _with_extra(row | _beside(pair, OURS), extra)


def _argilla(pair: Preference) -> Row:
    one_turn = len(pair.prompt) == 1 and pair.prompt[0].role == "user"
    answers = (pair.chosen, pair.rejected)
    if not one_turn or any(len(answer) != 1 or answer[0].role != "assistant" for answer in answers):
        raise DataError("the layout 'argilla' holds one user's turn and one answer on each side, no more")
    values = (turns[0].content for turns in (pair.prompt, *answers))
    row = dict(zip((ARGILLA[name] for name in ("prompt", "chosen", "rejected")), values, strict=True))
    return _with_extra(row | _beside(pair, ARGILLA), pair.extra)


def _argilla_cleaned(pair: Preference) -> Row:
    row: Row = {"prompt": _asked(pair.prompt)}
    row |= {name: _plain((*pair.prompt, *getattr(pair, name))) for name in ("chosen", "rejected")}
    return _with_extra(row | _beside(pair, ARGILLA_CLEANED), pair.extra)


def _unpaired(item: Unpaired) -> Row:
    row = {"prompt": _plain(item.prompt), "completion": _plain(item.answer), "label": item.desirable}
    row |= {name: getattr(item, name) for name in ("score", "source", "model", "feedback_id")}
    return _with_extra(row, item.extra)


def _ultrachat(dialogue: Dialogue) -> Row:
    extra = dict(dialogue.extra)
    row: Row = {}
    first = next((turn.content for turn in dialogue.messages if turn.role == "user"), None)
    if first is not None:
        row = {"prompt": extra.pop("prompt", first), "prompt_id": extra.pop("prompt_id", h4_prompt_id(first))}
    row |= {"messages": _plain(dialogue.messages), "source": dialogue.source}
    return _with_extra(row, extra)


WRITERS: dict[str, Writer] = {
    "trl": Writer(Preference, _trl),
    "trl-implicit": Writer(Preference, _trl_implicit),
    "h4": Writer(Preference, _h4),
    "argilla": Writer(Preference, _argilla),
    "argilla-cleaned": Writer(Preference, _argilla_cleaned),
    "trl-unpaired": Writer(Unpaired, _unpaired),
    "ultrachat": Writer(Dialogue, _ultrachat),
    "ultrafeedback": Writer(Feedback, to_ultrafeedback),
}
"""Layout → its writer."""


def _plain(turns: tuple[Message, ...]) -> list[Row]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def _asked(prompt: tuple[Message, ...]) -> str:
    """The prompt as one text, as H4 and Argilla have it: the first turn of the user."""
    first = next((turn.content for turn in prompt if turn.role == "user"), None)
    if first is None:
        raise DataError("the prompt has no user's turn, and the layout needs its text")
    return first


def _beside(pair: Preference, names: dict[str, str]) -> Row:
    """Scores, source, models and id under the names of the layout; in every row, also where they say nothing."""
    fields = ("score_chosen", "score_rejected", "source", "model_chosen", "model_rejected", "feedback_id")
    return {names[field]: getattr(pair, field) for field in fields}


def _with_extra(row: Row, extra: Row, reserved: tuple[str, ...] = ()) -> Row:
    if taken := sorted((row.keys() | set(reserved)) & extra.keys()):
        raise DataError(f"the further column '{taken[0]}' has the name of a column of the layout; rename it")
    return row | extra


def _id(record: Data) -> str:
    if isinstance(record, Dialogue):
        return digest(*(part for turn in record.messages for part in (turn.role, turn.content)))
    return record.id

"""What is kept of records for the review page, made shard by shard: numbers and short texts, long texts, whole records.

A shard leaves three Parquet files. ``.rows``: a line for each row of the list, with its numbers, the beginning of its
answer and its signature. ``.texts``: all that is looked through, with its case folded, packed so that it is unpacked
fast (LZ4). ``.records``: the records whole, as JSON, in small groups, so that one is read without its neighbours.
Their names begin with a point, so that a folder that is read as data, or hashed, is the same with them and without.

Owns the three tables. What stands beside a row but is not in its record (an audit, the feedback that a pair was made
from) is added by ``tables.join``.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from notus.core.disk.withdrawn import answer_digest
from notus.core.errors import cannot_write
from notus.core.records import Completion, Dialogue, Feedback, Message, Preference, Unpaired, format_turns
from notus.core.stage import Tally
from notus.core.text import one_line
from notus.decisions.change import OVERALL
from notus.decisions.ruling import Of
from notus.formats.format import Data
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source
from notus.preferences.faults import margin_of, pair_faults
from notus.review.tables.likeness import BINS, sign

__all__ = [
    "ANSWER",
    "CRITIQUE",
    "GROUP",
    "MISSING",
    "OF",
    "PROMPT",
    "REJECTED",
    "ROWS",
    "SEPARATOR",
    "WORDS",
    "Part",
    "Span",
    "decode",
    "fold",
    "number_of",
    "part_file",
    "write_part",
]

OF: dict[type[Data], Of] = {Feedback: "completion", Preference: "pair", Unpaired: "row", Dialogue: "dialogue"}
"""Kind of record → what its rows are."""
PROMPT, ANSWER, REJECTED, CRITIQUE = range(4)
"""Kinds of texts. A prompt is of a record, all others of a row."""
GROUP = 32
"""Records that are packed together."""
SEPARATOR = "\x1f"
"""Between the values of a cell that has several."""
MISSING = -1
_SHOWN = 160
"""Characters of the beginning of a text."""
_LOOKED_AT = 2_000
_ANSWERS = 2_048
"""Rows after which the columns are written: what a worker holds."""
_TEXTS = 8_192
_HEX = frozenset("0123456789abcdef")
_NO_IDS = dict.fromkeys(("feedback", "answer", "answer_rejected"), 0)
_SIGNATURE = pa.binary()
WORDS = ("file", "source", "model", "rejected", "aspects", "raters", "faults", "desirable")
"""Columns of words."""
ROWS = pa.schema(
    [
        *((name, pa.uint64()) for name in ("id", "prompt", "feedback", "answer", "answer_rejected")),
        *(("group", pa.int32()), ("index", pa.int16()), ("line", pa.int64()), ("length", pa.int64())),
        *((name, pa.string()) for name in WORDS),
        *((name, pa.float64()) for name in ("score", "rating", "margin")),
        *(("excerpt", pa.string()), ("signature", _SIGNATURE)),
        # Of the record: on its first row alone.
        *(("title", pa.string()), ("prompt_signature", _SIGNATURE)),
    ]
)
_TEXT_TABLE = pa.schema([("part", pa.int32()), ("kind", pa.int8()), ("of", pa.int32()), ("text", pa.large_string())])
_RECORD_TABLE = pa.schema([("record", pa.large_binary())])


class Span(NamedTuple):
    """Between which values a score lies: those of its scale where the source says one, and those that it has."""

    low: float
    high: float
    said: bool
    """Whether the source says a scale for every value."""

    def joined(self, other: "Span") -> "Span":
        """Both as one."""
        return Span(min(self.low, other.low), max(self.high, other.high), self.said and other.said)


@dataclass(frozen=True)
class Part:
    """What a shard gave."""

    number: int
    rows: int
    records: int
    dropped: dict[str, int]
    """Rows of the source that became no record: why → how many."""
    scales: dict[str, Span] = field(default_factory=dict)
    """Of feedback: aspect, or ``overall_score`` → between which values it lies."""


def part_file(folder: Path, table: str, number: int) -> Path:
    """Where a shard's part of a table lies: of ``rows``, ``texts``, ``records``."""
    return folder / f".{table}-{number:05d}.parquet"


def fold(text: str) -> str:
    """A text as it is looked through: without case, composed (NFC), and without what is no character."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", _storable(text).casefold())


def _storable(text: str) -> str:
    """The text with a question mark for each half of a character, which no file holds."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def number_of(identifier: str) -> int:
    """An id of 16 hexadecimal digits as a number; 0 for what is none."""
    known = len(identifier) == 16 and _HEX.issuperset(identifier)
    return int(identifier, 16) if known else 0


def decode(data: bytes, kind: type[Data]) -> Data:
    """A record of ``.records``."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeError):  # a half of a character, which the fast reader refuses
        return msgspec.convert(json.loads(data), kind)


def write_part(folder: Path, task: tuple[int, Source]) -> Part:
    """Write the three tables of a shard.

    Raises:
        DataError: as reading the source does, or if a table cannot be written.
    """
    number, source = task
    tally, quarantine = Tally("read"), Quarantine()
    records = source.records(tally, quarantine)
    try:
        with _Writer(folder, number) as writer:
            for record in records:
                writer.add(record)
    except OSError as error:
        raise cannot_write(folder, error) from None
    reasons = Counter(each.reason for each in tally.dropped)
    return Part(number, writer.rows, writer.records, dict(reasons), writer.scales)


@dataclass
class _Writer:
    folder: Path
    number: int
    rows: int = 0
    records: int = 0
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in ROWS.names})
    texts: list[tuple[int, int, str]] = field(default_factory=list)
    whole: list[bytes] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    prompts: list[str | None] = field(default_factory=list)
    """Of the record, on its first row alone."""
    scales: dict[str, Span] = field(default_factory=dict)

    def __enter__(self) -> "_Writer":
        place = partial(part_file, self.folder, number=self.number)
        zstd = {"compression": "zstd", "compression_level": 1}
        self.to_rows = pq.ParquetWriter(place("rows"), ROWS, use_dictionary=list(WORDS), **zstd)
        self.to_texts = pq.ParquetWriter(
            place("texts"), _TEXT_TABLE, compression="lz4", use_dictionary=False, write_statistics=False
        )
        self.to_records = pq.ParquetWriter(
            place("records"), _RECORD_TABLE, use_dictionary=False, write_statistics=False, **zstd
        )
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None:
            self._write_columns()
            self._write_texts()
            self._write_records()
        for each in (self.to_rows, self.to_texts, self.to_records):
            each.close()

    def add(self, record: Data) -> None:
        """Take a record up."""
        prompt, title = _prompt_of(record)
        self.texts.append((PROMPT, self.records, fold(prompt)))
        first = True
        for row, texts, answer in _rows_of(record):
            self.texts += [(kind, self.rows, fold(text)) for kind, text in texts if text]
            row |= {"group": self.records, "line": record.line, "file": _cell(record.file)}
            row |= {"source": _cell(record.source), "title": title if first else None}
            for name, column in self.columns.items():
                column.append(row.get(name))
            self.answers.append(answer)
            self.prompts.append(prompt if first else None)
            self.rows += 1
            first = False
        for name, span in _scored(record):
            self.scales[name] = self.scales[name].joined(span) if name in self.scales else span
        self.whole.append(_encode(record))
        self.records += 1
        self._write_what_is_full()

    def _write_what_is_full(self) -> None:
        if len(self.whole) >= GROUP:
            self._write_records()
        if len(self.texts) >= _TEXTS or sum(len(text) for *_, text in self.texts[-8:]) > 1 << 22:
            self._write_texts()
        if len(self.answers) >= _ANSWERS or sum(map(len, self.answers[-8:])) > 1 << 22:
            self._write_columns()

    def _write_records(self) -> None:
        if self.whole:
            self.to_records.write_table(pa.table([pa.array(self.whole, pa.large_binary())], schema=_RECORD_TABLE))
            self.whole.clear()

    def _write_texts(self) -> None:
        if self.texts:
            kinds, of, texts = zip(*self.texts, strict=True)
            columns = (np.full(len(kinds), self.number, np.int32), kinds, of, texts)
            arrays = [pa.array(each, kind) for each, kind in zip(columns, _TEXT_TABLE.types, strict=True)]
            self.to_texts.write_table(pa.table(arrays, schema=_TEXT_TABLE))
            self.texts.clear()

    def _write_columns(self) -> None:
        if not self.answers:
            return
        self.columns["signature"] = _packed(self.answers)
        first = iter(_packed([text for text in self.prompts if text is not None]))
        self.columns["prompt_signature"] = [None if text is None else next(first) for text in self.prompts]
        arrays = [pa.array(self.columns[name], of) for name, of in zip(ROWS.names, ROWS.types, strict=True)]
        self.to_rows.write_table(pa.table(arrays, schema=ROWS))
        self.columns = {name: [] for name in ROWS.names}
        self.answers.clear()
        self.prompts.clear()


def _packed(texts: list[str]) -> list[bytes]:
    """The signature of each text as bytes."""
    data, width = sign(texts).tobytes(), BINS * 2
    return [data[at : at + width] for at in range(0, len(data), width)]


_Rows = Iterator[tuple[dict[str, Any], list[tuple[int, str]], str]]
"""The columns of a row, what is looked through of it, and the answer by which it is like others."""


def _prompt_of(record: Data) -> tuple[str, str]:
    """All of the prompt, as text, and how its last turn begins."""
    turns = record.messages if isinstance(record, Dialogue) else record.prompt
    shown = turns[-1]
    if isinstance(record, Dialogue):
        shown = next((each for each in turns if each.role == "user"), turns[0])
    return format_turns(turns), _beginning(shown.content)


def _beginning(text: str) -> str:
    return _storable(one_line(text[:_LOOKED_AT].replace(SEPARATOR, " "), _SHOWN))


def _rows_of(record: Data) -> _Rows:
    if isinstance(record, Feedback):
        return _completions(record)
    if isinstance(record, Preference):
        return iter([_pair(record)])
    if isinstance(record, Unpaired):
        return iter([_unpaired(record)])
    own = number_of(record.id)
    row: dict[str, Any] = {**_NO_IDS, "id": own, "prompt": own, "index": MISSING}
    answers = [turn.content for turn in record.messages if turn.role == "assistant"]
    row |= {"excerpt": _beginning(answers[-1]) if answers else "", "length": sum(map(len, answers))}
    return iter([(row, [], "\n".join(answers))])


def _completions(record: Feedback) -> _Rows:
    scores = [each.overall_score for each in record.completions]
    prompt, feedback = number_of(record.prompt_id), number_of(record.id)
    ranked = [
        [each.rater for each in record.rankings if each.rater and each.ranks[place] is not None]
        for place in range(len(scores))
    ]
    for place, each in enumerate(record.completions):
        text = format_turns(each.answer)
        others = [score for at, score in enumerate(scores) if at != place and score is not None]
        own = scores[place]
        row = {
            "id": number_of(record.completion_id(place)),
            "prompt": prompt,
            "feedback": feedback,
            "answer": number_of(answer_digest(each.text)),
            "answer_rejected": 0,
            "index": place,
            "model": _cell(each.model),
            "score": own,
            "rating": each.mean_rating,
            "margin": own - max(others) if own is not None and others else None,
            "length": len(each.text),
            "excerpt": _beginning(each.text),
            "aspects": _joined(one.aspect for one in each.ratings if one.value is not None),
            "raters": _joined((*_raters_of(each), *ranked[place])),
        }
        yield row, [(ANSWER, text), (CRITIQUE, each.critique.text if each.critique else "")], text


def _raters_of(completion: Completion) -> Iterator[str]:
    yield from (each.rater for each in completion.ratings if each.rater)
    if completion.critique and completion.critique.rater:
        yield completion.critique.rater


def _pair(record: Preference) -> tuple[dict[str, Any], list[tuple[int, str]], str]:
    chosen, rejected = format_turns(record.chosen), format_turns(record.rejected)
    last = _last(record.chosen)
    row = {
        "id": number_of(record.id),
        "prompt": number_of(record.prompt_id),
        "feedback": number_of(record.feedback_id),
        "answer": number_of(answer_digest(last)),
        "answer_rejected": number_of(answer_digest(_last(record.rejected))),
        "index": MISSING,
        "model": _cell(record.model_chosen),
        "rejected": _cell(record.model_rejected),
        "score": record.score_chosen,
        "margin": margin_of(record),
        "length": len(last),
        "excerpt": _beginning(last),
        "faults": _joined(pair_faults(record)),
    }
    return row, [(ANSWER, chosen), (REJECTED, rejected)], chosen


def _unpaired(record: Unpaired) -> tuple[dict[str, Any], list[tuple[int, str]], str]:
    answer, last = format_turns(record.answer), _last(record.answer)
    row = {
        "id": number_of(record.id),
        "prompt": number_of(record.prompt_id),
        "feedback": number_of(record.feedback_id),
        "answer": number_of(answer_digest(last)),
        "answer_rejected": 0,
        "index": MISSING,
        "model": _cell(record.model),
        "score": record.score,
        "length": len(last),
        "excerpt": _beginning(last),
        "desirable": "yes" if record.desirable else "no",
    }
    return row, [(ANSWER, answer)], answer


def _last(turns: tuple[Message, ...]) -> str:
    """What the assistant says last: what is measured of an answer."""
    return next((turn.content for turn in reversed(turns) if turn.role == "assistant"), turns[-1].content)


def _cell(value: str) -> str:
    """A value as a cell; a separator in it would make two of it."""
    return _storable(value).replace(SEPARATOR, " ")


def _joined(values: Iterable[str]) -> str:
    """Several values as a cell."""
    return SEPARATOR.join(sorted({_cell(value) for value in values}))


def _encode(record: Data) -> bytes:
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(record)).encode()


def _scored(record: Data) -> Iterator[tuple[str, Span]]:
    """Each score of a record's answers under its name."""
    for each in record.completions if isinstance(record, Feedback) else ():
        graded = [(rating.aspect, rating.value, rating.scale) for rating in each.ratings]
        if each.critique is not None:
            graded.append((OVERALL, each.critique.score, each.critique.scale))
        for name, value, scale in graded:
            if value is not None:
                ends = (value, scale.low, scale.high) if scale else (value,)
                yield name, Span(float(min(ends)), float(max(ends)), scale is not None)

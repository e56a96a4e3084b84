"""Bad rows: which field broke which rule, and the file in which they wait to be looked at.

Owns the rules by name and the file ``quarantine.jsonl``. Which row breaks which rule is found by the formats.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import msgspec

from notus.core.errors import DataError
from notus.core.stage import Place, Tally

__all__ = [
    "LONGEST_ROW",
    "REPEATED",
    "RULES",
    "Entry",
    "Quarantine",
    "RowError",
    "RowReader",
    "check_depth",
    "entry_of",
    "explain",
    "load_json",
    "repeats_key",
    "shorten",
]

LONGEST_ROW = 64 << 20
"""Bytes that a row may have."""
_DEEPEST = 100
"""Lists and objects within each other that a row may have."""
REPEATED = "repeated-key"
"""The count of rows in which a key stands twice: JSON keeps the last, and what the first said is lost."""

S = TypeVar("S")
T = TypeVar("T")

RULES = {
    "broken-json": "the row must be valid JSON",
    "wrong-encoding": "the row must be UTF-8",
    "broken-row": "a quoted cell must be closed, and a quote within it be doubled",
    "too-large": f"a row must have at most {LONGEST_ROW >> 20} MiB; divide it, or leave out what is not needed",
    "too-deep": f"lists and objects must be nested at most {_DEEPEST} deep",
    "other-columns": "a row must have as many cells as there are columns",
    "not-an-object": "a row must be an object with named fields",
    "missing-field": "the field must be there and not be null",
    "unknown-field": "the record has no such field",
    "wrong-type": "the value must have the type that the format gives it",
    "no-completion": "a prompt needs at least one completion",
    "empty-list": "the list must not be empty",
    "empty-name": "the name must not be empty",
    "not-a-number": "a score must be a number, a rating a number or N/A",
    "not-a-rank": "a rank must be a whole number, from 0 or 1 on",
    "no-comparison": "a tree needs a prompt with several replies",
    "out-of-range": "a number must lie on its scale, a grade without one between 0 and 100",
    "unknown-role": "a role must be system, developer, user, assistant or tool",
    "unknown-part": "a part of a message must be a text",
    "media": "images, audio and video are not read: only text",
    "broken-messages": "a text that begins as a list of messages does must be one",
    "length-mismatch": "each score needs its feedback, and the other way round",
    "no-turns": "the text must begin with 'Human:' or 'Assistant:'",
    "no-answer": "the conversation must end with the assistant's turn",
    "has-verdict": "an answer that somebody judged is no plain dialogue: its label, score or rejected answer counts",
    "prompt-mismatch": "both answers must follow the prompt, and begin with the assistant",
    "unknown-vote": "a vote must name one of the two answers, or a tie where the format has one",
    "repeated-name": "each name must stand once",
    "taken-name": "a column must not have the name under which what another one held is kept",
    "unknown-value": "the value must be one that the mapping or the format knows",
    "other-votes": "each row must have as many votes as the first",
    "reader-refused": "the reader must take the row",
    "reader-failed": "the reader must not fail on the row",
    "no-format": "a reader must give a record, or a row of a known format",
    "other-record": "all rows must become records of one kind",
    "other-form": "the row must have the form of its kind of file",
}
"""Slug → the rule that a row broke."""


class RowError(DataError):
    """A row breaks a rule.

    Args:
        field: path of the field, for example ``completions[1].response``; empty for the row as a whole.
        rule: a slug out of ``RULES``.
        value: what was found there.
        detail: more in words, where the rule does not say all.
    """

    def __init__(self, field: str, rule: str, value: object = None, detail: str = "") -> None:
        self.field = field
        self.rule = rule
        self.value = shorten(value)
        self.detail = detail
        what = f"field '{field}'" if field else "the row"
        super().__init__(f"{what} is {self.value}: {RULES[rule]}{f' ({detail})' if detail else ''} [{rule}]")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the quarantine."""

    file: str
    """The file, seen from the source that was given, as records have it."""
    line: int
    """Line in a JSON-lines file, number of the row in a JSON list or a Parquet file; both count from 1."""
    field: str
    rule: str
    value: str
    detail: str
    row: str
    """The beginning of the row."""


class Quarantine:
    """Collects bad rows in a file that exists only when there is one.

    The file appears when the quarantine is closed; as a context manager it closes itself, also after an error, because
    what was found by then explains it. Without a path the rows are only counted.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        """Rule → number of rows that broke it."""
        self._file: IO[bytes] | None = None

    @property
    def total(self) -> int:
        """Number of bad rows."""
        return self.counts.total()

    def add(self, entry: Entry) -> None:
        """Keep one bad row.

        Raises:
            DataError: if the file cannot be written.
        """
        self.counts[entry.rule] += 1
        if self.path is None:
            return
        try:
            if self._file is None:
                self._file = self._part(self.path).open("wb")
            self._file.write(msgspec.json.encode(entry) + b"\n")
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}") from None

    def close(self) -> None:
        """Put the file in its place, or remove an older one when there was no bad row."""
        if self.path is None:
            return
        if self._file is None:
            if not self.counts:
                self.path.unlink(missing_ok=True)
            return
        self._file.close()
        self._file = None
        self._part(self.path).replace(self.path)

    def summary(self) -> str:
        """The counts in words, for example ``3 rows in quarantine: 2 broken-json, 1 not-a-number``."""
        parts = ", ".join(f"{count} {rule}" for rule, count in sorted(self.counts.items()))
        return f"{self.total:,} row{'' if self.total == 1 else 's'} in quarantine" + (f": {parts}" if parts else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _part(path: Path) -> Path:
        return path.with_name(f".{path.name}.part")


_QUOTE, _OTHER_QUOTE = b'"', b"\\u0022"
"""A quote, and how one inside of a text may be written so that it is none: written anew it is ``\\"``."""


class RowReader:
    """Decodes the rows of files that no format reads (a benchmark's), counts them and puts the bad ones aside.

    Args:
        tally: counts the rows.
        quarantine: takes the bad ones. Without it the first bad row is an error.
    """

    def __init__(self, tally: Tally | None = None, quarantine: Quarantine | None = None) -> None:
        self.tally = tally or Tally("read", "rows")
        self._quarantine = quarantine

    def read(self, path: Path, rows: Iterable[tuple[int, S]], decode: Callable[[S], T]) -> Iterator[tuple[int, T]]:
        """The number of each good row with what it is.

        Args:
            path: the file, whose name stands in the quarantine.
            rows: each with its number or line, from 1.
            decode: raises ``DataError`` for a bad row.

        Raises:
            DataError: for the first bad row, where nothing takes it.
        """
        for line, row in rows:
            self.tally.taken += 1
            try:
                found = decode(row)
            except DataError as error:
                if self._quarantine is None:
                    what = "line" if isinstance(row, bytes) else "row"
                    raise DataError(f"{path}, {what} {line}: {error}") from None
                bad = error if isinstance(error, RowError) else RowError("", "other-form", None, str(error))
                begin = row[:200].decode("utf-8", "replace") if isinstance(row, bytes) else repr(row)[:200]
                self._quarantine.add(entry_of(Place(path.name, line), bad, begin))
                detail = bad.detail if bad.rule == "other-form" else f"{bad.field or 'row'}: {bad.value}"
                self.tally.drop("", bad.rule, detail, at=Place(path.name, line))
                continue
            self.tally.given += 1
            if isinstance(row, bytes) and repeats_key(row):
                self.tally.count(REPEATED)
            yield line, found


def load_json(text: str | bytes) -> tuple[Any, int]:
    """The value of a JSON text, and how many of its objects have a key that stands twice in them.

    Raises:
        ValueError, RecursionError: if it is no JSON, or nested too deeply for one.
    """
    repeated = 0

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(pairs)
        repeated += len(found) < len(pairs)
        return found

    return json.loads(text, object_pairs_hook=made), repeated


def repeats_key(text: bytes) -> bool:
    """Whether a key stands twice in a row; one that is no JSON repeats none.

    A row has as many quotes as the same written anew from its values, unless a key was lost; only one that has not, or
    that writes quotes in another way, is read again key by key, which takes three times as long as reading it.
    """
    try:
        with suppress(msgspec.DecodeError):  # of NaN, which Python's own reader takes
            anew = msgspec.json.encode(msgspec.json.decode(text))
            if text.startswith(anew):  # nothing was lost, and no more than white space may follow
                return False
            if text.count(_QUOTE) == anew.count(_QUOTE) and _OTHER_QUOTE not in text:
                return False
        return load_json(text)[1] > 0
    except (ValueError, RecursionError):
        return False


def check_depth(text: bytes, value: Any) -> None:
    """Refuse a row that is nested deeper than what is made of it can go.

    Args:
        text: of the row.
        value: what it says.

    Raises:
        RowError: if it is.
    """
    if text.count(b"[") + text.count(b"{") <= _DEEPEST:
        return
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise RowError("", "too-deep", text[:200].decode("utf-8", "replace"))
        inner = (each for each in level if isinstance(each, (dict, list)))
        level = [below for each in inner for below in (each.values() if isinstance(each, dict) else each)]


def entry_of(place: Place, error: RowError, row: str) -> Entry:
    """The line of the quarantine for a bad row; ``row`` is how it begins."""
    return Entry(
        file=place.file,
        line=place.line,
        field=error.field,
        rule=error.rule,
        value=error.value,
        detail=error.detail,
        row=row,
    )


def shorten(value: object) -> str:
    """A value in at most 60 characters, on one line."""
    text = "missing" if value is None else repr(value) if isinstance(value, (str, int, float)) else _plain(value)
    return text if len(text) <= 60 else text[:57] + "…"


def explain(error: msgspec.ValidationError, at: str, value: object) -> RowError:
    """Put what msgspec says of a value into a field and a rule; ``at`` is the path of the value in the row."""
    text, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`")
    named = re.fullmatch(r"Object (missing required|contains unknown) field `(.+)`", text)
    if named:
        rule = "missing-field" if named[1] == "missing required" else "unknown-field"
        return RowError(_join_path(at, f"{path}.{named[2]}"), rule, None if rule == "missing-field" else named[2])
    rule = next((rule for pattern, rule in _PATTERNS if re.search(pattern, text)), "wrong-type")
    if rule == "empty-list" and path.endswith("completions"):
        rule = "no-completion"
    detail = text.replace("`", "") if rule == "wrong-type" else ""
    found = _value_at(value, path)
    return RowError(
        _join_path(at, path), "missing-field" if found is None else rule, found, "" if found is None else detail
    )


_PATTERNS = (
    (r"^Invalid enum value", "unknown-role"),
    (r"`array` of length >= 1", "empty-list"),
    (r"`str` of length >= 1", "empty-name"),
    (r"`(?:float|int)` [<>]=|out of range|too large", "out-of-range"),
)


def _value_at(value: Any, path: str) -> Any:
    for name, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, (list, tuple)) and index:
            value = value[int(index)]
    return value


def _join_path(at: str, path: str) -> str:
    return f"{at}{path}" if at else path.removeprefix(".")


def _plain(value: object) -> str:
    count = len(value) if isinstance(value, (dict, list, tuple)) else None
    name = {"dict": "an object", "tuple": "a list"}.get(type(value).__name__, f"a {type(value).__name__}")
    return name if count is None else f"{name} of {count}"

"""Bad rows: which field broke which rule, and the file in which they wait to be looked at.

Owns the rules by name and the file ``quarantine.jsonl``. Which row breaks which rule is found by the layouts.
"""

import re
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec

from notus.core.errors import DataError

__all__ = ["RULES", "Entry", "Quarantine", "RowError", "explained", "short"]

RULES = {
    "broken-json": "the row must be valid JSON",
    "wrong-encoding": "the row must be UTF-8",
    "not-an-object": "a row must be an object with named fields",
    "missing-field": "the field must be there and not be null",
    "unknown-field": "the record has no such field",
    "wrong-type": "the value must have the type that the layout gives it",
    "no-completion": "a prompt needs at least one completion",
    "empty-list": "the list must not be empty",
    "empty-name": "the name must not be empty",
    "not-a-number": "a score must be a number, a rating a number or N/A",
    "out-of-range": "a score must be between 0 and 100",
    "unknown-role": "a role must be system, user or assistant",
    "length-mismatch": "each score needs its feedback, and the other way round",
    "no-turns": "the text must begin with 'Human:' or 'Assistant:'",
    "no-answer": "the conversation must end with the assistant's turn",
    "prompt-mismatch": "both answers must follow the prompt, and begin with the assistant",
    "unknown-vote": "a vote must name one of the two answers, or a tie where the layout has one",
    "other-votes": "each row must have as many votes as the first",
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
        self.value = short(value)
        self.detail = detail
        what = f"field '{field}'" if field else "the row"
        super().__init__(f"{what} is {self.value}: {RULES[rule]}{f' ({detail})' if detail else ''} [{rule}]")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the quarantine."""

    file: str
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


def short(value: object) -> str:
    """A value in at most 60 characters, on one line."""
    text = "missing" if value is None else repr(value) if isinstance(value, (str, int, float)) else _plain(value)
    return text if len(text) <= 60 else text[:57] + "…"


def explained(error: msgspec.ValidationError, at: str, value: object) -> RowError:
    """Put what msgspec says of a value into a field and a rule; ``at`` is the path of the value in the row."""
    text, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`")
    named = re.fullmatch(r"Object (missing required|contains unknown) field `(.+)`", text)
    if named:
        rule = "missing-field" if named[1] == "missing required" else "unknown-field"
        return RowError(_joined(at, f"{path}.{named[2]}"), rule, None if rule == "missing-field" else named[2])
    rule = next((rule for pattern, rule in _PATTERNS if re.search(pattern, text)), "wrong-type")
    if rule == "empty-list" and path.endswith("completions"):
        rule = "no-completion"
    detail = text.replace("`", "") if rule == "wrong-type" else ""
    found = _found(value, path)
    return RowError(
        _joined(at, path), "missing-field" if found is None else rule, found, "" if found is None else detail
    )


_PATTERNS = (
    (r"^Invalid enum value", "unknown-role"),
    (r"`array` of length >= 1", "empty-list"),
    (r"`str` of length >= 1", "empty-name"),
    (r"`(?:float|int)` [<>]=|out of range|too large", "out-of-range"),
)


def _found(value: Any, path: str) -> Any:
    for name, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, (list, tuple)) and index:
            value = value[int(index)]
    return value


def _joined(at: str, path: str) -> str:
    return f"{at}{path}" if at else path.removeprefix(".")


def _plain(value: object) -> str:
    count = len(value) if isinstance(value, (dict, list, tuple)) else None
    name = {"dict": "an object", "tuple": "a list"}.get(type(value).__name__, f"a {type(value).__name__}")
    return name if count is None else f"{name} of {count}"

"""What a format is: how its rows are recognised, what record a row becomes, and how a record becomes a row again.

The formats themselves stand in ``formats.families``, one module a family; a user's own is found by ``formats.lookup``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from notus.core.errors import DataError
from notus.core.records import Dialogue, Feedback, Preference, Unpaired
from notus.core.stage import Tally
from notus.formats.join import merge_feedback

__all__ = ["MAPPED", "Data", "Format", "NoFormatError", "NoPlaceError", "Row", "Sifts", "record_id"]

MAPPED = "map:"
"""What the name of a format begins with that is a mapping; its JSON follows."""
Row = dict[str, Any]
"""A row of a file, as JSON or Parquet gives it."""
Data = Feedback | Preference | Unpaired | Dialogue
"""What a row can become."""


class Sifts(Protocol):
    """What takes records out or changes them while they are read: what is withdrawn, and what persons have decided
    (``decisions.apply``). It is sent to other processes."""

    def sift(self, record: Data, tally: Tally) -> Data | None:
        """The record as it is to be; None, and a drop, where it is to go."""
        ...


class NoPlaceError(DataError):
    """A record that a format cannot hold.

    Args:
        text: what is amiss.
        fields: of the record, those that have no place.
    """

    def __init__(self, text: str, fields: Sequence[str]) -> None:
        super().__init__(text)
        self.fields = tuple(fields)


class NoFormatError(DataError):
    """Rows of no known format.

    Args:
        text: what they hold, and a mapping to try.
        columns: their names, in their order.
    """

    def __init__(self, text: str, columns: Iterable[str]) -> None:
        super().__init__(text)
        self.columns = tuple(columns)

    @property
    def prompts(self) -> dict[str, str]:
        """A mapping by which the rows are prompts without answers, by the names of their columns; empty without one."""
        plain = {name.strip().lower(): name for name in reversed(self.columns)}
        column = next((plain[name] for name in _PROMPT_COLUMNS if name in plain), None)
        if column is None:
            return {}
        return {"prompt": column} | ({"system": plain["system"]} if "system" in plain else {})


_PROMPT_COLUMNS = ("prompt", "instruction", "question", "query", "user_prompt")
"""Names of the column of rows that are prompts and nothing more."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format of rows."""

    name: str
    record: type[Data] | None
    """What its rows become; None where only they tell, as with a function of a user's."""
    decode: Callable[[Row], Data]
    """Reads a row that has been parsed; raises ``RowError``."""
    matches: Callable[[Row], bool] | None = None
    """Whether a row is of this format; None for one that is never detected, only named."""
    before: tuple[str, ...] = ()
    """Formats that fit the same rows and say less of them: this one is tried before them."""
    decode_json: Callable[[bytes], Data] | None = None
    """A faster reader of the usual row. Whatever it raises, ``decode`` has the last word."""
    key: Callable[[Any], str] | None = None
    """What the rows of one record share, such as ``by_prompt``, where a record stands on several; they are put together
    wherever they stand. None where each row is a record. See ``formats.join``."""
    merge: Callable[[Sequence[Any], Tally], Any] = merge_feedback
    """Makes one record of those of one key, in the order of their rows."""
    expand: Callable[[Row, Tally], Sequence[Any]] | None = None
    """Reads a row that holds several records, such as a tree of messages, and counts what it passes over; ``decode``
    gives the first of them. None where a row is one record."""
    count: Callable[[Any, Tally], None] | None = None
    """Counts what a record lacks that its row promises, such as answers that were not generated; None: nothing."""
    encode: Callable[[Any], Row] | None = None
    """Makes a row of a record; raises ``DataError`` for what the format cannot hold. None: it is read only."""
    check: Callable[[Iterable[Row]], None] | None = None
    """Looks at rows before the first is read, as many as it needs, and raises ``ConfigError`` where none can fit."""
    sample: Row | None = None
    """A small row of this format, hand-made, with the names that its documentation gives: what ``notus formats`` shows.
    Where rows are joined, the first of them."""

    def __call__(self, row: Row) -> Data:
        """Read a row: the same as ``decode``."""
        return self.decode(row)


def record_id(record: Data) -> str:
    """Id of a record; of a dialogue, the hash of all its turns."""
    return record.id

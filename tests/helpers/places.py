"""Records without the place where they stood in a file, to be compared with records that were made by hand."""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from notus.core.records import Dialogue, Feedback, Preference, Unpaired

T = TypeVar("T", Feedback, Preference, Unpaired, Dialogue)


def unplaced(records: Iterable[T]) -> list[T]:
    """The same records, read from no file."""
    return [msgspec.structs.replace(record, file="", line=0) for record in records]

"""What a row says beyond its format is in the record: a mark that is put into each object of each sample is found."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import msgspec
import pytest

from notus.core.stage import Tally
from notus.formats.format import Format
from notus.formats.quarantine import RowError
from notus.formats.registry import FORMATS

Row = dict[str, Any]

MARK = "mark-7f3a"
SAMPLES = [name for name, each in FORMATS.items() if each.sample is not None]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each object in a row, the row's own first."""
    if isinstance(value, dict):
        yield at
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(part, (*at, key))


def marked(row: Row, at: tuple[Any, ...]) -> Row:
    row = deepcopy(row)
    place: Any = row
    for key in at:
        place = place[key]
    place["note"] = MARK
    return row


def read(own: Format, row: Row) -> str:
    row = json.loads(json.dumps(row))
    records = own.expand(row, Tally("read")) if own.expand else [own.decode(row)]
    return msgspec.json.encode(records).decode()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_further_field_anywhere_in_a_row_is_kept_or_the_row_is_put_aside(name: str) -> None:
    own = FORMATS[name]
    assert own.sample is not None
    for at in places(own.sample):
        try:
            record = read(own, marked(own.sample, at))
        except RowError:
            continue
        assert MARK in record, at

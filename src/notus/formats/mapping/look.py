"""What a file looks like: its columns, what it is read as, why near formats do not fit, and a mapping to try.

    looked = look_at("votes.csv")
    looked.format, looked.near, looked.suggestion

It reads the first rows and keeps nothing. Owns the look alone: reading is owned by ``formats.source``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from notus.core.text import format_list
from notus.formats.format import Row
from notus.formats.mapping.columns import Column, columns_of
from notus.formats.mapping.suggest import Suggestion, as_options, suggest
from notus.formats.quarantine import RowError
from notus.formats.registry import FORMATS, Near, fitting, nearest_formats, rivals
from notus.formats.rows import members_of, parse_row, read_rows

__all__ = ["LOOKED_AT", "Look", "look_at", "no_format", "other_readings"]

_NAMED = 8
LOOKED_AT = 200
"""Rows of which the columns are told, and on which a mapping is tried."""


@dataclass(frozen=True)
class Look:
    """What the first rows of a file look like."""

    files: tuple[Path, ...]
    rows: int
    """Rows that were looked at."""
    broken: int
    """Rows among them that cannot be parsed."""
    fault: str
    """What is wrong with the first of those; empty without any."""
    first: Row
    """The first row, empty where none can be parsed."""
    columns: tuple[Column, ...]
    formats: dict[str, int]
    """Format → how many of the rows are read as it."""
    also: tuple[str, ...]
    """Formats that the rows fit too, in the order in which they are tried."""
    faults: dict[str, int]
    """Rule that a row breaks as its format → how many do."""
    near: tuple[Near, ...]
    """Formats that nearly fit, where none does."""
    suggestion: Suggestion | None
    """A mapping to try, where no format fits."""
    lists: dict[str, int] = field(default_factory=dict)
    """Of a single object without a format: the lists of objects that it holds, which may be the rows, and their sizes.
    """

    @property
    def format(self) -> str | None:
        """What the file is read as: the format of its first row that has one."""
        return next(iter(self.formats), None)


def look_at(tables: Iterable[tuple[Path, str]], rows: int = LOOKED_AT, encoding: str | None = None) -> Look:
    """Look at the first rows of tables of one kind: files, each with its sheet or list, empty where it has one table.

    Raises:
        DataError: if a file cannot be read, is empty, or is of no kind that is read.
    """
    given = list(tables)
    broken, fault = 0, ""
    found: list[Row] = []
    for path, member in given:
        for _, payload in islice(read_rows(path, member=member, encoding=encoding), rows - len(found)):
            try:
                found.append(parse_row(payload))
            except RowError as error:
                broken += 1
                fault = fault or str(error)
        if len(found) >= rows:
            break
    fits = [fitting(row) for row in found]
    formats = Counter(names[0] for names in fits if names)
    also = dict.fromkeys(name for names in fits for name in names[1:])
    first = next((row for row, names in zip(found, fits, strict=True) if not names), None)
    alone = len(found) == len(given) == 1 and not broken and not formats and not given[0][1]
    return Look(
        files=tuple(path for path, _ in given),
        rows=len(found) + broken,
        broken=broken,
        fault=fault,
        first=found[0] if found else {},
        columns=tuple(columns_of(found).values()),
        formats=dict(formats),
        also=tuple(also),
        faults=dict(Counter(_faults(found, fits))),
        near=tuple(nearest_formats(first)) if first is not None and not formats else (),
        suggestion=suggest(found) if found and not formats else None,
        lists=members_of(given[0][0], encoding, every=True) if alone else {},
    )


def _faults(rows: list[Row], fits: list[list[str]]) -> Iterator[str]:
    """The rules that rows break, each read as what it looks like."""
    for row, names in zip(rows, fits, strict=True):
        try:
            if names:
                FORMATS[names[0]].decode(row)
        except RowError as error:
            yield error.rule


def other_readings(path: Path, member: str = "", encoding: str | None = None) -> list[str]:
    """Formats that would make something else of the first row of a file than the one that it is read as."""
    for _, payload in islice(read_rows(path, member=member, encoding=encoding), LOOKED_AT):
        try:
            return rivals(parse_row(payload))
        except RowError:
            continue
    return []


def no_format(path: Path, member: str = "", encoding: str | None = None) -> str:
    """That a file has no known format, in one line: its columns, the nearest formats, and a mapping to try."""
    looked = look_at([(path, member)], encoding=encoding)
    columns = [column.path for column in looked.columns if "." not in column.path]
    said = f"{path} has no known format: its rows hold {', '.join(columns[:12]) or 'no field'}"
    if len(columns) > len(columns[:12]):
        said += f" and {len(columns) - 12} more"
    if looked.near:
        said += "; nearest: " + " and ".join(f"{near.format} ({', '.join(near.reasons)})" for near in looked.near)
    tried = looked.suggestion
    if looked.lists:
        lists = format_list([f"{name} ({size:,})" for name, size in looked.lists.items()], _NAMED)
        largest = max(looked.lists, key=lambda name: looked.lists[name])
        said += f"; it is a single object, and the lists of objects in it may be the rows: {lists}"
        if tried is None or not tried.read:
            return f"{said}; read one with --split {largest}"
        said += f" (--split {largest})"
    if tried is not None and tried.missing:
        return f"{said}; try with {tried.asked}: notus read {path} {as_options(tried.map)} --map {tried.missing[0]}=…"
    if tried is not None and tried.read:
        return f"{said}; try: notus read {path} {as_options(tried.map)}"
    return f"{said}; 'notus formats {path}' shows them, and --map says what is what: --map prompt=…"

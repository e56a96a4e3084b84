"""The rows of a review in memory, column by column: what filters, sorts and counts, in milliseconds for all of them.

A column of words is kept as codes: of each row the number of its *pattern*, a set of values, of which there are few; so
a column with several values in a row (reasons, aspects) is counted as fast as one with a single value. A column of
numbers is kept as it is, and once more as the numbers of its bars when it is first drawn. Owns the columns of one set
of tables; what stands beside them is joined by ``tables.join``.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from notus.review.filter import Range
from notus.review.tables.build import Built
from notus.review.tables.likeness import BINS, Signatures
from notus.review.tables.parts import SEPARATOR, WORDS, part_file

__all__ = ["BARS", "NONE", "Bins", "Columns", "Mask", "Numbers", "Places", "Words", "bins_of", "load"]

Mask = NDArray[np.bool_]
Places = NDArray[np.int64]
Numbers = NDArray[np.float64]
BARS = 20
"""Bars of a picture, where nothing is said."""
NONE = "-"
"""How a URL calls having no value."""
_STEPS = (1.0, 2.0, 2.5, 5.0)
_WIDENING = (1, 2, 5)
_ROUND = 1e9
"""Steps from zero up to which a border is written in so few digits that it is a round number."""
_FEW = 24
"""Distinct numbers up to which each has a bar of its own."""


@dataclass(frozen=True)
class Words:
    """A column of words, or of sets of words."""

    codes: NDArray[np.int32]
    """Of each row its pattern."""
    patterns: tuple[tuple[str, ...], ...]
    """The values of each pattern; one without values is of rows that have none."""

    @classmethod
    def of(cls, codes: NDArray[np.int32], cells: Sequence[str]) -> "Words":
        """A column of cells, whose values stand between separators."""
        return cls(codes, tuple(tuple(filter(None, cell.split(SEPARATOR))) for cell in cells))

    @cached_property
    def values(self) -> tuple[str, ...]:
        """All values that a row has, ``NONE`` where a row has none, sorted."""
        counts = self.counts(None)
        return (*sorted(value for value in counts if value != NONE), *([NONE] if NONE in counts else ()))

    def rows_with(self, wanted: Iterable[str]) -> Mask:
        """The rows that have one of the values."""
        values = set(wanted)
        table = np.array([not values.isdisjoint(each or (NONE,)) for each in self.patterns], bool)
        found: Mask = table[self.codes]
        return found

    def counts(self, places: Places | None) -> dict[str, int]:
        """Value → rows at these places (None: all) that have it; values that none has are left out."""
        codes = self.codes if places is None else self.codes[places]
        counts: dict[str, int] = {}
        by_pattern = np.bincount(codes, minlength=len(self.patterns)).tolist()
        for pattern, count in zip(self.patterns, by_pattern, strict=True):
            if count:
                for value in pattern or (NONE,):
                    counts[value] = counts.get(value, 0) + count
        return counts


@dataclass(frozen=True)
class Bins:
    """The bars of a column of numbers, and in which of them each row falls; -1 where it has no number."""

    edges: tuple[tuple[float, float], ...]
    """Low and high of each bar: equal where it is of one number."""
    codes: NDArray[np.int16]
    widening: bool = False

    @cached_property
    def ranges(self) -> tuple[str, ...]:
        """What a URL calls each bar."""
        last = len(self.edges) - 1
        return tuple(
            str(Range(low, high, without_high=low != high and place < last))
            for place, (low, high) in enumerate(self.edges)
        )

    def counts(self, places: Places | None) -> list[int]:
        """Rows at these places (None: all) in each bar, and in the end those in none."""
        codes = self.codes if places is None else self.codes[places]
        found = np.bincount(codes.astype(np.int64) + 1, minlength=len(self.edges) + 1).tolist()
        return [*found[1:], found[0]]


@dataclass
class Columns:
    """The columns of one set of tables."""

    built: Built
    id: NDArray[np.uint64]
    prompt: NDArray[np.uint64]
    feedback: NDArray[np.uint64]
    answer: NDArray[np.uint64]
    answer_rejected: NDArray[np.uint64]
    group: NDArray[np.int32]
    """The record of each row, counted through all parts."""
    index: NDArray[np.int16]
    line: NDArray[np.int64]
    numbers: dict[str, Numbers]
    """Key of the filter → the numbers; NaN is none. A key without any number is left out."""
    words: dict[str, Words]
    file: Words
    excerpt: pa.Array
    title: pa.Array
    """Of each record."""
    signatures: Signatures
    """Of the answers, turned: of shape (BINS, rows)."""
    prompt_signatures: Signatures
    """Of the prompts, turned: of shape (BINS, records)."""
    evidence: pa.Array | None = None
    row_starts: tuple[int, ...] = ()
    """Where the rows of each part begin."""
    record_starts: tuple[int, ...] = ()
    """Where the records of each part begin."""
    _bins: dict[tuple[str, int], Bins] = field(default_factory=dict)
    _orders: dict[str, NDArray[np.int32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.id)

    @cached_property
    def first_rows(self) -> NDArray[np.int64]:
        """The first row of each record, and in the end the number of rows."""
        starts = np.searchsorted(self.group, np.arange(len(self.title) + 1))
        return starts.astype(np.int64)

    @cached_property
    def by_id(self) -> NDArray[np.int64]:
        """The rows in the order of their ids; of equal ids in the order of the file."""
        return np.argsort(self.id, kind="stable")

    @cached_property
    def copy(self) -> NDArray[np.int32]:
        """Of each row how many before it have its id."""
        ordered = self.id[self.by_id]
        places = np.arange(len(ordered))
        first = np.concatenate((np.ones(1, bool), ordered[1:] != ordered[:-1]))
        found = np.zeros(len(ordered), np.int32)
        found[self.by_id] = places - np.maximum.accumulate(np.where(first, places, 0))
        return found

    def rows_of_id(self, identifier: int) -> NDArray[np.int64]:
        """The rows with an id, in the order of the file."""
        return _equal(self.id, self.by_id, identifier)

    @cached_property
    def by_feedback(self) -> NDArray[np.int64]:
        """The rows in the order of their feedback's ids."""
        return np.argsort(self.feedback, kind="stable")

    @cached_property
    def by_prompt(self) -> NDArray[np.int64]:
        """The rows in the order of their prompts' ids."""
        return np.argsort(self.prompt, kind="stable")

    def rows_of_feedback(self, identifier: int) -> NDArray[np.int64]:
        """The rows of a feedback record, in the order of the file."""
        return _equal(self.feedback, self.by_feedback, identifier)

    def rows_of_prompt(self, identifier: int) -> NDArray[np.int64]:
        """The rows of a prompt, in the order of the file."""
        return _equal(self.prompt, self.by_prompt, identifier)

    def bins(self, key: str, bars: int) -> Bins:
        """The bars of a number; worked out when they are first asked for."""
        if (key, bars) not in self._bins:
            widening = key in ("length", "suspicion", "flagged")
            self._bins[key, bars] = bins_of(self.numbers[key], bars, widening=widening)
        return self._bins[key, bars]

    def warm(self) -> None:
        """Work out what is worked out once, before somebody waits for it."""
        self.copy  # noqa: B018
        for key in self.numbers:
            self.bins(key, BARS)
            for sort in (key, f"-{key}"):
                self.order(sort)

    def order(self, sort: str) -> NDArray[np.int32]:
        """The rows in the order of a number; those without it last. Of equals the more suspicious comes first, where an
        audit says it (by its flags where by nothing else), and otherwise the first in the file."""
        if sort not in self._orders:
            values = self.numbers[sort.removeprefix("-")]
            keys = [-values if sort.startswith("-") else values]
            if ranked := next((key for key in ("suspicion", "flagged") if key in self.numbers), ""):
                keys.insert(0, self.numbers[ranked])
            self._orders[sort] = np.lexsort(keys).astype(np.int32)  # NaN sorts last
        return self._orders[sort]


def load(built: Built) -> Columns:
    """Read the columns of tables that are there."""
    parts = [_read(part_file(built.folder, "rows", part.number)) for part in built.parts]
    table = pa.concat_tables(parts).unify_dictionaries()
    row_starts = np.cumsum([0, *(part.rows for part in built.parts)])[:-1]
    record_starts = np.cumsum([0, *(part.records for part in built.parts)])[:-1]
    group = _array(table, "group") + np.repeat(record_starts, [part.rows for part in built.parts]).astype(np.int32)
    numbers = {name: _array(table, name) for name in ("score", "rating", "margin")}
    numbers["length"] = _array(table, "length").astype(np.float64)
    titles = table["title"].drop_null().combine_chunks()
    first = np.flatnonzero(np.diff(group, prepend=-1))
    assert len(titles) == len(first) == sum(part.records for part in built.parts), "a record without a row"
    words = {name: _words(table, name) for name in WORDS}
    return Columns(
        built,
        id=_array(table, "id"),
        prompt=_array(table, "prompt"),
        feedback=_array(table, "feedback"),
        answer=_array(table, "answer"),
        answer_rejected=_array(table, "answer_rejected"),
        group=group,
        index=_array(table, "index"),
        line=_array(table, "line"),
        numbers={name: values for name, values in numbers.items() if np.isfinite(values).any()},
        words=words,
        file=words["file"],
        excerpt=_one_chunk(table["excerpt"]),
        title=titles,
        signatures=_signatures(table, "signature"),
        prompt_signatures=_signatures(table, "prompt_signature"),
        row_starts=tuple(row_starts.tolist()),
        record_starts=tuple(record_starts.tolist()),
    )


def bins_of(values: Numbers, bars: int, *, widening: bool = False) -> Bins:
    """The bars of numbers: one for each number where they are few, and otherwise of round borders.

    Args:
        values: NaN is none.
        bars: at most so many, but where each number has its own.
        widening: whether the bars widen as 1, 2, 5, 10 …, for what has a long tail.
    """
    known = values[np.isfinite(values)]
    distinct = np.unique(known)
    if len(distinct) <= max(_FEW, 1):
        codes = np.searchsorted(distinct, values) if len(distinct) else np.zeros(len(values), np.int64)
        edges = tuple((float(each), float(each)) for each in distinct)
    else:
        low, high = float(distinct[0]), float(distinct[-1])
        borders = _widening_borders(low, high) if widening and low >= 0 else _round_borders(low, high, bars)
        codes = np.clip(np.searchsorted(borders, values, side="right") - 1, 0, len(borders) - 2)
        edges = tuple(pairwise(borders))
    return Bins(edges, np.where(np.isfinite(values), codes, -1).astype(np.int16), widening)


def _round_borders(low: float, high: float, bars: int) -> list[float]:
    """Borders of equal bars that begin and end at round numbers; where no number is round enough, at the ends."""
    least = (high - low) / max(bars, 1)
    power = 10.0 ** math.floor(math.log10(least)) if least > 0 else 0.0
    step = next((power * each for each in _STEPS if power * each >= least), power * 10)
    borders: list[float] = []
    if step > 0 and max(abs(low), abs(high)) / step < _ROUND:
        first = math.floor(low / step)
        count = max(math.ceil(high / step) - first, 1)
        # A number such as 0.15 is not three times 0.05: the border is what is written of it.
        borders = [float(f"{number * step:.12g}") for number in range(first, first + count + 1)]
    if not all(one < other for one, other in pairwise(borders)) or not borders:
        borders = np.unique(np.linspace(low, high, max(bars, 1) + 1)).tolist()
    return [min(borders[0], low), *borders[1:-1], max(borders[-1], high)]


def _widening_borders(low: float, high: float) -> list[float]:
    power = 10 ** max(0, math.floor(math.log10(low)) if low >= 1 else 0)
    borders = [0.0] if low < 1 else []
    while not borders or borders[-1] <= high:
        borders += [float(power * each) for each in _WIDENING]
        power *= 10
    first = max(place for place, border in enumerate(borders) if border <= low)
    last = min(place for place, border in enumerate(borders) if border > high)
    return borders[first : last + 1]


def _read(path: Path) -> pa.Table:
    with pq.ParquetFile(path, read_dictionary=list(WORDS)) as file:
        return file.read()


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """A column of texts as one piece, of which a value is found at once, whatever their length together."""
    return pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in column.chunks])


def _array(table: pa.Table, name: str) -> NDArray[Any]:
    values: NDArray[Any] = table[name].to_numpy()
    return values


def _words(table: pa.Table, name: str) -> Words:
    column = table[name].combine_chunks()
    codes = column.indices.fill_null(-1).to_numpy().astype(np.int32)
    cells = [str(each) for each in column.dictionary.to_pylist()]
    if (codes < 0).any():
        codes = np.where(codes < 0, len(cells), codes).astype(np.int32)
        cells.append("")
    return Words.of(codes, cells)


def _signatures(table: pa.Table, name: str) -> Signatures:
    """All signatures of a column, turned; rows without one are left out."""
    column = table[name].drop_null().combine_chunks()
    data = np.frombuffer(column.buffers()[2], np.uint16, len(column) * BINS, column.offset * BINS * 2)
    return np.ascontiguousarray(data.reshape(-1, BINS).T)


def _equal(values: NDArray[np.uint64], order: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    if not 0 < wanted < 2**64:
        return np.zeros(0, np.int64)
    number = np.uint64(wanted)
    start, stop = (int(np.searchsorted(values, number, side=side, sorter=order)) for side in ("left", "right"))
    return order[start:stop]

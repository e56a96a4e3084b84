"""Which rows a filter lets through, in which order, and what is counted of them; nothing of it touches a text file.

Each condition of a filter is a mask over all rows, which is kept for the next filter with the same condition; so is the
list of a filter, so that turning a page looks at nothing. What depends on decisions is kept with the number of the
state of decisions. Owns selection and counts. What a row shows is owned by ``tables.view``.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import ConfigError, nearest
from notus.review.filter import CHOICES, NUMBERS, Filter, Range
from notus.review.records import State
from notus.review.tables.columns import NONE, Columns, Mask, Places, Words
from notus.review.tables.decided import Decided, values_of
from notus.review.tables.join import Beside
from notus.review.tables.search import Search

__all__ = ["COLUMNS", "Selection"]

T = TypeVar("T")
COLUMNS = {"aspect": "aspects", "rater": "raters"}
"""Key of a filter → its column, where that is called otherwise."""
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MASKS, _LISTS, _COUNTS = 96, 32, 512
_HEX = frozenset("0123456789abcdef")
_NOTHING = (None, "", ())
_Wanted = tuple[str, ...]


class _Kept:
    """What was worked out, the last of it."""

    def __init__(self, most: int) -> None:
        self._most, self._held, self._lock = most, OrderedDict[Hashable, Any](), threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                found: T = self._held[key]
                return found
        made = make()
        with self._lock:
            self._held[key] = made
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return made


class Selection:
    """Filters over the rows of one review."""

    def __init__(
        self,
        columns: Columns,
        decided: Decided,
        search: Search,
        beside: Beside | None = None,
        critiques: Search | None = None,
    ) -> None:
        self.columns, self.decided, self._search = columns, decided, search
        self._beside, self._critiques = beside, critiques
        self._masks, self._lists, self._counts = _Kept(_MASKS), _Kept(_LISTS), _Kept(_COUNTS)
        self._ranks, self._places = _Kept(8), _Kept(_LISTS)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of which counts can be asked here: those of which a row has a value, and those of decisions."""
        known = [key for key in CHOICES if (words := self.words(key)) is not None and words.values not in ((), (NONE,))]
        return (*known, "decided", "who")

    @property
    def sorts(self) -> tuple[str, ...]:
        """What the list can be sorted by here; the first is what it is sorted by where nothing is said."""
        known = [key for key in NUMBERS if key in self.columns.numbers]
        ranks = [key for key in ("suspicion", "flagged") if key in known]
        numbers = [key for key in known if key not in ranks]
        if ranks:
            return (*ranks, *numbers, "file", "random")
        return ("file", *numbers, "random")

    def words(self, key: str) -> Words | None:
        """The column of words that a key is of; None where there is none."""
        return self.columns.words.get(COLUMNS.get(key, key))

    def rows(self, wanted: Filter) -> NDArray[np.int32]:
        """The rows that a filter lets through, in its order.

        Raises:
            ConfigError: if it asks for what the rows have not.
        """
        version = self.decided.version if wanted.on_decisions else 0
        return self._lists.get((wanted, version), lambda: self._list(wanted))

    def mask(self, wanted: Filter) -> Mask | None:
        """The rows that a filter lets through; None: all."""
        masks = [*self._masks_of(wanted)]
        if not masks:
            return None
        found = masks[0]
        for each in masks[1:]:
            found = found & each
        return found

    def places(self, wanted: Filter) -> Places | None:
        """The rows that a filter lets through, in the order of the file; None: all. What counts are taken of."""
        known = (wanted.without("sort", "seed"), self.decided.version if wanted.on_decisions else 0)

        def find() -> Places | None:
            mask = self.mask(wanted)
            return None if mask is None else np.flatnonzero(mask)

        return self._places.get(known, find)

    def order(self, sort: str, seed: int) -> NDArray[np.int32]:
        """All rows in an order.

        Raises:
            ConfigError: if the rows have no such number.
        """
        key = sort.removeprefix("-")
        if key not in self.sorts:
            raise ConfigError(f"sort={sort}: there is no {key} here; {nearest(key, self.sorts)}")
        if key == "random":
            shuffled = self._ranks.get(seed, lambda: _shuffled(self.columns.id, seed))
            return shuffled[::-1] if sort != key else shuffled
        if key == "file":
            every = np.arange(len(self.columns), dtype=np.int32)
            return every[::-1] if sort != key else every
        return self.columns.order(sort)

    def sort_of(self, wanted: Filter) -> str:
        """What a filter sorts by: its own sort, or the first that there is."""
        return wanted.sort or self.sorts[0]

    def counts(self, wanted: Filter, key: str) -> dict[str, int]:
        """Value → rows that have it, of a filter without the key's own values.

        Raises:
            ConfigError: if there is no such key here.
        """
        other = wanted.without(key, "sort", "seed")
        on_decisions = other.on_decisions or key in ("decided", "who")
        known = (key, other, self.decided.version if on_decisions else 0)
        return self._counts.get(known, lambda: self._count(other, key))

    def states(self, wanted: Filter) -> dict[State, int]:
        """State of decisions → rows of a filter that are in it."""
        known = ("states", wanted.without("sort", "seed"), self.decided.version)
        return self._counts.get(known, lambda: self.decided.counts(self.places(wanted)))

    def binned(self, wanted: Filter, key: str, bars: int) -> list[int]:
        """Rows of a filter in each bar of a number, and in the end those in none."""
        known = ("bins", key, bars, wanted.without("sort", "seed"), self.decided.version if wanted.on_decisions else 0)
        return self._counts.get(known, lambda: self.columns.bins(key, bars).counts(self.places(wanted)))

    def both(self, wanted: Filter, x: str, y: str, bars: int) -> tuple[NDArray[np.int64], int]:
        """Rows of a filter in each pair of bars of two numbers, and how many miss one of them."""
        version = self.decided.version if wanted.on_decisions else 0

        def count() -> tuple[NDArray[np.int64], int]:
            places, across, up = self.places(wanted), self.columns.bins(x, bars), self.columns.bins(y, bars)
            codes = [each.codes if places is None else each.codes[places] for each in (across, up)]
            known = (codes[0] >= 0) & (codes[1] >= 0)
            width, height = len(across.edges), len(up.edges)
            joined = codes[0][known].astype(np.int64) * height + codes[1][known]
            counts = np.bincount(joined, minlength=width * height).reshape(width, height)
            return counts, len(known) - len(joined)

        return self._counts.get(("both", x, y, bars, wanted.without("sort", "seed"), version), count)

    def require_number(self, key: str) -> None:
        """Make sure that there is such a number here.

        Raises:
            ConfigError: if not.
        """
        if key not in self.columns.numbers:
            known = [each for each in NUMBERS if each in self.columns.numbers]
            raise ConfigError(f"there is no {key} here; {nearest(key, known)}")

    def _list(self, wanted: Filter) -> NDArray[np.int32]:
        order, mask = self.order(self.sort_of(wanted), wanted.seed), self.mask(wanted)
        return order if mask is None else order[mask[order]]

    def _count(self, wanted: Filter, key: str) -> dict[str, int]:
        if key in ("decided", "who"):
            counts: dict[str, int] = {}
            for state, count in self.states(wanted).items():
                for value in values_of(state) if key == "decided" else state.who:
                    counts[value] = counts.get(value, 0) + count
            return counts
        if (words := self.words(key)) is None:
            raise ConfigError(f"there is no {key} here; {nearest(key, self.keys)}")
        return words.counts(self.places(wanted))

    def _masks_of(self, wanted: Filter) -> Sequence[Mask]:
        asked: list[tuple[str, Any, Callable[[str, Any], Mask]]] = [
            *((key, getattr(wanted, key), self._with) for key in CHOICES if key not in ("decided", "who")),
            *((key, getattr(wanted, key), self._within) for key in NUMBERS),
            ("id", wanted.id, self._of_ids),
            ("text", wanted.text, self._with_text),
        ]
        found = [
            self._masks.get((key, value), partial(make, key, value))
            for key, value, make in asked
            if value not in _NOTHING
        ]
        if wanted.on_decisions:
            found.append(self.decided.rows_in([_lets(wanted, state) for state in self.decided.states]))
        return found

    def _with(self, key: str, values: _Wanted) -> Mask:
        words = self.words(key)
        known = () if words is None else words.values
        for value in values:
            if value not in known:
                shown = value if len(value) <= 40 else f"{value[:39]}…"
                what = nearest(shown, known) if known and known != (NONE,) else "no row has any"
                raise ConfigError(f"{key}={shown}: no row has it; {what}")
        assert words is not None
        return words.rows_with(values)

    def _within(self, key: str, span: Range) -> Mask:
        self.require_number(key)
        values = self.columns.numbers[key]
        if span.none:
            return np.isnan(values)
        found = ~np.isnan(values)
        if span.low is not None:
            found &= values >= span.low
        if span.high is not None:
            found &= values < span.high if span.without_high else values <= span.high
        return found

    def _of_ids(self, _key: str, ids: _Wanted) -> Mask:
        found = np.zeros(len(self.columns), bool)
        for each in ids:
            if not 1 <= len(each) <= 16 or not _HEX.issuperset(each):
                raise ConfigError(f"id={each[:40]}: an id is 16 digits of 0-9 and a-f, or how they begin")
            rest = 4 * (16 - len(each))
            low = int(each, 16) << rest
            high = low + (1 << rest) - 1
            for column in (self.columns.id, self.columns.prompt, self.columns.feedback):
                found |= (column >= np.uint64(low)) & (column <= np.uint64(high))
        return found

    def _with_text(self, _key: str, text: str) -> Mask:
        found, critiques = self._search.rows_with(text)
        found = found | critiques
        if self._beside is not None and self._critiques is not None:
            _, inside = self._critiques.rows_with(text)
            for places in (self._beside.chosen, self._beside.rejected):
                found |= (places >= 0) & inside[np.maximum(places, 0)]
        return found


def _lets(wanted: Filter, state: State) -> bool:
    """Whether what a filter says of decisions lets a state through."""
    if wanted.decided and not set(wanted.decided) & set(values_of(state)):
        return False
    if wanted.who and not set(wanted.who) & set(state.who):
        return False
    return not set(wanted.not_who) & set(state.who)


def _shuffled(ids: NDArray[np.uint64], seed: int) -> NDArray[np.int32]:
    """The rows in an order that only their ids and the seed decide: other rows beside them change nothing in it."""
    mixed = ids ^ (np.array([seed + 1], np.uint64) * _MIX)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.argsort(mixed ^ (mixed >> np.uint64(31)), kind="stable").astype(np.int32)

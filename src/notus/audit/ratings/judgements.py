"""Ratings against one another: the aspects of one answer, and several ratings of one aspect of it.

* The aspects of an answer go together. Each is put on normal scores, and predicted from the others by least squares;
  the tenth that fits worst is left out twice (least trimmed squares), so that faulty ratings do not teach. What is left
  is the signal. An aspect that the others tell little of, with less than a fifth of its variance, says nothing.
* Several ratings of one aspect: each minus the mean of the others, by √((m − 1)/m) of m ratings, so that all have one
  spread; a rater with a name is first moved by the median of its differences. Where the scale goes from 1 to 10, a 10
  is weighed as ``audit.ratings.tens`` does, with the mean of the others as its view.

Of a completion the smallest p counts, times the number of ratings that were looked at (Bonferroni). Owns what is held
of the aspects, and these signals. How raters agree as a whole is the business of ``audit.raters``.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from notus.audit.raters import OVERALL, Columns
from notus.audit.ratings.tens import weigh_tens
from notus.core.records import Feedback, Scale
from notus.formats.families.ultrafeedback import SCORED
from notus.stats.false_discovery import empirical_p, tail_p
from notus.stats.ranks import normal_scores

__all__ = ["AspectRatings", "OddRatings", "Oddest", "Signal", "compare_aspects", "compare_repeated"]

Floats = NDArray[np.float64]
Column = Floats | NDArray[np.float32]

_MOST_ASPECTS = 8
_FEWEST = 50
_TOLD = 0.2
_TRIM = 0.1
_ROUNDS = 2
_NAMED = 20
"""Ratings from which a rater's median difference is taken out."""


@dataclass(frozen=True)
class Signal:
    """Three chances for each row that a sound one looks at least so odd: see ``stats.false_discovery``. NaN where it
    is not known."""

    plain: Floats
    """Under a normal distribution: puts rows in an order."""
    likely: Floats
    """The best guess: names reasons."""
    cautious: Floats
    """For far tails: what q is made of."""

    @classmethod
    def of(cls, differences: Floats, ordered_by: Floats | None = None) -> "Signal":
        """The signal of signed differences; the order may be that of others."""
        return cls(empirical_p(differences if ordered_by is None else ordered_by), *tail_p(differences))

    @property
    def parts(self) -> tuple[Floats, Floats, Floats]:
        """The three."""
        return self.plain, self.likely, self.cautious

    def each(self, change: Callable[[Floats], Floats]) -> "Signal":
        """The same with each of its chances changed."""
        return Signal(*map(change, self.parts))


@dataclass(frozen=True)
class OddRatings:
    """A signal, and which rating of each completion is the oddest, in words that its evidence is made of."""

    signal: Signal
    names: tuple[str, ...]
    """Of aspects."""
    which: NDArray[np.int16]
    """Number of the aspect in ``names``; −1 where none was looked at."""
    value: NDArray[np.float32]
    """Its rating."""
    distance: NDArray[np.float32]
    """How far it is from what the others say: in standard deviations of an aspect, or in points of a rating."""
    skipped: tuple[str, ...] = ()
    """Aspects of which the others tell too little."""
    tens: Signal | None = None
    """10s among repeated ratings: ``plain`` and ``likely`` are the chance that none of them is a misread 1."""


class AspectRatings:
    """The ratings of each aspect, eight bytes of each, where a completion has each aspect once, and several of them."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, Scale | None], tuple[array[int], array[float]]] = {}
        self._count = 0

    def add(self, feedback: Feedback) -> None:
        """Take one prompt in."""
        columns = self._columns
        for item in feedback.completions:
            ratings = item.ratings
            if len(ratings) > 1 and len({each.aspect for each in ratings}) == len(ratings):
                for each in ratings:
                    if each.value is not None:
                        key = each.aspect, each.scale
                        if key not in columns:
                            columns[key] = array("I"), array("f")
                        owners, values = columns[key]
                        owners.append(self._count)
                        values.append(each.value)
            self._count += 1

    def merge(self, other: "AspectRatings") -> None:
        """Take in what another holds of the prompts that follow."""
        for key, (owners, values) in other._columns.items():
            mine = self._columns.setdefault(key, (array("I"), array("f")))
            mine[0].frombytes((np.asarray(owners) + np.uint32(self._count)).tobytes())
            mine[1].extend(values)
        self._count += other._count

    def matrix(self) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """Names and ratings, a column for each of the aspects that are rated most; NaN for none. They are let go of."""
        order = sorted(self._columns, key=lambda key: (-len(self._columns[key][0]), key[0], repr(key[1])))
        kept = [key for key in order if len(self._columns[key][0]) >= _FEWEST][:_MOST_ASPECTS]
        found = np.full((self._count, len(kept)), np.nan, np.float32)
        for column, key in enumerate(kept):
            owners, values = self._columns[key]
            found[np.asarray(owners), column] = np.asarray(values)
        self._columns = {}
        return tuple(aspect for aspect, _ in kept), found


def compare_aspects(names: tuple[str, ...], ratings: NDArray[np.float32]) -> OddRatings | None:
    """Each aspect against the others; None where there are fewer than two, or none tells of another."""
    count, size = ratings.shape
    scores = np.stack([normal_scores(column) for column in ratings.T], axis=1) if size > 1 else np.empty((0, 0))
    known = np.isfinite(scores)
    scores[~known] = 0.0
    odd, skipped = Oddest(count), []
    for place, name in enumerate(names if size > 1 else ()):
        rows = known[:, place] & (known.sum(axis=1) > 1)
        left = _residuals(scores[rows][:, place], np.delete(scores[rows], place, axis=1))
        if left is None:
            skipped.append(name)
            continue
        distance = left / max(float(left.std()), 1e-9)
        odd.take(np.flatnonzero(rows), place, Signal.of(left), ratings[rows, place], distance)
    return odd.finish(names, tuple(skipped))


def compare_repeated(groups: Sequence[Columns], count: int) -> OddRatings | None:
    """Each of several ratings of one aspect against the others; None where nothing is rated twice."""
    odd, tens = Oddest(count), Oddest(count)
    names: list[str] = []
    for columns in groups:
        sizes = np.bincount(columns.items, minlength=count)
        shared = sizes[columns.items] > 1
        if columns.of == OVERALL or shared.sum() < _FEWEST:
            continue
        rows = columns.where(shared)
        of = sizes[rows.items]
        others = (np.bincount(rows.items, rows.values, minlength=count)[rows.items] - rows.values) / (of - 1)
        difference = rows.values - others
        habits = _habits(rows, difference)
        left = (difference - habits) * np.sqrt((of - 1) / of)
        odd.take(rows.items, len(names), Signal.of(left), rows.values, difference)
        if _to_ten(rows):
            weighed = weigh_tens(rows.values, [others + habits])
            if np.isfinite(weighed.p).any():
                sound = 1 - weighed.false
                tens.take(rows.items, len(names), Signal(sound, sound, weighed.p), rows.values, difference)
        names.append(columns.of)
    found = odd.finish(tuple(names), ())
    of_tens = tens.finish(tuple(names), ())
    if found is None or of_tens is None:
        return found
    return OddRatings(found.signal, found.names, found.which, found.value, found.distance, tens=of_tens.signal)


class Oddest:
    """Of each completion the smallest p so far, how many were looked at, and which one it was."""

    def __init__(self, count: int) -> None:
        self._chances = [np.full(count, np.nan) for _ in range(3)]
        self._looked = np.zeros(count, np.uint16)
        self._which = np.full(count, -1, np.int16)
        self._value, self._distance = np.full(count, np.nan, np.float32), np.full(count, np.nan, np.float32)

    def take(self, owners: NDArray[np.integer], which: int, signal: Signal, value: Column, distance: Column) -> None:
        """Take in the p of ratings; of one completion there may be several."""
        # The least likely is written last, and stays.
        order = np.argsort(-signal.plain, kind="stable")
        order = order[~np.isnan(signal.plain[order])]
        np.add.at(self._looked, owners[order], 1)
        order = order[~(signal.plain[order] >= self._chances[0][owners[order]])]
        of = owners[order]
        for mine, theirs in zip(self._chances, signal.parts, strict=True):
            mine[of] = theirs[order]
        self._which[of], self._value[of], self._distance[of] = which, value[order], distance[order]

    def finish(self, names: tuple[str, ...], skipped: tuple[str, ...]) -> OddRatings | None:
        """The signal; None where nothing was looked at."""
        if not self._looked.any():
            return None
        signal = Signal(*(np.minimum(p * self._looked, 1.0) for p in self._chances))
        return OddRatings(signal, names, self._which, self._value, self._distance, skipped)


def _residuals(target: Floats, others: Floats) -> Floats | None:
    """What the others leave of a column; None where they tell too little of it."""
    if len(target) < _FEWEST:
        return None
    kept = np.ones(len(target), bool)
    left = target
    for _ in range(_ROUNDS + 1):
        design = np.column_stack([np.ones(int(kept.sum())), others[kept]])
        weights = np.linalg.lstsq(design, target[kept], rcond=None)[0]
        left = target - weights[0] - others @ weights[1:]
        used = kept
        size = np.abs(left)
        kept = size <= np.quantile(size, 1 - _TRIM)
    spread = float(target[used].var())
    if not spread or 1 - float(left[used].var()) / spread < _TOLD:
        return None
    return left


def _habits(rows: Columns, difference: Floats) -> Floats:
    """Median difference of the rater of each rating from the others; 0 of raters without a name or with few ratings."""
    found = np.zeros(len(rows.names) + 1)
    for number in np.unique(rows.raters).tolist():
        own = difference[rows.raters == number]
        if rows.names[number] and len(own) >= _NAMED:
            found[number] = np.median(own)
    return found[rows.raters]


def _to_ten(rows: Columns) -> bool:
    """Whether ratings go from 1 to 10: so it is said, or nothing is said and the highest is 10."""
    if rows.scale is not None:
        return rows.scale == SCORED
    return bool(rows.values.max() == SCORED.high and rows.values.min() >= SCORED.low)

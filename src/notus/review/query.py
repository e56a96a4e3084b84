"""Ask a set that is under review: lists, counts, distributions, records, neighbours, and what was decided.

    with open_review("runs/audit-1", decisions=store) as review:
        page = review.page(Filter.parse([("score", "9..10"), ("rating", "..<3")]), start=0, count=25)
        review.record(page.rows[0].key)

A review may be asked from several threads at once. Decisions are taken from the store of decisions whenever ``refresh``
is called, which is cheap; tables are never built again for them. Owns what the page asks; how rows are found is owned
by ``review.tables``.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import ConfigError, InputError, nearest
from notus.core.records import Scale
from notus.core.text import counted
from notus.decisions.change import OVERALL, RATED, SCORED
from notus.review.filter import DECIDED, NUMBERS, Filter
from notus.review.records import (
    Around,
    Bar,
    Cell,
    Choice,
    Facet,
    Facts,
    Grid,
    Histogram,
    Neighbour,
    Page,
    Progress,
    RecordView,
    Shown,
    Target,
)
from notus.review.tables.columns import BARS, NONE, Bins, Columns
from notus.review.tables.decided import Decided
from notus.review.tables.likeness import alike, likeness
from notus.review.tables.parts import Span, number_of
from notus.review.tables.select import Selection
from notus.review.tables.view import Views

__all__ = ["LABELS", "Review"]

LABELS = {
    "source": "Source",
    "model": "Model",
    "rejected": "Model of the rejected answer",
    "aspect": "Aspect",
    "rater": "Rater",
    "reason": "Reason",
    "desirable": "Wanted",
    "decided": "Decided",
    "who": "Decided by",
    "score": "Overall score",
    "rating": "Mean rating",
    "margin": "Margin",
    "length": "Length of the answer",
    "suspicion": "Place by suspicion",
    "flagged": "Place by flags",
    "q": "q",
}
"""Key of the filter → what it is called."""
_COMPARED = 24
"""Texts that are compared with one, of those whose signatures are like its."""
_LIKE = 0.3
"""Least share of words in common of what is called a neighbour."""


@dataclass(frozen=True)
class Review:
    """A set under review; made by ``review.open.open_review``."""

    facts_before: Facts
    """Facts that do not change with decisions."""
    columns: Columns
    selection: Selection
    decided: Decided
    views: Views
    spans: Mapping[str, Span] = field(default_factory=dict)
    """Aspect, or ``overall_score`` → between which values it lies in the feedback."""
    closing: tuple[Callable[[], None], ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; the store of decisions is left to who opened it."""
        for each in self.closing:
            each()

    @property
    def facts(self) -> Facts:
        """What is looked at, in figures."""
        said = self.facts_before.said
        if elsewhere := self.decided.elsewhere:
            said = (*said, f"{counted(elsewhere, 'decision')} in the store are on records that are not here")
        return replace(self.facts_before, said=said, people=self.decided.people)

    def refresh(self) -> int:
        """Take up what was decided since; the number of new rulings."""
        return self.decided.refresh()

    def scale_of(self, name: str, answer: Shown | None = None) -> Scale:
        """The scale that a score can be set on: what the answer's own says, then what the data have of it, then the
        usual one.

        Args:
            name: ``overall_score`` or an aspect.
            answer: whose score.
        """
        own = [each.scale for each in answer.ratings if each.aspect == name] if answer else []
        if answer is not None and (said := answer.scale if name == OVERALL else next(iter(own), None)) is not None:
            return said
        usual, span = SCORED if name == OVERALL else RATED, self.spans.get(name)
        if span is None:
            return usual
        within = usual.low <= span.low and span.high <= usual.high
        if not span.said and within and (name == OVERALL or span.low == span.high):
            return usual  # of one grade alone no scale can be read
        return Scale(low=span.low, high=span.high)

    def score_names(self, answer: Shown | None = None) -> tuple[str, ...]:
        """What can be scored: the overall score, where the data have one or no aspect, and the aspects.

        Args:
            answer: whose aspects come first.
        """
        own = [each.aspect for each in answer.ratings] if answer else []
        aspects = dict.fromkeys((*own, *sorted(each for each in self.spans if each != OVERALL)))
        return (OVERALL, *aspects) if OVERALL in self.spans else (*aspects, OVERALL)

    def digit_name(self, answer: Shown | None = None) -> str:
        """What a digit sets: the overall score; where the data have none, the only aspect, of several none (empty)."""
        if OVERALL in self.spans or not self.spans:
            return OVERALL
        aspects = {each.aspect for each in answer.ratings} if answer else set()
        aspects = aspects or set(self.spans)
        return next(iter(aspects)) if len(aspects) == 1 else ""

    def deciders(self, filter: Filter) -> dict[str, int]:  # noqa: A002
        """Person → rows that the filter lets through and they have decided on."""
        people: Counter[str] = Counter()
        for state, count in self.selection.states(filter).items():
            people.update(dict.fromkeys(state.who, count))
        return dict(sorted(people.items()))

    def page(self, filter: Filter, start: int = 0, count: int = 25) -> Page:  # noqa: A002
        """A stretch of the list.

        Raises:
            ConfigError: if the data have not what the filter asks for: a value, a sort or a range of a number that is
                not there.
        """
        found = self.selection.rows(filter)
        start = max(0, start)
        rows = found[start : start + max(0, count)].tolist()
        return Page(tuple(self.views.row(number) for number in rows), start, len(found))

    def count(self, filter: Filter) -> int:  # noqa: A002
        """How many rows the filter lets through."""
        return len(self.selection.rows(filter))

    def facets(self, filter: Filter, keys: Sequence[str] | None = None, most: int = 12) -> tuple[Facet, ...]:  # noqa: A002
        """The counts of the values of each key, of the filter without the key's own; what is asked for is listed too.

        Raises:
            ConfigError: if there is no such key here.
        """
        return tuple(self._facet(filter, key, most) for key in (self.facts_before.facets if keys is None else keys))

    def histogram(self, filter: Filter, key: str, bars: int = BARS) -> Histogram:  # noqa: A002
        """How a number is distributed, of the filter without the number's own range. The bars are those of the whole
        set whatever the filter, so that two pictures can be compared.

        Raises:
            ConfigError: if there is no such number here.
        """
        self.selection.require_number(key)
        bins = self.columns.bins(key, bars)
        *counts, none = self.selection.binned(filter.without(key), key, bars)
        return Histogram(key, LABELS[key], _bars(bins, counts), none, sum(counts) + none, log=bins.widening)

    def grid(self, filter: Filter, x: str = "rating", y: str = "score") -> Grid:  # noqa: A002
        """Two numbers against one another, of the filter without their ranges.

        Raises:
            ConfigError: if there is no such number here.
        """
        for key in (x, y):
            self.selection.require_number(key)
        across, up = self.columns.bins(x, BARS), self.columns.bins(y, BARS)
        counts, none = self.selection.both(filter.without(x, y), x, y, BARS)
        cells = tuple(Cell(int(a), int(b), int(counts[a, b])) for a, b in zip(*np.nonzero(counts), strict=True))
        return Grid(
            x,
            y,
            LABELS[x],
            LABELS[y],
            _bars(across, counts.sum(axis=1).tolist()),
            _bars(up, counts.sum(axis=0).tolist()),
            cells,
            none,
        )

    def record(self, key: str) -> RecordView:
        """A record whole, by ``Row.key`` or ``Row.id``.

        Raises:
            InputError: if there is none.
        """
        return self.views.view(self._number(key))

    def around(self, filter: Filter, key: str) -> Around:  # noqa: A002
        """Where a record stands in a list, and what is before and after it.

        Raises:
            InputError: if there is no such record.
            ConfigError: as ``page``.
        """
        number, found = self._number(key), self.selection.rows(filter)
        at = np.flatnonzero(found == number)
        if len(at):
            place = int(at[0])
            return Around(place, len(found), self._key(found, place - 1), self._key(found, place + 1))
        order = self.selection.order(self.selection.sort_of(filter), filter.seed)
        ranks = np.empty(len(order), np.int32)
        ranks[order] = np.arange(len(order), dtype=np.int32)
        stood = int(np.searchsorted(ranks[found], ranks[number]))
        return Around(None, len(found), self._key(found, stood - 1), self._key(found, stood))

    def neighbours(self, key: str, count: int = 8) -> tuple[Neighbour, ...]:
        """Records whose prompts or answers are nearly the same, the likest first; see ``tables.likeness``.

        Raises:
            InputError: if there is no such record.
        """
        number, columns = self._number(key), self.columns
        group = int(columns.group[number])
        records = alike(columns.prompt_signatures, columns.prompt_signatures[:, group], _COMPARED)
        by_prompt = [int(columns.first_rows[each]) for each in records.tolist() if each != group]
        rows = alike(columns.signatures, columns.signatures[:, number], _COMPARED).tolist()
        by_answer = [each for each in rows if columns.group[each] != group]
        texts = self.views.texts([*dict.fromkeys((number, *by_prompt, *by_answer))])
        own = texts[number]
        found: dict[int, Neighbour] = {}
        for side, (by, numbers) in enumerate((("prompt", by_prompt), ("answer", by_answer))):
            for each in numbers:
                same, other = likeness(own[side], texts[each][side]), int(columns.group[each])
                if same >= _LIKE and (other not in found or same > found[other].similarity):
                    found[other] = Neighbour(self.views.row(each), same, by)
        return tuple(sorted(found.values(), key=lambda each: (-each.similarity, each.row.number))[: max(0, count)])

    def sample(self, filter: Filter, count: int, seed: int = 0) -> Page:  # noqa: A002
        """A random sample, the same for the same seed: the first ``count`` of ``sort=random``."""
        return self.page(replace(filter, sort="random", seed=seed), 0, count)

    def targets(self, filter: Filter) -> tuple[Target, ...]:  # noqa: A002
        """What rulings on all that the filter lets through need, in the order of the list; of copies, which share an
        id, one."""
        columns, of = self.columns, self.columns.built.of
        rows = self.selection.rows(filter)
        reasons = columns.words.get("reason")
        found: dict[int, Target] = {}
        ids, prompts, answers = (each[rows].tolist() for each in (columns.id, columns.prompt, columns.answer))
        codes = reasons.codes[rows].tolist() if reasons else [0] * len(rows)
        patterns = reasons.patterns if reasons else ((),)
        for identifier, prompt, answer, code in zip(ids, prompts, answers, codes, strict=True):
            if identifier not in found:
                text = f"{answer:016x}" if of == "completion" else ""
                found[identifier] = Target(f"{identifier:016x}", of, f"{prompt:016x}", text, patterns[code])
        return tuple(found.values())

    def progress(self, filter: Filter) -> Progress:  # noqa: A002
        """How far a queue is decided: the filter without what it says of decisions."""
        people: Counter[str] = Counter()
        total = decided = conflicts = 0
        for state, count in self.selection.states(filter.without("decided", "who", "not-who")).items():
            total += count
            decided += count * state.decided
            conflicts += count * state.conflict
            for who in state.who:
                people[who] += count
        return Progress(decided, total, conflicts, tuple(sorted(people.items())))

    def _facet(self, wanted: Filter, key: str, most: int) -> Facet:
        if key not in LABELS or key in NUMBERS:
            raise ConfigError(f"there is no {key[:40]} here; {nearest(key[:40], self.facts_before.facets)}")
        counts = self.selection.counts(wanted, key)
        asked = getattr(wanted, key)
        if key == "decided":
            order = [each for each in DECIDED if each in counts or each in asked]
        else:
            order = sorted(counts, key=lambda each: (-counts[each], each))
        listed = order[:most] + [each for each in order[most:] if each in asked]
        listed += [each for each in asked if each not in order]
        choices = tuple(
            Choice(each, "none" if each == NONE else each, counts.get(each, 0), each in asked) for each in listed
        )
        return Facet(key, LABELS[key], choices, max(0, len(counts) - len([each for each in listed if each in counts])))

    def _key(self, found: NDArray[np.int32], place: int) -> str:
        return self.views.row(int(found[place])).key if 0 <= place < len(found) else ""

    def _number(self, key: str) -> int:
        identifier, dot, copy = key.partition(".")
        rows = self.columns.rows_of_id(number_of(identifier))
        known = copy.isascii() and copy.isdigit() and len(copy) < 9 and int(copy) > 0
        place = int(copy) if known else 0
        if (dot and not known) or place >= len(rows):
            raise InputError(f"there is no record '{key[:40]}' here")
        return int(rows[place])


def _bars(bins: Bins, counts: Sequence[int]) -> tuple[Bar, ...]:
    whole = zip(bins.edges, bins.ranges, counts, strict=True)
    return tuple(Bar(low, high, count, span) for (low, high), span, count in whole)

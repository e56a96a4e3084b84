"""What the review page shows: a line of the list, a record whole, the counts beside it. Plain values, no HTML.

    review.page(filter, start=0, count=25)  -> Page of Row
    review.record(target)                   -> RecordView
    review.facets(filter)                   -> Facet …
    review.histogram(filter, "score")       -> Histogram

Owns the types. What is listed is owned by ``review.filter``, how it is found by ``review.query``.
"""

from dataclasses import dataclass, field
from typing import Any

from notus.core.records import Message, Ranking, Rating, Scale
from notus.decisions.ruling import Of, Ruling

__all__ = [
    "Around",
    "Bar",
    "Cell",
    "Choice",
    "Facet",
    "Facts",
    "Grid",
    "Histogram",
    "Neighbour",
    "Page",
    "Progress",
    "RecordView",
    "Row",
    "Shown",
    "State",
    "Target",
]


@dataclass(frozen=True)
class State:
    """What people decided on a record, as it stands now."""

    verdict: str = ""
    """``keep``, ``drop``, ``swap``, ``cannot-tell``; empty where there is none, or persons differ."""
    conflict: bool = False
    """Whether persons differ, and nothing settles it."""
    who: tuple[str, ...] = ()
    """All who have decided on it, in their order; a note alone decides nothing."""
    what: tuple[str, ...] = ()
    """The actions in force, each once, in the order of ``ruling.ACTIONS``."""
    scores: tuple[tuple[str, float | None], ...] = ()
    """Fields whose score is set, with the score."""

    @property
    def decided(self) -> bool:
        """Whether anything but notes is in force."""
        return any(each != "note" for each in self.what)


@dataclass(frozen=True)
class Row:
    """A line of the list: one completion, pair, unpaired answer or dialogue."""

    number: int
    """Its place in the order of the file, from 0."""
    id: str
    """What a ruling on it names as ``target``."""
    key: str
    """What ``record`` and ``around`` find it by: the id, and of a copy, which has the same id, its number too."""
    of: Of
    prompt_id: str
    feedback_id: str
    """Empty where a pair or a row does not say it."""
    answer: str
    """Of a completion ``answer_digest`` of its text: a ruling's ``answer``. Empty otherwise."""
    file: str
    line: int
    index: int | None
    """Of a completion its place among the answers; otherwise None."""
    source: str
    model: str
    """Of a pair that of the chosen answer."""
    model_rejected: str
    title: str
    """The beginning of the last turn of the prompt, on one line."""
    excerpt: str
    """The beginning of the answer (chosen, of a pair), on one line."""
    score: float | None
    """Overall score; of a pair that of the chosen answer."""
    rating: float | None
    """Mean rating; of a pair that of the chosen answer, where it is joined with its feedback."""
    margin: float | None
    length: int
    """Characters of the answer (chosen, of a pair)."""
    suspicion: int | None
    """Place by suspicion, 1 for the most suspicious; None where no audit says it."""
    q: float | None
    reasons: tuple[str, ...]
    """Slugs: reasons of the audit first, then flags."""
    evidence: str
    state: State


@dataclass(frozen=True)
class Page:
    """A stretch of a list."""

    rows: tuple[Row, ...]
    start: int
    total: int
    """Rows that the filter lets through."""


@dataclass(frozen=True)
class Shown:
    """One answer of a record, with what judges said of it."""

    id: str
    """``Feedback.completion_id``: the target of ``set-score``. Empty where the answer's feedback is not known."""
    answer: str
    """``answer_digest`` of the text."""
    role: str
    """``chosen``, ``rejected``, ``answer``, or empty for one of several answers, or a sibling of a pair's."""
    index: int | None
    model: str
    text: str
    turns: tuple[Message, ...]
    """All turns, at least one."""
    score: float | None
    rating: float | None
    ratings: tuple[Rating, ...]
    critique: str
    rater: str
    """Whose critique."""
    principle: str
    system_prompt: str
    suspicion: int | None
    q: float | None
    reasons: tuple[str, ...]
    evidence: str
    extra: dict[str, Any]
    rulings: tuple[Ruling, ...]
    """In force, on this answer."""
    before: tuple[Message, ...] = ()
    """All turns as they are in the data, where ``text`` and ``turns`` are as somebody edited them."""
    edited_by: str = ""
    """Who edited them."""
    scale: Scale | None = None
    """Of the overall score, where the source says it."""


@dataclass(frozen=True)
class RecordView:
    """A record whole."""

    row: Row
    prompt: tuple[Message, ...]
    answers: tuple[Shown, ...]
    """Of feedback all, in their order (the row's own is ``asked``); of a pair chosen, rejected, then, where it stands
    beside its feedback, the other answers; of an unpaired row its answer; of a dialogue none: all is in ``prompt``."""
    asked: int | None
    """Which of the answers the row is of; None for a pair and a dialogue."""
    rankings: tuple[Ranking, ...]
    extra: dict[str, Any]
    """Further columns of the source."""
    joined: bool
    """Of a pair or an unpaired row: whether it stands beside the feedback that it came from."""
    desirable: bool | None
    """Of an unpaired row."""
    rulings: tuple[Ruling, ...]
    """In force on the record itself, and on its prompt as a whole (``of`` feedback)."""
    history: tuple[Ruling, ...]
    """All on the record, with what was undone, in their order."""
    before: tuple[Message, ...] = ()
    """The prompt as it is in the data, where ``prompt`` is as somebody edited it."""
    edited_by: str = ""
    """Who edited it."""


@dataclass(frozen=True)
class Choice:
    """One value of a facet."""

    value: str
    """As it stands in a URL; ``-`` is none."""
    label: str
    count: int
    """Rows that the filter lets through and have it, were this facet not in the filter."""
    on: bool
    """Whether the filter asks for it."""


@dataclass(frozen=True)
class Facet:
    """The values of one column, the commonest first."""

    key: str
    """Key of the filter."""
    label: str
    choices: tuple[Choice, ...]
    more: int = 0
    """Further values that are not listed."""


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram."""

    low: float
    high: float
    """Values from ``low`` up to ``high``: without it, but of the last bar with it. Equal where it is of one value."""
    count: int
    range: str
    """What a click puts into the filter under the histogram's key: ``9..10``."""


@dataclass(frozen=True)
class Histogram:
    """How a number is distributed among the rows of a filter, its own range left out of it."""

    key: str
    """Key of the filter."""
    label: str
    bars: tuple[Bar, ...]
    none: int
    """Rows without a value; the range that asks for them is ``none``."""
    total: int
    log: bool = False
    """Whether the bars widen: lengths."""


@dataclass(frozen=True)
class Cell:
    """A cell of a grid that is not empty."""

    x: int
    y: int
    count: int


@dataclass(frozen=True)
class Grid:
    """Two numbers against one another: score against mean rating. A click sets both ranges."""

    key_x: str
    key_y: str
    label_x: str
    label_y: str
    x: tuple[Bar, ...]
    """The columns; counts are those of the column."""
    y: tuple[Bar, ...]
    cells: tuple[Cell, ...]
    none: int
    """Rows in which one of the two is missing."""


@dataclass(frozen=True)
class Neighbour:
    """A record that is like another."""

    row: Row
    similarity: float
    """Share of words in common (Jaccard of the sets of words), 0 to 1."""
    by: str
    """``prompt`` or ``answer``: what is alike."""


@dataclass(frozen=True)
class Around:
    """Where a record stands in a list, and what comes before and after it."""

    place: int | None
    """From 0; None: the filter does not let it through (any more)."""
    total: int
    before: str
    """Key; empty at the beginning."""
    after: str
    """Key; of a record that the filter no longer lets through, the one that stands where it stood."""


@dataclass(frozen=True)
class Progress:
    """How far a queue is decided."""

    decided: int
    of: int
    conflicts: int
    by: tuple[tuple[str, int], ...]
    """Person → records that they have decided on."""


@dataclass(frozen=True)
class Target:
    """What a ruling on a row needs: for a decision on all results of a filter."""

    id: str
    of: Of
    prompt: str
    answer: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What is looked at, in figures, for the head of the page."""

    name: str
    of: Of
    rows: int
    prompts: int
    said: tuple[str, ...] = ()
    """What the reader must know: rows that could not be read, pairs without their feedback, no audit beside."""
    numbers: tuple[str, ...] = ()
    """Keys of the numbers that are known here, of ``filter.NUMBERS``."""
    sorts: tuple[str, ...] = ()
    """What the list can be sorted by here."""
    facets: tuple[str, ...] = ()
    """Keys that are facets here."""
    people: tuple[str, ...] = field(default=())
    """Who decided anything."""

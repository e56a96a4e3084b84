"""Ask a set that is under review: lists, counts, distributions, records, neighbours, and what was decided.

    with open_review("runs/audit-1", decisions=store) as review:
        page = review.page(Filter.parse([("score", "9..10"), ("rating", "..<3")]), start=0, count=25)
        review.record(page.rows[0].id)

A review may be asked from several threads at once. Decisions are taken from the store of decisions whenever ``refresh``
is called, which is cheap; tables are never built again for them.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from notus.review.filter import Filter
from notus.review.records import (
    Around,
    Facet,
    Facts,
    Grid,
    Histogram,
    Neighbour,
    Page,
    Progress,
    RecordView,
    Target,
)

__all__ = ["Review"]


class Review(Protocol):
    """A set under review."""

    facts: Facts

    def __enter__(self) -> Self:
        """Itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; the store of decisions is left to who opened it."""
        ...

    def refresh(self) -> int:
        """Take up what was decided since; the number of new rulings."""
        ...

    def page(self, filter: Filter, start: int = 0, count: int = 25) -> Page:  # noqa: A002
        """A stretch of the list.

        Raises:
            ConfigError: if the data have not what the filter asks for: a sort or a range of a number that is not there.
        """
        ...

    def count(self, filter: Filter) -> int:  # noqa: A002
        """How many rows the filter lets through."""
        ...

    def facets(self, filter: Filter, keys: Sequence[str] | None = None, most: int = 12) -> tuple[Facet, ...]:  # noqa: A002
        """The counts of the values of each key, of the filter without the key's own; what is chosen is always listed."""
        ...

    def histogram(self, filter: Filter, key: str, bars: int = 20) -> Histogram:  # noqa: A002
        """How a number is distributed, of the filter without the number's own range. The bars are those of the whole
        set whatever the filter, so that two pictures can be compared."""
        ...

    def grid(self, filter: Filter, x: str = "rating", y: str = "score") -> Grid:  # noqa: A002
        """Two numbers against one another, of the filter without their ranges."""
        ...

    def record(self, id: str) -> RecordView:  # noqa: A002
        """A record whole.

        Raises:
            InputError: if there is none of that id.
        """
        ...

    def around(self, filter: Filter, id: str) -> Around:  # noqa: A002
        """Where a record stands in a list, and what is before and after it."""
        ...

    def neighbours(self, id: str, count: int = 8) -> tuple[Neighbour, ...]:  # noqa: A002
        """Records whose prompts or answers are nearly the same, the likest first."""
        ...

    def sample(self, filter: Filter, count: int, seed: int = 0) -> Page:  # noqa: A002
        """A random sample, the same for the same seed: the first ``count`` of ``sort=random``."""
        ...

    def targets(self, filter: Filter) -> tuple[Target, ...]:  # noqa: A002
        """What rulings on all that the filter lets through need, in the order of the list."""
        ...

    def progress(self, filter: Filter) -> Progress:  # noqa: A002
        """How far a queue is decided: the filter without what it says of decisions."""
        ...

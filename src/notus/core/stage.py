"""Stages: functions from an iterable of records to an iterator of records, and the tally that counts them.

A stage yields what it keeps and reports what it does not: ``tally.drop(record_id, reason)``. Counting what goes in and
comes out happens once, here. Nothing disappears: in = out + dropped holds for every filter, and the reasons are slugs.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["Dropped", "Stage", "Tally", "apply"]

R = TypeVar("R")
S = TypeVar("S")


@dataclass(frozen=True)
class Dropped:
    """A record that a stage did not keep: its id, the stage, the reason as a slug, and the evidence in words."""

    record: str
    stage: str
    reason: str
    detail: str = ""


@dataclass
class Tally:
    """What one stage took in, gave out, dropped and counted on the way."""

    stage: str
    taken: int = 0
    given: int = 0
    dropped: list[Dropped] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def drop(self, record: str, reason: str, detail: str = "") -> None:
        """Note that a record is not kept. ``reason`` is a slug such as ``tie``; ``detail`` is the evidence."""
        self.dropped.append(Dropped(record, self.stage, reason, detail))

    def count(self, what: str, n: int = 1) -> None:
        """Count something that is worth knowing but drops nothing, for example a flag or a truncation."""
        self.counts[what] += n

    def merge(self, other: "Tally") -> None:
        """Add what the same stage did to other records, after these."""
        self.taken += other.taken
        self.given += other.given
        self.dropped += other.dropped
        self.counts.update(other.counts)

    def summary(self) -> dict[str, Any]:
        """The tally as plain JSON values."""
        reasons = Counter(item.reason for item in self.dropped)
        return {
            "stage": self.stage,
            "in": self.taken,
            "out": self.given,
            "dropped": dict(sorted(reasons.items())),
            "counts": dict(sorted(self.counts.items())),
        }


Stage = Callable[[Iterable[R], Tally], Iterator[S]]
"""Yields what it keeps of the records, and reports the rest to the tally."""


def apply(stage: Stage[R, S], records: Iterable[R], tally: Tally) -> Iterator[S]:
    """Run a stage over records, counting what goes in and what comes out."""

    def taken() -> Iterator[R]:
        for record in records:
            tally.taken += 1
            yield record

    for record in stage(taken(), tally):
        tally.given += 1
        yield record

"""Stages: functions from an iterable of records to an iterator of records, and the tally that counts them.

A stage yields what it keeps and reports what it does not: ``tally.drop(record_id, reason)``. Counting what goes in and
comes out happens once, here. Nothing disappears: in = out + dropped holds for every filter, and the reasons are slugs.

A drop that a setting asks for (a margin, a filter, a share) names that setting, ``asked_by``. The others are losses:
``share_lost`` says how many of the rows they take, and ``Run.check_losses`` stops a run that loses more than half.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from notus.core.records import Decision

__all__ = [
    "REMEDIES",
    "Dropped",
    "Place",
    "Placed",
    "Stage",
    "Tally",
    "apply",
    "by_halves",
    "count_rows",
    "describe_lost",
    "find_losses",
    "share_lost",
]

R = TypeVar("R")
S = TypeVar("S")

REMEDIES = {
    "unscored": "a score that the answers have (--strategy), or a map of its column",
    "one-scored": "another score (--strategy), or a map of its column",
    "one-completion": "joining or collecting several answers to each prompt",
    "few-answers": "another way to reject (--rejected worst), or sampling at least 16 answers to each prompt",
    "all-tied": "a finer score (--strategy)",
    "same-text": "a look at the answers: chosen and rejected have the same text",
    "all-at-the-border": "another border between wanted and unwanted (--threshold)",
    "no-place": "another format (--layout)",
    "no-answer": "rows that end with the turn of the assistant",
    "no-prompt": "rows in which a user asks something",
    "several-turns": "pairs whose answers are one turn each",
}
"""Reason of a drop that no setting asked for → what to try."""


class Placed(Protocol):
    """What knows where it stood in what was read: every record does."""

    @property
    def file(self) -> str:
        """The file, seen from the source that was given."""
        ...

    @property
    def line(self) -> int:
        """Its line there, or the number of its row, from 1; 0: not known."""
        ...


class Place(NamedTuple):
    """A place in a source, of a row that became no record."""

    file: str
    line: int


@dataclass(frozen=True)
class Dropped:
    """A record that a stage did not keep: which, why, where it stood, and whether a setting asked for it."""

    id: str
    """Of the record; empty for a row that became none."""
    stage: str
    reason: str
    """A slug."""
    detail: str = ""
    """The evidence in words."""
    file: str = ""
    line: int = 0
    asked_by: str = ""
    """The setting that asks for it; empty for a loss."""

    @property
    def place(self) -> str:
        """``file:line``, or the id where the place is not known."""
        return f"{self.file}:{self.line}" if self.file else self.id


@dataclass
class Tally:
    """What one stage took in, gave out, dropped and counted on the way."""

    stage: str
    of: Literal["rows", "records", "parts"] = "records"
    """What is counted: ``rows`` of a source while it is read, the ``records`` that they became, or ``parts`` of them,
    such as answers and requests, which are no rows."""
    taken: int = 0
    given: int = 0
    dropped: list[Dropped] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    changes: list[Decision] = field(default_factory=list)
    """What persons had decided, and was changed for it while the records were read."""
    seen: set[tuple[str, str]] = field(default_factory=set)
    """Decisions whose target was met: target and slot (``decisions.settle``)."""
    beside: bool = False
    """Whether its rows are those of a second source, which says more of the first: they are counted by themselves."""

    def drop(self, record: str, reason: str, detail: str = "", *, at: Placed | None = None, asked_by: str = "") -> None:
        """Note that a record is not kept.

        Args:
            record: its id; empty for a row that became no record.
            reason: a slug such as ``all-tied``.
            detail: the evidence.
            at: the record, or a ``Place``: where it stood.
            asked_by: the setting that asks for it. Without one it is a loss.
        """
        file, line = (at.file, at.line) if at is not None else ("", 0)
        self.dropped.append(Dropped(record, self.stage, reason, detail, file, line, asked_by))

    def count(self, what: str, n: int = 1) -> None:
        """Count something that is worth knowing but drops nothing, for example a flag or a truncation."""
        self.counts[what] += n

    def count_all(self, n: int) -> None:
        """Count so many that came in and are all kept: what is read of a table of ours has no bad row."""
        self.taken += n
        self.given += n

    def merge(self, other: "Tally") -> None:
        """Add what the same stage did to other records, after these."""
        self.taken += other.taken
        self.given += other.given
        self.dropped += other.dropped
        self.counts.update(other.counts)
        self.changes += other.changes
        self.seen |= other.seen

    def summary(self) -> dict[str, Any]:
        """The tally as plain JSON values."""
        return {
            "stage": self.stage,
            "in": self.taken,
            "out": self.given,
            "dropped": _by_reason(self.dropped),
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


E = TypeVar("E", bound=Exception)


def by_halves(
    rows: Sequence[R],
    work: Callable[[Sequence[R]], list[S]],
    refused: type[E],
    put_aside: Callable[[R, E], list[S]],
    tally: Tally,
) -> list[S]:
    """Do work on rows together, where it may refuse some: then by halves, down to the single rows that it refuses.

    Args:
        rows: n of them. With k that are refused the work is tried O(k log n) times.
        work: gives as much for a part of the rows as for all of them.
        refused: what it raises.
        put_aside: told of a row that is refused; what it gives stands in its place.
        tally: what the work counts; what it counted before it refused is taken back.
    """
    if not rows:
        return []
    counts = Counter(tally.counts)
    try:
        return work(rows)
    except refused as error:
        tally.counts = counts
        if len(rows) == 1:
            return put_aside(rows[0], error)
    half = len(rows) // 2
    parts = (by_halves(part, work, refused, put_aside, tally) for part in (rows[:half], rows[half:]))
    return [found for part in parts for found in part]


def count_rows(tallies: Sequence[Tally]) -> dict[str, Any] | None:
    """What became of the rows that were read: in + expanded = kept + joined + quarantined + dropped; None without any.

    A row is *expanded* where it became several records (each further one counts), *joined* where it went into the
    record of another row, *quarantined* where it could not be read, *dropped* where a later stage took its record out,
    and *kept* otherwise. ``asked_by``: reason of what is dropped → the setting that asks for it. Rows of a source that
    is read beside the one that the step is of are not among them.
    """
    reads = [tally for tally in tallies if tally.of == "rows" and not tally.beside]
    if not reads:
        return None
    bad = [item for tally in reads for item in tally.dropped if not item.asked_by]
    out = [item for tally in reads for item in tally.dropped if item.asked_by]
    out += [item for tally in tallies if tally.of == "records" for item in tally.dropped]
    rows = sum(tally.taken for tally in reads)
    joined, expanded = (sum(tally.counts[name] for tally in reads) for name in ("row-joined", "row-expanded"))
    return {
        "in": rows,
        "expanded": expanded,
        "kept": rows + expanded - joined - len(bad) - len(out),
        "joined": joined,
        "quarantined": _by_reason(bad),
        "dropped": _by_reason(out),
        "asked_by": {item.reason: item.asked_by for item in out if item.asked_by},
    }


def find_losses(tallies: Sequence[Tally]) -> list[Dropped]:
    """The rows and records that were dropped without a setting that asks for it."""
    return [item for tally in tallies if tally.of != "parts" for item in tally.dropped if not item.asked_by]


def share_lost(tallies: Sequence[Tally]) -> float:
    """The share of the rows that were read, 0 to 1, that was lost without a setting that asks for it.

    Records are put together of rows in some formats: their losses count as the same share of the rows they are made of.
    """
    (bad, taken), (lost, given) = _losses_by_unit(tallies)
    read = 1 - bad / taken if taken else 1.0
    kept = 1 - lost / given if given else 1.0
    return 1 - read * max(kept, 0.0)


def describe_lost(tallies: Sequence[Tally]) -> str:
    """How much was lost, in the units that it was counted in: ``3 of 9 rows and 2 of 4 records made of the others``.

    Where each row is a record of its own, they are counted together as rows.
    """
    (bad, taken), (lost, given) = _losses_by_unit(tallies)
    if not taken:
        return f"{bad + lost:,}"
    if not lost or taken - bad == given:
        return f"{bad + lost:,} of {taken:,} rows"
    rows = f"{bad:,} of {taken:,} rows and " if bad else ""
    others = "the others" if bad else f"{taken:,} rows"
    return f"{rows}{lost:,} of {given:,} records made of {others}"


def _losses_by_unit(tallies: Sequence[Tally]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows that were lost, of how many; records that were lost later, of how many that the rows became."""
    lost = find_losses(tallies)
    reads = [tally for tally in tallies if tally.of == "rows"]
    names = {tally.stage for tally in reads}
    bad = sum(item.stage in names for item in lost)
    taken, given = sum(tally.taken for tally in reads), sum(tally.given for tally in reads)
    return (bad, taken), (len(lost) - bad, given)


def _by_reason(dropped: Iterable[Dropped]) -> dict[str, int]:
    return dict(sorted(Counter(item.reason for item in dropped).items()))

"""Judges on trial: pairs shown in both orders, and what the judge made of each.

Owns the showing and the rulings. Which pairs are shown is the business of ``trial_sources`` (people's) and ``canaries``
(traps); who judges, of ``trial_judges``; what follows from the rulings, of ``trial_report``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from notus.core.errors import RunError
from notus.core.records import Message, Output, Record
from notus.models.judge import preferred

__all__ = ["PairJudge", "Ruling", "Shown", "Tried", "label_of", "try_pairs"]

Label = Literal["A", "B", "C"]


@dataclass(frozen=True)
class Shown:
    """Two answers as they are put before a judge, in this order."""

    prompt: tuple[Message, ...]
    first: str
    second: str

    @property
    def prompt_id(self) -> str:
        """The prompt's id, as in every record."""
        return Output(prompt=self.prompt, text="", model="").prompt_id

    def turned(self) -> "Shown":
        """The same pair in the other order."""
        return Shown(self.prompt, self.second, self.first)


@dataclass(frozen=True)
class Ruling:
    """What a judge said of two answers in the order shown."""

    verdict: Label | None
    """A: the first is better, B: the second, C: neither. None: there is no verdict."""
    reason: str = ""
    """Slug, where there is none."""


class PairJudge(Protocol):
    """Whoever compares two answers."""

    @property
    def name(self) -> str:
        """What its rulings are recorded under."""
        ...

    @property
    def pointwise(self) -> bool:
        """Whether each answer is scored alone, so that the order cannot count."""
        ...

    def rule(self, shown: Sequence[Shown]) -> list[Ruling]:
        """A ruling for each pair as it is shown, in their order."""
        ...


class Tried(Record, frozen=True):
    """One pair under one judge, shown in both orders: a row of ``rulings.parquet``."""

    judge: str
    prompt_id: str
    pair: int
    """Number of the pair in the source."""
    canary: str = ""
    """Kind of the trap; empty for a pair of the source as it is."""
    variant: int = 0
    """Which text of that kind."""
    forward: str | None = None
    """Verdict in the order given, and, ``backward``, with the answers exchanged."""
    backward: str | None = None
    score: float | None = None
    """1: the first answer is preferred, 0: the second, ½: neither, or a verdict that turned with the order. None where
    a verdict is missing."""
    reason: str = ""
    """Why there is no score."""

    @property
    def consistent(self) -> bool | None:
        """Whether both orders gave the same verdict; None where one is missing."""
        if self.forward is None or self.backward is None:
            return None
        return preferred(self.forward, self.backward).consistent


@dataclass
class _Sheet:
    """Each presentation once, however many pairs hold it."""

    places: dict[Shown, int] = field(default_factory=dict)

    def place(self, shown: Shown) -> int:
        return self.places.setdefault(shown, len(self.places))


def try_pairs(judge: PairJudge, pairs: Sequence[Shown]) -> Iterator[tuple[Ruling, Ruling]]:
    """Show each pair in both orders, and give both rulings in the order of the pairs. Equal ones are shown once.

    Raises:
        RunError: if the judge does not rule on each presentation, or cannot go on.
    """
    sheet = _Sheet()
    places = [(sheet.place(pair), sheet.place(pair.turned())) for pair in pairs]
    rulings = judge.rule(list(sheet.places))
    if len(rulings) != len(sheet.places):
        raise RunError(f"the judge '{judge.name}' gave {len(rulings)} rulings on {len(sheet.places)} pairs; one each")
    for forward, backward in places:
        yield rulings[forward], rulings[backward]


def label_of(score: float) -> Label:
    """The verdict that a preference amounts to: 1 is A, 0 is B, ½ is C."""
    return "A" if score > 0.5 else "B" if score < 0.5 else "C"

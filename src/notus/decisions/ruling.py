"""What a person decided on one record: who, when, what, on which content; and what is in force of many such.

A ruling is keyed by the id of its target, which is made of the target's content, so that it is found again when rows
were shuffled, added and removed. An answer's id also knows its place among the answers; ``prompt`` and ``answer`` know
it wherever it stands.

Rulings are never changed: who takes one back adds another (``undo``), which may be taken back itself (that is a redo).
Owns the record and which rulings count. The file is owned by ``decisions.store``, what a ruling does to a record by
``decisions.apply``.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from notus.core.records import Count, Name, Record

__all__ = ["ACTIONS", "VERDICTS", "Action", "Of", "Ruling", "in_force"]

Action = Literal["keep", "drop", "swap", "set-score", "edit", "cannot-tell", "note", "undo"]
Of = Literal["feedback", "completion", "pair", "row", "dialogue"]
"""What is decided on: a prompt with its answers, one answer, a preference, an unpaired answer, a dialogue."""
ACTIONS: tuple[Action, ...] = ("keep", "drop", "swap", "set-score", "edit", "cannot-tell", "note", "undo")
VERDICTS: frozenset[Action] = frozenset({"keep", "drop", "swap", "cannot-tell"})
"""Of these one counts for a person and a target: the last."""


class Ruling(Record, frozen=True, omit_defaults=True):
    """One thing that a person decided on one record."""

    target: Name
    """Id of what is decided on; of an ``undo``, of what the undone ruling is on."""
    of: Of
    what: Action
    who: Name
    when: str = ""
    """ISO 8601, in UTC; the store fills it in."""
    field: str = ""
    """Of ``set-score``: ``overall_score`` or an aspect. Of ``edit``: ``prompt``, ``answer``, ``chosen``, ``rejected``."""
    value: float | str | None = None
    """Of ``set-score`` the score (None: there is none), of ``edit`` the text."""
    why: str = ""
    """In their words."""
    queue: str = ""
    """How the record came before them: ``suspicion``, ``random``, ``filter``, ``conflicts``, ``import``, ``command``. Of
    ``random`` alone a rate can be taken; one of ``conflicts`` settles what others disagree on."""
    reasons: tuple[str, ...] = ()
    """The flags that the record had when it was decided."""
    batch: str = ""
    """The same for all rulings of one press of a key; empty for a single one."""
    prompt: str = ""
    """Id of the target's prompt."""
    answer: str = ""
    """``answer_digest`` of the answer, where the target is one."""
    undoes: Count = 0
    """Of ``undo``: number of the ruling that is taken back."""
    number: Count = 0
    """Its place in the store, from 1; the store fills it in."""

    @property
    def id(self) -> str:
        """That of the target: what tables are joined by."""
        return self.target

    @property
    def slot(self) -> tuple[str, str]:
        """What a later ruling of the same person on the same target replaces."""
        if self.what in VERDICTS:
            return "verdict", ""
        return self.what, f"{self.number}" if self.what == "note" else self.field


def in_force(rulings: Iterable[Ruling]) -> list[Ruling]:
    """The rulings that count, in their order: without what is undone, of each person and slot the last.

    A ruling whose ``undo`` is itself undone counts again, at its own place.
    """
    held = sorted(rulings, key=lambda each: each.number)
    undone: set[int] = set()
    for each in reversed(held):  # the last undo counts for sure, and decides on those before it
        if each.what == "undo" and each.number not in undone:
            undone.add(each.undoes)
    last: dict[tuple[str, str, str, str], Ruling] = {}
    for each in held:
        if each.what != "undo" and each.number not in undone:
            last[each.who, each.target, *each.slot] = each
    return sorted(last.values(), key=lambda each: each.number)


def with_numbers(rulings: Iterable[Ruling], first: int, when: str) -> list[Ruling]:
    """The rulings as a store keeps them: numbered, and with their time where they have none."""
    return [
        msgspec.structs.replace(each, number=first + place, when=each.when or when)
        for place, each in enumerate(rulings)
    ]

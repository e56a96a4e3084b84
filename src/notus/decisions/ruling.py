"""What a person decided on one record: who, when, what, on which content; and what is in force of many such.

A ruling is keyed by the id of its target, which is made of the target's content, so that it is found again when rows
were shuffled, added and removed. An answer's id also knows its place among the answers; ``prompt`` and ``answer`` know
it wherever it stands.

Rulings are never changed: who takes one back adds another (``undo``), which may be taken back itself (that is a redo).
Owns the record and which rulings count. The file is owned by ``decisions.store``, what a ruling does to a record by
``decisions.apply``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from notus.core.errors import InputError
from notus.core.records import Count, Name, Record

__all__ = [
    "ACTIONS",
    "EDITABLE",
    "VERDICTS",
    "Action",
    "Of",
    "Ruling",
    "check_ruling",
    "in_force",
    "taken_back",
    "with_numbers",
]

Action = Literal["keep", "drop", "swap", "set-score", "edit", "cannot-tell", "note", "undo"]
Of = Literal["feedback", "completion", "pair", "row", "dialogue"]
"""What is decided on: a prompt with its answers, one answer, a preference, an unpaired answer, a dialogue."""
ACTIONS: tuple[Action, ...] = ("keep", "drop", "swap", "set-score", "edit", "cannot-tell", "note", "undo")
VERDICTS: frozenset[Action] = frozenset({"keep", "drop", "swap", "cannot-tell"})
"""Of these one counts for a person and a target: the last."""
EDITABLE: Mapping[Of, tuple[str, ...]] = {
    "feedback": ("prompt",),
    "completion": ("answer",),
    "pair": ("prompt", "chosen", "rejected"),
    "row": ("prompt", "answer"),
    "dialogue": ("prompt", "answer"),
}
"""Which texts of a target an ``edit`` may replace. Of several turns it is the last of the prompt, and the last of the
assistant's; the prompt of an answer is that of its neighbours too, and is edited on the feedback."""


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
    """Of ``set-score``: ``overall_score`` or an aspect. Of ``edit``: the text, see ``EDITABLE``."""
    value: float | str | None = None
    """Of ``set-score`` the score (None: there is none), of ``edit`` the text."""
    why: str = ""
    """In their words."""
    queue: str = ""
    """How the record came before them: ``suspicion``, ``flags``, ``random``, ``filter``, ``conflicts``, ``import``,
    ``command``. ``suspicion`` and ``flags`` are ordered, the worst first; the latter where nothing ranks by suspicion.
    Of ``random`` alone a rate can be taken; one of ``conflicts`` settles what others disagree on."""
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
    undone = _undone(held)
    last: dict[tuple[str, str, str, str], Ruling] = {}
    for each in held:
        if each.what != "undo" and each.number not in undone:
            last[each.who, each.target, *each.slot] = each
    return sorted(last.values(), key=lambda each: each.number)


def taken_back(rulings: Iterable[Ruling]) -> dict[int, int]:
    """Number of each decision that is taken back and not redone since → number of the ``undo`` that does it."""
    held = sorted(rulings, key=lambda each: each.number)
    undone = _undone(held)
    return {each.number: undone[each.number] for each in held if each.what != "undo" and each.number in undone}


def _undone(held: Sequence[Ruling]) -> dict[int, int]:
    """Number of each ruling that is undone → of the ``undo``; the rulings in their order."""
    undone: dict[int, int] = {}
    for each in reversed(held):  # the last undo counts for sure, and decides on those before it
        if each.what == "undo" and each.number not in undone:
            undone.setdefault(each.undoes, each.number)
    return undone


def check_ruling(ruling: Ruling) -> None:
    """Refuse what can be done to no record.

    Raises:
        InputError: that names the target, what is wrong and what may be said.
    """
    about = f"decision '{ruling.what}' on {ruling.of} {ruling.target}"
    try:
        msgspec.json.encode(ruling)
    except (UnicodeEncodeError, ValueError) as error:
        raise InputError(f"{about} holds a text that is not UTF-8 ({error}); write it anew") from None
    if b"\\u0000" in msgspec.json.encode((ruling.target, ruling.who, ruling.batch, ruling.when)):
        raise InputError(f"{about} has a NUL in its ids or names; no database keeps one")
    if fault := _fault(ruling):
        raise InputError(f"{about}: {fault}")


def _fault(ruling: Ruling) -> str:
    if not ruling.who.strip():
        return "'who' is empty; say who decides (--who)"
    if ruling.what == "swap" and ruling.of != "pair":
        return "only the two answers of a pair can be swapped"
    if ruling.what == "undo" and not ruling.undoes:
        return "'undoes' must be the number of the decision that is taken back"
    if ruling.what == "set-score":
        return _score_fault(ruling)
    if ruling.what == "edit":
        fields = EDITABLE[ruling.of]
        if ruling.field not in fields:
            return f"field '{ruling.field}' is no text of a {ruling.of}; one of: {', '.join(fields)}"
        if not isinstance(ruling.value, str) or not ruling.value:
            return f"value {ruling.value!r} must be the new text; what is to go is dropped"
    return ""


def _score_fault(ruling: Ruling) -> str:
    if ruling.of != "completion":
        return "scores stand on single answers; decide on the completion"
    if not ruling.field:
        return "'field' is empty; it must be overall_score or an aspect, such as helpfulness"
    value = ruling.value
    if isinstance(value, str) or (value is not None and not math.isfinite(value)):
        return f"value {value!r} is no score; it must be a number, or null for none"
    return ""


def with_numbers(rulings: Iterable[Ruling], first: int, when: str) -> list[Ruling]:
    """The rulings as a store keeps them: numbered from ``first``, and with their time where they have none.

    Those that bring a number come from another store: an ``undo`` among them is of one that comes along.

    Raises:
        InputError: if an ``undo`` is of none that is there.
    """
    given = list(rulings)
    moved = {each.number: first + place for place, each in enumerate(given) if each.number}
    found = []
    for number, each in enumerate(given, first):
        undoes = each.undoes
        if each.what == "undo":
            undoes = moved.get(each.undoes, 0) if each.number else each.undoes
            if not 0 < undoes < number:
                raise InputError(f"there is no decision {each.undoes} before this one that could be taken back")
        found.append(msgspec.structs.replace(each, number=number, when=each.when or when, undoes=undoes))
    return found

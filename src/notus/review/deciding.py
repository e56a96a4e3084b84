"""What a press of a key does: a ruling in the store, for one record or for all that a filter lets through, and back.

    desk.decide("ana", Asked(target=row.id, what="drop"), queue="suspicion")
    desk.decide_all("ana", Filter.parse([("reason", "score-against-ratings")]), Bulk(what="drop", count=212))
    desk.undo("ana"), desk.redo("ana")

A ruling is in the store, on the disk, when these return. Undo and redo are per person, and know everything that the
store knows: they go on after a restart, and take back what was decided on the command line. Owns rulings that come from
the page; what of them counts is owned by ``decisions``.
"""

import math
import threading
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from notus.core.errors import InputError
from notus.core.records import Scale
from notus.core.text import counted
from notus.decisions.ruling import EDITABLE, Action, Of, Ruling
from notus.decisions.store import Store
from notus.review.filter import Filter
from notus.review.query import Review
from notus.review.records import RecordView, Shown

__all__ = ["QUEUES", "Asked", "Bulk", "Changed", "Desk", "check_name"]

QUEUES = ("filter", "suspicion", "flags", "random", "conflicts")
"""How a record comes before a person: what ``Ruling.queue`` says."""
_MOST_NAME = 64
_MOST_TEXT = 400_000
_IN_BULK: frozenset[Action] = frozenset({"keep", "drop", "swap", "cannot-tell", "set-score", "note"})


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the page asks for on one record, or on one answer of it."""

    target: str
    """Key or id of the record."""
    what: Action
    answer: str = ""
    """Id of one of the record's answers, where the ruling is on that."""
    field: str = ""
    value: float | str | None = None
    why: str = ""
    queue: str = "filter"


class Bulk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the page asks for on all that a filter lets through."""

    what: Action
    count: int
    """How many the person was told they are."""
    field: str = ""
    value: float | None = None
    why: str = ""
    queue: str = "filter"


@dataclass(frozen=True)
class Changed:
    """What was done, as rulings in the store."""

    rulings: tuple[Ruling, ...]
    said: str
    """For people: one line."""

    @property
    def target(self) -> str:
        """The record that it is on; of several, none."""
        targets = {each.target for each in self.rulings}
        return next(iter(targets)) if len(targets) == 1 else ""


def check_name(name: str) -> str:
    """A person's name as it is kept, without white space around it.

    Raises:
        InputError: if it is empty, long, or no plain text.
    """
    name = " ".join(name.split())
    if not 0 < len(name) <= _MOST_NAME or not name.isprintable():
        raise InputError(f"a name of 1 to {_MOST_NAME} letters is needed, so that it is known who decided")
    return name


class Desk:
    """Where decisions are made: a review, and the store that they go to. It may be used from several threads."""

    def __init__(self, review: Review, store: Store) -> None:
        self.review = review
        self.store = store
        self._lock = threading.Lock()
        self._known: list[Ruling] = []

    def decide(self, who: str, asked: Asked) -> Changed:
        """Decide on one record, or one answer of it.

        Raises:
            InputError: if there is no such record, or that can't be decided on it.
        """
        view = self.review.record(asked.target)
        answer = _answer_of(view, asked)
        of: Of = "completion" if answer else view.row.of
        _check(asked.what, of, asked.field, asked.value, asked.why)
        if asked.what == "set-score":
            _check_scale(self.review.scale_of(asked.field, answer or _asked(view)), asked.field, asked.value)
        _check_queue(asked.queue)
        ruling = Ruling(
            target=answer.id if answer else view.row.id,
            of=of,
            what=asked.what,
            who=check_name(who),
            field=asked.field,
            value=asked.value,
            why=asked.why,
            queue=asked.queue,
            reasons=answer.reasons if answer else view.row.reasons,
            prompt=view.row.prompt_id,
            answer=answer.answer if answer else view.row.answer,
        )
        return self._add([ruling], _said(ruling))

    def decide_all(self, who: str, filter_: Filter, asked: Bulk) -> Changed:
        """Decide the same on all that a filter lets through: all of it is in the store when this returns, or nothing.

        Raises:
            InputError: if there are not as many as was said before, or that can't be decided on one of them.
        """
        if asked.what not in _IN_BULK:
            raise InputError(f"'{asked.what}' is decided on one record at a time")
        _check_queue(asked.queue)
        self.review.refresh()
        targets, count = self.review.targets(filter_), self.review.count(filter_)
        if count != asked.count:
            raise InputError(
                f"{counted(count, 'record')} match now, and {asked.count:,} did when you looked: look again"
            )
        if not targets:
            raise InputError("nothing matches: there is nothing to decide on")
        for of in {each.of for each in targets}:
            _check(asked.what, of, asked.field, asked.value, asked.why)
        if asked.what == "set-score":
            _check_scale(self.review.scale_of(asked.field), asked.field, asked.value)
        name, batch = check_name(who), uuid.uuid4().hex
        given = {"what": asked.what, "field": asked.field, "value": asked.value, "why": asked.why}
        rulings = [
            Ruling(
                target=each.id,
                of=each.of,
                who=name,
                queue=asked.queue,
                reasons=each.reasons,
                batch=batch,
                prompt=each.prompt,
                answer=each.answer,
                **given,  # type: ignore[arg-type]
            )
            for each in targets
        ]
        copies = f", with {counted(count - len(rulings), 'copy', 'copies')}" if count > len(rulings) else ""
        return self._add(rulings, f"{_said(rulings[0])}: {counted(len(rulings), 'record')} at once{copies}")

    def undo(self, who: str) -> Changed:
        """Take back what the person did last and is not taken back.

        Raises:
            InputError: if there is nothing.
        """
        with self._lock:
            presses = self._presses(who)
            standing = [each for each in presses if each.standing]
            if not standing:
                raise InputError("there is nothing to undo")
            press = max(standing, key=lambda each: each.touched)
            undone = self._write(_undoing(press.standing, who))
        return self._taken_up(undone, f"Undone: {_said_of_many(press.rulings)}")

    def redo(self, who: str) -> Changed:
        """Take back the last undo, as long as nothing was decided since.

        Raises:
            InputError: if there is nothing.
        """
        with self._lock:
            presses = self._presses(who)
            newest = max((each.rulings[-1].number for each in presses), default=0)
            waiting = [each for each in presses if each.undos and not each.standing and each.touched > newest]
            if not waiting:
                raise InputError("there is nothing to redo")
            press = max(waiting, key=lambda each: each.touched)
            redone = self._write(_undoing(press.undos, who))
        return self._taken_up(redone, f"Done again: {_said_of_many(press.rulings)}")

    def _presses(self, who: str) -> list["_Press"]:
        """What a person did, a press of a key each, with what is in force of it."""
        self._known += self.store.rulings(after=self._known[-1].number if self._known else 0)
        by_number = {each.number: each for each in self._known}
        undone: set[int] = set()
        for each in reversed(self._known):
            if each.what == "undo" and each.number not in undone:
                undone.add(each.undoes)
        presses: dict[str, _Press] = {}
        press_of: dict[int, _Press] = {}
        for each in self._known:
            if each.what != "undo" and each.who == who:
                press = presses.setdefault(each.batch or f"#{each.number}", _Press([], [], []))
                press.rulings.append(each)
                press.touched = each.number
                press_of[each.number] = press
                if each.number not in undone:
                    press.standing.append(each)
            elif each.what == "undo" and (press_ := press_of.get(_base(each, by_number))) is not None:
                press_.touched = each.number
                if each.number not in undone and by_number[each.undoes].what != "undo":
                    press_.undos.append(each)
        return list(presses.values())

    def _add(self, rulings: Sequence[Ruling], said: str) -> Changed:
        with self._lock:
            added = self._write(rulings)
        return self._taken_up(added, said)

    def _write(self, rulings: Sequence[Ruling]) -> list[Ruling]:
        return self.store.add(rulings)

    def _taken_up(self, rulings: Iterable[Ruling], said: str) -> Changed:
        self.review.refresh()
        return Changed(tuple(rulings), said)


@dataclass
class _Press:
    """One press of a key: its rulings, those of them that stand, and the undos in force on the others."""

    rulings: list[Ruling]
    standing: list[Ruling]
    undos: list[Ruling]
    touched: int = 0
    """Number of the last ruling on it: of itself, of an undo, of a redo."""


def _base(undo: Ruling, by_number: dict[int, Ruling]) -> int:
    """Number of the ruling that an undo, or an undo of an undo, is on."""
    while undo.what == "undo" and undo.undoes in by_number and undo.undoes < undo.number:
        undo = by_number[undo.undoes]
    return undo.number


def _undoing(rulings: Iterable[Ruling], who: str) -> list[Ruling]:
    return [
        Ruling(target=each.target, of=each.of, what="undo", who=who, undoes=each.number, batch=each.batch)
        for each in rulings
    ]


def _answer_of(view: RecordView, asked: Asked) -> Shown | None:
    """The answer that a ruling is on; None: it is on the record itself."""
    wanted = asked.answer
    if not wanted and asked.what == "set-score" and view.row.of == "pair":
        raise InputError("a score is set on one of the pair's answers: say which")
    if not wanted or wanted == view.row.id:
        return None
    found = next((each for each in view.answers if each.id == wanted), None)
    if found is None:
        raise InputError("this record has no such answer")
    if asked.what not in {"set-score", "note"}:
        raise InputError(f"'{asked.what}' is decided on the record, not on one of its answers")
    return found


def _check(what: Action, of: Of, field: str, value: float | str | None, why: str) -> None:
    """Refuse what can't be decided on such a record."""
    if what == "undo":
        raise InputError("an undo is asked for as such")
    if what == "swap" and of != "pair":
        raise InputError("only a pair has answers to swap")
    if len(why) > _MOST_TEXT or (isinstance(value, str) and len(value) > _MOST_TEXT):
        raise InputError(f"the text is longer than {_MOST_TEXT:,} characters")
    if what == "set-score":
        _check_score(of, field, value)
    elif what == "edit":
        if field not in EDITABLE[of]:
            raise InputError(f"'{field[:40]}' of such a record can't be edited; what can: {', '.join(EDITABLE[of])}")
        if not isinstance(value, str) or not value.strip():
            raise InputError("an edited text is not empty; to take the record out, drop it")
    elif field or value is not None:
        raise InputError(f"'{what}' takes neither a field nor a value")
    if what == "note" and not why.strip():
        raise InputError("a note says something")


def _check_score(of: Of, field: str, value: float | str | None) -> None:
    if of != "completion":
        raise InputError("only an answer of feedback has a score to set")
    if not field or len(field) > _MOST_NAME or not field.isprintable():
        raise InputError("say which score: overall_score, or the name of an aspect")
    if isinstance(value, str) or (value is not None and not (math.isfinite(value) and abs(value) < 1e6)):
        raise InputError("a score is a number, or nothing where there is none")


def _check_scale(scale: Scale, field: str, value: float | str | None) -> None:
    if isinstance(value, int | float) and not scale.low <= value <= scale.high:
        raise InputError(
            f"{field} is {scale.low:g} to {scale.high:g} here, and {value:g} is off that scale; give another number"
        )


def _asked(view: RecordView) -> Shown | None:
    """The answer that a record is of, where it is of one."""
    return None if view.asked is None else view.answers[view.asked]


def _check_queue(queue: str) -> None:
    if queue not in QUEUES:
        raise InputError(f"there is no queue '{queue[:40]}'; those there are: {', '.join(QUEUES)}")


_SAID: dict[Action, str] = {
    "keep": "Kept",
    "drop": "Dropped",
    "swap": "Swapped",
    "cannot-tell": "Cannot tell",
    "note": "Noted",
    "edit": "Edited",
}


def _said(ruling: Ruling) -> str:
    if ruling.what == "set-score":
        value = "none" if ruling.value is None else f"{ruling.value:g}"
        name = "Score" if ruling.field == "overall_score" else ruling.field.replace("_", " ").capitalize()
        return f"{name} set to {value}"
    said = _SAID.get(ruling.what, ruling.what)
    return f"{said}: {ruling.field}" if ruling.what == "edit" else said


def _said_of_many(rulings: Sequence[Ruling]) -> str:
    more = f", {counted(len(rulings), 'record')} at once" if len(rulings) > 1 else ""
    return _said(rulings[0]).lower() + more

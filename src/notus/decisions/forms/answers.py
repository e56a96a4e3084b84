"""What came back of a form, row by row, and the rulings that it means; every row that means none is counted and told.

A row gives up to one verdict (``keep``, ``drop``, ``swap``, ``cannot-tell``), a score, and texts; a reason in words
goes with each of them, and is a note where it stands alone. A row of which anything cannot be read gives nothing: half
a decision is not what was decided.

Owns what is read into rulings, and what a store takes of them (``bring``). How the rows lie in a file is owned by the
forms beside it.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from notus.core.errors import InputError
from notus.core.records import Scale
from notus.core.text import one_line
from notus.decisions.change import SCORED
from notus.decisions.forms.item import TEXTS, Key, changed_texts, is_shown, read_key, read_target
from notus.decisions.ruling import Action, Of, Ruling, in_force
from notus.decisions.store import Store

__all__ = ["CUT", "DECISIONS", "Answer", "Brought", "Returned", "bring", "read_answers"]

DECISIONS: dict[Of, tuple[Action, ...]] = {
    "feedback": ("keep", "drop", "cannot-tell"),
    "completion": ("keep", "drop", "cannot-tell"),
    "pair": ("keep", "drop", "swap", "cannot-tell"),
    "row": ("keep", "drop", "cannot-tell"),
    "dialogue": ("keep", "drop", "cannot-tell"),
}
"""The verdicts that there are on each kind of record."""
CUT = "… [cut here: {} more characters]"
"""Ends a text that a form cannot hold whole."""
_CUT = re.compile(r"… \[cut here: \d+ more characters\]\s*$")
_NONE = ("none", "null", "n/a")
_UNSURE = ("cannot tell", "can't tell", "cant tell", "cannot_tell", "unsure", "?")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A row of a form as it came back; what is empty is None or absent."""

    where: str
    """``row 7``, for messages."""
    target: str
    """The id, as ``target_text`` writes it."""
    key: str = ""
    who: str = ""
    when: str = ""
    decision: str = ""
    score: float | str | None = None
    why: str = ""
    edits: Mapping[str, str] = field(default_factory=dict)
    """Text → what shall stand in its place."""
    texts: Mapping[str, str | None] = field(default_factory=dict)
    """Text → how it was shown, where it came back."""
    reasons: tuple[str, ...] = ()


@dataclass
class Returned:
    """What came back in a file: rulings, each with where it stands, and all that is none."""

    rulings: list[tuple[str, Ruling]] = field(default_factory=list)
    answers: int = 0
    """Rows; of an annotation tool a row for each person who answered, or one where nobody did."""
    empty: int = 0
    """Those in which nothing is decided."""
    twice: int = 0
    """Decisions that stand in the file once more."""
    unchecked: int = 0
    """Rows without a key."""
    unknown: list[str] = field(default_factory=list)
    """Rows whose id is none that went out."""
    unreadable: list[str] = field(default_factory=list)
    """What cannot be read, with where and why."""
    changed: list[str] = field(default_factory=list)
    """Texts that were changed where they are only shown, and what to do about it."""
    aside: Counter[str] = field(default_factory=Counter)
    """What was not handed in, by why: drafts, what was skipped."""


@dataclass(frozen=True)
class Brought:
    """What a store took of a file."""

    returned: Returned
    added: list[Ruling]
    known: int
    """Decisions that are in force already."""
    undone: list[str]
    """Decisions that were taken back, or made otherwise, since they were brought in first: they are not made again."""


def read_answers(
    answers: Iterable[Answer | str], who: str = "", names: Mapping[str, str] | None = None, *, returned: Returned
) -> Returned:
    """Read rows into rulings.

    Args:
        answers: of a form; in place of one that could not be read, what is wrong with it.
        who: whose decisions they are, where the row does not say it.
        names: the form's name or number of a person → the name in the store.
        returned: is added to.

    Raises:
        InputError: if nobody says whose decisions they are.
    """
    rows: dict[tuple[str, str], list[tuple[str, list[Ruling]]]] = {}
    for answer in answers:
        returned.answers += 1
        if isinstance(answer, str):
            returned.unreadable.append(answer)
        elif found := list(_read(answer, who, names or {}, returned)):
            rows.setdefault((found[0].who, found[0].target), []).append((answer.where, found))
    for given in rows.values():
        _take(given, returned)
    return returned


def bring(store: Store, returned: Returned, batch: str, *, anew: bool = False) -> Brought:
    """Add to a store what came back, but for what it holds already.

    Args:
        store: open.
        returned: see ``read_answers``.
        batch: under which the decisions can be found together.
        anew: whether to decide again what was taken back, or decided otherwise, since it was brought in first.
    """
    held = list(store.rulings())
    ever = {_same(each): each for each in held if each.what != "undo"}
    now = {_same(each) for each in in_force(held)}
    added: list[Ruling] = []
    known, undone = 0, list[str]()
    for where, ruling in returned.rulings:
        before = ever.get(_same(ruling))
        if _same(ruling) in now:
            known += 1
        elif before is not None and not anew:
            undone.append(
                f"{where}: {_told(ruling)} on {ruling.target} is decision {before.number}, which was taken back or "
                "decided otherwise since"
            )
        else:
            added.append(msgspec.structs.replace(ruling, batch=batch))
    return Brought(returned, store.add(added), known, undone)


def _same(ruling: Ruling) -> tuple[object, ...]:
    """What makes two decisions the same, whenever and in whichever file they were made."""
    return ruling.who, ruling.target, ruling.what, ruling.field, ruling.value, ruling.why


def _take(given: list[tuple[str, list[Ruling]]], returned: Returned) -> None:
    """What one person decided on one record, be it on several rows: equal decisions are one, contrary ones none."""
    kept: list[tuple[str, Ruling]] = []
    for where, ruling in ((where, each) for where, rulings in given for each in rulings):
        if any(_same(of) == _same(ruling) for _, of in kept):
            returned.twice += 1
            continue
        contrary = [(at, of) for at, of in kept if of.slot == ruling.slot and ruling.what != "note"]
        if contrary:
            (at, of), *_ = contrary
            target = f"{ruling.of}:{ruling.target}"
            returned.unreadable.append(
                f"{where}: says {_told(ruling)} on {target}, and {at} says {_told(of)}; neither is taken: leave one"
            )
            return
        kept.append((where, ruling))
    returned.rulings += kept


def _told(ruling: Ruling) -> str:
    if ruling.what == "set-score":
        return f"score {'none' if ruling.value is None else f'{ruling.value:g}'}"
    return f"another {ruling.field}" if ruling.what == "edit" else ruling.what


def _read(answer: Answer, who: str, names: Mapping[str, str], returned: Returned) -> Iterator[Ruling]:
    """The rulings of one row; what is wrong with it is told, and then it gives none."""
    target = read_target(answer.target)
    key = None if target is None or not answer.key.strip() else read_key(answer.key, answer.target)
    if target is None or (answer.key.strip() and key is None):
        told = one_line(answer.target, 60) or "an empty cell"
        why = "no id that went out" if target is None else "not the id that went out with this key"
        returned.unknown.append(f"{answer.where}: {told} is {why}; copy id and key from the form again")
        return
    of, id_ = target
    returned.unchecked += key is None
    returned.changed += [f"{answer.where}: {_to_edit(name, key)}" for name in changed_texts(key, of, answer.texts)]
    try:
        meant = _meant(answer, of, key)
    except ValueError as error:
        returned.unreadable.append(f"{answer.where}: {error}")
        return
    if not meant:
        returned.empty += 1
        return
    person = names.get(answer.who.strip(), answer.who.strip()) or who
    if not person:
        raise InputError(f"{answer.where} does not say whose decision it is; name them: --who NAME")
    for what, about, value in meant:
        yield Ruling(
            target=id_,
            of=of,
            what=what,
            who=person,
            when=_time(answer.when),
            field=about,
            value=value,
            why=answer.why.strip(),
            queue=(key.queue if key else "") or "import",
            reasons=answer.reasons,
            prompt=key.prompt if key else "",
            answer=key.answer if key else "",
        )


def _to_edit(name: str, key: Key | None) -> str:
    way = f"write a new text under new_{name}" if key and name in key.editable else "it cannot be edited in a form"
    return f"the text of '{name}' was changed where it is only shown, which does nothing; {way}"


def _meant(answer: Answer, of: Of, key: Key | None) -> list[tuple[Action, str, float | str | None]]:
    """Action, field and value of each decision of a row.

    Raises:
        ValueError: with what cannot be read.
    """
    found: list[tuple[Action, str, float | str | None]] = []
    if verdict := _verdict(answer.decision, of):
        found.append((verdict, "", None))
    if answer.score not in (None, ""):
        found.append(("set-score", "overall_score", _score(answer.score, of, key.scale if key else None)))
    for name, text in answer.edits.items():
        if text and not (key and is_shown(key, of, name, text)):
            found.append(("edit", name, _edit(name, text, of, key)))
    if not found and answer.why.strip():
        found.append(("note", "", None))
    return found


def _verdict(text: str, of: Of) -> Action | None:
    word = " ".join(text.lower().split())
    if not word:
        return None
    word = "cannot-tell" if word in _UNSURE else word
    for known in DECISIONS[of]:
        if word == known:
            return known
    raise ValueError(f"the decision is {one_line(text, 40)!r}; write {', '.join(DECISIONS[of])}, or nothing")


def _score(given: float | str | None, of: Of, scale: Scale | None) -> float | None:
    if of != "completion":
        raise ValueError(f"the score is {given}, and a {of} has none to be set; leave it empty")
    text = str(given).strip().lower()
    if text in _NONE:
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"the score is {one_line(text, 40)!r}; write a number such as 7 or 7.5, or none") from None
    scale = scale or SCORED
    if not math.isfinite(value) or not scale.low <= value <= scale.high:
        raise ValueError(f"the score is {text}; write a number from {scale.low:g} to {scale.high:g}, or none")
    return value


def _edit(name: str, text: str, of: Of, key: Key | None) -> str:
    if name not in (key.editable if key else TEXTS[of]):
        raise ValueError(f"there is a text under new_{name}, and that one cannot be edited here; leave it empty")
    if _CUT.search(text):
        raise ValueError(f"the text under new_{name} was cut for a spreadsheet; edit it by jsonl or html")
    return text


def _time(text: str) -> str:
    """When, in ISO 8601 with its offset; what is no such time is left to the store."""
    try:
        found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        return ""
    return found.isoformat(timespec="milliseconds") if found.tzinfo else ""

"""What persons have decided together on each target: the verdict, scores and texts that count, and where they differ.

    settled = settle(read_rulings("decisions.sqlite"))
    settled.on("406ad529…").verdict          # Word(value='drop', who=('ana', 'ben'), why=…)

Of each person the last word in a slot counts (``ruling.in_force``). Where persons differ, a ruling of the queue
``conflicts`` settles it; otherwise what more than half of those say who can tell; otherwise it is a conflict, and
nothing is done. Owns the agreement and the digest of what is settled; what is done to a record is owned by ``apply``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from notus.core.config import digest_of
from notus.core.records import Record
from notus.decisions.ruling import Of, Ruling, in_force, taken_back

__all__ = [
    "CANNOT_TELL",
    "CONFLICTS",
    "NOTE",
    "VERDICT",
    "Settled",
    "Word",
    "Words",
    "settle",
    "settle_target",
    "standings",
]

VERDICT = "verdict"
"""The slot of keep, drop and swap."""
CANNOT_TELL = "cannot-tell"
"""The slot of a target of which nobody could tell."""
NOTE = "note"
CONFLICTS = "conflicts"
"""The queue whose rulings settle what others disagree on."""
_CANNOT = "cannot-tell"
Value = float | str | None


class Word(Record, frozen=True):
    """What is settled in one slot."""

    value: Value
    """The verdict, the score or the text."""
    who: tuple[str, ...]
    """Those who say so, by name."""
    why: str = ""
    """In their words."""
    number: int = 0
    """Of the last ruling that it rests on."""

    @property
    def by(self) -> str:
        """Who, as one text."""
        return ", ".join(self.who)


class Words(Record, frozen=True):
    """All that is settled on one target, and the rulings that it is made of."""

    target: str
    of: Of
    prompt: str = ""
    answer: str = ""
    verdict: Word | None = None
    scores: dict[str, Word] = msgspec.field(default_factory=dict)
    """``overall_score`` or an aspect → the score."""
    edits: dict[str, Word] = msgspec.field(default_factory=dict)
    """Field → the text."""
    conflicts: tuple[str, ...] = ()
    """Slots in which persons differ: ``verdict``, ``set-score:helpfulness``, ``edit:answer``."""
    cannot_tell: tuple[str, ...] = ()
    """Those who cannot tell, where nobody can."""
    notes: int = 0
    rulings: tuple[Ruling, ...] = ()
    """In force, in their order."""

    @property
    def slots(self) -> dict[str, str]:
        """Each decision → what it counts as: ``applied``, ``conflict``, ``cannot-tell`` or ``note``."""
        found = {VERDICT: "applied"} if self.verdict else {}
        found |= {f"set-score:{name}": "applied" for name in self.scores}
        found |= {f"edit:{name}": "applied" for name in self.edits}
        found |= dict.fromkeys(self.conflicts, "conflict")
        if self.cannot_tell:
            found[CANNOT_TELL] = CANNOT_TELL
        if self.notes:
            found[NOTE] = NOTE
        return found


@dataclass(frozen=True)
class Settled:
    """What is settled on each target."""

    targets: Mapping[str, Words] = field(default_factory=dict)

    def on(self, target: str) -> Words | None:
        """What is settled on a target; None where nothing was decided."""
        return self.targets.get(target)

    @property
    def conflicts(self) -> list[Words]:
        """The targets on which persons differ."""
        return [each for each in self.targets.values() if each.conflicts]

    @property
    def digest(self) -> str:
        """Hash of all that can decide a result: equal for equal rulings in force, however they were come by.

        Numbers, times, queues, flags and batches do not count; the order does only where it decides something.
        """
        groups: dict[str, list[Words]] = defaultdict(list)
        for each in self.targets.values():
            groups[each.prompt or each.target].append(each)
        said = sorted(line for group in groups.values() for line in _lines_of(group))
        return digest_of(said)


def settle(rulings: Iterable[Ruling]) -> Settled:
    """Settle what counts of rulings.

    Args:
        rulings: all that were made, with what is undone.
    """
    by_target: dict[str, list[Ruling]] = defaultdict(list)
    for each in in_force(rulings):
        by_target[each.target].append(each)
    return Settled({target: settle_target(each) for target, each in sorted(by_target.items())})


def settle_target(rulings: Sequence[Ruling]) -> Words:
    """Settle the rulings on one target, or on several that are known to be the same: then the last names it.

    Args:
        rulings: in force, at least one, in their order.
    """
    last: dict[tuple[str, str, str], Ruling] = {(each.who, *each.slot): each for each in rulings}
    slots: dict[tuple[str, str], list[Ruling]] = defaultdict(list)
    for each in sorted(last.values(), key=lambda one: one.number):
        slots[each.slot if each.what != "note" else (NOTE, "")].append(each)
    conflicts: list[str] = []
    words: dict[str, dict[str, Word]] = {"verdict": {}, "set-score": {}, "edit": {}}
    cannot: tuple[str, ...] = ()
    notes = len(slots.pop((NOTE, ""), ()))
    for (what, name), said in slots.items():
        told = _majority(said)
        if told is None:
            conflicts.append(VERDICT if what == VERDICT else f"{what}:{name}")
        elif what == VERDICT and told.value == _CANNOT:
            cannot = told.who
        else:
            words[what][name] = told
    target = rulings[-1]
    return Words(
        target=target.target,
        of=target.of,
        prompt=next((each.prompt for each in rulings if each.prompt), ""),
        answer=next((each.answer for each in rulings if each.answer), ""),
        verdict=words[VERDICT].get(""),
        scores=words["set-score"],
        edits=words["edit"],
        conflicts=tuple(sorted(conflicts)),
        cannot_tell=cannot,
        notes=notes,
        rulings=tuple(rulings),
    )


def standings(rulings: Iterable[Ruling]) -> dict[int, str]:
    """Number of each ruling → what became of it, in words; of what takes another back nothing.

    An answer is the same one wherever it stands, as it is where decisions are applied.
    """
    every = list(rulings)
    back = taken_back(every)
    found = {each.number: "" if each.what == "undo" else "decided anew since" for each in every}
    found |= {number: f"taken back by {undo}" for number, undo in back.items()}
    last: dict[tuple[str, ...], dict[str, Ruling]] = defaultdict(dict)
    for each in in_force(every):
        on = (each.prompt, each.answer) if each.prompt and each.answer else (each.target,)
        last[*on, *each.slot][each.who] = each
    for own in last.values():
        said = sorted(own.values(), key=lambda one: one.number)
        found |= {each.number: _standing(each, said) for each in said}
    return found


def _standing(ruling: Ruling, said: Sequence[Ruling]) -> str:
    """What became of a ruling among the last words of all persons in its slot."""
    told = None if ruling.what == "note" else _majority(said)
    if told is None:
        return "counts" if ruling.what == "note" else "in conflict: nothing is done"
    agrees = _value(ruling) == told.value
    settling = [each.number for each in said if each.queue == CONFLICTS]
    if settling and len(set(map(_value, said))) > 1:
        if ruling.number == settling[-1]:
            return "counts, and settles the conflict"
        return f"{'counts' if agrees else 'overruled'}, settled by ruling {settling[-1]}"
    if agrees:
        return "nothing is done: nobody could tell" if told.value == _CANNOT else "counts"
    return f"overruled: {told.by} could tell" if ruling.what == _CANNOT else f"overruled by most ({told.by})"


def _majority(said: Sequence[Ruling]) -> Word | None:
    """What counts of the last words of several persons in one slot; None where they differ."""
    settling = [each for each in said if each.queue == CONFLICTS]
    if settling:
        return _word(settling[-1:])
    telling = [each for each in said if each.what != _CANNOT]
    if not telling:
        return _word(said)
    (value, count), *_ = Counter(map(_value, telling)).most_common(1)
    return _word([each for each in telling if _value(each) == value]) if 2 * count > len(telling) else None


def _value(ruling: Ruling) -> Value:
    if ruling.what in ("set-score", "edit"):
        return float(ruling.value) if isinstance(ruling.value, int) else ruling.value
    return ruling.what


def _word(said: Sequence[Ruling]) -> Word:
    by_name = sorted(said, key=lambda each: each.who)
    return Word(
        value=_value(said[-1]),
        who=tuple(each.who for each in by_name),
        why="; ".join(dict.fromkeys(each.why for each in by_name if each.why)),
        number=max(each.number for each in said),
    )


def _lines_of(group: Sequence[Words]) -> list[str]:
    """The rulings on the targets of one prompt as texts; numbered where their order decides something."""
    rulings = sorted((each for words in group for each in words.rulings), key=lambda each: each.number)
    ordered = _order_counts(group)
    return [
        msgspec.json.encode(
            (
                *(each.target, each.of, each.what, each.who, each.field, _value(each), each.why, each.prompt),
                *(each.answer, each.queue == CONFLICTS, place if ordered else 0),
            )
        ).decode()
        for place, each in enumerate(rulings, 1)
    ]


def _order_counts(group: Sequence[Words]) -> bool:
    """Whether it matters who spoke first: of two who settle a conflict, of two names of one answer, of a text that was
    edited and what was decided on the new one."""
    if any(sum(each.queue == CONFLICTS for each in words.rulings) > 1 for words in group):
        return True
    if len(group) < 2:
        return False
    answers = Counter(words.answer for words in group if words.answer)
    return max(answers.values(), default=0) > 1 or any(
        each.what in ("swap", "edit") for words in group for each in words.rulings
    )

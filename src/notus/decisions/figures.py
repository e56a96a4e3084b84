"""Figures of what people decided: how they agree, how often a reason was right, what a random sample shows.

    found = figures(read_rulings("decisions.sqlite"))
    found.reasons[0].right          # Share: 8 of 9 (88.9%, 95 % 56.5% to 98.0%)

Whether a flag was right: a record that was dropped, swapped, edited, or given another score had a fault, and a flag on
it was right; one that was kept, and nothing else, had none, and a flag on it was wrong. What nobody could tell, and
what people differ on, stands apart and is in no share. A note says neither.

The precision of a reason is that of the records which were looked at, and these are mostly the most suspicious: it says
nothing of how many faults there are in all, and falls as one goes down the queue. A rate of the set is taken of the
queue ``random`` alone. Owns the figures; what is settled is owned by ``settle``.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from notus.decisions.ruling import VERDICTS, Ruling, in_force, taken_back
from notus.decisions.settle import Words, settle
from notus.stats.agreement import Agreement, agreement, krippendorff
from notus.stats.intervals import Estimate, Share, proportion, wilson_if_unanimous
from notus.stats.intervals import share as clustered_share

__all__ = ["Depth", "Figures", "Found", "People", "Person", "Reason", "Sample", "figures", "found_on"]

Found = Literal["fault", "sound", "cannot-tell", "conflict", "note"]
"""What was found on a record."""
RANDOM = "random"
_ORDERED = ("suspicion", "flags")
"""Queues whose records come the worst first: of them alone a depth can be told."""
_DEPTHS = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
_CHANGED = ("drop", "swap")
_DRAWS = 1_999


@dataclass(frozen=True)
class Person:
    """What one person decided."""

    name: str
    decided: int
    """Records on which a decision of theirs is in force."""
    what: Mapping[str, int]
    """How often each: keep, drop, set-score …; a record may have several."""


@dataclass(frozen=True)
class People:
    """Two people on what both decided."""

    a: str
    b: str
    both: int
    """Records."""
    found: Agreement
    """On fault or sound, where both could tell."""
    what: Agreement
    """On what to do: keep, drop, swap, change (a score or a text)."""
    cannot_tell: int
    """Of those, records of which one of them could not tell."""


@dataclass(frozen=True)
class Reason:
    """How often a flag was right."""

    reason: str
    right: Share
    """Of the records with it on which fault or sound is settled."""
    cannot_tell: int
    conflict: int


@dataclass(frozen=True)
class Depth:
    """How often the queue was right at a depth."""

    first: int
    """Place in the queue, from 1."""
    last: int
    right: Share
    apart: int
    """Records of which nobody could tell, or on which people differ."""


@dataclass(frozen=True)
class Sample:
    """What a random sample shows of all records that it was drawn from."""

    faults: Share
    without_reason: Share
    """Of those without a flag: what the flags miss."""
    with_reason: Share
    cannot_tell: int
    conflict: int


@dataclass(frozen=True)
class Figures:
    """All figures of a store."""

    targets: int
    """Records that were decided on."""
    decisions: int
    """In force."""
    taken_back: int
    """Decisions that were taken back, and not redone."""
    replaced: int
    """Decisions that the same person has decided anew since."""
    people: tuple[Person, ...]
    pairs: tuple[People, ...]
    """Two people who decided on the same records."""
    alpha: Estimate | None
    """Krippendorff's α over all people, on fault or sound."""
    conflicts: tuple[str, ...]
    """Targets on which people differ, and that nobody settled."""
    settled: int
    """Targets that somebody settled after people had differed."""
    reasons: tuple[Reason, ...]
    """The one with the most decided records first."""
    no_reason: Share
    """Faults among the decided records that had no flag."""
    depths: tuple[Depth, ...]
    by_order: bool
    """Whether a depth is the order of deciding; otherwise it is the place by suspicion in an audit."""
    no_place: int
    """Records of the queue that have no place in that audit."""
    sample: Sample | None

    def as_json(self) -> dict[str, Any]:
        """The figures as plain JSON."""
        return {
            "targets": self.targets,
            "decisions": self.decisions,
            "taken_back": self.taken_back,
            "replaced": self.replaced,
            "people": [{"name": each.name, "decided": each.decided, "what": dict(each.what)} for each in self.people],
            "pairs": [_people_json(each) for each in self.pairs],
            "alpha": self.alpha and self.alpha.as_json("alpha"),
            "conflicts": list(self.conflicts),
            "settled_after_conflict": self.settled,
            "reasons": [
                {
                    "reason": each.reason,
                    "right": _share_json(each.right),
                    "cannot_tell": each.cannot_tell,
                    "conflict": each.conflict,
                }
                for each in self.reasons
            ],
            "faults_without_reason": _share_json(self.no_reason),
            "depth_is": "order" if self.by_order else "suspicion",
            "without_place": self.no_place,
            "depths": [
                {"first": each.first, "last": each.last, "right": _share_json(each.right), "apart": each.apart}
                for each in self.depths
            ],
            "random_sample": self.sample and _sample_json(self.sample),
        }


def figures(rulings: Iterable[Ruling], places: Mapping[str, int] | None = None) -> Figures:
    """The figures of all rulings of a store.

    Args:
        rulings: all that were made, with what is undone.
        places: id of a record → its place in an audit, 1 for the most suspicious. Without it the depth of a record is
            the order in which its queue was decided, ``suspicion`` or ``flags``.
    """
    given = list(rulings)
    force, back = in_force(given), len(taken_back(given))
    words = settle(given).targets
    found = {target: found_on(each) for target, each in words.items()}
    depths, no_place = _depths(words, found, places)
    conflicts = tuple(target for target, each in words.items() if each.conflicts)
    return Figures(
        targets=len(words),
        decisions=len(force),
        taken_back=back,
        replaced=sum(each.what != "undo" for each in given) - len(force) - back,
        people=_persons(force),
        pairs=_pairs(force),
        alpha=_alpha(force),
        conflicts=conflicts,
        settled=sum(any(each.queue == "conflicts" for each in one.rulings) for one in words.values()),
        reasons=_reasons(words, found),
        no_reason=_share([found[target] for target, one in words.items() if not _flags(one)], _prompts(words, False)),
        depths=depths,
        by_order=places is None,
        no_place=no_place,
        sample=_sample(words, found),
    )


def found_on(words: Words) -> Found:
    """What was found on a record, by what is settled on it."""
    if words.conflicts:
        return "conflict"
    if words.scores or words.edits or (words.verdict is not None and words.verdict.value in _CHANGED):
        return "fault"
    if words.verdict is not None:
        return "sound"
    return "cannot-tell" if words.cannot_tell else "note"


def _flags(words: Words) -> set[str]:
    return {reason for each in words.rulings for reason in each.reasons}


def _prompts(words: Mapping[str, Words], flagged: bool) -> list[str]:
    return [one.prompt or target for target, one in words.items() if bool(_flags(one)) == flagged]


def _share(found: Sequence[Found], prompts: Sequence[str]) -> Share:
    """Faults among what is fault or sound; answers to one prompt are a cluster."""
    cases = [
        (each == "fault", prompt) for each, prompt in zip(found, prompts, strict=True) if each in ("fault", "sound")
    ]
    count, of = sum(fault for fault, _ in cases), len(cases)
    if len({prompt for _, prompt in cases}) == of:
        return Share.make(count, of)
    estimate = clustered_share([float(fault) for fault, _ in cases], [prompt for _, prompt in cases])
    return Share(count, of, wilson_if_unanimous(estimate) if estimate else proportion(count, of))


def _reasons(words: Mapping[str, Words], found: Mapping[str, Found]) -> tuple[Reason, ...]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for target, one in words.items():
        for reason in sorted(_flags(one)):
            by_reason[reason].append(target)
    rows = [
        Reason(
            reason,
            _share([found[each] for each in targets], [words[each].prompt or each for each in targets]),
            sum(found[each] == "cannot-tell" for each in targets),
            sum(found[each] == "conflict" for each in targets),
        )
        for reason, targets in by_reason.items()
    ]
    return tuple(sorted(rows, key=lambda each: (-each.right.of, each.reason)))


def _depths(
    words: Mapping[str, Words], found: Mapping[str, Found], places: Mapping[str, int] | None
) -> tuple[tuple[Depth, ...], int]:
    """How often the queue was right between the depths, and how many of its records have no place."""
    queued: dict[str, tuple[int, str]] = {}
    for target, one in words.items():
        ordered = [(each.number, each.queue) for each in one.rulings if each.queue in _ORDERED]
        if ordered and found[target] != "note":
            queued[target] = min(ordered)
    if places is None:
        known: dict[str, int] = {}
        for name in _ORDERED:  # each queue has its own first place
            own = sorted((number, target) for target, (number, queue) in queued.items() if queue == name)
            known |= {target: place for place, (_, target) in enumerate(own, 1)}
    else:
        known = {target: places[target] for target in queued if target in places}
    rows, first = [], 1
    for last in (*_DEPTHS, max(known.values(), default=0)):
        here = [target for target, place in known.items() if first <= place <= last]
        if here:
            right = _share([found[each] for each in here], [words[each].prompt or each for each in here])
            end = min(last, max(known.values()))
            rows.append(Depth(first, end, right, sum(found[each] not in ("fault", "sound") for each in here)))
        first = max(first, last + 1)
    return tuple(rows), len(queued) - len(known)


def _sample(words: Mapping[str, Words], found: Mapping[str, Found]) -> Sample | None:
    drawn = [target for target, one in words.items() if any(each.queue == RANDOM for each in one.rulings)]
    if not drawn:
        return None

    def faults(targets: Sequence[str]) -> Share:
        return _share([found[each] for each in targets], [words[each].prompt or each for each in targets])

    flagged = [each for each in drawn if _flags(words[each])]
    return Sample(
        faults=faults(drawn),
        without_reason=faults([each for each in drawn if not _flags(words[each])]),
        with_reason=faults(flagged),
        cannot_tell=sum(found[each] == "cannot-tell" for each in drawn),
        conflict=sum(found[each] == "conflict" for each in drawn),
    )


def _persons(force: Sequence[Ruling]) -> tuple[Person, ...]:
    by_person: dict[str, list[Ruling]] = defaultdict(list)
    for each in force:
        by_person[each.who].append(each)
    rows = []
    for name, own in by_person.items():
        what: dict[str, int] = defaultdict(int)
        for each in own:
            what[each.what] += 1
        rows.append(Person(name, len({each.target for each in own if each.what != "note"}), dict(sorted(what.items()))))
    return tuple(sorted(rows, key=lambda each: (-each.decided, each.name)))


_Said = dict[str, dict[str, str]]
"""Target → person → what they say is to be done with it."""


def _said(force: Sequence[Ruling]) -> _Said:
    """One word of each person on each target: a change of a score or a text goes before a verdict to keep it. What
    settles a conflict was said with both before one's eyes, and shows no agreement."""
    said: _Said = defaultdict(dict)
    for each in force:
        if each.queue == "conflicts" or each.what == "note":
            continue
        own = said[each.target]
        if each.what in VERDICTS:
            own[each.who] = "change" if own.get(each.who) == "change" and each.what == "keep" else each.what
        elif own.get(each.who) not in _CHANGED:
            own[each.who] = "change"
    return said


def _is_fault(what: str) -> str:
    return "sound" if what == "keep" else "fault"


def _pairs(force: Sequence[Ruling]) -> tuple[People, ...]:
    said = _said(force)
    prompts = {each.target: each.prompt or each.target for each in force}
    names = sorted({name for own in said.values() for name in own})
    rows = []
    for a, b in combinations(names, 2):
        both = [target for target, own in said.items() if a in own and b in own]
        if both:
            told = [target for target in both if "cannot-tell" not in (said[target][a], said[target][b])]
            clusters = [prompts[target] for target in told]
            one, other = ([said[target][name] for target in told] for name in (a, b))
            on_fault = agreement([*map(_is_fault, one)], [*map(_is_fault, other)], clusters, draws=_DRAWS)
            rows.append(
                People(a, b, len(both), on_fault, agreement(one, other, clusters, draws=_DRAWS), len(both) - len(told))
            )
    return tuple(rows)


def _alpha(force: Sequence[Ruling]) -> Estimate | None:
    said = _said(force)
    prompts = {each.target: each.prompt or each.target for each in force}
    rows = {target: [_is_fault(what) for what in own.values() if what != "cannot-tell"] for target, own in said.items()}
    kept = {target: row for target, row in rows.items() if len(row) > 1}
    return krippendorff(list(kept.values()), [prompts[target] for target in kept], draws=_DRAWS) if kept else None


def _share_json(share: Share) -> dict[str, Any]:
    return {"count": share.count, "of": share.of, "share": share.interval and share.interval.as_json("share")}


def _sample_json(sample: Sample) -> dict[str, Any]:
    return {
        "faults": _share_json(sample.faults),
        "without_reason": _share_json(sample.without_reason),
        "with_reason": _share_json(sample.with_reason),
        "cannot_tell": sample.cannot_tell,
        "conflict": sample.conflict,
    }


def _people_json(people: People) -> dict[str, Any]:
    def put(found: Agreement) -> dict[str, Any]:
        measures = {"raw": "share", "kappa": "kappa", "ac1": "ac1"}
        return {"n": found.n} | {
            name: estimate.as_json(unit) if (estimate := getattr(found, name)) else None
            for name, unit in measures.items()
        }

    told = {"a": people.a, "b": people.b, "both": people.both, "cannot_tell": people.cannot_tell}
    return told | {"fault_or_sound": put(people.found), "what": put(people.what)}

"""What a comparison must show, as a line: ``dpo - sft > 0``, ``dpo >= .5``, ``harness: dpo - sft > -1%``.

A requirement is *held* where the 95 % interval lies wholly where it should, *refuted* where it lies wholly elsewhere,
and *not distinguishable* otherwise: an interval that says nothing holds nothing. Of several, each is held only where it
still is with all of them tested at once (Holm, by the least sure of the intervals). Owns the lines and the deciding.
The numbers are those of ``evaluate.compare``, what a file of the outcomes looks like is owned by ``gate.forms``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from notus.core.errors import ConfigError, nearest
from notus.evaluate.compare import Arm, ArmPair, Score, compare, format_estimate, negated, p_against, shifted
from notus.stats.intervals import Estimate, holm, wider, wilson_if_unanimous
from notus.stats.tests import Exact, mcnemar

__all__ = ["Corrections", "Outcome", "Requirement", "Verdict", "decide", "parse_requirement"]

Verdict = Literal["held", "refuted", "not distinguishable"]
Corrections = Mapping[str, Mapping[tuple[str, str | None], Sequence[Estimate]]]
"""Evaluation → arm, and the arm that it is compared with or None → the intervals that people's labels give."""
_LIMIT = 0.05
_LINE = re.compile(
    r"\s*(?P<left>.+?)\s*(?P<sign>>=|<=|>|<|≥|≤)\s*(?P<value>[-+−]?(?:\d+\.?\d*|\.\d+)(?P<percent>\s*%)?)\s*"
)
_RULE = "such as 'dpo - sft > 0', 'dpo >= .5' or 'success: dpo - sft > -2%'"


@dataclass(frozen=True)
class Requirement:
    """One line, understood."""

    text: str
    metric: str
    """Name of the evaluation."""
    a: str
    b: str | None
    """The arm that is subtracted; None where an arm is held against a value by itself."""
    above: bool
    """Whether the value is a least one."""
    strict: bool
    value: float


@dataclass(frozen=True)
class Outcome:
    """What became of a requirement."""

    requirement: Requirement
    outcome: Verdict
    estimate: Estimate | None
    """The deciding interval: the widest. None where there is nothing to compare."""
    p: float | None
    """Of the least sure interval against the value, two-sided; by Holm where there are several requirements."""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line."""
        told = ""
        if self.estimate is not None:
            told = f": {format_estimate(self.estimate, sign=self.requirement.b is not None)}, n = {self.estimate.n:,}"
        notes = "".join(f"; {note}" for note in self.notes)
        return f"{self.outcome}: {self.requirement.metric}: {self.requirement.text}{told}{notes}"


def parse_requirement(text: str, arms: Mapping[str, Iterable[str]]) -> Requirement:
    """Understand a line.

    Args:
        text: as it was written.
        arms: each evaluation → its arms.

    Raises:
        ConfigError: if it is no such line, names no arm or evaluation that there is, or may mean two.
    """
    found = _LINE.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"require: {text!r} is no requirement; write an arm or a difference, a sign and a value, {_RULE}"
        )
    known = {name: list(of) for name, of in arms.items()}
    metric, left = _metric(found["left"], known)
    places = [metric] if metric else list(known)
    fits = [(name, sides) for name in places for sides in _sides(left, known[name])]
    if not fits:
        raise ConfigError(f"require: {text!r}: {_unknown(left, metric, known)}")
    if len(fits) > 1:
        metrics = list(dict.fromkeys(name for name, _ in fits))
        if len(metrics) > 1:
            raise ConfigError(
                f"require: {text!r} may be about {' or '.join(metrics)}; say which: '{metrics[0]}: {text.strip()}'"
            )
        raise ConfigError(f"require: {text!r} can be read as several differences of arms; rename an arm")
    name, (a, b) = fits[0]
    value = float(found["value"].replace("−", "-").rstrip(" %")) / (100 if found["percent"] else 1)
    sign = found["sign"]
    written = text.strip()[len(name) + 1 :].strip() if metric else text.strip()
    return Requirement(written, name, a, b, sign in (">", ">=", "≥"), sign in (">", "<"), value)


def decide(
    requirements: Sequence[Requirement],
    scores: Mapping[str, Sequence[Score]],
    marks: Mapping[str, Mapping[str, str]] | None = None,
    corrections: Corrections | None = None,
) -> list[Outcome]:
    """Hold requirements against scores.

    Args:
        requirements: what must be shown. The same twice, as in a recipe and on the command line, is tested once.
        scores: evaluation → the scores of its arms.
        marks: evaluation → arm → why its scores are not to be trusted.
        corrections: what people's labels make of it, where there are some: then they decide.
    """
    once = {replace(each, text=""): each for each in reversed(requirements)}
    looked = [
        _look(each, scores[each.metric], (marks or {}).get(each.metric, {}), corrections)
        for each in reversed(once.values())
    ]
    adjusted = holm([1.0 if each.p is None else each.p for each in looked])
    return [
        _with_all(each, p, len(looked)) if len(looked) > 1 and each.p is not None else each
        for each, p in zip(looked, adjusted, strict=True)
    ]


def _metric(left: str, known: Mapping[str, Sequence[str]]) -> tuple[str | None, str]:
    """The evaluation that a line names, if any, and what is left of it. A name may hold a colon."""
    for name in sorted(known, key=len, reverse=True):
        if left.startswith(f"{name}:"):
            return name, left[len(name) + 1 :].strip()
    return None, left


def _sides(left: str, arms: Sequence[str]) -> list[tuple[str, str | None]]:
    """The arm, or the two arms, that the left side of a line may mean; a name may hold a minus."""
    if left in arms:
        return [(left, None)]
    found: list[tuple[str, str | None]] = []
    for place, sign in enumerate(left):
        if sign in "-−–":
            a, b = left[:place].strip(), left[place + 1 :].strip()
            if a in arms and b in arms and a != b:
                found.append((a, b))
    return found


def _unknown(left: str, metric: str | None, known: Mapping[str, Sequence[str]]) -> str:
    names = list(dict.fromkeys(arm for name, of in known.items() if metric in (None, name) for arm in of))
    head, colon, tail = left.partition(":")
    if metric is None and colon and (tail.strip() in names or _sides(tail.strip(), names)):
        return f"there is no evaluation '{head.strip()}'; {nearest(head.strip(), known)}"
    parts = [part.strip() for part in re.split(r"\s[-−–]\s", left)]
    wrong = next((part for part in parts if part not in names), left)
    if wrong in names or (len(parts) == 2 and parts[0] == parts[1]):
        return f"'{left}' is no difference of two arms; the arms are {', '.join(names)}"
    return f"there is no arm '{wrong}'; {nearest(wrong, names)}"


def _look(
    wanted: Requirement, scores: Sequence[Score], marks: Mapping[str, str], corrections: Corrections | None
) -> Outcome:
    """The outcome of one requirement by itself."""
    sides, notes = _intervals(wanted, scores)
    notes += [f"{arm} is {marks[arm]}" for arm in (wanted.a, wanted.b) if arm is not None and arm in marks]
    if corrections is not None:
        corrected = list(corrections.get(wanted.metric, {}).get((wanted.a, wanted.b), ()))
        if not corrected:
            return Outcome(wanted, "not distinguishable", None, None, ("too few labels to correct the judge", *notes))
        sides, notes = corrected, [f"corrected by labels of {corrected[0].groups + 1:,} prompts", *notes]
    widest: Estimate | None = None
    for side in sides:
        widest = wider(widest, side)
    if widest is None:
        return Outcome(wanted, "not distinguishable", None, None, ("there is too little to compare", *notes))
    p = max(p_against(side, wanted.value) for side in sides)
    exact = _exact(wanted, scores) if corrections is None else None
    if exact is not None and exact.p > p:
        if p < _LIMIT <= exact.p:
            notes.append(f"{exact.n} prompts differ, too few for the interval (exact McNemar test, p = {exact.p:.2f})")
        p = exact.p
    return Outcome(wanted, _verdict(wanted, widest, p), widest, p, tuple(notes))


def _exact(wanted: Requirement, scores: Sequence[Score]) -> Exact | None:
    """The exact test of a difference against 0, where each arm has one yes or no on each prompt; else None.

    An interval by t is too narrow where few prompts differ: four of twenty, all one way, have p = .125.
    """
    if wanted.b is None or wanted.value:
        return None
    sides: dict[str, dict[str, float]] = {wanted.a: {}, wanted.b: {}}
    for score in scores:
        if score.arm in sides and score.value is not None:
            side = sides[score.arm]
            if score.value not in (0.0, 1.0) or score.prompt_id in side:
                return None
            side[score.prompt_id] = score.value
    a, b = sides.values()
    differences = [a[prompt] - b[prompt] for prompt in a.keys() & b.keys()]
    return mcnemar(differences.count(1.0), differences.count(-1.0)) if differences else None


def _verdict(wanted: Requirement, estimate: Estimate, p: float) -> Verdict:
    low, high, value = estimate.low, estimate.high, wanted.value
    if not wanted.above:
        turned = shifted(negated(estimate), 2 * value)
        low, high = turned.low, turned.high
    if low == high == value:  # nothing varies: equal is equal
        return "refuted" if wanted.strict else "held"
    if p >= _LIMIT and not (low == value and not wanted.strict):
        return "not distinguishable"
    return "held" if low > value or (low == value and not wanted.strict) else "refuted"


def _with_all(alone: Outcome, p: float, count: int) -> Outcome:
    if alone.outcome == "held" and p >= _LIMIT:
        note = f"held by itself, not with all {count} requirements at once (Holm, p = {p:.2f})"
        return Outcome(alone.requirement, "not distinguishable", alone.estimate, p, (note, *alone.notes))
    return Outcome(alone.requirement, alone.outcome, alone.estimate, p, alone.notes)


def _intervals(wanted: Requirement, scores: Sequence[Score]) -> tuple[list[Estimate], list[str]]:
    """All intervals of what a requirement is about, and what is to be said with them."""
    arms = {wanted.a, wanted.b}
    found = compare((score for score in scores if score.arm in arms), baseline=wanted.b)
    if wanted.b is None:
        arm: Arm = found.arms[0]
        notes = [f"{arm.unscored:,} of {arm.asked:,} answers have no score"] if arm.unscored else []
        return _with_doubt([arm.by_prompts, arm.by_seeds], 0.0), notes
    pair: ArmPair = found.pairs[0]
    notes = [f"{pair.not_shared:,} cells have a score in one arm only"] if pair.not_shared else []
    notes += ["one seed"] if pair.shared_seeds == 1 else []
    return _with_doubt([pair.by_prompts, pair.by_seeds, pair.by_both], -1.0), notes


def _with_doubt(sides: Sequence[Estimate | None], lowest: float) -> list[Estimate]:
    """The intervals that there are; where all prompts say the most or the least that shares can, Wilson's too.

    The first, over prompts, has no width then, and would show any value: twenty of twenty are no .99.

    Args:
        sides: the intervals, that over prompts first.
        lowest: of a share 0, of a difference of two −1.
    """
    found = [side for side in sides if side is not None]
    first = sides[0]
    if first is not None and first.width == 0 and first.mean in (lowest, 1.0):
        span = 1 - lowest
        share = wilson_if_unanimous(replace(shifted(first, -lowest), mean=(first.mean - lowest) / span))
        found.append(replace(share, mean=first.mean, low=lowest + span * share.low, high=lowest + span * share.high))
    return found

"""Which pairs are taken: a share of them, or those between bounds, in the order that a rule puts them in.

    found = plan("margin", measured, Wanted(share=0.3), seed=0)
    kept = apply(take(found, held), pairs, tally)

The share is one of all pairs that may be taken, rounded down; what a rule cannot measure counts for it, and is not
taken. Pairs of equal value come in an order that the seed and the pair decide, whatever the order of the rows. Owns the
order, the number and the reasons. What a rule looks at is owned by ``preferences.take.rules``.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np

from notus.core.records import Preference, digest
from notus.core.stage import Stage, Tally
from notus.preferences.take.rules import SMALLEST_FIRST, Measured, Rule, places_of
from notus.stats.ranks import mid_ranks

__all__ = ["TAKEN", "Place", "Plan", "Wanted", "plan", "take"]

TAKEN = "taken"
"""Under which a pair keeps why it was taken."""
_ROUNDING = 1e-9
"""A share of .3 of 10 is 3."""


@dataclass(frozen=True)
class Wanted:
    """How many, or which values."""

    share: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a value is within the bounds."""
        low, high = self.at_least, self.at_most
        return (low is None or value >= low) and (high is None or value <= high)


class Place(NamedTuple):
    """Where a pair stands."""

    value: float | None
    """What the rule sees; None where it sees nothing."""
    place: int | None
    """From 1, the first to be taken; None where it is not in the order."""


@dataclass(frozen=True)
class Plan:
    """All pairs in the order of a rule."""

    rule: Rule
    wanted: Wanted
    places: Mapping[tuple[str, int, int], Place]
    keep: int
    """So many are taken, from the first on."""
    tied: int
    """Pairs with the value of the last one that is taken, where some of them are taken and others not."""

    def as_json(self) -> dict[str, Any]:
        """The figures, for the manifest."""
        found: dict[str, Any] = {"by": self.rule, "pairs": len(self.places), "taken": self.keep}
        found |= {key: value for key, value in vars(self.wanted).items() if value is not None}
        found |= {"tied_at_the_border": self.tied} if self.tied else {}
        without = sum(each.value is None for each in self.places.values()) if self.rule != "random" else 0
        values = [each.value for each in self._kept() if each.value is not None]
        found |= {"unmeasured": without} if without else {}
        return found | ({"from": values[0], "to": values[-1]} if values else {})

    def _kept(self) -> list[Place]:
        kept = [each for each in self.places.values() if each.place is not None and each.place <= self.keep]
        return sorted(kept, key=lambda each: each.place or 0)


def plan(rule: Rule, measured: Iterable[Measured], wanted: Wanted, seed: int) -> Plan:
    """Put pairs in the order of a rule, and decide how many are taken.

    Args:
        rule: which.
        measured: all pairs that may be taken, in any order. Of equal ones one counts.
        wanted: the share or the bounds.
        seed: decides among pairs of equal value, and all under ``random``.
    """
    pairs = {each.key: each for each in measured}
    values = _values(rule, pairs)
    sign = 1 if rule in SMALLEST_FIRST else -1
    inside = [key for key, value in values.items() if rule == "random" or (value is not None and wanted.holds(value))]
    inside.sort(key=lambda key: (sign * (values[key] or 0.0), digest(str(seed), "take", *map(str, key))))
    keep = len(inside) if wanted.share is None else min(len(inside), math.floor(wanted.share * len(pairs) + _ROUNDING))
    numbers = {key: number for number, key in enumerate(inside, 1)}
    places = {key: Place(value, numbers.get(key)) for key, value in values.items()}
    return Plan(rule, wanted, places, keep, _tied(rule, [values[key] for key in inside], keep))


def take(plan: Plan, held: Callable[[Preference], bool]) -> Stage[Preference, Preference]:
    """A stage that passes on the pairs that are taken, each with the reason, and those that are held out as they are.

    Args:
        plan: as ``plan`` makes it.
        held: whether a pair is kept for evaluation; nothing is taken of those.

    Counted is ``held-out``. Dropped with a reason, under the id of the feedback: ``not-taken`` (others come before it),
    ``out-of-bounds``, ``unmeasured`` (the rule cannot tell).
    """
    return partial(_take, plan, held)


def _take(
    plan: Plan, held: Callable[[Preference], bool], pairs: Iterable[Preference], tally: Tally
) -> Iterator[Preference]:
    order = sum(each.place is not None for each in plan.places.values())
    for pair in pairs:
        if held(pair):
            tally.count("held-out")
            yield pair
            continue
        found = plan.places[(pair.feedback_id, *places_of(pair))]
        if found.place is not None and found.place <= plan.keep:
            told = {"by": plan.rule, "value": found.value, "place": found.place, "of": order, "keep": plan.keep}
            yield msgspec.structs.replace(pair, extra={**pair.extra, TAKEN: told})
        else:
            reason, what, asked_by = _why_not(plan, found, order)
            which = "answer {} over {}: ".format(*places_of(pair))
            tally.drop(pair.feedback_id, reason, which + what, at=pair, asked_by=asked_by)


def _why_not(plan: Plan, found: Place, order: int) -> tuple[str, str, str]:
    """Reason, evidence, and the setting that asks for it."""
    if found.place is not None:
        value = "" if found.value is None else f"{found.value:.4g}, "
        return "not-taken", f"{plan.rule} {value}place {found.place:,} of {order:,}; {plan.keep:,} are taken", "share"
    if found.value is None:
        return "unmeasured", f"'{plan.rule}' cannot tell: an answer lacks what it looks at", "take"
    wanted = plan.wanted
    bounds = [f"at least {wanted.at_least:g}"] if wanted.at_least is not None else []
    bounds += [f"at most {wanted.at_most:g}"] if wanted.at_most is not None else []
    asked_by = "at_least" if wanted.at_least is not None and found.value < wanted.at_least else "at_most"
    return "out-of-bounds", f"{plan.rule} {found.value:.4g}, and {' and '.join(bounds)} is taken", asked_by


def _values(rule: Rule, pairs: Mapping[tuple[str, int, int], Measured]) -> dict[tuple[str, int, int], float | None]:
    if rule != "moderate":
        return {key: each.values[0] if each.values else None for key, each in pairs.items()}
    known = {key: each.values for key, each in pairs.items() if each.values}
    ranks = [mid_ranks(np.array(column)) for column in zip(*known.values(), strict=True)] or [np.array([])] * 2
    found = dict(zip(known, (ranks[1] - np.abs(2 * ranks[0] - 1)).tolist(), strict=True))
    return {key: found.get(key) for key in pairs}


def _tied(rule: Rule, ordered: list[float | None], keep: int) -> int:
    if rule == "random" or not 0 < keep < len(ordered) or ordered[keep - 1] != ordered[keep]:
        return 0
    return ordered.count(ordered[keep - 1])

"""Compare arms by their scores: tables of means with intervals, paired differences, and the words for them.

Owns what is compared with what, how the outcome is put into words, and how a score changes along a sweep. Does not own
the arithmetic (``stats.intervals``), nor where the scores come from. The higher score is the better one. An unscored
answer is counted and never a number.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from notus.core.errors import ConfigError, DataError, nearest
from notus.stats.intervals import (
    Estimate,
    Paired,
    clustered_mean,
    detectable,
    groups_needed,
    holm,
    mean_over_seeds,
    p_value,
    paired_difference,
    wider,
)
from notus.stats.tests import ENUMERATED, Exact, mcnemar, permutation_test

__all__ = [
    "Arm",
    "ArmPair",
    "Comparison",
    "Score",
    "SweepPoint",
    "compare",
    "describe_slope",
    "differs",
    "differs_from",
    "format_estimate",
    "format_signed",
    "negated",
    "p_against",
    "shifted",
    "slope",
]

Cells = Mapping[tuple[int, str], float]
Needed = tuple[tuple[str, int | None], ...]
_LIMIT = 0.05
_FEWEST_FOR_SIGNS = 6
"""Groups from which on a test of signs can reach 5 %: 2 · ½⁶ = .03."""
_NAMED = 4
"""Pairs that the summary names."""


@dataclass(frozen=True)
class Score:
    """What one answer was given: one row of the input."""

    arm: str
    seed: int
    prompt_id: str
    sample: int
    value: float | None
    """The score, higher is better. None is *unscored*."""


@dataclass(frozen=True)
class Arm:
    """One arm: what was asked, what was scored, and the mean.

    The mean is over (seed, prompt) cells, each the mean of its samples, so that a prompt asked more often does not
    count for more, and means and paired differences speak of the same thing.
    """

    name: str
    asked: int
    """Answers asked for: scored and unscored."""
    scored: int
    unscored: int
    prompts: int
    """Distinct prompts with at least one scored answer."""
    seeds: int
    """Seeds with at least one scored answer."""
    mean: float | None
    """None when nothing was scored."""
    by_prompts: Estimate | None
    by_seeds: Estimate | None
    """None with one seed: one training says nothing about how much trainings differ."""
    seed_means: tuple[tuple[int, float], ...]
    mark: str = ""
    """Why the scores are not to be trusted, for example that the benchmark was trained on; empty when they may be."""

    @property
    def interval(self) -> Estimate | None:
        """The deciding estimate: the wider of the two."""
        return wider(self.by_prompts, self.by_seeds)


@dataclass(frozen=True)
class ArmPair:
    """The difference of two arms, ``a − b``, on the (seed, prompt) cells that both have."""

    a: str
    b: str
    shared: int
    """Cells that both arms have a score for."""
    shared_prompts: int
    shared_seeds: int
    not_shared: int
    """Cells that only one of the two has a score for: they are not compared."""
    by_prompts: Estimate | None
    by_seeds: Estimate | None
    verdict: str
    """The outcome in one sentence, for example ``A is better than B by +0.098 [0.010, 0.186]``."""
    better: str | None
    """Name of the better arm, or None when they are not distinguishable or cannot be compared."""
    survives_holm: bool
    """Whether the claim still holds when all pairs of the comparison are tested at once (Holm, all intervals)."""
    remarks: tuple[str, ...]
    """Sentences that belong to the verdict: one seed only, Holm, what was not shared, how many would be needed."""
    exact: Exact | None = None
    """A test that leans on no distribution, where groups are few: McNemar's for one seed with scores of 0 and 1, else
    signs by permutation over the seeds or the prompts, whichever gives the larger p. None where both are many."""
    needed: Needed = ()
    """What would set the observed difference apart, roughly: ``("seeds", 5)``; None is more than 10,000."""
    detectable: float | None = None
    """The difference that as many seeds or prompts would have set apart with 80 % power, roughly."""
    by_both: Estimate | None = None
    """The interval for other prompts and other seeds at once."""

    @property
    def interval(self) -> Estimate | None:
        """The deciding estimate: the widest of the three."""
        return wider(wider(self.by_prompts, self.by_seeds), self.by_both)


@dataclass(frozen=True)
class Comparison:
    """All arms, in the order in which they came, and the pairs between them."""

    arms: tuple[Arm, ...]
    pairs: tuple[ArmPair, ...]
    baseline: str | None
    summary: tuple[str, ...] = ()
    """The outcome over all pairs in a few sentences: what can be told apart, what cannot and what it would need."""


def compare(scores: Iterable[Score], baseline: str | None = None, marks: Mapping[str, str] | None = None) -> Comparison:
    """Compare the arms among the scores.

    Args:
        scores: one row for each answer asked for, unscored ones included.
        baseline: the arm that all others are compared with. Without it each arm is compared with each, the later one
            minus the earlier one. The pairs that are compared are also those that Holm's correction counts.
        marks: arm → why its scores are not to be trusted.

    Raises:
        DataError: if there is no score, a score is not finite, or the same answer is scored twice.
        ConfigError: if the baseline is none of the arms.
    """
    rows = _by_arm(scores)
    if not rows:
        raise DataError("there are no scores to compare; at least one arm with one answer is needed")
    if baseline is not None and baseline not in rows:
        raise ConfigError(f"the baseline '{baseline}' is none of the arms; {nearest(baseline, rows)}")
    cells = {arm: _cells(of_arm) for arm, of_arm in rows.items()}
    names = (
        [(later, earlier) for earlier, later in itertools.combinations(rows, 2)]
        if baseline is None
        else [(arm, baseline) for arm in rows if arm != baseline]
    )
    pairs = [_pair(a, b, cells[a], cells[b]) for a, b in names]
    known = marks or {}
    arms = tuple(replace(_arm(name, rows[name], cells[name]), mark=known.get(name, "")) for name in rows)
    found = tuple(_with_holm(pairs))
    return Comparison(arms, found, baseline, tuple(_summarise(arms, found)))


def format_signed(value: float, digits: int = 3) -> str:
    """A difference with its sign: ``+0.098``. Zero, also a rounded one, has none that would mislead: ``+0.000``."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def format_estimate(estimate: Estimate, *, sign: bool = False, digits: int = 3) -> str:
    """An estimate as text: ``0.720 [0.690, 0.750]``, or with ``sign`` as a difference: ``+0.098 [0.010, 0.186]``."""

    def unsigned(value: float) -> str:
        return f"{round(value, digits) + 0.0:.{digits}f}"

    mean = format_signed(estimate.mean, digits) if sign else unsigned(estimate.mean)
    return f"{mean} [{unsigned(estimate.low)}, {unsigned(estimate.high)}]"


def differs(estimate: Estimate, value: float = 0.0) -> bool:
    """Whether the true mean can be told from a value at 5 %.

    By the p-value and not the interval alone: an interval of no width, from two equal differences, proves nothing.
    """
    return p_value(shifted(estimate, -value)) < _LIMIT


def differs_from(estimate: Estimate, value: float) -> bool:
    """Whether the true mean can be told from a value at 5 %, whatever the kind of the interval."""
    return p_against(estimate, value) < _LIMIT


def p_against(estimate: Estimate, value: float) -> float:
    """Two-sided p-value of "the truth is this value", below .05 exactly where the interval leaves it out.

    By the t distribution where the interval is one of it, else by a normal one whose 95 % are the side that looks at
    the value. An interval of no width is judged by its groups, as in ``p_value``.
    """
    if estimate.method.startswith(("clustered t", "t over")):
        return p_value(shifted(estimate, -value))
    side = estimate.mean - estimate.low if value < estimate.mean else estimate.high - estimate.mean
    if side <= 0:
        return 1.0 if value == estimate.mean else min(1.0, 2.0 * 0.5**estimate.groups)
    normal = NormalDist()
    return 2 * normal.cdf(-normal.inv_cdf(0.975) * abs(estimate.mean - value) / side)


def shifted(estimate: Estimate, by: float) -> Estimate:
    """The estimate of the mean plus a constant."""
    return replace(estimate, mean=estimate.mean + by, low=estimate.low + by, high=estimate.high + by)


def negated(estimate: Estimate) -> Estimate:
    """The estimate of minus the mean, for a difference that is put the other way round."""
    return replace(estimate, mean=-estimate.mean, low=-estimate.high, high=-estimate.low)


def _by_arm(scores: Iterable[Score]) -> dict[str, list[Score]]:
    rows: dict[str, list[Score]] = defaultdict(list)
    seen: set[tuple[str, int, str, int]] = set()
    for score in scores:
        key = (score.arm, score.seed, score.prompt_id, score.sample)
        where = f"arm '{score.arm}', seed {score.seed}, prompt {score.prompt_id}, sample {score.sample}"
        if key in seen:
            raise DataError(f"{where}: scored twice; remove one of the two")
        if score.value is not None and not math.isfinite(score.value):
            raise DataError(f"{where}: the score is {score.value}; a finite number, or None for unscored, is needed")
        seen.add(key)
        rows[score.arm].append(score)
    return dict(rows)


def _cells(rows: Iterable[Score]) -> dict[tuple[int, str], float]:
    values: dict[tuple[int, str], list[float]] = defaultdict(list)
    for row in rows:
        if row.value is not None:
            values[row.seed, row.prompt_id].append(row.value)
    return {cell: math.fsum(samples) / len(samples) for cell, samples in values.items()}


def _arm(name: str, rows: list[Score], cells: Cells) -> Arm:
    scored = sum(row.value is not None for row in rows)
    values, seeds, prompts = list(cells.values()), [seed for seed, _ in cells], [prompt for _, prompt in cells]
    by_prompts = clustered_mean(values, prompts)
    by_seeds = mean_over_seeds(values, seeds)
    deciding = wider(by_prompts, by_seeds)
    per_seed: dict[int, list[float]] = defaultdict(list)
    for (seed, _), value in cells.items():
        per_seed[seed].append(value)
    return Arm(
        name=name,
        asked=len(rows),
        scored=scored,
        unscored=len(rows) - scored,
        prompts=len(set(prompts)),
        seeds=len(per_seed),
        mean=deciding.mean if deciding else (math.fsum(values) / len(values) if values else None),
        by_prompts=by_prompts,
        by_seeds=by_seeds,
        seed_means=tuple((seed, math.fsum(of_seed) / len(of_seed)) for seed, of_seed in sorted(per_seed.items())),
    )


def _pair(a: str, b: str, cells_a: Cells, cells_b: Cells) -> ArmPair:
    paired = paired_difference(cells_a, cells_b)
    shared = cells_a.keys() & cells_b.keys()
    seeds = len({seed for seed, _ in shared})
    better = _better(a, b, paired.deciding)
    exact = _exact({cell: cells_a[cell] - cells_b[cell] for cell in sorted(shared)}, paired)
    needed = () if better is not None else tuple(_groups_for_claim(paired))
    varies = paired.deciding is not None and paired.deciding.width > 0
    least = detectable(paired.deciding) if paired.deciding is not None and varies else None
    return ArmPair(
        a=a,
        b=b,
        shared=paired.shared,
        shared_prompts=len({prompt for _, prompt in shared}),
        shared_seeds=seeds,
        not_shared=paired.only_a + paired.only_b,
        by_prompts=paired.by_prompts,
        by_seeds=paired.by_seeds,
        verdict=_describe_outcome(a, b, better, paired),
        better=better,
        survives_holm=False,
        remarks=tuple(_remarks(better, paired, seeds, exact, needed, least)),
        exact=exact,
        needed=needed,
        detectable=least,
        by_both=paired.by_both,
    )


def _better(a: str, b: str, deciding: Estimate | None) -> str | None:
    if deciding is None or not differs(deciding):
        return None
    return a if deciding.mean > 0 else b


def _describe_outcome(a: str, b: str, better: str | None, paired: Paired) -> str:
    deciding = paired.deciding
    if deciding is None:
        found = "they share no scored prompt" if not paired.shared else "they share one prompt under one seed only"
        return f"{a} and {b} cannot be compared: {found}"
    if better is None:
        return f"{a} and {b} are not distinguishable: {format_estimate(deciding, sign=True)}"
    if better == a:
        return f"{a} is better than {b} by {format_estimate(deciding, sign=True)}"
    return f"{b} is better than {a} by {format_estimate(negated(deciding), sign=True)}"


def _exact(differences: Cells, paired: Paired) -> Exact | None:
    """The exact test of the kind of group that speaks the least clearly, among those that are few."""
    seeds, prompts = [seed for seed, _ in differences], [prompt for _, prompt in differences]
    values = list(differences.values())
    if len(set(seeds)) == 1 and set(values) <= {-1.0, 0.0, 1.0}:
        return mcnemar(values.count(1.0), values.count(-1.0))
    found: list[Exact] = []
    if paired.by_prompts is not None and paired.by_prompts.groups <= ENUMERATED:
        found.append(permutation_test(values, prompts))
    if paired.by_seeds is not None and paired.by_seeds.groups <= ENUMERATED:
        per_seed: dict[int, list[float]] = defaultdict(list)
        for seed, value in zip(seeds, values, strict=True):
            per_seed[seed].append(value)
        found.append(permutation_test([math.fsum(of_seed) / len(of_seed) for of_seed in per_seed.values()]))
    return max(found, key=lambda test: test.p, default=None)


def _groups_for_claim(paired: Paired) -> Iterable[tuple[str, int | None]]:
    """What a rough estimate says would be needed to set the observed difference apart."""
    sides = [(what, side) for what, side in (("seeds", paired.by_seeds), ("prompts", paired.by_prompts)) if side]
    # Each kind of group is looked at on its own, so a side that 80 % power would leave as it is says nothing new.
    alone = [(what, groups_needed(side)) for what, side in sides if side.width > 0 and not differs(side)]
    yield from alone
    both = paired.by_both
    if not alone and both is not None and both.width > 0:  # neither is short on its own: more of each, by one factor
        factor = (detectable(both) / both.mean) ** 2
        yield from ((what, math.ceil(side.groups * factor)) for what, side in sides)


def _remarks(
    better: str | None, paired: Paired, seeds: int, exact: Exact | None, needed: Needed, least: float | None
) -> Iterable[str]:
    if paired.deciding is None:
        return
    if seeds == 1:
        yield "one seed: this speaks of these two models, not of how they were trained; two seeds or more are needed"
    if paired.deciding.width == 0:
        yield "the differences do not vary at all, so the interval has no width; a sign test decided"
    elif better is None:
        yield from _describe_power(needed, least)
    elif exact is not None and exact.n >= _FEWEST_FOR_SIGNS and exact.p >= _LIMIT:
        yield f"an exact test does not go along ({exact.method}, p = {exact.p:.2f}, n = {exact.n}): take it with care"
    if lost := paired.only_a + paired.only_b:
        yield f"{lost} (seed, prompt) cells have a score in one arm only and were not compared"


def _describe_power(needed: Needed, least: float | None) -> Iterable[str]:
    enough = [f"about {count:,} {what}" for what, count in needed if count]
    if enough:
        yield (
            f"rough estimate: {' and '.join(enough)} would be needed to set the observed difference apart"
            " (in all, at 80 % power, if it and its spread are the true ones)"
        )
    elif needed:
        kinds = " or ".join(what for what, _ in needed)
        yield f"rough estimate: not even 10,000 {kinds} would set so small a difference apart"
    if least is not None:
        yield f"what was compared would show a true difference of about ±{least:.3f} four times in five"


def _summarise(arms: tuple[Arm, ...], pairs: tuple[ArmPair, ...]) -> Iterable[str]:
    """What can be told apart, what cannot and what that would need, and on what the claims lean."""
    yield from (f"{arm.name} is {arm.mark}" for arm in arms if arm.mark)
    compared = [pair for pair in pairs if pair.interval is not None]
    if len(compared) > 1:
        yield from _describe_pairs(compared)
    few = [
        pair.by_seeds.groups
        for pair in compared
        if pair.better is not None and pair.by_seeds is not None and pair.by_seeds.groups < _FEWEST_FOR_SIGNS
    ]
    if few:
        yield (
            f"With {min(few)} seeds a claim leans on Student's t, that is on trainings that differ about normally: "
            f"no exact test of fewer than {_FEWEST_FOR_SIGNS} seeds can reach 5 %"
        )


def _describe_pairs(pairs: Sequence[ArmPair]) -> Iterable[str]:
    apart = [pair for pair in pairs if pair.better is not None]
    whole = sum(pair.survives_holm for pair in apart)
    order = ", ".join(f"{pair.better} over {pair.b if pair.better == pair.a else pair.a}" for pair in apart[:_NAMED])
    more = f" and {len(apart) - _NAMED} more" if len(apart) > _NAMED else ""
    named = f": {order}{more}" if apart else ""
    yield f"{len(apart)} of {len(pairs)} pairs can be told apart, {whole} with all of them tested at once{named}"
    open_pairs = [pair for pair in pairs if pair.better is None and pair.needed]
    open_pairs.sort(key=lambda pair: [math.inf if count is None else count for _, count in pair.needed])
    needs = [
        f"{pair.a} and {pair.b} would need "
        + " and ".join(f"{'more than 10,000' if count is None else f'{count:,}'} {what}" for what, count in pair.needed)
        for pair in open_pairs[:_NAMED]
    ]
    if needs:
        rest = f"; {len(open_pairs) - _NAMED} more would need still more" if len(open_pairs) > _NAMED else ""
        yield f"not told apart, by a rough estimate: {'; '.join(needs)}{rest}"


def _with_holm(pairs: list[ArmPair]) -> Iterable[ArmPair]:
    adjusted = holm([_worst_p(pair) for pair in pairs])
    for pair, p in zip(pairs, adjusted, strict=True):
        survives = pair.better is not None and p < _LIMIT
        remarks = pair.remarks
        if pair.better is not None and not survives:
            remarks = (f"does not survive Holm's correction for {len(pairs)} pairs (p = {p:.2f})", *remarks)
        yield replace(pair, survives_holm=survives, remarks=remarks)


def _worst_p(pair: ArmPair) -> float:
    # Which interval is wider depends on the level, and Holm's levels are stricter than 95 %: all must hold.
    sides = (pair.by_prompts, pair.by_seeds, pair.by_both)
    return max((p_value(side) for side in sides if side is not None), default=1.0)


@dataclass(frozen=True)
class SweepPoint:
    """One arm with its level of what is swept, for example the share of noise in its data."""

    level: float
    arm: Arm


def slope(arms: Sequence[SweepPoint]) -> Estimate | None:
    """Change of the mean score for each unit of the level: the least-squares slope of each seed, and their t interval.

    With levels x and the means y_s(x) of seed s::

        b_s = Σ (x − x̄)(y_s(x) − ȳ_s) / Σ (x − x̄)²

    A slope for each seed takes what a seed has in common out of the noise. Seeds that lack a level are left out.

    Returns:
        None with fewer than two such seeds.

    Raises:
        DataError: if there are fewer than two different levels.
    """
    levels = np.array([item.level for item in arms], dtype=np.float64)
    if len(set(levels.tolist())) < 2:
        raise DataError(f"a slope needs two different levels; there are {len(set(levels.tolist()))}")
    means = [dict(item.arm.seed_means) for item in arms]
    seeds = sorted(set.intersection(*(set(of) for of in means)))
    centred = levels - levels.mean()
    slopes = [float(centred @ np.array([of[seed] for of in means]) / (centred @ centred)) for seed in seeds]
    return mean_over_seeds(slopes, seeds) if len(seeds) > 1 else None


def describe_slope(name: str, found: Estimate | None, unit: float = 0.01, unit_name: str = "percentage point") -> str:
    """The slope in a sentence.

    Args:
        name: of the line.
        found: change for each unit of the level, from ``slope``.
        unit: the step of the level that the sentence speaks of.
        unit_name: what that step is called.
    """
    if found is None:
        return f"{name}: a slope needs two seeds that have every dose"
    scaled = replace(found, mean=found.mean * unit, low=found.low * unit, high=found.high * unit)
    change = format_estimate(scaled, sign=True)
    if not differs(found):
        return f"{name}: a change with the dose is not distinguishable from none, {change} for each {unit_name}"
    return f"{name}: each {unit_name} changes the score by {change}"

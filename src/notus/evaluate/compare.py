"""Compare arms by their scores: tables of means with intervals, paired differences, and the words for them.

Owns what is compared with what, and how the outcome is said. Does not own the arithmetic (``core.statistics``), nor
where the scores come from. The higher score is the better one. An unscored answer is counted and never a number.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from notus.core.errors import ConfigError, DataError, nearest
from notus.core.statistics import (
    Estimate,
    Paired,
    clustered_mean,
    groups_needed,
    holm,
    mean_over_seeds,
    p_value,
    paired_difference,
    wider,
)

__all__ = ["Arm", "Comparison", "Pair", "Score", "compare", "signed", "spoken"]

Cells = Mapping[tuple[int, str], float]
_LIMIT = 0.05


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

    @property
    def interval(self) -> Estimate | None:
        """The deciding estimate: the wider of the two."""
        return wider(self.by_prompts, self.by_seeds)


@dataclass(frozen=True)
class Pair:
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
    """Whether the claim still holds when all pairs of the comparison are tested at once (Holm, both intervals)."""
    remarks: tuple[str, ...]
    """Sentences that belong to the verdict: one seed only, Holm, what was not shared, how many would be needed."""

    @property
    def interval(self) -> Estimate | None:
        """The deciding estimate: the wider of the two."""
        return wider(self.by_prompts, self.by_seeds)


@dataclass(frozen=True)
class Comparison:
    """All arms, in the order in which they came, and the pairs between them."""

    arms: tuple[Arm, ...]
    pairs: tuple[Pair, ...]
    baseline: str | None


def compare(scores: Iterable[Score], baseline: str | None = None) -> Comparison:
    """Compare the arms among the scores.

    Args:
        scores: one row for each answer asked for, unscored ones included.
        baseline: the arm that all others are compared with. Without it each arm is compared with each, the later one
            minus the earlier one. The pairs that are compared are also those that Holm's correction counts.

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
    arms = tuple(_arm(name, rows[name], cells[name]) for name in rows)
    return Comparison(arms, tuple(_with_holm(pairs)), baseline)


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign: ``+0.098``. Zero, also a rounded one, has none that would mislead: ``+0.000``."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def spoken(estimate: Estimate, *, sign: bool = False, digits: int = 3) -> str:
    """An estimate as text: ``0.720 [0.690, 0.750]``, or with ``sign`` as a difference: ``+0.098 [0.010, 0.186]``."""
    mean = signed(estimate.mean, digits) if sign else f"{_tidy(estimate.mean, digits)}"
    return f"{mean} [{_tidy(estimate.low, digits)}, {_tidy(estimate.high, digits)}]"


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


def _pair(a: str, b: str, cells_a: Cells, cells_b: Cells) -> Pair:
    paired = paired_difference(cells_a, cells_b)
    shared = cells_a.keys() & cells_b.keys()
    seeds = len({seed for seed, _ in shared})
    better = _better(a, b, paired.deciding)
    return Pair(
        a=a,
        b=b,
        shared=paired.shared,
        shared_prompts=len({prompt for _, prompt in shared}),
        shared_seeds=seeds,
        not_shared=paired.only_a + paired.only_b,
        by_prompts=paired.by_prompts,
        by_seeds=paired.by_seeds,
        verdict=_verdict(a, b, better, paired),
        better=better,
        survives_holm=False,
        remarks=tuple(_remarks(better, paired, seeds)),
    )


def _better(a: str, b: str, deciding: Estimate | None) -> str | None:
    # The p-value and not the interval alone: an interval of no width, from two equal differences, proves nothing.
    if deciding is None or p_value(deciding) >= _LIMIT:
        return None
    return a if deciding.mean > 0 else b


def _verdict(a: str, b: str, better: str | None, paired: Paired) -> str:
    deciding = paired.deciding
    if deciding is None:
        found = "they share no scored prompt" if not paired.shared else "they share one prompt under one seed only"
        return f"{a} and {b} cannot be compared: {found}"
    if better is None:
        return f"{a} and {b} are not distinguishable: {spoken(deciding, sign=True)}"
    if better == a:
        return f"{a} is better than {b} by {spoken(deciding, sign=True)}"
    mirrored = replace(deciding, mean=-deciding.mean, low=-deciding.high, high=-deciding.low)
    return f"{b} is better than {a} by {spoken(mirrored, sign=True)}"


def _remarks(better: str | None, paired: Paired, seeds: int) -> Iterable[str]:
    if paired.deciding is None:
        return
    if seeds == 1:
        yield "one seed: this speaks of these two models, not of how they were trained; two seeds or more are needed"
    if paired.deciding.width == 0:
        yield "the differences do not vary at all, so the interval has no width; a sign test decided"
    elif better is None:
        yield from _power(paired)
    if lost := paired.only_a + paired.only_b:
        yield f"{lost} (seed, prompt) cells have a score in one arm only and were not compared"


def _power(paired: Paired) -> Iterable[str]:
    """What a rough estimate says would be needed to set the observed difference apart."""
    sides = (("seeds", paired.by_seeds), ("prompts", paired.by_prompts))
    open_sides = [(what, side) for what, side in sides if side is not None and p_value(side) >= _LIMIT]
    needed = [(what, groups_needed(side)) for what, side in open_sides if side.width > 0]
    # Each kind of group is looked at on its own, so a side that 80 % power would leave as it is says nothing new.
    told = [f"about {count:,} {what}" for what, count in needed if count]
    if told:
        yield (
            f"rough estimate: {' and '.join(told)} would be needed to set the observed difference apart"
            " (in all, at 80 % power, if it and its spread are the true ones)"
        )


def _with_holm(pairs: list[Pair]) -> Iterable[Pair]:
    adjusted = holm([_worst_p(pair) for pair in pairs])
    for pair, p in zip(pairs, adjusted, strict=True):
        survives = pair.better is not None and p < _LIMIT
        remarks = pair.remarks
        if pair.better is not None and not survives:
            remarks = (f"does not survive Holm's correction for {len(pairs)} pairs (p = {p:.2f})", *remarks)
        yield replace(pair, survives_holm=survives, remarks=remarks)


def _worst_p(pair: Pair) -> float:
    # Which interval is wider depends on the level, and Holm's levels are stricter than 95 %: both must hold.
    return max((p_value(side) for side in (pair.by_prompts, pair.by_seeds) if side is not None), default=1.0)


def _tidy(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"

"""From a judge that is gone to one that lives: means on the old judge's scale, where few answers have both scores.

Of each model the answers that both judges scored tell the offset between them, and the new judge's scores of all its
answers the rest: θ = ȳ + λ (F̄ − f̄), ``mean.corrected_mean`` with the old judge in the place of people. The slope λ is
one for all models (``slope_within``), as fifty answers of one model know it badly; the offset is each model's own,
since judges do not like all models alike. What is asked is the old judge's mean of *these* answers: those that it has
scored are known, and only the others are in doubt. Answers that only the old judge has scored count as they are.

A model that the old judge never saw has no offset of its own. Its score leans on how much those of the other models
differ, as a new draw of such models: with m offsets d = ȳ − λ f̄, their mean and their standard deviation s::

    d̄ + λ F̄  ±  t(.975, m−1) √( s² (1 + 1/m) + λ² Var(f)/N )

Fewer than three models say nothing of that, and then there is no score. Owns the figures of a bridge.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.stats.corrected.mean import FEWEST, Corrected, Population, Sample, corrected_mean, slope_within
from notus.stats.distributions import t_quantile
from notus.stats.intervals import Estimate, clustered_mean, finite_values, number_labels

__all__ = ["Both", "Bridged", "bridge"]

Array = NDArray[np.float64]
_FEWEST_MODELS = 3


@dataclass(frozen=True)
class Both:
    """Scores of one model's answers by two judges; NaN is not judged."""

    old: Sequence[float]
    new: Sequence[float]
    prompts: Sequence[Hashable] | None = None
    """Prompt of each answer: answers to one belong together. None is a prompt of its own each."""


@dataclass(frozen=True)
class Bridged:
    """One model on the old judge's scale."""

    estimate: Estimate | None
    """None where too little is known; ``note`` says of what."""
    shared_alone: Estimate | None
    """What its answers that both have scored say by themselves; None without at least two."""
    shared: int
    """Answers that both have scored."""
    old_only: int
    new_only: int
    new: float | None
    """The new judge's mean, on its own scale."""
    unseen: bool = False
    """Whether the old judge saw none of its answers, so that the score leans on the other models."""
    note: str = ""


def bridge(models: Mapping[str, Both], population: Population = "these") -> tuple[dict[str, Bridged], float]:
    """Each model's mean on the old judge's scale, and the slope λ.

    Args:
        models: name → its answers' scores.
        population: whether the mean is of these answers, or of such answers.

    Raises:
        DataError: if no model has ``FEWEST`` answers, each to another prompt, that both judges have scored.
    """
    known = {name: _Known.make(both) for name, both in models.items()}
    seen = {name: each for name, each in known.items() if each.groups >= FEWEST}
    if not seen:
        most = max((each.groups for each in known.values()), default=0)
        raise DataError(
            f"a bridge needs {FEWEST} answers of a model that both judges have scored, each to another prompt; the "
            f"most that one has is {most}"
        )
    slope = _pooled(seen)
    offsets = {name: float(each.y.mean() - slope * each.f.mean()) for name, each in seen.items()}
    found = {}
    for name, each in known.items():
        if name in seen:
            found[name] = _seen(each, slope, population)
        else:
            found[name] = _unseen(each, slope, list(offsets.values()), population)
    return found, slope


@dataclass(frozen=True)
class _Known:
    y: Array
    """The old judge on the shared answers."""
    f: Array
    """The new one on them."""
    all_new: Array
    """The new judge on all answers that it has scored."""
    old_only: Array
    of_shared: Sequence[Hashable]
    """Prompts of the shared answers, as are the next two of the others."""
    of_new: Sequence[Hashable]
    of_old_only: Sequence[Hashable]
    repeats: bool
    """Whether a prompt has several answers."""

    @property
    def groups(self) -> int:
        """Prompts of the shared answers."""
        return len(set(self.of_shared))

    @classmethod
    def make(cls, both: Both) -> "_Known":
        old, new = np.asarray(both.old, dtype=np.float64), np.asarray(both.new, dtype=np.float64)
        if len(old) != len(new):
            raise DataError(f"{len(old)} old scores came with {len(new)} new ones; NaN stands for what is not judged")
        prompts = range(len(old)) if both.prompts is None else both.prompts
        if len(prompts) != len(old):
            raise DataError(f"{len(old)} answers came with {len(prompts)} prompts")
        shared, judged, alone = ~np.isnan(old) & ~np.isnan(new), ~np.isnan(new), ~np.isnan(old) & np.isnan(new)
        of = [[prompts[place] for place in np.flatnonzero(part).tolist()] for part in (shared, judged, alone)]
        repeats = len(set(prompts)) < len(prompts)
        return cls(old[shared], new[shared], new[judged], old[alone], of[0], of[1], of[2], repeats)


def _pooled(seen: Mapping[str, _Known]) -> float:
    y = np.concatenate([each.y for each in seen.values()])
    f = np.concatenate([each.f for each in seen.values()])
    groups = [name for name, each in seen.items() for _ in each.y]
    return slope_within(y.tolist(), f.tolist(), groups)


def _told(each: _Known, alone: Estimate | None) -> dict[str, Any]:
    return {
        "shared_alone": alone,
        "shared": len(each.y),
        "old_only": len(each.old_only),
        "new_only": len(each.all_new) - len(each.y),
        "new": float(each.all_new.mean()) if len(each.all_new) else None,
    }


def _seen(each: _Known, slope: float, population: Population) -> Bridged:
    of = (each.of_shared, each.of_new) if each.repeats else (None, None)
    sample = Sample(each.y.tolist(), each.f.tolist(), each.all_new.tolist(), None, *of)
    made: Corrected = corrected_mean(sample, population, power=slope)
    told = _told(each, made.alone)
    estimate = made.estimate
    if estimate is not None and len(each.old_only):
        estimate = _with_known(estimate, each, population)
    return Bridged(estimate, note=made.note, **told)


def _with_known(estimate: Estimate, each: _Known, population: Population) -> Estimate:
    """The mean over the bridged answers and those whose old score is known."""
    known = each.old_only
    n = estimate.n + len(known)
    share = len(known) / n
    other = _variance_of_mean(known, each.of_old_only, 1) if population == "like" and len(known) > 1 else 0.0
    mean = (1 - share) * estimate.mean + share * float(known.mean())
    quantile = t_quantile(0.975, estimate.groups - 1)
    half = math.hypot((1 - share) * estimate.width / 2, share * quantile * math.sqrt(other))
    return Estimate(mean, mean - half, mean + half, n, estimate.groups, estimate.method)


def _variance_of_mean(values: Array, prompts: Sequence[Hashable], ddof: int) -> float:
    """Of a mean, with prompts as clusters."""
    index, groups = number_labels(prompts)
    sums = np.bincount(index, weights=(values - values.mean()) / len(values), minlength=groups)
    return float(sums @ sums) * groups / max(groups - ddof, 1)


def _unseen(each: _Known, slope: float, offsets: Sequence[float], population: Population) -> Bridged:
    alone = clustered_mean(each.y.tolist(), each.of_shared)
    told = _told(each, alone)
    if not len(each.all_new):
        if (known := clustered_mean(each.old_only.tolist(), each.of_old_only)) is not None:
            return Bridged(known, **told)
        return Bridged(None, note="no score by either judge", **told)
    if len(offsets) < _FEWEST_MODELS:
        note = (
            f"{each.groups} of its answers have both scores ({FEWEST} are needed, each to another prompt), and "
            f"{len(offsets)} other models have enough of them ({_FEWEST_MODELS} are needed to tell how much judges "
            "differ between models)"
        )
        return Bridged(None, note=note, **told)
    values = finite_values(offsets, offsets, "model")
    m, n = len(values), len(each.all_new)
    own = slope**2 * _variance_of_mean(each.all_new, each.of_new, 0) if population == "like" else 0.0
    error = math.sqrt(float(values.var(ddof=1)) * (1 + 1 / m) + own)
    mean = float(values.mean()) + slope * float(each.all_new.mean())
    half = t_quantile(0.975, m - 1) * error
    estimate = Estimate(mean, mean - half, mean + half, n, m, "t over models, bridged")
    return Bridged(estimate, unseen=True, **told)

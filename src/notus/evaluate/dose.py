"""How a score changes with a dose: the estimate at each dose, and the slope, with seeds as replicates.

Owns the arithmetic. Which arm had which dose is the recipe's to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from notus.core.errors import DataError
from notus.core.statistics import Estimate, mean_over_seeds, p_value
from notus.evaluate.compare import Arm, spoken

__all__ = ["Dosed", "slope", "trend_in_words"]

_LIMIT = 0.05


@dataclass(frozen=True)
class Dosed:
    """One arm with its dose."""

    dose: float
    arm: Arm


def slope(arms: Sequence[Dosed]) -> Estimate | None:
    """Change of the mean score for each unit of the dose: the least-squares slope of each seed, and their t interval.

    With doses x and the means y_s(x) of seed s::

        b_s = Σ (x − x̄)(y_s(x) − ȳ_s) / Σ (x − x̄)²

    A slope for each seed takes what a seed has in common out of the noise. Seeds that lack a dose are left out.

    Returns:
        None with fewer than two such seeds.

    Raises:
        DataError: if there are fewer than two different doses.
    """
    doses = np.array([item.dose for item in arms], dtype=np.float64)
    if len(set(doses.tolist())) < 2:
        raise DataError(f"a slope needs two different doses; there are {len(set(doses.tolist()))}")
    means = [dict(item.arm.seed_means) for item in arms]
    seeds = sorted(set.intersection(*(set(of) for of in means)))
    centred = doses - doses.mean()
    slopes = [float(centred @ np.array([of[seed] for of in means]) / (centred @ centred)) for seed in seeds]
    return mean_over_seeds(slopes, seeds) if len(seeds) > 1 else None


def trend_in_words(name: str, found: Estimate | None, unit: float = 0.01, unit_name: str = "percentage point") -> str:
    """The slope in a sentence.

    Args:
        name: of the line.
        found: change for each unit of the dose, from ``slope``.
        unit: the step of the dose that the sentence speaks of.
        unit_name: what that step is called.
    """
    if found is None:
        return f"{name}: a slope needs two seeds that have every dose"
    scaled = Estimate(found.mean * unit, found.low * unit, found.high * unit, found.n, found.groups, found.method)
    said = spoken(scaled, sign=True)
    if p_value(found) >= _LIMIT:
        return f"{name}: a change with the dose is not distinguishable from none, {said} for each {unit_name}"
    return f"{name}: each {unit_name} changes the score by {said}"

"""Exact tests of paired differences, for when there are too few groups to lean on a distribution.

Owns the binomial, the sign test, McNemar's test and the permutation test of signs. Does not own intervals.

All p-values are two-sided. With n groups no test of signs can go below 2 · ½ⁿ, so six are the fewest that reach 5 %.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from notus.core.clusters import checked, numbered
from notus.core.errors import DataError

__all__ = ["ENUMERATED", "Exact", "binomial_test", "mcnemar", "permutation_test", "sign_test"]

ENUMERATED = 20
"""Groups up to which all 2ⁿ assignments of signs are gone through; beyond, assignments are drawn."""
_CELLS = 2_000_000


@dataclass(frozen=True)
class Exact:
    """The outcome of a test."""

    p: float
    n: int
    """Number of cases or groups that could speak: those that show no difference cannot."""
    method: str
    """``binomial``, ``sign``, ``mcnemar``, ``permutation`` or ``permutation, drawn``."""


def binomial_test(successes: int, n: int, p: float = 0.5) -> Exact:
    """Whether a share of independent cases is ``p``: the chance of an outcome no more likely than the one seen.

    Source: the two-sided exact test as in Agresti, "Categorical Data Analysis", section 1.4.4.

    Raises:
        DataError: if the successes are not among 0 … n, or p is not between 0 and 1.
    """
    if n < 0 or not 0 <= successes <= n or not 0 < p < 1:
        raise DataError(f"{successes} of {n} at p = {p} is no binomial case: 0 to n successes and 0 < p < 1 are needed")
    ways = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1)]
    chances = [math.exp(way + k * math.log(p) + (n - k) * math.log1p(-p)) for k, way in enumerate(ways)]
    limit = chances[successes] * (1 + 1e-7)  # outcomes that are equally likely must count as such after rounding
    return Exact(min(1.0, math.fsum(chance for chance in chances if chance <= limit)), n, "binomial")


def sign_test(differences: Sequence[float]) -> Exact:
    """Whether differences of independent groups lie above 0 as often as below it. Differences of 0 are left out.

    Source: Arbuthnot (1710); Conover, "Practical Nonparametric Statistics", section 3.4.
    """
    data = checked(differences, differences, "group")
    above, below = int((data > 0).sum()), int((data < 0).sum())
    return Exact(binomial_test(above, above + below).p, above + below, "sign")


def mcnemar(only_a: int, only_b: int) -> Exact:
    """Whether one of two sides succeeds more often on the same cases: the binomial test of those where they differ.

    Args:
        only_a: cases in which a alone succeeded.
        only_b: cases in which b alone did. Cases with the same outcome on both sides say nothing and are not asked for.

    Source: McNemar (1947), Psychometrika 12, pages 153–157, with exact probabilities.

    Raises:
        DataError: if a count is negative.
    """
    if min(only_a, only_b) < 0:
        raise DataError(f"{only_a} and {only_b} are no counts of cases; give how often each side alone succeeded")
    return Exact(binomial_test(only_a, only_a + only_b).p, only_a + only_b, "mcnemar")


def permutation_test(
    differences: Sequence[float], clusters: Sequence[Hashable] | None = None, *, draws: int = 99_999, seed: int = 0
) -> Exact:
    """Whether paired differences have mean 0: how often signs given by chance make a mean as far from 0.

    Under the null either side of a group could have been a or b, so the sign of its difference is a coin. Signs are
    given to whole clusters: the test then allows for any dependence inside them. Up to ``ENUMERATED`` clusters that
    differ at all it goes through every assignment, and p is exact; beyond, it draws assignments and p = (1 + as far) /
    (1 + draws), which is never too small (Phipson and Smyth 2010, https://arxiv.org/abs/1603.05766).

    Source: Fisher, "The Design of Experiments" (1935), section 21.

    Args:
        differences: one for each pair.
        clusters: the cluster of each; without it each difference stands for itself.
        draws: how many assignments are drawn when there are too many to go through.
        seed: of the draws.

    Raises:
        DataError: if the two sequences differ in length or a difference is not finite.
    """
    labels = range(len(differences)) if clusters is None else clusters
    data = checked(differences, labels, "cluster")
    index, count = numbered(labels)
    sums = np.bincount(index, weights=data, minlength=count).astype(np.float64)
    slack = 1e-12 * float(np.abs(data).sum())
    sums = sums[np.abs(sums) > slack]
    limit = abs(float(sums.sum())) - slack
    if len(sums) <= ENUMERATED:
        reached = np.abs(_all_sums(sums)) >= limit
        return Exact(float(reached.mean()), len(sums), "permutation")
    return Exact(_drawn(sums, limit, draws, seed), len(sums), "permutation, drawn")


def _all_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum under each assignment of signs, half of them: the other half are their negatives."""
    found = sums[:1] if len(sums) else np.zeros(1)
    for value in sums[1:]:
        found = np.concatenate([found + value, found - value])
    return found


def _drawn(sums: NDArray[np.float64], limit: float, draws: int, seed: int) -> float:
    random = np.random.default_rng(seed)
    block = max(1, _CELLS // len(sums))
    reached = 0
    for start in range(0, draws, block):
        size = min(block, draws - start)
        signs = 2.0 * random.integers(2, size=(size, len(sums)), dtype=np.int8) - 1.0
        reached += int((np.abs(signs @ sums) >= limit).sum())
    return (1 + reached) / (1 + draws)

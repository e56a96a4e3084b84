"""Tests that lean on few assumptions: McNemar's, the permutation of signs, and whether categories are used evenly.

Owns the arithmetic; prompts may be clusters. Does not own intervals (``stats.intervals``), nor what is tested against
what: the pairs of a comparison are owned by ``evaluate.compare``, the categories by ``audit.pairs``.

All p-values are two-sided. With n groups no test of signs can go below 2 · ½ⁿ, so six are the fewest that reach 5 %.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.stats.distributions import chi_square_tail
from notus.stats.intervals import finite_values, number_labels

__all__ = ["ENUMERATED", "Exact", "Uniformity", "mcnemar", "permutation_test", "uniformity"]

ENUMERATED = 20
"""Groups up to which all 2ⁿ assignments of signs are gone through; beyond, assignments are drawn."""
_CELLS = 2_000_000
"""Numbers that are held at once while something is drawn."""
_FEW = 5.0
"""Expected count of a category under which the tail of chi-square is simulated."""
_DRAWS = 9_999
_SEED = 20_240


@dataclass(frozen=True)
class Exact:
    """The outcome of a test."""

    p: float
    n: int
    """Number of cases or groups that could speak: those that show no difference cannot."""
    method: str
    """``mcnemar``, ``permutation`` or ``permutation, drawn``."""


@dataclass(frozen=True)
class Uniformity:
    """The test of "each category is equally likely"."""

    statistic: float
    df: int
    p: float
    groups: int
    """Number of clusters."""
    method: str
    """``chi-square``, or ``permutations`` where there are too few for it."""


def mcnemar(only_a: int, only_b: int) -> Exact:
    """Whether one of two sides succeeds more often on the same cases: twice the binomial tail of where they differ.

    With n = only_a + only_b, p = min(1, 2 · P(X ≤ min(only_a, only_b))) for X ~ Binomial(n, ½).

    Args:
        only_a: cases in which a alone succeeded.
        only_b: cases in which b alone did. Cases with the same outcome on both sides say nothing and are not asked for.

    Source: McNemar (1947), Psychometrika 12, pages 153–157, with exact probabilities.

    Raises:
        DataError: if a count is negative.
    """
    from scipy.special import bdtr  # late, as in ``stats.distributions``

    fewer, n = min(only_a, only_b), only_a + only_b
    if fewer < 0:
        raise DataError(f"{only_a} and {only_b} are no counts of cases; give how often each side alone succeeded")
    return Exact(min(1.0, 2 * float(bdtr(fewer, n, 0.5))), n, "mcnemar")


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
    data = finite_values(differences, labels, "cluster")
    index, count = number_labels(labels)
    sums = np.bincount(index, weights=data, minlength=count).astype(np.float64)
    slack = 1e-12 * float(np.abs(data).sum())
    sums = sums[np.abs(sums) > slack]
    limit = abs(float(sums.sum())) - slack
    if len(sums) <= ENUMERATED:
        reached = np.abs(_all_sums(sums)) >= limit
        return Exact(float(reached.mean()), len(sums), "permutation")
    return Exact(_permutation_p(sums, limit, draws, seed), len(sums), "permutation, drawn")


def uniformity(shares: Sequence[Sequence[float]] | NDArray[np.float64]) -> Uniformity:
    """Test whether K categories are used evenly, given of each cluster the share of each category.

    With x_g the K shares of cluster g, which sum to 1, and d_g = x_g − 1/K::

        X² = ‖Σ_g d_g‖² / Σ_g s_g²          s_g² = ‖d_g‖² / (K − 1)          X² ~ χ²(K − 1)

    s_g² (I − 11ᵀ/K) is the covariance of d_g when its K entries change places at random, which is what "position does
    not matter" says; the form is that of Friedman's test (1937, J. American Statistical Association 32). With one case
    per cluster s_g² = 1/K, and X² is Pearson's Σ (observed − expected)² / expected. Where the expected count is under
    5, p comes from 9,999 seeded permutations of each cluster's entries, counted as (b + 1)/(draws + 1).

    Raises:
        DataError: if there is no cluster, or fewer than two categories.
    """
    data = np.asarray(shares, dtype=np.float64)
    if data.ndim != 2 or not len(data) or data.shape[1] < 2:
        raise DataError("evenness needs at least one cluster, and at least two categories")
    groups, categories = data.shape
    away = data - 1 / categories
    spread = float((away**2).sum()) / (categories - 1)
    if spread == 0:
        return Uniformity(0.0, categories - 1, 1.0, groups, "chi-square")
    statistic = float((away.sum(axis=0) ** 2).sum()) / spread
    if groups / categories < _FEW:
        return Uniformity(statistic, categories - 1, _uniformity_p(away, spread, statistic), groups, "permutations")
    return Uniformity(statistic, categories - 1, chi_square_tail(statistic, categories - 1), groups, "chi-square")


def _all_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum under each assignment of signs, half of them: the other half are their negatives."""
    found = sums[:1] if len(sums) else np.zeros(1)
    for value in sums[1:]:
        found = np.concatenate([found + value, found - value])
    return found


def _permutation_p(sums: NDArray[np.float64], limit: float, draws: int, seed: int) -> float:
    random = np.random.default_rng(seed)
    block = max(1, _CELLS // len(sums))
    reached = 0
    for start in range(0, draws, block):
        size = min(block, draws - start)
        signs = 2.0 * random.integers(2, size=(size, len(sums)), dtype=np.int8) - 1.0
        reached += int((np.abs(signs @ sums) >= limit).sum())
    return (1 + reached) / (1 + draws)


def _uniformity_p(away: NDArray[np.float64], spread: float, statistic: float) -> float:
    generator = np.random.default_rng(_SEED)
    at_once = max(1, _CELLS // away.size)
    reached = done = 0
    while done < _DRAWS:
        draws = min(at_once, _DRAWS - done)
        shuffled = generator.permuted(np.broadcast_to(away, (draws, *away.shape)), axis=2)
        found = (shuffled.sum(axis=1) ** 2).sum(axis=1) / spread
        reached += int((found >= statistic - 1e-9).sum())
        done += draws
    return (reached + 1) / (_DRAWS + 1)

"""Whether categories are used evenly: a chi-square test that takes prompts as clusters, and the chi-square tail.

Owns the arithmetic. What the categories are is owned by who asks, for example ``data.bias``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError

__all__ = ["Uniformity", "chi_square_tail", "uniformity"]

_FEW = 5.0
"""Expected count of a category under which the tail is simulated."""
_DRAWS = 9_999
_BLOCK = 2_000_000
_SEED = 20_240


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
        return Uniformity(statistic, categories - 1, _simulated(away, spread, statistic), groups, "permutations")
    return Uniformity(statistic, categories - 1, chi_square_tail(statistic, categories - 1), groups, "chi-square")


def chi_square_tail(x: float, df: int) -> float:
    """Probability that chi-square with ``df`` degrees of freedom exceeds ``x``: Q(df/2, x/2).

    The regularised incomplete gamma function, by its series for small x and its continued fraction for large ones:
    https://dlmf.nist.gov/8.11.E4 and https://dlmf.nist.gov/8.9.E2.

    Raises:
        ValueError: if df is not positive or x is negative.
    """
    if df < 1 or not x >= 0:
        raise ValueError(f"chi_square_tail needs df >= 1 and x >= 0, not df={df} and x={x}")
    a, z = df / 2, x / 2
    if z == 0:
        return 1.0
    log_front = a * math.log(z) - z - math.lgamma(a)
    if z < a + 1:
        return 1 - math.exp(log_front) * _series(a, z)
    return math.exp(log_front) * _fraction(a, z)


def _series(a: float, z: float) -> float:
    term = total = 1 / a
    n = a
    while term > 1e-17 * total:
        n += 1
        term *= z / n
        total += term
    return total


def _fraction(a: float, z: float) -> float:
    """The continued fraction of Q(a, z), without its factor, by the modified Lentz method."""
    tiny = 1e-300
    b = z + 1 - a
    c, d = 1 / tiny, 1 / b
    value = d
    for n in range(1, 10_000):
        step = -n * (n - a)
        b += 2
        d = 1 / ((step * d + b) or tiny)
        c = (b + step / c) or tiny
        value *= c * d
        if abs(c * d - 1) <= 1e-16:
            return value
    return value


def _simulated(away: NDArray[np.float64], spread: float, statistic: float) -> float:
    generator = np.random.default_rng(_SEED)
    at_once = max(1, _BLOCK // away.size)
    reached = done = 0
    while done < _DRAWS:
        draws = min(at_once, _DRAWS - done)
        shuffled = generator.permuted(np.broadcast_to(away, (draws, *away.shape)), axis=2)
        found = (shuffled.sum(axis=1) ** 2).sum(axis=1) / spread
        reached += int((found >= statistic - 1e-9).sum())
        done += draws
    return (reached + 1) / (_DRAWS + 1)

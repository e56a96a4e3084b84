"""The bootstrap over clusters: intervals for whatever is made of sums over clusters.

Owns resampling. Does not own the t intervals (``stats.intervals``), which are the first choice for a mean: the
bootstrap is for what has no simple standard error (a ratio, Cohen's κ, a calibration error), and a check on them.

Whole clusters are drawn with replacement, as many as there are. To draw single values of clustered data, *the naive
bootstrap*, is to claim that each value is independent: on 50 clusters of 10 it calls 43 % of true nulls a difference.
Here it is what comes out when each value is given a cluster of its own.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from notus.stats.distributions import t_quantile
from notus.stats.intervals import Estimate, number_labels

__all__ = ["Kind", "Statistic", "bootstrap_totals", "draw_totals", "totals_of"]

Array = NDArray[np.float64]
Kind = Literal["percentile", "bca", "basic"]
Statistic = Callable[[Array], Array]
"""From sums, shape (…, k), to values, shape (…). Where it is not defined, as 0/0, it is not a number."""

_LEVEL = 0.95
_CELLS = 2_000_000
_UNDEFINED = 0.01
"""Share of the draws that may leave the statistic undefined; beyond it there is no interval."""
_NAMES = {
    "percentile": "cluster bootstrap, percentile",
    "bca": "cluster bootstrap, BCa",
    "basic": "cluster bootstrap, basic",
}


def bootstrap_totals(
    totals: Array,
    statistic: Statistic,
    *,
    n: int,
    draws: int = 9_999,
    seed: int = 0,
    kind: Kind = "bca",
) -> Estimate | None:
    """A statistic of sums with a 95 % bootstrap interval over clusters, the same for the same seed.

    ``percentile`` reads the interval off the sorted draws, at probabilities Φ(±z). ``bca`` corrects these for bias z0
    and acceleration a, Φ(z0 + (z0 ± z)/(1 − a(z0 ± z))): z0 from the share of draws below the observed value, a from
    the clusters left out one at a time (Efron 1987, J. American Statistical Association 82, pages 171–185). ``basic``
    mirrors the percentile interval at the observed value, for what resampling pushes to one side.

    A bootstrap interval of G clusters is too narrow, because it takes s²·(G−1)/G for the variance and the normal for
    Student's t. So z is t(.975, G−1) · √(G/(G−1)), and not 1.96 (Hesterberg 2015, https://arxiv.org/abs/1411.5279,
    "expanded percentile interval"): .07 more at 50 clusters, 1.1 more at five.

    Args:
        totals: shape (clusters, k): what each cluster adds to the sums that the statistic is made of.
        statistic: from sums to values; it gets many sums at once.
        n: number of values behind it.
        draws: number of resamples.
        seed: of the draws.
        kind: how the interval is read off the draws.

    Returns:
        None with fewer than two clusters, and where the statistic is undefined for the data, for more than 1 % of the
        draws, or, with ``bca``, without one of the clusters.
    """
    count = len(totals)
    observed = float(_quiet(statistic, totals.sum(axis=0)))
    if count < 2 or not np.isfinite(observed):
        return None
    found = np.concatenate([_quiet(statistic, sums) for sums in draw_totals(totals, draws, seed)])
    defined = found[np.isfinite(found)]
    if len(defined) < (1 - _UNDEFINED) * draws:
        return None
    z = t_quantile(0.5 + _LEVEL / 2, count - 1) * (count / (count - 1)) ** 0.5
    bias, acceleration = _corrections(totals, statistic, observed, defined) if kind == "bca" else (0.0, 0.0)
    if not np.isfinite(acceleration):
        return None
    low, high = np.quantile(defined, [_level(bias, acceleration, side * z) for side in (-1, 1)])
    if kind == "basic":
        low, high = 2 * observed - high, 2 * observed - low
    return Estimate(observed, float(low), float(high), n, count, _NAMES[kind])


def draw_totals(totals: Array, draws: int, seed: int) -> Iterator[Array]:
    """Sums over clusters drawn with replacement, in blocks of shape (some of the draws, k)."""
    random = np.random.default_rng(seed)
    count = len(totals)
    block = max(1, _CELLS // count)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        drawn = random.integers(count, size=(size, count))
        drawn += np.arange(size)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield times @ totals


def totals_of(rows: NDArray[Any], clusters: Sequence[Hashable]) -> Array:
    """Sum rows, shape (n, k), within clusters: shape (clusters, k), in order of appearance."""
    index, count = number_labels(clusters)
    return np.stack([np.bincount(index, weights=column, minlength=count) for column in rows.T], axis=1)


def _corrections(totals: Array, statistic: Statistic, observed: float, found: Array) -> tuple[float, float]:
    """Bias z0 and acceleration a of BCa."""
    slack = 1e-12 * max(1.0, abs(observed))  # rounding must not decide which draws lie below the observed value
    below = np.mean(found < observed - slack) + np.mean(np.abs(found - observed) <= slack) / 2
    edge = 0.5 / len(found)
    bias = NormalDist().inv_cdf(min(max(float(below), edge), 1 - edge))
    left_out = _quiet(statistic, totals.sum(axis=0) - totals)
    off = left_out.mean() - left_out
    spread = float((off**2).sum()) ** 1.5
    return bias, float((off**3).sum()) / (6 * spread) if spread else 0.0


def _level(bias: float, acceleration: float, z: float) -> float:
    shifted = bias + z
    scale = 1 - acceleration * shifted
    if scale <= 0:  # beyond the pole of the correction: the outermost draw
        return 1.0 if z > 0 else 0.0
    return NormalDist().cdf(bias + shifted / scale)


def _quiet(statistic: Statistic, sums: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(statistic(sums), dtype=np.float64)

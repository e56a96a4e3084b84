"""Ranks of values in columns, and the normal scores of ranks; what is not known (NaN) stays so, and does not count."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["blocks", "mid_ranks", "normal_difference", "normal_scores", "rank_difference"]

Floats = NDArray[np.float64]
Column = Floats | NDArray[np.float32]

_BLOCK = 65_536


def blocks(count: int) -> Iterator[slice]:
    """Blocks of a column: what is computed on the way to a result is held of a block, not of the whole."""
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


def mid_ranks(values: Sequence[float] | Column) -> Floats:
    """Rank of each value among all, 0 to 1, equal values in the middle of their places: (below + ½ equal) / n."""
    data = np.asarray(values)
    ranks = np.empty(len(data))
    ordered = np.sort(data)  # NaN at the end
    ordered = ordered[: len(data) - int(np.isnan(ordered).sum())]
    for block in blocks(len(data)):
        here = data[block]
        order = np.argsort(here)  # neighbours are looked up after one another: several times as fast
        below = np.searchsorted(ordered, here[order])
        ranks[block][order] = (below + np.searchsorted(ordered, here[order], "right")) / 2 / max(len(ordered), 1)
        ranks[block][np.isnan(here)] = np.nan
    return ranks


def normal_scores(values: Sequence[float] | Column) -> Floats:
    """Mid-ranks as quantiles of the standard normal distribution (van der Waerden 1952)."""
    from scipy.special import ndtri  # late, as in ``stats.distributions``

    ranks = mid_ranks(values)
    found: Floats = ndtri(ranks, out=ranks)
    return found


def normal_difference(values: Column, others: Column) -> Floats:
    """Normal score of a value minus that of another view, both among those that have both.

    Where the two follow a normal copula, whatever their scales are, the difference is normal with one spread for all.
    """
    either = np.isnan(values) | np.isnan(others)
    found = normal_scores(np.where(either, np.nan, values))
    found -= normal_scores(np.where(either, np.nan, others))
    return found


def rank_difference(values: Column, others: Column) -> Floats:
    """Mid-rank of a value minus that of another view, both among those that have both; −1 to 1."""
    either = np.isnan(values) | np.isnan(others)
    found = mid_ranks(np.where(either, np.nan, values))
    found -= mid_ranks(np.where(either, np.nan, others))
    return found

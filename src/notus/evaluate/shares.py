"""Shares with an interval over clusters that also holds where all cases agree.

Owns what becomes of a share at its borders. The arithmetic is that of ``core.statistics``.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace

from notus.core.statistics import Estimate, clustered_mean, proportion

__all__ = ["certain", "share"]


def share(values: Sequence[float], clusters: Sequence[Hashable], *, low: float = 0.0) -> Estimate | None:
    """Mean of values from ``low`` to 1 with a clustered interval, cut off at these borders.

    Where the values do not vary at all a t interval has no width; Wilson's over the clusters then says how sure a
    share of none or of all is.

    Args:
        values: one for each case.
        clusters: what belongs together, such as the prompt.
        low: the least value that is possible: 0, or −1 for a difference of two shares.

    Returns:
        None with fewer than two clusters.
    """
    estimate = clustered_mean(values, clusters)
    if estimate is None:
        return None
    if estimate.width > 0 or not 0 <= estimate.mean <= 1:
        if low <= estimate.low and estimate.high <= 1:
            return estimate
        # Under a name of its own: the standard error can no longer be read from its width.
        return replace(
            estimate, low=max(estimate.low, low), high=min(estimate.high, 1.0), method="clipped t, clustered"
        )
    return certain(estimate)


def certain(estimate: Estimate) -> Estimate:
    """A share whose cases all agree, with Wilson's interval over its clusters; any other estimate as it is.

    Its t interval has no width, and would call a share of none or of all certain.
    """
    if estimate.width > 0 or not 0 <= estimate.mean <= 1:
        return estimate
    wilson = proportion(round(estimate.mean * estimate.groups), estimate.groups)
    return replace(wilson, mean=estimate.mean, n=estimate.n)

"""How well a ranking finds what is known to be faulty: the area under the ROC curve, with an interval over clusters.

Owns the measure of rankings. Finders that say yes or no are measured in ``evaluate.finders``.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.stats.distributions import t_quantile
from notus.stats.intervals import Estimate

__all__ = ["auroc", "auroc_gain"]


def auroc(ranking: Sequence[float], faulty: Sequence[bool], clusters: Sequence[Hashable]) -> Estimate | None:
    """Chance that a faulty item ranks above a sound one, ties as half, with an interval over clusters.

    With V(x) the share of sound items below a faulty one, W(y) the share of faulty ones above a sound one, A the area,
    m faulty and n sound items in G clusters, and per cluster g the sums of V − A and W − A::

        A = mean(V) = mean(W)       se² = G/(G−1) · Σ_g (Σ(V − A)/m + Σ(W − A)/n)²       A ± t(.975, G−1) · se

    Source: Obuchowski (1997), Biometrics 53, pages 567–578. The ranking may come from several replicates of one set:
    with prompts as clusters, a prompt's items in all of them are one cluster.

    Returns:
        None with fewer than two clusters.

    Raises:
        DataError: if lengths differ, a value is not finite, or one of the two kinds is missing.
    """
    own, area, bad = _placements(ranking, faulty, clusters)
    return _clustered(area, _parts(own, area, bad), clusters)


def auroc_gain(
    ranking: Sequence[float], others: Sequence[Sequence[float]], faulty: Sequence[bool], clusters: Sequence[Hashable]
) -> Estimate | None:
    """The area of a ranking minus the mean of those of others of the same items, with an interval over clusters.

    Its error is that of ``auroc`` with the differences of V and W in place of V and W (DeLong et al. 1988, Biometrics
    44, pages 837–845, for clusters). It allows for other items, not for another draw of what the rankings learned from.

    Returns:
        None with fewer than two clusters.

    Raises:
        DataError: as ``auroc``.
    """
    own, area, bad = _placements(ranking, faulty, clusters)
    parts = _parts(own, area, bad)
    for other in others:
        theirs, under, _ = _placements(other, faulty, clusters)
        parts -= _parts(theirs, under, bad) / len(others)
        area -= under / len(others)
    return _clustered(area, parts, clusters)


def _placements(
    ranking: Sequence[float], faulty: Sequence[bool], clusters: Sequence[Hashable]
) -> tuple[NDArray[np.float64], float, NDArray[np.bool_]]:
    """V of the faulty and W of the sound items, the area, and which are faulty."""
    values, bad = np.asarray(ranking, dtype=np.float64), np.asarray(faulty, dtype=bool)
    if not len(values) == len(bad) == len(clusters):
        raise DataError(f"{len(values)} values came with {len(bad)} labels and {len(clusters)} clusters")
    if not np.isfinite(values).all():
        raise DataError("a value of the ranking is not a finite number; leave unranked items out and count them")
    if bad.all() or not bad.any():
        raise DataError(f"{int(bad.sum())} of {len(bad)} items are faulty; both kinds are needed")
    own = np.where(bad, _below(values[~bad], values), 1 - _below(values[bad], values))
    return own, float(own[bad].mean()), bad


def _parts(own: NDArray[np.float64], area: float, bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What each item adds to the error of the area."""
    found: NDArray[np.float64] = (own - area) / np.where(bad, bad.sum(), (~bad).sum())
    return found


def _clustered(area: float, parts: NDArray[np.float64], clusters: Sequence[Hashable]) -> Estimate | None:
    _, group = np.unique(np.array([str(cluster) for cluster in clusters]), return_inverse=True)
    count = int(group.max()) + 1
    if count < 2:
        return None
    sums = np.bincount(group, parts)
    half = t_quantile(0.975, count - 1) * float(np.sqrt(count / (count - 1) * (sums @ sums)))
    return Estimate(area, area - half, area + half, len(parts), count, "clustered t, Obuchowski")


def _below(others: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of ``others`` below each value, ties as half."""
    ordered = np.sort(others)
    found: NDArray[np.float64] = (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, "right")) / 2
    return found / len(others)

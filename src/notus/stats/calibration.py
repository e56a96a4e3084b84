"""Whether stated probabilities come true: bins with intervals, the calibration error, the Brier score.

Owns the arithmetic. Does not own the diagram (``report.charts``), nor where the probabilities come from.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.stats.bootstrap import Array, bootstrap_totals, totals_of
from notus.stats.intervals import Estimate, clustered_mean, finite_values, proportion, wider

__all__ = ["Bin", "brier", "calibration_error", "reliability_bins"]


@dataclass(frozen=True)
class Bin:
    """Cases whose stated probability lies in one bin: low included, high not, except in the last one."""

    low: float
    high: float
    stated: float
    """Mean of the stated probabilities."""
    came_true: Estimate
    """Share that came true; its n is the number of cases."""


def reliability_bins(
    probabilities: Sequence[float], outcomes: Sequence[float], clusters: Sequence[Hashable], bins: int = 10
) -> list[Bin]:
    """Stated probabilities in bins of equal width, with the share that came true; empty bins are left out.

    The interval of a share is the wider of Wilson's, as if all cases were independent, and the clustered t interval: a
    bin in which all came true has no spread of its own, and Wilson's interval knows that a few cases prove little.

    Args:
        probabilities: between 0 and 1.
        outcomes: 1 for what came true, and otherwise 0.
        clusters: what belongs together: the prompt of each case.
        bins: how many.

    Raises:
        DataError: if the sequences differ in length, or hold something else.
    """
    stated, outcome, place = _divide_into_bins(probabilities, outcomes, clusters, bins)
    found = []
    for index in sorted(set(place.tolist())):
        inside = np.flatnonzero(place == index)
        share = proportion(int(outcome[inside].sum()), len(inside))
        among = clustered_mean(outcome[inside].tolist(), [clusters[i] for i in inside.tolist()])
        estimate = wider(share, among) or share
        found.append(Bin(index / bins, (index + 1) / bins, float(stated[inside].mean()), estimate))
    return found


def calibration_error(
    probabilities: Sequence[float],
    outcomes: Sequence[float],
    clusters: Sequence[Hashable],
    bins: int = 10,
    *,
    draws: int = 4_999,
    seed: int = 0,
) -> Estimate | None:
    """The expected calibration error, Σ_bins n_b/n · abs(share that came true − mean stated), with its interval.

    Noise alone makes it positive, the more so the more bins there are. Resampling adds that noise once more, which the
    basic bootstrap, by mirroring the draws at the observed value, takes off again; what the data themselves hold of it
    stays.

    Source: Naeini, Cooper and Hauskrecht (2015), AAAI 29, https://doi.org/10.1609/aaai.v29i1.9602.

    Returns:
        None with fewer than two clusters.

    Raises:
        DataError: as ``reliability_bins``.
    """
    stated, outcome, place = _divide_into_bins(probabilities, outcomes, clusters, bins)
    if not len(stated):
        return None
    rows = np.zeros((len(stated), bins + 1))
    rows[np.arange(len(stated)), place] = outcome - stated
    rows[:, bins] = 1
    totals = totals_of(rows, clusters)
    statistic = partial(_expected_error, bins=bins)
    return bootstrap_totals(totals, statistic, n=len(stated), draws=draws, seed=seed, kind="basic")


def brier(probabilities: Sequence[float], outcomes: Sequence[float], clusters: Sequence[Hashable]) -> Estimate | None:
    """Mean of (probability − outcome)², 0 at best; always to say ½ gives .25. Clustered t interval.

    Source: Brier (1950), Monthly Weather Review 78, pages 1–3.

    Returns:
        None with fewer than two clusters.

    Raises:
        DataError: as ``reliability_bins``.
    """
    stated, outcome, _ = _divide_into_bins(probabilities, outcomes, clusters, 1)
    return clustered_mean(((stated - outcome) ** 2).tolist(), clusters) if len(stated) else None


def _expected_error(sums: Array, bins: int) -> Array:
    error: Array = np.abs(sums[..., :bins]).sum(axis=-1) / sums[..., bins]
    return error


def _divide_into_bins(
    probabilities: Sequence[float], outcomes: Sequence[float], clusters: Sequence[Hashable], bins: int
) -> tuple[Array, Array, NDArray[np.intp]]:
    stated = finite_values(probabilities, clusters, "cluster")
    outcome = finite_values(outcomes, clusters, "cluster")
    if bins < 1:
        raise DataError(f"{bins} bins cannot hold probabilities; ask for one bin or more")
    if len(stated) and (stated.min() < 0 or stated.max() > 1):
        raise DataError(f"stated probabilities lie between 0 and 1, not {stated.min():g} to {stated.max():g}")
    if not np.isin(outcome, (0, 1)).all():
        raise DataError("an outcome is neither 0 nor 1; decide what counts as come true before")
    return stated, outcome, np.minimum((stated * bins).astype(np.intp), bins - 1)

"""Agreement of raters: the raw share, Cohen's κ, Gwet's AC1, Krippendorff's α, each with an interval over clusters.

Owns the measures on labels that have no order. Does not own who is compared with whom, nor what counts as a label.

Raw agreement is what is easiest to read and to fool: two judges that nearly always say the same agree by habit. κ and α
take out what raters with these habits would agree on by chance; where nearly all labels are the same they fall to about
0 although all agree, and AC1 does not. So all are told, and the raw share first.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from notus.core.clusters import numbered
from notus.core.errors import DataError
from notus.core.resampling import Array, Statistic, bootstrap_totals, totals_of
from notus.core.statistics import Estimate

__all__ = ["Agreement", "agreement", "krippendorff"]


@dataclass(frozen=True)
class Agreement:
    """How two raters agree. A measure is None where it has no interval: too few clusters, or only one label."""

    n: int
    """Items that both rated."""
    raw: Estimate | None
    """Share of items with the same label."""
    kappa: Estimate | None
    """(raw − by chance)/(1 − by chance), chance from the labels of each rater: Cohen (1960)."""
    ac1: Estimate | None
    """The same with chance = Σ π(1 − π)/(q − 1), π the share of a label over both raters, q labels: Gwet (2008)."""


def agreement(
    a: Sequence[Hashable], b: Sequence[Hashable], clusters: Sequence[Hashable], *, draws: int = 4_999, seed: int = 0
) -> Agreement:
    """Agreement of two raters on the items that both have rated.

    Sources: Cohen (1960), Educational and Psychological Measurement 20, pages 37–46; Gwet (2008), British J. of
    Mathematical and Statistical Psychology 61, pages 29–48. Intervals: the cluster bootstrap, BCa.

    Args:
        a: the label that the first rater gave to each item.
        b: the label of the second. An item that one has not rated is to be left out before, and counted.
        clusters: what belongs together: the prompt of each item.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        DataError: if the sequences differ in length.
    """
    if not len(a) == len(b) == len(clusters):
        raise DataError(f"{len(a)} and {len(b)} labels came with {len(clusters)} clusters; one of each for an item")
    if not len(a):
        return Agreement(0, None, None, None)
    index, size = numbered([*a, *b])
    cells = np.zeros((len(a), size * size))
    cells[np.arange(len(a)), index[: len(a)] * size + index[len(a) :]] = 1
    totals = totals_of(cells, clusters)

    def measured(statistic: Statistic) -> Estimate | None:
        return bootstrap_totals(totals, statistic, n=len(a), draws=draws, seed=seed)

    return Agreement(
        n=len(a),
        raw=measured(partial(_raw, size=size)),
        kappa=measured(partial(_kappa, size=size)) if size > 1 else None,
        ac1=measured(partial(_ac1, size=size)) if size > 1 else None,
    )


def krippendorff(
    ratings: Sequence[Sequence[Hashable | None]],
    clusters: Sequence[Hashable] | None = None,
    *,
    draws: int = 4_999,
    seed: int = 0,
) -> Estimate | None:
    """Krippendorff's α for any number of raters and labels without an order; ratings may be missing.

    From an item with m ≥ 2 ratings each ordered pair of labels adds 1/(m − 1) to the coincidences o; with margins n_c
    and n = Σ n_c::

        α = 1 − (n − 1) · Σ_{c≠k} o_ck / Σ_{c≠k} n_c n_k

    Source: Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability",
    https://repository.upenn.edu/handle/20.500.14332/2089.

    Args:
        ratings: for each item the label by each rater, None where a rater gave none.
        clusters: what belongs together; without it each item stands for itself.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        The α, n the ratings that could be paired; None where it has no interval: fewer than two clusters, one label.

    Raises:
        DataError: if there is not one cluster for each item.
    """
    labels = list(range(len(ratings))) if clusters is None else list(clusters)
    if len(labels) != len(ratings):
        raise DataError(f"{len(ratings)} items came with {len(labels)} clusters; one for each item")
    paired = [(label, given) for label, row in zip(labels, ratings, strict=True) if len(given := _given(row)) > 1]
    numbers, size = numbered([name for _, given in paired for name in given])
    if size < 2:
        return None
    rows, start = np.zeros((len(paired), size * size)), 0
    for place, (_, given) in enumerate(paired):
        counts = np.bincount(numbers[start : start + len(given)], minlength=size)
        rows[place] = ((np.outer(counts, counts) - np.diag(counts)) / (len(given) - 1)).ravel()
        start += len(given)
    totals = totals_of(rows, [label for label, _ in paired])
    return bootstrap_totals(totals, partial(_alpha, size=size), n=len(numbers), draws=draws, seed=seed)


def _given(row: Sequence[Hashable | None]) -> list[Hashable]:
    return [label for label in row if label is not None]


def _table(sums: Array, size: int) -> Array:
    return sums.reshape(*sums.shape[:-1], size, size)


def _raw(sums: Array, size: int) -> Array:
    share: Array = np.trace(_table(sums, size), axis1=-2, axis2=-1) / sums.sum(axis=-1)
    return share


def _kappa(sums: Array, size: int) -> Array:
    table = _table(sums, size) / sums.sum(axis=-1)[..., None, None]
    chance = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1)
    kappa: Array = (_raw(sums, size) - chance) / (1 - chance)
    return kappa


def _ac1(sums: Array, size: int) -> Array:
    table = _table(sums, size) / sums.sum(axis=-1)[..., None, None]
    share = (table.sum(axis=-1) + table.sum(axis=-2)) / 2
    chance = (share * (1 - share)).sum(axis=-1) / (size - 1)
    ac1: Array = (_raw(sums, size) - chance) / (1 - chance)
    return ac1


def _alpha(sums: Array, size: int) -> Array:
    table = _table(sums, size)
    margins, whole = table.sum(axis=-1), sums.sum(axis=-1)
    apart = whole - np.trace(table, axis1=-2, axis2=-1)
    expected = whole**2 - (margins**2).sum(axis=-1)
    alpha: Array = 1 - (whole - 1) * apart / expected
    return alpha

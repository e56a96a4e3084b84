"""Agreement of raters: the raw share, Cohen's and Fleiss' κ, Gwet's AC1, Krippendorff's α, each with an interval.

The intervals are over clusters. Labels are without an order, but for α, which also takes grades and numbers. Owns the
measures. Does not own who is compared with whom, nor what counts as a label.

Raw agreement is what is easiest to read and to fool: two judges that nearly always say the same agree by habit. κ and α
take out what raters with these habits would agree on by chance; where nearly all labels are the same they fall to about
0 although all agree, and AC1 does not. So all of them are reported, the raw share first.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.stats.bootstrap import Array, Statistic, bootstrap_totals, totals_of
from notus.stats.intervals import Estimate, number_labels

__all__ = ["Agreement", "Metric", "agreement", "alpha", "fleiss", "krippendorff"]

Metric = Literal["nominal", "ordinal", "interval"]
Indices = NDArray[Any]
_CELLS = 30_000_000
"""Coincidences of labels that are held at most, over all clusters."""
_AT_ONCE = 4_096
"""Items whose coincidences are made at a time."""


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
    index, size = number_labels([*a, *b])
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
    metric: Metric = "nominal",
    draws: int = 4_999,
    seed: int = 0,
) -> Estimate | None:
    """Krippendorff's α for any number of raters; ratings may be missing.

    From an item with m ≥ 2 ratings each ordered pair of labels adds 1/(m − 1) to the coincidences o; with margins n_c
    and n = Σ n_c::

        α = 1 − (n − 1) · Σ_{c,k} o_ck δ²_ck / Σ_{c,k} n_c n_k δ²_ck

        nominal   δ² = 1 for two different labels                        labels without an order
        ordinal   δ  = Σ_{g=c}^{k} n_g − (n_c + n_k)/2                    grades: how many lie between them
        interval  δ  = c − k                                             numbers

    Source: Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability",
    https://repository.upenn.edu/handle/20.500.14332/2089.

    Args:
        ratings: for each item the label by each rater, None where a rater gave none; numbers unless nominal.
        clusters: what belongs together; without it each item stands for itself.
        metric: how far two labels are apart.
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
    rows = [(item, name) for item, row in enumerate(ratings) for name in row if name is not None]
    if not rows:
        return None
    items = np.array([item for item, _ in rows], np.intp)
    names = number_labels([name for _, name in rows])[0] if metric == "nominal" else np.array([n for _, n in rows])
    return alpha(items, names, number_labels(labels)[0][items], metric=metric, draws=draws, seed=seed)


def alpha(
    items: Indices, labels: NDArray[Any], clusters: Indices, *, metric: Metric, draws: int = 4_999, seed: int = 0
) -> Estimate | None:
    """``krippendorff`` on columns: for each rating its item, its label and its cluster, each of shape (ratings,).

    Returns:
        Also None where nominal or ordinal labels are too many to be counted each against each in memory.
    """
    items, labels, clusters = _paired(items, labels, clusters)
    values, codes = np.unique(labels, return_inverse=True)
    size = len(values)
    if size < 2:
        return None
    if metric == "interval":
        totals = _moments(items, labels.astype(np.float64), clusters)
        return bootstrap_totals(totals, _alpha_of_moments, n=len(items), draws=draws, seed=seed)
    if (int(clusters.max()) + 1) * size**2 > _CELLS:
        return None
    statistic = partial(_alpha, size=size, ordinal=metric == "ordinal")
    totals = _coincidences(items, codes, clusters, size)
    return bootstrap_totals(totals, statistic, n=len(items), draws=draws, seed=seed)


def fleiss(
    items: Indices, labels: NDArray[Any], clusters: Indices, *, draws: int = 4_999, seed: int = 0
) -> Estimate | None:
    """Fleiss' κ, on the items that have as many ratings as is most common among those with at least two.

    With m ratings of each of N items, n_ij of them with label j::

        P_i = (Σ_j n_ij² − m) / (m (m − 1))      p_j = Σ_i n_ij / (N m)      κ = (mean P_i − Σ p_j²) / (1 − Σ p_j²)

    Source: Fleiss (1971), Psychological Bulletin 76, pages 378–382.

    Args:
        items: of each rating, shape (ratings,); likewise ``labels`` and ``clusters``.
        labels: what was given.
        clusters: what belongs together.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        The κ, n the ratings that it rests on; None where it has no interval: fewer than two clusters, one label.
    """
    items, labels, clusters = _paired(items, labels, clusters)
    if not len(items):
        return None
    sizes = np.bincount(items)
    m = int(np.bincount(sizes).argmax())
    items, labels, clusters = _paired(*(column[sizes[items] == m] for column in (items, labels, clusters)))
    values, codes = np.unique(labels, return_inverse=True)
    size = len(values)
    if size < 2:
        return None
    counts = np.bincount(items * size + codes, minlength=(int(items.max()) + 1) * size).reshape(-1, size)
    agreed = ((counts**2).sum(axis=1) - m) / (m * (m - 1))
    totals = totals_of(np.column_stack([counts, agreed]), _cluster_of_items(items, clusters).tolist())
    return bootstrap_totals(totals, partial(_fleiss, m=m), n=len(items), draws=draws, seed=seed)


def _paired(items: Indices, labels: NDArray[Any], clusters: Indices) -> tuple[Indices, NDArray[Any], Indices]:
    """The ratings of items that have several, items and clusters numbered anew in their order."""
    _, numbers, sizes = np.unique(items, return_inverse=True, return_counts=True)
    kept = sizes[numbers] > 1
    _, numbered = np.unique(numbers[kept], return_inverse=True)
    return numbered, labels[kept], np.unique(clusters[kept], return_inverse=True)[1]


def _cluster_of_items(items: Indices, clusters: Indices) -> Indices:
    _, first = np.unique(items, return_index=True)
    return clusters[first]


def _coincidences(items: Indices, codes: Indices, clusters: Indices, size: int) -> Array:
    """Coincidences of labels, summed within clusters: shape (clusters, size²). Items are taken some at a time."""
    totals = np.zeros((int(clusters.max()) + 1, size * size))
    of = _cluster_of_items(items, clusters)
    order = np.argsort(items, kind="stable")
    items, codes = items[order], codes[order]
    for start in range(0, len(of), _AT_ONCE):
        here = slice(*np.searchsorted(items, [start, start + _AT_ONCE]))
        count = min(_AT_ONCE, len(of) - start)
        table = np.bincount((items[here] - start) * size + codes[here], minlength=count * size).reshape(count, size)
        pairs = table[:, :, None] * table[:, None, :]
        pairs[:, np.arange(size), np.arange(size)] -= table
        np.add.at(totals, of[start : start + count], pairs.reshape(count, -1) / (table.sum(axis=1) - 1)[:, None])
    return totals


def _moments(items: Indices, values: Array, clusters: Indices) -> Array:
    """Within each cluster n, Σ v, Σ v² and Σ o_ck (c − k)²: shape (clusters, 4)."""
    values = values - values.mean()  # the same distances, and squares that do not swallow them
    n, first, second = (np.bincount(items, weights=values**power) for power in (0, 1, 2))
    apart = 2 * (n * second - first**2) / (n - 1)
    return totals_of(np.column_stack([n, first, second, apart]), _cluster_of_items(items, clusters).tolist())


def _alpha_of_moments(sums: Array) -> Array:
    n, first, second, apart = np.moveaxis(sums, -1, 0)
    found: Array = 1 - (n - 1) * apart / (2 * (n * second - first**2))
    return found


def _fleiss(sums: Array, m: int) -> Array:
    counts, agreed = sums[..., :-1], sums[..., -1]
    whole = counts.sum(axis=-1)
    chance = ((counts / whole[..., None]) ** 2).sum(axis=-1)
    kappa: Array = (agreed * m / whole - chance) / (1 - chance)
    return kappa


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


def _alpha(sums: Array, size: int, ordinal: bool) -> Array:
    table = _table(sums, size)
    margins, whole = table.sum(axis=-1), sums.sum(axis=-1)
    if ordinal:
        places = np.cumsum(margins, axis=-1) - margins / 2
        far = (places[..., :, None] - places[..., None, :]) ** 2
        apart = (table * far).sum(axis=(-2, -1))
        expected = (margins[..., :, None] * margins[..., None, :] * far).sum(axis=(-2, -1))
    else:
        apart = whole - np.trace(table, axis1=-2, axis2=-1)
        expected = whole**2 - (margins**2).sum(axis=-1)
    alpha: Array = 1 - (whole - 1) * apart / expected
    return alpha

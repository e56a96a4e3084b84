"""The bootstrap: written out by brute force, seeded, and honest where it cannot speak."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from benchmarks.calibration import cluster_bootstrap
from notus.stats import bootstrap as module
from notus.stats.bootstrap import Array, bootstrap_totals, draw_totals, totals_of
from notus.stats.distributions import t_quantile
from notus.stats.intervals import clustered_mean, standard_error

VALUES = [1.0, 4.0, 2.0, 8.0, 5.0, 7.0, 3.0, 3.0, 9.0, 0.0]
CLUSTERS = ["a", "a", "b", "b", "b", "c", "d", "d", "e", "f"]


def test_totals_are_sums_within_clusters() -> None:
    rows = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    assert totals_of(rows, ["x", "y", "x"]).tolist() == [[4.0, 40.0], [2.0, 20.0]]


def test_draws_are_whole_clusters_with_replacement() -> None:
    totals = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])  # each cluster counts itself
    drawn = np.concatenate(list(draw_totals(totals, 4000, 0)))
    assert drawn.shape == (4000, 3)
    assert (drawn.sum(axis=1) == 3).all()
    assert drawn.mean(axis=0) == pytest.approx([1, 1, 1], abs=0.05)
    assert drawn.var(axis=0) == pytest.approx([2 / 3] * 3, abs=0.05)  # binomial(3, 1/3)


def test_draws_do_not_depend_on_how_they_are_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    totals = np.arange(12.0).reshape(6, 2)
    whole = np.concatenate(list(draw_totals(totals, 50, 3)))
    monkeypatch.setattr(module, "_CELLS", 60)
    blocks = list(draw_totals(totals, 50, 3))
    assert len(blocks) == 5
    assert np.array_equal(np.concatenate(blocks), whole)


def test_the_percentile_interval_by_brute_force() -> None:
    """Clusters drawn one by one, means of what they hold, quantiles at Φ(±t(.975, 5) · √(6/5))."""
    found = cluster_bootstrap(VALUES, CLUSTERS, draws=2000, seed=1, kind="percentile")
    names = list(dict.fromkeys(CLUSTERS))
    members = {name: [v for v, c in zip(VALUES, CLUSTERS, strict=True) if c == name] for name in names}
    random = np.random.default_rng(9)
    means = []
    for _ in range(20_000):
        drawn = [value for k in random.integers(6, size=6) for value in members[names[k]]]
        means.append(sum(drawn) / len(drawn))
    p = NormalDist().cdf(-t_quantile(0.975, 5) * math.sqrt(6 / 5))
    low, high = np.quantile(means, [p, 1 - p])
    assert found is not None
    assert found.mean == pytest.approx(4.2)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.25)
    assert (found.n, found.groups, found.method) == (10, 6, "cluster bootstrap, percentile")


def test_bca_is_the_percentile_interval_at_corrected_levels() -> None:
    """Efron's formula with bias and acceleration written out on the very draws that are used."""
    totals = totals_of(np.stack([VALUES, np.ones(10)], axis=1), CLUSTERS)
    found = cluster_bootstrap(VALUES, CLUSTERS, draws=999, seed=4)
    assert found is not None
    sums = np.concatenate(list(draw_totals(totals, 999, 4)))
    means = sums[:, 0] / sums[:, 1]
    normal = NormalDist()
    z0 = normal.inv_cdf(float(np.mean(means < 4.2 - 1e-9) + np.mean(abs(means - 4.2) < 1e-9) / 2))
    without = [(42 - s) / (10 - n) for s, n in totals.tolist()]
    off = [sum(without) / 6 - value for value in without]
    a = sum(d**3 for d in off) / (6 * sum(d**2 for d in off) ** 1.5)
    z = t_quantile(0.975, 5) * math.sqrt(6 / 5)
    levels = [normal.cdf(z0 + (z0 + side * z) / (1 - a * (z0 + side * z))) for side in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, levels)))


def test_basic_mirrors_percentile() -> None:
    percentile = cluster_bootstrap(VALUES, CLUSTERS, draws=500, kind="percentile")
    basic = cluster_bootstrap(VALUES, CLUSTERS, draws=500, kind="basic")
    assert percentile is not None
    assert basic is not None
    assert (basic.low, basic.high) == pytest.approx((8.4 - percentile.high, 8.4 - percentile.low))


def test_many_clusters_agree_with_the_t_interval() -> None:
    random = np.random.default_rng(0)
    index = np.repeat(np.arange(200), 5)
    values = (random.normal(size=200)[index] + random.normal(size=1000)).tolist()
    t = clustered_mean(values, index)  # type: ignore[arg-type]
    assert t is not None
    for kind in ("percentile", "bca", "basic"):
        found = cluster_bootstrap(values, index, draws=4999, kind=kind)  # type: ignore[arg-type]
        assert found is not None
        assert found.low == pytest.approx(t.low, abs=0.15 * standard_error(t))
        assert found.high == pytest.approx(t.high, abs=0.15 * standard_error(t))


def test_the_same_seed_gives_the_same_interval() -> None:
    one, same, other = (cluster_bootstrap(VALUES, CLUSTERS, draws=300, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_value_for_each_cluster_is_the_naive_bootstrap_and_too_sure() -> None:
    index = np.repeat(np.arange(30), 10)
    values = np.random.default_rng(1).normal(size=30)[index].tolist()
    clustered = cluster_bootstrap(values, index, draws=999)  # type: ignore[arg-type]
    naive = cluster_bootstrap(values, range(300), draws=999)
    assert clustered is not None
    assert naive is not None
    assert clustered.width == pytest.approx(naive.width * math.sqrt(10), rel=0.15)


def test_no_spread_is_no_width() -> None:
    found = cluster_bootstrap([2.0, 2.0, 2.0], "abc", draws=99)
    assert found is not None
    assert (found.low, found.mean, found.high) == (2, 2, 2)


def test_what_cannot_be_resampled_has_no_interval() -> None:
    assert cluster_bootstrap([1.0, 2.0], "aa") is None

    def inverse(sums: Array) -> Array:
        result: Array = 1 / sums[..., 0]
        return result

    # Undefined for the data; for many draws; without one of the clusters, which few draws leave out.
    assert bootstrap_totals(np.zeros((5, 1)), inverse, n=5, draws=99) is None
    assert bootstrap_totals(np.array([[1.0], [0], [0]]), inverse, n=3, draws=99) is None
    one_of_many = np.concatenate([np.full((7, 1), 0.0), [[1.0], [1.0]]])
    assert bootstrap_totals(one_of_many, inverse, n=9, draws=99) is None

"""Shares in strata: Wilson's interval in one of them, and the divergence written out in two."""

import pytest
from scipy.optimize import brentq

from notus.stats.corrected import strata
from notus.stats.corrected.mean import Sample, corrected_mean
from notus.stats.corrected.misclassification import true_share
from notus.stats.corrected.strata import ORDER, Stratum, distance_from, share_in_strata
from notus.stats.intervals import proportion

Z2 = 1.959963984540054**2
TWO = (Stratum(0.7, 40, 31), Stratum(0.3, 25, 4))


@pytest.mark.parametrize(("hits", "n"), [(30, 50), (0, 50), (50, 50), (3, 800)])
def test_one_stratum_at_order_one_is_wilson(monkeypatch, hits, n):
    """Up to n/(n−1), by which Wilson's variance is not widened."""
    monkeypatch.setattr(strata, "ORDER", 1.0)
    share, low, high = share_in_strata([Stratum(1.0, n, hits)])
    wilson = proportion(hits, n)
    assert (share, low, high) == pytest.approx((wilson.mean, wilson.low, wilson.high), abs=2.5 / n / n**0.5)


def plain_distance(share, other=0.0):
    """The likeliest shares by a search over the first one, not by their equation; then the divergence as written."""
    (w1, n1, x1), (w2, n2, x2) = ((each.weight, each.cases, each.hits) for each in TWO)

    def slope(p):  # d log L / dp along the line w1 p + w2 q = share
        q = (share - w1 * p) / w2
        return x1 / p - (n1 - x1) / (1 - p) - w1 / w2 * (x2 / q - (n2 - x2) / (1 - q))

    low, high = max(0, (share - w2) / w1), min(1, share / w1)
    p = brentq(slope, low + 1e-9, high - 1e-9, xtol=1e-14)
    q = (share - w1 * p) / w2
    counts = [(x1, n1 * p), (n1 - x1, n1 * (1 - p)), (x2, n2 * q), (n2 - x2, n2 * (1 - q))]
    divergence = 2 / (ORDER * (ORDER + 1)) * sum(o * ((o / e) ** ORDER - 1) for o, e in counts)
    variance = w1**2 * p * (1 - p) / n1 + w2**2 * q * (1 - q) / n2
    n = n1 + n2
    return divergence * variance / (variance * n / (n - 1) + other)


@pytest.mark.parametrize("other", [0.0, 1e-4])
def test_the_ends_are_where_the_labels_begin_to_speak_against_them(other):
    share, low, high = share_in_strata(TWO, other)
    assert share == pytest.approx(0.7 * 31 / 40 + 0.3 * 4 / 25)
    for end in (low, high):
        assert plain_distance(end, other) == pytest.approx(Z2, rel=1e-4)
        assert distance_from(TWO, end, other) == pytest.approx(Z2, rel=1e-4)
    assert distance_from(TWO, 0.5) == pytest.approx(plain_distance(0.5), rel=1e-4)


def test_a_judge_without_an_error_in_fifty_labels_is_not_taken_for_perfect():
    judged = [1.0] * 1200 + [0.0] * 800
    labels = [1.0] * 30 + [0.0] * 20
    found = corrected_mean(Sample(labels, labels, judged)).estimate
    assert found.method.startswith("strata")
    assert found.mean == pytest.approx(0.6)
    assert found.low < 0.57
    assert found.high > 0.63


def test_rogan_and_gladen_by_hand():
    """q = .52, s₁ = .8, s₀ = .9: (.52 + .9 − 1) / (.8 + .9 − 1) = .6."""
    found = true_share(520, 1000, (80, 100), (90, 100))
    assert found.estimate.mean == pytest.approx(0.6)
    assert found.youden == pytest.approx(0.7)
    assert (found.right_yes, found.right_no) == (proportion(80, 100), proportion(90, 100))
    q = 0.52
    for end in (found.estimate.low, found.estimate.high):
        tried = (Stratum(end, 100, 80), Stratum(1 - end, 100, 10))
        assert distance_from(tried, q, q * (1 - q) / 1000) == pytest.approx(Z2, rel=1e-2)
    assert found.estimate.low < 0.6 < found.estimate.high


def test_a_judge_like_a_coin_leaves_all_open():
    near = true_share(500, 1000, (53, 100), (50, 100)).estimate
    assert (near.low, near.high) == (0.0, 1.0)
    assert true_share(500, 1000, (50, 100), (50, 100)).estimate is None

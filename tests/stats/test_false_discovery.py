import numpy as np
import pytest
from scipy.special import ndtri, stdtr

from notus.stats.false_discovery import benjamini_hochberg, decoy_p, empirical_p, fit_tails, tail_p
from notus.stats.ranks import normal_difference, normal_scores

NAN = np.nan


def test_q_by_hand() -> None:
    # Of .01, .02, .03, .5 the steps are .04, .04, .04, .5: each the least of p·n/rank from there on.
    q = benjamini_hochberg(np.array([0.5, 0.02, NAN, 0.01, 0.03]))
    assert q[[3, 1, 4, 0]].tolist() == pytest.approx([0.04, 0.04, 0.04, 0.5])
    assert np.isnan(q[2])
    # .04 of four by itself: 4 · .04 / 1; the second is no better than its own 4 · .9 / 2, and 1 is the most.
    assert benjamini_hochberg(np.array([0.04, 0.9, 0.9, 0.9])).tolist() == pytest.approx([0.16, 0.9, 0.9, 0.9])


def test_decoys_by_hand() -> None:
    decoys = np.array([0.0, 1.0, 2.0, 3.0])  # median 1.5, the largest 1.5 above it
    found = decoy_p(np.array([-1.0, 2.0, 3.0, 4.5]), decoys)
    # (1 + decoys at least so large) / 5, and above the largest (1.5 / 3)⁴ of the least of them.
    assert found.tolist() == pytest.approx([1.0, 3 / 5, 2 / 5, 0.5**4 / 5])


@pytest.mark.parametrize(("degrees", "most"), [(1000, 0.002), (5, 0.004)])
def test_above_the_decoys_sound_values_are_not_called_odd_more_often(degrees: float, most: float) -> None:
    """Below 1/(n + 1) nothing but the assumed tail tells: that of a normal distribution is lighter, that of five
    degrees of freedom about as heavy where a hundred decoys end."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_t(degrees, (6000, 101))
    assert np.mean([decoy_p(row[:1], row[1:])[0] <= 0.002 for row in drawn]) <= most


@pytest.mark.parametrize("degrees", [3.0, 8.0])
def test_the_tail_of_a_large_set_is_found_though_a_twentieth_is_faulty(degrees: float) -> None:
    rng = np.random.default_rng(1)
    sound = rng.standard_t(degrees, 40_000)
    likely, cautious = tail_p(np.append(sound, np.full(2_000, 30.0)))
    right = 2 * stdtr(degrees, -np.abs(sound))
    near = (right < 0.02) & (right > 0.005)
    told = cautious if degrees < 4 else likely  # the likely one has no heavier tail than four degrees
    assert np.median(told[:40_000][near] / right[near]) == pytest.approx(1, abs=0.3)
    assert (cautious[40_000:] >= likely[40_000:]).all()
    assert likely[-1] == likely[40_000:].min()


def test_a_cautious_tail_is_never_lighter_than_ten_degrees() -> None:
    z = np.random.default_rng(2).normal(size=20_000)
    tails = fit_tails(np.sort(np.abs(z)))
    assert tails is not None
    assert tails[1].degrees == 10
    assert tails[1].scale == pytest.approx(1, abs=0.1)


def test_scores_on_few_points_and_many_ties_are_no_oddities() -> None:
    rng = np.random.default_rng(3)
    for values in (
        np.round(rng.normal(size=2_000)),
        np.where(rng.random(2_000) < 0.8, 0, np.round(2 * rng.normal(size=2_000)) / 2),
        np.where(rng.random(2_000) < 0.9, 0, rng.normal(size=2_000)),
    ):
        likely, cautious = tail_p(values)
        assert (benjamini_hochberg(cautious) > 0.1).all()
        assert (likely <= 0.01).mean() < 0.025
        assert likely[values == 0].min() == 1


def test_where_too_few_sizes_differ_p_is_a_share() -> None:
    likely, cautious = tail_p(np.array([0.0, 1.0, -1.0, 0.0, NAN, 0.0]))
    assert likely[:4].tolist() == pytest.approx([1.0, 0.4, 0.4, 1.0])
    assert np.isnan(likely[4])
    assert np.array_equal(likely, cautious, equal_nan=True)
    assert np.isnan(tail_p(np.full(3, NAN))[0]).all()


def test_the_larger_never_has_the_larger_p() -> None:
    z = np.random.default_rng(4).laplace(size=3_000)
    for p in (*tail_p(z), empirical_p(z)):
        assert (np.diff(p[np.argsort(np.abs(z))]) <= 0).all()


def test_normal_scores_by_hand() -> None:
    # Mid-ranks of 5, 1, 5, 9 are ½, ⅛, ½, ⅞.
    assert normal_scores([5.0, 1.0, 5.0, 9.0]).tolist() == pytest.approx([0, ndtri(0.125), 0, ndtri(0.875)])
    found = normal_difference(np.array([1.0, NAN, 2.0]), np.array([2.0, 3.0, 1.0]))
    assert found[[0, 2]].tolist() == pytest.approx([2 * ndtri(0.25), -2 * ndtri(0.25)])
    assert np.isnan(found[1])


def test_the_example_of_benjamini_and_hochberg() -> None:
    """Of the fifteen p-values of their paper (1995, section 3.2) four are rejected at 5 %."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528]
    p += [0.7590, 1.0000]
    shuffled = np.append(np.array(p)[np.random.default_rng(0).permutation(15)], NAN)
    assert sorted(shuffled[benjamini_hochberg(shuffled) <= 0.05].tolist()) == p[:4]

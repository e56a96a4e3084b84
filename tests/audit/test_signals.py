import math
from statistics import NormalDist

import numpy as np
import pytest

from notus.audit.ratings import tens
from notus.audit.ratings.tens import false_tens
from notus.audit.signals import (
    CombinedScore,
    SignalCombiner,
    margins_against_labels,
    sibling_difference,
)
from notus.core.errors import DataError
from notus.stats.false_discovery import empirical_p
from notus.stats.ranks import mid_ranks, rank_difference

NAN = math.nan


def test_mid_ranks_pass_over_what_is_missing() -> None:
    assert mid_ranks([3, NAN, 1, 3])[[0, 2, 3]].tolist() == [2 / 3, 0.5 / 3, 2 / 3]
    assert np.isnan(rank_difference(np.array([1.0, NAN, 2.0]), np.array([5.0, 1.0, NAN]))[1:]).all()


def test_the_tail_by_hand() -> None:
    # Sizes 1, 1, 3: their median is 1, s = 1 / 0.6745, z of the 3 is 3 · 0.6745.
    found = empirical_p(np.array([1.0, -1.0, 3.0, NAN]))
    assert found[2] == pytest.approx(2 * NormalDist().cdf(-3 * NormalDist().inv_cdf(0.75)))
    assert found[0] == found[1] == pytest.approx(0.5)
    assert math.isnan(found[3])
    assert empirical_p(np.zeros(3)).tolist() == [1.0, 1.0, 1.0]


def test_siblings_by_hand() -> None:
    found = sibling_difference(np.array([0.1, 0.9, 0.3, 0.5, NAN]), np.array([1, 1, 1, 2, 2]))
    assert found[:3].tolist() == pytest.approx([-0.2, 0.6, 0.0])
    assert np.isnan(found[3:]).all()


def mixed(share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores that follow a quality, a view of it, and which of the lowest 1s stand there as 10."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=4000)
    ranks = mid_ranks(quality + rng.normal(0, 0.3, 4000))
    scores = np.clip(np.ceil(ranks * 9.2), 1, 10)
    false = ranks <= share
    return np.where(false, 10.0, scores), quality + rng.normal(0, 0.3, 4000), false


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_false_tens_are_told_from_real_ones_however_many_they_are(share: float) -> None:
    scores, view, false = mixed(share)
    found = false_tens(scores, [view])
    assert np.isnan(found[scores != 10]).all()
    hit = np.nan_to_num(found) > 0.5
    assert (hit & false).sum() / hit.sum() > 0.97
    assert (hit & false).sum() / false.sum() > 0.97


def test_where_no_ten_is_false_none_is_called_so() -> None:
    scores, view, _ = mixed(0.0)
    assert np.nanmax(false_tens(scores, [view])) < 0.5


def test_without_ends_or_views_nothing_is_said_of_a_ten() -> None:
    scores, view, _ = mixed(0.05)
    assert np.isnan(false_tens(scores, [np.full(4000, NAN)])).all()
    assert np.isnan(false_tens(scores[:30], [view[:30]])).all()
    assert np.isnan(false_tens(np.full(100, 10.0), [view[:100]])).all()


def test_views_that_agree_speak_together_and_siblings_add_nothing() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=500), rng.normal(size=500)
    a[0] = b[0] = 3.0
    found = weighed({"score-against-ratings": a, "score-against-wording": b}, 500)
    assert found.reasons(0, 1)[0][0][1] == "score-against-all"
    at, p = found.against["score-against-all"]
    assert at[0] == 0
    assert p[0] < found.against["score-against-ratings"][1][0]
    together = a / np.median(np.abs(a)) + b / np.median(np.abs(b))
    z = abs(together[0]) / (np.median(np.abs(together)) / NormalDist().inv_cdf(0.75))
    assert found.minus_log_p[0] == pytest.approx(-math.log10(2 * NormalDist().cdf(-z)))
    more = weighed({"score-against-ratings": a, "score-against-wording": b, "score-against-siblings": a * 99}, 500)
    assert more.minus_log_p.tolist() == found.minus_log_p.tolist()
    assert np.isnan(weighed({"score-against-ratings": np.full(3, NAN)}, 3).minus_log_p).all()


def weighed(differences: dict[str, np.ndarray], count: int) -> CombinedScore:
    combiner = SignalCombiner(count)
    for slug, values in differences.items():
        combiner.difference(slug, values, values)
    return combiner.combine()


def test_a_reward_against_the_label_by_hand() -> None:
    # The median is 1; distances from it 3, 1, 0, 1, 2 have the median 1: s = 1 / 0.6745.
    found = margins_against_labels([-2.0, 0.0, 1.0, 2.0, 3.0])
    quarter = NormalDist().inv_cdf(0.75)
    assert found.tolist() == pytest.approx([NormalDist().cdf(z * quarter) for z in (-3, -1, 0, 1, 2)])
    with pytest.raises(DataError, match="reward margin"):
        margins_against_labels([NAN])


def test_the_tail_is_the_complementary_error_function_value_by_value() -> None:
    differences = np.array([0.0, -0.1, 0.2, 0.3, -0.7, 5.0, math.nan, 1e6])
    scale = 0.3 / 0.6744897501960817  # the median of the seven sizes
    plain = [max(math.erfc(abs(round(value / scale, 9)) / math.sqrt(2)), 1e-300) for value in differences[:6].tolist()]
    found = empirical_p(differences).tolist()
    assert found[:6] == plain
    assert math.isnan(found[6])
    assert found[7] == 1e-300


def test_the_difference_from_siblings_is_from_their_median() -> None:
    """Of 1, 2, 4 and 9 the median is 3, of 5, 0 and 7 it is 5; of two there is none."""
    difference = np.array([1.0, 5.0, 2.0, 0.0, 9.0, 4.0, 7.0, NAN, 8.0, 8.0])
    prompts = np.array([0, 1, 0, 1, 0, 0, 1, 0, 2, 2])
    found = sibling_difference(difference, prompts)
    assert found[:7].tolist() == [-2, 0, -1, -5, 6, 1, 2]
    assert np.isnan(found[7:]).all()


@pytest.mark.parametrize(("count", "least"), [(2000, 40), (600, 20), (30, 20)])
def test_the_edge_is_a_fiftieth_but_at_least_twenty(count: int, least: int) -> None:
    scores, other = np.arange(count, dtype=float), np.ones(count, bool)
    assert tens._edge(scores, other, 1).tolist() == list(range(least))
    assert tens._edge(scores, other, -1).tolist() == list(range(count - least, count))
    # What equals the last of them is there too, and what is left out is not.
    scores[least : least + 3] = least - 1
    other[0] = False
    assert tens._edge(scores, other, 1).tolist() == list(range(1, least + 3))

"""The mathematics written out by hand, textbook values, and the calibration by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.stats.distributions import t_quantile
from notus.stats.intervals import (
    Estimate,
    clustered_mean,
    crossed_mean,
    detectable,
    estimates_as_json,
    finite_values,
    groups_needed,
    holm,
    mean_of_means,
    mean_over_seeds,
    number_labels,
    p_value,
    paired_difference,
    proportion,
    share,
    standard_error,
    wider,
    wilson_if_unanimous,
)


def test_clustered_mean_written_out() -> None:
    found = clustered_mean([1, 0, 1, 1, 0], ["a", "a", "b", "b", "c"])
    assert found is not None
    mean = 3 / 5
    sums = [(1 - mean) + (0 - mean), 2 * (1 - mean), (0 - mean)]  # residuals added up inside a, b, c
    error = math.sqrt(3 / 2 * sum(s * s for s in sums)) / 5
    assert found.mean == pytest.approx(mean)
    assert found.low == pytest.approx(mean - 4.302652730 * error)
    assert found.high == pytest.approx(mean + 4.302652730 * error)
    assert (found.n, found.groups, found.method) == (5, 3, "clustered t")
    assert standard_error(found) == pytest.approx(error)


def test_clusters_of_one_are_the_ordinary_t_interval() -> None:
    values = [0.2, 0.5, 0.9, 0.4]
    found = clustered_mean(values, range(4))
    assert found is not None
    assert standard_error(found) == pytest.approx(float(np.std(values, ddof=1)) / 2)


def test_copies_of_a_value_add_no_information() -> None:
    values = [0.2, 0.5, 0.9, 0.4]
    once = clustered_mean(values, range(4))
    thrice = clustered_mean(np.repeat(values, 3).tolist(), np.repeat(range(4), 3).tolist())
    assert once is not None
    assert thrice is not None
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert (thrice.n, thrice.groups) == (12, 4)


def test_mean_over_seeds_written_out() -> None:
    found = mean_over_seeds([0.60, 0.70, 0.80, 0.70, 0.50, 0.60], [0, 0, 1, 1, 2, 2])
    assert found is not None
    means = [0.65, 0.75, 0.55]
    spread = math.sqrt(((0.65 - 0.65) ** 2 + (0.75 - 0.65) ** 2 + (0.55 - 0.65) ** 2) / 2)
    half = 4.302652730 * spread / math.sqrt(3)
    assert found.mean == pytest.approx(sum(means) / 3)
    assert (found.low, found.high) == pytest.approx((0.65 - half, 0.65 + half))
    assert (found.n, found.groups, found.method) == (6, 3, "t over seeds")


def test_seeds_count_once_however_many_values_they_hold() -> None:
    found = mean_over_seeds([1.0, 1.0, 1.0, 0.0], [0, 0, 0, 1])
    assert found is not None
    assert found.mean == 0.5


def test_one_group_has_no_interval() -> None:
    assert mean_over_seeds([0.1, 0.9], [7, 7]) is None
    assert clustered_mean([0.1, 0.9], ["p", "p"]) is None


@pytest.mark.parametrize("function", [clustered_mean, mean_over_seeds])
def test_bad_values_are_refused(function) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="not a finite number"):
        function([0.1, math.nan], [0, 1])
    with pytest.raises(DataError, match="2 values came with 1"):
        function([0.1, 0.2], [0])


def test_paired_difference_uses_what_is_shared() -> None:
    a = {(0, "p"): 0.9, (0, "q"): 0.5, (1, "p"): 0.8, (1, "q"): 0.6, (1, "only a"): 1.0}
    b = {(0, "p"): 0.5, (0, "q"): 0.4, (1, "p"): 0.6, (1, "q"): 0.1, (2, "p"): 0.0, (2, "q"): 0.0}
    found = paired_difference(a, b)
    assert (found.shared, found.only_a, found.only_b) == (4, 1, 2)
    assert found.by_prompts == clustered_mean([0.9 - 0.5, 0.5 - 0.4, 0.8 - 0.6, 0.6 - 0.1], ["p", "q", "p", "q"])
    assert found.by_seeds == mean_over_seeds([0.9 - 0.5, 0.5 - 0.4, 0.8 - 0.6, 0.6 - 0.1], [0, 0, 1, 1])
    assert found.by_both == crossed_mean([0.9 - 0.5, 0.5 - 0.4, 0.8 - 0.6, 0.6 - 0.1], ["p", "q"] * 2, [0, 0, 1, 1])
    assert found.deciding == wider(wider(found.by_prompts, found.by_seeds), found.by_both)


def test_paired_difference_takes_the_difficulty_out() -> None:
    difficulty = np.linspace(0, 1, 50)
    a = {(0, str(i)): float(d) + 0.01 * (i % 2) for i, d in enumerate(difficulty)}
    b = {(0, str(i)): float(d) for i, d in enumerate(difficulty)}
    paired = paired_difference(a, b).by_prompts
    alone = clustered_mean(list(a.values()), [p for _, p in a])
    assert paired is not None
    assert alone is not None
    assert paired.width < alone.width / 20
    assert paired.low > 0


def test_paired_difference_of_nothing() -> None:
    found = paired_difference({(0, "p"): 1.0}, {(1, "p"): 1.0})
    assert (found.by_prompts, found.by_seeds, found.deciding, found.shared) == (None, None, None, 0)


def test_the_prototypes_three_seeds() -> None:
    """The first prototype: repaired − faulty is +.098 and three seeds give [−.022, .217]; about five would do."""
    repaired, faulty = [0.721, 0.728, 0.712], [0.653, 0.575, 0.641]
    found = mean_over_seeds([r - f for r, f in zip(repaired, faulty, strict=True)], [0, 1, 2])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((-0.022, 0.217), abs=0.002)
    assert groups_needed(found) == 5


def test_crossed_mean_written_out() -> None:
    """Two seeds × three prompts: the analysis of variance by hand."""
    table = np.array([[1.0, 2.0, 6.0], [2.0, 5.0, 8.0]])
    found = crossed_mean(table.ravel().tolist(), ["p", "q", "r"] * 2, [0] * 3 + [1] * 3)
    assert found is not None
    of_prompts = sum((m - 4) ** 2 for m in (1.5, 3.5, 7.0)) / 2 / 3  # variance of the prompts' means over their number
    of_seeds = ((3 - 4) ** 2 + (5 - 4) ** 2) / 1 / 2
    left = [1 - 1.5 - 3 + 4, 2 - 3.5 - 3 + 4, 6 - 7 - 3 + 4, 2 - 1.5 - 5 + 4, 5 - 3.5 - 5 + 4, 8 - 7 - 5 + 4]
    of_cell = sum(r * r for r in left) / (1 * 2) / 6
    whole = of_prompts + of_seeds - of_cell
    freedom = whole**2 / (of_prompts**2 / 2 + of_seeds**2 / 1)
    assert found.mean == 4
    assert found.groups == int(freedom) + 1
    assert found.high - 4 == pytest.approx(t_quantile(0.975, int(freedom)) * math.sqrt(whole))
    assert standard_error(found) == pytest.approx(math.sqrt(whole))


def test_crossed_mean_is_never_surer_than_one_side_alone() -> None:
    random = np.random.default_rng(5)
    prompts, seeds = [f"p{i}" for i in range(8)] * 3, np.repeat(range(3), 8).tolist()
    for _ in range(50):
        values = random.normal(size=24).tolist()
        found, by_prompts, by_seeds = (
            crossed_mean(values, prompts, seeds),
            clustered_mean(values, prompts),
            mean_over_seeds(values, seeds),
        )
        assert found is not None
        assert by_prompts is not None
        assert by_seeds is not None
        assert standard_error(found) >= max(standard_error(by_prompts), standard_error(by_seeds)) * (1 - 1e-12)
        assert 3 <= found.groups <= 3 + 8


def test_crossed_mean_needs_two_of_each() -> None:
    assert crossed_mean([0.1, 0.2], ["p", "q"], [0, 0]) is None
    assert crossed_mean([0.1, 0.2], ["p", "p"], [0, 1]) is None
    found = crossed_mean([0.5] * 4, ["p", "q"] * 2, [0, 0, 1, 1])
    assert found is not None
    assert found.width == 0


def test_detectable_written_out_and_the_inverse_of_groups_needed() -> None:
    values = [0.05, 0.20, 0.02, 0.11]
    found = mean_over_seeds(values, range(4))
    assert found is not None
    spread = float(np.std(values, ddof=1))
    assert detectable(found) == pytest.approx((3.182446305 + 0.978472312) * spread / 2)  # t(.975, 3), t(.8, 3)
    needed = groups_needed(found)
    assert needed is not None
    assert detectable(found, needed) <= found.mean < detectable(found, needed - 1)
    assert detectable(found, power=0.95) > detectable(found)


def test_a_detectable_difference_is_detected_four_times_in_five() -> None:
    random = np.random.default_rng(2)
    half = t_quantile(0.975, 9) / math.sqrt(10)  # ten groups with a spread of 1
    truth = detectable(Estimate(0.0, -half, half, 10, 10, "t over seeds"))
    found = 0
    for _ in range(2000):
        estimate = mean_over_seeds((truth + random.normal(size=10)).tolist(), range(10))
        assert estimate is not None
        found += estimate.low > 0
    assert 0.76 <= found / 2000 <= 0.84


def test_wider() -> None:
    narrow, wide = Estimate(0, -1, 1, 9, 9, "clustered t"), Estimate(0, -2, 2, 9, 3, "t over seeds")
    assert wider(narrow, wide) is wide
    assert wider(wide, narrow) is wide
    assert wider(narrow, None) is narrow
    assert wider(None, wide) is wide
    assert wider(None, None) is None


def test_proportion_is_wilsons() -> None:
    found = proportion(81, 263)  # a worked example of the score interval in Newcombe (1998): .2553 to .3662
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert found.mean == pytest.approx(81 / 263)
    assert proportion(0, 20).low == 0
    assert proportion(0, 20).high == pytest.approx(1.959963985**2 / (20 + 1.959963985**2))
    assert proportion(20, 20).high == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_proportion_stays_inside_and_mirrors(case: tuple[int, int]) -> None:
    successes, n = case
    found, mirrored = proportion(successes, n), proportion(n - successes, n)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert mirrored.low == pytest.approx(1 - found.high)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_proportion_refuses(successes: int, n: int) -> None:
    with pytest.raises(DataError, match="is no proportion"):
        proportion(successes, n)


def test_p_value_agrees_with_the_interval() -> None:
    at_the_edge = mean_over_seeds([1.0, 2.0, 3.0], [0, 1, 2])
    assert at_the_edge is not None
    error = 1 / math.sqrt(3)
    t = 2 / error
    by_hand = 2 * (0.5 - t / (2 * math.sqrt(2 + t * t)))  # closed form of the t distribution with two df
    assert p_value(at_the_edge) == pytest.approx(by_hand)
    half = 4.302652730 * error
    moved = Estimate(half, 0, 2 * half, 3, 3, "t over seeds")
    assert p_value(moved) == pytest.approx(0.05)


def test_p_value_without_spread_is_the_sign_test() -> None:
    assert p_value(Estimate(0.5, 0.5, 0.5, 6, 6, "clustered t")) == pytest.approx(2 / 64)
    assert p_value(Estimate(0.5, 0.5, 0.5, 2, 2, "clustered t")) == pytest.approx(0.5)
    assert p_value(Estimate(0.0, 0.0, 0.0, 6, 6, "clustered t")) == 1
    with pytest.raises(DataError, match="wilson"):
        p_value(proportion(3, 9))


def test_rounding_is_no_spread() -> None:
    found = clustered_mean([0.9 - 0.8, 0.3 - 0.2, 0.1], ["a", "b", "c"])
    assert found is not None
    assert found.width == 0


def test_holm_written_out() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3·.01, then 2·.03, then max(.06, 1·.04)
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_groups_needed_is_the_smallest_that_reaches() -> None:
    found = mean_over_seeds([0.05, 0.20, 0.02, 0.11], range(4))
    assert found is not None
    spread = float(np.std([0.05, 0.20, 0.02, 0.11], ddof=1))

    def reach(groups: int) -> float:
        return (t_quantile(0.975, groups - 1) + t_quantile(0.8, groups - 1)) * spread / math.sqrt(groups)

    needed = groups_needed(found)
    assert needed is not None
    assert reach(needed) <= found.mean < reach(needed - 1)


def test_groups_needed_knows_when_to_give_up() -> None:
    assert groups_needed(Estimate(0.0, -1, 1, 3, 3, "t over seeds")) is None
    assert groups_needed(Estimate(1e-6, -1, 1, 3, 3, "t over seeds")) is None


def test_calibration_clusters() -> None:
    """A true null on 30 clusters of 10 correlated values: 5 % rejections; taken as independent, more than 30 %."""
    random = np.random.default_rng(0)
    clusters = np.repeat(np.arange(30), 10)
    wrong = naive = 0
    for _ in range(2000):
        values = random.normal(size=30)[clusters] + random.normal(size=300)
        found = clustered_mean(values.tolist(), clusters.tolist())
        assert found is not None
        wrong += not found.low <= 0 <= found.high
        naive += abs(values.mean()) > 1.96 * values.std(ddof=1) / math.sqrt(300)
    assert 0.03 <= wrong / 2000 <= 0.07
    assert naive / 2000 > 0.3


def test_calibration_seeds() -> None:
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(2000):
        values = random.normal(size=3).repeat(4) + 0.1 * random.normal(size=12)
        found = mean_over_seeds(values.tolist(), np.repeat(np.arange(3), 4).tolist())
        assert found is not None
        wrong += not found.low <= 0 <= found.high
    assert 0.03 <= wrong / 2000 <= 0.07


def test_a_share_that_varies_is_the_clustered_mean():
    values, prompts = [1.0, 0.0, 1.0, 0.0, 0.5, 0.0] * 5, [n // 2 for n in range(30)]
    assert share(values, prompts) == clustered_mean(values, prompts)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_or_none_has_wilsons_interval_over_the_clusters(value):
    found = share([value] * 20, [n // 2 for n in range(20)])
    wilson = proportion(10 * int(value), 10)
    assert (found.low, found.high, found.n, found.groups) == (wilson.low, wilson.high, 20, 10)


def test_one_prompt_says_nothing():
    assert share([1.0, 1.0], ["a", "a"]) is None


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 9)), min_size=2, max_size=60))
def test_the_interval_holds_the_mean_and_stays_inside(rows):
    found = share([value for value, _ in rows], [cluster for _, cluster in rows])
    if found is not None:
        assert 0 <= found.low <= found.mean + 1e-12
        assert found.mean - 1e-12 <= found.high <= 1
        assert found.low < found.high


def test_a_difference_may_be_below_nothing():
    found = share([-1.0, -1.0, 0.0, -1.0], list("abcd"), low=-1.0)
    assert found.low == -1.0
    assert found.mean == -0.75


def test_only_a_share_without_width_takes_wilsons_interval():
    all_won, varied = clustered_mean([1.0] * 12, range(12)), clustered_mean([1.0, 0.0] * 6, range(12))
    off_scale = clustered_mean([7.0] * 12, range(12))
    z = 1.959963984540054
    # For a share of all Wilson's lower end is n/(n + z²).
    assert wilson_if_unanimous(all_won).low == pytest.approx(12 / (12 + z * z))
    assert (wilson_if_unanimous(all_won).mean, wilson_if_unanimous(all_won).high) == (1.0, 1.0)
    assert wilson_if_unanimous(varied) is varied
    assert wilson_if_unanimous(off_scale) is off_scale


@given(st.one_of(*(st.lists(st.integers(low, 9), min_size=1, max_size=40) for low in (-3, 0))))
def test_lists_and_arrays_are_numbered_alike(labels: list[int]) -> None:
    order = list(dict.fromkeys(labels))
    index, count = number_labels(labels)
    assert index.tolist() == [order.index(label) for label in labels]
    assert count == len(order)
    again, number = number_labels(np.array(labels))  # type: ignore[arg-type]
    assert (again.tolist(), number) == (index.tolist(), count)


def test_finite_values_name_what_is_wrong() -> None:
    assert finite_values([1, 2], "ab", "prompt").tolist() == [1.0, 2.0]
    with pytest.raises(DataError, match="2 values came with 1 prompt labels; each value needs its prompt"):
        finite_values([1, 2], ["a"], "prompt")
    with pytest.raises(DataError, match="not a finite number"):
        finite_values([1, math.inf], "ab", "prompt")


def test_an_estimate_has_one_shape_in_json() -> None:
    found = clustered_mean([1.0, 0.0, 1.0], "abc")
    assert found is not None
    plain = {"mean": found.mean, "low": found.low, "high": found.high, "n": 3, "unit": "share"}
    assert found.as_json("share") == plain
    pair = paired_difference({(0, "p"): 1.0, (0, "q"): 0.0, (0, "r"): 1.0}, {(0, c): 0.0 for c in "pqr"})
    inside = estimates_as_json({"pairs": (pair,), "n": 1}, "share")
    assert inside["pairs"][0]["by_prompts"] == plain
    assert (inside["pairs"][0]["by_seeds"], inside["pairs"][0]["shared"], inside["n"]) == (None, 3, 1)


def test_a_mean_of_means_keeps_the_skew_of_its_parts() -> None:
    """Half widths below of .3, .4 and 0, above of .06, .08 and 0: √(.09 + .16)/3 and √(.0036 + .0064)/3."""
    parts = [
        Estimate(0.9, 0.6, 0.96, 10, 10, "wilson"),
        Estimate(0.5, 0.1, 0.58, 20, 4, "clustered t"),
        Estimate(0.1, 0.1, 0.1, 5, 5, "clustered t"),
    ]
    found = mean_of_means(parts)
    assert (found.mean, found.n, found.groups) == (pytest.approx(0.5), 35, 3)
    assert (found.low, found.high) == (pytest.approx(0.5 - 0.5 / 3), pytest.approx(0.5 + 0.1 / 3))
    with pytest.raises(DataError):
        mean_of_means([])


def test_a_mean_of_means_covers_what_it_should() -> None:
    """Three shares with known truth, 4,000 times: 95 % within four standard errors of a share of .95."""
    rng = np.random.default_rng(5)
    true, sizes = np.array([0.9, 0.5, 0.25]), np.array([40, 25, 60])
    inside = 0
    for successes in rng.binomial(sizes, true, size=(4000, 3)):
        found = mean_of_means([proportion(int(k), int(n)) for k, n in zip(successes, sizes, strict=True)])
        inside += found.low <= true.mean() <= found.high
    assert inside / 4000 == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 4000) ** 0.5)

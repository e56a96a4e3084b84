"""Shares: clustered inside, Wilson's where nothing varies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.statistics import clustered_mean, proportion
from notus.evaluate.shares import certain, share


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
    assert certain(all_won).low == pytest.approx(12 / (12 + z * z))
    assert (certain(all_won).mean, certain(all_won).high) == (1.0, 1.0)
    assert certain(varied) is varied
    assert certain(off_scale) is off_scale

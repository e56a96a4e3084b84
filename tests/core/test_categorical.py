import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.categorical import chi_square_tail, uniformity
from notus.core.errors import DataError


def one_hot(positions, categories):
    return np.eye(categories)[list(positions)]


@given(st.floats(0, 200), st.integers(1, 8))
def test_the_tail_for_even_df_is_the_finite_sum(x, half):
    # Q(m, x/2) = exp(−x/2) Σ_{j<m} (x/2)^j / j!, for 2m degrees of freedom.
    expected = math.exp(-x / 2) * sum((x / 2) ** j / math.factorial(j) for j in range(half))
    assert chi_square_tail(x, 2 * half) == pytest.approx(expected, rel=1e-9, abs=1e-14)


@given(st.floats(1e-6, 60))
def test_the_tail_for_one_df_is_that_of_a_squared_normal(x):
    assert chi_square_tail(x, 1) == pytest.approx(math.erfc(math.sqrt(x / 2)), rel=1e-8)


def test_the_tabled_critical_values():
    for df, value in ((1, 3.841), (3, 7.815), (4, 9.488), (9, 16.919)):
        assert chi_square_tail(value, df) == pytest.approx(0.05, abs=5e-5)
    assert chi_square_tail(0, 3) == 1
    with pytest.raises(ValueError, match="df >= 1"):
        chi_square_tail(1, 0)


@given(st.lists(st.integers(0, 3), min_size=20, max_size=80))
def test_with_one_case_per_cluster_it_is_pearsons_test(positions):
    n = len(positions)
    pearson = sum((positions.count(k) - n / 4) ** 2 / (n / 4) for k in range(4))
    found = uniformity(one_hot(positions, 4))
    assert found.statistic == pytest.approx(pearson)
    assert found.method == "chi-square"
    assert found.p == chi_square_tail(found.statistic, 3)


def test_several_cases_of_a_cluster_are_not_independent_evidence():
    # The same 40 prompts, once with one rejected each, once with the case written four times: nothing is learnt anew.
    once = one_hot([0] * 16 + [1] * 8 + [2] * 8 + [3] * 8, 4)
    assert uniformity(once).statistic == pytest.approx(uniformity(once.copy() * 4 / 4).statistic)
    assert uniformity(np.repeat(once, 4, axis=0)).statistic == pytest.approx(4 * uniformity(once).statistic)


def test_even_shares_in_each_cluster_say_nothing():
    found = uniformity(np.full((30, 4), 0.25))
    assert (found.statistic, found.p) == (0.0, 1.0)


def test_few_clusters_are_permuted():
    found = uniformity(one_hot([0] * 6, 4))
    assert found.method == "permutations"
    assert found.p == pytest.approx(4**-5, abs=0.001)  # all six at one position: 4 · (1/4)^6
    assert uniformity(one_hot([0] * 6, 4)) == found
    assert uniformity(one_hot([0, 1, 2, 3, 0, 1], 4)).p > 0.9


def test_under_evenness_it_rejects_about_one_in_twenty():
    rng = np.random.default_rng(0)
    p = [uniformity(rng.dirichlet([0.3] * 4, 60)).p for _ in range(1500)]
    share = sum(value < 0.05 for value in p) / len(p)
    assert abs(share - 0.05) < 4 * math.sqrt(0.05 * 0.95 / len(p))


@pytest.mark.parametrize("shares", [[], [[1.0]], [[]]])
def test_too_little_is_refused(shares):
    with pytest.raises(DataError, match="evenness"):
        uniformity(shares)

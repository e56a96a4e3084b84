"""Exact tests and the test of evenness against enumeration by hand, and under the null by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.stats import tests as module
from notus.stats.distributions import chi_square_tail
from notus.stats.tests import Exact, mcnemar, permutation_test, uniformity


def test_mcnemar_written_out() -> None:
    found = mcnemar(1, 9)
    assert (found.p, found.n, found.method) == (pytest.approx(2 * (1 + 10) / 1024), 10, "mcnemar")
    assert mcnemar(9, 1).p == found.p
    assert mcnemar(0, 5).p == pytest.approx(2 / 32)
    assert mcnemar(4, 1).p == pytest.approx(2 * (1 + 5) / 32)
    assert mcnemar(5, 5).p == mcnemar(0, 0).p == 1
    with pytest.raises(DataError, match="are no counts"):
        mcnemar(-1, 3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_twice_the_smaller_tail(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    tail = sum(math.comb(n, i) for i in range(min(only_a, only_b) + 1)) / 2**n
    assert mcnemar(only_a, only_b).p == pytest.approx(min(1.0, 2 * tail), rel=1e-11)


def test_many_cases_keep_their_digits() -> None:
    assert mcnemar(5000, 5000).p == 1
    tail = sum(math.comb(10_000, i) for i in range(4901)) / 2**10_000  # in whole numbers, so exact to the last digit
    assert mcnemar(5100, 4900).p == pytest.approx(2 * tail, rel=1e-11)


DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
"""Differences in height of crossed and self-fertilised maize; Fisher counted 863 of 32,768 assignments on one side."""


def test_fishers_count_of_darwins_plants() -> None:
    found = permutation_test(DARWIN)
    assert found == Exact(pytest.approx(2 * 863 / 2**15), 15, "permutation")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-4, 4), max_size=8))
def test_every_assignment_is_gone_through(values: list[int]) -> None:
    reached = [
        abs(sum(sign * value for sign, value in zip(signs, values, strict=True))) >= abs(sum(values))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    assert permutation_test(values).p == pytest.approx(sum(reached) / len(reached))


def test_signs_are_given_to_whole_clusters() -> None:
    found = permutation_test([1.0, 2.0, 3.0, 4.0, 0.5, -0.5], ["a", "a", "b", "b", "c", "c"])
    assert found == Exact(0.5, 2, "permutation")  # two clusters differ: 3 and 7; the third says nothing
    assert permutation_test([1.0] * 6).p == pytest.approx(2 / 64)


def test_many_groups_are_drawn_seeded_and_never_zero() -> None:
    values = np.random.default_rng(0).normal(0.4, 1, 30)
    one, same = permutation_test(values.tolist()), permutation_test(values.tolist())
    assert one == same
    assert (one.method, one.n) == ("permutation, drawn", 30)
    z = abs(values.sum()) / math.sqrt(float(values @ values))
    assert one.p == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.01)  # signs by chance are about normal
    assert permutation_test([1.0] * 50, draws=99).p == pytest.approx(1 / 100)


def test_enumeration_and_drawing_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = permutation_test(DARWIN).p
    monkeypatch.setattr(module, "ENUMERATED", 0)
    drawn = permutation_test(DARWIN)
    assert drawn.method == "permutation, drawn"
    assert drawn.p == pytest.approx(exact, abs=0.003)


def test_bad_values_are_refused() -> None:
    with pytest.raises(DataError, match="not a finite number"):
        permutation_test([1.0, math.nan])
    assert permutation_test([]).p == 1


def one_hot(positions, categories):
    return np.eye(categories)[list(positions)]


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

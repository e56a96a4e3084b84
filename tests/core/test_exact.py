"""Exact tests against enumeration by hand and printed tables."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core import exact as module
from notus.core.errors import DataError
from notus.core.exact import Exact, binomial_test, mcnemar, permutation_test, sign_test


def test_public_names() -> None:
    assert module.__all__ == ["ENUMERATED", "Exact", "binomial_test", "mcnemar", "permutation_test", "sign_test"]


def test_binomial_written_out() -> None:
    assert binomial_test(0, 5).p == pytest.approx(2 / 32)
    assert binomial_test(4, 5).p == pytest.approx(2 * (1 + 5) / 32)
    assert binomial_test(5, 10).p == pytest.approx(1)
    assert binomial_test(0, 0) == Exact(1.0, 0, "binomial")
    # p = 1/6, 20 throws, 8 sixes: the chance of 8 and more; none of the lower outcomes is as unlikely as 8 (.0084).
    above = sum(math.comb(20, k) * 5 ** (20 - k) for k in range(8, 21)) / 6**20
    assert binomial_test(8, 20, 1 / 6).p == pytest.approx(above)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_binomial_at_even_odds_is_twice_the_smaller_tail(case: tuple[int, int]) -> None:
    k, n = case
    tail = sum(math.comb(n, i) for i in range(min(k, n - k) + 1)) / 2**n
    assert binomial_test(k, n).p == pytest.approx(min(1.0, 2 * tail))


def test_many_cases_keep_their_digits() -> None:
    assert binomial_test(5000, 10_000).p == pytest.approx(1)
    assert binomial_test(5100, 10_000).p == pytest.approx(2 * (1 - 0.976685), abs=2e-4)  # normal, z = 1.99 corrected


@pytest.mark.parametrize(("k", "n", "p"), [(-1, 3, 0.5), (4, 3, 0.5), (1, 3, 0.0), (1, 3, 1.0)])
def test_binomial_refuses(k: int, n: int, p: float) -> None:
    with pytest.raises(DataError, match="is no binomial case"):
        binomial_test(k, n, p)


def test_sign_test_leaves_zeros_out() -> None:
    assert sign_test([0.1, 0.2, 0.0, 3.0, -0.1]) == Exact(binomial_test(3, 4).p, 4, "sign")
    assert sign_test([]).p == 1


def test_mcnemar_written_out() -> None:
    found = mcnemar(1, 9)
    assert (found.p, found.n, found.method) == (pytest.approx(2 * (1 + 10) / 1024), 10, "mcnemar")
    assert mcnemar(9, 1).p == found.p
    assert mcnemar(0, 0).p == 1
    with pytest.raises(DataError, match="are no counts"):
        mcnemar(-1, 3)


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

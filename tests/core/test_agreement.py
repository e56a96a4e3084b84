"""Agreement against worked examples of the sources, and against the definitions written out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core import agreement as module
from notus.core.agreement import agreement, krippendorff
from notus.core.errors import DataError


def from_table(table: list[list[int]]) -> tuple[list[int], list[int]]:
    pairs = [(i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def test_public_names() -> None:
    assert module.__all__ == ["Agreement", "agreement", "krippendorff"]


def test_kappa_of_fifty_proposals() -> None:
    """20 and 15 agreed, 5 and 10 not: raw .7; by chance .5 · .6 + .5 · .4 = .5; κ = .4. AC1: π = .55 → chance .495."""
    a, b = from_table([[20, 5], [10, 15]])
    found = agreement(a, b, range(50))
    assert found.n == 50
    assert found.raw is not None
    assert found.kappa is not None
    assert found.ac1 is not None
    assert found.raw.mean == pytest.approx(0.7)
    assert found.kappa.mean == pytest.approx(0.4)
    assert found.ac1.mean == pytest.approx((0.7 - 2 * 0.55 * 0.45) / (1 - 2 * 0.55 * 0.45))
    # The large-sample standard error of κ for this table is .127 (Fleiss, Cohen and Everitt 1969).
    assert found.kappa.width / 2 / 1.96 == pytest.approx(0.127, abs=0.02)


def test_kappa_falls_where_nearly_all_labels_are_the_same_and_ac1_does_not() -> None:
    """Gwet's paradox: 118 + 2 of 125 agree (Feinstein and Cicchetti 1990 have 118, 5, 2, 0)."""
    a, b = from_table([[118, 5], [2, 0]])
    found = agreement(a, b, range(125))
    assert found.raw is not None
    assert found.kappa is not None
    assert found.ac1 is not None
    assert found.raw.mean == pytest.approx(0.944)
    assert found.kappa.mean == pytest.approx(-0.0234, abs=5e-4)
    assert found.ac1.mean == pytest.approx(0.9407, abs=5e-4)


OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def test_krippendorffs_own_example() -> None:
    """Four observers, twelve units, missing ratings: nominal α = .743 in section C of the source."""
    found = krippendorff(list(zip(*OBSERVERS, strict=True)))
    assert found is not None
    assert found.mean == pytest.approx(0.743, abs=5e-4)
    assert (found.n, found.groups) == (40, 11)  # the twelfth unit has one rating and cannot be paired


def test_alpha_of_two_observers() -> None:
    """Section A of the source, two observers and binary labels: α = .095."""
    a, b = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    found = krippendorff(list(zip(a, b, strict=True)))
    assert found is not None
    assert found.mean == pytest.approx(0.095, abs=5e-4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("xyz")), min_size=2, max_size=30))
def test_measures_are_those_of_their_definitions(pairs: list[tuple[str, str]]) -> None:
    a, b = [p for p, _ in pairs], [p for _, p in pairs]
    found = agreement(a, b, range(len(pairs)), draws=20)
    labels, n = set(a) | set(b), len(pairs)
    raw = sum(p == q for p, q in pairs) / n
    assert found.raw is not None
    assert found.raw.mean == pytest.approx(raw)
    if found.kappa is not None:
        chance = sum(a.count(label) * b.count(label) for label in labels) / n**2
        assert found.kappa.mean == pytest.approx((raw - chance) / (1 - chance))
    if found.ac1 is not None:
        share = [(a.count(label) + b.count(label)) / 2 / n for label in labels]
        chance = sum(p * (1 - p) for p in share) / (len(labels) - 1)
        assert found.ac1.mean == pytest.approx((raw - chance) / (1 - chance))


def test_copies_in_a_cluster_add_nothing() -> None:
    a, b = from_table([[20, 5], [10, 15]])
    once = agreement(a, b, range(50)).kappa
    thrice = agreement(a * 3, b * 3, list(range(50)) * 3).kappa
    assert once is not None
    assert thrice is not None
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert (thrice.n, thrice.groups) == (150, 50)


def test_what_cannot_be_measured_has_no_value() -> None:
    found = agreement(["x"] * 5, ["x"] * 5, range(5))
    assert found.raw is not None
    assert found.raw.mean == 1
    assert (found.kappa, found.ac1) == (None, None)
    assert agreement([], [], []).raw is None
    assert krippendorff([["x", "x"], ["x", "x"]]) is None
    assert krippendorff([["x", None], [None, "y"]]) is None
    with pytest.raises(DataError, match="1 and 2 labels"):
        agreement(["x"], ["x", "y"], [0])
    with pytest.raises(DataError, match="1 items came with 2 clusters"):
        krippendorff([["x", "y"]], [0, 1])


def test_perfect_and_chance_raters() -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(3, size=(2, 3000)).tolist()
    by_chance, same = agreement(a, b, range(3000), draws=500), agreement(a, a, range(3000), draws=50)
    assert by_chance.kappa is not None
    assert same.kappa is not None
    assert by_chance.kappa.low <= 0 <= by_chance.kappa.high
    assert math.isclose(same.kappa.mean, 1)

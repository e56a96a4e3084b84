"""Agreement against worked examples of the sources, and against the definitions written out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.stats.agreement import agreement, fleiss, krippendorff


def from_table(table: list[list[int]]) -> tuple[list[int], list[int]]:
    pairs = [(i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]
    return [a for a, _ in pairs], [b for _, b in pairs]


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


@pytest.mark.parametrize(("metric", "value"), [("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_own_example_of_grades_and_numbers(metric, value) -> None:
    """The same data in section D of the source: ordinal α = .815, interval α = .849."""
    found = krippendorff(list(zip(*OBSERVERS, strict=True)), metric=metric)
    assert found is not None
    assert found.mean == pytest.approx(value, abs=5e-4)
    assert found.low < found.mean < found.high <= 1


def plain_alpha(rows: list[list[int]], metric: str) -> float | None:
    """1 − observed over expected disagreement, pair by pair."""
    items = [row for row in rows if len(row) > 1]
    every = [value for row in items for value in row]

    def apart(c: int, k: int) -> float:
        if metric == "nominal":
            return float(c != k)
        if metric == "interval":
            return float((c - k) ** 2)
        low, high = min(c, k), max(c, k)
        between = sum(low <= value <= high for value in every) - (every.count(c) + every.count(k)) / 2
        return 0.0 if c == k else between**2

    observed = (
        sum(
            apart(row[i], row[j]) / (len(row) - 1)
            for row in items
            for i in range(len(row))
            for j in range(len(row))
            if i != j
        )
        / len(every)
        if every
        else 0
    )
    n = len(every)
    expected = sum(apart(a, b) for i, a in enumerate(every) for j, b in enumerate(every) if i != j)
    return 1 - observed * n * (n - 1) / expected if expected else None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 5), max_size=4), min_size=3, max_size=12),
    st.sampled_from(["nominal", "ordinal", "interval"]),
)
def test_alpha_is_that_of_its_definition(rows, metric) -> None:
    found = krippendorff(rows, metric=metric, draws=20)
    expected = plain_alpha(rows, metric)
    if found is not None:
        assert expected is not None
        assert found.mean == pytest.approx(expected)


FLEISS = [
    *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
    *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
]


def test_fleiss_of_ten_subjects_by_fourteen_raters() -> None:
    """The worked example of Wikipedia's article on Fleiss' kappa: mean P = .378, chance .213, κ = .210."""
    cells = [(item, label) for item, row in enumerate(FLEISS) for label, n in enumerate(row) for _ in range(n)]
    items, labels = (np.array(column) for column in zip(*cells, strict=True))
    found = fleiss(items, labels, items)
    assert found is not None
    assert found.mean == pytest.approx(0.210, abs=5e-4)
    assert (found.n, found.groups) == (140, 10)
    # Items with another number of ratings take no part.
    more = fleiss(np.append(items, [77, 77]), np.append(labels, [0, 4]), np.append(items, [77, 77]))
    assert more is not None
    assert more.mean == found.mean


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

"""The bars of a picture: round borders, every number in exactly one of them, and a click that lists what is counted."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notus.review.filter import Range
from notus.review.tables.columns import bins_of

NUMBERS = st.floats(-1e300, 1e300, allow_nan=False)


def inside(span, value):
    if math.isnan(value):
        return False
    high = span.high if span.high is not None else math.inf
    return (span.low <= value) and (value < high if span.without_high else value <= high)


@given(
    st.lists(NUMBERS | st.integers(-100, 100).map(float) | st.just(math.nan), min_size=1, max_size=120),
    st.integers(1, 40),
    st.booleans(),
)
@example([1e15 + step for step in range(60)], 20, False)
@example([step * 5e-324 for step in range(60)], 20, False)
@example([1e300, -1e300, *map(float, range(40))], 20, False)
@example([math.nan], 20, True)
def test_each_number_is_in_the_bar_whose_range_lets_it_through(values, bars, widening):
    column = np.array(values)
    bins = bins_of(column, bars, widening=widening)
    spans = [Range.parse("score", text) for text in bins.ranges]
    for value, code in zip(values, bins.codes.tolist(), strict=True):
        assert [place for place, span in enumerate(spans) if inside(span, value)] == ([code] if code >= 0 else [])
        assert (code < 0) == math.isnan(value)
    assert sum(bins.counts(None)) == len(values)
    assert all(one[1] <= other[0] for one, other in zip(bins.edges, bins.edges[1:], strict=False))


@pytest.mark.parametrize(
    ("low", "high", "first", "step"), [(0, 1, 0, 0.05), (1, 5, 1, 0.2), (-9, 9, -9, 1), (0.13, 0.88, 0.1, 0.05)]
)
def test_borders_are_round(low, high, first, step):
    edges = bins_of(np.linspace(low, high, 500), 20).edges
    assert edges[0][0] == pytest.approx(first)
    assert {round(each[1] - each[0], 9) for each in edges} == {step}
    assert len(edges) <= 21


def test_few_numbers_have_a_bar_each_and_long_tails_widen():
    assert bins_of(np.array([1.0, 10.0, 7.5, 1.0]), 20).edges == ((1.0, 1.0), (7.5, 7.5), (10.0, 10.0))
    assert bins_of(np.arange(0.0, 30_001.0), 20, widening=True).edges[:4] == ((0, 1), (1, 2), (2, 5), (5, 10))

"""Measures of a ranker on held-out pairs, by hand and by what must hold of any."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.stats.intervals import clustered_mean
from notus.train.ranker_quality import Judged, quality_of, scored

PAIRS = [
    Judged("a", 2.0, 100, 50),
    Judged("a", -1.0, 100, 40),
    Judged("b", 0.5, 50, 100),
    Judged("c", 0.0, 10, 10),
    Judged("d", 3.0, 105, 100),
    Judged("e", -0.5, 70, 100),
]


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def test_the_measures_by_hand():
    found = quality_of(PAIRS)
    right, prompts = [1.0, 0.0, 1.0, 0.5, 1.0, 0.0], ["a", "a", "b", "c", "d", "e"]
    assert found.accuracy == clustered_mean(right, prompts)
    assert found.length_alone.mean == pytest.approx((1 + 1 + 0 + 0.5 + 1 + 0) / 6)
    assert found.above_length.mean == pytest.approx((0 - 1 + 1 + 0 + 0 + 0) / 6)
    assert (found.pairs, found.ties) == (6, 1)
    confident = [(sigmoid(2.0), 1), (sigmoid(1.0), 0), (sigmoid(0.5), 1), (sigmoid(3.0), 1), (sigmoid(0.5), 0)]
    assert found.brier.mean == pytest.approx(sum((p - came) ** 2 for p, came in confident) / 5)
    # Of the five pairs of unequal length: longer, shorter, shorter, longer, longer is preferred; three times chosen.
    assert found.longer_preferred.mean == pytest.approx(3 / 5)
    assert found.longer_chosen.mean == pytest.approx(3 / 5)
    assert found.excess.mean == pytest.approx(0)


def test_bins_hold_confidence_and_what_was_right():
    found = quality_of(PAIRS)
    assert [(of.low, of.high, of.came_true.n) for of in found.bins] == [
        (0.6, 0.7, 2),
        (0.7, 0.8, 1),
        (0.8, 0.9, 1),
        (0.9, 1.0, 1),
    ]
    assert [of.came_true.mean for of in found.bins] == [0.5, 0.0, 1.0, 1.0]
    share = [0.5 - sigmoid(0.5), 0 - sigmoid(1.0), 1 - sigmoid(2.0), 1 - sigmoid(3.0)]
    wanted = sum(n * abs(gap) for n, gap in zip((2, 1, 1, 1), share, strict=True)) / 5
    assert found.calibration_error.mean == pytest.approx(wanted)


def test_bins_of_length_hold_each_pair_once():
    found = {
        of.label: of.pairs for of in quality_of([*PAIRS, Judged("f", 1.0, 0, 0), Judged("g", 1.0, 9, 0)]).length_bins
    }
    assert found == {
        "at most half as long": 1,
        "shorter": 1,
        "about as long": 3,
        "longer": 0,
        "at least twice as long": 3,
    }


@given(
    st.lists(
        st.builds(
            Judged,
            st.sampled_from("abcdef"),
            st.floats(-30, 30),
            st.integers(0, 5000),
            st.integers(0, 5000),
        ),
        max_size=40,
    )
)
def test_what_holds_of_any_ranker(judged):
    found = quality_of(judged)
    assert sum(of.pairs for of in found.length_bins) == len(judged)
    if len({item.prompt_id for item in judged}) < 2:
        assert found.accuracy is None
        return
    assert found.above_length.mean == pytest.approx(found.accuracy.mean - found.length_alone.mean)
    assert found.accuracy.mean == pytest.approx(sum(map(scored, judged)) / len(judged))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 99), st.integers(1, 99)), min_size=2, max_size=30))
def test_a_ranker_by_length_is_nothing_but_length(rows):
    judged = [Judged(str(prompt), float(a - b), a, b) for prompt, a, b in rows]
    found = quality_of(judged)
    if found.above_length is not None:
        assert found.above_length.mean == 0
    if found.longer_preferred is not None:
        assert found.longer_preferred.mean == 1


def test_nothing_held_out_measures_nothing():
    found = quality_of([])
    assert (found.pairs, found.accuracy, found.brier, found.bins) == (0, None, None, ())


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(DataError, match="gave nan to a pair of prompt a"):
        quality_of([Judged("a", math.nan, 1, 2)])

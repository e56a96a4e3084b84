"""A filter is a URL: what it reads, what it writes, and what it refuses."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import ConfigError
from notus.review.filter import DECIDED, NUMBERS, SORTS, Filter, Range

NUMBER = st.floats(-1e300, 1e300, allow_nan=False).map(lambda value: value + 0.0)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@st.composite
def ranges(draw):
    low, high = sorted([draw(NUMBER), draw(NUMBER)])
    kind = draw(st.sampled_from(["none", "low", "high", "both", "open"]))
    if kind == "none":
        return Range(none=True)
    if kind == "low":
        return Range(low=low)
    if kind == "high":
        return Range(high=high, without_high=draw(st.booleans()))
    return Range(low, high, without_high=kind == "open" and low < high)


@st.composite
def filters(draw):
    words = st.lists(TEXT, max_size=3, unique=True).map(tuple)
    values = {key: draw(words) for key in ("source", "model", "rejected", "aspect", "rater", "reason", "id", "who")}
    numbers = {key: draw(st.none() | ranges()) for key in NUMBERS}
    decided = tuple(draw(st.lists(st.sampled_from(DECIDED), unique=True, max_size=2)))
    sort = draw(st.sampled_from(["", *SORTS, *(f"-{each}" for each in SORTS)]))
    text = draw(st.just("") | TEXT)
    return Filter(**values, **numbers, decided=decided, sort=sort, text=text, seed=draw(st.integers(0, 2**32 - 1)))


@given(filters())
def test_a_filter_is_read_back_from_its_url(wanted):
    assert Filter.parse(parse_qsl(wanted.url(), keep_blank_values=True)) == wanted
    assert Filter.parse(wanted.params()).url() == wanted.url()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9..10", Range(9, 10)),
        ("9..<10", Range(9, 10, without_high=True)),
        ("9..", Range(low=9)),
        ("..3", Range(high=3)),
        ("..<3.5", Range(high=3.5, without_high=True)),
        ("10", Range(10, 10)),
        ("-2..-1", Range(-2, -1)),
        ("1e3..2e3", Range(1000, 2000)),
        ("1.5..2.5", Range(1.5, 2.5)),
        (".5..1", Range(0.5, 1)),
        ("none", Range(none=True)),
    ],
)
def test_ranges(text, expected):
    assert Range.parse("score", text) == expected


@pytest.mark.parametrize(
    "text", ["", "..", "..<", "a", "1..b", "nan", "inf", "1..inf", "3..2", "2..<2", "1...2", "1..2..3", "None", "1,5"]
)
def test_what_is_no_range_is_an_error_that_names_it(text):
    with pytest.raises(ConfigError, match="score"):
        Range.parse("score", text)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ([("modle", "x")], "did you mean 'model'"),
        ([("sort", "scores")], "did you mean 'score'"),
        ([("sort", "--score")], "sort"),
        ([("decided", "maybe")], "decided=maybe"),
        ([("desirable", "1")], "desirable=1"),
        ([("score", "1"), ("score", "2")], "2 times"),
        ([("seed", "-1")], "seed"),
        ([("seed", "4294967296")], "seed"),
        ([("seed", "१")], "seed"),
        ([("text", "x" * 10_001)], "10,001 characters"),
        ([("source", str(each)) for each in range(1001)], "1,001 values"),
        ([("x" * 1000, "y")], "x" * 40),
    ],
)
def test_what_is_unknown_is_an_error(params, said):
    with pytest.raises(ConfigError) as caught:
        Filter.parse(params)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_keys_of_the_page_itself_are_passed_over():
    assert Filter.parse([("start", "25"), ("source", "flan")], also=("start",)) == Filter(source=("flan",))


def test_empty_values_ask_for_nothing():
    assert Filter.parse([("text", ""), ("score", ""), ("source", "")]) == Filter()


def test_a_click_puts_a_value_in_and_takes_it_out_again():
    one = Filter().toggle("model", "alder").toggle("model", "birch")
    assert one.model == ("alder", "birch")
    assert one.toggle("model", "alder").model == ("birch",)
    ranged = one.toggle("score", "9..10")
    assert ranged.score == Range(9, 10)
    assert ranged.toggle("score", "9..10").score is None
    assert ranged.toggle("score", "1..2").score == Range(1, 2)
    assert ranged.without("model", "score") == Filter()
    assert not Filter(sort="-score", seed=3).narrows
    assert Filter(not_who=("ana",)).on_decisions

"""Pictures are well-formed, escaped, deterministic, and honest about what is missing."""

import math
import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.report.charts import BarRow, IntervalRow, bars, heat, histogram, intervals
from notus.report.curves import Line, lines
from notus.report.svg import (
    Scale,
    number,
    printable,
    shorten,
    spread_out,
    text_width,
    thinned,
    ticks,
    wrap,
)
from notus.stats.intervals import Estimate

HOSTILE = "<script>alert('x')</script>&\"\x00\ud800 \u202e]]>"
SVG = "{http://www.w3.org/2000/svg}"


def estimate(mean: float, half: float) -> Estimate:
    return Estimate(mean, mean - half, mean + half, 1200, 3, "t over seeds")


def one_of_each(label: str) -> dict[str, Callable[[], str]]:
    row = IntervalRow(label, estimate(0.7, 0.03), estimate(0.7, 0.1), (0.68, 0.72), label)
    return {
        "intervals": lambda: intervals([row], title=label, x_label=label, subtitle=label, reference=0),
        "lines": lambda: lines(
            [Line(label, ((0, 1.0), (1, 0.5)))], title=label, x_label=label, y_label=label, levels=[(0.7, label)]
        ),
        "histogram": lambda: histogram([1, 2, 2, 3], title=label, x_label=label, y_label=label, subtitle=label),
        "bars": lambda: bars([BarRow(label, 1.5, label, estimate(1.5, 1), label)], title=label, x_label=label),
        "heat": lambda: heat(
            [[1, 2]], rows=[label], columns=[label, "b"], title=label, x_label=label, y_label=label,
            marked=[(0, 0)], mark_label=label,
        ),
    }  # fmt: skip


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", list(one_of_each("")))
def test_hostile_labels_are_escaped_and_well_formed(name: str) -> None:
    svg = one_of_each(HOSTILE)[name]()
    tree = ElementTree.fromstring(svg)
    svg.encode("utf-8")
    assert {element.tag for element in tree.iter()} <= {
        SVG + tag for tag in ("svg", "style", "rect", "text", "title", "circle", "polyline", "polygon")
    }
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


@pytest.mark.parametrize("name", list(one_of_each("")))
def test_the_same_data_gives_the_same_text(name: str) -> None:
    assert one_of_each("arm")[name]() == one_of_each("arm")[name]()


@pytest.mark.parametrize("name", list(one_of_each("")))
def test_light_and_dark_and_no_network(name: str) -> None:
    svg = one_of_each("arm")[name]()
    assert "prefers-color-scheme:dark" in svg
    assert set(re.findall(r"https?://[^\"' ]+", svg)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in svg


@pytest.mark.parametrize("name", list(one_of_each("")))
def test_titles_and_axes_are_there(name: str) -> None:
    assert texts(one_of_each("what is measured")[name]()).count("what is measured") >= 2


@pytest.mark.parametrize(
    "svg",
    [
        intervals([], title="t", x_label="x"),
        intervals([IntervalRow("a", None, None)], title="t", x_label="x"),
        lines([], title="t", x_label="x", y_label="y"),
        lines([Line("a", ((0, None), (1, math.nan)))], title="t", x_label="x", y_label="y"),
        histogram([], title="t", x_label="x"),
        histogram([math.nan, math.inf], title="t", x_label="x"),
        bars([], title="t", x_label="x"),
        bars([BarRow("a", math.nan)], title="t", x_label="x"),
        heat([], rows=[], columns=[], title="t", x_label="x", y_label="y"),
        heat([[0, 0]], rows=["a"], columns=["b", "c"], title="t", x_label="x", y_label="y"),
    ],
)
def test_no_data_is_said(svg: str) -> None:
    assert any(text.startswith("No data: ") for text in texts(svg))


def test_intervals_tell_the_deciding_interval_and_n() -> None:
    row = IntervalRow("A", estimate(0.7, 0.03), estimate(0.7, 0.1))
    found = texts(intervals([row, IntervalRow("B", None, None)], title="t", x_label="x"))
    assert {"0.700 [0.600, 0.800]", "n = 1,200", "no interval"} <= set(found)


def test_intervals_nest() -> None:
    row = IntervalRow("A", estimate(0.7, 0.05), estimate(0.7, 0.1))
    tree = ElementTree.fromstring(intervals([row], title="t", x_label="x"))
    bar = next(e for e in tree.iter(f"{SVG}rect") if e.get("opacity") == "0.380")
    whisker = next(e for e in tree.iter(f"{SVG}polyline") if e.get("stroke-width") == "1.5")
    start, end = (float(point.split(",")[0]) for point in (whisker.get("points") or "").split())
    assert end - start == pytest.approx(2 * float(bar.get("width") or 0), abs=0.1)
    assert start < float(bar.get("x") or 0) < end


def test_lines_of_one_label_share_a_colour_and_a_label() -> None:
    seeds = [Line("DPO", ((0, 0.7), (1, 0.5 + seed / 10))) for seed in range(3)]
    svg = lines([*seeds, Line("SFT", ((0, 2.0), (1, 1.0)))], title="t", x_label="step", y_label="loss")
    assert texts(svg).count("DPO") == 1
    assert "n = 8 points on 4 curves" in texts(svg)
    curves = [e for e in ElementTree.fromstring(svg).iter(f"{SVG}polyline") if e.get("stroke-width") == "1.6"]
    assert [e.get("class") for e in curves] == ["np-s-c0"] * 3 + ["np-s-c1"]


def test_a_gap_breaks_the_curve() -> None:
    svg = lines([Line("a", ((0, 1), (1, 2), (2, None), (3, 1), (4, 2)))], title="t", x_label="x", y_label="y")
    assert len([e for e in ElementTree.fromstring(svg).iter(f"{SVG}polyline") if e.get("stroke-width") == "2"]) == 2


def test_a_histogram_counts_every_value_once() -> None:
    svg = histogram([0, 0.5, 1, 1.5, 2, 2, math.nan], 4, title="t", x_label="x")
    hints = [e.text or "" for e in ElementTree.fromstring(svg).iter(f"{SVG}title")]
    assert [int(hint.rpartition(": ")[2]) for hint in hints] == [1, 1, 1, 3]  # the last bin holds its right edge
    assert "n = 6 · 1 not finite, left out" in texts(svg)


def test_a_histogram_of_one_value_has_a_width() -> None:
    assert "n = 3" in texts(histogram([5, 5, 5], title="t", x_label="x"))
    with pytest.raises(DataError, match="0 bins"):
        histogram([1], 0, title="t", x_label="x")


def test_bars_start_at_zero_also_below_it() -> None:
    tree = ElementTree.fromstring(bars([BarRow("up", 2), BarRow("down", -1)], title="t", x_label="x"))
    up, down = (e for e in tree.iter(f"{SVG}rect") if e.get("opacity") == "0.820")
    zero = float(up.get("x") or 0)
    assert float(down.get("x") or 0) + float(down.get("width") or 0) == pytest.approx(zero, abs=0.02)
    assert float(up.get("width") or 0) == pytest.approx(2 * float(down.get("width") or 0), abs=0.02)


def test_heat_draws_the_first_row_at_the_bottom_and_marks_cells() -> None:
    svg = heat([[1, 0], [0, 4]], rows=["low", "high"], columns=["1", "10"], title="t", x_label="x", y_label="y",
               marked=[(0, 1)], mark_label="fault")  # fmt: skip
    tree = ElementTree.fromstring(svg)
    y = {e.text: float(e.get("y") or 0) for e in tree.iter(f"{SVG}text")}
    assert y["low"] > y["high"]
    assert {"n = 5", "fault"} <= set(y)
    frames = [e for e in tree.iter(f"{SVG}rect") if e.get("class") == "np-s-warn"]
    assert len(frames) == 1
    with pytest.raises(DataError, match="does not fit 1 row"):
        heat([[1, 2]], rows=["a"], columns=["b"], title="t", x_label="x", y_label="y")


numbers = st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=30), st.text(max_size=40))
def test_any_numbers_and_labels_give_a_well_formed_picture(values: list[float], label: str) -> None:
    points = tuple((float(index), value) for index, value in enumerate(values))
    for svg in (
        histogram(values, title=label, x_label=label),
        lines([Line(label, points)], title=label, x_label=label, y_label=label),
        bars([BarRow(label + str(i), value) for i, value in enumerate(values)], title=label, x_label=label),
        intervals([IntervalRow(label, estimate(values[0], abs(values[-1])), None)], title=label, x_label=label),
    ):
        ElementTree.fromstring(svg.encode("utf-8"))
        assert "nan" not in svg.replace(label, "")


@settings(max_examples=100, deadline=None)
@given(numbers, numbers)
def test_ticks_span_the_data_and_are_few(a: float, b: float) -> None:
    low, high = sorted((a, b))
    marks, _ = ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1e-9)
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert 2 <= len(marks) <= 9


def test_small_helpers() -> None:
    assert ticks(0, 1) == ([0, 0.2, 0.4, 0.6, 0.8, 1.0], 1)
    assert (number(-1234.5, 1), number(-0.0001, 2), number(7.0)) == ("−1,234.5", "0.00", "7")
    assert Scale(0, 10, 100, 200)(5) == 150
    assert printable("a\x00\ud800b\n") == "a\ufffd\ufffdb\n"
    assert shorten("short", 100) == "short"
    assert shorten("a very long label indeed", 60).endswith("…")
    assert text_width(shorten("漢字" * 20, 60)) <= 60
    assert wrap("two words", 40) == ["two", "words"]
    assert len(wrap("word " * 50, 60)) == 2
    assert spread_out({"a": 50, "b": 51, "c": 120}, 16, 0, 200) == {"a": 50, "b": 66, "c": 120}
    assert max(spread_out({"a": 199, "b": 200}, 16, 0, 200).values()) == 200


def test_thinning_keeps_the_spikes_and_the_ends() -> None:
    points = [(float(i), 0.0) for i in range(5000)]
    points[1234] = (1234.0, 99.0)
    points[4321] = (4321.0, -99.0)
    kept = thinned(points)
    assert len(kept) <= 600
    assert {points[0], points[-1], points[1234], points[4321]} <= set(kept)
    assert kept == sorted(kept)

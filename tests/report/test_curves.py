"""Bands and reliability: well-formed, escaped, deterministic, and each value where it belongs."""

from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.report.curves import Band, bands, reliability
from notus.report.page import Picture
from notus.report.svg import Canvas
from notus.stats.calibration import Bin, reliability_bins
from notus.stats.intervals import Estimate
from tests.report.test_charts import HOSTILE, SVG, texts


def estimate(mean: float, half: float = 0.1, n: int = 40) -> Estimate:
    return Estimate(mean, mean - half, mean + half, n, 5, "t over seeds")


def one_of_each(label: str) -> dict[str, Callable[[], str]]:
    points = ((0.0, estimate(0.7)), (1.0, estimate(0.6)))
    bins = [Bin(0.2, 0.3, 0.25, estimate(0.3))]
    return {
        "bands": lambda: bands(
            [Band(label, points, ((0.0, 0.71),))], title=label, x_label=label, y_label=label, subtitle=label,
            x_marks=[(0, label)], levels=[(0.5, label)],
        ),
        "reliability": lambda: reliability({label: bins}, title=label, x_label=label, y_label=label, subtitle=label),
    }  # fmt: skip


def circles(svg: str) -> dict[str, tuple[float, float]]:
    """What is said on hovering over a dot → its centre."""
    found = {}
    for element in ElementTree.fromstring(svg).iter(f"{SVG}circle"):
        hint = element.find(f"{SVG}title")
        if hint is not None:
            found[hint.text or ""] = (float(element.get("cx") or 0), float(element.get("cy") or 0))
    return found


@pytest.mark.parametrize("name", list(one_of_each("")))
def test_hostile_labels_are_escaped_and_fit_for_the_report(name: str) -> None:
    svg = one_of_each(HOSTILE)[name]()
    Picture(svg)  # refuses what is no plain drawing
    svg.encode("utf-8")
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


@pytest.mark.parametrize("name", list(one_of_each("")))
def test_titles_axes_and_the_same_text_for_the_same_data(name: str) -> None:
    svg = one_of_each("what is measured")[name]()
    assert texts(svg).count("what is measured") >= 3
    assert svg == one_of_each("what is measured")[name]()
    assert "prefers-color-scheme:dark" in svg


@pytest.mark.parametrize(
    "svg",
    [
        bands([], title="t", x_label="x", y_label="y"),
        bands([Band("a", ((0, None),))], title="t", x_label="x", y_label="y"),
        reliability({}, title="t"),
        reliability({"a": []}, title="t"),
    ],
)
def test_no_data_is_said(svg: str) -> None:
    assert any(text.startswith("No data: ") for text in texts(svg))


def test_a_band_goes_around_its_line() -> None:
    line = Band("arm", ((0, estimate(0.7)), (10, estimate(0.5, 0.2)), (20, estimate(0.4))))
    svg = bands([line], title="t", x_label="dose", y_label="success", x_marks=[(0, "0 %"), (10, "10 %"), (20, "20 %")])
    tree = ElementTree.fromstring(svg)
    (polygon,) = tree.iter(f"{SVG}polygon")
    corners = [tuple(map(float, pair.split(","))) for pair in (polygon.get("points") or "").split()]
    upper, lower = corners[:3], corners[:2:-1]
    dots = list(circles(svg).values())
    for (x, y), above, below in zip(dots, upper, lower, strict=True):
        assert above[0] == below[0] == pytest.approx(x, abs=0.02)
        assert (above[1] + below[1]) / 2 == pytest.approx(y, abs=0.02)
    assert lower[1][1] - upper[1][1] == pytest.approx(2 * (lower[0][1] - upper[0][1]), abs=0.05)
    assert dots[1][0] - dots[0][0] == pytest.approx(dots[2][0] - dots[1][0], abs=0.02)
    assert {"0 %", "10 %", "20 %", "arm", "95 % intervals as bands · n = 120 values"} <= set(texts(svg))
    assert next(iter(circles(svg))) == "arm at 0: 0.700 [0.600, 0.800], n = 40"


def test_a_gap_breaks_the_band_and_a_lone_estimate_has_a_whisker() -> None:
    points = ((0.0, estimate(0.5)), (1.0, estimate(0.5)), (2.0, None), (3.0, estimate(0.6)))
    tree = ElementTree.fromstring(bands([Band("a", points)], title="t", x_label="x", y_label="y"))
    assert len(list(tree.iter(f"{SVG}polygon"))) == 1
    assert len([e for e in tree.iter(f"{SVG}polyline") if e.get("stroke-width") == "1.3"]) == 3  # a line and two caps


def test_words_of_marks_that_would_touch_are_left_out() -> None:
    line = Band("a", ((0, estimate(0.5)), (100, estimate(0.5))))
    marks = [(0, "0 %"), (0.5, "0.5 %"), (100, "100 %")]
    shown = texts(bands([line], title="t", x_label="x", y_label="y", x_marks=marks))
    assert "0 %" in shown
    assert "100 %" in shown
    assert "0.5 %" not in shown


def test_a_reliability_diagram_puts_shares_over_statements() -> None:
    bins = [Bin(0.2, 0.3, 0.25, estimate(0.25, n=30)), Bin(0.7, 0.8, 0.75, estimate(0.75, n=10))]
    svg = reliability({"judge": bins}, title="t")
    (low_x, low_y), (high_x, high_y) = circles(svg).values()
    tree = ElementTree.fromstring(svg)
    diagonal = next(e for e in tree.iter(f"{SVG}polyline") if e.get("stroke-dasharray"))
    start, end = (tuple(map(float, pair.split(","))) for pair in (diagonal.get("points") or "").split())
    for x, y in ((low_x, low_y), (high_x, high_y)):  # both statements are as good as their word: on the diagonal
        share = (x - start[0]) / (end[0] - start[0])
        assert y == pytest.approx(start[1] + share * (end[1] - start[1]), abs=0.1)
    counts = [e for e in tree.iter(f"{SVG}rect") if e.get("opacity") == "0.600"]
    tall = [float(e.get("height") or 0) for e in counts]
    assert tall[0] == pytest.approx(3 * tall[1], abs=0.05)
    assert "judge, n = 40" in texts(svg)


def test_an_interval_that_leaves_the_shares_ends_at_the_edge() -> None:
    svg = reliability({"judge": [Bin(0.9, 1.0, 0.95, estimate(0.95, 0.2))]}, title="t")
    points = [
        float(pair.split(",")[1])
        for e in ElementTree.fromstring(svg).iter(f"{SVG}polyline")
        if e.get("stroke-width") == "1.3"
        for pair in (e.get("points") or "").split()
    ]
    edge = next(e for e in ElementTree.fromstring(svg).iter(f"{SVG}text") if e.text == "1.0")  # of y, drawn first
    assert min(points) == pytest.approx(float(edge.get("y") or 0) - 4, abs=0.02)
    assert "1.150" in next(iter(circles(svg)))  # what is said on hovering is not cut


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1e6)), min_size=1, max_size=20),
    st.text(max_size=30),
)
def test_any_numbers_and_labels_give_a_well_formed_picture(rows: list[tuple[float, float, float]], label: str) -> None:
    ordered = sorted({x: estimate(y, half) for x, y, half in rows}.items())
    stated = [abs(x) % 1 for x, _, _ in rows]
    bins = reliability_bins(stated, [index % 2 for index in range(len(rows))], range(len(rows)))
    for svg in (
        bands([Band(label, tuple(ordered))], title=label, x_label=label, y_label=label),
        reliability({label: bins}, title=label),
    ):
        Picture(svg)
        assert "nan" not in svg.replace(label, "")


def test_a_whisker_stands_across_its_line() -> None:
    board = Canvas("t")
    board.whisker((0, 0), (0, 10), "ink", cap=3)
    board.whisker((5, 5), (5, 5), "ink", cap=3)
    found = [e.get("points") for e in ElementTree.fromstring(board.render(20)).iter(f"{SVG}polyline")]
    assert found[:3] == ["0,0 0,10", "-3,0 3,0", "-3,10 3,10"]
    assert found[4] == "2,5 8,5"

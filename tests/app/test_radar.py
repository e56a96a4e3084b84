"""The radar: values on their spokes, gaps, intervals, and what cannot be drawn."""

import math
from xml.etree import ElementTree

import pytest

from notus.app import radar as module
from notus.app.radar import Spokes, radar
from notus.app.report import Picture
from notus.core.errors import DataError
from notus.core.statistics import Estimate

from .test_curves import circles, estimate
from .test_pictures import HOSTILE, SVG, texts

EIGHT = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")


def draw(*models: Spokes, **further: float) -> str:
    return radar(EIGHT, models, title="MT-Bench", low=further.get("low", 1), high=further.get("high", 10))


def test_public_names() -> None:
    assert module.__all__ == ["Spokes", "radar"]


def test_values_lie_on_their_spokes() -> None:
    values = [10.0, 5.5, 1.0, 10.0, 5.5, 10.0, 10.0, 10.0]
    found = list(circles(draw(Spokes("m", tuple(estimate(v, 0) for v in values)))).values())
    centre = found[2]  # the lowest value lies at the centre
    for spoke, (value, (x, y)) in enumerate(zip(values, found, strict=True)):
        out, angle = 170 * (value - 1) / 9, 2 * math.pi * spoke / 8
        assert (x - centre[0], centre[1] - y) == pytest.approx((out * math.sin(angle), out * math.cos(angle)), abs=0.03)


def test_names_legend_and_n() -> None:
    svg = draw(Spokes("notus", (estimate(7, n=20),) * 8), Spokes("zephyr", (estimate(7.3, n=20),) * 8))
    assert {*EIGHT, "notus", "zephyr", "10"} <= set(texts(svg))
    assert "95 % intervals along the spokes · n = 20 for a model in a category" in texts(svg)
    assert len(list(ElementTree.fromstring(svg).iter(f"{SVG}polygon"))) == 2
    assert "notus, writing: 7 [6.900, 7.100], n = 20" in {text.replace("7.000", "7") for text in circles(svg)}


def test_a_missing_value_breaks_the_line_and_fills_nothing() -> None:
    whole = draw(Spokes("m", (estimate(5),) * 8))
    gap = draw(Spokes("m", (estimate(5), None, *(estimate(5),) * 6)))

    def sides(svg: str) -> int:
        lines = ElementTree.fromstring(svg).iter(f"{SVG}polyline")
        return sum(line.get("stroke-width") == "2" for line in lines)

    assert (sides(whole), sides(gap)) == (8, 6)
    assert "<polygon" not in gap
    assert len(circles(gap)) == 7


def test_what_reaches_out_ends_at_the_outermost_ring() -> None:
    wide = Estimate(9.5, 4.0, 30.0, 20, 10, "clustered t")
    svg = draw(Spokes("m", (wide, *(estimate(5),) * 7)))
    points = [
        float(pair.split(",")[1])
        for line in ElementTree.fromstring(svg).iter(f"{SVG}polyline")
        for pair in (line.get("points") or "").split()
    ]
    top = {e.text: float(e.get("y") or 0) for e in ElementTree.fromstring(svg).iter(f"{SVG}text")}["writing"]
    assert min(points) > top - 4
    assert "[4.000, 30.000]" in next(iter(circles(svg)))


def test_hostile_labels_and_no_data() -> None:
    svg = radar([HOSTILE] * 3, [Spokes(HOSTILE, (estimate(5),) * 3)], title=HOSTILE, low=0, high=10, subtitle=HOSTILE)
    Picture(svg)
    assert "<script" not in svg
    assert any(text.startswith("No data: ") for text in texts(draw()))
    assert any(text.startswith("No data: ") for text in texts(draw(Spokes("m", (None,) * 8))))
    assert draw(Spokes("m", (estimate(5),) * 8)) == draw(Spokes("m", (estimate(5),) * 8))


@pytest.mark.parametrize(
    ("categories", "values", "low", "high", "words"),
    [
        (2, 2, 0, 10, "a radar of 2 categories has no shape"),
        (3, 2, 0, 10, "'m' has 2 values for 3 categories"),
        (3, 3, 10, 10, "a radar from 10 to 10 has no length"),
    ],
)
def test_what_cannot_be_drawn(categories: int, values: int, low: float, high: float, words: str) -> None:
    with pytest.raises(DataError, match=words):
        radar(EIGHT[:categories], [Spokes("m", (estimate(5),) * values)], title="t", low=low, high=high)

"""The pictures as text: every cell and bar is a link to what it counts, and nothing of the data leaves its place."""

from urllib.parse import parse_qsl
from xml.etree import ElementTree

import pytest

from notus.review.filter import Filter
from notus.review.pictures import NARROW, WIDE, bars_picture, grid_picture
from notus.review.records import Bar, Cell, Grid, Histogram

X = (Bar(1, 1.5, 3, "1..<1.5"), Bar(1.5, 2, 0, "1.5..2"))
Y = (Bar(9, 9, 1, "9"), Bar(10, 10, 2, "10"))
GRID = Grid("rating", "score", "Mean rating", "Overall score", X, Y, (Cell(0, 0, 1), Cell(0, 1, 2)), 0)
SVG = "{http://www.w3.org/2000/svg}"


def links(picture):
    tree = ElementTree.fromstring(str(picture).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    return {each.get("aria-label"): each for each in tree.iter(f"{SVG}a")}


def filter_of(link):
    return Filter.parse(parse_qsl(link.get("href").removeprefix("/?")))


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_cell_leads_to_what_it_counts(width):
    wanted = Filter.parse([("source", "a & b"), ("sort", "-score")])
    found = links(grid_picture(GRID, wanted, width))
    assert set(found) == {
        "Overall score 10, mean rating 1 to 1.5: 2 records",
        "Overall score 9, mean rating 1 to 1.5: 1 record",
    }
    link = found["Overall score 10, mean rating 1 to 1.5: 2 records"]
    assert filter_of(link) == wanted.put("score", "10").put("rating", "1..<1.5")
    assert link.get("aria-current") is None


def test_the_cell_of_the_filter_is_framed_and_takes_it_out():
    wanted = Filter.parse([("score", "10"), ("rating", "1..<1.5"), ("source", "x")])
    found = links(grid_picture(GRID, wanted))
    on = [each for each in found.values() if each.get("aria-current")]
    assert len(on) == 1
    assert filter_of(on[0]) == Filter.parse([("source", "x")])


def test_bars_and_those_without_the_number():
    histogram = Histogram("score", "Overall <score>", Y, none=4, total=7)
    found = links(bars_picture(histogram, Filter.parse([("score", "10")])))
    assert set(found) == {
        "Overall <score> 9: 1 record",
        "Overall <score> 10: 2 records",
        "Overall <score> none: 4 records",
    }
    assert filter_of(found["Overall <score> none: 4 records"]) == Filter.parse([("score", "none")])
    assert filter_of(found["Overall <score> 10: 2 records"]) == Filter()
    assert found["Overall <score> 10: 2 records"].get("aria-current") == "true"


def test_nothing_to_draw_says_so():
    empty = Grid("rating", "score", "Mean rating", "Overall score", (), (), (), 3)
    assert "No picture: no record has both numbers" in grid_picture(empty, Filter())
    assert "No picture" in bars_picture(Histogram("score", "Score", (Bar(1, 1, 0, "1"),), 0, 0), Filter())


def test_a_picture_holds_no_style():
    assert " style=" not in grid_picture(GRID, Filter())
    assert "<style" not in grid_picture(GRID, Filter())

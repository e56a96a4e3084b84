"""Pictures that filter: a grid of two numbers and bars of one, whose cells and bars are links.

Each is drawn for a width: a phone gets its own, with larger letters, and not the laptop's made small. A link is a link:
it works without a script, by keyboard, and says its range and count to a screen reader. Colours are classes of the
page's style sheet, for no style may stand in the page itself. Owns the drawing; numbers are of ``review.query``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup, escape

from notus.core.text import counted
from notus.report.svg import number, text_width
from notus.review.filter import Filter
from notus.review.records import Bar, Grid, Histogram

__all__ = ["NARROW", "WIDE", "bars_picture", "grid_picture"]

WIDE = 560.0
NARROW = 360.0
"""Width on a phone, in the units of the picture: about its pixels."""
_LETTERS = 11.0


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float


def grid_picture(grid: Grid, wanted: Filter, width: float = WIDE) -> Markup:
    """Two numbers against one another: the darker a cell, the more records; a click filters by both.

    Args:
        grid: the counts.
        wanted: the filter that the page has now; a cell of its own ranges is framed, and a click on it takes them out.
        width: of the picture.
    """
    if not grid.cells:
        return _nothing(width, "no record has both numbers")
    rows, columns = [_label(bar) for bar in grid.y], [_label(bar) for bar in grid.x]
    left = 14 + max(text_width(label, _LETTERS) for label in rows)
    wide = (width - left - 8) / len(columns)
    tall = min(26.0, max(15.0, 300 / len(rows)))
    top, bottom = 24.0, 24.0 + tall * len(rows)
    ground = _rect(_Box(left, top, wide * len(columns), bottom - top), "p-ground", 1, 0)
    parts = [_text(2, 12, grid.label_y, "p-axis"), ground]
    own = {key: value for key, value in wanted.params() if key in (grid.key_x, grid.key_y)}
    base = _base(wanted.without(grid.key_x, grid.key_y))
    asked_x, asked_y = (
        [urlencode({key: bar.range}) for bar in bars] for key, bars in ((grid.key_x, grid.x), (grid.key_y, grid.y))
    )
    most, name_x = max(cell.count for cell in grid.cells), grid.label_x.lower()
    for cell in sorted(grid.cells, key=lambda each: (-each.y, each.x)):
        on = own == {grid.key_x: grid.x[cell.x].range, grid.key_y: grid.y[cell.y].range}
        to = base if on else f"{base}{asked_y[cell.y]}&{asked_x[cell.x]}"
        said = f"{grid.label_y} {rows[cell.y]}, {name_x} {columns[cell.x]}: {counted(cell.count, 'record')}"
        box = _Box(left + cell.x * wide + 0.75, bottom - (cell.y + 1) * tall + 0.75, wide - 1.5, tall - 1.5)
        strength = 0.14 + 0.86 * math.sqrt(cell.count / most)
        shown = f"{cell.count:,}"
        label = _cell_text(box, shown, strength) if 6.0 * len(shown) < wide - 3 else ""
        parts.append(_link(to, said, f"grid-{cell.x}-{cell.y}", on, _rect(box, "p-cell", strength, 2)) + label)
    parts += _levels(grid.y, left, bottom, tall)
    parts += _columns(grid.x, left, bottom, wide, width)
    parts.append(_text(left + wide * len(columns) / 2, bottom + 32, grid.label_x, "p-axis", "middle"))
    title = f"{grid.label_y} against {name_x}"
    return _svg(width, bottom + 38, f"{title}; arrow keys move, Enter filters", parts)


def bars_picture(histogram: Histogram, wanted: Filter, width: float = WIDE / 2) -> Markup:
    """How a number is distributed; a click on a bar filters by it."""
    bars = [*histogram.bars]
    if histogram.none:
        bars.insert(0, Bar(math.nan, math.nan, histogram.none, "none"))
    if not any(bar.count for bar in bars):
        return _nothing(width, "no record has this number")
    left, top, tall = 4.0, 8.0, 92.0
    wide = (width - 2 * left) / len(bars)
    bottom = top + tall
    most = max(bar.count for bar in bars)
    parts = [f'<line class="p-rule" x1="{left}" y1="{bottom}" x2="{width - left:.1f}" y2="{bottom}"/>']
    key, base = histogram.key, _base(wanted.without(histogram.key))
    own = [value for name, value in wanted.params() if name == key]
    for place, bar in enumerate(bars):
        if not bar.count:
            continue
        on = own == [bar.range]
        to = base if on else base + urlencode({key: bar.range})
        said = f"{histogram.label} {_label(bar)}: {counted(bar.count, 'record')}"
        column = _Box(left + place * wide, top, wide, tall)
        high = max(2.0, tall * bar.count / most)
        shown = _Box(column.x + min(1.0, wide / 8), bottom - high, max(1.0, wide - min(2.0, wide / 4)), high)
        name = "p-bar p-none" if bar.range == "none" else "p-bar"
        drawn = _rect(column, "p-reach", 1, 0) + _rect(shown, name, 1, 1.5)
        parts.append(_link(to, said, f"{key}-{place}", on, drawn))
    parts += _columns(bars, left, bottom, wide, width)
    return _svg(width, bottom + 20, f"{histogram.label}; arrow keys move, Enter filters", parts)


def _base(wanted: Filter) -> str:
    """The address of a list, to which a range can be appended."""
    query = wanted.url()
    return f"/?{query}&" if query else "/?"


def _label(bar: Bar) -> str:
    if bar.range == "none":
        return "none"
    return _short(bar.low) if bar.low == bar.high else f"{_short(bar.low)} to {_short(bar.high)}"


def _short(value: float) -> str:
    return number(value, 2).rstrip("0").rstrip(".")


def _levels(bars: Sequence[Bar], left: float, bottom: float, tall: float) -> list[str]:
    every = max(1, math.ceil(13 / tall))
    return [
        _text(left - 6, bottom - (place + 0.5) * tall + 4, _label(bar), "p-mark", "end")
        for place, bar in enumerate(bars)
        if place % every == 0
    ]


def _columns(bars: Sequence[Bar], left: float, bottom: float, wide: float, width: float) -> list[str]:
    """Numbers below columns: under the middle of a bar of one value, at the left edge of a stretch; what fits."""
    found, free = [], 0.0
    for place, bar in enumerate(bars):
        single = bar.low == bar.high or bar.range == "none"
        shown = "none" if bar.range == "none" else _short(bar.low)
        half = text_width(shown, _LETTERS) / 2
        x = left + (place + (0.5 if single else 0)) * wide
        x = min(max(x, half), width - half)
        if x - half >= free:
            found.append(_text(x, bottom + 15, shown, "p-mark", "middle"))
            free = x + half + 7
    return found


def _link(to: str, said: str, key: str, on: bool, drawn: str) -> str:
    state = ' aria-current="true"' if on else ""
    name = "p-link on" if on else "p-link"
    tip = f"<title>{escape(said)}</title>"
    attributes = f'href="{escape(to)}" data-focus="{escape(key)}" aria-label="{escape(said)}"{state}'
    return f'<a class="{name}" {attributes}>{tip}{drawn}</a>'


def _rect(box: _Box, name: str, strength: float, corner: float) -> str:
    veil = f' fill-opacity="{strength:.2f}"' if strength < 1 else ""
    place = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
    return f'<rect class="{name}" {place} rx="{corner:g}"{veil}/>'


def _cell_text(box: _Box, shown: str, strength: float) -> str:
    """A count in a cell, in the colour that stands out from it: between the two it is dark in light and dark."""
    name = "p-count deep" if strength > 0.86 else "p-count mid" if strength > 0.64 else "p-count"
    return _text(box.x + box.width / 2, box.y + box.height / 2 + 3.5, shown, name, "middle")


def _text(x: float, y: float, words: str, name: str, anchor: str = "start") -> str:
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}"{place} aria-hidden="true">{escape(words)}</text>'


def _nothing(width: float, why: str) -> Markup:
    return _svg(width, 60, f"No picture: {why}", [_text(width / 2, 34, f"No picture: {why}", "p-axis", "middle")])


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> Markup:
    box = f'viewBox="0 0 {width:g} {height:.0f}" width="{width:g}" height="{height:.0f}"'
    head = f'<svg class="picture" role="group" aria-label="{escape(title)}" {box}>'
    return Markup(f"{head}{''.join(parts)}</svg>")  # noqa: S704  every word in it is escaped

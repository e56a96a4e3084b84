"""The drawing board behind the pictures: SVG elements as text, colours for light and dark, scales, ticks, legends.

Owns how a picture is put together and that it is well-formed. Does not own which picture is drawn (``report.charts``,
``report.curves``).

Each element carries its light colour as an attribute and a class that takes the colour from a CSS variable. So a file
on its own looks right in light and dark, a page may set the variables, and a viewer that knows no CSS shows the light.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from notus.core.text import visible

__all__ = [
    "MARGIN",
    "SERIES",
    "WIDTH",
    "Canvas",
    "Scale",
    "number",
    "printable",
    "shorten",
    "span",
    "spread_out",
    "text_width",
    "thinned",
    "ticks",
    "wrap",
]

WIDTH = 720.0
"""Width of every picture in its own units; a page scales it."""
MARGIN = 20.0

SERIES = ("c0", "c1", "c2", "c3", "c4", "c5")
"""Names of the colours for series, in the order of use; told apart also with the common colour blindnesses."""

_COLOURS = {  # name: (light, dark)
    "paper": ("#ffffff", "#16191d"),
    "ink": ("#1b1f24", "#e8eaed"),
    "muted": ("#5d6670", "#9aa5b1"),
    "rule": ("#e3e5e8", "#2c3238"),
    "warn": ("#b93a32", "#ff8a80"),
    "c0": ("#2364aa", "#6fb1f5"),
    "c1": ("#c96a12", "#f2a65a"),
    "c2": ("#1a8a6b", "#53cfa7"),
    "c3": ("#7d55b0", "#bd9cf0"),
    "c4": ("#a3485f", "#f08ca6"),
    "c5": ("#66707a", "#a8b3be"),
}
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_MOST_POINTS = 600
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """The text with each character that XML 1.0 forbids (controls, lone surrogates) shown as U+FFFD, and each that
    would turn the direction of what a reader sees shown by its number."""
    return visible(_FORBIDDEN.sub("\ufffd", text), "[U+{:04X}]")


def text_width(text: str, size: float = 12) -> float:
    """Roughly how wide a text is in the system font: there are no font metrics without a dependency."""
    wide = sum(map(_is_wide, text))
    return (len(text) + 0.7 * wide) * size * 0.54


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def shorten(text: str, width: float, size: float = 12) -> str:
    """The text on one line, cut with an ellipsis to about ``width`` units."""
    text = " ".join(printable(text).split())
    if text_width(text, size) <= width:
        return text
    wide, kept = 0, 0
    for length, character in enumerate(text, 1):
        wide += _is_wide(character)
        if (length + 1 + 0.7 * wide) * size * 0.54 > width:
            break
        kept = length
    return text[:kept].rstrip() + "…"


def wrap(text: str, width: float, size: float = 12) -> list[str]:
    """The text on one line, or on two broken between words; what does not fit on the second is cut."""
    words = printable(text).split()
    first: list[str] = []
    while words and text_width(" ".join([*first, words[0]]), size) <= width:
        first.append(words.pop(0))
    rest = shorten(" ".join(words), width, size)
    return [line for line in (" ".join(first), rest) if line]


def number(value: float, decimals: int | None = None) -> str:
    """A number for people: thousands set apart, a true minus sign, no more digits than asked for."""
    if decimals is None:
        decimals = 0 if float(value).is_integer() else 3
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−")


def ticks(low: float, high: float, count: int = 5) -> tuple[list[float], int]:
    """About ``count`` round numbers (1, 2 or 5 times a power of ten) that span low … high, and the decimals they need.

    The first tick is at most ``low`` and the last at least ``high``.
    """
    # A span below the precision of the numbers themselves cannot be told from none.
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = abs(low) / 2 or 0.5
        low, high = low - pad, high + pad
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [round(index * step, decimals + 1) for index in range(first, last + 1)], decimals


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most ``_MOST_POINTS`` points: of each bin the lowest and the highest, so that no spike is lost."""
    if len(points) <= _MOST_POINTS:
        return points
    size = math.ceil(len(points) / (_MOST_POINTS / 2 - 1))
    kept = {points[0], points[-1]}
    for start in range(0, len(points), size):
        part = points[start : start + size]
        kept |= {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
    return sorted(kept)


def spread_out(wanted: dict[str, float], gap: float, top: float, bottom: float) -> dict[str, float]:
    """Places near the wanted ones, at least ``gap`` apart, and where that is possible between top and bottom."""
    order = sorted(wanted, key=lambda label: wanted[label])
    placed: list[float] = []
    for label in order:
        placed.append(max(wanted[label], placed[-1] + gap if placed else top))
    limit = bottom
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return dict(zip(order, placed, strict=True))


def span(values: Iterable[float], *more: float | None) -> tuple[float, float]:
    """The lowest and the highest of the values, and of those among ``more`` that there are."""
    known = [*values, *(value for value in more if value is not None)]
    return min(known), max(known)


@dataclass(frozen=True)
class Scale:
    """A straight map from data to the picture: ``low`` falls on ``start`` and ``high`` on ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass
class Canvas:
    """A picture in the making: a title, a subtitle, and the elements drawn so far."""

    title: str
    subtitle: str = ""
    top: float = field(init=False)
    """Where the next block may begin, in units from the upper edge."""
    _parts: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """Draw title and subtitle."""
        room = WIDTH - 2 * MARGIN
        self.text(MARGIN, 31, shorten(self.title, room, 16), size=16, weight=600)
        self.top = 46
        if self.subtitle:
            self.text(MARGIN, 51, shorten(self.subtitle, room), colour="muted")
            self.top = 64

    def text(
        self,
        x: float,
        y: float,
        content: str,
        *,
        colour: str = "ink",
        anchor: str = "start",
        size: float = 12,
        weight: int = 400,
        hint: str = "",
    ) -> None:
        """Write one line with its baseline at ``y``; ``hint`` is shown on hovering."""
        bold = f' font-weight="{weight}"' if weight != 400 else ""
        place = f' text-anchor="{anchor}"' if anchor != "start" else ""
        tip = f"<title>{_escape(hint)}</title>" if hint and hint != content else ""
        start = f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}"{place}{bold} {_paint("fill", colour)}>'
        self._parts.append(f"{start}{tip}{_escape(content)}</text>")

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        colour: str,
        *,
        round_: float = 0,
        opacity: float = 1,
        outline: bool = False,
        hint: str = "",
    ) -> None:
        """Draw a rectangle, filled, or with ``outline`` as a frame of 2 units."""
        paint = f'fill="none" stroke-width="2" {_paint("stroke", colour)}' if outline else _paint("fill", colour)
        corner = f' rx="{_n(round_)}"' if round_ else ""
        veil = f' opacity="{opacity:.3f}"' if opacity < 1 else ""
        tip = f"<title>{_escape(hint)}</title>" if hint else ""
        box = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
        self._parts.append(f"<rect {box}{corner}{veil} {paint}>{tip}</rect>")

    def path(
        self,
        points: Sequence[tuple[float, float]],
        colour: str,
        *,
        width: float = 1,
        opacity: float = 1,
        dash: str = "",
    ) -> None:
        """Draw a line through points."""
        track = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        veil = f' stroke-opacity="{opacity:.3f}"' if opacity < 1 else ""
        broken = f' stroke-dasharray="{dash}"' if dash else ""
        shape = 'fill="none" stroke-linejoin="round" stroke-linecap="round"'
        style = f'stroke-width="{_n(width)}"{veil}{broken} {_paint("stroke", colour)}'
        self._parts.append(f'<polyline points="{track}" {shape} {style}/>')

    def area(self, points: Sequence[tuple[float, float]], colour: str, *, opacity: float) -> None:
        """Fill the shape that the points go around."""
        corners = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        self._parts.append(f'<polygon points="{corners}" opacity="{opacity:.3f}" {_paint("fill", colour)}/>')

    def dot(
        self, x: float, y: float, radius: float, colour: str, *, opacity: float = 1, ring: bool = False, hint: str = ""
    ) -> None:
        """Draw a disc, with ``ring`` set off from what lies below by a rim of the paper's colour."""
        veil = f' opacity="{opacity:.3f}"' if opacity < 1 else ""
        rim = f' stroke-width="2" {_paint("stroke", "paper", more=colour)}' if ring else f" {_paint('fill', colour)}"
        end = f"><title>{_escape(hint)}</title></circle>" if hint else "/>"
        self._parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"{veil}{rim}{end}')

    def whisker(self, low: tuple[float, float], high: tuple[float, float], colour: str, *, cap: float = 4) -> None:
        """Draw an interval as a line with caps across its ends."""
        length = math.dist(low, high)
        across = ((high[1] - low[1]) / length * cap, -(high[0] - low[0]) / length * cap) if length else (cap, 0.0)
        self.path([low, high], colour, width=1.3)
        for x, y in (low, high):
            self.path([(x - across[0], y - across[1]), (x + across[0], y + across[1])], colour, width=1.3)

    def legend(self, entries: Iterable[tuple[str, str]]) -> None:
        """Write a line of coloured keys under the titles, and go on below it: (colour name, label)."""
        x = MARGIN
        self.top += 6
        for colour, label in entries:
            shown = shorten(label, WIDTH - 2 * MARGIN - 20)
            if x > MARGIN and x + 20 + text_width(shown) > WIDTH - MARGIN:
                x, self.top = MARGIN, self.top + 18
            self.rect(x, self.top - 3, 10, 10, colour, round_=2)
            self.text(x + 16, self.top + 6, shown, colour="muted", hint=label)
            x += 34 + text_width(shown)
        self.top += 18

    def x_axis(
        self, scale: Scale, marks: Sequence[float], decimals: int, top: float, bottom: float, label: str
    ) -> None:
        """Draw upright grid lines with their numbers below, and the name of the axis under them."""
        for mark in marks:
            x = scale(mark)
            self.path([(x, top), (x, bottom)], "rule")
            self.text(x, bottom + 17, number(mark, decimals), colour="muted", anchor="middle", size=11)
        middle = (scale.start + scale.end) / 2
        self.text(middle, bottom + 37, shorten(label, WIDTH - 2 * MARGIN), colour="muted", anchor="middle")

    def x_numbers(
        self, scale: Scale, marks: Sequence[tuple[float, str]], bottom: float, label: str, *, gap: float = 18
    ) -> None:
        """Write words or numbers under an axis without grid lines, those inside the scale, and the axis' name."""
        for mark, word in marks:
            if scale.start - 0.01 <= scale(mark) <= scale.end + 0.01:
                self.text(scale(mark), bottom + gap, word, colour="muted", anchor="middle", size=11)
        middle, room = (scale.start + scale.end) / 2, scale.end - scale.start
        self.text(middle, bottom + gap + 20, shorten(label, room), colour="muted", anchor="middle")

    def y_axis(
        self, scale: Scale, marks: Sequence[float], decimals: int, left: float, right: float, label: str
    ) -> None:
        """Draw level grid lines with their numbers to the left, and the name of the axis above them."""
        for mark in marks:
            y = scale(mark)
            self.path([(left, y), (right, y)], "rule")
            self.text(left - 8, y + 4, number(mark, decimals), colour="muted", anchor="end", size=11)
        self.text(MARGIN, scale.end - 12, shorten(label, WIDTH - 2 * MARGIN), colour="muted")

    def no_data(self, why: str) -> str:
        """The picture of nothing, which says why."""
        self.rect(MARGIN, self.top + 8, WIDTH - 2 * MARGIN, 84, "rule", round_=6, opacity=0.5)
        self.text(WIDTH / 2, self.top + 54, f"No data: {why}", colour="muted", anchor="middle", size=13)
        return self.render(self.top + 112)

    def render(self, height: float) -> str:
        """The whole picture as SVG of ``WIDTH`` × ``height``."""
        size = f'viewBox="0 0 {_n(WIDTH)} {_n(height)}" width="{_n(WIDTH)}" height="{_n(height)}"'
        name = _escape(". ".join(part for part in (self.title, self.subtitle) if part))
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="np" role="img" aria-label="{name}" {size}'
        paper = f'<rect width="100%" height="100%" {_paint("fill", "paper", role="np-paper")}/>'
        return f'{head} font-family="{_FONT}"><style>{_STYLE}</style>{paper}{"".join(self._parts)}</svg>'


def _paint(what: str, colour: str, *, more: str = "", role: str = "") -> str:
    """Class and attribute of a colour; ``more`` is a second colour, for the fill."""
    classes = [f"np-{what[0]}-{colour}", *([f"np-f-{more}"] if more else []), *([role] if role else [])]
    extra = f' fill="{_COLOURS[more][0]}"' if more else ""
    return f'class="{" ".join(classes)}" {what}="{_COLOURS[colour][0]}"{extra}'


def _style() -> str:
    light = "".join(f"--np-{name}:{colours[0]};" for name, colours in _COLOURS.items())
    dark = "".join(f"--np-{name}:{colours[1]};" for name, colours in _COLOURS.items())
    rules = "".join(
        f".np-f-{name}{{fill:var(--np-{name})}}.np-s-{name}{{stroke:var(--np-{name})}}" for name in _COLOURS
    )
    numerals = ".np text{font-variant-numeric:tabular-nums}"
    return f".np{{{light}}}@media screen and (prefers-color-scheme:dark){{.np{{{dark}}}}}{rules}{numerals}"


_STYLE = _style()


def _escape(text: str) -> str:
    return escape(printable(text), quote=True)


def _n(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")

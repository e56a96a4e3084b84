"""Pictures of measured values over a scale: bands (a dose curve), a scatter (win rate against length), reliability.

Owns what these pictures show. Does not own colours, scales and elements (``app.canvas``), nor the numbers. As in
``app.pictures``, every picture carries a title, the names of its axes and n, and says so where it has no data.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from notus.app.canvas import (
    MARGIN,
    SERIES,
    WIDTH,
    Canvas,
    Scale,
    number,
    shorten,
    span,
    spread_out,
    text_width,
    ticks,
)
from notus.core.reliability import Bin
from notus.core.statistics import Estimate

__all__ = ["Band", "Dot", "bands", "reliability", "scatter"]


@dataclass(frozen=True)
class Band:
    """One line of estimates, each with its interval, for example the success of an arm at each dose."""

    label: str
    points: tuple[tuple[float, Estimate | None], ...]
    """(x, estimate) in the order of x. None breaks the line."""
    singles: tuple[tuple[float, float], ...] = ()
    """Single values to show behind the line, for example the mean of each seed."""


@dataclass(frozen=True)
class Dot:
    """One measured thing, for example a model: where it lies on x, and its estimate."""

    label: str
    x: float
    y: Estimate
    group: str = ""
    """Dots of the same group share a colour."""
    note: str = ""
    """What is shown besides on hovering."""


def bands(
    series: Sequence[Band],
    *,
    title: str,
    x_label: str,
    y_label: str,
    subtitle: str = "",
    x_marks: Sequence[tuple[float, str]] = (),
    levels: Sequence[tuple[float, str]] = (),
) -> str:
    """Lines with their intervals as bands, each labelled at its end.

    Args:
        series: the lines, in the order of their colours.
        title: of the picture.
        x_label: name and unit of the axis.
        y_label: name and unit of the axis.
        subtitle: one further line; without it the number of values behind the estimates.
        x_marks: places on the axis with what stands there, for example ``((0, "0 %"), (1, "1 %"))``; without it round
            numbers.
        levels: values of y to mark with a dashed line and a word.
    """
    lines = [(line, runs) for line in series if (runs := _runs(line))]
    known = [point for _, runs in lines for run in runs for point in run]
    values = sum(estimate.n for _, estimate in known)
    board = Canvas(title, subtitle or f"95 % intervals as bands · n = {values:,} values")
    if not known:
        return board.no_data("no line has an estimate")
    xs = [*(x for x, _ in known), *(x for line, _ in lines for x, _ in line.singles)]
    ys = [*(end for _, item in known for end in (item.low, item.high)), *(level for level, _ in levels)]
    ys += [y for line, _ in lines for _, y in line.singles]
    room = min(180.0, max(text_width(line.label) for line, _ in lines))
    x_scale, y_scale, bottom = _field(board, span(xs), span(ys), y_label, room + 14)
    low, high = span(xs)
    marks, decimals = ticks(low, high)
    named = [(mark, number(mark, decimals)) for mark in marks]
    board.x_numbers(x_scale, _apart(x_marks or named, x_scale), bottom, x_label)
    for level, word in levels:
        board.path([(x_scale.start, y_scale(level)), (x_scale.end, y_scale(level))], "muted", dash="3 4")
        board.text(x_scale.end - 4, y_scale(level) - 6, shorten(word, 300), colour="muted", anchor="end", size=11)
    ends: dict[str, float] = {}
    for index, (line, runs) in enumerate(lines):
        _band(board, line, runs, x_scale, y_scale, SERIES[index % len(SERIES)])
        ends[line.label] = y_scale(runs[-1][-1][1].mean)
    for label, y in spread_out(ends, 16, y_scale.end, y_scale.start).items():
        colour = SERIES[[line.label for line, _ in lines].index(label) % len(SERIES)]
        board.path([(x_scale.end + 3, ends[label]), (x_scale.end + 10, y)], colour, opacity=0.6)
        board.text(x_scale.end + 14, y + 4, shorten(label, 180), colour=colour, weight=500, hint=label)
    return board.render(bottom + 54)


def _band(
    board: Canvas, line: Band, runs: list[list[tuple[float, Estimate]]], x_scale: Scale, y_scale: Scale, colour: str
) -> None:
    for run in runs:
        upper = [(x_scale(x), y_scale(item.high)) for x, item in run]
        lower = [(x_scale(x), y_scale(item.low)) for x, item in run]
        if len(run) == 1:
            board.whisker(lower[0], upper[0], colour)
        else:
            board.area([*upper, *reversed(lower)], colour, opacity=0.16)
            board.path([(x_scale(x), y_scale(item.mean)) for x, item in run], colour, width=2)
    for x, y in line.singles:
        board.dot(x_scale(x), y_scale(y), 2.2, colour, opacity=0.5)
    for run in runs:
        for x, item in run:
            hint = f"{line.label} at {number(x)}: {_said(item)}"
            board.dot(x_scale(x), y_scale(item.mean), 4, colour, ring=True, hint=hint)


def scatter(
    dots: Sequence[Dot],
    *,
    title: str,
    x_label: str,
    y_label: str,
    subtitle: str = "",
    level: float | None = None,
    level_label: str = "",
) -> str:
    """Dots with upright intervals; names stand beside them where there is room, and on hovering everywhere.

    Args:
        dots: in the order in which they are named when room is short.
        title: of the picture.
        x_label: name and unit of the axis, for example ``mean length of an answer (characters)``.
        y_label: name and unit of the axis.
        subtitle: one further line; the number of dots is added.
        level: a value of y to mark with a dashed line.
        level_label: what the line means.
    """
    shown = [dot for dot in dots if math.isfinite(dot.x) and math.isfinite(dot.y.mean)]
    board = Canvas(title, f"{subtitle + ' · ' if subtitle else ''}n = {len(shown):,} dots with 95 % intervals")
    if not shown:
        return board.no_data("no dot has a place")
    groups = list(dict.fromkeys(dot.group for dot in shown))
    if len(groups) > 1:
        board.legend((SERIES[index % len(SERIES)], group) for index, group in enumerate(groups))
    ys = [end for dot in shown for end in (dot.y.low, dot.y.high)]
    xs = span(dot.x for dot in shown)
    marks, decimals = ticks(*xs)
    x_scale, y_scale, bottom = _field(board, (marks[0], marks[-1]), span(ys, level), y_label, 10)
    board.x_numbers(x_scale, [(mark, number(mark, decimals)) for mark in marks], bottom, x_label)
    if level is not None:
        board.path([(x_scale.start, y_scale(level)), (x_scale.end, y_scale(level))], "muted", dash="3 4")
        word = shorten(level_label, 300)
        board.text(x_scale.end - 4, y_scale(level) - 6, word, colour="muted", anchor="end", size=11)
    places = [(x_scale(dot.x), y_scale(dot.y.mean)) for dot in shown]
    for dot, (x, _) in zip(shown, places, strict=True):
        colour = SERIES[groups.index(dot.group) % len(SERIES)]
        board.path([(x, y_scale(dot.y.low)), (x, y_scale(dot.y.high))], colour, width=1.5, opacity=0.45)
    for dot, (x, y) in zip(shown, places, strict=True):
        colour = SERIES[groups.index(dot.group) % len(SERIES)]
        further = f" · {dot.note}" if dot.note else ""
        board.dot(x, y, 4, colour, ring=True, hint=f"{dot.label}: {_said(dot.y)} at {number(dot.x)}{further}")
    line = None if level is None else y_scale(level)
    _names(board, shown, places, (x_scale.start, x_scale.end, y_scale.end, y_scale.start), line)
    return board.render(bottom + 54)


def _names(
    board: Canvas,
    dots: Sequence[Dot],
    places: Sequence[tuple[float, float]],
    field: tuple[float, float, float, float],
    line: float | None,
) -> None:
    """Write names where they cover no dot, no other name and not the line; the others stay for hovering."""
    left, right, top, bottom = field
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    taken += [] if line is None else [(left, line - 1, right, line + 1), (right - 150, line - 17, right, line)]
    for dot, (x, y) in zip(dots, places, strict=True):
        label = shorten(dot.label, 150, 11)
        wide = text_width(label, 11)
        for anchor, at, base in (
            ("start", x + 8, y + 4),
            ("end", x - 8, y + 4),
            ("middle", x, y - 9),
            ("middle", x, y + 17),
        ):
            start = at - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
            box = (start, base - 10, start + wide, base + 3)
            inside = left <= box[0] and box[2] <= right and top - 8 <= box[1] and box[3] <= bottom
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                board.text(at, base, label, anchor=anchor, size=11, hint=dot.label)
                break


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def reliability(
    series: Mapping[str, Sequence[Bin]],
    *,
    title: str,
    x_label: str = "stated probability",
    y_label: str = "share that came true",
    subtitle: str = "",
) -> str:
    """A reliability diagram: what came true against what was stated, with the counts of the bins as bars below.

    On the dashed diagonal statements come true as often as they say; below it they claim too much.

    Args:
        series: the bins of each judge or model, from ``core.reliability``, in the order of their colours.
        title: of the picture.
        x_label: name of the axis.
        y_label: name of the axis.
        subtitle: one further line; n of each series is in the legend.
    """
    shown = {label: bins for label, bins in series.items() if bins}
    board = Canvas(title, subtitle or "95 % intervals · on the dashed diagonal statements are as good as their word")
    if not shown:
        return board.no_data("no bin holds a case")
    colours = {label: SERIES[index % len(SERIES)] for index, label in enumerate(shown)}
    counts = {label: sum(item.came_true.n for item in bins) for label, bins in shown.items()}
    board.legend((colours[label], f"{label}, n = {counts[label]:,}") for label in shown)
    x_scale, y_scale, bottom = _field(board, (0.0, 1.0), (0.0, 1.0), y_label, 10, tall=280)
    board.path([(x_scale(0), y_scale(0)), (x_scale(1), y_scale(1))], "muted", dash="3 4")
    for index, (label, bins) in enumerate(shown.items()):
        shift = 3.0 * (index - (len(shown) - 1) / 2)  # so that intervals of two series can be told apart
        track = [(x_scale(item.stated) + shift, y_scale(item.came_true.mean)) for item in bins]
        board.path(track, colours[label], width=1.5, opacity=0.7)
        for item, (x, y) in zip(bins, track, strict=True):
            low, high = max(item.came_true.low, 0.0), min(item.came_true.high, 1.0)  # a share has nowhere else to be
            board.whisker((x, y_scale(low)), (x, y_scale(high)), colours[label], cap=3)
            hint = f"{label}: stated {item.stated:.3f}, came true {_said(item.came_true)}"
            board.dot(x, y, 4, colours[label], ring=True, hint=hint)
    below = _counts(board, shown, colours, x_scale, bottom)
    board.x_numbers(x_scale, [(mark / 10, f"{mark / 10:.1f}") for mark in range(0, 11, 2)], below, x_label)
    return board.render(below + 54)


def _counts(
    board: Canvas, shown: Mapping[str, Sequence[Bin]], colours: Mapping[str, str], x_scale: Scale, top: float
) -> float:
    """Bars of how many cases each bin holds, in a strip of its own; its lower edge."""
    most = max(item.came_true.n for bins in shown.values() for item in bins)
    bottom = top + 90
    tall = Scale(0, most, bottom, top + 36)
    board.path([(x_scale.start, bottom), (x_scale.end, bottom)], "rule")
    board.text(x_scale.start - 8, tall.end + 4, number(most), colour="muted", anchor="end", size=11)
    board.text(x_scale.start - 8, bottom + 4, "0", colour="muted", anchor="end", size=11)
    board.text(MARGIN, top + 24, "cases", colour="muted", size=11)
    for index, (label, bins) in enumerate(shown.items()):
        for item in bins:
            wide = (x_scale(item.high) - x_scale(item.low) - 4) / len(shown)
            x, y = x_scale(item.low) + 2 + index * wide, tall(item.came_true.n)
            hint = f"{label}, {item.low:g} to {item.high:g}: {item.came_true.n:,} cases"
            board.rect(x, y, max(wide - 1, 0.5), max(bottom - y, 0.5), colours[label], opacity=0.6, hint=hint)
    return bottom


def _field(
    board: Canvas, xs: tuple[float, float], ys: tuple[float, float], y_label: str, room: float, *, tall: float = 260
) -> tuple[Scale, Scale, float]:
    """The axis of y with its grid, and both scales; ``room`` is kept free on the right."""
    marks, decimals = ticks(*ys)
    left = MARGIN + 12 + max(text_width(number(mark, decimals), 11) for mark in marks)
    right = WIDTH - MARGIN - room
    low, high = xs if xs[1] > xs[0] else (xs[0] - 0.5, xs[0] + 0.5)
    top = board.top + 28
    y_scale = Scale(marks[0], marks[-1], top + tall, top)
    board.y_axis(y_scale, marks, decimals, left, right, y_label)
    return Scale(low, high, left + 8, right - 8), y_scale, top + tall


def _apart(marks: Sequence[tuple[float, str]], scale: Scale) -> list[tuple[float, str]]:
    """The marks whose words do not run into the one before."""
    kept: list[tuple[float, str]] = []
    for mark, word in sorted(marks):
        if not kept or scale(mark) - scale(kept[-1][0]) >= (text_width(word, 11) + text_width(kept[-1][1], 11)) / 2 + 4:
            kept.append((mark, word))
    return kept


def _runs(line: Band) -> list[list[tuple[float, Estimate]]]:
    """The unbroken parts of a line."""
    runs: list[list[tuple[float, Estimate]]] = [[]]
    for x, estimate in line.points:
        if estimate is not None:
            runs[-1].append((x, estimate))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _said(estimate: Estimate) -> str:
    return f"{number(estimate.mean, 3)} [{number(estimate.low, 3)}, {number(estimate.high, 3)}], n = {estimate.n:,}"

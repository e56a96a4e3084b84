"""Curves over two scales, as plain SVG: lines, bands (a sweep with its intervals), a reliability diagram.

Owns what each picture shows; charts of named things are in ``report.charts``, and what holds there holds here: a title,
the names of the axes and n in every picture, the same text for the same data, and a word where there is no data.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from notus.report.svg import (
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
    thinned,
    ticks,
)
from notus.stats.calibration import Bin
from notus.stats.intervals import Estimate

__all__ = ["Band", "Line", "bands", "lines", "reliability"]

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """One curve. Curves of the same label share a colour, as the seeds of one arm do."""

    label: str
    points: tuple[tuple[float, float | None], ...]
    """(x, y) in the order of x. A y that is None or not finite breaks the curve."""
    marks: tuple[tuple[float, float], ...] = ()
    """(x, y) of what was measured apart, for example on held-out rows: dots in the curve's colour, joined by dashes."""


@dataclass(frozen=True)
class Band:
    """One line of estimates, each with its interval, for example the success of an arm at each dose."""

    label: str
    points: tuple[tuple[float, Estimate | None], ...]
    """(x, estimate) in the order of x. None breaks the line."""
    singles: tuple[tuple[float, float], ...] = ()
    """Single values to show behind the line, for example the mean of each seed."""


def lines(
    series: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    subtitle: str = "",
    levels: Sequence[tuple[float, str]] = (),
    order: Sequence[str] = (),
) -> str:
    """Curves, each labelled at its end.

    Args:
        series: the curves. Those of one label share a colour, and one label.
        title: of the picture.
        x_label: name and unit of the axis.
        y_label: name and unit of the axis.
        subtitle: one further line; without it the number of curves and points.
        order: labels that take the first colours, so that a label has the same colour in every picture of a page.
        levels: values of y to mark with a dashed line and a word, for example ``(math.log(2), "ln 2")``.
    """
    curves = [(line, runs) for line in series if (runs := _values(line)) or line.marks]
    points = [point for _, runs in curves for run in runs for point in run]
    board = Canvas(title, subtitle or f"n = {len(points):,} points on {len(curves)} curves")
    points += [mark for line, _ in curves for mark in line.marks]
    if not points:
        return board.no_data("no curve has a point")
    labels = list(dict.fromkeys((*order, *(line.label for line, _ in curves))))
    x_marks, x_decimals = ticks(*span([x for x, _ in points]))
    y_marks, y_decimals = ticks(*span([*(y for _, y in points), *(level for level, _ in levels)]))
    left = MARGIN + 12 + max(text_width(number(mark, y_decimals), 11) for mark in y_marks)
    right = WIDTH - MARGIN - 14 - min(180.0, max(text_width(line.label) for line, _ in curves))
    top, bottom = board.top + 28, board.top + 268
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    x_scale = Scale(low, high, left, right) if high > low else Scale(x_marks[0], x_marks[-1], left, right)
    y_scale = Scale(y_marks[0], y_marks[-1], bottom, top)
    board.y_axis(y_scale, y_marks, y_decimals, left, right, y_label)
    whole = [mark for mark in x_marks if float(mark).is_integer()]
    if whole and all(float(x).is_integer() for x, _ in points):  # between two rounds or updates there is nothing
        x_marks, x_decimals = whole, 0
    board.x_numbers(x_scale, [(mark, number(mark, x_decimals)) for mark in x_marks], bottom, x_label)
    for level, word in levels:
        _mark_level(board, level, word, x_scale, y_scale, room=right - left)
    _curves(board, curves, labels, x_scale, y_scale)
    return board.render(bottom + 54)


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
    drawn = [(line, runs) for line in series if (runs := _estimates(line))]
    known = [point for _, runs in drawn for run in runs for point in run]
    values = sum(estimate.n for _, estimate in known)
    board = Canvas(title, subtitle or f"95 % intervals as bands · n = {values:,} values")
    if not known:
        return board.no_data("no line has an estimate")
    xs = [*(x for x, _ in known), *(x for line, _ in drawn for x, _ in line.singles)]
    ys = [*(end for _, item in known for end in (item.low, item.high)), *(level for level, _ in levels)]
    ys += [y for line, _ in drawn for _, y in line.singles]
    room = min(180.0, max(text_width(line.label) for line, _ in drawn))
    x_scale, y_scale, bottom = _field(board, span(xs), span(ys), y_label, room + 14)
    low, high = span(xs)
    marks, decimals = ticks(low, high)
    named = [(mark, number(mark, decimals)) for mark in marks]
    board.x_numbers(x_scale, _apart(x_marks or named, x_scale), bottom, x_label)
    for level, word in levels:
        _mark_level(board, level, word, x_scale, y_scale)
    ends: dict[str, float] = {}
    for index, (line, runs) in enumerate(drawn):
        _band(board, line, runs, x_scale, y_scale, SERIES[index % len(SERIES)])
        ends[line.label] = y_scale(runs[-1][-1][1].mean)
    _name_ends(board, ends, [line.label for line, _ in drawn], x_scale, y_scale)
    return board.render(bottom + 54)


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
        series: the bins of each judge or model, from ``stats.calibration``, in the order of their colours.
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
            hint = f"{label}: stated {item.stated:.3f}, came true {_hint(item.came_true)}"
            board.dot(x, y, 4, colours[label], ring=True, hint=hint)
    below = _counts(board, shown, colours, x_scale, bottom)
    board.x_numbers(x_scale, [(mark / 10, f"{mark / 10:.1f}") for mark in range(0, 11, 2)], below, x_label)
    return board.render(below + 54)


def _curves(
    board: Canvas,
    curves: Sequence[tuple[Line, list[list[tuple[float, float]]]]],
    labels: Sequence[str],
    x_scale: Scale,
    y_scale: Scale,
) -> None:
    many = len(curves) > len({line.label for line, _ in curves})
    ends: dict[str, list[float]] = defaultdict(list)
    for line, runs in curves:
        index = labels.index(line.label)
        colour, dash = SERIES[index % len(SERIES)], "6 4" if index >= len(SERIES) else ""
        for run in runs:
            track = [(x_scale(x), y_scale(y)) for x, y in thinned(run)]
            if len(track) == 1:
                board.dot(*track[0], 3, colour)
            board.path(track, colour, width=1.6 if many else 2, opacity=0.7 if many else 1, dash=dash)
        if len(line.marks) > 1:
            board.path([(x_scale(x), y_scale(y)) for x, y in line.marks], colour, width=1.2, dash="2 3")
        for x, y in line.marks:
            board.dot(x_scale(x), y_scale(y), 4, colour, ring=True, hint=f"{line.label} at {number(x)}: {number(y)}")
        ends[line.label].append(y_scale(runs[-1][-1][1] if runs else line.marks[-1][1]))
    _name_ends(board, {label: sum(found) / len(found) for label, found in ends.items()}, labels, x_scale, y_scale)


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
            hint = f"{line.label} at {number(x)}: {_hint(item)}"
            board.dot(x_scale(x), y_scale(item.mean), 4, colour, ring=True, hint=hint)


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


def _mark_level(board: Canvas, level: float, word: str, x_scale: Scale, y_scale: Scale, room: float = 300) -> None:
    """A dashed line at a value of y, with a word on it."""
    y = y_scale(level)
    board.path([(x_scale.start, y), (x_scale.end, y)], "muted", dash="3 4")
    board.text(x_scale.end - 4, y - 6, shorten(word, room), colour="muted", anchor="end", size=11)


def _name_ends(board: Canvas, ends: dict[str, float], labels: Sequence[str], x_scale: Scale, y_scale: Scale) -> None:
    """The names of lines at the places where they end, in the colours that their places among the labels give."""
    for label, y in spread_out(ends, 16, y_scale.end, y_scale.start).items():
        colour = SERIES[labels.index(label) % len(SERIES)]
        board.path([(x_scale.end + 3, ends[label]), (x_scale.end + 10, y)], colour, opacity=0.6)
        board.text(x_scale.end + 14, y + 4, shorten(label, 180), colour=colour, weight=500, hint=label)


def _values(line: Line) -> list[list[tuple[float, float]]]:
    """The unbroken parts of a curve."""
    finite = ((x, y if y is not None and math.isfinite(y) and math.isfinite(x) else None) for x, y in line.points)
    return _unbroken_runs(finite)


def _estimates(line: Band) -> list[list[tuple[float, Estimate]]]:
    """The unbroken parts of a line of estimates."""
    return _unbroken_runs(line.points)


def _unbroken_runs(points: Iterable[tuple[float, T | None]]) -> list[list[tuple[float, T]]]:
    """The runs of points that have a value."""
    runs: list[list[tuple[float, T]]] = [[]]
    for x, y in points:
        if y is not None:
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _hint(estimate: Estimate) -> str:
    return f"{number(estimate.mean, 3)} [{number(estimate.low, 3)}, {number(estimate.high, 3)}], n = {estimate.n:,}"

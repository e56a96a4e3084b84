"""Charts of named things, as plain SVG: intervals, bars, a histogram, a heat map.

Owns what each chart shows; lines and dots over two scales are in ``report.curves``. Does not own colours, scales and
elements (``report.svg``), nor the numbers.

Every chart carries a title, the names of its axes and n. The same data gives the same text, byte for byte. Data that is
empty gives a chart that says so. Labels may hold anything: they are escaped, and cut where there is no room.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from notus.core.errors import DataError
from notus.report.svg import MARGIN, SERIES, WIDTH, Canvas, Scale, number, shorten, span, text_width, ticks, wrap
from notus.stats.intervals import Estimate, wider

__all__ = ["BarRow", "IntervalRow", "bars", "heat", "histogram", "intervals"]


@dataclass(frozen=True)
class IntervalRow:
    """One arm, or one difference, with its two intervals; either may be missing."""

    label: str
    by_prompts: Estimate | None
    by_seeds: Estimate | None
    points: tuple[float, ...] = ()
    """Single values to show behind the interval, for example the mean of each seed."""
    note: str = ""
    """What stands small under the numbers, for example ``1,200 answers · 400 prompts · 3 seeds``."""

    @property
    def estimate(self) -> Estimate | None:
        """The deciding estimate: the wider of the two."""
        return wider(self.by_prompts, self.by_seeds)


@dataclass(frozen=True)
class BarRow:
    """One bar. Rows of the same label stand together, one bar for each group."""

    label: str
    value: float
    group: str = ""
    interval: Estimate | None = None
    note: str = ""
    """What stands behind the value, for example ``n = 80``."""


def intervals(
    rows: Sequence[IntervalRow],
    *,
    title: str,
    x_label: str,
    subtitle: str = "",
    reference: float | None = None,
) -> str:
    """Dots with two nested intervals, one row each: a thick bar over prompts, a thin one with caps over seeds.

    Args:
        rows: from top to bottom.
        title: of the picture.
        x_label: name and unit of the axis.
        subtitle: one further line.
        reference: where an upright dashed line marks a value, 0 for differences.
    """
    board = Canvas(title, subtitle or "95 % intervals: thick over prompts as clusters, thin over seeds as replicates")
    shown = [row for row in rows if row.estimate is not None]
    if not shown:
        return board.no_data("no row has an interval")
    ends = [end for row in shown for side in (row.by_prompts, row.by_seeds) if side for end in (side.low, side.high)]
    marks, decimals = ticks(*span([*ends, *(point for row in shown for point in row.points)], reference))
    step, first = 46.0, board.top + 16
    left = MARGIN + 16 + min(190.0, max(text_width(row.label, 13) for row in rows))
    right = WIDTH - MARGIN - 205
    scale = Scale(marks[0], marks[-1], left, right)
    bottom = first + step * len(rows) - 8
    board.x_axis(scale, marks, decimals, first - 12, bottom, x_label)
    if reference is not None:
        board.path([(scale(reference), first - 12), (scale(reference), bottom)], "muted", dash="3 4")
    for index, row in enumerate(rows):
        _interval(board, row, scale, first + 12 + step * index, SERIES[index % len(SERIES)])
    return board.render(bottom + 52)


def _interval(board: Canvas, row: IntervalRow, scale: Scale, y: float, colour: str) -> None:
    label = wrap(row.label, 190, 13)
    for index, part in enumerate(label):
        board.text(MARGIN, y + 4 + 16 * index - 8 * (len(label) - 1), part, size=13, weight=500, hint=row.label)
    right = WIDTH - MARGIN
    estimate = row.estimate
    if estimate is None:
        board.text(right, y + 4, "no interval", colour="muted", anchor="end")
        return
    if row.by_prompts:
        low, high = scale(row.by_prompts.low), scale(row.by_prompts.high)
        board.rect(low, y - 5, max(high - low, 1), 10, colour, round_=3, opacity=0.38)
    if row.by_seeds:
        low, high = scale(row.by_seeds.low), scale(row.by_seeds.high)
        board.path([(low, y), (high, y)], colour, width=1.5)
        for end in (low, high):
            board.path([(end, y - 5), (end, y + 5)], colour, width=1.5)
    for point in row.points:
        board.dot(scale(point), y + 14, 2.5, colour, opacity=0.6)
    board.dot(scale(estimate.mean), y, 4.5, colour, ring=True)
    sides = f"[{number(estimate.low, 3)}, {number(estimate.high, 3)}]"
    board.text(right, y, f"{number(estimate.mean, 3)} {sides}", anchor="end", weight=500)
    board.text(
        right, y + 15, shorten(row.note or f"n = {estimate.n:,}", 200, 11), colour="muted", anchor="end", size=11
    )


def histogram(
    values: Iterable[float],
    bins: int = 20,
    *,
    title: str,
    x_label: str,
    y_label: str = "count",
    subtitle: str = "",
    centred: bool = False,
) -> str:
    """How often values fall into bins of equal width, the last of which holds its right edge too.

    ``centred`` puts the lowest and the highest value into the middle of their bins, as grades need it.

    Values that are not finite are left out, and counted in the subtitle.

    Raises:
        DataError: if there is not at least one bin.
    """
    if bins < 1:
        raise DataError(f"a histogram of {bins} bins cannot be drawn; ask for one bin or more")
    given = [float(value) for value in values]
    data = [value for value in given if math.isfinite(value)]
    lost = f" · {len(given) - len(data):,} not finite, left out" if len(given) > len(data) else ""
    board = Canvas(title, f"{subtitle + ' · ' if subtitle else ''}n = {len(data):,}{lost}")
    if not data:
        return board.no_data("no value to count")
    low, high = min(data), max(data)
    if low == high:
        low, high = low - 0.5, high + 0.5
    if centred and bins > 1:
        half = (high - low) / (bins - 1) / 2
        low, high = low - half, high + half
    counts = [0] * bins
    for value in data:
        counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
    y_marks, _ = ticks(0, max(counts), min(5, max(counts)))
    x_marks, decimals = ticks(low, high, 8)
    left, right = MARGIN + 12 + text_width(number(y_marks[-1]), 11), WIDTH - MARGIN
    top, bottom = board.top + 28, board.top + 228
    x_scale, y_scale = Scale(low, high, left, right), Scale(0, y_marks[-1], bottom, top)
    board.y_axis(y_scale, y_marks, 0, left, right, y_label)
    edges = [low + (high - low) * index / bins for index in range(bins + 1)]
    for (start, end), count in zip(itertools.pairwise(edges), counts, strict=True):
        x, width = x_scale(start) + 0.75, x_scale(end) - x_scale(start) - 1.5
        hint = f"{number(start, decimals + 1)} to {number(end, decimals + 1)}: {count:,}"
        if count:
            board.rect(x, y_scale(count), max(width, 0.5), bottom - y_scale(count), "c0", round_=1.5, hint=hint)
    board.x_numbers(x_scale, [(mark, number(mark, decimals)) for mark in x_marks], bottom, x_label)
    return board.render(bottom + 54)


def bars(rows: Sequence[BarRow], *, title: str, x_label: str, subtitle: str = "", decimals: int = 3) -> str:
    """Level bars from 0, in groups of colour where the rows name groups, with whiskers where they have intervals."""
    board = Canvas(title, subtitle)
    shown = [row for row in rows if math.isfinite(row.value)]
    if not shown:
        return board.no_data("no row has a value")
    groups = list(dict.fromkeys(row.group for row in shown))
    labels = list(dict.fromkeys(row.label for row in shown))
    if len(groups) > 1:
        board.legend((SERIES[index % len(SERIES)], group) for index, group in enumerate(groups))
    ends = [end for row in shown if row.interval for end in (row.interval.low, row.interval.high)]
    marks, places = ticks(*span([row.value for row in shown] + ends, 0.0))
    left = MARGIN + 14 + min(220.0, max(text_width(label, 12) for label in labels))
    tails = {id(row): number(row.value, decimals) + (f" · {row.note}" if row.note else "") for row in shown}
    right = WIDTH - MARGIN - 12 - min(200.0, max(text_width(tail, 11) for tail in tails.values()))
    scale = Scale(marks[0], marks[-1], left, right)
    thick = 18.0 if len(groups) == 1 else 13.0
    top = board.top + 12
    places_of = {label: [row for row in shown if row.label == label] for label in labels}
    bottom = top + sum(len(of_label) * (thick + 2) + 10 for of_label in places_of.values())
    board.x_axis(scale, marks, places, top - 4, bottom, x_label)
    y = top + 2
    for label, of_label in places_of.items():
        middle = y + len(of_label) * (thick + 2) / 2
        board.text(left - 12, middle + 3, shorten(label, 220), anchor="end", hint=label)
        for row in of_label:
            _bar(board, row, scale, y, thick, SERIES[groups.index(row.group) % len(SERIES)])
            tail = shorten(tails[id(row)], 200, 11)
            board.text(right + 10, y + thick / 2 + 4, tail, size=11, colour="muted", hint=tails[id(row)])
            y += thick + 2
        y += 10
    return board.render(bottom + 52)


def _bar(board: Canvas, row: BarRow, scale: Scale, y: float, thick: float, colour: str) -> None:
    start, end = sorted((scale(0), scale(row.value)))
    hint = f"{row.label}{' · ' + row.group if row.group else ''}: {number(row.value)}"
    board.rect(start, y, max(end - start, 1), thick, colour, round_=2, opacity=0.82, hint=hint)
    if row.interval:
        low, high, middle = scale(row.interval.low), scale(row.interval.high), y + thick / 2
        board.path([(low, middle), (high, middle)], "ink", width=1.3)
        for edge in (low, high):
            board.path([(edge, middle - 4), (edge, middle + 4)], "ink", width=1.3)


def heat(
    matrix: Sequence[Sequence[float]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    x_label: str,
    y_label: str,
    subtitle: str = "",
    marked: Iterable[tuple[int, int]] = (),
    mark_label: str = "",
) -> str:
    """Counts in a grid, the darker the more; the first row is at the bottom, as on an axis.

    Args:
        matrix: one sequence of counts per row.
        rows: labels of the rows, from bottom to top.
        columns: labels of the columns, from left to right.
        title: of the picture.
        x_label: name of the columns.
        y_label: name of the rows.
        subtitle: one further line; n, the sum of all counts, is added.
        marked: cells (row, column) to frame, for example where a fault shows.
        mark_label: what the frame means.

    Raises:
        DataError: if the matrix does not have one row per row label and one count per column label.
    """
    if len(matrix) != len(rows) or any(len(row) != len(columns) for row in matrix):
        raise DataError(f"the matrix does not fit {len(rows)} row and {len(columns)} column labels; one count per cell")
    total = sum(map(sum, matrix))
    board = Canvas(title, f"{subtitle + ' · ' if subtitle else ''}n = {number(total)}")
    if not total:
        return board.no_data("every cell is empty")
    frames = sorted(set(marked))
    if frames and mark_label:
        board.legend([("warn", mark_label)])
    left = MARGIN + 12 + min(150.0, max(text_width(label, 11) for label in rows))
    wide = min((WIDTH - MARGIN - left) / len(columns), 76.0)
    tall = min(32.0, max(20.0, 420 / len(rows)))
    top = board.top + 28
    bottom = top + tall * len(rows)
    board.text(MARGIN, top - 12, shorten(y_label, WIDTH - 2 * MARGIN), colour="muted")
    most = max(map(max, matrix))
    for r, c in itertools.product(range(len(rows)), range(len(columns))):
        hint = f"{y_label} {rows[r]}, {x_label} {columns[c]}: {number(matrix[r][c])}"
        _cell(board, matrix[r][c], most, (left + c * wide, bottom - (r + 1) * tall, wide, tall), hint)
    for r, c in frames:
        board.rect(left + c * wide + 1, bottom - (r + 1) * tall + 1, wide - 2, tall - 2, "warn", round_=3, outline=True)
    _cell_labels(board, rows, columns, (left, bottom, wide, tall), x_label)
    return board.render(bottom + 52)


def _cell_labels(
    board: Canvas, rows: Sequence[str], columns: Sequence[str], grid: tuple[float, float, float, float], x_label: str
) -> None:
    left, bottom, wide, tall = grid
    for r, label in enumerate(rows):
        y = bottom - (r + 0.5) * tall + 4
        board.text(left - 8, y, shorten(label, 150, 11), colour="muted", anchor="end", size=11, hint=label)
    for c, label in enumerate(columns):
        x = left + (c + 0.5) * wide
        board.text(x, bottom + 17, shorten(label, wide, 11), colour="muted", anchor="middle", size=11, hint=label)
    middle = left + wide * len(columns) / 2
    board.text(middle, bottom + 37, shorten(x_label, 400), colour="muted", anchor="middle")


def _cell(board: Canvas, count: float, most: float, box: tuple[float, float, float, float], hint: str) -> None:
    x, y, width, height = box
    strength = math.sqrt(count / most)  # the root, so that rare cells can still be told from empty ones
    opacity = 0.10 + 0.90 * strength if count else 1.0
    board.rect(x + 1, y + 1, width - 2, height - 2, "c0" if count else "rule", round_=3, opacity=opacity, hint=hint)
    shown = number(count)
    if count and text_width(shown, 11) < width - 4:
        colour = "paper" if opacity > 0.65 else "ink"
        board.text(x + width / 2, y + height / 2 + 4, shown, colour=colour, anchor="middle", size=11)

"""The radar: several models on the same few categories, one spoke for each, with intervals along the spokes.

Owns the picture. Does not own the numbers. The area inside a line depends on the order of the categories and means
nothing; what can be read is the distance from the centre, and whether two intervals on one spoke are apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from notus.app.canvas import MARGIN, SERIES, WIDTH, Canvas, Scale, number, shorten, ticks
from notus.core.errors import DataError
from notus.core.statistics import Estimate

__all__ = ["Spokes", "radar"]

_RADIUS = 170.0
_SHIFT = 5.0
"""Units between the intervals of two models on one spoke."""


@dataclass(frozen=True)
class Spokes:
    """One model with its estimate in each category; None where it has none."""

    label: str
    values: tuple[Estimate | None, ...]


def radar(
    categories: Sequence[str], models: Sequence[Spokes], *, title: str, low: float, high: float, subtitle: str = ""
) -> str:
    """Models as closed lines over spokes.

    Args:
        categories: names of the spokes, from the top clockwise; three or more.
        models: in the order of their colours, each with one value for each category. A value that is missing breaks
            the line.
        title: of the picture.
        low: value at the centre. Intervals that reach further in or out end at the centre or the outermost ring.
        high: value at the outermost ring.
        subtitle: one further line; without it n for a category.

    Raises:
        DataError: if there are fewer than three categories, a model does not have one value for each, or the scale has
            no length.
    """
    _check(categories, models, low, high)
    known = [value for model in models for value in model.values if value is not None]
    board = Canvas(title, subtitle or _default_subtitle(known))
    if not known:
        return board.no_data("no model has a value")
    board.legend((SERIES[index % len(SERIES)], model.label) for index, model in enumerate(models))
    wheel = _Wheel(WIDTH / 2, board.top + 34 + _RADIUS, len(categories), Scale(low, high, 0, _RADIUS))
    _rings(board, wheel, categories)
    for index, model in enumerate(models):
        shift = _SHIFT * (index - (len(models) - 1) / 2)
        _model(board, wheel, categories, model, SERIES[index % len(SERIES)], shift)
    return board.render(wheel.y + _RADIUS + 44)


@dataclass(frozen=True)
class _Wheel:
    x: float
    y: float
    count: int
    scale: Scale

    def at(self, spoke: int, value: float, shift: float = 0) -> tuple[float, float]:
        """The place of a value on a spoke; ``shift`` moves it across the spoke."""
        angle = 2 * math.pi * spoke / self.count
        out = self.scale(min(max(value, self.scale.low), self.scale.high))
        return (
            self.x + out * math.sin(angle) + shift * math.cos(angle),
            self.y - out * math.cos(angle) + shift * math.sin(angle),
        )


def _check(categories: Sequence[str], models: Sequence[Spokes], low: float, high: float) -> None:
    if len(categories) < 3:
        raise DataError(f"a radar of {len(categories)} categories has no shape; give three or more, or draw bars")
    if not low < high:
        raise DataError(f"a radar from {low:g} to {high:g} has no length; the outermost ring must be the higher one")
    for model in models:
        if len(model.values) != len(categories):
            raise DataError(
                f"'{model.label}' has {len(model.values)} values for {len(categories)} categories; give one for each"
            )


def _default_subtitle(known: Sequence[Estimate]) -> str:
    if not known:
        return ""
    counts = sorted({value.n for value in known})
    shown = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return f"95 % intervals along the spokes · n = {shown} for a model in a category"


def _rings(board: Canvas, wheel: _Wheel, categories: Sequence[str]) -> None:
    marks, decimals = ticks(wheel.scale.low, wheel.scale.high)
    inside = [mark for mark in marks if wheel.scale.low < mark < wheel.scale.high]
    for mark in [*inside, wheel.scale.high]:
        board.path([wheel.at(spoke, mark) for spoke in range(wheel.count + 1)], "rule")
    for spoke, category in enumerate(categories):
        x, y = wheel.at(spoke, wheel.scale.high)
        board.path([(wheel.x, wheel.y), (x, y)], "rule")
        off = (x - wheel.x) / _RADIUS
        anchor = "middle" if abs(off) < 0.1 else "start" if off > 0 else "end"
        room = WIDTH - 2 * MARGIN if anchor == "middle" else WIDTH / 2 - abs(x - wheel.x) - MARGIN - 10
        base = y + 4 + 14 * (y - wheel.y) / _RADIUS
        board.text(x + 10 * off, base, shorten(category, room, 12), anchor=anchor, hint=category)
    half = 0.5 / wheel.count  # numbers stand between the first two spokes, where no line of a model lies
    angle = 2 * math.pi * half
    for mark in [*inside, wheel.scale.high]:
        out = wheel.scale(mark) * math.cos(math.pi / wheel.count)
        place = (wheel.x + out * math.sin(angle), wheel.y - out * math.cos(angle) + 4)
        board.text(*place, number(mark, decimals), colour="muted", anchor="middle", size=10)


def _model(board: Canvas, wheel: _Wheel, categories: Sequence[str], model: Spokes, colour: str, shift: float) -> None:
    values = model.values
    if all(value is not None for value in values):
        outline = [wheel.at(spoke, value.mean) for spoke, value in enumerate(values) if value is not None]
        board.area(outline, colour, opacity=0.08)
    for spoke, value in enumerate(values):
        after = values[(spoke + 1) % wheel.count]
        if value is not None and after is not None:
            board.path([wheel.at(spoke, value.mean), wheel.at(spoke + 1, after.mean)], colour, width=2)
    for spoke, value in enumerate(values):
        if value is not None:
            board.whisker(wheel.at(spoke, value.low, shift), wheel.at(spoke, value.high, shift), colour, cap=2.5)
            sides = f"[{number(value.low, 3)}, {number(value.high, 3)}], n = {value.n:,}"
            hint = f"{model.label}, {categories[spoke]}: {number(value.mean, 3)} {sides}"
            board.dot(*wheel.at(spoke, value.mean), 3.5, colour, ring=True, hint=hint)

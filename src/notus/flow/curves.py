"""The curve of an experiment whose arms are doses: its setting in a recipe, and what the report shows of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pydantic

from notus.app.curves import Band, bands
from notus.app.report import Picture, Points, Section
from notus.core.config import Config
from notus.evaluate.compare import Comparison
from notus.evaluate.dose import Dosed, slope, trend_in_words

__all__ = ["Curve", "curve_section", "curve_sentences"]


class Curve(Config):
    """Arms as points of lines."""

    x_label: str
    """What a dose is, with its unit."""
    lines: dict[str, dict[str, float]] = pydantic.Field(min_length=1)
    """Name of each line → its arms, each with its dose. Doses are shares, from 0 to 1."""

    @property
    def arms(self) -> set[str]:
        """All arms that are named."""
        return {arm for line in self.lines.values() for arm in line}


def curve_section(settings: Mapping[str, Any] | None, name: str, comparison: Comparison) -> Iterator[Section]:
    """The picture of the doses with what it says; nothing where the recipe names no curve."""
    if settings is None:
        return
    curve = Curve.parse(dict(settings), where="curve")
    drawn = [
        Band(
            label,
            tuple((item.dose, item.arm.interval) for item in dosed),
            tuple((item.dose, mean) for item in dosed for _, mean in item.arm.seed_means),
        )
        for label, dosed in _lines(curve, comparison).items()
    ]
    doses = sorted({dose for line in curve.lines.values() for dose in line.values()})
    picture = bands(
        drawn,
        title=f"{name} by dose",
        x_label=curve.x_label,
        y_label=name,
        subtitle="95 % intervals, the wider of prompts and seeds · small dots are seeds",
        x_marks=tuple((dose, f"{100 * dose:g} %") for dose in doses),
    )
    sentences = tuple(curve_sentences(settings, comparison))
    lead = "The slope is the least-squares line through the doses of each seed; seeds are its replicates."
    yield Section("What each dose does", lead, (Points(items=sentences), Picture(picture)))


def curve_sentences(settings: Mapping[str, Any] | None, comparison: Comparison) -> Iterator[str]:
    """For each line of at least two doses its slope in words."""
    if settings is not None:
        for label, dosed in _lines(Curve.parse(dict(settings), where="curve"), comparison).items():
            if len({item.dose for item in dosed}) > 1:
                yield trend_in_words(label, slope(dosed))


def _lines(curve: Curve, comparison: Comparison) -> dict[str, list[Dosed]]:
    arms = {arm.name: arm for arm in comparison.arms}
    ordered = {label: sorted(line.items(), key=lambda pair: pair[1]) for label, line in curve.lines.items()}
    return {label: [Dosed(dose, arms[arm]) for arm, dose in line if arm in arms] for label, line in ordered.items()}

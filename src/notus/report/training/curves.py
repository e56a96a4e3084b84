"""The pictures of trainings: what is drawn of the lines of metrics, with what was measured on held-out rows as dots.

Owns which numbers share a picture, and how they are called. How a curve is drawn is owned by ``report.curves``.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notus.report.curves import Line, lines
from notus.report.page import Picture

__all__ = ["TrainingRun", "read_training", "training_pictures"]

_REWARD = "implicit reward (β · nats)"
_SHARE = "share of pairs (a tie counts ½)"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class _Curves:
    """What one picture shows of one training, or of one number of several."""

    title: str
    unit: str
    keys: Mapping[str, str]
    """Name of a number → what it is called where several share the picture."""


_CURVES = (
    _Curves("Loss", "loss (nats)", {"loss": ""}),
    _Curves(
        "Rewards of chosen and rejected answers", _REWARD, {"rewards/chosen": "chosen", "rewards/rejected": "rejected"}
    ),
    _Curves("Margin of chosen over rejected", _REWARD, {"rewards/margins": ""}),
    _Curves("Margin of chosen over rejected", "logit", {"margins": ""}),
    _Curves("Reward accuracy", _SHARE, {"rewards/accuracies": ""}),
    _Curves("Accuracy", _SHARE, {"accuracies": ""}),
    _Curves(
        "Rewards of wanted and unwanted answers",
        _REWARD,
        {"rewards/desirable": "wanted", "rewards/undesirable": "unwanted"},
    ),
    _Curves("Divergence from the reference, as KTO estimates it", "nats", {"kl": ""}),
    _Curves("Learning rate", "learning rate", {"learning_rate": ""}),
    _Curves("Gradient norm before clipping", "norm", {"grad_norm": ""}),
)
_ALONE = {
    "rewards/chosen": "Reward of chosen answers",
    "rewards/rejected": "Reward of rejected answers",
    "rewards/desirable": "Reward of wanted answers",
    "rewards/undesirable": "Reward of unwanted answers",
}
"""Titles of what shares a picture where there is one training, and has one of its own where there are several arms."""


@dataclass(frozen=True)
class TrainingRun:
    """One training as the pictures need it."""

    rows: Sequence[Mapping[str, Any]]
    """Its lines of metrics."""
    summary: Mapping[str, Any]
    """What it noted: among it the figures on held-out rows at the end, as ``eval_…``."""

    def curve(self, key: str, label: str) -> Line:
        """A number over the updates, and the same on held-out rows."""
        points = tuple((row["step"], row[key]) for row in self.rows if key in row and "step" in row)
        held_out = f"eval_{key}"
        marks = {row["step"]: row[held_out] for row in self.rows if _is_number(row.get(held_out)) and "step" in row}
        if points and _is_number(self.summary.get(held_out)):
            marks[self.summary.get("updates") or points[-1][0]] = self.summary[held_out]
        return Line(label, points, tuple(sorted(marks.items())))


def read_training(folder: Path, summary: Mapping[str, Any]) -> TrainingRun:
    """The training of a run directory."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return TrainingRun([json.loads(line) for line in text.splitlines()], summary)


def training_pictures(name: str, arms: Mapping[str, Sequence[TrainingRun]], order: Sequence[str] = ()) -> list[Picture]:
    """The pictures of a step that trains: of one arm numbers of a kind together, of several arms one for each number.

    Args:
        name: of the step.
        arms: name of each arm → its trainings, one for each seed.
        order: labels that take the first colours.
    """
    found = []
    for kind in _CURVES:
        if len(arms) == 1:
            (runs,) = arms.values()
            curves = [run.curve(key, label or name) for key, label in kind.keys.items() for run in runs]
            found.append(_picture(kind, kind.title, name, curves, seeds=len(runs)))
            continue
        for key in kind.keys:
            curves = [run.curve(key, arm) for arm, runs in arms.items() for run in runs]
            found.append(_picture(kind, _ALONE.get(key, kind.title), name, curves, len(curves), order))
    return [picture for picture in found if picture is not None]


def _picture(
    kind: _Curves, title: str, name: str, curves: Sequence[Line], seeds: int, order: Sequence[str] = ()
) -> Picture | None:
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return None
    unit, scale = kind.unit, 1.0
    if "learning_rate" in kind.keys:
        most = max((value for curve in curves for _, value in curve.points if value), default=1.0)
        power = math.floor(math.log10(most))
        unit, scale = f"{unit} (× 10{str(power).translate(_RAISED)})", 10.0**-power
    said = f"{seeds} runs, one curve for each seed" if seeds > 1 else "means since the line before"
    dots = any(curve.marks for curve in curves)
    svg = lines(
        [Line(each.label, _scaled(each.points, scale), each.marks) for each in curves],
        title=f"{title} · {name}",
        subtitle=f"{said}{' · dots: held-out rows' if dots else ''}",
        x_label="updates",
        y_label=unit,
        levels=[(math.log(2), "ln 2")] if _starts_at_ln_2(kind, curves) else [],
        order=order,
    )
    return Picture(svg)


def _scaled(points: Iterable[tuple[float, float | None]], scale: float) -> tuple[tuple[float, float | None], ...]:
    return tuple((x, None if y is None else y * scale) for x, y in points)


def _starts_at_ln_2(kind: _Curves, curves: Sequence[Line]) -> bool:
    """Whether it is a loss whose first value is that of pairs that cannot be told apart."""
    first = curves[0].points[0][1]
    return "loss" in kind.keys and first is not None and abs(first - math.log(2)) < 0.02


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

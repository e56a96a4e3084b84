"""The length-controlled (LC) win rate of AlpacaEval 2: what the win rate would be if the outputs were equally long.

Owns the model, its fit and its error; for prompts that are not AlpacaEval's see ``evaluate.length.win_rate``. Dubois et
al. 2024, https://arxiv.org/abs/2404.04475; the terms, the penalty and the two gamed baselines are those of upstream's
``length_controlled_v1``. With t the tanh of the difference in length (reference − model, over its standard deviation)
and d the difficulty of the instruction::

    P(model wins) = σ(a·t + b·d + c)            LC = 100 · mean σ(b·d + c)

    minimise  Σ [log(1 + e^η) − (p − 1)·η]  +  0.1 · the same over the gamed rows (without c)  +  (|a| + |b| + |c|)/C

The fit is exact to rounding: Newton steps on the smooth part, the penalty kept whole (``tests`` check its optimality
conditions). C is chosen from upstream's ten by cross-validation over five parts of the instructions.

**The gamed baselines.** Upstream's table of them is read where it is given. Without it their judgements enter through
two published sums, and their lengths through a stand-in: four typical values of t with weights, for each half of the
instructions by difficulty, so set that the published weights of twenty models are optimal. Each of the twenty, refitted
under a stand-in set without it, comes out as published with a median error of 0.005 points; what is larger (0.1 at
most) is another choice between two values of C that the cross-validation can hardly tell apart. Against other
references, or for another judge, the stand-in is a rough one: on AlpacaEval 1 the median error is 0.33 points.

**The error.** Upstream gives the standard error of the fitted probabilities, as if the fit were certain: 2 to 6 times
too small. Here instructions are drawn anew, lengths are scaled anew, and the model is fitted anew, each time. A draw in
which all lengths differ by the same has no scale for them: the model is not defined on it, so it is left out and
counted, like one that draws fewer than two rows. On the 805 instructions there are none; on a handful of rows the
error is that of the draws that could be fitted, and the number of these stands beside it.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.evaluate.alpaca.score import Judgement
from notus.evaluate.length.win_rate import logistic

__all__ = [
    "C_GRID",
    "REFERENCE",
    "GamedBaselines",
    "LengthControlled",
    "LengthRows",
    "choose_c",
    "draw_instructions",
    "fit_length_model",
    "gamed_stand_in",
    "length_controlled",
    "length_rows",
    "read_gamed",
    "win_rate_from_weights",
]

Floats = NDArray[np.float64]

REFERENCE = "gpt4_1106_preview"
"""The reference of AlpacaEval 2, against which the gamed baselines and the published weights were judged."""
C_GRID: tuple[float, ...] = tuple(float(value) for value in 10.0 ** np.linspace(-4, 4, 10))
"""Upstream's grid for C."""
_FOLDS = 5
_SHARE = 0.1
"""Weight of a gamed row."""
_SUMS = (-182.692, 412.922)
"""Σ t·y and Σ d·y over the gamed rows."""
_TYPICAL = (
    ((-1.0, 0.3918), (-0.25, 0.2973), (0.5, 0.9417), (1.0, 0.3692)),
    ((-1.0, 0.4688), (0.0, 0.8643), (0.5, 0.0403), (1.0, 0.6266)),
)
"""For the easier-to-win and the harder half of the instructions: values of t, and how many of the two gamed rows."""
_INSTRUCTIONS = 805
_GROUPS = 48
"""Of neighbouring difficulties in each half."""
_TOLERANCE = 1e-6
"""Largest part of a last step. Newton's method squares the error, so what is left is about its square."""


@dataclass(frozen=True)
class LengthRows:
    """What the fit needs of one model's judgements, a row each."""

    value: Floats
    """p − 1; NaN where it is unscored."""
    gap: Floats
    """Characters of the reference's output less those of the model's."""
    difficulty: Floats
    place: NDArray[np.intp]
    """Number of the instruction among those with a difficulty: the cluster."""
    left_out: int = 0
    """Judgements without a difficulty or without an output."""


@dataclass(frozen=True)
class GamedBaselines:
    """The gamed baselines as the fit sees them: rows with weights, and Σ x·y."""

    rows: Floats
    """Shape [rows, 3]: t, d, 0."""
    weight: Floats
    sums: Floats
    """Shape [3], weighted as the rows."""
    exact: bool
    """Whether they are upstream's own rows."""


@dataclass(frozen=True)
class LengthControlled:
    """The LC win rate of one model, in points."""

    value: float
    n: int
    """Judgements that were fitted."""
    instructions: int
    """Clusters behind the error."""
    left_out: int
    weights: tuple[float, float, float]
    """Of t, d and the constant."""
    c: float
    """C: the larger, the weaker the penalty."""
    exact: bool
    """Whether the gamed baselines were upstream's own rows."""
    naive_error: float
    """Upstream's: of the fitted probabilities, as if the fit were certain."""
    replicates: Floats
    """The value in each draw of the bootstrap, NaN where it could not be fitted; may be empty."""

    @property
    def fitted(self) -> Floats:
        """The values of the draws that could be fitted."""
        return self.replicates[~np.isnan(self.replicates)]

    @property
    def error(self) -> float | None:
        """Standard deviation over the draws that could be fitted."""
        return float(self.fitted.std(ddof=1)) if len(self.fitted) > 1 else None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """95 % percentile interval."""
        if len(self.fitted) < 2:
            return None
        low, high = np.quantile(self.fitted, [0.025, 0.975])
        return float(low), float(high)


def length_rows(judgements: Sequence[Judgement], difficulties: Mapping[str, float]) -> LengthRows:
    """The rows of a model's judgements; difficulties go by the text of the instruction, never by its position."""
    places = {instruction: place for place, instruction in enumerate(difficulties)}
    found = [
        (
            math.nan if item.value is None else item.value,
            len(item.reference_output) - len(item.output),
            difficulties[item.instruction],
            places[item.instruction],
        )
        for item in judgements
        if item.instruction in places and item.output is not None and item.reference_output is not None
    ]
    # The order of a file must not decide which part of the cross-validation a row falls into.
    found.sort(key=lambda row: row[3])
    table = np.asarray(found, dtype=np.float64).reshape(-1, 4)
    return LengthRows(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(np.intp), len(judgements) - len(found))


def gamed_stand_in(difficulties: Mapping[str, float]) -> GamedBaselines:
    """The gamed baselines from their two published sums and typical lengths; see the module.

    Raises:
        DataError: if these are not the difficulties of AlpacaEval's 805 instructions, to which alone it belongs.
    """
    if len(difficulties) != _INSTRUCTIONS:
        raise DataError(
            f"there are {len(difficulties):,} difficulties, and the stand-in for the gamed baselines belongs to the "
            f"{_INSTRUCTIONS} of AlpacaEval; give the gamed baselines of your own set (--gamed)"
        )
    values = np.sort(np.fromiter(difficulties.values(), dtype=np.float64))
    lower = values < np.median(values)
    parts, weights = [], []
    for half, nodes in zip((values[lower], values[~lower]), _TYPICAL, strict=True):
        # Neighbours are put together: a fit that is drawn a thousand times should not carry 3,220 rows for 1,610.
        groups = np.array_split(half, min(_GROUPS, len(half)))
        means, sizes = np.array([group.mean() for group in groups]), np.array([len(group) for group in groups])
        for t, count in nodes:
            parts.append(np.column_stack([np.full_like(means, t), means, np.zeros_like(means)]))
            weights.append(_SHARE * count * sizes)
    return GamedBaselines(np.concatenate(parts), np.concatenate(weights), _SHARE * np.array([*_SUMS, 0.0]), exact=False)


def read_gamed(path: Path) -> GamedBaselines:
    """Read upstream's table of the gamed baselines, ``df_gamed.csv``.

    Raises:
        DataError: if it lacks a column, or a preference is not between 0 and 1.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
        columns = ("std_delta_len", "instruction_difficulty", "preference")
        values = np.asarray([[float(row[name]) for name in columns] for row in table], dtype=np.float64)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except KeyError as error:
        raise DataError(f"{path} is not upstream's df_gamed.csv: it has no column {error}") from None
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} is not upstream's df_gamed.csv: {error}") from None
    if not len(values) or not np.isfinite(values).all() or values[:, 2].min() < 0 or values[:, 2].max() > 1:
        raise DataError(f"{path} is not upstream's df_gamed.csv: a preference there is between 0 and 1")
    rows = np.column_stack([np.tanh(values[:, 0]), values[:, 1], np.zeros(len(values))])
    return GamedBaselines(rows, np.full(len(rows), _SHARE), _SHARE * (values[:, 2] @ rows), exact=True)


def win_rate_from_weights(weights: tuple[float, float, float], difficulties: Mapping[str, float]) -> float:
    """The LC win rate that published weights stand for, over all instructions."""
    values = np.fromiter(difficulties.values(), dtype=np.float64)
    return 100 * float(logistic(weights[1] * values + weights[2]).mean())


def draw_instructions(count: int, draws: int, seed: int) -> NDArray[np.int64]:
    """How often each of ``count`` instructions is drawn, shape [draws, count]; models that share it are paired."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)


def length_controlled(
    rows: LengthRows, gamed: GamedBaselines, counts: NDArray[np.int64] | None = None
) -> LengthControlled:
    """Fit the model to one model's judgements.

    Args:
        rows: of the model.
        gamed: the gamed baselines.
        counts: draws of the bootstrap over all instructions with a difficulty, from ``draw_instructions``.

    Raises:
        DataError: if fewer than two instructions are scored, or all outputs differ in length by the same.
    """
    scored = ~np.isnan(rows.value)
    if len(np.unique(rows.place[scored])) < 2:
        raise DataError("the length-controlled win rate needs at least two scored instructions with a difficulty")
    ones = np.ones(len(rows.value))
    features, weight = _features(rows, ones), ones * scored
    value = np.where(scored, rows.value, 0.0)
    c = choose_c(features, value, weight, rows.place, gamed)
    weights = fit_length_model(features, value, weight, gamed, c)
    probabilities = logistic(features[:, 1:] @ weights[1:])
    draw = partial(_refit_draw, rows, value, scored, gamed, c, weights)
    found = [draw(each.astype(np.float64)) for each in (() if counts is None else counts[:, rows.place])]
    return LengthControlled(
        value=100 * float(probabilities.mean()),
        n=int(scored.sum()),
        instructions=len(np.unique(rows.place)),
        left_out=rows.left_out,
        weights=(float(weights[0]), float(weights[1]), float(weights[2])),
        c=c,
        exact=gamed.exact,
        naive_error=100 * float(probabilities.std(ddof=1)) / math.sqrt(len(probabilities)),
        replicates=np.asarray(found, dtype=np.float64),
    )


def choose_c(features: Floats, value: Floats, weight: Floats, place: NDArray[np.intp], gamed: GamedBaselines) -> float:
    """C of the smallest cross-validated loss, the first of equal ones. The gamed rows count in equal parts.

    Which part an instruction is in follows from its number, so a file in another order gives the same C.
    """
    part = place % _FOLDS
    losses = np.zeros(len(C_GRID))
    for left in range(_FOLDS):
        inside, outside = weight * (part != left), weight * (part == left)
        start: Floats | None = None
        for number, c in enumerate(C_GRID):
            start = fit_length_model(features, value, inside, gamed, c, share=1 - 1 / _FOLDS, start=start)
            losses[number] += _smooth(features, value, outside, gamed, 1 / _FOLDS)(start)
    return C_GRID[int(losses.argmin())]


def fit_length_model(
    features: Floats,
    value: Floats,
    weight: Floats,
    gamed: GamedBaselines,
    c: float,
    *,
    share: float = 1.0,
    start: Floats | None = None,
) -> Floats:
    """The minimum of the penalised loss: shape [3], the weights of t, d and the constant.

    Args:
        features: t, d, 1; shape [rows, 3].
        value: p − 1; shape [rows].
        weight: how often each row counts; shape [rows].
        gamed: the gamed baselines.
        c: C, the larger the weaker the penalty.
        share: of the gamed baselines that takes part.
        start: where to begin.
    """
    table = np.concatenate([features, gamed.rows])
    counts = np.concatenate([weight, share * gamed.weight])
    straight = features.T @ (weight * value) + share * gamed.sums
    smooth = partial(_loss, table, counts, straight)
    price = 1 / c
    weights = np.zeros(3) if start is None else start.copy()
    now = smooth(weights) + price * np.abs(weights).sum()
    for _ in range(100):
        probability = logistic(table @ weights)
        gradient = table.T @ (counts * probability) - straight
        curvature = (table.T * (counts * probability * (1 - probability))) @ table
        step = _step(weights, gradient, curvature, price)
        size = 1.0
        while size > 1e-8:
            new = smooth(weights + size * step) + price * np.abs(weights + size * step).sum()
            if new <= now:
                weights, now = weights + size * step, new
                break
            size /= 2
        if size <= 1e-8 or np.abs(step).max() < _TOLERANCE:
            break
    return weights


def _step(weights: Floats, gradient: Floats, curvature: Floats, price: float) -> Floats:
    """The step to the minimum of the quadratic model with the penalty, one coordinate after the other."""
    g, h = gradient.tolist(), (curvature + 1e-12 * np.eye(len(weights))).tolist()
    old, new = weights.tolist(), weights.tolist()
    numbers = range(len(old))
    for _ in range(500):
        moved = 0.0
        for j in numbers:
            slope = g[j] + sum(h[j][k] * (new[k] - old[k]) for k in numbers)
            bare = new[j] - slope / h[j][j]
            value = math.copysign(max(abs(bare) - price / h[j][j], 0.0), bare)
            moved = max(moved, abs(value - new[j]))
            new[j] = value
        if moved < 1e-14:
            break
    return np.asarray(new) - weights


def _refit_draw(
    rows: LengthRows,
    value: Floats,
    scored: NDArray[np.bool_],
    gamed: GamedBaselines,
    c: float,
    start: Floats,
    n: Floats,
) -> float:
    """The LC win rate of one draw, each row counted ``n`` times; NaN where what was drawn cannot be fitted."""
    gaps = rows.gap[n > 0]
    if len(gaps) < 2 or gaps.min() == gaps.max():
        return math.nan
    features = _features(rows, n)
    weights = fit_length_model(features, value, n * scored, gamed, c, start=start)
    return 100 * float(n @ logistic(features[:, 1:] @ weights[1:]) / n.sum())


def _features(rows: LengthRows, count: Floats) -> Floats:
    """t, d, 1 of each row, the lengths scaled by their deviation over rows that count so often."""
    total = count.sum()
    centre = count @ rows.gap / total
    spread = math.sqrt(float(count @ (rows.gap - centre) ** 2) / (total - 1))
    if not spread:
        raise DataError(
            "all outputs differ in length from the reference's by the same: there is nothing to control for"
        )
    return np.column_stack([np.tanh(rows.gap / spread), rows.difficulty, np.ones(len(rows.gap))])


def _smooth(features: Floats, value: Floats, weight: Floats, gamed: GamedBaselines, share: float) -> "partial[float]":
    """The loss without the penalty, of rows that count so often and of a share of the gamed ones."""
    table = np.concatenate([features, gamed.rows])
    counts = np.concatenate([weight, share * gamed.weight])
    return partial(_loss, table, counts, features.T @ (weight * value) + share * gamed.sums)


def _loss(table: Floats, counts: Floats, straight: Floats, weights: Floats) -> float:
    """Σ count·log(1 + e^η) − Σ x·y·w."""
    return float(counts @ np.logaddexp(0.0, table @ weights) - straight @ weights)

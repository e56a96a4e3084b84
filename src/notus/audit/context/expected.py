"""Which score would one expect of an answer from its context, and how likely would a fresh one be far from the given?

The context of an answer is its form (``audit.context.answers``), its model, and the scores of its siblings, that is, of
the other answers to the prompt. With y the score of answer i to prompt p::

    y = x·β + model + u_p + e         x centred within the prompt; β, models by ridge, from the other folds of prompts
    r = y − x·β − model               v, w the variances of u_p and e, by moments
    μ = x·β + model + k·v/(k·v + w) · mean of r over the k siblings          the answer's own score is not in it

    log σ = linear in μ, μ² and the log of the spread of r among the siblings, learned from abs(y − μ), cross-fitted too

Half of what the context does not explain is taken for the answer's own quality, half for the mood of the judge: a fresh
score is expected at m = μ + ½(y − μ) with s² = ¾σ². The suspicion is the chance that it would land ``FAR`` points or
more from the given one, on a scale from 1 to 10 (in proportion on another)::

    far = Φ((y − FAR − m)/s) + 1 − Φ((y + FAR − m)/s)

The share of one half is set, not learned: scores of one judge cannot tell the two apart. It makes no difference to the
order but through the borders of the scale of points. A second judge's offset shifts m: see ``audit.context.second``.

Owns the model and its figures. What a wide gap means beside other signals is the business of ``audit.signals``.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from notus.core.records import Scale
from notus.core.splits import FOLDS
from notus.core.text import counted
from notus.stats.intervals import Estimate, clustered_mean
from notus.stats.ridge import Moments, cross_fit

__all__ = [
    "FAR",
    "FLOOR",
    "LEAST",
    "OVERALL",
    "OWN",
    "Context",
    "Groups",
    "Setting",
    "chance_far",
    "expect_scores",
    "grouped_moments",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]

LEAST = 100
"""Answers with a scored sibling below which nothing is expected of any."""
OVERALL = "overall score"
FAR = 2.5
"""Points, on a scale from 1 to 10, from which on a fresh score is far from the given one."""
OWN = 0.5
"""Of what the context does not explain, the share that is taken for the answer's own quality."""
FLOOR = 0.3
"""Points that are added to a distance before its logarithm is taken."""

_PENALTY = 10.0
_MODELS = 64
_LEAST_OF_MODEL = 20
_CLIP = 3.0
_PRIOR = 2.0
"""Siblings' worth of the common spread that the spread among siblings is drawn towards."""
_SKILL = 0.99
"""The expectation must come nearer to the scores than their median does, by this much."""
_NARROWEST = 1e-6
_POINTS = 9.0
"""From 1 to 10."""


@dataclass(frozen=True)
class Setting:
    """What is known of the answers of a set, in columns, in its order."""

    scores: Floats
    """NaN where there is none."""
    features: Floats
    """Of shape (answers, columns)."""
    models: Integers
    """Number of the model of each."""
    prompts: Integers
    """Number of its prompt, counted from 0."""
    folds: Integers
    """Fold of its prompt, from ``core.splits.fold_of``."""
    scale: Scale | None = None
    """Of the scores; None: from the least to the greatest of them."""

    @property
    def borders(self) -> tuple[float, float]:
        """The least and the greatest score that there can be; 0 and 0 where there is no score."""
        if self.scale is not None:
            return self.scale.low, self.scale.high
        known = self.scores[~np.isnan(self.scores)]
        return (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)

    @property
    def point(self) -> float:
        """What a point of a scale from 1 to 10 is on this one."""
        low, high = self.borders
        return (high - low) / _POINTS


@dataclass(frozen=True)
class Groups:
    """Which of the groups, each with a column of its own, a row is in."""

    numbers: Integers
    size: int

    @classmethod
    def of_models(cls, models: Integers) -> "Groups":
        """The most frequent models, and one group of all others."""
        counts = np.bincount(models, minlength=1)
        kept = np.argsort(-counts, kind="stable")[:_MODELS]
        kept = kept[counts[kept] >= _LEAST_OF_MODEL]
        column = np.full(len(counts), len(kept), np.int64)
        column[kept] = np.arange(len(kept))
        return cls(column[models], len(kept) + 1)


@dataclass(frozen=True)
class Context:
    """What its context says of each answer; NaN where it says nothing."""

    what: str
    """``overall score`` or ``mean rating``."""
    expected: Floats
    """Score that the context speaks for, without the answer's own."""
    spread: Floats
    """Standard deviation of the scores of such answers around it."""
    siblings: NDArray[np.uint16]
    """Answers to the same prompt with a score, without the answer itself."""
    far: Floats
    """Chance that a fresh score would be ``FAR`` points or more from the given one."""
    odd: Floats
    """(Score − expected) / spread."""
    scored: int = 0
    unscored: int = 0
    alone: int = 0
    """Scored answers without a scored sibling."""
    why_not: str = ""
    """Why the model was applied to no answer; empty where it was applied."""
    off: Estimate | None = None
    """Mean distance of a score from the expected one, in points of its own scale, with prompts as clusters."""
    off_median: Estimate | None = None
    """… from the median of all scores."""

    @property
    def applied(self) -> int:
        """Number of answers of which something is expected."""
        return int(np.isfinite(self.expected).sum())

    def sentences(self) -> list[str]:
        """What the model was applied to, and how much it knows, in words."""
        total = self.scored + self.unscored
        if self.why_not:
            return [f"The suspicion by context was applied to none of {counted(total, 'answer')}: {self.why_not}."]
        assert self.off is not None
        assert self.off_median is not None
        told = f"From the siblings, the model and the form of an answer, its {self.what} is expected to within "
        told += f"{_told(self.off)} on average; the median of all is {_told(self.off_median)} away "
        said = [f"{told}(n = {self.off.n:,} answers to {self.off.groups:,} prompts)."]
        left = [f"{self.unscored:,} without a score"] if self.unscored else []
        left += [f"{self.alone:,} whose prompt has no other scored answer (it needs one)"] if self.alone else []
        if left:
            said.append(f"It was not applied to {counted(total - self.applied, 'answer')}: {', '.join(left)}.")
        return said


def expect_scores(of: Setting, what: str) -> Context:
    """What the context says of each answer of a set, from models that have not seen its prompt.

    Args:
        of: the set.
        what: the scores are: ``overall score`` or ``mean rating``.
    """
    known = ~np.isnan(of.scores)
    counts = np.bincount(of.prompts, known)
    siblings = counts[of.prompts].astype(np.int64) - known
    rows = np.flatnonzero(known & (siblings > 0))
    nothing = np.full(len(known), np.nan)
    scored = int(known.sum())
    found = Context(
        what,
        *(nothing, nothing),
        np.minimum(siblings, 65_535).astype(np.uint16),
        *(nothing, nothing),
        scored=scored,
        unscored=len(known) - scored,
        alone=scored - len(rows),
    )
    if why := _why_not(of, rows):
        return replace(found, why_not=why)
    y, folds = of.scores[rows], of.folds[rows].astype(np.int64)
    mean, spread = _expect(of, rows, y, folds)
    _, prompts = np.unique(of.prompts[rows], return_inverse=True)
    off = clustered_mean(np.abs(y - mean), prompts)  # type: ignore[arg-type]  # arrays do as sequences
    median = clustered_mean(np.abs(y - np.median(y)), prompts)  # type: ignore[arg-type]
    assert off is not None
    assert median is not None
    if off.mean > _SKILL * median.mean:
        why = f"its expectation is {_told(off)} from the scores on average, and their median {_told(median)}: it knows "
        return replace(found, why_not=why + f"nothing of these scores (n = {len(rows):,})")
    fresh = chance_far((1 - OWN) * (mean - y), spread * math.sqrt(1 - OWN**2), FAR * of.point)
    return replace(
        found,
        expected=_placed(mean, rows, nothing),
        spread=_placed(spread, rows, nothing),
        far=_placed(fresh, rows, nothing),
        odd=_placed((y - mean) / spread, rows, nothing),
        off=off,
        off_median=median,
    )


def chance_far(shift: Floats, spread: Floats, border: float) -> Floats:
    """Chance that a normal difference with this mean and standard deviation is ``border`` or more, either way."""
    below, above = (border + shift) / spread, (border - shift) / spread
    return _upper_tail(below) + _upper_tail(above)


def _cross_predict(x: Floats, groups: Groups, y: Floats, folds: Integers, penalty: float = _PENALTY) -> Floats:
    """Ridge regression on some columns and a column for each group; each row by the model of the other folds."""
    parts = [
        grouped_moments(x[at], groups.numbers[at], groups.size, y[at])
        for at in (folds == fold for fold in range(FOLDS))
    ]
    weights, intercepts = cross_fit(parts, penalty)
    found: Floats = intercepts[folds] + weights[folds, x.shape[1] + groups.numbers]
    for column in range(x.shape[1]):
        found += x[:, column] * weights[folds, column]
    return found


def _expect(of: Setting, rows: Integers, y: Floats, folds: Integers) -> tuple[Floats, Floats]:
    """Expected score and spread of some rows, each with a sibling among them."""
    _, prompts = np.unique(of.prompts[rows], return_inverse=True)
    counts = np.bincount(prompts)
    groups = Groups.of_models(of.models[rows])
    base = _cross_predict(_centred(of.features[rows], prompts, counts), groups, y, folds)
    rest = y - base
    sums, squares = np.bincount(prompts, rest), np.bincount(prompts, rest**2)
    within = float((squares - sums**2 / counts).sum() / (counts - 1).sum())
    between = max(float((rest**2).mean()) - within, 0.0)
    others, total = (counts - 1)[prompts], sums[prompts] - rest
    weight = between / (others * between + within) if within or between else 0.0
    mean = base + total * weight
    # Of the siblings alone: around their own mean, and drawn towards what is common.
    around = np.maximum(squares[prompts] - rest**2 - total**2 / others, 0.0)
    local = (around + _PRIOR * within) / (others - 1 + _PRIOR)
    unit = of.point
    level = (mean - y.mean()) / unit
    x = np.column_stack((level, level**2 / 10, np.log(local / unit**2 + FLOOR)))
    alike = Groups(np.zeros(len(rows), np.int64), 1)
    spread = np.exp(_cross_predict(x, alike, np.log(np.abs(y - mean) / unit + FLOOR), folds)) * unit
    # Where siblings foretell every score exactly, a fresh one would land there too; a width of 0 divides nothing.
    return mean, spread * max(math.sqrt(float((((y - mean) / spread) ** 2).mean())), _NARROWEST)


def _centred(x: Floats, prompts: Integers, counts: Integers) -> Floats:
    """Columns without what the answers to a prompt have in common, each with a standard deviation of 1."""
    found = np.empty_like(x)
    for column in range(x.shape[1]):
        values = x[:, column] - (np.bincount(prompts, x[:, column]) / counts)[prompts]
        deviation = float(values.std())
        found[:, column] = np.clip(values / deviation, -_CLIP, _CLIP) if deviation > 1e-9 else 0.0
    return found


def grouped_moments(x: Floats, numbers: Integers, size: int, y: Floats) -> Moments:
    """As ``stats.ridge.moments`` of the columns and a column of 0 and 1 for each group, which is never made."""
    width = x.shape[1]
    counts = np.bincount(numbers, minlength=size).astype(np.float64)
    by_group = np.array([np.bincount(numbers, x[:, column], size) for column in range(width)]).reshape(width, size)
    gram = np.zeros((width + size, width + size))
    gram[:width, :width] = x.T @ x
    gram[:width, width:], gram[width:, :width] = by_group, by_group.T
    gram[width:, width:] = np.diag(counts)
    sums = np.concatenate((x.sum(axis=0), counts))
    cross: Floats = np.concatenate((x.T @ y, np.bincount(numbers, y, size)))
    return Moments(len(y), sums, gram, cross, float(y.sum()))


def _why_not(of: Setting, rows: Integers) -> str:
    if len(rows) < LEAST:
        have = "has" if len(rows) == 1 else "have"
        return f"{counted(len(rows), 'scored answer')} {have} a scored sibling, and it needs {LEAST}"
    y = of.scores[rows]
    if y.min() == y.max():
        return f"all {len(rows):,} scores are {y[0]:g}"
    if len(np.unique(of.folds[rows])) < FOLDS:
        return "its prompts are too few to be held out in turn"
    return ""


def _placed(values: Floats, rows: Integers, nothing: Floats) -> Floats:
    found = nothing.copy()
    found[rows] = values
    return found


def _upper_tail(z: Floats) -> Floats:
    # The C function over a list, as in ``audit.signals.empirical_p``.
    found = np.empty(len(z))
    for start in range(0, len(z), 65_536):
        block = (z[start : start + 65_536] / math.sqrt(2)).tolist()
        found[start : start + 65_536] = np.fromiter(map(math.erfc, block), np.float64, len(block))
    return found / 2


def _told(estimate: Estimate) -> str:
    return f"{estimate.mean:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"

"""What a sample that was scored twice teaches: the judges' offset, and which scores a second judge would not give.

With y the score, μ and σ what its context says (``audit.context.expected``) and d = second − first on the answers that
have both, two ridge regressions stay near what the context alone would say, and leave it as far as the sample tells::

    d − ½(μ − y)                     on   level of y, model, μ − y, abs(μ − y), (μ − y)·(y − middle)
    log abs(d − expected d) − log s  on   level of y, model                               s² = ¾σ²

The level is five triangles over the scale, so that each part of it may have its own offset and its own spread. The
suspicion is then again the chance that the second score would be ``FAR`` points or more away. An answer whose prompt
has second scores is judged by what other folds of prompts taught, and all others by the whole sample.

How well it finds what is far apart (``APART`` points and more) is measured on the sample, cross-validated. What more
would bring is read from models that learned from one half of its prompts: where the area falls short of its limit by
c/n, it gains from half to all what is still to be gained.

Owns the learning and its figures. The matching of second scores is ``audit.context.answers``.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from notus.audit.context.answers import Matches, SecondScores
from notus.audit.context.expected import (
    FAR,
    FLOOR,
    OVERALL,
    OWN,
    Context,
    Groups,
    Setting,
    chance_far,
    grouped_moments,
)
from notus.core.records import Scale
from notus.core.splits import FOLDS
from notus.core.text import counted
from notus.stats.detection import auroc, auroc_gain
from notus.stats.intervals import Estimate, Share, clip, clustered_mean, proportion

__all__ = ["APART", "FEWEST_TWICE", "Second", "learn_second"]

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]

APART = 3.0
"""Points, on a scale from 1 to 10, from which on two scores of one answer are far apart."""
FEWEST_TWICE = 20
"""Answers with both scores below which nothing is learned."""

_FEWEST_APART = 5
_PENALTY, _SPREAD_PENALTY = 30.0, 10.0
_LEVELS = 5
_FIRST = 50
_NEAR = 0.01
"""An area so near to its limit is good enough."""


@dataclass(frozen=True)
class Second:
    """What second scores say of a set, and what was learned from them. ``area`` is None where nothing was learned."""

    given: int
    """Answers of the second scores."""
    unscored: int
    """… without a score of the kind that is looked at."""
    strangers: int
    """… with a score, that are not answers of the set."""
    several: int
    """Answers of the set with several second scores, of which the mean was taken."""
    unscored_first: int
    """Answers of the set with a second score and no first."""
    unexpected: int
    """Answers with both scores of which the context says nothing."""
    rescaled: str
    """From which scale to which the second scores were put, in words; empty where they were left."""
    scores: Floats
    """Second score of each answer of the set; NaN where there is none."""
    point: float
    """What a point of a scale from 1 to 10 is on that of the scores."""
    both: int = 0
    """Answers with both scores of which the context says something: what is learned from."""
    offset: Estimate | None = None
    """Second minus first, with prompts as clusters."""
    apart: Share | None = None
    """Of the answers with both, those whose scores are ``APART`` points or more apart."""
    before: Estimate | None = None
    """Area under the curve by the context alone, on the answers with both scores."""
    area: Estimate | None = None
    """… by what was learned, cross-validated."""
    gain: Estimate | None = None
    """… minus that of models which learned from half of the prompts."""
    hits: tuple[int, int] | None = None
    """Far apart among the first, and how many first ones there are."""

    @property
    def matched(self) -> int:
        """Scored answers of the second scores that are answers of the set."""
        return self.given - self.unscored - self.strangers

    def sentences(self) -> list[str]:
        """The figures in words, the most important first."""
        said = [f"Of {counted(self.given, 'second score')}, {self.matched:,} belong to answers of this set."]
        left = [f"{self.unscored:,} hold no such score"] if self.unscored else []
        left += [f"{self.strangers:,} are of other prompts or answers"] if self.strangers else []
        left += [f"{self.unscored_first:,} of answers without a first score"] if self.unscored_first else []
        left += [f"{self.unexpected:,} of answers of which the context says nothing"] if self.unexpected else []
        several = counted(self.several, "answer has", "answers have")
        left += [f"{several} several, whose mean counts"] if self.several else []
        said += [f"Of them, {'; '.join(left)}."] if left else []
        said += [f"They were put from {self.rescaled}."] if self.rescaled else []
        if self.offset is not None:
            told = f"A second score is {_told(self.offset, '+.2f')} points from the first on average"
            said.append(f"{told} (n = {self.both:,} answers to {counted(self.offset.groups, 'prompt')}).")
        if self.both < FEWEST_TWICE or self.apart is None:
            said.append(
                f"{counted(self.both, 'answer')} with both scores teach nothing yet: it needs {FEWEST_TWICE}, and "
                f"prompts of all {FOLDS} folds."
            )
            return said
        border = f"{APART * self.point:.3g} points and more"
        said.append(f"First and second score are {border} apart in {self.apart} answers.")
        return said + self._how_well()

    def as_json(self) -> dict[str, Any]:
        """The figures, for a manifest."""
        shares = {"offset": "score", "before": "share", "area": "share", "gain": "share"}
        found: dict[str, Any] = {"given": self.given, "unscored": self.unscored, "strangers": self.strangers}
        found |= {"several": self.several, "both": self.both}
        for name, unit in shares.items():
            estimate: Estimate | None = getattr(self, name)
            found |= {name: estimate.as_json(unit)} if estimate is not None else {}
        return found | ({"apart": self.apart.count} if self.apart is not None else {})

    def _how_well(self) -> list[str]:
        if self.area is None or self.before is None or self.gain is None:
            return [
                f"How well such answers are found cannot be told: it needs at least {_FEWEST_APART} of either kind, in "
                "several prompts."
            ]
        said = [
            f"Learned from these, such answers are found with an AUROC of {_told(self.area)} (cross-validated, "
            f"n = {self.area.n:,}); by the context alone {_told(self.before)}."
        ]
        if self.hits is not None and self.apart is not None:
            share = self.apart.count / self.apart.of
            said.append(
                f"Among the {self.hits[1]} most suspicious of them, {self.hits[0]} are so far apart; chance would give "
                f"{share * self.hits[1]:.1f}."
            )
        brings = f"learning from all of them instead of half brings {_told(self.gain, '+.3f')}"
        if self.gain.low <= 0:
            return [*said, f"Whether more answers scored twice would help is not distinguishable: {brings}."]
        # It falls short of its limit by c/n: twice as many halve that.
        more = math.ceil(self.both * (self.gain.mean / _NEAR - 1))
        near = f"with {more:,} more answers it would be within {_NEAR:g} of that" if more > 0 else "which is little"
        limit = f"at that rate the most that more could bring is as much again; {near}"
        return [*said, f"More answers scored twice would help: {brings}; {limit}."]


def learn_second(context: Context, of: Setting, second: SecondScores, matches: Matches) -> tuple[Context, Second]:
    """Learn from answers that were scored twice, and judge all by it.

    Returns:
        The context with another chance ``far``, where there was enough to learn from; and the figures.
    """
    found = _second_scores(context, of, second, matches)
    rows = np.flatnonzero(~np.isnan(found.scores) & ~np.isnan(context.expected))
    if not len(rows):
        return context, found
    d = found.scores[rows] - of.scores[rows]
    offset = clustered_mean(d, of.prompts[rows])  # type: ignore[arg-type]  # arrays do as sequences
    found = replace(found, both=len(rows), offset=offset)
    if len(rows) < FEWEST_TWICE or len(np.unique(of.folds[rows])) < FOLDS:
        return context, found
    learner, d = _Learner.make(context, of), d / of.point
    # Only where a prompt has second scores could they have taught its own: all others are judged by the whole sample.
    seen = np.zeros(int(of.prompts.max()) + 1, bool)
    seen[of.prompts[rows]] = True
    known = np.flatnonzero(~np.isnan(context.expected))
    own = seen[of.prompts[known]]
    far = context.far.copy()
    far[known[~own]] = learner.far(learner.fit(rows, d), known[~own])
    for fold in range(FOLDS):
        taught, here = of.folds[rows] != fold, known[own & (of.folds[known] == fold)]
        far[here] = learner.far(learner.fit(rows[taught], d[taught]), here)
    return replace(context, far=far), _measured(found, learner, of, rows, (context.far, far))


@dataclass(frozen=True)
class _Fit:
    """Weights and intercepts of the shift and of the logarithm of the spread, and the spread's last factor."""

    shift: tuple[Floats, float]
    spread: tuple[Floats, float]
    scale: float


@dataclass(frozen=True)
class _Learner:
    """The columns of both regressions, in points of a scale from 1 to 10; NaN where nothing is expected."""

    prior: Floats
    """½(μ − y): what the context alone would say of second − first, but for the offset."""
    spread: Floats
    """s of the context alone."""
    x: Floats
    """Of the shift; the first ``_LEVELS`` are those of the spread too."""
    groups: Groups

    @classmethod
    def make(cls, context: Context, of: Setting) -> "_Learner":
        low, high = of.borders
        level = (of.scores - low) / (high - low) * (_LEVELS - 1)
        triangles = np.maximum(1 - np.abs(level[:, None] - np.arange(_LEVELS)), 0.0)
        gap = (context.expected - of.scores) / of.point
        middle = (of.scores - (low + high) / 2) / of.point
        x = np.column_stack((triangles, gap / 2, np.abs(gap) / 2, gap * middle / 4))
        spread = context.spread * math.sqrt(1 - OWN**2) / of.point
        return cls((1 - OWN) * gap, spread, x, Groups.of_models(of.models))

    def fit(self, rows: Integers, d: Floats) -> _Fit:
        """Learn from some rows and their differences, in points."""
        shift = self._solve(rows, self.x.shape[1], d - self.prior[rows], _PENALTY)
        rest = np.abs(d - self._shift(shift, rows))
        spread = self._solve(rows, _LEVELS, np.log(rest + FLOOR) - np.log(self.spread[rows]), _SPREAD_PENALTY)
        scale = math.sqrt(float(((rest / self._spread(spread, rows)) ** 2).mean()))
        return _Fit(shift, spread, scale)

    def far(self, fit: _Fit, rows: Integers) -> Floats:
        """Chance that the second score of some rows is far from the first."""
        return chance_far(self._shift(fit.shift, rows), self._spread(fit.spread, rows) * fit.scale, FAR)

    def _solve(self, rows: Integers, columns: int, y: Floats, penalty: float) -> tuple[Floats, float]:
        return grouped_moments(self.x[rows, :columns], self.groups.numbers[rows], self.groups.size, y).solve(penalty)

    def _shift(self, fit: tuple[Floats, float], rows: Integers) -> Floats:
        return self.prior[rows] + self._linear(fit, rows, self.x.shape[1])

    def _spread(self, fit: tuple[Floats, float], rows: Integers) -> Floats:
        return self.spread[rows] * np.exp(self._linear(fit, rows, _LEVELS))

    def _linear(self, fit: tuple[Floats, float], rows: Integers, columns: int) -> Floats:
        weights, intercept = fit
        found: Floats = self.x[rows, :columns] @ weights[:columns] + weights[columns:][self.groups.numbers[rows]]
        return found + intercept


def _measured(found: Second, learner: _Learner, of: Setting, rows: Integers, far: tuple[Floats, Floats]) -> Second:
    """The figures of how well answers far apart are found.

    Args:
        found: what is known of the second scores.
        rows: that have both scores.
        far: chances of all answers by the context alone, and by what was learned.
    """
    d = (found.scores[rows] - of.scores[rows]) / of.point
    bad, prompts = np.abs(d) >= APART - 1e-9, of.prompts[rows]
    count = int(bad.sum())
    groups = len(np.unique(prompts))
    interval = clustered_mean(bad.astype(np.float64), prompts)  # type: ignore[arg-type]  # arrays do as sequences
    found = replace(found, apart=Share(count, len(rows), clip(interval) if interval and interval.width else None))
    if found.apart is not None and found.apart.interval is None:
        found = replace(found, apart=Share(count, len(rows), proportion(round(count / len(rows) * groups), groups)))
    if min(count, len(rows) - count) < _FEWEST_APART:
        return found
    alone, learned = far[0][rows], far[1][rows]
    _, number = np.unique(prompts, return_inverse=True)
    halves = []
    for half in range(2):
        of_half = np.empty(len(rows))
        for fold in range(FOLDS):
            at = of.folds[rows] == fold
            taught = ~at & (number % 2 == half)
            of_half[at] = learner.far(learner.fit(rows[taught], d[taught]), rows[at])
        halves.append(of_half)
    first = np.argsort(-learned, kind="stable")[: min(_FIRST, len(rows) // 2)]
    return replace(
        found,
        before=auroc(alone, bad, prompts),  # type: ignore[arg-type]
        area=auroc(learned, bad, prompts),  # type: ignore[arg-type]
        gain=auroc_gain(learned, halves, bad, prompts),  # type: ignore[arg-type]
        hits=(int(bad[first].sum()), len(first)),
    )


def _second_scores(context: Context, of: Setting, second: SecondScores, matches: Matches) -> Second:
    """Second scores of the answers of a set, on its scale; counted, and not yet compared."""
    means, overall = second.columns.scored()
    scales = second.columns.scales_of_most()
    values, scale = (overall, scales[1]) if context.what == OVERALL else (means, scales[0])
    values, rescaled = _on_scale(values, scale, of.scale)
    known = ~np.isnan(values)
    own, theirs = (numbers[known[matches.second]] for numbers in (matches.own, matches.second))
    counts = np.bincount(own, minlength=len(of.scores))
    sums = np.bincount(own, values[theirs], len(of.scores))
    with np.errstate(invalid="ignore"):
        scores = sums / counts
    has = counts > 0
    return Second(
        given=len(values),
        unscored=int((~known).sum()),
        strangers=int(known.sum()) - len(np.unique(theirs)),
        several=int((counts > 1).sum()),
        unscored_first=int((has & np.isnan(of.scores)).sum()),
        unexpected=int((has & ~np.isnan(of.scores) & np.isnan(context.expected)).sum()),
        rescaled=rescaled,
        scores=scores,
        point=of.point,
    )


def _on_scale(values: Floats, own: Scale | None, other: Scale | None) -> tuple[Floats, str]:
    """Values of one scale on another, in proportion, where both are known and differ."""
    if own is None or other is None or own == other:
        return values, ""
    found = other.low + (values - own.low) * (other.high - other.low) / (own.high - own.low)
    return found, f"a scale of {own.low:g} to {own.high:g} to one of {other.low:g} to {other.high:g}"


def _told(estimate: Estimate, form: str = ".3f") -> str:
    return f"{estimate.mean:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"

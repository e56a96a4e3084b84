"""How strong each model is by each score, and which models gain when scores come from critiques instead of ratings.

Within each prompt every two answers of different models are compared, by one score and by the other; both fits rest on
the same comparisons, those of answers that have both scores. Owns what is compared and the words; the fit is in
``core.strength``.
"""

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from notus.core.records import Feedback
from notus.core.statistics import Estimate, holm, p_value
from notus.core.strength import Comparisons, bradley_terry, differences

__all__ = ["ModelStrength", "Rivals", "StrengthReport", "strengths_of"]

_NAMED = 3
"""Models that a sentence names on each side."""
_AT_ONCE = 65_536
"""Prompts whose pairs are made at a time."""


@dataclass(frozen=True)
class ModelStrength:
    """One model: log-strengths relative to the mean of the models, None where it has only won or only lost."""

    name: str
    by_critique: Estimate | None
    by_rating: Estimate | None
    gain: Estimate | None
    """Strength by critique minus strength by mean rating."""
    gain_p: float | None
    """Two-sided p of "no gain", after Holm's correction over the models."""


@dataclass(frozen=True)
class StrengthReport:
    """The strengths of a feedback set, the model with the largest gain first."""

    models: tuple[ModelStrength, ...]
    comparisons: int
    """Pairs of answers that were compared, by each of the two scores."""
    prompts: int

    def sentences(self) -> list[str]:
        """What can be told apart, in words."""
        apart = [model for model in self.models if model.gain and model.gain_p is not None and model.gain_p < 0.05]
        up = [model for model in apart if model.gain and model.gain.mean > 0]
        down = [model for model in reversed(apart) if model.gain and model.gain.mean < 0]
        said = []
        for models, verb in ((up, "gain"), (down, "lose")):
            if models:
                named = "; ".join(_gain(model) for model in models[:_NAMED])
                more = f"; and {len(models) - _NAMED} more" if len(models) > _NAMED else ""
                said.append(f"When scores come from critiques instead of mean ratings, these {verb}: {named}{more}.")
        if not said and any(model.gain for model in self.models):
            said.append("No model is distinguishably stronger by critique than by mean rating, or weaker.")
        if lost := [m.name for m in self.models if m.by_critique is None or m.by_rating is None]:
            said.append(f"Without a finite strength, because they have only won or only lost: {', '.join(lost)}.")
        return said


class Rivals:
    """Takes the answers of one prompt after another, and holds of each comparison some ten bytes."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._first, self._second = array("H"), array("H")
        self._by_critique, self._by_rating = array("f"), array("f")
        self._cluster = array("I")
        self._prompts = 0

    def add(self, answers: Iterable[tuple[str, float | None, float | None]]) -> None:
        """Take in the answers of a prompt: model, overall score, mean rating. Without a model they are passed over."""
        usable = [
            (self._names.setdefault(model, len(self._names)), score, mean)
            for model, score, mean in answers
            if model and score is not None and mean is not None
        ]
        for (first, score, mean), (second, other_score, other_mean) in combinations(usable, 2):
            if first != second:
                self._first.append(first)
                self._second.append(second)
                self._by_critique.append(_outcome(score, other_score))
                self._by_rating.append(_outcome(mean, other_mean))
                self._cluster.append(self._prompts)
        self._prompts += 1

    def add_columns(
        self,
        names: Sequence[str],
        models: NDArray[np.unsignedinteger],
        scores: NDArray[np.float64],
        means: NDArray[np.float64],
        sizes: NDArray[np.unsignedinteger],
    ) -> None:
        """Take in many prompts at once, as ``add`` would one by one.

        Args:
            names: of the models.
            models: number in ``names`` of the model of each answer.
            scores: overall score of each answer, NaN where there is none; likewise ``means``, the mean ratings.
            sizes: number of answers of each prompt, one prompt after another.
        """
        given = np.array([bool(name) for name in names], bool)
        usable = given[models] & ~np.isnan(scores) & ~np.isnan(means)
        place = np.zeros(len(names), np.uint16)
        for number in np.flatnonzero(np.bincount(models[usable], minlength=len(names))).tolist():
            place[number] = self._names.setdefault(names[number], len(self._names))
        ends = [0, *np.cumsum(sizes).tolist()]
        for start in range(0, len(sizes), _AT_ONCE):
            part = sizes[start : start + _AT_ONCE]
            rows = slice(ends[start], ends[start + len(part)])
            self._add_block(place[models[rows]], scores[rows], means[rows], part, usable[rows])

    def _add_block(
        self,
        players: NDArray[np.uint16],
        scores: NDArray[np.float64],
        means: NDArray[np.float64],
        sizes: NDArray[np.unsignedinteger],
        usable: NDArray[np.bool_],
    ) -> None:
        owners = np.repeat(np.arange(len(sizes)), sizes)
        kept = np.flatnonzero(usable)
        one, other = (kept[part] for part in _pairs(owners[kept], len(sizes)))
        apart = players[one] != players[other]
        one, other = one[apart], other[apart]
        for column, values in (
            (self._first, players[one]),
            (self._second, players[other]),
            (self._by_critique, _outcomes(scores[one], scores[other])),
            (self._by_rating, _outcomes(means[one], means[other])),
            (self._cluster, (self._prompts + owners[one]).astype(np.uint32)),
        ):
            column.frombytes(values.tobytes())
        self._prompts += len(sizes)

    def report(self) -> StrengthReport:
        """The strengths by both scores, and the gains."""
        critique, rating = self._comparisons()
        by_critique, by_rating = bradley_terry(critique), bradley_terry(rating)
        gains = differences(critique, rating)
        adjusted = dict(zip(gains, holm([p_value(gain) for gain in gains.values()]), strict=True))
        names = [*gains, *sorted(set(self._names) - set(gains))]
        models = tuple(
            ModelStrength(
                name,
                by_critique.of.get(name) if by_critique else None,
                by_rating.of.get(name) if by_rating else None,
                gains.get(name),
                adjusted.get(name),
            )
            for name in names
        )
        return StrengthReport(models, len(self._cluster), len(np.unique(critique.cluster)))

    def _comparisons(self) -> tuple[Comparisons, Comparisons]:
        """By critique and by rating: the same players in the same prompts."""
        # The players of ``Comparisons`` are in alphabetical order.
        order = sorted(self._names)
        place = np.zeros(len(order), np.uint16)
        for index, name in enumerate(order):
            place[self._names[name]] = index
        first, second = place[np.asarray(self._first)], place[np.asarray(self._second)]
        cluster = np.asarray(self._cluster)
        critique, rating = (
            Comparisons(tuple(order), first, second, np.asarray(outcome), cluster)
            for outcome in (self._by_critique, self._by_rating)
        )
        return critique, rating


def strengths_of(records: Iterable[Feedback]) -> StrengthReport:
    """The strengths of all models of a feedback set."""
    rivals = Rivals()
    for feedback in records:
        rivals.add([(item.model, item.overall_score, item.mean_rating) for item in feedback.completions])
    return rivals.report()


def _outcome(a: float, b: float) -> float:
    return 0.5 if a == b else float(a > b)


def _outcomes(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.where(a == b, 0.5, a > b).astype(np.float32)


def _pairs(groups: NDArray[np.intp], count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Numbers of the two members of every pair within a group, in the order of ``itertools.combinations``.

    Args:
        groups: of each member, ascending from 0.
        count: number of groups; some may have no member.
    """
    sizes = np.bincount(groups, minlength=count)
    starts = np.cumsum(sizes) - sizes
    firsts, seconds, owners = [np.empty(0, np.intp)], [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    for size in np.unique(sizes[sizes > 1]).tolist():
        here = np.flatnonzero(sizes == size)
        one, other = np.triu_indices(size, 1)
        firsts.append((starts[here, None] + one).ravel())
        seconds.append((starts[here, None] + other).ravel())
        owners.append(np.repeat(here, len(one)))
    order = np.argsort(np.concatenate(owners), kind="stable")
    return np.concatenate(firsts)[order], np.concatenate(seconds)[order]


def _gain(model: ModelStrength) -> str:
    assert model.gain is not None
    gain = model.gain
    odds = 1 / (1 + math.exp(-gain.mean))
    return f"{model.name} {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] (even odds become {odds:.0%})"

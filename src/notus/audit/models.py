"""Bradley–Terry scores of the models, by critique and by rating, and which models gain by critiques.

Within each prompt every two answers of different models are compared, by one score and by the other; both fits rest on
the same comparisons, those of answers that have both scores. Owns what is compared and the sentences; the fit is in
``stats.bradley_terry``.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from notus.core.text import format_list
from notus.stats.bradley_terry import Comparisons, bradley_terry, differences
from notus.stats.intervals import Estimate, holm, p_value

__all__ = ["ModelComparisons", "ModelScore", "ModelScores"]

_NAMED = 3
"""Models that a sentence names on each side."""
_AT_ONCE = 65_536
"""Prompts whose pairs are made at a time."""


@dataclass(frozen=True)
class ModelScore:
    """One model: Bradley–Terry scores (log) relative to the mean of the models, None where it only won or only lost."""

    name: str
    by_critique: Estimate | None
    by_rating: Estimate | None
    gain: Estimate | None
    """Score by critique minus score by mean rating."""
    gain_p: float | None
    """Two-sided p of "no gain", after Holm's correction over the models."""


@dataclass(frozen=True)
class ModelScores:
    """The scores of the models of a feedback set, the one with the largest gain first."""

    models: tuple[ModelScore, ...]
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
                named = format_list([_gain(model) for model in models], _NAMED, "; ")
                said.append(f"When scores come from critiques instead of mean ratings, these {verb}: {named}.")
        if not said and any(model.gain for model in self.models):
            said.append("No model is distinguishably stronger by critique than by mean rating, or weaker.")
        if lost := [m.name for m in self.models if m.by_critique is None or m.by_rating is None]:
            said.append(
                f"Without a finite Bradley–Terry score, because they have only won or only lost: {', '.join(lost)}."
            )
        return said


class ModelComparisons:
    """Takes the answers of prompts, and holds of each comparison some ten bytes."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._first, self._second = array("H"), array("H")
        self._by_critique, self._by_rating = array("f"), array("f")
        self._cluster = array("I")
        self._prompts = 0

    def add(
        self,
        names: Sequence[str],
        models: NDArray[np.unsignedinteger],
        scores: NDArray[np.float64],
        means: NDArray[np.float64],
        sizes: NDArray[np.unsignedinteger],
    ) -> None:
        """Take in the answers of prompts. Those without a model, or without one of the two scores, are passed over.

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

    def report(self) -> ModelScores:
        """The Bradley–Terry scores by both scores, and the gains."""
        critique, rating = self._comparisons()
        by_critique, by_rating = bradley_terry(critique), bradley_terry(rating)
        gains = differences(critique, rating)
        adjusted = dict(zip(gains, holm([p_value(gain) for gain in gains.values()]), strict=True))
        names = [*gains, *sorted(set(self._names) - set(gains))]
        models = tuple(
            ModelScore(
                name,
                by_critique.of.get(name) if by_critique else None,
                by_rating.of.get(name) if by_rating else None,
                gains.get(name),
                adjusted.get(name),
            )
            for name in names
        )
        return ModelScores(models, len(self._cluster), len(np.unique(critique.cluster)))

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


def _gain(model: ModelScore) -> str:
    assert model.gain is not None
    gain = model.gain
    odds = 1 / (1 + math.exp(-gain.mean))
    return f"{model.name} {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] (even odds become {odds:.0%})"

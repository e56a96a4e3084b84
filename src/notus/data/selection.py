"""Selection: which completions of a prompt become chosen and rejected, as settings and as a pure function.

A score ranks the completions. Chosen is the best one, the first of several equal ones. Rejected is, by name:

    random-lower  one at random among those with a strictly lower score
    worst         the one with the lowest score, the first of several equal ones       (best against worst)
    all-lower     each one with a strictly lower score: several pairs of one prompt
    all-pairs     no single chosen: every two completions with different scores make a pair
    random-other  one at random among all others; it may tie with the chosen one
    h4-legacy     completion 0, or 2 where 0 was chosen (of four): see ``h4_draw``; it may tie with the chosen one

The first four promise that rejected has a strictly lower score than chosen, and by at least the margin.
Owns the choice. Records and reasons are made in ``data.binarize``; sets of settings have names in ``data.presets``.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Self

import pydantic

from notus.core.config import Config
from notus.core.errors import ConfigError, nearest
from notus.core.records import ASPECTS, Feedback
from notus.data.scores import Score, mean_with, strategy_named, weighted

__all__ = ["Choice", "Rejected", "Selection", "Strategy", "choose", "h4_draw"]

Strategy = Literal["mean-rating", "critique", "repaired-critique", "weighted", "ranker"]
Rejected = Literal["random-lower", "worst", "all-lower", "all-pairs", "random-other", "h4-legacy"]

_MAY_TIE = ("random-other", "h4-legacy")
_ROUNDING = 1e-9
"""Means of ratings are rounded: 3.4 − 2.4 must count as a margin of 1."""
_H4_SEED = 42


class Selection(Config):
    """How pairs are made of the completions of a prompt."""

    strategy: Strategy = "mean-rating"
    """The score that ranks the completions: see ``data.scores``."""
    weights: dict[str, float] = pydantic.Field(default_factory=dict)
    """Aspect → weight, for the strategy ``weighted``."""
    missing: float | None = None
    """What a rating that cannot be read counts as, for ``mean-rating``; null leaves it out of the mean."""
    rejected: Rejected = "random-lower"
    margin: float = pydantic.Field(default=0.0, ge=0)
    """Least difference of the scores of chosen and rejected, in the unit of the score."""
    same_text: bool = False
    """Whether rejected may have the very text of chosen, as the published sets allow."""

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.strategy == "weighted") != bool(self.weights):
            raise ValueError("'weights' and the strategy 'weighted' go together, for example weights {truthfulness: 2}")
        if any(weight < 0 for weight in self.weights.values()) or (self.weights and not any(self.weights.values())):
            raise ValueError("weights must not be negative, and one of them must be above 0")
        if self.missing is not None and self.strategy != "mean-rating":
            raise ValueError("'missing' belongs to the strategy 'mean-rating'")
        if self.margin and self.rejected == "h4-legacy":
            raise ValueError("'h4-legacy' looks at positions, not at scores; a margin needs another way to reject")
        return self

    @property
    def strict(self) -> bool:
        """Whether rejected is promised to have a strictly lower score than chosen."""
        return self.rejected not in _MAY_TIE

    def score(self) -> Score:
        """The score of a completion."""
        if self.strategy == "weighted":
            return weighted(self.weights)
        return strategy_named(self.strategy) if self.missing is None else mean_with(self.missing)

    def check_aspects(self, feedback: Feedback) -> bool:
        """Refuse a weight of an aspect that neither UltraFeedback nor this row knows; False if the row has no rating.

        Raises:
            ConfigError: with the nearest aspect.
        """
        rated = {rating.aspect for item in feedback.completions for rating in item.ratings}
        known = rated.union(ASPECTS)
        for aspect in self.weights:
            if rated and aspect not in known:
                raise ConfigError(f"there is no aspect '{aspect}' to weigh; {nearest(aspect, known)}")
        return bool(rated)


@dataclass(frozen=True)
class Choice:
    """What a selection makes of one prompt, with all that led to it."""

    scores: tuple[float | None, ...]
    """Of each completion; None takes no part."""
    best: tuple[int, ...] = ()
    """Positions that share the best score; the first of them is chosen."""
    candidates: tuple[int, ...] = ()
    """Positions that may be rejected, given the chosen one; empty for ``all-pairs``."""
    pairs: tuple[tuple[int, int], ...] = ()
    """Positions of chosen and rejected, one entry for each pair."""
    problem: tuple[str, str] | None = None
    """Why there is no pair: the reason as a slug, and the evidence."""


def choose(feedback: Feedback, selection: Selection, score: Score, seed: int) -> Choice:
    """Make the pairs of one prompt.

    A draw is made by a generator seeded with ``seed`` and the prompt: it depends neither on the order of the rows nor
    on shards and processes. ``score`` is ``selection.score()``, made once for all rows.
    """
    scores = tuple([score(item) for item in feedback.completions])
    scored = {index: value for index, value in enumerate(scores) if value is not None}
    if problem := _problem(scores, scored, selection):
        return Choice(scores, problem=problem)
    top = max(scored.values())
    best = tuple([index for index, value in scored.items() if value == top])
    if selection.rejected == "all-pairs":
        pairs = tuple(_all_pairs(feedback, selection, scored))
        return Choice(scores, best, pairs=pairs, problem=None if pairs else _unusable(selection, scored))
    chosen = best[0]
    usable = tuple([index for index in scored if index != chosen and _may(feedback, selection, scored, chosen, index)])
    if not usable:
        return Choice(scores, best, problem=_unusable(selection, scored))
    rejected = _rejected(feedback, selection, scored, chosen, usable, seed)
    pairs = tuple([(chosen, index) for index in rejected])
    return Choice(scores, best, usable, pairs, None if pairs else _unusable(selection, scored))


@lru_cache(maxsize=1024)
def h4_draw(completions: int, chosen: int) -> int:
    """Position of the rejected completion in the first published binarization of UltraFeedback.

    There, the generator was seeded with 42 inside each row, and drawn from until it gave another completion than the
    chosen one. The draws are therefore the same in every row: of four completions 0, or 2 where 0 was chosen. Python's
    own generator is used, as there. The rows: https://huggingface.co/datasets/HuggingFaceH4/ultrafeedback_binarized.
    """
    draws = random.Random(_H4_SEED)
    while (drawn := draws.choice(range(completions))) == chosen:
        pass
    return drawn


def _rejected(
    feedback: Feedback, selection: Selection, scored: dict[int, float], chosen: int, usable: Sequence[int], seed: int
) -> Sequence[int]:
    match selection.rejected:
        case "worst":
            return (min(usable, key=lambda index: scored[index]),)
        case "all-lower":
            return usable
        case "h4-legacy":
            places = list(scored)
            drawn = places[h4_draw(len(places), places.index(chosen))]
            return (drawn,) if drawn in usable else ()
        case _:
            return (random.Random(f"{seed}:{feedback.prompt_id}").choice(usable),)


def _may(feedback: Feedback, selection: Selection, scored: dict[int, float], chosen: int, other: int) -> bool:
    """Whether two positions may stand in a pair."""
    difference = scored[chosen] - scored[other]
    if difference < selection.margin - _ROUNDING or (selection.strict and difference <= 0):
        return False
    return selection.same_text or feedback.completions[other].text != feedback.completions[chosen].text


def _all_pairs(feedback: Feedback, selection: Selection, scored: dict[int, float]) -> Iterator[tuple[int, int]]:
    for chosen in scored:
        for other in scored:
            if _may(feedback, selection, scored, chosen, other):
                yield chosen, other


def _problem(scores: Sequence[float | None], scored: dict[int, float], selection: Selection) -> tuple[str, str] | None:
    """Why the scores of a prompt give no pair: the reason as a slug, and the evidence; None if they may."""
    if len(scores) == 1:
        return "one-completion", "the prompt has a single completion"
    if not scored:
        return "unscored", f"none of {len(scores)} completions has a score"
    if len(scored) == 1:
        return "one-scored", f"1 of {len(scores)} completions has a score"
    if selection.strict and len(set(scored.values())) == 1:
        return "all-tied", f"all {len(scored)} scores are {next(iter(scored.values())):g}"
    return None


def _unusable(selection: Selection, scored: dict[int, float]) -> tuple[str, str]:
    """Why no two of the completions make a pair, although their number and their scores would do."""
    low, top = min(scored.values()), max(scored.values())
    if top - low < selection.margin - _ROUNDING:
        return "under-margin", f"the scores reach from {low:g} to {top:g}, the margin is {selection.margin:g}"
    if not selection.strict:
        return "same-text", "what would be rejected has the text of the chosen one"
    far = sum(top - value >= selection.margin - _ROUNDING and value < top for value in scored.values())
    return "same-text", f"{far} lower completions have the text of the chosen one"

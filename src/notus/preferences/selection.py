"""Selection: which completions of a prompt become chosen and rejected, as settings and as a pure function.

A score ranks the completions. Chosen is the best one, the first of several equal ones. Rejected is, by name:

    random-lower  one at random among those with a strictly lower score
    worst         the one with the lowest score, the first of several equal ones       (best against worst)
    all-lower     each one with a strictly lower score: several pairs of one prompt
    all-pairs     no single chosen: every two completions with different scores make a pair
    mean-2sd      the one nearest the mean less two standard deviations, of at least 16 that are scored
    random-other  one at random among all others; it may tie with the chosen one
    h4-legacy     completion 0, or 2 where 0 was chosen (of four): see ``h4_draw``; it may tie with the chosen one

The first five promise that rejected has a strictly lower score than chosen, and by at least the margin. By votes,
further, most of the rankings that hold both must prefer the chosen one, and what is undecided gives no pair, unless
``ties`` keeps it. Owns the choice. Records and reasons are made in ``preferences.binarize``; sets of settings have
names in ``preferences.presets``.
"""

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, Self

import pydantic

from notus.core.config import Config
from notus.core.errors import ConfigError, nearest
from notus.core.records import ASPECTS, Feedback
from notus.preferences.scores import (
    Score,
    applied,
    by_model,
    mean_with,
    rescaled,
    score_answers,
    strategy_named,
    weighted,
)
from notus.preferences.votes import Votes, majority, votes_of

__all__ = ["FEWEST", "Choice", "Rejected", "Selection", "Strategy", "Ties", "choose", "h4_draw"]

Strategy = Literal["auto", "mean-rating", "critique", "repaired-critique", "weighted", "ranker", "votes", "models"]
Rejected = Literal["random-lower", "worst", "all-lower", "all-pairs", "mean-2sd", "random-other", "h4-legacy"]
Ties = Literal["drop", "keep"]

_MAY_TIE = ("random-other", "h4-legacy")
_UNDECIDED = ("vote-tie", "vote-split")
_ROUNDING = 1e-9
"""Means of ratings are rounded: 3.4 − 2.4 must count as a margin of 1."""
_H4_SEED = 42
FEWEST = 16
"""Scored answers that ``mean-2sd`` needs. No value lies more than √(n − 1) standard deviations from the mean of n: of
five or fewer the nearest to two below it is always the lowest, and of few it nearly always is."""


class Selection(Config):
    """How pairs are made of the completions of a prompt."""

    strategy: Strategy = "auto"
    """The score that ranks the completions: see ``preferences.scores``."""
    weights: dict[str, float] = pydantic.Field(default_factory=dict)
    """Aspect → weight, for the strategy ``weighted``."""
    model_order: tuple[str, ...] = ()
    """Names of models from the strongest to the weakest, for the strategy ``models``."""
    missing: float | None = None
    """What a rating that cannot be read counts as, for ``mean-rating``; null leaves it out of the mean."""
    rejected: Rejected = "random-lower"
    margin: float = pydantic.Field(default=0.0, ge=0)
    """Least difference of the scores of chosen and rejected, in the unit of the score."""
    same_text: bool = False
    """Whether rejected may have the very text of chosen, as the published sets allow."""
    question: str | None = None
    """Of rankings on several questions, such as ``better`` and ``safer``, the one that is meant."""
    ties: Ties = "drop"
    """What becomes of a prompt whose votes are all ties, or split evenly: no pair, or its first two answers as a pair
    with equal scores."""
    rescale: bool = False
    """Put ratings and critiques on 0 to 1 by their own scales, so that different scales have a mean."""

    @pydantic.model_validator(mode="after")
    def _weights_fit_strategy(self) -> Self:
        if (self.strategy == "weighted") != bool(self.weights):
            raise ValueError("'weights' and the strategy 'weighted' go together, for example weights {truthfulness: 2}")
        if (self.strategy == "models") != bool(self.model_order):
            raise ValueError("'model_order' and the strategy 'models' go together: names from the strongest on")
        if self.model_order and len(set(self.model_order)) < max(2, len(self.model_order)):
            raise ValueError("'model_order' names two models or more, each once, from the strongest to the weakest")
        if any(weight < 0 for weight in self.weights.values()) or (self.weights and not any(self.weights.values())):
            raise ValueError("weights must not be negative, and one of them must be above 0")
        if self.rescale and self.strategy not in ("auto", "mean-rating", "critique", "weighted"):
            raise ValueError(f"'rescale' means nothing for the strategy '{self.strategy}'; leave one of the two out")
        if self.missing is not None and (self.strategy != "mean-rating" or self.rescale):
            raise ValueError("'missing' belongs to the strategy 'mean-rating', without 'rescale'")
        if self.strategy not in ("auto", "votes") and (self.question is not None or self.ties != "drop"):
            raise ValueError(f"'question' and 'ties' are about votes, and the strategy is '{self.strategy}'")
        if self.margin and self.rejected == "h4-legacy":
            raise ValueError("'h4-legacy' looks at positions, not at scores; a margin needs another way to reject")
        return self

    @property
    def strict(self) -> bool:
        """Whether rejected is promised to have a strictly lower score than chosen."""
        return self.rejected not in _MAY_TIE and self.ties == "drop"

    def score(self) -> Score:
        """The score of a completion; by votes none has one of its own."""
        if self.missing is not None:
            return mean_with(self.missing)
        if self.model_order:
            return by_model(self.model_order)
        score = weighted(self.weights) if self.strategy == "weighted" else strategy_named(self.strategy)
        return rescaled(score) if self.rescale else score

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
    strategy: str = "mean-rating"
    """By which the answers were scored."""
    votes: Votes | None = None
    """Where that is by votes."""


def choose(feedback: Feedback, selection: Selection, score: Score, seed: int) -> Choice:
    """Make the pairs of one prompt.

    A draw is made by a generator seeded with ``seed`` and the prompt: it depends neither on the order of the rows nor
    on shards and processes. ``score`` is ``selection.score()``, made once for all rows.
    """
    strategy = applied(feedback, selection.strategy)
    votes = votes_of(feedback, selection.question) if strategy == "votes" else None
    scores = votes.scores if votes else score_answers(feedback, strategy, score)
    found = _choose(feedback, selection, scores, votes, seed)
    if votes and selection.ties == "keep" and not found.pairs and found.problem and found.problem[0] in _UNDECIDED:
        found = _keep_tie(feedback, found)
    return replace(found, strategy=strategy, votes=votes)


def _choose(
    feedback: Feedback, selection: Selection, scores: tuple[float | None, ...], votes: Votes | None, seed: int
) -> Choice:
    scored = {index: value for index, value in enumerate(scores) if value is not None}
    if problem := _problem(scores, scored, selection, votes):
        return Choice(scores, problem=problem)
    top = max(scored.values())
    best = tuple([index for index, value in scored.items() if value == top])
    if selection.rejected == "all-pairs":
        pairs = tuple(_all_pairs(feedback, selection, scored, votes))
        return Choice(scores, best, pairs=pairs, problem=None if pairs else _unusable(selection, scored, votes))
    chosen = best[0]
    usable = tuple(
        [index for index in scored if index != chosen and _may_pair(feedback, selection, scored, votes, chosen, index)]
    )
    if not usable:
        return Choice(scores, best, problem=_unusable(selection, scored, votes))
    rejected = _choose_rejected(feedback, selection, scored, chosen, usable, seed)
    pairs = tuple([(chosen, index) for index in rejected])
    return Choice(scores, best, usable, pairs, None if pairs else _unusable(selection, scored, votes))


def _keep_tie(feedback: Feedback, found: Choice) -> Choice:
    """The first two answers that are ranked and read differently, as a pair with equal scores."""
    ranked = [place for place, score in enumerate(found.scores) if score is not None]
    other = next((place for place in ranked if not _same(feedback, ranked[0], place)), None)
    if other is None:
        return replace(found, problem=("same-text", "the answers that tie have the same text"))
    return replace(found, best=tuple(ranked), pairs=((ranked[0], other),), problem=None)


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


def _choose_rejected(
    feedback: Feedback, selection: Selection, scored: dict[int, float], chosen: int, usable: Sequence[int], seed: int
) -> Sequence[int]:
    match selection.rejected:
        case "mean-2sd":
            return (_nearest_two_below(feedback, scored, usable, seed),)
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


def _nearest_two_below(feedback: Feedback, scored: dict[int, float], usable: Sequence[int], seed: int) -> int:
    """The answer whose score is nearest μ − 2σ of all scores of the prompt; of several equal ones, one at random.

    Xiao et al. (2025), arXiv 2502.16825, for many answers of one model with rewards. σ is that of the n scores, divided
    by n.
    """
    values = list(scored.values())
    wanted = statistics.fmean(values) - 2 * statistics.pstdev(values)
    least = min(abs(scored[index] - wanted) for index in usable)
    nearest = [index for index in usable if abs(scored[index] - wanted) <= least + _ROUNDING]
    return random.Random(f"{seed}:{feedback.prompt_id}").choice(nearest)


def _may_pair(
    feedback: Feedback, selection: Selection, scored: dict[int, float], votes: Votes | None, chosen: int, other: int
) -> bool:
    """Whether two positions may stand in a pair."""
    difference = scored[chosen] - scored[other]
    if difference < selection.margin - _ROUNDING or (_strict(selection, votes) and difference <= 0):
        return False
    if votes is not None and not majority(votes.rankings, chosen, other).wins:
        return False
    return selection.same_text or not _same(feedback, chosen, other)


def _same(feedback: Feedback, one: int, other: int) -> bool:
    """Whether two answers are the same text, of several turns in each of them."""
    first, second = feedback.completions[one], feedback.completions[other]
    return first.text == second.text and first.turns == second.turns


def _all_pairs(
    feedback: Feedback, selection: Selection, scored: dict[int, float], votes: Votes | None
) -> Iterator[tuple[int, int]]:
    for chosen in scored:
        for other in scored:
            if _may_pair(feedback, selection, scored, votes, chosen, other):
                yield chosen, other


def _strict(selection: Selection, votes: Votes | None) -> bool:
    """A tie of votes is kept only where nothing else is left: see ``_keep_tie``."""
    return votes is not None or selection.rejected not in _MAY_TIE


def _problem(
    scores: Sequence[float | None], scored: dict[int, float], selection: Selection, votes: Votes | None
) -> tuple[str, str] | None:
    """Why the scores of a prompt give no pair: the reason as a slug, and the evidence; None if they may."""
    if len(scores) == 1:
        return "one-completion", "the prompt has a single completion"
    if votes is not None and not votes.rankings:
        of = f"; {votes.other:,} are on another question, or of fewer than two answers" if votes.other else ""
        return "no-ranking", f"no ranking of {len(scores)} completions{of}"
    if votes is not None and len(set(scored.values())) == 1:
        return votes.undecided, f"{len(votes.rankings)} rankings put all {len(scored)} completions equal"
    if not scored:
        return "unscored", f"none of {len(scores)} completions has a score"
    if len(scored) == 1:
        return "one-scored", f"1 of {len(scores)} completions has a score"
    if selection.rejected == "mean-2sd" and len(scored) < FEWEST:
        few = f"{len(scored)} answers have a score, and the nearest to the mean less two standard deviations needs"
        return "few-answers", f"{few} {FEWEST}: of few it is the lowest, which 'worst' takes"
    if _strict(selection, votes) and len(set(scored.values())) == 1:
        return "all-tied", f"all {len(scored)} scores are {next(iter(scored.values())):g}"
    return None


def _any_majority(votes: Votes, scored: dict[int, float], margin: float) -> bool:
    pairs = (
        (a, b) for a in scored for b in scored if scored[a] > scored[b] and scored[a] - scored[b] >= margin - _ROUNDING
    )
    return any(majority(votes.rankings, a, b).wins for a, b in pairs)


def _unusable(selection: Selection, scored: dict[int, float], votes: Votes | None) -> tuple[str, str]:
    """Why no two of the completions make a pair, although their number and their scores would do."""
    low, top = min(scored.values()), max(scored.values())
    if top - low < selection.margin - _ROUNDING:
        return "under-margin", f"the scores reach from {low:g} to {top:g}, the margin is {selection.margin:g}"
    if votes is not None and not _any_majority(votes, scored, selection.margin):
        return "no-majority", f"{len(votes.rankings)} rankings: no answer beats a lower one in most that hold both"
    if not _strict(selection, votes):
        return "same-text", "what would be rejected has the text of the chosen one"
    far = sum(top - value >= selection.margin - _ROUNDING and value < top for value in scored.values())
    return "same-text", f"{far} lower completions have the text of the chosen one"

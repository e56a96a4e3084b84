"""The scores by which completions of a prompt are ranked: a number for each, or None where it takes no part.

    mean-rating        the mean of the aspect ratings                                     (Notus)
    critique           the overall score of the critique, as it was recorded              (Zephyr)
    repaired-critique  the overall score after the published rule; a doubtful 10 is none  (data.repair)
    weighted           the mean of the aspect ratings under weights that are given
    ranker             what a ranker gave, such as PairRM                                 (Snorkel)

Owns what a score is. Which completions become chosen and rejected is owned by ``data.selection``.
"""

from collections.abc import Callable, Mapping

from notus.core.errors import ConfigError, nearest
from notus.core.records import ASPECTS, Completion
from notus.data.layouts_feedback import ranker_score
from notus.data.repair import ASK_AGAIN, SET_TO_1, verdict

__all__ = ["STRATEGIES", "Score", "mean_with", "strategy_named", "weighted"]

Score = Callable[[Completion], float | None]


def _mean_rating(completion: Completion) -> float | None:
    return completion.mean_rating


def _critique(completion: Completion) -> float | None:
    return completion.overall_score


def _repaired_critique(completion: Completion) -> float | None:
    """The overall score that can be trusted: a false 10 is a 1, a doubtful 10 is no score until the judge is asked.

    It is the same before and after the stage ``data.repair``, which leaves a doubtful 10 in place.
    """
    what = verdict(completion)
    if what == ASK_AGAIN:
        return None
    return 1.0 if what == SET_TO_1 else completion.overall_score


def strategy_named(name: str) -> Score:
    """The score of that name, of those that need no further setting.

    Raises:
        ConfigError: if there is no such strategy, with the nearest.
    """
    known = STRATEGIES | {"ranker": ranker_score}
    if name not in known:
        raise ConfigError(f"there is no strategy '{name}'; {nearest(name, known)}")
    return known[name]


STRATEGIES: dict[str, Score] = {
    "mean-rating": _mean_rating,
    "critique": _critique,
    "repaired-critique": _repaired_critique,
}
"""Name → the score of a completion, for the judges' scores that need no further setting."""


def weighted(weights: Mapping[str, float]) -> Score:
    """The mean of a completion's ratings, each with the weight of its aspect.

    With ratings r_a, and weights w_a of the aspects that are rated and not N/A::

        score = Σ w_a · r_a / Σ w_a

    An aspect without a weight counts for nothing. None where no aspect of weight above 0 has a rating.
    """

    def score(completion: Completion) -> float | None:
        rated = [(weights.get(item.aspect, 0.0), item.value) for item in completion.ratings if item.value is not None]
        total = sum(weight for weight, _ in rated)
        return sum(weight * value for weight, value in rated) / total if total > 0 else None

    return score


def mean_with(missing: float) -> Score:
    """The mean rating in which each rating that cannot be read counts as ``missing``, N/A among them.

    Of an UltraFeedback completion, an aspect that is not rated at all is such a one too; without any rating the score
    is ``missing`` itself. Tulu 3 counts −1: https://arxiv.org/abs/2411.15124.
    """

    def score(completion: Completion) -> float:
        values = [missing if item.value is None else item.value for item in completion.ratings]
        rated = {item.aspect for item in completion.ratings}
        if rated & set(ASPECTS):
            values += [missing] * len(set(ASPECTS) - rated)
        return sum(values) / len(values) if values else missing

    return score

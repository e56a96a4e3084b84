"""The scores by which completions of a prompt are ranked: a number for each, or None where it takes no part.

    auto               votes where a prompt has rankings, for a stated preference goes before the scores beside it;
                       mean-rating otherwise
    mean-rating        the mean of the aspect ratings: ``Completion.mean_rating``         (Notus)
    critique           the overall score of the critique, as it was recorded              (Zephyr)
    repaired-critique  the overall score after the published rule; a doubtful 10 is none  (preferences.repair)
    weighted           the mean of the aspect ratings under weights that are given
    ranker             what a ranker gave, such as PairRM                                 (Snorkel)
    models             the place of the model that answered, in an order that is given        (delta pairs)
    votes              the share of the answers beside it that people or judges ranked it above: ``preferences.votes``

Scores of the answers to one prompt stand on one scale: ratings on several have no mean, and are refused unless they are
to be put on 0 to 1 (``rescaled``). Owns what a score is. Which completions become chosen and rejected is owned by
``preferences.selection``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from notus.core.errors import ConfigError, DataError, nearest
from notus.core.records import (
    ASPECTS,
    UNIT,
    VERIFIED,
    Completion,
    Critique,
    Feedback,
    Rating,
    Scale,
    aspect_means,
    on_one_scale,
)
from notus.formats.families.ranked import ranker_score
from notus.preferences.votes import votes_of

__all__ = [
    "STRATEGIES",
    "Score",
    "applied",
    "by_model",
    "check_scales",
    "mean_with",
    "rescaled",
    "score_answers",
    "strategy_named",
    "weighted",
]

Score = Callable[[Completion], float | None]
S = TypeVar("S", Rating, Critique)
_BY_CRITIQUE = ("critique", "repaired-critique")


def _mean_rating(completion: Completion) -> float | None:
    return completion.mean_rating


def _no_score(completion: Completion) -> float | None:
    del completion
    return None


def _critique(completion: Completion) -> float | None:
    return completion.overall_score


def _repaired_critique(completion: Completion) -> float | None:
    """The overall score that can be trusted: a false 10 is a 1, a doubtful 10 is no score until the judge is asked.

    It is the same before and after the stage ``preferences.repair``, which leaves a doubtful 10 in place.
    """
    from notus.preferences.repair import ASK_AGAIN, SET_TO_1, verdict  # most binarizations repair nothing

    what = verdict(completion)
    if what == ASK_AGAIN:
        return None
    return 1.0 if what == SET_TO_1 else completion.overall_score


def strategy_named(name: str) -> Score:
    """The score of that name, of those that need no further setting. Under ``votes`` no answer has one of its own.

    Raises:
        ConfigError: if there is no such strategy, with the nearest.
    """
    known = STRATEGIES | {"ranker": ranker_score, "auto": _mean_rating, "votes": _no_score, "models": _no_score}
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

    With ratings r_a, of several raters their mean, and weights w_a of the aspects that are rated and not N/A::

        score = Σ w_a · r_a / Σ w_a

    An aspect without a weight counts for nothing. None where no aspect of weight above 0 has a rating.
    """

    def score(completion: Completion) -> float | None:
        rated = [(weights.get(aspect, 0.0), value) for aspect, value in aspect_means(completion.ratings).items()]
        total = sum(weight for weight, _ in rated)
        return sum(weight * value for weight, value in rated) / total if total > 0 else None

    return score


def by_model(order: Sequence[str]) -> Score:
    """The place of the model that answered: the last of ``order`` has 1, each before it one more, others have none.

    Delta pairs: chosen is by the stronger model, whatever either is worth by itself (Geng et al. 2025,
    https://arxiv.org/abs/2507.06187).
    """
    places = {name: float(len(order) - place) for place, name in enumerate(order)}

    def score(completion: Completion) -> float | None:
        return places.get(completion.model)

    return score


def applied(feedback: Feedback, strategy: str) -> str:
    """The strategy that a prompt's answers are scored by: ``auto`` is decided by what the prompt has."""
    if strategy != "auto":
        return strategy
    return "votes" if feedback.rankings else "mean-rating"


def score_answers(
    feedback: Feedback, strategy: str, score: Score, question: str | None = None
) -> tuple[float | None, ...]:
    """The scores of a prompt's answers.

    Args:
        feedback: the prompt.
        strategy: its name, as ``applied`` gives it.
        score: the score of that strategy, or ``rescaled``.
        question: for ``votes``: see ``preferences.votes``.

    Raises:
        DataError: if the ratings that are scored stand on several scales.
        ConfigError: if the answers are ranked on several questions, and none is named.
    """
    if strategy == "votes":
        return votes_of(feedback, question).scores
    return tuple([score(item) for item in feedback.completions])


def check_scales(feedback: Feedback, strategy: str, weights: Mapping[str, float] | None = None) -> Scale | None:
    """The one scale of what is scored; None where nothing says it.

    Raises:
        DataError: if there are several, with what to do.
    """
    if strategy in ("mean-rating", "weighted"):
        ratings = [each for item in feedback.completions for each in item.ratings]
        if on_one_scale(ratings):  # as nearly always: then it does not matter which of them count
            return next((each.scale for each in ratings if each.scale is not None), None)
    counting = list(_counting(feedback, strategy, weights or {}))
    if on_one_scale(counting):
        return next((each.scale for each in counting if each.scale is not None), None)
    named = sorted({(each.scale.low, each.scale.high) for each in counting if each.scale is not None})
    scales = " and ".join(f"{low:g} to {high:g}" for low, high in named)
    where = f" ({feedback.file}, line {feedback.line})" if feedback.file else ""
    raise DataError(
        f"feedback {feedback.id}{where}: its answers are rated on different scales, {scales}, and a mean over them "
        "means nothing; weigh aspects of one scale (--weight), leave raters out (--without-rater), or put each score "
        "on 0 to 1 by its own scale (--rescale)"
    )


def rescaled(score: Score) -> Score:
    """The score of an answer whose ratings and critique are each put on 0 to 1 by its own scale."""
    return partial(_score_rescaled, score)


def _score_rescaled(score: Score, completion: Completion) -> float | None:
    # What was verified stays, for a weight may name it: no mean takes it in.
    kept = [each for each in completion.ratings if each.measures_quality or each.aspect in VERIFIED]
    ratings = tuple([_to_unit(each) for each in kept])
    critique = completion.critique and _to_unit(completion.critique)
    return score(msgspec.structs.replace(completion, ratings=ratings, critique=critique))


def _to_unit(said: S) -> S:
    value = said.value if isinstance(said, Rating) else said.score
    if value is None:
        return said
    if said.scale is None or said.scale.high <= said.scale.low:
        of = f"the rating of '{said.aspect}'" if isinstance(said, Rating) else "an overall score"
        raise DataError(
            f"{of}, {value:g}, does not say on which scale, and cannot be put on 0 to 1; say it when the file is read, "
            "or leave 'rescale' out"
        )
    unit = (value - said.scale.low) / (said.scale.high - said.scale.low)
    return msgspec.structs.replace(said, scale=UNIT, **{"value" if isinstance(said, Rating) else "score": unit})


def _counting(feedback: Feedback, strategy: str, weights: Mapping[str, float]) -> Iterator[Rating | Critique]:
    """What a strategy takes its scores from."""
    for item in feedback.completions:
        if strategy in _BY_CRITIQUE:
            if item.critique is not None and item.critique.score is not None:
                yield item.critique
        elif strategy in ("mean-rating", "weighted"):
            for each in item.ratings:
                if each.value is not None and (weights.get(each.aspect) if weights else each.measures_quality):
                    yield each


def mean_with(missing: float) -> Score:
    """The mean rating in which each rating that cannot be read counts as ``missing``, N/A among them.

    Of an UltraFeedback completion, an aspect that is not rated at all is such a one too; without any rating the score
    is ``missing`` itself. Tulu 3 counts −1: https://arxiv.org/abs/2411.15124.
    """

    def score(completion: Completion) -> float:
        values = [missing if item.value is None else item.value for item in completion.ratings if item.measures_quality]
        rated = {item.aspect for item in completion.ratings}
        if rated & set(ASPECTS):
            values += [missing] * len(set(ASPECTS) - rated)
        return sum(values) / len(values) if values else missing

    return score

"""How far a round has come from the start: win rates, gains, length, diversity, and the warnings that follow.

Owns the arithmetic of answers that two or three models gave to the same prompts, which figures call for a warning, and
its words. Where answers, scores and log-probabilities come from is the business of ``steps.answers.rounds``; the win
rate at equal length is that of ``evaluate.length.win_rate``. Prompts are the clusters of all intervals.

A warning follows from intervals alone: a rise is an interval that lies above "no change". Over-optimisation of a reward
is described by Gao et al. (2023, https://arxiv.org/abs/2210.10760).
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence

from notus.core.errors import DataError
from notus.core.records import Record
from notus.evaluate.compare import differs, format_estimate, format_signed, negated, shifted
from notus.evaluate.length.win_rate import controlled_win_rate
from notus.stats.intervals import Estimate, clustered_mean, wilson_if_unanimous

__all__ = [
    "Gains",
    "Measures",
    "PromptAnswers",
    "distinct_ngrams",
    "find_warnings",
    "gains",
    "mean_win_rate",
    "measure_answers",
]


class PromptAnswers(Record, frozen=True):
    """What one model answered to one prompt, and what was made of it."""

    prompt_id: str
    texts: tuple[str, ...]
    ranked: tuple[float | None, ...]
    """The ranker's scores. They may be compared with those of other models of the same prompt, ranked together."""
    checked: tuple[float | None, ...] | None = None
    """The independent check's scores; None without a check."""
    truncated: int = 0
    """How many of the answers were cut at the token limit."""
    kl: tuple[float, ...] | None = None
    """log π(y|x) − log π_start(y|x) of each answer, in nats; None where it was not computed."""


_Values = Callable[[PromptAnswers], Sequence[float]]


class Gains(Record, frozen=True):
    """One model against another on the same prompts; each None with fewer than two prompts to compare."""

    win_rate: Estimate | None
    """Share of pairs of answers to one prompt in which the later model's has the higher score; a tie counts ½."""
    controlled: Estimate | None
    """The same at equal length, see ``controlled_win_rate``."""
    score: Estimate | None
    """Difference of the mean scores, prompt by prompt."""


class Measures(Record, frozen=True):
    """A round against the start, and against the round before."""

    round: int
    ranker: str
    check: str | None
    """Name of the independent check."""
    prompts: int
    answers: int
    ranked: Gains
    """By the ranker."""
    checked: Gains | None
    """By the independent check."""
    ranked_since: Gains | None
    """By the ranker, against the round before; None in the first round."""
    checked_since: Gains | None
    check_mean: Estimate | None
    """The check's own score of this round's answers."""
    check_start: Estimate | None
    """… and of the start's."""
    length: Estimate | None
    """Characters of an answer."""
    length_gain: Estimate | None
    """Characters more than the start's, prompt by prompt."""
    kl: Estimate | None
    """KL(π ‖ π_start) of whole answers, estimated by the model's own samples, in nats."""
    distinct_1: Estimate | None
    distinct_2: Estimate | None
    """Distinct words, and pairs of words, of all that stand in the answers to one prompt."""
    truncated: Estimate | None
    """Share of answers that were cut at the token limit."""
    warnings: tuple[str, ...] = ()

    @property
    def deciding(self) -> Gains:
        """The gains by the independent check where there is one, otherwise by the ranker."""
        return self.checked or self.ranked


def measure_answers(
    number: int,
    after: Sequence[PromptAnswers],
    start: Sequence[PromptAnswers],
    before: Sequence[PromptAnswers] | None,
    *,
    ranker: str,
    check: str | None,
) -> Measures:
    """Measure the model of a round.

    Args:
        number: of the round, from 1.
        after: the round's answers, one entry for each prompt.
        start: the start's answers to the same prompts, in the same order.
        before: those of the round before; None in the first round.
        ranker: name of the ranker.
        check: name of the independent check, None without one.

    Raises:
        DataError: if the prompts are not the same, or there is none.
    """
    for other in (start, before or start):
        if not after or [item.prompt_id for item in after] != [item.prompt_id for item in other]:
            raise DataError("the models of two rounds can be compared on the same prompts only, and these differ")
    return Measures(
        round=number,
        ranker=ranker,
        check=check,
        prompts=len(after),
        answers=sum(len(item.texts) for item in after),
        ranked=gains(after, start, checked=False),
        checked=gains(after, start, checked=True) if check else None,
        ranked_since=gains(after, before, checked=False) if before else None,
        checked_since=gains(after, before, checked=True) if before and check else None,
        check_mean=_over_prompts(after, lambda item: _drop_missing(item.checked or ())),
        check_start=_over_prompts(start, lambda item: _drop_missing(item.checked or ())),
        length=_over_prompts(after, _lengths),
        length_gain=_difference(after, start, _lengths),
        kl=_over_prompts(after, lambda item: list(item.kl or ())),
        distinct_1=_over_prompts(after, lambda item: distinct_ngrams(item.texts, 1)),
        distinct_2=_over_prompts(after, lambda item: distinct_ngrams(item.texts, 2)),
        truncated=_over_prompts(after, lambda item: [item.truncated / len(item.texts)] if item.texts else []),
    )


def gains(after: Sequence[PromptAnswers], before: Sequence[PromptAnswers], *, checked: bool) -> Gains:
    """Compare two models by the ranker's scores, or by the check's."""

    def scores(item: PromptAnswers) -> tuple[float | None, ...]:
        return (item.checked or ()) if checked else item.ranked

    wins, longer, ids = [], [], []
    for late, early in zip(after, before, strict=True):
        for a, text in zip(scores(late), late.texts, strict=True):
            for b, other in zip(scores(early), early.texts, strict=True):
                if a is not None and b is not None:
                    wins.append(1.0 if a > b else 0.5 if a == b else 0.0)
                    longer.append(float(len(text) - len(other)))
                    ids.append(late.prompt_id)
    return Gains(
        win_rate=mean_win_rate(wins, ids),
        controlled=controlled_win_rate(wins, longer, ids),
        score=_difference(after, before, lambda item: _drop_missing(scores(item))),
    )


def mean_win_rate(wins: Sequence[float], prompts: Sequence[str]) -> Estimate | None:
    """Mean over prompts of the share of pairs that are won, whatever the number of pairs of a prompt."""
    shares: dict[str, list[float]] = {}
    for win, prompt in zip(wins, prompts, strict=True):
        shares.setdefault(prompt, []).append(win)
    return clustered_mean([math.fsum(of) / len(of) for of in shares.values()], list(shares)) if shares else None


def distinct_ngrams(texts: Sequence[str], size: int) -> list[float]:
    """Share of the n-grams of ``size`` words in several texts that are distinct (Li et al. 2016, section 5.3,
    https://arxiv.org/abs/1510.03055), as a list of one number; empty where no text is long enough."""
    words = [re.findall(r"\w+", text.casefold()) for text in texts]
    ngrams = [tuple(of[start : start + size]) for of in words for start in range(len(of) - size + 1)]
    return [len(set(ngrams)) / len(ngrams)] if ngrams else []


def find_warnings(measures: Measures) -> tuple[str, ...]:
    """What must be said of a round, in plain words; empty when there is nothing to warn of."""
    found = [*_over_optimised(measures), *_since_before(measures)]
    found += _length_explains(measures.ranked, measures, measures.ranker)
    if measures.checked is not None and measures.check is not None:
        found += _length_explains(measures.checked, measures, measures.check)
    return tuple(found)


def _drop_missing(scores: Sequence[float | None]) -> list[float]:
    return [score for score in scores if score is not None]


def _lengths(item: PromptAnswers) -> list[float]:
    return [float(len(text)) for text in item.texts]


def _over_prompts(items: Sequence[PromptAnswers], values: _Values) -> Estimate | None:
    """Mean over prompts of the mean of what each has; a prompt without any is left out."""
    means = {item.prompt_id: math.fsum(of) / len(of) for item in items if (of := values(item))}
    return clustered_mean(list(means.values()), list(means)) if means else None


def _difference(after: Sequence[PromptAnswers], before: Sequence[PromptAnswers], values: _Values) -> Estimate | None:
    found = {}
    for late, early in zip(after, before, strict=True):
        a, b = values(late), values(early)
        if a and b:
            found[late.prompt_id] = math.fsum(a) / len(a) - math.fsum(b) / len(b)
    return clustered_mean(list(found.values()), list(found)) if found else None


def _rises(change: Estimate | None) -> bool:
    """Whether a difference lies above 0."""
    return change is not None and change.mean > 0 and differs(change)


def _falls(change: Estimate | None) -> bool:
    """Whether a difference lies below 0."""
    return change is not None and change.mean < 0 and differs(change)


def _over_optimised(measures: Measures) -> Iterator[str]:
    """The ranker's score has risen since the start, and the independent check's has not."""
    if measures.checked is None or not _rises(measures.ranked.score):
        return
    check = measures.checked.score
    if check is None or _rises(check):
        return
    assert measures.ranked.score is not None
    risen = f"the score of the ranker '{measures.ranker}' rose by {format_estimate(measures.ranked.score, sign=True)}"
    if _falls(check):
        yield (
            f"Over-optimisation: since the start {risen}, while the independent check '{measures.check}' fell by "
            f"{format_estimate(negated(check))}. The model learns to please the ranker. Stop at an earlier round, "
            "train less, or take another ranker."
        )
    else:
        yield (
            f"Over-optimisation is possible: since the start {risen}, and the independent check '{measures.check}' "
            f"shows no rise: {format_estimate(check, sign=True)}. {_describe_reach(check)}"
        )


def _describe_reach(check: Estimate) -> str:
    if check.width == 0:
        return "It does not move at all."
    return f"A rise above {format_signed(check.high)} is unlikely; more prompts would tell."


def _since_before(measures: Measures) -> Iterator[str]:
    """From one round to the next the ranker's score rises and the check's falls, whatever the start was."""
    ranked, checked = measures.ranked_since, measures.checked_since
    if ranked is None or checked is None or not (_rises(ranked.score) and _falls(checked.score)):
        return
    assert ranked.score is not None
    assert checked.score is not None
    yield (
        f"The last round was one too many: since round {measures.round - 1} the ranker rose by "
        f"{format_estimate(ranked.score, sign=True)} and the independent check fell by "
        f"{format_estimate(negated(checked.score))}."
    )


def _length_explains(gains: Gains, measures: Measures, judge: str) -> Iterator[str]:
    """The win rate is above one half, the lengths differ, and at equal length nothing or less than half is left."""
    if gains.win_rate is None or gains.controlled is None or measures.length_gain is None:
        return
    above = shifted(gains.win_rate, -0.5)
    changed = _rises(measures.length_gain) or _falls(measures.length_gain)
    if not _rises(above) or not changed:
        return
    # The interval at equal length is made on another scale, where one half is 0: its borders are what counts.
    none = gains.controlled.low <= 0.5 and gains.controlled.mean - 0.5 < above.mean / 2
    if none or gains.controlled.high - 0.5 < above.low / 2:
        share = "the gain" if none else "most of the gain"
        side = "longer" if measures.length_gain.mean > 0 else "shorter"
        rate = format_estimate(wilson_if_unanimous(gains.win_rate))
        yield (
            f"Length explains {share} by '{judge}': a win rate of {rate} over the start is "
            f"{format_estimate(gains.controlled)} at equal length, and answers are {side} by "
            f"{format_estimate(measures.length_gain, sign=True, digits=1)} characters."
        )

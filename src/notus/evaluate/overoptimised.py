"""Warnings after a round: the ranker is satisfied and nobody else is, or the answers have only become longer.

Owns which measures call for a warning, and the words. A warning follows from intervals alone: a rise is an interval
that lies above "no change". Over-optimisation of a reward is described by Gao et al. (2023,
https://arxiv.org/abs/2210.10760).
"""

from collections.abc import Iterator
from dataclasses import replace

from notus.core.statistics import Estimate, p_value
from notus.evaluate.compare import signed, spoken
from notus.evaluate.roundmeasures import Gains, Measures
from notus.evaluate.shares import certain

__all__ = ["falls", "rises", "warnings"]

_LIMIT = 0.05


def warnings(measures: Measures) -> tuple[str, ...]:
    """What must be said of a round, in plain words; empty when there is nothing to warn of."""
    found = [*_over_optimised(measures), *_since_before(measures)]
    return (*found, *_length(measures.ranked, measures, measures.ranker), *_length_of_check(measures))


def rises(change: Estimate | None) -> bool:
    """Whether a difference lies above 0: by the p-value, as two equal differences have an interval of no width."""
    return change is not None and change.mean > 0 and p_value(change) < _LIMIT


def falls(change: Estimate | None) -> bool:
    """Whether a difference lies below 0."""
    return change is not None and change.mean < 0 and p_value(change) < _LIMIT


def _over_optimised(measures: Measures) -> Iterator[str]:
    """The ranker's score has risen since the start, and the independent check's has not."""
    if measures.checked is None or not rises(measures.ranked.score):
        return
    check = measures.checked.score
    if check is None or rises(check):
        return
    assert measures.ranked.score is not None
    risen = f"the score of the ranker '{measures.ranker}' rose by {spoken(measures.ranked.score, sign=True)}"
    if falls(check):
        yield (
            f"Over-optimisation: since the start {risen}, while the independent check '{measures.check}' fell by "
            f"{_down(check)}. The model learns to please the ranker. Stop at an earlier round, train less, "
            "or take another ranker."
        )
    else:
        yield (
            f"Over-optimisation is possible: since the start {risen}, and the independent check '{measures.check}' "
            f"shows no rise: {spoken(check, sign=True)}. {_further(check)}"
        )


def _down(change: Estimate) -> str:
    """How far something fell, without a sign."""
    return spoken(replace(change, mean=-change.mean, low=-change.high, high=-change.low))


def _further(check: Estimate) -> str:
    if check.width == 0:
        return "It does not move at all."
    return f"A rise above {signed(check.high)} is unlikely; more prompts would tell."


def _since_before(measures: Measures) -> Iterator[str]:
    """From one round to the next the ranker's score rises and the check's falls, whatever the start was."""
    ranked, checked = measures.ranked_since, measures.checked_since
    if ranked is None or checked is None or not (rises(ranked.score) and falls(checked.score)):
        return
    assert ranked.score is not None
    assert checked.score is not None
    yield (
        f"The last round was one too many: since round {measures.round - 1} the ranker rose by "
        f"{spoken(ranked.score, sign=True)} and the independent check fell by {_down(checked.score)}."
    )


def _length_of_check(measures: Measures) -> Iterator[str]:
    if measures.checked is not None and measures.check is not None:
        yield from _length(measures.checked, measures, measures.check)


def _length(gains: Gains, measures: Measures, judge: str) -> Iterator[str]:
    """The win rate is above one half, the lengths differ, and at equal length nothing or less than half is left."""
    if gains.win_rate is None or gains.controlled is None or measures.length_gain is None:
        return
    above = replace(
        gains.win_rate,
        mean=gains.win_rate.mean - 0.5,
        low=gains.win_rate.low - 0.5,
        high=gains.win_rate.high - 0.5,
    )
    changed = rises(measures.length_gain) or falls(measures.length_gain)
    if not rises(above) or not changed:
        return
    # The interval at equal length is made on another scale, where one half is 0: its borders are what counts.
    none = gains.controlled.low <= 0.5 and gains.controlled.mean - 0.5 < above.mean / 2
    if none or gains.controlled.high - 0.5 < above.low / 2:
        share = "the gain" if none else "most of the gain"
        side = "longer" if measures.length_gain.mean > 0 else "shorter"
        yield (
            f"Length explains {share} by '{judge}': a win rate of {spoken(certain(gains.win_rate))} over the start is "
            f"{spoken(gains.controlled)} at equal length, and answers are {side} by "
            f"{spoken(measures.length_gain, sign=True, digits=1)} characters."
        )

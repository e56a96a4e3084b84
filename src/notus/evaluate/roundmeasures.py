"""How far a round has come from the start: win rates, length-controlled ones, gains, length, diversity, with intervals.

Owns the arithmetic of answers that two or three models gave to the same prompts. Which warnings follow from it is the
business of ``overoptimised``; where answers, scores and log-probabilities come from is that of ``flow``. Prompts are
the clusters of all intervals.
"""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.core.records import Record
from notus.core.statistics import Estimate, clustered_mean, proportion, t_quantile

__all__ = ["Answers", "Gains", "Measures", "controlled_win_rate", "distinct", "gains", "measure", "win_rate"]

_RIDGE = 0.01
"""Weight, in prompts, of the pull of both coefficients to 0, which keeps them finite where length decides all."""
_STEPS = 100
Vector = NDArray[np.float64]


class Answers(Record, frozen=True):
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


_Values = Callable[[Answers], Sequence[float]]


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


def measure(
    number: int,
    after: Sequence[Answers],
    start: Sequence[Answers],
    before: Sequence[Answers] | None,
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
        check_mean=_over_prompts(after, lambda item: _scored(item.checked or ())),
        check_start=_over_prompts(start, lambda item: _scored(item.checked or ())),
        length=_over_prompts(after, _lengths),
        length_gain=_difference(after, start, _lengths),
        kl=_over_prompts(after, lambda item: list(item.kl or ())),
        distinct_1=_over_prompts(after, lambda item: distinct(item.texts, 1)),
        distinct_2=_over_prompts(after, lambda item: distinct(item.texts, 2)),
        truncated=_over_prompts(after, lambda item: [item.truncated / len(item.texts)] if item.texts else []),
    )


def gains(after: Sequence[Answers], before: Sequence[Answers], *, checked: bool) -> Gains:
    """Compare two models by the ranker's scores, or by the check's."""

    def scores(item: Answers) -> tuple[float | None, ...]:
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
        win_rate=win_rate(wins, ids),
        controlled=controlled_win_rate(wins, longer, ids),
        score=_difference(after, before, lambda item: _scored(scores(item))),
    )


def win_rate(wins: Sequence[float], prompts: Sequence[str]) -> Estimate | None:
    """Mean over prompts of the share of pairs that are won, whatever the number of pairs of a prompt."""
    shares: dict[str, list[float]] = {}
    for win, prompt in zip(wins, prompts, strict=True):
        shares.setdefault(prompt, []).append(win)
    return clustered_mean([math.fsum(of) / len(of) for of in shares.values()], list(shares)) if shares else None


def controlled_win_rate(wins: Sequence[float], longer: Sequence[float], prompts: Sequence[str]) -> Estimate | None:
    """The win rate at equal length, by a logistic regression with a term for length.

    With d the difference of the lengths and s the root of its mean square, each prompt with the weight 1::

        P(win) = σ(θ + φ · tanh(d/s))          the estimate is σ(θ)

    This is the length term of the length-controlled win rate of AlpacaEval 2 (Dubois et al. 2024, equation 1,
    https://arxiv.org/abs/2404.04475) without its terms for models and instructions. The interval is made for θ from
    the sandwich of the prompts' scores (Liang and Zeger 1986) with t(.975, G − 2), and carried through σ.

    Where all pairs are won or lost, or length alone tells the won from the lost, the likelihood has no maximum and only
    the ridge keeps θ finite; the sandwich, made of residuals that are next to nothing, would be far too sure. There the
    interval is that of the penalised profile likelihood (Heinze and Schemper 2002, Statistics in Medicine 21, pages
    2409–2419, with the ridge in the place of their penalty), all θ with ::

        2 · [max ℓ(θ, φ) − max over φ of ℓ(θ, φ)]  ≤  t(.975, G − 2)²

    and where all pairs agree it reaches at least as far as Wilson's of G prompts that all agree. Each prompt counts as
    one case, whatever the number of its pairs. Where the won are all longer it is wide, because nothing is known then
    of equal length.

    Args:
        wins: 1, ½ or 0 for each pair of answers.
        longer: characters that the later model's answer is longer by.
        prompts: the prompt of each pair.

    Returns:
        None with fewer than three prompts.
    """
    names = list(dict.fromkeys(prompts))
    if len(names) < 3:
        return None
    places = {name: number for number, name in enumerate(names)}
    index = np.array([places[prompt] for prompt in prompts])
    weight = 1.0 / np.bincount(index)[index]
    y, d = np.asarray(wins, dtype=np.float64), np.asarray(longer, dtype=np.float64)
    scale = math.sqrt(float((weight * d * d).sum() / weight.sum())) or 1.0
    design = np.column_stack([np.ones_like(d), np.tanh(d / scale)])
    beta, curvature = _fit(design, y, weight)
    if _separated(y, design[:, 1]):
        return _profiled(design, y, weight, beta, len(names))
    residuals = (weight * (y - _logistic(design @ beta)))[:, None] * design
    sums = np.stack([np.bincount(index, weights=column, minlength=len(names)) for column in residuals.T], axis=1)
    inverse = np.linalg.inv(curvature)
    spread = inverse @ (sums.T @ sums) @ inverse * len(names) / (len(names) - 1)
    half = t_quantile(0.975, len(names) - 2) * math.sqrt(max(0.0, float(spread[0, 0])))
    low, mean, high = (float(_logistic(np.float64(beta[0] + shift))) for shift in (-half, 0.0, half))
    return Estimate(mean, low, high, len(y), len(names), "logistic, clustered")


def distinct(texts: Sequence[str], size: int) -> list[float]:
    """Share of the runs of ``size`` words in several texts that are distinct (Li et al. 2016, section 5.3,
    https://arxiv.org/abs/1510.03055), as a list of one number; empty where no text is long enough."""
    words = [re.findall(r"\w+", text.casefold()) for text in texts]
    runs = [tuple(of[start : start + size]) for of in words for start in range(len(of) - size + 1)]
    return [len(set(runs)) / len(runs)] if runs else []


def _separated(y: Vector, t: Vector) -> bool:
    """Whether a border of t, or nothing at all, divides the won from the lost; a tie is half of each."""
    won, lost = t[y > 0], t[y < 1]
    if not len(won) or not len(lost):
        return True
    # With equal lengths throughout there is no border: the term for length is 0.
    return bool(t.any()) and bool(lost.max() <= won.min() or won.max() <= lost.min())


def _profiled(design: Vector, y: Vector, weight: Vector, beta: Vector, prompts: int) -> Estimate:
    """The estimate with the interval of the penalised profile likelihood of the constant."""
    slope, allowed = design[:, 1:], 0.5 * t_quantile(0.975, prompts - 2) ** 2
    best = _likelihood(design, y, weight, beta)

    def fallen(theta: float) -> bool:
        phi, _ = _fit(slope, y, weight, theta)
        return best - (_likelihood(slope, y, weight, phi, theta) - 0.5 * _RIDGE * theta * theta) > allowed

    def end(sign: float) -> float:
        inside, outside = 0.0, 1.0
        while not fallen(float(beta[0]) + sign * outside):
            inside, outside = outside, 2 * outside
        while outside - inside > 1e-6:
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if fallen(float(beta[0]) + sign * middle) else (middle, outside)
        return float(_logistic(np.float64(beta[0] + sign * outside)))

    low, mean, high = end(-1.0), float(_logistic(beta[0])), end(1.0)
    if y.min() == y.max() != 0.5:
        wilson = proportion(prompts if y[0] else 0, prompts)
        low, high = min(low, wilson.low), max(high, wilson.high)
    return Estimate(mean, low, high, len(y), prompts, "penalised profile likelihood")


def _likelihood(design: Vector, y: Vector, weight: Vector, beta: Vector, offset: float = 0.0) -> float:
    """Penalised, with a part of the linear term that is given."""
    z = design @ beta + offset
    return float(weight @ (y * z - np.logaddexp(0.0, z))) - 0.5 * _RIDGE * float(beta @ beta)


def _fit(design: Vector, y: Vector, weight: Vector, offset: float = 0.0) -> tuple[Vector, Vector]:
    """Coefficients and curvature of the penalised likelihood, by Newton's method with halved steps."""

    def value(beta: Vector) -> float:
        return _likelihood(design, y, weight, beta, offset)

    beta = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        p = _logistic(design @ beta + offset)
        slope = design.T @ (weight * (y - p)) - _RIDGE * beta
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + _RIDGE * np.eye(len(beta))
        step = np.linalg.solve(curvature, slope)
        while value(beta + step) < value(beta) and float(np.abs(step).max()) > 1e-12:
            step = step / 2
        beta = beta + step
        if float(np.abs(step).max()) < 1e-10:
            break
    p = _logistic(design @ beta + offset)
    return beta, (design * (weight * p * (1 - p))[:, None]).T @ design + _RIDGE * np.eye(len(beta))


def _logistic(z: Vector | np.float64) -> Vector:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def _scored(scores: Sequence[float | None]) -> list[float]:
    return [score for score in scores if score is not None]


def _lengths(item: Answers) -> list[float]:
    return [float(len(text)) for text in item.texts]


def _over_prompts(items: Sequence[Answers], values: _Values) -> Estimate | None:
    """Mean over prompts of the mean of what each has; a prompt without any is left out."""
    means = {item.prompt_id: math.fsum(of) / len(of) for item in items if (of := values(item))}
    return clustered_mean(list(means.values()), list(means)) if means else None


def _difference(after: Sequence[Answers], before: Sequence[Answers], values: _Values) -> Estimate | None:
    found = {}
    for late, early in zip(after, before, strict=True):
        a, b = values(late), values(early)
        if a and b:
            found[late.prompt_id] = math.fsum(a) / len(a) - math.fsum(b) / len(b)
    return clustered_mean(list(found.values()), list(found)) if found else None

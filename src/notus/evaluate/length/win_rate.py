"""The win rate of one model over another at equal length, for any prompts and any score.

Owns the model of ``controlled_win_rate``, its fit and its interval.

There are two models of length control, and both are needed. This one needs nothing but who won and by how much the
answers differ in length, and takes several pairs of a prompt. That of AlpacaEval 2 (``evaluate.length.alpaca``) gives
published figures again: it also needs the difficulty of each of AlpacaEval's instructions and the judgements of gamed
baselines, which other prompts do not have, and one judgement of an instruction.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from notus.stats.distributions import t_quantile
from notus.stats.intervals import Estimate, proportion

__all__ = ["controlled_win_rate", "logistic"]

Vector = NDArray[np.float64]
_RIDGE = 0.01
"""Weight, in prompts, of the pull of both coefficients to 0, which keeps them finite where length decides all."""
_STEPS = 100


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
    if _is_separated(y, design[:, 1]):
        return _profile_interval(design, y, weight, beta, len(names))
    residuals = (weight * (y - logistic(design @ beta)))[:, None] * design
    sums = np.stack([np.bincount(index, weights=column, minlength=len(names)) for column in residuals.T], axis=1)
    inverse = np.linalg.inv(curvature)
    spread = inverse @ (sums.T @ sums) @ inverse * len(names) / (len(names) - 1)
    half = t_quantile(0.975, len(names) - 2) * math.sqrt(max(0.0, float(spread[0, 0])))
    low, mean, high = (float(logistic(np.float64(beta[0] + shift))) for shift in (-half, 0.0, half))
    return Estimate(mean, low, high, len(y), len(names), "logistic, clustered")


def logistic(z: Vector | np.float64) -> Vector:
    """σ(z), elementwise, in a form that never overflows."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def _is_separated(y: Vector, t: Vector) -> bool:
    """Whether a border of t, or nothing at all, divides the won from the lost; a tie is half of each."""
    won, lost = t[y > 0], t[y < 1]
    if not len(won) or not len(lost):
        return True
    # With equal lengths throughout there is no border: the term for length is 0.
    return bool(t.any()) and bool(lost.max() <= won.min() or won.max() <= lost.min())


def _profile_interval(design: Vector, y: Vector, weight: Vector, beta: Vector, prompts: int) -> Estimate:
    """The estimate with the interval of the penalised profile likelihood of the constant."""
    lengths, allowed = design[:, 1:], 0.5 * t_quantile(0.975, prompts - 2) ** 2
    best = _likelihood(design, y, weight, beta)

    def lies_outside(theta: float) -> bool:
        phi, _ = _fit(lengths, y, weight, theta)
        return best - (_likelihood(lengths, y, weight, phi, theta) - 0.5 * _RIDGE * theta * theta) > allowed

    def end(sign: float) -> float:
        inside, outside = 0.0, 1.0
        while not lies_outside(float(beta[0]) + sign * outside):
            inside, outside = outside, 2 * outside
        while outside - inside > 1e-6:
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if lies_outside(float(beta[0]) + sign * middle) else (middle, outside)
        return float(logistic(np.float64(beta[0] + sign * outside)))

    low, mean, high = end(-1.0), float(logistic(beta[0])), end(1.0)
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
        p = logistic(design @ beta + offset)
        gradient = design.T @ (weight * (y - p)) - _RIDGE * beta
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + _RIDGE * np.eye(len(beta))
        step = np.linalg.solve(curvature, gradient)
        while value(beta + step) < value(beta) and float(np.abs(step).max()) > 1e-12:
            step = step / 2
        beta = beta + step
        if float(np.abs(step).max()) < 1e-10:
            break
    p = logistic(design @ beta + offset)
    return beta, (design * (weight * p * (1 - p))[:, None]).T @ design + _RIDGE * np.eye(len(beta))

"""A share known from labels in strata of known size: the interval where both people and judge say yes or no.

With stratum k (what the judge said) of weight W, n labels and x yes among them, the share is θ = Σ W x/n. Its interval
holds each θ that the labels do not speak against. For a θ the likeliest shares p solve x/p − (n−x)/(1−p) = μW with one
μ for all strata, and how far the labels x are from the expected np is measured by Cressie and Read's divergence::

    D = 2/(λ(λ+1)) Σ observed ((observed/expected)^λ − 1)       V = Σ W² p(1−p)/n       D · V / (V' + δ) ≤ z²

V' is V with n/(n−1), of a finite set times the share that is not labelled; δ the variance of the weights. λ = 1 is the
score interval (Wilson's, where there is one stratum; Tango's for pairs), which covers 98 % where a good judge errs on
two or three of fifty labels; λ = 0 is the likelihood ratio, which covers 93 % there with a hundred. ``ORDER`` lies
between, by ``benchmarks.corrected``. Near none and near all both know more than a t interval, whose width is nothing
where no label contradicts the judge.

Source: Cressie and Read (1984), J. Royal Statistical Society B 46, pages 440–464; the constrained likelihood is that of
Miettinen and Nurminen (1985), Statistics in Medicine 4, pages 213–226. Owns the interval alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["ORDER", "Stratum", "distance_from", "share_in_strata"]

ORDER = 1 / 8
"""λ of the divergence."""
_Z = NormalDist().inv_cdf(0.975)
_FIRST, _LAST, _STEP = 0.0, 20.0, 0.7
"""Bounds of log μ, and how it is stepped through. What is nearer than μ = 1 is no distance for an interval."""
_ROUNDS, _NEAR = 80, 1e-6


@dataclass(frozen=True)
class Stratum:
    """One stratum."""

    weight: float
    """Its share of all that is judged."""
    cases: int
    """Labels in it, at least one."""
    hits: int
    """Those that say yes."""
    open: float = 1.0
    """Share of it that is not labelled, where just these answers are asked about; 1 where others like them are."""


def share_in_strata(strata: Sequence[Stratum], other: float = 0.0) -> tuple[float, float, float]:
    """The share and the ends of its 95 % interval.

    Args:
        strata: whose weights add up to 1.
        other: variance that the weights add, as the judge's share is itself known from so many answers only.
    """
    share = sum(each.weight * each.hits / each.cases for each in strata)
    n = sum(each.cases for each in strata)
    inflation = n / (n - 1) if n > 1 else 1.0
    return share, _end(strata, other, inflation, 1), _end(strata, other, inflation, -1)


def distance_from(strata: Sequence[Stratum], share: float, other: float = 0.0) -> float:
    """How far the labels are from a share, squared in standard errors: above 1.96² they speak against it.

    Args:
        strata: whose weights add up to 1.
        share: from 0 to 1.
        other: variance that the share has of its own.
    """
    n = sum(each.cases for each in strata)
    inflation = n / (n - 1) if n > 1 else 1.0
    observed = sum(each.weight * each.hits / each.cases for each in strata)
    side = 1 if observed > share else -1

    def beyond(log_mu: float) -> float:
        return side * (share - _distance(strata, other, inflation, side * math.exp(log_mu))[0])

    return _distance(strata, other, inflation, side * math.exp(_crossing(beyond)))[1]


def _end(strata: Sequence[Stratum], other: float, inflation: float, side: int) -> float:
    """The share at which the labels begin to speak against it: below the observed one with 1, above with −1."""

    def beyond(log_mu: float) -> float:
        far = _distance(strata, other, inflation, side * math.exp(log_mu))[1]
        return math.log(far / _Z**2) if far > 0 else -math.inf

    return _distance(strata, other, inflation, side * math.exp(_crossing(beyond)))[0]


def _crossing(beyond: Callable[[float], float]) -> float:
    """The first log μ at which a function reaches 0: stepped to, then by false position (Illinois)."""
    low = high = _FIRST
    at_low = at_high = beyond(high)
    while at_high < 0 and high < _LAST:
        low, at_low = high, at_high
        high += _STEP
        at_high = beyond(high)
    for _ in range(_ROUNDS):
        if at_high < 0 or high - low < _NEAR:
            break
        known = math.isfinite(at_low) and math.isfinite(at_high) and at_low < at_high
        middle = low - at_low * (high - low) / (at_high - at_low) if known else (low + high) / 2
        at_middle = beyond(middle)
        if abs(at_middle) < _NEAR:
            return middle
        if at_middle > 0:
            high, at_high, at_low = middle, at_middle, at_low / 2
        else:
            low, at_low, at_high = middle, at_middle, at_high / 2
    return high


def _distance(strata: Sequence[Stratum], other: float, inflation: float, mu: float) -> tuple[float, float]:
    """The share that μ stands for, and how far the labels are from it, squared in standard errors."""
    share = divergence = variance = inflated = 0.0
    for each in strata:
        yes, no = _likeliest(each, mu * each.weight)
        share += each.weight * yes
        of = each.weight**2 * yes * no / each.cases
        variance += of
        inflated += of * each.open * inflation
        divergence += _read(each.hits, each.cases * yes) + _read(each.cases - each.hits, each.cases * no)
    if inflated + other <= 0:
        return share, math.inf if divergence > 0 else 0.0
    return share, max(divergence, 0.0) * variance / (inflated + other)


def _likeliest(stratum: Stratum, k: float) -> tuple[float, float]:
    """p and 1 − p with x/p − (n−x)/(1−p) = k, each by the root that keeps its digits."""
    n, x = stratum.cases, stratum.hits
    root = math.sqrt(max((n + k) ** 2 - 4 * k * x, 0.0))
    if k >= 0:
        yes = 2 * x / (n + k + root)
        return yes, 1 - yes
    no = 2 * (n - x) / (n - k + root)
    return 1 - no, no


def _read(observed: int, expected: float) -> float:
    """What one count adds to the divergence. The sum over all counts of observed − expected is 0."""
    if observed == 0:
        return 0.0
    if expected <= 0:
        return math.inf
    ratio: float = (observed / expected) ** ORDER
    return 2 / (ORDER * (ORDER + 1)) * observed * (ratio - 1)

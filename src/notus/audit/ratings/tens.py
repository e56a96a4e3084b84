"""10s that may be misread 1s: how likely each is one, and what chance alone would say of a deserved 10.

The 10s have a known way to be false: deserved 1s were recorded as 10. So each 10 is weighed between the two. What the
other views of an answer look like for a deserved 1 and a deserved 10 is told by the lowest and the highest scores of
the set other than 10, with normal scores x of the views, means m and a common covariance C (Fisher's discriminant)::

    logit P(false | x) = (m₁ − m₀)ᵀ C⁻¹ (x − (m₀ + m₁)/2) + logit π

π, the share of false ones among the 10s, is fitted to the 10s themselves by EM. No rate of faults is assumed, and no
10 takes part in what a 10 should look like, however many are false. Above ½ a 10 is more likely false than not.

P is as right as the two bells are, and far from both they are not. So beside it stands a p that needs no bell: the next
scores below 10 are decoys. They cannot be misread 1s, and their views are, if anything, worse than those of deserved
10s; a deserved 10 looks as bad as a 10 in question at most as often as they do (``stats.false_discovery.decoy_p``).

Owns the two numbers. What else speaks against a score is the business of ``audit.signals``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from notus.stats.false_discovery import decoy_p
from notus.stats.ranks import normal_scores

__all__ = ["TEN", "Tens", "false_tens", "weigh_tens"]

Floats = NDArray[np.float64]

TEN = 10.0
_EDGE = 0.02
_LEAST_AT_EDGE = 20
_DECOYS, _LEAST_DECOYS = 3, 100
"""Decoys that are looked for: so many for each 10, and so many at least, as long as they lie above the median."""


@dataclass(frozen=True)
class Tens:
    """What is known of each 10; NaN for other scores, and where the set cannot tell."""

    false: Floats
    """Chance that it is a misread 1."""
    p: Floats
    """Chance that a deserved 10 looks at least so bad."""


def false_tens(scores: Floats, views: Sequence[Floats]) -> Floats:
    """Chance that a 10 is a 1 misread; see ``weigh_tens``."""
    return weigh_tens(scores, views).false


def weigh_tens(scores: Floats, views: Sequence[Floats]) -> Tens:
    """Weigh each 10.

    Args:
        scores: overall scores.
        views: mean ratings, scores by the wording …: what a higher value of speaks for a better answer. A view that is
            missing (NaN) counts as its median.

    Returns:
        NaN throughout without a 10, without a view, or with fewer than twenty scores at either end.
    """
    nothing = Tens(np.full(len(scores), np.nan), np.full(len(scores), np.nan))
    ten, usable = scores == TEN, [view for view in views if np.isfinite(view).any()]
    other = np.isfinite(scores) & ~ten
    if not ten.any() or not usable or other.sum() < 2 * _LEAST_AT_EDGE:
        return nothing
    low, high = (_edge(scores, other, side) for side in (1, -1))
    if len(low) < _LEAST_AT_EDGE or len(high) < _LEAST_AT_EDGE or len(np.intersect1d(low, high)):
        return nothing
    tens = np.flatnonzero(ten)
    decoys = _decoys(scores, other, len(tens))
    bad, good, x, beside = _columns_of(usable, (low, high, tens, decoys))
    covariance = (np.cov(bad.T, ddof=0) * len(bad) + np.cov(good.T, ddof=0) * len(good)) / (len(bad) + len(good))
    covariance = np.atleast_2d(covariance) + 1e-6 * np.eye(len(usable))
    weights = np.linalg.solve(covariance, bad.mean(axis=0) - good.mean(axis=0))
    middle = (bad.mean(axis=0) + good.mean(axis=0)) / 2
    # Rounded, so that equal 10s stay equal whatever the last bit of their sums is.
    logits, others = (np.round((part - middle) @ weights, 9) for part in (x, beside))
    nothing.false[tens] = _mixture(logits)
    nothing.p[tens] = decoy_p(logits, others)
    return nothing


def _edge(scores: Floats, other: NDArray[np.bool_], side: int) -> NDArray[np.intp]:
    """The fiftieth of the scores at one end, at least ``_LEAST_AT_EDGE``, with all that equal the last of them."""
    values = np.sort(side * scores[other])
    border = values[max(_LEAST_AT_EDGE, int(len(values) * _EDGE)) - 1]
    return np.flatnonzero(other & (side * scores <= border))


def _decoys(scores: Floats, other: NDArray[np.bool_], tens: int) -> NDArray[np.intp]:
    """The highest scores other than 10, whole scores at a time; none from below the median but of the highest score."""
    values, counts = np.unique(scores[other], return_counts=True)
    enough = int(np.searchsorted(np.cumsum(counts[::-1]), max(_DECOYS * tens, _LEAST_DECOYS)))
    border = max(values[max(len(values) - 1 - enough, 0)], np.median(scores[other]))
    return np.flatnonzero(other & (scores >= min(border, values[-1])))


def _columns_of(views: Sequence[Floats], groups: Sequence[NDArray[np.intp]]) -> list[Floats]:
    """Of each group of rows, a column for each view: normal scores in the set; what is missing is in the middle."""
    columns: list[list[Floats]] = [[] for _ in groups]
    for view in views:
        scores = normal_scores(view)
        for group, found in zip(groups, columns, strict=True):
            found.append(np.nan_to_num(scores[group], nan=0.0))
    return [np.stack(found, axis=1) for found in columns]


def _mixture(logits: Floats) -> Floats:
    """Chances by Bayes' rule, with the share of the first kind fitted by EM; half a case of each kind is added."""
    share, chances = 0.5, np.full(len(logits), 0.5)
    for _ in range(500):
        chances = 1 / (1 + np.exp(-np.clip(logits + math.log(share / (1 - share)), -500, 500)))
        before, share = share, (float(chances.sum()) + 0.5) / (len(logits) + 1)
        if abs(share - before) < 1e-9:
            break
    return chances

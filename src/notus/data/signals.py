"""Why a completion's record is suspicious: signals on one scale, combined into one strength, with their reasons.

Every signal is a number for each completion (NaN: not known) and becomes the chance p that a sound record would look
at least so odd. The strength of a suspicion is −log10 of the smallest p, and the signals below ``REASON`` are its
reasons, the strongest first.

* Two views of one thing, such as overall score and ratings, are put on mid-ranks, 0 to 1; their difference d is signed
  (positive: the score is higher than the other says). Under an empirical null (Efron 2004, J. American Statistical
  Association 99, pages 96–104), z = d / s with s the median of abs(d) over 0.6745, and p = 2Φ(−abs(z)). Half of the set
  may be faulty before s tells of the faults. The tails of honest disagreement are heavier than normal ones: p ranks,
  and is no promise of a rate of error.
* Views that share the overall score (ratings, wording of the critique) also speak together: z = Σz, divided by its own
  s, which allows for their dependence (after Stouffer et al. 1949). It is one more signal, and its parts are reasons.
* The place among the siblings is told by the same two numbers as the score against the ratings: it is named as a
  reason, and adds nothing to the strength.
* The 10s have a known way to be false: deserved 1s were recorded as 10. So each 10 is weighed between the two. What
  ratings and wording look like for a deserved 1 and a deserved 10 is told by the lowest and the highest scores of the
  set other than 10, with normal scores x of the views, means m and a common covariance C (Fisher's discriminant)::

      logit P(false | x) = (m₁ − m₀)ᵀ C⁻¹ (x − (m₀ + m₁)/2) + logit π

  π, the share of false ones among the 10s, is fitted to the 10s themselves by EM. No rate of faults is assumed, and no
  10 takes part in what a 10 should look like, however many are false. Above ½ a 10 is more likely false than not.

Owns the arithmetic, on columns. Where the columns come from is the business of ``data.audit``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError

__all__ = [
    "REASON",
    "SIGNALS",
    "Weighed",
    "agreement",
    "beside_siblings",
    "false_tens",
    "margins_against_labels",
    "mid_ranks",
    "tail",
    "weigh",
]

Floats = NDArray[np.float64]

SIGNALS = {
    "ten-for-one": "a 10 that ratings and wording show to be a 1 misread",
    "score-against-ratings": "the overall score is far from what the ratings say",
    "score-against-wording": "the overall score is far from what the critique's wording says",
    "score-against-siblings": "the answer's place among its siblings is another by score than by ratings",
    "score-against-all": "ratings and wording together contradict the overall score",
    "rating-against-rationale": "a rating is far from what its rationale's wording says",
    "spread-of-ratings": "repeated ratings of one aspect disagree",
    "same-text-other-score": "another answer to the prompt has the same text and another score",
    "reward-against-label": "a model that has not seen the prompt rewards the rejected answer",
}
"""Slug → what it says of a completion."""

REASON = 0.01
"""A signal is named as a reason when a sound record would look at least so odd at most so often."""

_TOLD_ALREADY = "score-against-siblings"
_AT_ONCE = 65_536
_TEN = 10.0
_EDGE = 0.02
_LEAST = 20
_MEDIAN = 0.6744897501960817
"""Median of the absolute value of a standard normal."""


@dataclass(frozen=True)
class Weighed:
    """Suspicion of each completion, in columns."""

    strength: Floats
    """−log10 of the smallest p; NaN where no signal is known."""
    p: Mapping[str, Floats]
    """Slug → p of each completion."""
    direction: Floats
    """+1 where the score is too high, −1 too low, 0 unknown."""

    def reasons(self, index: int) -> tuple[str, ...]:
        """The slugs of a completion, the strongest first."""
        found = [(float(values[index]), slug) for slug, values in self.p.items() if values[index] <= REASON]
        return tuple(slug for _, slug in sorted(found, key=lambda pair: pair[0]))


def mid_ranks(values: Sequence[float] | Floats) -> Floats:
    """Rank of each value among all, 0 to 1, equal values in the middle of their places: (below + ½ equal) / n.

    NaN stays NaN, and does not count.
    """
    data = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(data)
    ranks = np.full(len(data), np.nan)
    if known.any():
        _, place, counts = np.unique(data[known], return_inverse=True, return_counts=True)
        ranks[known] = (np.cumsum(counts) - counts / 2)[place] / known.sum()
    return ranks


def agreement(score: Floats, view: Floats) -> Floats:
    """Mid-rank of the score minus mid-rank of another view, both among the completions that have both; −1 to 1."""
    both = ~(np.isnan(score) | np.isnan(view))
    found: Floats = mid_ranks(np.where(both, score, np.nan)) - mid_ranks(np.where(both, view, np.nan))
    return found


def beside_siblings(difference: Floats, prompts: NDArray[np.unsignedinteger]) -> Floats:
    """A completion's difference minus the median of its prompt's; NaN with fewer than three that have one.

    What a whole prompt shares, such as a strict judge in one of the two calls, is taken out; a single faulty sibling
    does not move the median of three.
    """
    found = np.full(len(difference), np.nan)
    known = np.flatnonzero(~np.isnan(difference))
    if not len(known):
        return found
    _, group, counts = np.unique(prompts[known], return_inverse=True, return_counts=True)
    values = difference[known][np.lexsort((difference[known], group))]
    starts = np.cumsum(counts) - counts
    medians = (values[starts + (counts - 1) // 2] + values[starts + counts // 2]) / 2
    found[known] = np.where(counts[group] > 2, difference[known] - medians[group], np.nan)
    return found


def tail(difference: Floats) -> Floats:
    """p of each difference under the empirical null; NaN stays, and p is 1 where nothing differs at all."""
    z = np.abs(_z(difference)) / math.sqrt(2)
    found = np.empty(len(z))
    for start in range(0, len(z), _AT_ONCE):
        # The C function over a list: some sixty nanoseconds a value, and to the last bit what it gives for one. A list
        # of all values would take five times what they take.
        part = z[start : start + _AT_ONCE].tolist()
        found[start : start + len(part)] = np.fromiter(map(math.erfc, part), np.float64, len(part))
    return np.maximum(found, 1e-300, out=found)


def false_tens(scores: Floats, views: Sequence[Floats]) -> Floats:
    """Chance that a 10 is a 1 misread; NaN for other scores, and where the set cannot tell.

    Args:
        scores: overall scores.
        views: mean ratings, scores by the wording …: what a higher value of speaks for a better answer. A view that is
            missing (NaN) counts as its median.

    Returns:
        NaN throughout without a 10, without a view, or with fewer than twenty scores at either end.
    """
    found = np.full(len(scores), np.nan)
    ten, usable = scores == _TEN, [view for view in views if np.isfinite(view).any()]
    other = np.isfinite(scores) & ~ten
    if not ten.any() or not usable or other.sum() < 2 * _LEAST:
        return found
    x = np.stack([_normal_scores(view) for view in usable], axis=1)
    low, high = (_edge(scores, other, side) for side in (1, -1))
    if len(low) < _LEAST or len(high) < _LEAST or len(np.intersect1d(low, high)):
        return found
    bad, good = x[low], x[high]
    covariance = (np.cov(bad.T, ddof=0) * len(bad) + np.cov(good.T, ddof=0) * len(good)) / (len(bad) + len(good))
    covariance = np.atleast_2d(covariance) + 1e-6 * np.eye(x.shape[1])
    weights = np.linalg.solve(covariance, bad.mean(axis=0) - good.mean(axis=0))
    logits = (x[ten] - (bad.mean(axis=0) + good.mean(axis=0)) / 2) @ weights
    found[ten] = _mixture(logits)
    return found


def margins_against_labels(margins: Sequence[float]) -> Floats:
    """p that a sound pair has an implicit-reward margin so low; 1 for margins above 0.

    The margin is β·(log π/π_ref of chosen − of rejected), from a model that was trained without the pair's prompt.
    z = margin / s, with s the median absolute margin over 0.6745, and p = Φ(z).

    Raises:
        DataError: if a margin is not finite.
    """
    data = np.asarray(margins, dtype=np.float64)
    if not np.isfinite(data).all():
        raise DataError("a reward margin is not a finite number; leave such pairs out and count them")
    return np.where(data >= 0, 1.0, tail(data) / 2) if len(data) else data


def weigh(
    differences: Mapping[str, Floats], chances: Mapping[str, Floats], others: Mapping[str, Floats], count: int
) -> Weighed:
    """Combine signals.

    Args:
        differences: slug → signed differences of the overall score from another view. They also speak together.
        chances: slug → p, for signals that are chances already.
        others: slug → differences that do not concern the overall score, such as spreads.
        count: number of completions.
    """
    p = {slug: tail(values) for slug, values in {**differences, **others}.items()} | dict(chances)
    views = [values for slug, values in differences.items() if slug != _TOLD_ALREADY]
    together, unknown = np.zeros(count), np.zeros(count, bool)
    for values in views:
        z = _z(values)
        unknown |= np.isnan(z)
        together += np.nan_to_num(z, copy=False)
    direction = np.sign(together)
    if len(views) > 1:
        together[unknown] = np.nan
        p["score-against-all"] = tail(together)
    smallest = np.full(count, np.inf)
    for values in (values for slug, values in p.items() if slug != _TOLD_ALREADY):
        smallest = np.fmin(smallest, values)
    strength = np.where(np.isinf(smallest), np.nan, np.abs(np.log10(np.maximum(smallest, 1e-300))))
    return Weighed(strength, p, direction)


def _z(difference: Floats) -> Floats:
    sizes = np.abs(difference[~np.isnan(difference)])
    scale = float(np.median(sizes)) / _MEDIAN if len(sizes) else 0.0
    if scale == 0 and len(sizes):  # more than half are equal to the last digit: what differs sets the scale
        scale = math.sqrt(float((sizes**2).mean()))
    # Rounded, so that equal differences stay equal whatever the last bit of their sums is.
    found: Floats = np.round(difference / scale, 9) if scale else difference * 0.0
    return found


def _edge(scores: Floats, other: NDArray[np.bool_], side: int) -> NDArray[np.intp]:
    """The fiftieth of the scores at one end, at least ``_LEAST``, with all that equal the last of them."""
    values = np.sort(side * scores[other])
    border = values[max(_LEAST, int(len(values) * _EDGE)) - 1]
    return np.flatnonzero(other & (side * scores <= border))


def _normal_scores(view: Floats) -> Floats:
    """Ranks as quantiles of the standard normal (van der Waerden); what is missing stands in the middle."""
    ranks = np.nan_to_num(mid_ranks(view), nan=0.5)
    grid = np.linspace(-6, 6, 4801)
    cumulative = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in grid.tolist()])
    return np.interp(ranks, cumulative, grid)


def _mixture(logits: Floats) -> Floats:
    """Chances by Bayes' rule, with the share of the first kind fitted by EM; half a case of each kind is added."""
    share, chances = 0.5, np.full(len(logits), 0.5)
    for _ in range(500):
        chances = 1 / (1 + np.exp(-np.clip(logits + math.log(share / (1 - share)), -500, 500)))
        before, share = share, (float(chances.sum()) + 0.5) / (len(logits) + 1)
        if abs(share - before) < 1e-9:
            break
    return chances

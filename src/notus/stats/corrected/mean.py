"""A mean as people would give it, from a few labels of theirs and a judge's scores of many answers.

    found = corrected_mean(Sample(labels, beside, judged))
    found.estimate        # what people would say of all answers, with its interval
    found.alone           # what the labels say without the judge
    found.ratio           # width of the one over that of the other

With y the labels, f the judge on the same n answers, F̄ the judge's mean over all N, g weights that add up to 1::

    θ = ȳ + λ (F̄ − f̄)       λ = Σ w (f−f̄)(y−ȳ) / Σ w (f−f̄)²       e = y − ȳ − λ (f − f̄)
    se² = n/(n−2) Σ (g e)²  +  λ² Var(f)/N                            g = w/Σw · (1 + (F̄−f̄)(f−f̄)/S),  S = Σ w(f−f̄)²/Σw

It is prediction-powered inference with its power λ tuned (PPI++: Angelopoulos, Duchi and Zrnic 2023,
https://arxiv.org/abs/2311.01453), where the labelled answers are among those that the judge has scored: their λ* with
1 + n/N, and F̄ over the other answers alone, gives the same θ. Survey statistics has known it as the regression
estimator in double sampling (Cochran 1977, "Sampling Techniques", chapter 12), from which the small sample is taken: g
allows for λ being estimated, n − 2 degrees of freedom for both. A judge that says nothing of people's labels gets a λ
near 0, and then the labels alone speak. Labels that were drawn with chances π count w = 1/π (Horvitz–Thompson; Zrnic
and Candès 2024, "Active statistical inference", https://arxiv.org/abs/2403.03208).

Where both say only yes or no, one answer of each prompt, at equal chances, the interval is that of ``strata``: λ is
then the difference of two shares, and a t interval is wrong where there are few errors. Where people say yes or no and
the judge gives more than two scores, or chances differ, it is Wilson's for as many cases as have that variance.

Clusters (prompts) belong together: ``g e`` and ``λ (f − F̄)/N`` are summed within them. Owns the estimate. Which answers
are labelled is owned by ``stats.corrected.draw``, what more labels would bring by ``stats.corrected.plan``.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.stats.corrected.strata import Stratum, share_in_strata
from notus.stats.distributions import t_quantile
from notus.stats.intervals import Estimate, clustered_mean, finite_values, number_labels, proportion

__all__ = [
    "FEWEST",
    "Corrected",
    "Population",
    "Sample",
    "corrected_mean",
    "mean_of_labels",
    "over_replicates",
    "slope_within",
]

Array = NDArray[np.float64]
Labelled = Any
"""What belongs together, a label each: a list, or an array where each stands alone."""
Population = Literal["like", "these"]
"""What the mean is of: answers to other prompts *like* these, or just *these* that the judge has scored."""
FEWEST = 10
"""Prompts with a label below which nothing is corrected: λ and its error would be guesses."""
_POWERED = "clustered t, prediction-powered"
_STRATA = "strata, prediction-powered"
_WILSON = "wilson, prediction-powered"
_ROUNDING = 1e-9
"""Ten equal weights are worth ten cases."""


@dataclass(frozen=True)
class Sample:
    """Labels of a few answers, and what a judge says of them and of all.

    Raises:
        DataError: if lengths differ, a value is not finite, there are more labels than judged answers, or a chance is
            none.
    """

    labels: Sequence[float]
    """What people say, shape (n,)."""
    beside: Sequence[float]
    """What the judge says of the same answers, shape (n,)."""
    judged: Sequence[float]
    """What the judge says of all answers, those with a label among them, shape (N,)."""
    chances: Sequence[float] | None = None
    """Chance that each labelled answer had to be labelled, shape (n,); None is the same for all."""
    clusters: Sequence[Hashable] | None = None
    """Prompt of each label; None is one of its own each."""
    judged_clusters: Sequence[Hashable] | None = None
    """Prompt of each judged answer; needed where ``clusters`` are given."""
    difference: bool = False
    """Whether all values are differences of two, which may lie below 0 even if none of these does: no shares."""

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.beside):
            raise DataError(f"{len(self.labels)} labels came with {len(self.beside)} scores of the judge")
        if len(self.judged) < len(self.labels):
            raise DataError(
                f"{len(self.labels)} labels came with {len(self.judged)} judged answers; give the judge's scores of "
                "all answers, labelled ones among them"
            )
        if (self.clusters is None) != (self.judged_clusters is None):
            raise DataError("clusters are given of labels or of judged answers only; both are needed")
        if self.chances is not None:
            chances = np.asarray(self.chances, dtype=np.float64)
            if len(chances) != len(self.labels) or not ((chances > 0) & (chances <= 1)).all():
                raise DataError("each label needs the chance with which it was drawn, above 0 and at most 1")


@dataclass(frozen=True)
class Corrected:
    """A mean as people would give it."""

    estimate: Estimate | None
    """None where too few prompts have a label, or the judge says the same of all that have one."""
    alone: Estimate | None
    """Of the labels alone, by the same weights and clusters; None with a single cluster."""
    judge: float
    """The judge's own mean, as it stands."""
    offset: Estimate | None
    """Judge minus people on what both have seen."""
    labels: int
    judged: int
    power: float
    """λ: how far the judge's scores are gone along with. 0 is not at all."""
    of_labels: float = math.nan
    """The part of the variance that more labels make smaller."""
    of_judge: float = math.nan
    """The part of the variance that they do not."""
    parts: tuple[Array, Array] | None = None
    """What each label, and each judged answer, adds to θ − the truth: shapes (n,) and (N,)."""
    note: str = ""
    """Why there is no estimate."""

    @property
    def ratio(self) -> float | None:
        """Width of the corrected interval over that of the labels alone."""
        if self.estimate is None or self.alone is None or self.alone.width == 0:
            return None
        return self.estimate.width / self.alone.width

    @property
    def worth(self) -> int | None:
        """About how many labels alone would be as narrow."""
        ratio = self.ratio
        return None if not ratio else round(self.labels / ratio**2)


def corrected_mean(sample: Sample, population: Population = "like", *, power: float | None = None) -> Corrected:
    """The mean of what people would say.

    Args:
        sample: labels, and the judge's scores.
        population: what the mean is of.
        power: λ, where it is known from elsewhere (``slope_within``), and not to be tuned on these labels.
    """
    labels, beside, weights, clusters = _arrays(sample)
    judged = finite_values(sample.judged, sample.judged, "judge's")
    open_ = _open(sample, weights) if population == "these" else np.ones(len(labels))
    alone = mean_of_labels(sample, population)
    whole = float(judged.mean()) if len(judged) else math.nan
    offset = clustered_mean((beside - labels).tolist(), clusters) if len(labels) else None
    told: dict[str, Any] = {"alone": alone, "judge": whole, "offset": offset}
    told |= {"labels": len(labels), "judged": len(judged)}
    groups = _count(clusters)
    if groups < FEWEST:
        note = f"{groups} prompts have a label; from {FEWEST} on the judge is corrected"
        return Corrected(estimate=None, power=0.0, note=note, **told)
    mean, at = float(weights @ labels), float(weights @ beside)
    spread = float(weights @ (beside - at) ** 2)
    if spread == 0 and power is None:
        note = "the judge says the same of all answers that have a label"
        return Corrected(estimate=None, power=0.0, note=note, **told)
    tuned = power is None
    power = float(weights @ ((beside - at) * (labels - mean))) / spread if power is None else power
    left = labels - mean - power * (beside - at)
    pull = weights * (1 + (whole - at) * (beside - at) / spread) if tuned else weights
    own = pull * left * np.sqrt(open_ * len(labels) / (len(labels) - (2 if tuned else 1)))
    others = power * (judged - whole) / len(judged) if population == "like" else np.zeros(len(judged))
    found = _estimate(mean + power * (whole - at), own, others, sample, tuned=tuned)
    sizes: dict[str, Any] = {
        "of_labels": _variance(own, clusters),
        "of_judge": _variance(others, _judged_clusters(sample)),
    }
    if _agree(sample, labels):
        found = replace(_unanimous(sample, found, weights), method=_WILSON)
    elif _yes_or_no(sample, labels):
        strata = _in_strata(sample, found, power, population) if tuned and sample.chances is None else None
        found = strata or _wilson(found, sizes["of_labels"], sizes["of_judge"])
    return Corrected(estimate=found, power=power, parts=(own, others), **sizes, **told)


def mean_of_labels(sample: Sample, population: Population = "like") -> Estimate | None:
    """The mean of the labels alone: Wilson's interval for yes and no at equal chances, else t over clusters.

    With weights w = 1/π it is Hájek's mean, Σ w y / Σ w, by its linearised variance.

    Returns:
        None with fewer than two clusters.
    """
    labels, _, weights, clusters = _arrays(sample)
    index, groups = number_labels(clusters)
    if groups < 2:
        return None
    if population == "like" and sample.chances is None and _yes_or_no(sample, labels):
        return proportion(round(float(labels.sum())), len(labels))
    mean = float(weights @ labels)
    open_ = _open(sample, weights) if population == "these" else np.ones(len(labels))
    sums = np.bincount(index, weights=weights * (labels - mean) * np.sqrt(open_), minlength=groups)
    error = math.sqrt(groups / (groups - 1) * float(sums @ sums))
    half = t_quantile(0.975, groups - 1) * error
    found = Estimate(mean, mean - half, mean + half, len(labels), groups, "clustered t")
    return _unanimous(sample, found, weights) if _agree(sample, labels) else found


def over_replicates(found: Corrected, labelled: Sequence[Hashable], judged: Sequence[Hashable]) -> Estimate | None:
    """The same mean with an interval for other trainings, and other prompts at once.

    What each label and judged answer adds is summed within replicates (seeds); as in ``intervals.crossed_mean``, the
    variance is that over prompts and that over seeds without the single answers', which both hold, and at least the
    larger of the two. Degrees of freedom are those of the fewer: of seeds, mostly.

    Args:
        found: with ``parts``.
        labelled: replicate of each label.
        judged: replicate of each judged answer.

    Returns:
        None without an estimate, or with fewer than two replicates that have a label.
    """
    seeds = len(set(labelled))
    if found.estimate is None or found.parts is None or seeds < 2:
        return None
    own, others = found.parts
    over_seeds = seeds / (seeds - 1) * _variance(np.concatenate([own, others]), [*labelled, *judged])
    of_cells = float(own @ own + others @ others)
    of_prompts = found.of_labels + found.of_judge
    variance = max(of_prompts + over_seeds - of_cells, of_prompts, over_seeds)
    groups = min(seeds, found.estimate.groups)
    half = t_quantile(0.975, groups - 1) * math.sqrt(variance)
    mean = found.estimate.mean
    return Estimate(
        mean, mean - half, mean + half, found.judged, groups, "t over seeds and prompts, prediction-powered"
    )


def slope_within(labels: Sequence[float], beside: Sequence[float], groups: Sequence[Hashable]) -> float:
    """λ from what several groups (models, categories) show together: the slope within them, each with its own offset.

    What few labels of one group cannot tell, all of them may. The offsets stay those of the groups, so that the means
    are right whether the slopes are the same or not.

    Args:
        labels: what people (the old judge) say.
        beside: what the judge says of the same answers.
        groups: what has an offset of its own.
    """
    y, f = finite_values(labels, groups, "group"), finite_values(beside, groups, "group")
    index, size = number_labels(groups)
    counts = np.bincount(index, minlength=size)
    y = y - (np.bincount(index, weights=y, minlength=size) / counts)[index]
    f = f - (np.bincount(index, weights=f, minlength=size) / counts)[index]
    spread = float(f @ f)
    return float(f @ y) / spread if spread else 0.0


def _arrays(sample: Sample) -> tuple[Array, Array, Array, Labelled]:
    labels = finite_values(sample.labels, sample.labels, "own")
    beside = finite_values(sample.beside, sample.beside, "own")
    weights = np.ones(len(labels)) if sample.chances is None else 1 / np.asarray(sample.chances, dtype=np.float64)
    clusters: Labelled = np.arange(len(labels)) if sample.clusters is None else list(sample.clusters)
    return labels, beside, weights / weights.sum() if len(labels) else weights, clusters


def _judged_clusters(sample: Sample) -> Labelled:
    return np.arange(len(sample.judged)) if sample.judged_clusters is None else list(sample.judged_clusters)


def _open(sample: Sample, weights: Array) -> Array:
    """Share of what a label stands for that is not labelled."""
    if sample.chances is not None:
        return 1 - np.asarray(sample.chances, dtype=np.float64)
    return np.full(len(weights), 1 - len(weights) / len(sample.judged))


def _yes_or_no(sample: Sample, labels: Array) -> bool:
    """Whether labels are 0 or 1, no differences, and of one answer of each prompt."""
    once = sample.clusters is None or len(set(sample.clusters)) == len(labels)
    return not sample.difference and once and bool(((labels == 0) | (labels == 1)).all())


def _count(clusters: Labelled) -> int:
    return len(clusters) if isinstance(clusters, np.ndarray) else len(set(clusters))


def _variance(parts: Array, clusters: Labelled) -> float:
    if isinstance(clusters, np.ndarray):
        return float(parts @ parts)
    index, size = number_labels(clusters)
    sums = np.bincount(index, weights=parts, minlength=size)
    return float(sums @ sums)


def _estimate(mean: float, own: Array, others: Array, sample: Sample, *, tuned: bool) -> Estimate:
    """θ with its t interval: the parts summed within clusters, degrees of freedom by the labels' clusters."""
    if sample.clusters is None:
        groups, square = len(own), float(own @ own + others @ others)
    else:
        groups = len(set(sample.clusters))
        square = _variance(np.concatenate([own, others]), [*sample.clusters, *_judged_clusters(sample)])
    error = math.sqrt(groups / (groups - 1) * (1 - 1 / len(own)) * square)
    rests = groups - 1 if tuned else groups
    half = t_quantile(0.975, rests - 1) * error
    return Estimate(mean, mean - half, mean + half, len(sample.judged), rests, _POWERED)


def _wilson(found: Estimate, of_labels: float, of_judge: float) -> Estimate:
    """The same share with Wilson's interval for as many cases as would have the labels' part of its variance.

    The ends are the θ with (θ̂ − θ)² = z² (θ(1−θ)/m + V_judge), m = θ̂(1−θ̂)/V_labels (Kott and Carr 1997, Journal of
    Official Statistics 13). A t interval of a share is 7 % wider at fifty labels, and no better.
    """
    p = found.mean
    if not 0 < p < 1 or of_labels == 0:
        return found
    z2 = NormalDist().inv_cdf(0.975) ** 2
    a = of_labels / (p * (1 - p))
    centre, scale = (p + z2 * a / 2) / (1 + z2 * a), 1 + z2 * a
    half = math.sqrt(max(centre**2 - (p * p - z2 * of_judge) / scale, 0.0))
    return Estimate(p, max(centre - half, 0.0), min(centre + half, 1.0), found.n, found.groups, _WILSON)


def _agree(sample: Sample, labels: Array) -> bool:
    """Whether all labels say the same: yes, no, or the same difference of two such."""
    return bool(labels[0] == labels[-1] and (labels == labels[0]).all() and labels[0] in _ends(sample))


def _ends(sample: Sample) -> tuple[float, ...]:
    return (-1.0, 0.0, 1.0) if sample.difference else (0.0, 1.0)


def _unanimous(sample: Sample, found: Estimate, weights: Array) -> Estimate:
    """A mean whose labels all say v: the share of other answers is at most w, by Wilson, and they lie at the ends.

    So it is from v − w (v − lowest) to v + w (1 − v); of a share this is Wilson's interval. Nothing is left that a
    slope could explain, and a t interval would have no width. Labels of unequal weights are worth (Σw)²/Σw² cases (Kish
    1965, "Survey Sampling", section 8.2), those of a prompt one.
    """
    ends = _ends(sample)
    value = min(ends, key=lambda end: abs(end - found.mean))
    kish = math.floor(1 / float(weights @ weights) + _ROUNDING)
    cases = max(1, kish if sample.clusters is None else min(kish, len(set(sample.clusters))))
    others = proportion(0, cases).high
    low, high = value - others * (value - ends[0]), value + others * (ends[-1] - value)
    return replace(found, mean=value, low=low, high=high, method="wilson")


def _in_strata(sample: Sample, found: Estimate, power: float, population: Population) -> Estimate | None:
    """The same share with the interval of ``strata``; None where that is not made for it."""
    labels = np.asarray(sample.labels, dtype=np.float64)
    beside, judged = np.asarray(sample.beside, dtype=np.float64), np.asarray(sample.judged, dtype=np.float64)
    said = (beside.min(), beside.max())
    between = ((beside != said[0]) & (beside != said[1])).any() or ((judged != said[0]) & (judged != said[1])).any()
    if not _yes_or_no(sample, labels) or said[0] == said[1] or between:
        return None
    if sample.judged_clusters is not None and len(set(sample.judged_clusters)) < len(judged):
        return None
    strata = []
    for value in said:
        inside, of = beside == value, int((judged == value).sum())
        cases = int(inside.sum())
        open_ = 1 - cases / of if population == "these" and of else 1.0
        strata.append(Stratum(of / len(judged), cases, round(float(labels[inside].sum())), max(open_, 0.0)))
    other = power**2 * float(judged.var()) / len(judged) if population == "like" else 0.0
    share, low, high = share_in_strata(strata, other)
    return Estimate(share, low, high, found.n, found.groups, _STRATA)

"""Estimates with their intervals: clustered, over seeds, crossed, paired, shares; p-values, Holm, rough power.

Owns what an estimate is, also as JSON, and the arithmetic of uncertainty that leans on Student's t. Does not own the
distributions (``stats.distributions``), resampling (``stats.bootstrap``), exact tests (``stats.tests``), nor what is
compared with what, and the words (``evaluate.compare``).

Two sources of noise are kept apart. *Prompts* are clusters: answers to one prompt belong together, however many samples
and seeds there are. *Seeds* are replicates: each is a training of its own. An interval says how far a mean would move
with other prompts, or with other seeds; the wider of the two decides, and of a difference that by both at once is taken
into account (``crossed_mean``). All intervals are two-sided at 95 %.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.stats.distributions import t_cdf, t_quantile

__all__ = [
    "Estimate",
    "Paired",
    "Share",
    "clip",
    "clustered_mean",
    "crossed_mean",
    "detectable",
    "estimates_as_json",
    "finite_values",
    "groups_needed",
    "holm",
    "mean_of_means",
    "mean_over_seeds",
    "number_labels",
    "p_value",
    "paired_difference",
    "proportion",
    "share",
    "standard_error",
    "wider",
    "wilson_if_unanimous",
]

_LEVEL = 0.95
_UPPER = 0.5 + _LEVEL / 2
_DENSE = 4
"""Times as many numbers as there are labels, up to which a table of all numbers is made."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval. It is never clipped: a t interval of a success rate may reach beyond 0 or 1."""

    mean: float
    low: float
    high: float
    n: int
    """Number of values behind the mean."""
    groups: int
    """Number of clusters or seeds that the interval rests on."""
    method: str
    """How the interval was made: ``clustered t``, ``t over seeds``, ``wilson``, ``cluster bootstrap, BCa`` …"""

    @property
    def width(self) -> float:
        """Length of the interval, in the unit of the mean."""
        return self.high - self.low

    def as_json(self, unit: str) -> dict[str, Any]:
        """The one shape of an estimate in manifests and in what ``--json`` prints.

        Args:
            unit: what the numbers are: ``share`` (0 to 1), ``points`` (0 to 100), ``characters``, ``score`` …
        """
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.n, "unit": unit}


@dataclass(frozen=True)
class Share:
    """A count out of so many, with its 95 % interval. As text: ``3 of 40 (7.5%, 95 % 2.6% to 19.9%)``."""

    count: int
    of: int
    interval: Estimate | None
    """None where there is nothing to count."""

    @classmethod
    def make(cls, count: int, of: int) -> "Share":
        """The share with Wilson's interval. The cases must be independent, for example one per prompt."""
        return cls(count, of, proportion(count, of) if of else None)

    def __str__(self) -> str:
        if self.interval is None:
            return "0 of 0"
        low, high = self.interval.low, self.interval.high
        return f"{self.count:,} of {self.of:,} ({self.count / self.of:.1%}, 95 % {low:.1%} to {high:.1%})"


@dataclass(frozen=True)
class Paired:
    """The mean difference a − b on what both sides share, with its intervals. See ``paired_difference``."""

    by_prompts: Estimate | None
    """None with fewer than two shared prompts."""
    by_seeds: Estimate | None
    """None with fewer than two shared seeds."""
    shared: int
    """Number of (seed, prompt) cells that both sides have."""
    only_a: int
    only_b: int
    by_both: Estimate | None = None
    """Other prompts and other seeds at once; None with fewer than two of either."""

    @property
    def deciding(self) -> Estimate | None:
        """The widest of the intervals."""
        return wider(wider(self.by_prompts, self.by_seeds), self.by_both)


def clustered_mean(values: Sequence[float], clusters: Sequence[Hashable]) -> Estimate | None:
    """Mean of all values with an interval that allows for any dependence inside a cluster.

    With residuals e and G clusters of altogether n values::

        se² = G/(G−1) · Σ_g (Σ_{i in g} e_i)² / n²          interval = mean ± t(.975, G−1) · se

    With clusters of one value it is the ordinary t interval. The variance is that of Liang and Zeger (1986) for a
    mean, with the small-sample factor and the G−1 degrees of freedom of Cameron and Miller (2015, "A Practitioner's
    Guide to Cluster-Robust Inference", J. Human Resources 50(2)); for evaluations see Miller (2024),
    https://arxiv.org/abs/2411.00640.

    Returns:
        None with fewer than two clusters: there is then nothing to take an interval from.

    Raises:
        DataError: if the two sequences differ in length or a value is not finite.
    """
    data = finite_values(values, clusters, "cluster")
    index, size = number_labels(clusters)
    if size < 2:
        return None
    mean = float(data.mean())
    sums = np.bincount(index, weights=data - mean, minlength=size)
    error = math.sqrt(size / (size - 1) * float(sums @ sums)) / len(data)
    return _student(mean, error, len(data), size, "clustered t")


def mean_over_seeds(values: Sequence[float], seeds: Sequence[Hashable]) -> Estimate | None:
    """Mean of the means of the seeds, with Student's t interval in which each seed is one observation.

    With S seeds, their means m and s the standard deviation of m (ddof 1)::

        interval = mean(m) ± t(.975, S−1) · s/√S            (× 4.30 at three seeds, × 2.78 at five)

    Source: Student (1908), "The probable error of a mean", Biometrika 6.

    Returns:
        None with fewer than two seeds: one training says nothing about how much trainings differ.

    Raises:
        DataError: if the two sequences differ in length or a value is not finite.
    """
    data = finite_values(values, seeds, "seed")
    index, size = number_labels(seeds)
    if size < 2:
        return None
    means = np.bincount(index, weights=data, minlength=size) / np.bincount(index, minlength=size)
    error = float(means.std(ddof=1)) / math.sqrt(size)
    return _student(float(means.mean()), error, len(data), size, "t over seeds")


def crossed_mean(values: Sequence[float], clusters: Sequence[Hashable], seeds: Sequence[Hashable]) -> Estimate | None:
    """Mean of all values, one for each prompt and seed, with an interval for other prompts and other seeds at once.

    The variances of the mean over prompts and over seeds both hold the noise of the single cell, so that of the cell
    is taken off once. With P prompts, S seeds, n cells and r what is left of a cell without its prompt and its seed::

        V = V_prompts + V_seeds − V_cell,  but at least the larger of the two        V_cell = Σ r² / (n − P − S + 1) / n
        interval = mean ± t(.975, df) · √V
        df = V² / (V_prompts²/(P−1) + V_seeds²/(S−1)), rounded down, but at least the smaller of P−1 and S−1

    Variance components of a crossed design: Searle, Casella and McCulloch, "Variance Components" (1992), chapter 4;
    degrees of freedom: Satterthwaite (1946), Biometrics Bulletin 2. Where prompts and seeds add about as much noise,
    each interval alone knows half of it, and the wider of the two errs in 7 % with five seeds, 12 % with twenty.

    Returns:
        None with fewer than two prompts or seeds. ``groups`` is the degrees of freedom plus one.

    Raises:
        DataError: if the sequences differ in length or a value is not finite.
    """
    data = finite_values(values, clusters, "cluster")
    by_prompts, by_seeds = clustered_mean(values, clusters), mean_over_seeds(values, seeds)
    if by_prompts is None or by_seeds is None:
        return None
    left = data - data.mean()
    for labels in (clusters, seeds):
        index, size = number_labels(labels)
        means = np.bincount(index, weights=data, minlength=size) / np.bincount(index, minlength=size)
        left = left - (means - data.mean())[index]
    n, prompts, trainings = len(data), by_prompts.groups, by_seeds.groups
    of_cell = float(left @ left) / max(n - prompts - trainings + 1, 1) / n
    of_prompts, of_seeds = standard_error(by_prompts) ** 2, standard_error(by_seeds) ** 2
    whole = max(of_prompts + of_seeds - of_cell, of_prompts, of_seeds)
    if whole == 0:
        return Estimate(by_prompts.mean, by_prompts.mean, by_prompts.mean, n, trainings, "t over seeds and prompts")
    freedom = whole**2 / (of_prompts**2 / (prompts - 1) + of_seeds**2 / (trainings - 1))
    fewest = min(prompts, trainings)  # the whole rests on no less than its weakest part
    groups = max(int(freedom) + 1, fewest)
    return _student(by_prompts.mean, math.sqrt(whole), n, groups, "t over seeds and prompts")


def paired_difference(a: Mapping[tuple[int, str], float], b: Mapping[tuple[int, str], float]) -> Paired:
    """The mean of a − b over the (seed, prompt) cells that both sides have, with its intervals.

    A cell holds the mean over the samples of one prompt under one seed. Pairing takes the difficulty of the prompts
    out of the noise: Var(a − b) = Var(a) + Var(b) − 2 Cov(a, b). Source: Miller (2024), section on paired
    differences, https://arxiv.org/abs/2411.00640.
    """
    shared = sorted(a.keys() & b.keys())
    differences = [a[cell] - b[cell] for cell in shared]
    seeds, prompts = [seed for seed, _ in shared], [prompt for _, prompt in shared]
    return Paired(
        by_prompts=clustered_mean(differences, prompts) if shared else None,
        by_seeds=mean_over_seeds(differences, seeds) if shared else None,
        shared=len(shared),
        only_a=len(a) - len(shared),
        only_b=len(b) - len(shared),
        by_both=crossed_mean(differences, prompts, seeds) if shared else None,
    )


def mean_of_means(estimates: Sequence[Estimate]) -> Estimate:
    """The unweighted mean of independent means, each with an interval of whatever form; it keeps their skew.

    With k means m_i and intervals (l_i, u_i)::

        low = mean(m) − √(Σ (m_i − l_i)²) / k        high = mean(m) + √(Σ (u_i − m_i)²) / k

    Of t intervals with many groups this is the usual interval of a sum; of Wilson's it has a width where all or none
    are successes. The method of variance estimates recovery: Zou and Donner 2008, Statistics in Medicine 27,
    pages 1693–1702.

    Raises:
        DataError: without an estimate.
    """
    if not estimates:
        raise DataError("there is no mean to take the mean of")
    count = len(estimates)
    mean = sum(each.mean for each in estimates) / count
    below = math.sqrt(sum((each.mean - each.low) ** 2 for each in estimates)) / count
    above = math.sqrt(sum((each.high - each.mean) ** 2 for each in estimates)) / count
    n = sum(each.n for each in estimates)
    return Estimate(mean, mean - below, mean + above, n, count, "variance estimates recovery")


def wider(a: Estimate | None, b: Estimate | None) -> Estimate | None:
    """The estimate with the longer interval, which is the one that decides; of two equal ones the first."""
    if a is None or b is None:
        return a or b
    return b if b.width > a.width else a


def proportion(successes: int, n: int) -> Estimate:
    """A share of independent cases with Wilson's score interval, which stays inside 0 and 1 and works at both ends.

    With p = successes/n and z = 1.96::

        (p + z²/2n ± z · √(p(1−p)/n + z²/4n²)) / (1 + z²/n)

    Source: Wilson (1927), J. American Statistical Association 22, pages 209–212.

    Raises:
        DataError: if n is not positive or the successes are not among 0 … n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise DataError(f"{successes} of {n} is no proportion: at least one case and 0 to n successes are needed")
    z = NormalDist().inv_cdf(_UPPER)
    p = successes / n
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(p, low, high, n, n, "wilson")


def share(values: Sequence[float], clusters: Sequence[Hashable], *, low: float = 0.0) -> Estimate | None:
    """Mean of values from ``low`` to 1 with a clustered interval, cut off at these borders.

    Where the values do not vary at all a t interval has no width; Wilson's over the clusters then says how sure a
    share of none or of all is.

    Args:
        values: one for each case.
        clusters: what belongs together, such as the prompt.
        low: the least value that is possible: 0, or −1 for a difference of two shares.

    Returns:
        None with fewer than two clusters.
    """
    estimate = clustered_mean(values, clusters)
    if estimate is None:
        return None
    if estimate.width > 0 or not 0 <= estimate.mean <= 1:
        inside = clip(estimate, low)
        # Under a name of its own: the standard error can no longer be read from its width.
        return estimate if inside == estimate else replace(inside, method="clipped t, clustered")
    return wilson_if_unanimous(estimate)


def wilson_if_unanimous(estimate: Estimate) -> Estimate:
    """A share whose cases all agree, with Wilson's interval over its clusters; any other estimate as it is.

    Its t interval has no width, and would call a share of none or of all certain.
    """
    if estimate.width > 0 or not 0 <= estimate.mean <= 1:
        return estimate
    wilson = proportion(round(estimate.mean * estimate.groups), estimate.groups)
    return replace(wilson, mean=estimate.mean, n=estimate.n)


def clip(estimate: Estimate, low: float = 0.0) -> Estimate:
    """The estimate of a share with its interval cut off at ``low`` and at 1: a t interval knows no borders."""
    return replace(estimate, low=max(estimate.low, low), high=min(estimate.high, 1.0))


def standard_error(estimate: Estimate) -> float:
    """The standard error behind a t interval: half its width over t(.975, groups − 1).

    Raises:
        DataError: if the interval is no t interval.
    """
    if not estimate.method.startswith(("clustered t", "t over")):
        raise DataError(f"the interval is '{estimate.method}', which has no t standard error; give a t interval")
    return estimate.width / 2 / t_quantile(_UPPER, estimate.groups - 1)


def p_value(estimate: Estimate) -> float:
    """Two-sided p-value of "the true mean is 0", by the t distribution that made the interval.

    It is below .05 exactly when the interval leaves out 0. When the groups do not differ at all there is no standard
    error to divide by; the sign test then answers: p = 2 · ½^groups, so six groups are the fewest that can speak.
    """
    error = standard_error(estimate)
    if error == 0:
        return 1.0 if estimate.mean == 0 else min(1.0, 2.0 * 0.5**estimate.groups)
    return 2 * t_cdf(-abs(estimate.mean) / error, estimate.groups - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: at .05 they keep the chance of *any* false claim at 5 %.

    With p sorted upwards, the adjusted i-th of m is max over j ≤ i of min(1, (m − j + 1) · p_j).
    Source: Holm (1979), Scandinavian Journal of Statistics 6, pages 65–70.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def groups_needed(estimate: Estimate, *, power: float = 0.8, limit: int = 10_000) -> int | None:
    """About how many groups (seeds, prompts) would set the mean apart from 0 with the given power.

    The smallest G with (t(.975, G−1) + t(power, G−1)) · s/√G ≤ abs(mean), s the observed spread between groups.
    It takes the observed mean and spread for the true ones, which few groups know badly: a rough guide and no promise.

    Returns:
        None when more than ``limit`` groups would be needed, a mean of 0 included.
    """
    spread = standard_error(estimate) * math.sqrt(estimate.groups)

    def enough(groups: int) -> bool:
        reach = t_quantile(_UPPER, groups - 1) + t_quantile(power, groups - 1)
        return reach * spread / math.sqrt(groups) <= abs(estimate.mean)

    if estimate.mean == 0 or not enough(limit):
        return None
    low, high = 1, limit  # too few and enough; the left side falls as the groups grow
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def detectable(estimate: Estimate, groups: int | None = None, *, power: float = 0.8) -> float:
    """The smallest true mean that as many groups would set apart from 0 with the given power, roughly.

    With s the observed spread between groups and G groups (as many as the estimate has, unless others are asked for)::

        (t(.975, G−1) + t(power, G−1)) · s/√G

    It is ``groups_needed`` read the other way round, and as rough: the observed spread stands for the true one.
    """
    count = estimate.groups if groups is None else groups
    spread = standard_error(estimate) * math.sqrt(estimate.groups)
    return (t_quantile(_UPPER, count - 1) + t_quantile(power, count - 1)) * spread / math.sqrt(count)


def estimates_as_json(value: object, unit: str) -> Any:
    """A result as plain JSON: dataclasses as objects, and each estimate in them in its one shape.

    Args:
        value: a dataclass, a mapping or a sequence that holds estimates at any depth; all else stays as it is.
        unit: of the estimates, as in ``Estimate.as_json``.
    """
    if isinstance(value, Estimate):
        return value.as_json(unit)
    if is_dataclass(value):
        return {part.name: estimates_as_json(getattr(value, part.name), unit) for part in fields(value)}
    if isinstance(value, Mapping):
        return {key: estimates_as_json(item, unit) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [estimates_as_json(item, unit) for item in value]
    return value


def finite_values(values: Sequence[float], labels: Sequence[Hashable], what: str) -> NDArray[np.float64]:
    """The values as an array, each finite and with its label.

    Raises:
        DataError: if the two sequences differ in length or a value is not finite; ``what`` names the labels in it.
    """
    data = np.asarray(values, dtype=np.float64)
    if len(data) != len(labels):
        raise DataError(f"{len(data)} values came with {len(labels)} {what} labels; each value needs its {what}")
    if not np.isfinite(data).all():
        raise DataError("a value is not a finite number; leave unscored items out and count them")
    return data


def number_labels(labels: Sequence[Hashable]) -> tuple[NDArray[np.intp], int]:
    """The number of each label, in order of appearance, and how many different ones there are."""
    if isinstance(labels, np.ndarray):  # the same numbers without an object for each label
        if len(labels) and labels.dtype.kind in "ui" and labels.min() >= 0 and labels.max() < _DENSE * len(labels):
            return _number_small(labels)
        _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        places = np.empty(len(first), dtype=np.intp)
        places[np.argsort(first)] = np.arange(len(first))
        return places[inverse], len(first)
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(label, len(numbers)) for label in labels]
    return np.asarray(index, dtype=np.intp), len(numbers)


def _number_small(labels: NDArray[np.integer]) -> tuple[NDArray[np.intp], int]:
    """The same of whole numbers that are few enough for a table of them: without sorting."""
    places = np.arange(len(labels))
    first = np.zeros(int(labels.max()) + 1, np.intp)
    first[labels[::-1]] = places[::-1]  # of several places the one that is written last stays
    begins = first[labels]
    numbers = np.cumsum(begins == places) - 1
    return numbers[begins], int(numbers[-1]) + 1


def _student(mean: float, error: float, n: int, groups: int, method: str) -> Estimate:
    # Rounding in the last digits is no spread: without this, ten equal differences would seem to vary by 1e-17.
    error = 0.0 if error <= 1e-13 * max(1.0, abs(mean)) else error
    half = t_quantile(_UPPER, groups - 1) * error
    return Estimate(mean, mean - half, mean + half, n, groups, method)

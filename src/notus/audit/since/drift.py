"""What has drifted between what was audited before and what has come since: differences with intervals and p-values.

A figure is a mean over completions (or over ratings, or those of one model or rater), with prompts as clusters. Of each
side five sums are held, from which mean and clustered variance follow (``stats.intervals.clustered_mean``)::

    m = Σs / Σn        V = G/(G−1) · Σ_g (s_g − m n_g)² / n²         s_g, n_g: sum and number of the values of a prompt

The two sides are independent. Their difference has the variance V₁ + V₂ with Welch's degrees of freedom (Welch 1947,
Biometrika 34, pages 28–35), or, where that is larger, the one that pools both sides, as the null of no drift says. Of
a share of which fewer than five prompts are expected to have any on one side, p is that of Fisher's exact test on the
prompts that have some (Fisher 1935, J. Royal Statistical Society 98, pages 39–82). All p-values are adjusted together
by Holm. A prompt that stands on both sides counts on either.

Owns the figures that are compared, and the arithmetic of the comparison. What is shown of it is the business of
``steps.data.since``.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from notus.audit.raters import RaterRow
from notus.stats.distributions import t_cdf, t_quantile
from notus.stats.intervals import Estimate, holm

__all__ = ["Drifted", "Figure", "Sums", "commonest", "compare_sides", "figures_of", "rater_figures", "sums_of"]

Unit = Literal["share", "points", "characters"]
_FEW = 5.0
_MOST = 20
"""Models and flags that are compared, those with the most completions; more would only raise Holm's bar."""
_LEVEL = 0.05


@dataclass(frozen=True)
class Sums:
    """What is held of the values of one figure on one side."""

    n: float
    """Values."""
    groups: int
    """Prompts."""
    total: float
    squares: float
    """Σ s_g²."""
    crossed: float
    """Σ s_g n_g."""
    sizes: float
    """Σ n_g²."""
    hits: int = 0
    """Prompts with a value above 0."""

    @property
    def mean(self) -> float:
        """Of the values."""
        return self.total / self.n

    @property
    def variance(self) -> float:
        """Of the mean, with prompts as clusters; NaN with a single one."""
        if self.groups < 2:
            return math.nan
        m = self.mean
        left = max(self.squares - 2 * m * self.crossed + m * m * self.sizes, 0.0)
        left = 0.0 if left <= 1e-12 * self.squares else left  # rounding is no spread
        return self.groups / (self.groups - 1) * left / self.n**2


@dataclass(frozen=True)
class Figure:
    """A figure that is compared, on one side."""

    what: str
    unit: Unit
    sums: Sums


@dataclass(frozen=True)
class Drifted:
    """A figure before and since."""

    what: str
    unit: Unit
    before: float
    n_before: int
    since: float
    n_since: int
    difference: Estimate
    """Since minus before; ``groups`` are the prompts of the smaller side."""
    p: float
    """Adjusted by Holm over all figures that were compared."""

    @property
    def distinguishable(self) -> bool:
        """Whether the two sides can be told apart at 5 %, over all comparisons together."""
        return self.p < _LEVEL


def sums_of(
    values: NDArray[np.float64], clusters: NDArray[np.intp], weights: NDArray[np.float64] | None = None
) -> Sums | None:
    """The sums of values; NaN is left out. None without any.

    Args:
        values: a value of each completion, or, with weights, the sum of as many values.
        clusters: number of its prompt, counted from 0.
        weights: number of values that each stands for.
    """
    known = ~np.isnan(values) if weights is None else ~np.isnan(values) & (weights > 0)
    if not known.any():
        return None
    index = clusters if known.all() else clusters[known]
    sums = np.bincount(index, weights=values[known])
    sizes = np.bincount(index, weights=None if weights is None else weights[known]).astype(np.float64)
    sums, sizes = sums[sizes > 0], sizes[sizes > 0]
    return Sums(
        n=float(sizes.sum()),
        groups=len(sums),
        total=float(sums.sum()),
        squares=float(sums @ sums),
        crossed=float(sums @ sizes),
        sizes=float(sizes @ sizes),
        hits=int((sums > 0).sum()),
    )


def figures_of(table: pa.Table, models: Iterable[str], flags: Iterable[str], *, tens: bool) -> dict[str, Figure]:
    """The figures of a table of an audit.

    Args:
        table: with the columns prompt_id, mean_rating, overall_score, model, ratings, not_applicable, length, flags.
        models: names of the models that are compared.
        flags: slugs of the flags that are compared.
        tens: whether 10 is the best overall score.
    """
    clusters = np.asarray(pc.dictionary_encode(table["prompt_id"]).combine_chunks().indices).astype(np.intp)
    scores, means = _floats(table, "overall_score"), _floats(table, "mean_rating")
    found: dict[str, Figure] = {}

    def add(what: str, unit: Unit, sums: Sums | None) -> None:
        if sums is not None:
            found[what] = Figure(what, unit, sums)

    add("overall score", "points", sums_of(scores, clusters))
    add("mean rating", "points", sums_of(means, clusters))
    if tens:
        share = np.where(np.isnan(scores), np.nan, (scores == 10).astype(np.float64))
        add("share of 10s among the overall scores", "share", sums_of(share, clusters))
    missing = _floats(table, "not_applicable")
    add("share of N/A among the ratings", "share", sums_of(missing, clusters, missing + _floats(table, "ratings")))
    add("length of the answers", "characters", sums_of(_floats(table, "length"), clusters))
    column = pc.dictionary_encode(table["model"]).combine_chunks()
    names, numbers = column.dictionary.to_pylist(), np.asarray(column.indices)
    for model in models:
        own = numbers == names.index(model) if model in names else np.zeros(len(numbers), np.bool_)
        add(f"share of the model {model}", "share", sums_of(own.astype(np.float64), clusters))
        judged = ("overall score", scores) if np.isfinite(scores).any() else ("mean rating", means)
        add(f"{judged[0]} of {model}", "points", sums_of(np.where(own, judged[1], np.nan), clusters))
    raised = table["flags"].combine_chunks()
    owners = np.asarray(pc.list_parent_indices(raised))
    slugs = pc.list_flatten(raised)
    for flag in flags:
        has = np.zeros(len(table))
        has[owners[np.asarray(pc.equal(slugs, flag).fill_null(False), dtype=np.bool_)]] = 1
        add(f"share flagged {flag}", "share", sums_of(has, clusters))
    return found


def commonest(table: pa.Table, other: pa.Table) -> tuple[list[str], list[str]]:
    """The models and the flags of two tables that are compared, the commonest first."""
    found = []
    for column in ("model", "flags"):
        counts: dict[str, int] = {}
        for each in (table, other):
            values = each[column].combine_chunks()
            counted = pc.value_counts(pc.list_flatten(values) if column == "flags" else values).to_pylist()
            for row in counted:
                counts[row["values"]] = counts.get(row["values"], 0) + row["counts"]
        found.append([name for name in sorted(counts, key=lambda name: (-counts[name], name)) if name][:_MOST])
    return found[0], found[1]


def rater_figures(rows: Iterable[RaterRow]) -> dict[str, Figure]:
    """The mean rating of each rater on each aspect, out of the intervals that an audit has written."""
    found: dict[str, Figure] = {}
    for row in rows:
        if row.what != "ratings" or row.mean is None or row.mean_low is None or row.mean_high is None:
            continue
        if row.prompts < 2:
            continue
        what = f"{row.of} by {row.rater}"
        error = (row.mean_high - row.mean_low) / 2 / t_quantile(0.975, row.prompts - 1)
        found[what] = Figure(what, "points", _sums_behind(row.mean, error**2, row.n, row.prompts))
    return found


def compare_sides(before: Mapping[str, Figure], since: Mapping[str, Figure]) -> list[Drifted]:
    """The figures that both sides have, compared, with Holm's correction over all of them.

    Figures that vary on neither side and are equal say nothing, and are left out; so are those of a single prompt.
    """
    pairs = [(figure, since[what]) for what, figure in before.items() if what in since]
    usable = [
        (a, b)
        for a, b in pairs
        if min(a.sums.groups, b.sums.groups) > 1
        and (a.sums.mean != b.sums.mean or a.sums.variance + b.sums.variance > 0)
    ]
    compared = [_difference(a, b) for a, b in usable]
    adjusted = holm([p for _, p in compared])
    return [
        Drifted(a.what, a.unit, a.sums.mean, int(a.sums.n), b.sums.mean, int(b.sums.n), estimate, p)
        for (a, b), (estimate, _), p in zip(usable, compared, adjusted, strict=True)
    ]


def _difference(before: Figure, since: Figure) -> tuple[Estimate, float]:
    """Since minus before with its interval, and p without a correction."""
    a, b = before.sums, since.sums
    apart, groups = b.mean - a.mean, min(a.groups, b.groups)
    welch = a.variance + b.variance
    each = (a.n * a.variance * a.n + b.n * b.variance * b.n) / (a.n + b.n)
    pooled = each * (1 / a.n + 1 / b.n)
    if welch >= pooled:
        parts = a.variance**2 / (a.groups - 1) + b.variance**2 / (b.groups - 1)
        freedom = welch**2 / parts if parts else float(groups - 1)
    else:
        freedom = float(a.groups + b.groups - 2)
    error = math.sqrt(max(welch, pooled))
    half = t_quantile(0.975, freedom) * error
    method = "Welch, clustered" if welch >= pooled else "pooled, clustered"
    estimate = Estimate(apart, apart - half, apart + half, int(a.n + b.n), groups, method)
    p = 2 * t_cdf(-abs(apart) / error, freedom) if error else min(1.0, 2 * 0.5**groups)
    if before.unit == "share" and (a.hits + b.hits) * min(a.groups, b.groups) / (a.groups + b.groups) < _FEW:
        p = _fisher(a.hits, a.groups, b.hits, b.groups)
    return estimate, p


def _fisher(a: int, of_a: int, b: int, of_b: int) -> float:
    """Fisher's exact p, two-sided: all tables with the same margins that are at most as likely as this one."""
    hits, whole = a + b, of_a + of_b

    def log_choose(n: int, k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

    def log_chance(k: int) -> float:
        return log_choose(of_b, k) + log_choose(of_a, hits - k) - log_choose(whole, hits)

    observed = log_chance(b)
    chances = (log_chance(k) for k in range(max(0, hits - of_a), min(hits, of_b) + 1))
    return min(1.0, sum(math.exp(each) for each in chances if each <= observed + 1e-7))


def _sums_behind(mean: float, variance: float, n: int, groups: int) -> Sums:
    """Sums that give a mean and its variance: all that is left of the values of a rater."""
    size = n / groups
    left = variance * n**2 * (groups - 1) / groups
    sizes = groups * size**2
    return Sums(n, groups, mean * n, left + mean**2 * sizes, mean * sizes, sizes)


def _floats(table: pa.Table, name: str) -> NDArray[np.float64]:
    return np.asarray(table[name].cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False), dtype=np.float64)

"""How often each interval and test errs where the truth is known: ``python -m benchmarks.calibration [--draws N]``.

Many comparisons are simulated in which there is no difference (or, for κ, whose true value is known), and counted is
how often each method claims one. The table is Markdown, for ``docs/statistics.md``; the same rates are held against
their bounds in ``tests/stats/test_null_calibration.py``. Seeded; about two minutes on one core.
"""

import argparse
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from notus.stats.agreement import agreement
from notus.stats.bootstrap import Kind, bootstrap_totals, draw_totals, totals_of
from notus.stats.intervals import Estimate, clustered_mean, paired_difference, proportion, wider
from notus.stats.tests import mcnemar, permutation_test

__all__ = ["FEWER", "METHODS", "Rate", "cluster_bootstrap", "rate_of"]

CLUSTERS, PER_CLUSTER, CORRELATION = 50, 10, 0.6
RESAMPLES = 999
FEWER = {"naive bootstrap": 2_000}
"""Methods that are shown for contrast and are slow: simulated no more often than so."""


@dataclass(frozen=True)
class Rate:
    """A method, and in how many of the simulated cases it was wrong."""

    method: str
    wrong: int
    n: int

    @property
    def estimate(self) -> Estimate:
        """The share with Wilson's interval; the cases are independent."""
        return proportion(self.wrong, self.n)


Method = Callable[[np.random.Generator], bool]
"""Simulates one case and says whether the method erred."""


@cache
def rate_of(name: str, draws: int, seed: int = 2024) -> Rate:
    """Simulate a method's cases."""
    random = np.random.default_rng([seed, *name.encode()])
    return Rate(name, sum(METHODS[name](random) for _ in range(draws)), draws)


def cluster_bootstrap(
    values: Sequence[float], clusters: Sequence[Hashable], *, draws: int = 9_999, seed: int = 0, kind: Kind = "bca"
) -> Estimate | None:
    """The mean of all values with a bootstrap interval over clusters; None with fewer than two clusters."""
    totals = totals_of(np.stack([values, np.ones(len(values))], axis=1), clusters)
    return bootstrap_totals(
        totals, lambda sums: sums[..., 0] / sums[..., 1], n=len(values), draws=draws, seed=seed, kind=kind
    )


def _values(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """A true null: 50 clusters of 10 values around 0, of which .6 of the variance lies between clusters."""
    index = np.repeat(np.arange(CLUSTERS), PER_CLUSTER)
    between = random.normal(size=CLUSTERS)[index] * CORRELATION**0.5
    return between + random.normal(size=len(index)) * (1 - CORRELATION) ** 0.5, index


def _misses(estimate: Estimate | None, truth: float = 0.0) -> bool:
    assert estimate is not None
    return not estimate.low <= truth <= estimate.high


def _clustered_t(random: np.random.Generator) -> bool:
    values, index = _values(random)
    return _misses(clustered_mean(values.tolist(), index))


def _naive_t(random: np.random.Generator) -> bool:
    values, _ = _values(random)
    return _misses(clustered_mean(values.tolist(), np.arange(len(values))))


def _bootstrap(kind: Kind, *, naive: bool = False) -> Method:
    def method(random: np.random.Generator) -> bool:
        values, index = _values(random)
        clusters = np.arange(len(values)) if naive else index
        seed = int(random.integers(2**31))
        return _misses(cluster_bootstrap(values.tolist(), clusters, draws=RESAMPLES, seed=seed, kind=kind))

    return method


def _plain_percentile(random: np.random.Generator) -> bool:
    """The textbook's percentile interval, without the correction for few clusters."""
    values, index = _values(random)
    totals = np.stack([np.bincount(index, weights=values), np.bincount(index)], axis=1)
    drawn = np.concatenate(list(draw_totals(totals, RESAMPLES, int(random.integers(2**31)))))
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return bool(not low <= 0 <= high)


def _pair(
    random: np.random.Generator, seeds: int, prompts: int, between_prompts: float, between_seeds: float
) -> tuple[dict[tuple[int, str], float], dict[tuple[int, str], float]]:
    """Two arms without a difference, on the same difficult and easy prompts.

    What an arm makes of a prompt, and of a training, differs between arms by chance: the given variances. The noise of
    a single cell has the variance .4.
    """
    difficulty = random.normal(size=(1, prompts))
    arms = []
    for _ in range(2):
        own = random.normal(size=(1, prompts)) * between_prompts**0.5
        training = random.normal(size=(seeds, 1)) * between_seeds**0.5
        arms.append(difficulty + own + training + random.normal(size=(seeds, prompts)) * 0.4**0.5)
    cells = [(seed, f"p{prompt}") for seed in range(seeds) for prompt in range(prompts)]
    a, b = (dict(zip(cells, arm.ravel().tolist(), strict=True)) for arm in arms)
    return a, b


def _paired_prompts(random: np.random.Generator) -> bool:
    return _misses(paired_difference(*_pair(random, 10, 50, 0.6, 0.0)).by_prompts)


def _paired_seeds(random: np.random.Generator) -> bool:
    return _misses(paired_difference(*_pair(random, 5, 20, 0.0, 0.05)).by_seeds)


def _deciding(seeds: int, between_seeds: float, between_prompts: float = 0.6) -> Method:
    def method(random: np.random.Generator) -> bool:
        return _misses(paired_difference(*_pair(random, seeds, 50, between_prompts, between_seeds)).deciding)

    return method


def _wider_of_two(seeds: int, between_seeds: float) -> Method:
    """The rule without the interval for both sources of noise at once."""

    def method(random: np.random.Generator) -> bool:
        found = paired_difference(*_pair(random, seeds, 50, 0.6, between_seeds))
        return _misses(wider(found.by_prompts, found.by_seeds))

    return method


def _few(random: np.random.Generator) -> NDArray[np.float64]:
    """Twelve skewed differences with the median and the mean 0: signs by chance."""
    return random.exponential(size=12) * random.choice([-1.0, 1.0], size=12)


def _kappa(random: np.random.Generator) -> bool:
    """Two raters of 50 prompts with four answers; κ = .36: both hit a hidden label of even odds with .8."""
    hidden = random.integers(2, size=200)
    easy = np.repeat(random.random(50) < 0.5, 4)  # prompts differ: hit with .6 or with 1
    hit = np.where(easy, 1.0, 0.6)
    a, b = (np.where(random.random(200) < hit, hidden, 1 - hidden) for _ in range(2))
    found = agreement(a.tolist(), b.tolist(), np.repeat(np.arange(50), 4).tolist(), draws=RESAMPLES, seed=0)
    truth = 2 * (0.5 * 1.0 + 0.5 * (0.6**2 + 0.4**2)) - 1  # even odds: by chance half agree
    return _misses(found.kappa, truth)


METHODS: dict[str, Method] = {
    "clustered t": _clustered_t,
    "cluster bootstrap, BCa": _bootstrap("bca"),
    "cluster bootstrap, percentile": _bootstrap("percentile"),
    "cluster bootstrap, percentile as in textbooks": _plain_percentile,
    "naive bootstrap": _bootstrap("percentile", naive=True),
    "naive t": _naive_t,
    "paired difference over prompts, 10 seeds": _paired_prompts,
    "paired difference over seeds, 5 seeds": _paired_seeds,
    "deciding interval, 3 seeds, seeds do not differ": _deciding(3, 0.0),
    "deciding interval, 3 seeds, prompts do not differ": _deciding(3, 0.05, 0.0),
    "deciding interval, 3 seeds, noise of seeds as of prompts": _deciding(3, 0.6 * 3 / 50),
    "deciding interval, 5 seeds, noise of seeds as of prompts": _deciding(5, 0.6 * 5 / 50),
    "deciding interval, 20 seeds, noise of seeds as of prompts": _deciding(20, 0.6 * 20 / 50),
    "wider of two intervals, 5 seeds, noise of seeds as of prompts": _wider_of_two(5, 0.6 * 5 / 50),
    "wider of two intervals, 20 seeds, noise of seeds as of prompts": _wider_of_two(20, 0.6 * 20 / 50),
    "sign test, 12 groups": lambda random: _sign_test(_few(random)) < 0.05,
    "permutation test, 12 groups": lambda random: permutation_test(_few(random).tolist()).p < 0.05,
    "McNemar's test, 40 cases": lambda random: _mcnemar(random) < 0.05,
    "Cohen's κ, cluster bootstrap": _kappa,
}
"""What is simulated, by the name that the table shows."""


def _sign_test(differences: NDArray[np.float64]) -> float:
    """McNemar's test of how many lie above 0 and below it, which is the binomial test of the signs."""
    return mcnemar(int((differences > 0).sum()), int((differences < 0).sum())).p


def _mcnemar(random: np.random.Generator) -> float:
    a, b = random.random((2, 40)) < 0.5
    return mcnemar(int((a & ~b).sum()), int((b & ~a).sum())).p


def _rows(draws: int) -> Iterator[str]:
    yield "| method | errs in | 95 % | n |"
    yield "|---|---|---|---|"
    for name in METHODS:
        found = rate_of(name, min(draws, FEWER.get(name, draws)))
        share = found.estimate
        yield f"| {name} | {share.mean:.1%} | [{share.low:.1%}, {share.high:.1%}] | {found.n:,} |"


def main(arguments: list[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description="How often intervals err.")
    parser.add_argument("--draws", type=int, default=10_000, help="simulated cases for each method")
    for row in _rows(parser.parse_args(arguments).draws):
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

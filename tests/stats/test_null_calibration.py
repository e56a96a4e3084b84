"""The calibration by simulation: 10,000 true nulls for each method, and how often it errs.

The cases and the methods are those of ``benchmarks/calibration.py``, whose table stands in ``docs/statistics.md``.
"""

import pytest

from benchmarks.calibration import METHODS, rate_of

pytestmark = pytest.mark.slow

NOMINAL = [
    "clustered t",
    "cluster bootstrap, BCa",
    "cluster bootstrap, percentile",
    "paired difference over prompts, 10 seeds",
    "paired difference over seeds, 5 seeds",
]
"""Between 4 and 6 %."""
AT_MOST = [
    "deciding interval, 3 seeds, seeds do not differ",
    "deciding interval, 3 seeds, prompts do not differ",
    "deciding interval, 3 seeds, noise of seeds as of prompts",
    "deciding interval, 5 seeds, noise of seeds as of prompts",
    "deciding interval, 20 seeds, noise of seeds as of prompts",
    "sign test, 12 groups",
    "permutation test, 12 groups",
    "McNemar's test, 40 cases",
    "Cohen's κ, cluster bootstrap",
]
"""At most 6 %: the widest of several intervals decides, or outcomes are few and discrete."""
NAIVE = ["naive bootstrap", "naive t"]
TWO_OF_THREE = [
    "wider of two intervals, 5 seeds, noise of seeds as of prompts",
    "wider of two intervals, 20 seeds, noise of seeds as of prompts",
]
"""Why the third interval is there."""
TEXTBOOK = "cluster bootstrap, percentile as in textbooks"


def test_every_method_has_its_bound() -> None:
    assert {*NOMINAL, *AT_MOST, *NAIVE, *TWO_OF_THREE, TEXTBOOK} == METHODS.keys()


@pytest.mark.parametrize("name", NOMINAL)
def test_nominal(name: str) -> None:
    assert 0.04 <= rate_of(name, 10_000).estimate.mean <= 0.06


@pytest.mark.parametrize("name", AT_MOST)
def test_at_most(name: str) -> None:
    assert 0.005 <= rate_of(name, 10_000).estimate.mean <= 0.06


@pytest.mark.parametrize("name", NAIVE)
def test_naive_ones_claim_far_too_much(name: str) -> None:
    """About 43 % of true nulls are called a difference when clustered values are taken as independent."""
    assert 0.38 <= rate_of(name, 2_000).estimate.mean <= 0.50


def test_without_the_third_interval_more_seeds_make_it_worse() -> None:
    few, many = (rate_of(name, 3_000).estimate for name in TWO_OF_THREE)
    assert few.low > 0.05
    assert few.high < many.low


def test_the_correction_for_few_clusters_is_what_keeps_the_bootstrap_nominal() -> None:
    plain, corrected = (rate_of(name, 10_000).wrong for name in (TEXTBOOK, "cluster bootstrap, percentile"))
    assert plain > corrected

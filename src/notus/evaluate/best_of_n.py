"""Best of n: what the answer that a ranker picks among k random ones is worth, for all k at once, from the same n.

Owns the estimator and the curve. Where answers and scores come from is the business of ``steps.answers.best_of_n``.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.stats.intervals import Estimate, clustered_mean

__all__ = ["BestOfK", "BestOfNCurve", "ScoredAnswers", "best_of_n_curve", "expected_best"]


@dataclass(frozen=True)
class ScoredAnswers:
    """The answers to one prompt: what the ranker gave each, and what an independent check did."""

    prompt_id: str
    scores: tuple[float, ...]
    checks: tuple[float | None, ...] | None = None
    """In the order of ``scores``; None where there is no check."""


@dataclass(frozen=True)
class BestOfK:
    """Best of k: means over prompts with their intervals, and the gain over one answer, prompt by prompt."""

    k: int
    score: Estimate | None
    """The ranker's score of its own pick. None with fewer than two prompts, as everywhere here."""
    score_gain: Estimate | None
    check: Estimate | None
    """The check's score of the ranker's pick; None without a check."""
    check_gain: Estimate | None
    kl_bound: float
    """log k − (k − 1)/k: the most that picking the best of k can move a policy from itself, in nats (Beirami et al.
    2024, theorem 1, https://arxiv.org/abs/2401.01879)."""


@dataclass(frozen=True)
class BestOfNCurve:
    """Best of k for k = 1 … n."""

    points: tuple[BestOfK, ...]
    prompts: int
    """Prompts with at least n scored answers: the curve is theirs."""
    fewer: int
    """Prompts with fewer, which are left out."""
    checked: int
    """Prompts whose answers all have a check."""


def expected_best(scores: Sequence[float], values: Sequence[float] | None = None) -> list[float]:
    """Expected value of the highest-scored of k answers drawn without replacement, for k = 1 … n.

    With the answers in ascending order of score, the i-th is the best of k random ones with probability
    C(i−1, k−1)/C(n, k), so that, without bias for every k ≤ n::

        best-of-k = Σ_i C(i−1, k−1)/C(n, k) · value_(i)

    Answers that tie share their places: each of them is the pick equally often. With success for both score and value
    it is pass@k, 1 − C(n−c, k)/C(n, k) (Chen et al. 2021, equation 1, https://arxiv.org/abs/2107.03374).

    Args:
        scores: of n answers by the ranker, which picks.
        values: what each is worth; None takes the scores themselves.

    Raises:
        DataError: if there is no answer, or the two differ in number.
    """
    if not scores or (values is not None and len(values) != len(scores)):
        raise DataError(f"{len(scores)} scores and {0 if values is None else len(values)} values: best of n needs both")
    order = sorted(range(len(scores)), key=lambda index: scores[index])
    worth = [float((scores if values is None else values)[index]) for index in order]
    for _, tied in itertools.groupby(range(len(order)), key=lambda place: scores[order[place]]):
        places = list(tied)
        mean = math.fsum(worth[place] for place in places) / len(places)
        worth = [mean if place in places else value for place, value in enumerate(worth)] if len(places) > 1 else worth
    found: list[float] = (_weights(len(scores)) @ np.asarray(worth)).tolist()
    return found


def best_of_n_curve(prompts: Sequence[ScoredAnswers], n: int | None = None) -> BestOfNCurve:
    """Best of k for all k ≤ n over prompts, which are the clusters of the intervals.

    Args:
        prompts: answers with their scores; the number of answers may differ.
        n: the largest k; None takes the number of answers that half of the prompts reach.

    Raises:
        DataError: if no prompt has n answers.
    """
    counts = sorted((len(item.scores) for item in prompts), reverse=True)
    n = n if n is not None else counts[(len(counts) - 1) // 2] if counts else 0
    used = [item for item in prompts if len(item.scores) >= n > 0]
    if not used:
        most = max(counts, default=0)
        raise DataError(f"no prompt has {n} scored answers; the most is {most}" if most else "no answer has a score")
    checked = [item for item in used if item.checks is not None and None not in item.checks]
    scores = np.array([expected_best(item.scores)[:n] for item in used])
    checks = np.array(
        [expected_best(item.scores, [c for c in item.checks or () if c is not None])[:n] for item in checked]
    )
    ids, checked_ids = [item.prompt_id for item in used], [item.prompt_id for item in checked]
    points = tuple(
        BestOfK(
            k=k,
            score=_mean(scores, ids, k),
            score_gain=_mean(scores - scores[:, :1], ids, k),
            check=_mean(checks, checked_ids, k),
            check_gain=_mean(checks - checks[:, :1] if checked else checks, checked_ids, k),
            kl_bound=math.log(k) - (k - 1) / k,
        )
        for k in range(1, n + 1)
    )
    return BestOfNCurve(points, len(used), len(prompts) - len(used), len(checked))


def _mean(values: NDArray[np.float64], ids: Sequence[str], k: int) -> Estimate | None:
    return clustered_mean(values[:, k - 1].tolist(), ids) if len(ids) else None


@lru_cache(maxsize=256)
def _weights(n: int) -> NDArray[np.float64]:
    """[k − 1, i − 1] = C(i−1, k−1)/C(n, k)."""
    return np.array([[math.comb(i - 1, k - 1) / math.comb(n, k) for i in range(1, n + 1)] for k in range(1, n + 1)])

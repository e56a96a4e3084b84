"""Which answers people should label: at random, or the uncertain ones more often, by chances that are kept.

    chances = chances_of(uncertainty, n=200)
    drawn = draw(chances, seed=0)              # 200 of them; a label's weight is 1/chance

A judge's score says most about people's where it is extreme, and least in the middle: labels there tell more. The
chance is a mixture, so that no answer is out of reach and no weight is large::

    π = n · (½ u/Σu + ½/N), at most 1                u = √(x (1−x)),  x the score between the least and the greatest one

(Zrnic and Candès 2024, "Active statistical inference", https://arxiv.org/abs/2403.03208; √(x(1−x)) is the spread of a
yes or no whose chance is x, which is the best rule where the judge's score is that chance). Exactly n are drawn, by
equal steps through the answers in a random order (Madow 1949, Annals of Mathematical Statistics 20; Hartley and Rao
1962, same journal 33). Owns chances and the draw.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import ConfigError

__all__ = ["MIXED", "chances_of", "draw", "uncertainty_of"]

Array = NDArray[np.float64]
MIXED = 0.5
"""Share of the labels that is drawn at random."""
_MOST_ROUNDS = 100


def uncertainty_of(scores: Sequence[float]) -> Array:
    """√(x (1−x)) of each score, x its place between the least and the greatest; all alike where they do not differ."""
    values = np.asarray(scores, dtype=np.float64)
    low, high = values.min(), values.max()
    if low == high:
        return np.ones(len(values))
    x = (values - low) / (high - low)
    found: Array = np.sqrt(x * (1 - x))
    return found if found.any() else np.ones(len(values))


def chances_of(uncertainty: Sequence[float], n: int, mixed: float = MIXED) -> Array:
    """Chance of each answer to be among n that are labelled; they add up to n.

    Args:
        uncertainty: of each answer, at least 0; all alike is a draw at random.
        n: labels.
        mixed: share of the labels that does not go by uncertainty.

    Raises:
        ConfigError: if there are fewer than n.
    """
    size = np.asarray(uncertainty, dtype=np.float64)
    if not 1 <= n <= len(size):
        raise ConfigError(f"{n:,} were asked for, and there are {len(size):,} to draw from; ask for fewer")
    share = (1 - mixed) * size / size.sum() + mixed / len(size)
    chances = np.zeros(len(size))
    sure = np.zeros(len(size), dtype=bool)
    for _ in range(
        _MOST_ROUNDS
    ):  # what would have a chance above 1 is taken for sure, and the rest shares what is left
        chances[sure] = 1.0
        chances[~sure] = (n - sure.sum()) * share[~sure] / share[~sure].sum()
        over = chances > 1
        if not over.any():
            break
        sure |= over
    return np.minimum(chances, 1.0)


def draw(chances: Sequence[float], seed: int) -> NDArray[np.intp]:
    """The places of those that are drawn, in order: as many as the chances add up to."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(chances))
    ends = np.cumsum(np.asarray(chances, dtype=np.float64)[order])
    count = round(float(ends[-1]))
    steps = random.random() + np.arange(count)
    taken = np.searchsorted(ends * (count / ends[-1]), steps, side="right")
    return np.sort(order[np.minimum(taken, len(order) - 1)])

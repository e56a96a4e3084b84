"""How many labels are worth it: how wide the interval would be with more of them, and how many a width takes.

What labels add to the variance falls as 1/n, what the judge adds stays. The width that is told is the present one by
the ratio of the two t intervals, so that it fits the interval that is shown, whatever its kind. It takes the observed
spread for the true one: a rough guide and no promise. Owns these figures.
"""

import math
from dataclasses import dataclass

from notus.stats.corrected.mean import Corrected
from notus.stats.distributions import t_quantile

__all__ = ["Outlook", "labels_for", "outlook", "width_with"]

_MOST = 1_000_000


@dataclass(frozen=True)
class Outlook:
    """The half width with more labels."""

    more: int
    half_width: float
    now: float
    """The present half width."""

    def __str__(self) -> str:
        """In words."""
        return f"{self.more:,} more labels would narrow ±{self.now:.3f} to about ±{self.half_width:.3f}"


def width_with(found: Corrected, more: int) -> float:
    """The width with so many more labels; more than there are judged answers is as many as there are.

    Raises:
        ValueError: if there is no estimate.
    """
    if found.estimate is None:
        raise ValueError("there is no corrected estimate")
    labels = min(found.labels + more, found.judged)
    groups = max(found.estimate.groups * labels / found.labels, 2.0)
    now = t_quantile(0.975, found.estimate.groups - 1) * math.sqrt(found.of_labels + found.of_judge)
    then = t_quantile(0.975, groups - 1) * math.sqrt(found.of_labels * found.labels / labels + found.of_judge)
    return found.estimate.width * then / now if now else found.estimate.width


def outlook(found: Corrected) -> Outlook | None:
    """What half as many labels again would bring, at least 50; None where all answers have one, or it is not known, as
    where all labels say the same."""
    more = min(max(50, found.labels // 2), found.judged - found.labels)
    if found.estimate is None or more < 1 or found.of_labels + found.of_judge == 0:
        return None
    return Outlook(more, width_with(found, more) / 2, found.estimate.width / 2)


def labels_for(found: Corrected, width: float) -> int | None:
    """About how many labels, in all, an interval of a width takes; None where not even all answers would do."""
    if found.estimate is None or width_with(found, found.judged - found.labels) > width:
        return None
    low, high = 0, min(found.judged, _MOST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if width_with(found, middle - found.labels) <= width else (middle, high)
    return high

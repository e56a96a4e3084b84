"""A true share from a judge whose errors were measured elsewhere: Rogan and Gladen, with both error rates estimated.

    true_share(positive=520, judged=1000, right_yes=(80, 100), right_no=(90, 100))

With q the share that the judge calls good, its sensitivity s₁ = P(yes | good) and specificity s₀ = P(no | bad)::

    p = (q + s₀ − 1) / (s₁ + s₀ − 1)            (Rogan and Gladen 1978, American J. of Epidemiology 107, pages 71–76)

The interval holds each p that neither the judge's share nor the two error rates speak against. Where p is true,
p s₁ + (1−p)(1−s₀) is the share that the judge calls good; how far the labels are from a q so made, and from its own
error q(1−q)/N, is measured as in ``strata``, with weights p and 1 − p. It is Fieller's way (1954) for a ratio, made for
counts: a judge that may be no better than a coin gives all from 0 to 1, where an interval around the ratio would be
short and wrong, and a judge with one error in fifty labels is not taken for one without. Intervals around the ratio
that add cases to both sides (Lang and Reiczigel 2014, Preventive Veterinary Medicine 113, pages 13–22) cover 99 %
there, and with a judge of .6 and 50 labels.

It is for a judge that was measured on *other* answers, whose share of good ones may differ, or where good and bad ones
were picked apart. Where the labelled answers are a random part of the judged ones, ``mean.corrected_mean`` is narrower,
as it asks how often people agree with a yes, and not how often the judge says yes to what is good. Owns the estimate.
"""

from dataclasses import dataclass
from statistics import NormalDist

from notus.core.errors import DataError
from notus.stats.corrected.strata import Stratum, distance_from
from notus.stats.intervals import Estimate, proportion

__all__ = ["TrueShare", "true_share"]

_Z = NormalDist().inv_cdf(0.975)
_NEAR = 1e-5


@dataclass(frozen=True)
class TrueShare:
    """A share, corrected for misclassification."""

    estimate: Estimate | None
    """None where the judge is right no more often than a coin: the share could then be anything."""
    judge: Estimate
    """What the judge calls good, as it stands."""
    right_yes: Estimate
    """Sensitivity."""
    right_no: Estimate
    """Specificity."""

    @property
    def youden(self) -> float:
        """Sensitivity + specificity − 1: 1 is without error, 0 a coin."""
        return self.right_yes.mean + self.right_no.mean - 1


def true_share(positive: int, judged: int, right_yes: tuple[int, int], right_no: tuple[int, int]) -> TrueShare:
    """The share of good answers.

    Args:
        positive: answers that the judge calls good.
        judged: of so many.
        right_yes: of answers that people call good, those that the judge calls good too, and all.
        right_no: of answers that people call bad, those that the judge calls bad too, and all.

    Raises:
        DataError: if a count is out of its range, or there is no answer of one of the kinds.
    """
    if min(judged, right_yes[1], right_no[1]) < 1:
        raise DataError(
            "a share is corrected by answers that people call good and such that they call bad; one is empty"
        )
    told = proportion(positive, judged), proportion(*right_yes), proportion(*right_no)
    youden = told[1].mean + told[2].mean - 1
    if youden <= 0:
        return TrueShare(None, *told)
    mean = min(max((told[0].mean + told[2].mean - 1) / youden, 0.0), 1.0)
    held = _Held(positive / judged, judged, right_yes, right_no)
    cases = right_yes[1] + right_no[1]
    found = Estimate(mean, held.end(mean, 0.0), held.end(mean, 1.0), judged, cases, "Rogan–Gladen, test inverted")
    return TrueShare(found, *told)


@dataclass(frozen=True)
class _Held:
    """Which shares the counts do not speak against."""

    q: float
    judged: int
    right_yes: tuple[int, int]
    right_no: tuple[int, int]

    def holds(self, p: float) -> bool:
        """Whether a share is in the interval."""
        (yes, of_yes), (no, of_no) = self.right_yes, self.right_no
        strata = (Stratum(p, of_yes, yes), Stratum(1 - p, of_no, of_no - no))
        return distance_from(strata, self.q, self.q * (1 - self.q) / self.judged) <= _Z**2

    def end(self, mean: float, border: float) -> float:
        """The end of the interval between the estimate and a border."""
        if self.holds(border):
            return border
        inside, outside = mean, border
        while abs(outside - inside) > _NEAR:
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if self.holds(middle) else (inside, middle)
        return outside

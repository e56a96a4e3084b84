"""Losses of the whole update: the best pairs are set against the best, the worst against the worst (AOT).

An update is computed in several forward passes, and a sort within one of them would be another loss. So the sums of all
its pairs come in with each pass (``PairLogps.update``), and give each pair the value that it is set against: a constant
for the gradient, because a sort moves values and does not mix them. The losses of the passes and their gradients then
add up to those of the update, however it is split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from notus.train.losses.base import Need, PairLoss, WithBeta, minus_log_sigmoid
from notus.train.losses.inputs import LogpSums, PairLogps

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Aot", "AotUnpaired"]


class _Sorted(PairLoss, WithBeta):
    """What both share: labels may be smoothed, and the pairs of the whole update are needed."""

    label_smoothing: float = Field(default=0.0, ge=0, le=0.5)
    """ε, the share of labels that is taken to be flipped."""

    @property
    def needs(self) -> frozenset[Need]:
        """The pairs of the whole update too."""
        return super().needs | {"update"}

    def _smooth(self, differences: Tensor) -> Tensor:
        h = self.beta * differences
        return (1 - self.label_smoothing) * minus_log_sigmoid(h) + self.label_smoothing * minus_log_sigmoid(-h)


class Aot(_Sorted):
    """AOT on pairs: ℓ(β (u_(k) − v_(k))) with u = log π(y_w|x) − log π(y_l|x), v the same of the reference, (k) the
    k-th smallest of the update, and ℓ(h) = −(1 − ε) log σ(h) − ε log σ(−h).

    Melnyk et al. 2024, section 3, with the logistic loss (https://arxiv.org/abs/2406.05882); as TRL's ``aot``. The
    policy's gap is to be larger than the reference's at every quantile, not pair by pair. ≥ 0; ln 2 where policy and
    reference are the same. An update of one pair has DPO's loss.
    """

    name: Literal["aot"] = "aot"

    def losses(self, pairs: PairLogps) -> Tensor:
        """The loss of each pair [n], set against the reference's gap of its rank in the update."""
        sums, places = _update(pairs)
        policy = sums.policy_chosen - sums.policy_rejected
        reference = sums.reference_chosen - sums.reference_rejected
        against = _of_the_same_rank(policy, reference)[places]
        return self._smooth(pairs.policy_chosen - pairs.policy_rejected - against)


class AotUnpaired(_Sorted):
    """AOT without pairing: ℓ(β (ρ_w,(k) − ρ_l,(k))) with (k) the k-th smallest of the update, and ℓ(h) =
    −(1 − ε) log σ(h) − ε log σ(−h). It reads pairs, and does not mind which answers belong together.

    Melnyk et al. 2024, section 3, with the logistic loss (https://arxiv.org/abs/2406.05882); as TRL's ``aot_unpaired``,
    which was called ``aot_pair`` before. The chosen answers' rewards are to be above the rejected ones' at every
    quantile. ≥ 0; ln 2 where policy and reference are the same. An update of one pair has DPO's loss.
    """

    also_called: ClassVar = {"aot_pair": {}}
    name: Literal["aot_unpaired"] = "aot_unpaired"

    def losses(self, pairs: PairLogps) -> Tensor:
        """Half the loss of its chosen and half that of its rejected answer's rank, for each pair [n]; their sum over
        the update, and the gradient of the sum, are those of the equation."""
        sums, places = _update(pairs)
        chosen, rejected = sums.chosen_ratios, sums.rejected_ratios
        below = _of_the_same_rank(chosen, rejected)[places]
        above = _of_the_same_rank(rejected, chosen)[places]
        # Each rank stands in two terms, once for the gradient of either answer: the value is half of both.
        both = self._smooth(pairs.chosen_ratios - below) + self._smooth(above - pairs.rejected_ratios)
        return both - 0.5 * both.detach()


def _update(pairs: PairLogps) -> tuple[LogpSums, Tensor | slice]:
    """The sums of all pairs of the update, and which of them these are."""
    return (pairs, slice(None)) if pairs.update is None else (pairs.update.sums, pairs.update.places)


def _of_the_same_rank(values: Tensor, others: Tensor) -> Tensor:
    """For each value the one of the others that has the same rank among them [m], without gradient."""
    ranks = values.detach().argsort(stable=True).argsort()
    return others.detach().sort().values[ranks]

"""Losses that hold the chosen and the rejected answer each to a place of its own, and not only their difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from notus.train.losses.base import Need, PairLoss, WithBeta, minus_log_sigmoid
from notus.train.losses.inputs import PairLogps, needed
from notus.train.losses.reference_free import nll

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ApoDown", "ApoZero", "Bco", "Dpop", "Nca", "Rpo", "SppoHard"]


class Nca(PairLoss, WithBeta):
    """NCA on pairs: −log σ(r_w) − ½ log σ(−r_w) − ½ log σ(−r_l). It holds the likelihood of the chosen answer.

    Chen et al. 2024, section 4.1 (https://arxiv.org/abs/2402.05369); β is the paper's α. ≥ 0; 2 ln 2 where policy and
    reference are the same.
    """

    also_called: ClassVar = {"nca_pair": {}}
    name: Literal["nca"] = "nca"

    def losses(self, pairs: PairLogps) -> Tensor:
        """Noise-contrastive estimation of both answers, for each pair [n]."""
        chosen, rejected = self.beta * pairs.chosen_ratios, self.beta * pairs.rejected_ratios
        return minus_log_sigmoid(chosen) + 0.5 * minus_log_sigmoid(-chosen) + 0.5 * minus_log_sigmoid(-rejected)


class Bco(PairLoss, WithBeta):
    """BCO on pairs: −log σ(r_w − δ) − log σ(−(r_l − δ)), two answers of a binary classifier.

    Jung et al. 2024, section 4 (https://arxiv.org/abs/2404.04656). δ = β · ``pairs.shift`` is the mean reward of chosen
    and rejected answers over the steps so far; it comes in with the pairs, so that a step can be repeated. ≥ 0; 2 ln 2
    at the start. TRL's ``bco_pair`` has no δ since version 1.0.
    """

    also_called: ClassVar = {"bco_pair": {"shifted": False}}
    name: Literal["bco"] = "bco"
    shifted: bool = True
    """Whether δ is taken off, as the paper does; otherwise it is 0."""

    @property
    def needs(self) -> frozenset[Need]:
        """The running mean too, unless it is left out."""
        return super().needs | {"shift"} if self.shifted else super().needs

    def losses(self, pairs: PairLogps) -> Tensor:
        """The classifier's loss of both answers, for each pair [n]."""
        shift = needed(pairs.shift, self.name, "the running mean of the log-ratios") if self.shifted else 0.0
        return minus_log_sigmoid(self.beta * (pairs.chosen_ratios - shift)) + minus_log_sigmoid(
            self.beta * (shift - pairs.rejected_ratios)
        )


class SppoHard(PairLoss, WithBeta):
    """SPPO with hard labels: (ρ_w − 1/(2β))² + (ρ_l + 1/(2β))². Both log-ratios are drawn to ±1/(2β) nats.

    Wu et al. 2024, equation 4.7 (https://arxiv.org/abs/2405.00675) with win probabilities 1 and 0 and η = 1/β. In nats
    squared, ≥ 0; 1/(2β²) where policy and reference are the same.
    """

    name: Literal["sppo_hard"] = "sppo_hard"

    def losses(self, pairs: PairLogps) -> Tensor:
        """Both squared distances, for each pair [n]."""
        return (pairs.chosen_ratios - 0.5 / self.beta).square() + (pairs.rejected_ratios + 0.5 / self.beta).square()


class ApoZero(PairLoss, WithBeta):
    """APO-zero: σ(−r_w) + σ(r_l). Raises the chosen answer, lowers the rejected one.

    D'Oosterlinck et al. 2024, equation 7 (https://arxiv.org/abs/2408.06266), plus the constant 1, which keeps it ≥ 0;
    for chosen answers that are better than what the policy writes. 0 to 2; 1 where policy and reference are the same.
    """

    name: Literal["apo_zero"] = "apo_zero"

    def losses(self, pairs: PairLogps) -> Tensor:
        """Both answers' part, for each pair [n]."""
        return (-self.beta * pairs.chosen_ratios).sigmoid() + (self.beta * pairs.rejected_ratios).sigmoid()


class ApoDown(PairLoss, WithBeta):
    """APO-down: σ(r_w) + σ(−h). Lowers both answers, the rejected one more.

    D'Oosterlinck et al. 2024, equation 8 (https://arxiv.org/abs/2408.06266), plus the constant 1, which keeps it ≥ 0;
    for chosen answers that are worse than what the policy writes. 0 to 2; 1 where policy and reference are the same.
    """

    name: Literal["apo_down"] = "apo_down"

    def losses(self, pairs: PairLogps) -> Tensor:
        """The chosen answer's and the margin's part, for each pair [n]."""
        return (self.beta * pairs.chosen_ratios).sigmoid() + (-self.beta * pairs.ratio_gaps).sigmoid()


class Dpop(PairLoss, WithBeta):
    """DPO-Positive: −log σ(h − βλ max(0, −ρ_w)). The chosen answer is not to become less likely than it was.

    Pal et al. 2024, equation 3 (https://arxiv.org/abs/2402.13228). ≥ 0; ln 2 where policy and reference are the same.
    """

    name: Literal["dpop"] = "dpop"
    penalty: float = Field(default=50.0, gt=0)
    """λ, the weight of the fall of the chosen answer; the paper uses 5 to 500, mostly 50."""

    def losses(self, pairs: PairLogps) -> Tensor:
        """DPO's loss with the fall taken off the margin, for each pair [n]."""
        fall = (-pairs.chosen_ratios).relu()
        return minus_log_sigmoid(self.beta * (pairs.ratio_gaps - self.penalty * fall))


class Rpo(PairLoss, WithBeta):
    """DPO plus the likelihood of the chosen answer: −log σ(h) − α log π(y_w|x)/|y_w|.

    Pang et al. 2024, equation 1 (https://arxiv.org/abs/2404.19733), where the weight stands at the DPO term instead; at
    1, the paper's choice, both are the same. ≥ 0.
    """

    name: Literal["rpo"] = "rpo"
    nll_weight: float = Field(default=1.0, gt=0)
    """α, the weight of the mean negative log-likelihood of the chosen answer."""

    def losses(self, pairs: PairLogps) -> Tensor:
        """Both terms, for each pair [n]."""
        return minus_log_sigmoid(self.beta * pairs.ratio_gaps) + self.nll_weight * nll(pairs)

"""Losses of the margin h alone: DPO, and those that take another function of it or move where it should end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from notus.train.losses.base import Need, PairLoss, WithBeta, minus_log_sigmoid
from notus.train.losses.inputs import PairLogps, needed

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Cdpo", "Discopop", "Exo", "Hinge", "IpoSum", "Margin", "Robust", "Sigmoid"]


class Sigmoid(PairLoss, WithBeta):
    """DPO: −log σ(h).

    Rafailov et al. 2023, equation 7 (https://arxiv.org/abs/2305.18290). ≥ 0; ln 2 where policy and reference are the
    same.
    """

    name: Literal["sigmoid"] = "sigmoid"

    def losses(self, pairs: PairLogps) -> Tensor:
        """−log σ(h) for each pair [n]."""
        return minus_log_sigmoid(self.beta * pairs.ratio_gaps)


class Cdpo(PairLoss, WithBeta):
    """Conservative DPO: −(1 − ε) log σ(h) − ε log σ(−h). The margin has an optimum, log((1 − ε)/ε).

    Mitchell 2023 (https://ericmitchell.ai/cdpo.pdf). ≥ 0; ln 2 at h = 0.
    """

    name: Literal["cdpo"] = "cdpo"
    label_smoothing: float = Field(default=0.1, ge=0, le=0.5)
    """ε, the share of labels that is taken to be flipped."""

    def losses(self, pairs: PairLogps) -> Tensor:
        """The mean of both labels' losses, for each pair [n]."""
        h = self.beta * pairs.ratio_gaps
        return (1 - self.label_smoothing) * minus_log_sigmoid(h) + self.label_smoothing * minus_log_sigmoid(-h)


class Robust(PairLoss, WithBeta):
    """Robust DPO: (−(1 − ε) log σ(h) + ε log σ(−h)) / (1 − 2ε), DPO's loss in the mean over flipped labels.

    Ray Chowdhury et al. 2024, section 3.1 (https://arxiv.org/abs/2403.00409). Any sign; ln 2 at h = 0.
    """

    name: Literal["robust"] = "robust"
    label_smoothing: float = Field(default=0.1, ge=0, lt=0.5)
    """ε, the rate at which labels are flipped."""

    def losses(self, pairs: PairLogps) -> Tensor:
        """DPO's loss, freed of the bias of flipped labels, for each pair [n]."""
        h = self.beta * pairs.ratio_gaps
        return ((1 - self.label_smoothing) * minus_log_sigmoid(h) - self.label_smoothing * minus_log_sigmoid(-h)) / (
            1 - 2 * self.label_smoothing
        )


class Hinge(PairLoss, WithBeta):
    """Hinge on the margin: max(0, 1 − h). 1/β is the gap of log-ratios, in nats, at which it ends.

    Zhao et al. 2023, section 2 (https://arxiv.org/abs/2305.10425), with log-ratios in place of log-probabilities as in
    Liu et al. 2023 (https://arxiv.org/abs/2309.06657). ≥ 0; 1 at h = 0.
    """

    name: Literal["hinge"] = "hinge"

    def losses(self, pairs: PairLogps) -> Tensor:
        """max(0, 1 − h) for each pair [n]."""
        return (1 - self.beta * pairs.ratio_gaps).relu()


class IpoSum(PairLoss, WithBeta):
    """IPO on sums over tokens: (ρ_w − ρ_l − 1/(2β))², as the paper's equation has it. β is the paper's τ.

    Azar et al. 2023, equation 17 (https://arxiv.org/abs/2310.12036). In nats squared, ≥ 0; 1/(4β²) at h = 0. The gap of
    log-ratios is drawn to 1/(2β) nats. TRL's ``ipo`` is ``ipo_mean``.
    """

    name: Literal["ipo_sum"] = "ipo_sum"

    def losses(self, pairs: PairLogps) -> Tensor:
        """The squared distance of the gap from 1/(2β), for each pair [n]."""
        return (pairs.ratio_gaps - 0.5 / self.beta).square()


class Exo(PairLoss, WithBeta):
    """EXO on pairs: KL(p ‖ q) of p = (σ(h), σ(−h)) from the smoothed labels q = (1 − ε, ε). β is the paper's β_π.

    Ji et al. 2024, equation 16 (https://arxiv.org/abs/2402.00856). ≥ 0, 0 at h = log((1 − ε)/ε); it tends to
    −log(1 − ε) for h → ∞ and to −log ε for h → −∞.
    """

    also_called: ClassVar = {"exo_pair": {}}
    name: Literal["exo"] = "exo"
    label_smoothing: float = Field(default=1e-3, gt=0, lt=0.5)
    """ε, the smoothing of the labels; at 0 the loss is infinite. The paper uses 1e-3."""

    def losses(self, pairs: PairLogps) -> Tensor:
        """The divergence, for each pair [n]."""
        h = self.beta * pairs.ratio_gaps
        right = h.sigmoid() * (-minus_log_sigmoid(h) - math.log1p(-self.label_smoothing))
        wrong = (-h).sigmoid() * (-minus_log_sigmoid(-h) - math.log(self.label_smoothing))
        return right + wrong


class Discopop(PairLoss, WithBeta):
    """DiscoPOP: −(1 − m) log σ(h) + m exp(−h), a blend of logistic and exponential loss by m = σ(h/τ).

    Lu et al. 2024, equation 5 (https://arxiv.org/abs/2406.08414). ≥ 0; (1 + ln 2)/2 at h = 0.
    """

    name: Literal["discopop"] = "discopop"
    tau: float = Field(default=0.05, gt=0, le=1)
    """τ, the width of the blend in units of the margin; above 1 the loss would grow exponentially for wrong pairs. The
    paper uses 0.05."""

    def losses(self, pairs: PairLogps) -> Tensor:
        """The blend, for each pair [n]."""
        h = self.beta * pairs.ratio_gaps
        # m exp(−h) as one exponential: as a product it is 0 · ∞ at h far below 0.
        return (-h / self.tau).sigmoid() * minus_log_sigmoid(h) + (-minus_log_sigmoid(h / self.tau) - h).exp()


class Margin(PairLoss, WithBeta):
    """DPO with an offset: −log σ(h − α (s_w − s_l)). The better the chosen answer was scored, the more is asked for.

    Amini et al. 2024 (https://arxiv.org/abs/2402.10571) with the difference of the scores itself as the offset;
    Touvron et al. 2023, equation 2 (https://arxiv.org/abs/2307.09288) have the same margin in a reward model. ≥ 0.
    """

    name: Literal["margin"] = "margin"
    scale: float = Field(default=1.0, gt=0)
    """α, the reward for one point of score."""

    @property
    def needs(self) -> frozenset[Need]:
        """The scores too."""
        return super().needs | {"scores"}

    def losses(self, pairs: PairLogps) -> Tensor:
        """DPO's loss behind the offset, for each pair [n]."""
        offsets = self.scale * needed(pairs.score_margins, self.name, "the scores of both answers")
        return minus_log_sigmoid(self.beta * pairs.ratio_gaps - offsets)

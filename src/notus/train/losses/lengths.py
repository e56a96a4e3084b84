"""Losses that count tokens, so that an answer gains or loses nothing, or less, by its length."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from notus.train.losses.base import Need, PairLoss, WithBeta, minus_log_sigmoid
from notus.train.losses.inputs import PairLogps, needed

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["IpoMean", "LdDpo", "RDpo", "SigmoidNorm"]


class SigmoidNorm(PairLoss):
    """Length-normalised DPO: −log σ(β (ρ_w/|y_w| − ρ_l/|y_l|)).

    Lambert et al. 2024, section 5 (https://arxiv.org/abs/2411.15124). ≥ 0; ln 2 where policy and reference are the
    same.
    """

    name: Literal["sigmoid_norm"] = "sigmoid_norm"
    beta: float = Field(default=5.0, gt=0)
    """Weight of the KL penalty per token; Tülu 3 uses 5."""

    def losses(self, pairs: PairLogps) -> Tensor:
        """DPO's loss of mean log-ratios, for each pair [n]."""
        return minus_log_sigmoid(self.beta * _gaps_of_means(pairs))


class IpoMean(PairLoss, WithBeta):
    """IPO on means over tokens: (ρ_w/|y_w| − ρ_l/|y_l| − 1/(2β))². Another loss than ``ipo_sum``, not another scale.

    Azar et al. 2023, equation 17 (https://arxiv.org/abs/2310.12036), with mean log-ratios; this is what TRL calls
    ``ipo``, after its authors asked those of the paper. In squared nats per token, ≥ 0; 1/(4β²) where policy and
    reference are the same. The gap of mean log-ratios is drawn to 1/(2β) nats per token.
    """

    also_called: ClassVar = {"ipo": {}}
    name: Literal["ipo_mean"] = "ipo_mean"

    def losses(self, pairs: PairLogps) -> Tensor:
        """The squared distance of the gap from 1/(2β), for each pair [n]."""
        return (_gaps_of_means(pairs) - 0.5 / self.beta).square()


class LdDpo(PairLoss, WithBeta):
    """Length-desensitised DPO: tokens of the longer answer beyond the length of the shorter one count α.

    Liu et al. 2024, section 3 (https://arxiv.org/abs/2409.06411): log π̂(y|x) is the sum over the first
    min(|y_w|, |y_l|) tokens plus α times the sum over the rest, for policy and reference; then DPO. ≥ 0; ln 2 where
    policy and reference are the same.
    """

    name: Literal["ld_dpo"] = "ld_dpo"
    tail_weight: float = Field(default=0.5, ge=0, le=1)
    """α, the weight of the tokens beyond the length of the shorter answer; 0 does not read them, 1 is DPO."""

    @property
    def needs(self) -> frozenset[Need]:
        """The sums over the common length too."""
        return super().needs | {"prefix"}

    def losses(self, pairs: PairLogps) -> Tensor:
        """DPO's loss of the weighed sums, for each pair [n]."""
        common = needed(pairs.prefix, self.name, "the sums over the common length").ratio_gaps
        return minus_log_sigmoid(self.beta * (common + self.tail_weight * (pairs.ratio_gaps - common)))


class RDpo(PairLoss, WithBeta):
    """DPO with a penalty on length: −log σ(h + α (|y_w| − |y_l|)).

    Park et al. 2024, section 3 (https://arxiv.org/abs/2403.19159). With the reward r(x, y) − α|y| the best policy has
    r = βρ + α|y| + a term of the prompt; hence the plus: a chosen answer that is longer has won part of its margin by
    length, and less is left to learn. ≥ 0.
    """

    name: Literal["r_dpo"] = "r_dpo"
    length_penalty: float = Field(default=0.01, gt=0)
    """α, the reward that one token costs."""

    def losses(self, pairs: PairLogps) -> Tensor:
        """DPO's loss with the difference of lengths in the margin, for each pair [n]."""
        lengths = pairs.chosen_tokens - pairs.rejected_tokens
        return minus_log_sigmoid(self.beta * pairs.ratio_gaps + self.length_penalty * lengths)


def _gaps_of_means(pairs: PairLogps) -> Tensor:
    return pairs.chosen_ratios / pairs.chosen_tokens - pairs.rejected_ratios / pairs.rejected_tokens

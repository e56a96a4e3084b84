"""Losses of single rows that are marked desirable or undesirable. ρ is the log-ratio of a row's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from notus.train.losses.base import Need, UnpairedLoss, WithBeta, minus_log_sigmoid
from notus.train.losses.inputs import UnpairedLogps, needed

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BcoUnpaired", "Kto"]


class Kto(UnpairedLoss, WithBeta):
    """KTO: λ_D σ(−β(ρ − z_0)) for a desirable row, λ_U σ(−β(z_0 − ρ)) for an undesirable one. β is the risk aversion.

    Ethayarajh et al. 2024, equation 7 and section 4 (https://arxiv.org/abs/2402.01306). z_0 is ``rows.kl``, an estimate
    that passes no gradient and comes in with the rows. 0 to the row's weight; half of it where policy and reference are
    the same.
    """

    name: Literal["kto"] = "kto"
    desirable_weight: float = Field(default=1.0, gt=0)
    """λ_D."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """λ_U; the paper keeps λ_D n_D / (λ_U n_U) between 1 and 3/2 (n: rows of each kind)."""

    @property
    def needs(self) -> frozenset[Need]:
        """The estimate of the KL divergence too."""
        return super().needs | {"kl"}

    def losses(self, rows: UnpairedLogps) -> Tensor:
        """The value that was lost, for each row [n]."""
        gains = self.beta * (rows.ratios - needed(rows.kl, self.name, "an estimate of the KL divergence"))
        lost = self.desirable_weight * (-gains).sigmoid()
        return lost.where(rows.desirable, self.undesirable_weight * gains.sigmoid())


class BcoUnpaired(UnpairedLoss, WithBeta):
    """BCO on single rows: −log σ(βρ − δ) for a desirable row, −log σ(−(βρ − δ)) for an undesirable one.

    Jung et al. 2024, section 4 (https://arxiv.org/abs/2404.04656), without the paper's weights for prompts that differ
    between the two kinds. δ = β · ``rows.shift``, the mean reward over the steps so far, comes in with the rows. ≥ 0;
    ln 2 at the start.
    """

    name: Literal["bco_unpaired"] = "bco_unpaired"

    @property
    def needs(self) -> frozenset[Need]:
        """The running mean too."""
        return super().needs | {"shift"}

    def losses(self, rows: UnpairedLogps) -> Tensor:
        """The classifier's loss, for each row [n]."""
        shift = needed(rows.shift, self.name, "the running mean of the log-ratios")
        rewards = self.beta * (rows.ratios - shift)
        return minus_log_sigmoid(rewards.where(rows.desirable, -rewards))

"""Losses of single rows that are marked desirable or undesirable. All take ``UnpairedLogps`` and give [n].

Notation: ρ = log π(y|x) − log π_ref(y|x).
"""

import torch
from torch import Tensor
from torch.nn import functional

from notus.train.loss_inputs import UnpairedLogps, needed

__all__ = ["bco_unpaired", "kto"]


def kto(rows: UnpairedLogps, *, beta: float, desirable_weight: float, undesirable_weight: float) -> Tensor:
    """KTO: λ_D σ(−β(ρ − z_0)) for a desirable row, λ_U σ(−β(z_0 − ρ)) for an undesirable one.

    Ethayarajh et al. 2024, equation 7 and section 4 (https://arxiv.org/abs/2402.01306). z_0 is
    ``rows.kl``, an estimate that passes no gradient and comes in with the rows.

    Args:
        rows: n rows with their KL estimate.
        beta: risk aversion, > 0.
        desirable_weight: λ_D, > 0.
        undesirable_weight: λ_U, > 0; the paper keeps λ_D n_D / (λ_U n_U) between 1 and 3/2 (n: rows of each kind).

    Returns:
        [n], 0 to the row's weight; half of it where policy and reference are the same.

    Raises:
        ValueError: if the rows carry no KL estimate.
    """
    gains = rows.ratios - needed(rows.kl, "kto", "an estimate of the KL divergence")
    return torch.where(
        rows.desirable,
        desirable_weight * torch.sigmoid(-beta * gains),
        undesirable_weight * torch.sigmoid(beta * gains),
    )


def bco_unpaired(rows: UnpairedLogps, *, beta: float) -> Tensor:
    """BCO on single rows: −log σ(βρ − δ) for a desirable row, −log σ(−(βρ − δ)) for an undesirable one.

    Jung et al. 2024, section 4 (https://arxiv.org/abs/2404.04656), without the paper's weights for prompts that differ
    between the two kinds. δ = β · ``rows.shift``, the mean reward over the steps so far, comes in with the rows.

    Args:
        rows: n rows with their shift.
        beta: weight of the KL penalty, > 0.

    Returns:
        [n], ≥ 0; ln 2 at the start.

    Raises:
        ValueError: if the rows carry no shift.
    """
    rewards = beta * (rows.ratios - needed(rows.shift, "bco_unpaired", "the running mean of the log-ratios"))
    return -functional.logsigmoid(torch.where(rows.desirable, rewards, -rewards))

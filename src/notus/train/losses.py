"""Losses by name, and their weighted sums: tensors in, one value for each pair or row out.

The losses themselves are pure functions in ``ratio_losses``, ``extended_losses`` and ``unpaired_losses``; what can be
set of them is in ``loss_settings``, under the same names.
"""

from collections.abc import Callable

import torch

from notus.train import extended_losses, ratio_losses, unpaired_losses
from notus.train.loss_inputs import PairLogps, UnpairedLogps
from notus.train.loss_settings import PairObjective, UnpairedObjective, terms

__all__ = ["LOSSES", "UNPAIRED_LOSSES", "implicit_rewards", "pair_losses", "row_losses"]

LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "sigmoid": ratio_losses.sigmoid,
    "cdpo": ratio_losses.cdpo,
    "robust": ratio_losses.robust,
    "hinge": ratio_losses.hinge,
    "ipo_sum": ratio_losses.ipo_sum,
    "ipo_mean": ratio_losses.ipo_mean,
    "exo": ratio_losses.exo,
    "nca": ratio_losses.nca,
    "bco": ratio_losses.bco,
    "sppo_hard": ratio_losses.sppo_hard,
    "apo_zero": ratio_losses.apo_zero,
    "apo_down": ratio_losses.apo_down,
    "discopop": ratio_losses.discopop,
    "sigmoid_norm": extended_losses.sigmoid_norm,
    "simpo": extended_losses.simpo,
    "orpo": extended_losses.orpo,
    "rpo": extended_losses.rpo,
    "ld_dpo": extended_losses.ld_dpo,
    "r_dpo": extended_losses.r_dpo,
    "dpop": extended_losses.dpop,
    "margin": extended_losses.margin,
    "nll": extended_losses.nll,
}
"""Name → function of ``PairLogps`` and the options of the loss, which gives [n]."""

UNPAIRED_LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "kto": unpaired_losses.kto,
    "bco_unpaired": unpaired_losses.bco_unpaired,
}
"""Name → function of ``UnpairedLogps`` and the options of the loss, which gives [n]."""


def pair_losses(objective: PairObjective, pairs: PairLogps) -> torch.Tensor:
    """The loss of each pair: of one loss, or the weighted sum of several.

    Args:
        objective: which losses, with their options.
        pairs: n pairs, with all that these losses need (``needs_reference`` and its like in ``loss_settings``).

    Returns:
        [n], in the precision of the pairs.

    Raises:
        ValueError: if the pairs lack something that a loss needs.
    """
    values = [weight * LOSSES[loss.name](pairs, **loss.options()) for weight, loss in terms(objective)]
    return torch.stack(values).sum(0)


def row_losses(objective: UnpairedObjective, rows: UnpairedLogps) -> torch.Tensor:
    """The loss of each row.

    Args:
        objective: which loss, with its options.
        rows: n rows, with all that this loss needs.

    Returns:
        [n], in the precision of the rows.

    Raises:
        ValueError: if the rows lack something that the loss needs.
    """
    return UNPAIRED_LOSSES[objective.name](rows, **objective.options())


def implicit_rewards(policy_logps: torch.Tensor, reference_logps: torch.Tensor, beta: float) -> torch.Tensor:
    """The reward that a policy implies, up to a term of the prompt: β (log π(y|x) − log π_ref(y|x)).

    Rafailov et al. 2023, equation 5 (https://arxiv.org/abs/2305.18290).

    Args:
        policy_logps: [n], summed over the tokens of each answer.
        reference_logps: [n], likewise.
        beta: weight of the KL penalty, > 0.

    Returns:
        [n], in nats times β.
    """
    return beta * (policy_logps - reference_logps)

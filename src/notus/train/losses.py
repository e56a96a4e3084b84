"""Losses as pure functions of log-probabilities: tensors in, one value for each pair out."""

import torch
from torch.nn import functional

__all__ = ["implicit_rewards", "sigmoid_loss"]


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


def sigmoid_loss(chosen_rewards: torch.Tensor, rejected_rewards: torch.Tensor) -> torch.Tensor:
    """The DPO loss: −log σ(r_chosen − r_rejected), ln 2 where policy and reference are the same.

    Rafailov et al. 2023, equation 7 (https://arxiv.org/abs/2305.18290).

    Args:
        chosen_rewards: [n], from ``implicit_rewards``.
        rejected_rewards: [n], likewise.

    Returns:
        [n], each ≥ 0.
    """
    return -functional.logsigmoid(chosen_rewards - rejected_rewards)

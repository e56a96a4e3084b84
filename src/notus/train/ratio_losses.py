"""Losses of the log-ratios of policy and reference: DPO and those that only shape its margin or its two rewards.

Notation: ρ_w and ρ_l are the log-ratios of the chosen and the rejected answer, r = βρ their implicit rewards and
h = r_w − r_l the margin. All take ``PairLogps`` and give [n]; none reads a config or keeps state.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from notus.train.loss_inputs import PairLogps, needed

__all__ = [
    "apo_down",
    "apo_zero",
    "bco",
    "cdpo",
    "discopop",
    "exo",
    "hinge",
    "ipo_mean",
    "ipo_sum",
    "nca",
    "robust",
    "sigmoid",
    "sppo_hard",
]


def sigmoid(pairs: PairLogps, *, beta: float) -> Tensor:
    """DPO: −log σ(h).

    Rafailov et al. 2023, equation 7 (https://arxiv.org/abs/2305.18290).

    Args:
        pairs: n pairs.
        beta: weight of the KL penalty, > 0.

    Returns:
        [n], ≥ 0; ln 2 where policy and reference are the same.
    """
    return _cost(beta * pairs.ratio_gaps)


def cdpo(pairs: PairLogps, *, beta: float, label_smoothing: float) -> Tensor:
    """Conservative DPO: −(1 − ε) log σ(h) − ε log σ(−h). The margin has an optimum, log((1 − ε)/ε).

    Mitchell 2023 (https://ericmitchell.ai/cdpo.pdf).

    Args:
        pairs: n pairs.
        beta: weight of the KL penalty, > 0.
        label_smoothing: ε, the share of labels taken to be flipped, 0 to ½.

    Returns:
        [n], ≥ 0; ln 2 at h = 0.
    """
    h = beta * pairs.ratio_gaps
    return (1 - label_smoothing) * _cost(h) + label_smoothing * _cost(-h)


def robust(pairs: PairLogps, *, beta: float, label_smoothing: float) -> Tensor:
    """Robust DPO: (−(1 − ε) log σ(h) + ε log σ(−h)) / (1 − 2ε), DPO's loss in the mean over flipped labels.

    Ray Chowdhury et al. 2024, section 3.1 (https://arxiv.org/abs/2403.00409).

    Args:
        pairs: n pairs.
        beta: weight of the KL penalty, > 0.
        label_smoothing: ε, the rate at which labels are flipped, 0 to below ½.

    Returns:
        [n], any sign; ln 2 at h = 0.
    """
    h = beta * pairs.ratio_gaps
    return ((1 - label_smoothing) * _cost(h) - label_smoothing * _cost(-h)) / (1 - 2 * label_smoothing)


def hinge(pairs: PairLogps, *, beta: float) -> Tensor:
    """Hinge on the margin: max(0, 1 − h).

    Zhao et al. 2023, section 2 (https://arxiv.org/abs/2305.10425), with log-ratios in place of log-probabilities as in
    Liu et al. 2023 (https://arxiv.org/abs/2309.06657).

    Args:
        pairs: n pairs.
        beta: 1/β is the gap of log-ratios, in nats, at which the loss ends; > 0.

    Returns:
        [n], ≥ 0; 1 at h = 0.
    """
    return functional.relu(1 - beta * pairs.ratio_gaps)


def ipo_sum(pairs: PairLogps, *, beta: float) -> Tensor:
    """IPO on sums over tokens: (ρ_w − ρ_l − 1/(2β))², as the paper's equation has it.

    Azar et al. 2023, equation 17 (https://arxiv.org/abs/2310.12036); β is the paper's τ.

    Args:
        pairs: n pairs.
        beta: the gap of log-ratios is drawn to 1/(2β) nats; > 0.

    Returns:
        [n], in nats squared, ≥ 0; 1/(4β²) at h = 0.
    """
    return (pairs.ratio_gaps - 0.5 / beta).square()


def ipo_mean(pairs: PairLogps, *, beta: float) -> Tensor:
    """IPO on means over tokens: (ρ_w/|y_w| − ρ_l/|y_l| − 1/(2β))². Another loss than ``ipo_sum``, not another scale.

    Azar et al. 2023, equation 17 (https://arxiv.org/abs/2310.12036), with mean log-ratios; this is what TRL calls
    ``ipo``, after its authors asked those of the paper.

    Args:
        pairs: n pairs.
        beta: the gap of mean log-ratios is drawn to 1/(2β) nats per token; > 0.

    Returns:
        [n], in squared nats per token, ≥ 0; 1/(4β²) where policy and reference are the same.
    """
    gaps = pairs.chosen_ratios / pairs.chosen_tokens - pairs.rejected_ratios / pairs.rejected_tokens
    return (gaps - 0.5 / beta).square()


def exo(pairs: PairLogps, *, beta: float, label_smoothing: float) -> Tensor:
    """EXO on pairs: KL(p ‖ q) of p = (σ(h), σ(−h)) from the smoothed labels q = (1 − ε, ε).

    Ji et al. 2024, equation 16 (https://arxiv.org/abs/2402.00856).

    Args:
        pairs: n pairs.
        beta: the paper's β_π, > 0.
        label_smoothing: ε, above 0 (at 0 the divergence is infinite) and below ½; the paper uses 1e-3.

    Returns:
        [n], ≥ 0, 0 at h = log((1 − ε)/ε); it tends to −log(1 − ε) for h → ∞ and to −log ε for h → −∞.
    """
    h = beta * pairs.ratio_gaps
    right = torch.sigmoid(h) * (-_cost(h) - math.log1p(-label_smoothing))
    wrong = torch.sigmoid(-h) * (-_cost(-h) - math.log(label_smoothing))
    return right + wrong


def nca(pairs: PairLogps, *, beta: float) -> Tensor:
    """NCA on pairs: −log σ(r_w) − ½ log σ(−r_w) − ½ log σ(−r_l). It holds the likelihood of the chosen answer.

    Chen et al. 2024, section 4.1 (https://arxiv.org/abs/2402.05369); β is the paper's α.

    Args:
        pairs: n pairs.
        beta: weight of the KL penalty, > 0.

    Returns:
        [n], ≥ 0; 2 ln 2 where policy and reference are the same.
    """
    chosen, rejected = beta * pairs.chosen_ratios, beta * pairs.rejected_ratios
    return _cost(chosen) + 0.5 * _cost(-chosen) + 0.5 * _cost(-rejected)


def bco(pairs: PairLogps, *, beta: float) -> Tensor:
    """BCO on pairs: −log σ(r_w − δ) − log σ(−(r_l − δ)), two answers of a binary classifier.

    Jung et al. 2024, section 4 (https://arxiv.org/abs/2404.04656). δ = β · ``pairs.shift`` is the mean reward of
    chosen and rejected answers over the steps so far; it comes in with the pairs, so that a step can be repeated.

    Args:
        pairs: n pairs with their shift.
        beta: weight of the KL penalty, > 0.

    Returns:
        [n], ≥ 0; 2 ln 2 at the start.

    Raises:
        ValueError: if the pairs carry no shift.
    """
    shift = needed(pairs.shift, "bco", "the running mean of the log-ratios")
    return _cost(beta * (pairs.chosen_ratios - shift)) + _cost(beta * (shift - pairs.rejected_ratios))


def sppo_hard(pairs: PairLogps, *, beta: float) -> Tensor:
    """SPPO with hard labels: (ρ_w − 1/(2β))² + (ρ_l + 1/(2β))².

    Wu et al. 2024, equation 4.7 (https://arxiv.org/abs/2405.00675) with win probabilities 1 and 0 and η = 1/β.

    Args:
        pairs: n pairs.
        beta: the two log-ratios are drawn to ±1/(2β) nats; > 0.

    Returns:
        [n], in nats squared, ≥ 0; 1/(2β²) where policy and reference are the same.
    """
    return (pairs.chosen_ratios - 0.5 / beta).square() + (pairs.rejected_ratios + 0.5 / beta).square()


def apo_zero(pairs: PairLogps, *, beta: float) -> Tensor:
    """APO-zero: σ(−r_w) + σ(r_l). Raises the chosen answer, lowers the rejected one.

    D'Oosterlinck et al. 2024, equation 7 (https://arxiv.org/abs/2408.06266), plus the constant 1, which keeps it ≥ 0.

    Args:
        pairs: n pairs, whose chosen answers are better than what the policy writes.
        beta: weight of the KL penalty, > 0.

    Returns:
        [n], 0 to 2; 1 where policy and reference are the same.
    """
    return torch.sigmoid(-beta * pairs.chosen_ratios) + torch.sigmoid(beta * pairs.rejected_ratios)


def apo_down(pairs: PairLogps, *, beta: float) -> Tensor:
    """APO-down: σ(r_w) + σ(−h). Lowers both answers, the rejected one more.

    D'Oosterlinck et al. 2024, equation 8 (https://arxiv.org/abs/2408.06266), plus the constant 1, which keeps it ≥ 0.

    Args:
        pairs: n pairs, whose chosen answers are worse than what the policy writes.
        beta: weight of the KL penalty, > 0.

    Returns:
        [n], 0 to 2; 1 where policy and reference are the same.
    """
    return torch.sigmoid(beta * pairs.chosen_ratios) + torch.sigmoid(-beta * pairs.ratio_gaps)


def discopop(pairs: PairLogps, *, beta: float, tau: float) -> Tensor:
    """DiscoPOP: −(1 − m) log σ(h) + m exp(−h), blended by m = σ(h/τ).

    Lu et al. 2024, equation 5 (https://arxiv.org/abs/2406.08414). m exp(−h) is one exponential, exp(−h + log σ(h/τ)):
    as a product it is 0 · ∞ at h far below 0.

    Args:
        pairs: n pairs.
        beta: weight of the KL penalty, > 0.
        tau: τ, above 0 and at most 1 (above that the loss grows exponentially for h → −∞); the paper uses 0.05.

    Returns:
        [n], ≥ 0; (1 + ln 2)/2 at h = 0.
    """
    h = beta * pairs.ratio_gaps
    return torch.sigmoid(-h / tau) * _cost(h) + torch.exp(functional.logsigmoid(h / tau) - h)


def _cost(x: Tensor) -> Tensor:
    return -functional.logsigmoid(x)

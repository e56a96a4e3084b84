"""Losses of pairs that read more than log-ratios: lengths, the likelihood itself, scores, or no reference at all.

Notation as in ``ratio_losses``. All take ``PairLogps`` and give [n]; none reads a config or keeps state.
"""

import torch
from torch import Tensor
from torch.nn import functional

from notus.train.loss_inputs import PairLogps, needed
from notus.train.ratio_losses import sigmoid

__all__ = ["dpop", "ld_dpo", "margin", "nll", "orpo", "r_dpo", "rpo", "sigmoid_norm", "simpo"]


def sigmoid_norm(pairs: PairLogps, *, beta: float) -> Tensor:
    """Length-normalised DPO: −log σ(β (ρ_w/|y_w| − ρ_l/|y_l|)).

    Lambert et al. 2024, section 5 (https://arxiv.org/abs/2411.15124).

    Args:
        pairs: n pairs.
        beta: weight of the KL penalty per token, > 0; Tülu 3 uses 5.

    Returns:
        [n], ≥ 0; ln 2 where policy and reference are the same.
    """
    gaps = pairs.chosen_ratios / pairs.chosen_tokens - pairs.rejected_ratios / pairs.rejected_tokens
    return -functional.logsigmoid(beta * gaps)


def simpo(pairs: PairLogps, *, beta: float, gamma: float) -> Tensor:
    """SimPO: −log σ(β log π(y_w|x)/|y_w| − β log π(y_l|x)/|y_l| − γ). Reads no reference.

    Meng et al. 2024, equation 6 (https://arxiv.org/abs/2405.14734).

    Args:
        pairs: n pairs.
        beta: scale of the reward, which is a mean over tokens; > 0; the paper uses 2 to 2.5.
        gamma: γ, the margin that is asked for, in units of the reward, ≥ 0; the paper uses .2 to 1.6.

    Returns:
        [n], ≥ 0.
    """
    chosen, rejected = _means(pairs)
    return -functional.logsigmoid(beta * (chosen - rejected) - gamma)


def nll(pairs: PairLogps) -> Tensor:
    """Mean negative log-likelihood of the chosen answer: −log π(y_w|x)/|y_w|. Reads no reference and no rejected one.

    The term to add to others in a weighted sum, as in Pang et al. 2024 (https://arxiv.org/abs/2404.19733).

    Args:
        pairs: n pairs.

    Returns:
        [n], in nats per token, ≥ 0.
    """
    return -pairs.policy_chosen / pairs.chosen_tokens


def orpo(pairs: PairLogps, *, odds_weight: float) -> Tensor:
    """ORPO: −log P_w − λ log σ(log odds(P_w) − log odds(P_l)), odds(P) = P/(1 − P). Reads no reference.

    Hong et al. 2024, equations 4, 6 and 7 (https://arxiv.org/abs/2403.07691). P is the geometric mean of the
    probabilities of an answer's tokens.

    Args:
        pairs: n pairs.
        odds_weight: λ, > 0; the paper uses .1 to .2.

    Returns:
        [n], ≥ 0.
    """
    chosen, rejected = _means(pairs)
    return nll(pairs) - odds_weight * functional.logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def rpo(pairs: PairLogps, *, beta: float, nll_weight: float) -> Tensor:
    """DPO plus the likelihood of the chosen answer: −log σ(h) − α log π(y_w|x)/|y_w|.

    Pang et al. 2024, equation 1 (https://arxiv.org/abs/2404.19733), where the weight stands at the DPO term instead;
    at 1, the paper's choice, both are the same.

    Args:
        pairs: n pairs.
        beta: weight of the KL penalty, > 0.
        nll_weight: α, weight of the likelihood, > 0.

    Returns:
        [n], ≥ 0.
    """
    return sigmoid(pairs, beta=beta) + nll_weight * nll(pairs)


def ld_dpo(pairs: PairLogps, *, beta: float, tail_weight: float) -> Tensor:
    """Length-desensitised DPO: tokens of the longer answer beyond the length of the shorter one count α.

    Liu et al. 2024, section 3 (https://arxiv.org/abs/2409.06411): log π̂(y|x) is the sum over the first
    min(|y_w|, |y_l|) tokens plus α times the sum over the rest, for policy and reference; then DPO.

    Args:
        pairs: n pairs with the sums over their common length.
        beta: weight of the KL penalty, > 0.
        tail_weight: α, 0 (the rest is not read) to 1 (DPO).

    Returns:
        [n], ≥ 0; ln 2 where policy and reference are the same.

    Raises:
        ValueError: if the pairs carry no sums over their common length.
    """
    common = needed(pairs.prefix, "ld_dpo", "the sums over the common length").ratio_gaps
    return -functional.logsigmoid(beta * (common + tail_weight * (pairs.ratio_gaps - common)))


def r_dpo(pairs: PairLogps, *, beta: float, length_penalty: float) -> Tensor:
    """DPO with a penalty on length: −log σ(h + α (|y_w| − |y_l|)).

    Park et al. 2024, section 3 (https://arxiv.org/abs/2403.19159). With the reward r(x, y) − α|y| the best policy has
    r = βρ + α|y| + a term of the prompt; hence the plus: a chosen answer that is longer has won part of its margin by
    length, and less is left to learn.

    Args:
        pairs: n pairs.
        beta: weight of the KL penalty, > 0.
        length_penalty: α, in units of the reward per token, > 0.

    Returns:
        [n], ≥ 0.
    """
    lengths = pairs.chosen_tokens - pairs.rejected_tokens
    return -functional.logsigmoid(beta * pairs.ratio_gaps + length_penalty * lengths)


def dpop(pairs: PairLogps, *, beta: float, penalty: float) -> Tensor:
    """DPO-Positive: −log σ(h − βλ max(0, −ρ_w)). The chosen answer is not to become less likely than it was.

    Pal et al. 2024, equation 3 (https://arxiv.org/abs/2402.13228).

    Args:
        pairs: n pairs.
        beta: weight of the KL penalty, > 0.
        penalty: λ, > 0; the paper uses 5 to 500, mostly 50.

    Returns:
        [n], ≥ 0; ln 2 where policy and reference are the same.
    """
    fall = functional.relu(-pairs.chosen_ratios)
    return -functional.logsigmoid(beta * (pairs.ratio_gaps - penalty * fall))


def margin(pairs: PairLogps, *, beta: float, scale: float) -> Tensor:
    """DPO with an offset: −log σ(h − α (s_w − s_l)). The better the chosen answer was scored, the more is asked for.

    Amini et al. 2024 (https://arxiv.org/abs/2402.10571) with the difference of the scores itself as the offset;
    Touvron et al. 2023, equation 2 (https://arxiv.org/abs/2307.09288) have the same margin in a reward model.

    Args:
        pairs: n pairs with the margins of their scores.
        beta: weight of the KL penalty, > 0.
        scale: α, reward for one point of score, > 0.

    Returns:
        [n], ≥ 0.

    Raises:
        ValueError: if the pairs carry no scores.
    """
    offsets = scale * needed(pairs.score_margins, "margin", "the scores of both answers")
    return -functional.logsigmoid(beta * pairs.ratio_gaps - offsets)


def _means(pairs: PairLogps) -> tuple[Tensor, Tensor]:
    return pairs.policy_chosen / pairs.chosen_tokens, pairs.policy_rejected / pairs.rejected_tokens


def _log_odds(logp: Tensor) -> Tensor:
    # A probability that was rounded to 1 has infinite odds and no gradient; the nearest number below stands for it.
    below = logp.clamp(max=-torch.finfo(logp.dtype).eps)
    return below - torch.log(-torch.expm1(below))

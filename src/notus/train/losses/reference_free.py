"""Losses that read no reference: the likelihood of the answers itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from notus.train.losses.base import Need, PairLoss, minus_log_sigmoid
from notus.train.losses.inputs import PairLogps

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Nll", "Orpo", "Simpo", "nll"]


class Simpo(PairLoss):
    """SimPO: −log σ(β log π(y_w|x)/|y_w| − β log π(y_l|x)/|y_l| − γ).

    Meng et al. 2024, equation 6 (https://arxiv.org/abs/2405.14734). ≥ 0.
    """

    name: Literal["simpo"] = "simpo"
    beta: float = Field(default=2.0, gt=0)
    """Scale of the reward, which is a mean over tokens; the paper uses 2 to 2.5."""
    gamma: float = Field(default=1.0, ge=0)
    """γ, the margin that is asked for, in units of the reward; the paper uses .2 to 1.6."""

    @property
    def needs(self) -> frozenset[Need]:
        """Nothing more."""
        return frozenset()

    def losses(self, pairs: PairLogps) -> Tensor:
        """The loss of the difference of means, for each pair [n]."""
        chosen, rejected = _means(pairs)
        return minus_log_sigmoid(self.beta * (chosen - rejected) - self.gamma)


class Orpo(PairLoss):
    """ORPO: −log P_w − λ log σ(log odds(P_w) − log odds(P_l)), odds(P) = P/(1 − P).

    Hong et al. 2024, equations 4, 6 and 7 (https://arxiv.org/abs/2403.07691). P is the geometric mean of the
    probabilities of an answer's tokens. ≥ 0.
    """

    name: Literal["orpo"] = "orpo"
    odds_weight: float = Field(default=0.1, gt=0)
    """λ, the weight of the odds-ratio term; the paper uses .1 to .2."""

    @property
    def needs(self) -> frozenset[Need]:
        """Nothing more."""
        return frozenset()

    def losses(self, pairs: PairLogps) -> Tensor:
        """Likelihood and odds ratio, for each pair [n]."""
        chosen, rejected = _means(pairs)
        return nll(pairs) + self.odds_weight * minus_log_sigmoid(_log_odds(chosen) - _log_odds(rejected))


class Nll(PairLoss):
    """Mean negative log-likelihood of the chosen answer: −log π(y_w|x)/|y_w|. It does not read the rejected one.

    The term to add to others in a weighted sum, as in Pang et al. 2024 (https://arxiv.org/abs/2404.19733). In nats per
    token, ≥ 0. TRL's ``sft`` takes the mean over all tokens of the update, in which a long answer counts for more.
    """

    also_called: ClassVar = {"sft": {"mean_over": "tokens"}}
    name: Literal["nll"] = "nll"
    mean_over: Literal["pairs", "tokens"] = "pairs"
    """``pairs``: each pair counts the same. ``tokens``: each chosen token of the update does, so that the mean over
    pairs is −Σ log π(y_w|x) / Σ|y_w|."""

    @property
    def needs(self) -> frozenset[Need]:
        """The mean length over the update, where tokens count the same."""
        return frozenset({"lengths"} if self.mean_over == "tokens" else ())

    def losses(self, pairs: PairLogps) -> Tensor:
        """−log π(y_w|x) over the pair's own length or the update's mean length, for each pair [n]."""
        if self.mean_over == "pairs":
            return nll(pairs)
        mean = pairs.mean_chosen_tokens
        return -pairs.policy_chosen / (pairs.chosen_tokens.to(pairs.policy_chosen).mean() if mean is None else mean)


def nll(pairs: PairLogps) -> Tensor:
    """−log π(y_w|x)/|y_w| for each pair [n], in nats per token."""
    return -pairs.policy_chosen / pairs.chosen_tokens


def _means(pairs: PairLogps) -> tuple[Tensor, Tensor]:
    return pairs.policy_chosen / pairs.chosen_tokens, pairs.policy_rejected / pairs.rejected_tokens


def _log_odds(logp: Tensor) -> Tensor:
    import torch

    # A probability that was rounded to 1 has infinite odds and no gradient; the nearest number below stands for it.
    below = logp.clamp(max=-torch.finfo(logp.dtype).eps)
    return below - torch.log(-torch.expm1(below))

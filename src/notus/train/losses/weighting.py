"""What each pair counts for in its loss: nothing by default, or how much the policy would write it itself (WPO)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field

from notus.core.config import Config
from notus.core.errors import nearest
from notus.train.losses.inputs import PairLogps, needed

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Weighting", "Wpo"]


class Wpo(Config):
    """WPO: a pair counts w(y_w) · w(y_l), with w(y) = exp(1/|y| Σ_t log(π(y_t|x, y_<t) / Σ_v π(v|x, y_<t)²)).

    Zhou et al. 2024, equation 2 with sampled alignment (https://arxiv.org/abs/2406.11827). The denominator is the
    probability that the policy would draw the same token twice, so that an answer of its own has a weight of about 1
    whatever its entropy is. No gradient flows through the weights. TRL's ``use_weighting`` has no limit since version
    1.0; before, and in the authors' code (https://github.com/wzhouad/WPO), it is 1.
    """

    name: Literal["wpo"] = "wpo"
    """The only one."""
    limit: float | None = Field(default=1.0, gt=0)
    """The most that a pair counts, as a single pair may otherwise outweigh all others; null sets no limit."""

    def weights(self, pairs: PairLogps) -> Tensor:
        """The weight of each pair [n], > 0, without gradient.

        Raises:
            ValueError: if the pairs carry no probabilities of a token drawn twice.
        """
        what = "the probabilities that two draws are the same token"
        chosen = (pairs.policy_chosen - needed(pairs.chosen_collisions, self.name, what)) / pairs.chosen_tokens
        rejected = (pairs.policy_rejected - needed(pairs.rejected_collisions, self.name, what)) / pairs.rejected_tokens
        weights = (chosen + rejected).detach().exp()
        return weights if self.limit is None else weights.clamp(max=self.limit)


def _read(value: object) -> object:
    name = value.get("name") if isinstance(value, Mapping) else value
    if isinstance(name, str) and name != "wpo":
        raise ValueError(f"there is no weighting '{name}'; {nearest(name, ['wpo'])}")
    return {"name": value} if isinstance(value, str) else value


Weighting = Annotated[Wpo, BeforeValidator(_read)]
"""A weighting by its name, or by a mapping of its name and options."""

"""What all losses are: a name, options with their limits, what they need of a batch, and one method that computes them.

A loss is one class in one module of its family, with its equation, its source and its options; the registry finds it
there by its name. Notation in all of them: ρ_w and ρ_l are the log-ratios log π(y|x) − log π_ref(y|x) of the chosen and
the rejected answer, |y| is a number of tokens, r = βρ is an implicit reward and h = r_w − r_l the margin. A loss keeps
no state: the same tensors give the same values.

No torch is imported until a loss is computed: a recipe is checked without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from notus.core.config import Config
from notus.core.plugins import reference_to
from notus.train.losses.inputs import PairLogps, UnpairedLogps

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Loss", "Need", "PairLoss", "UnpairedLoss", "WithBeta", "minus_log_sigmoid"]

Need: TypeAlias = Literal["reference", "prefix", "scores", "shift", "kl", "update", "lengths"]
"""What a loss may read beside the policy's log-probabilities."""


class Loss(Config):
    """A loss with its options: the fields beside ``name``."""

    also_called: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Names that others have for it → the options that they mean by them where those are not the usual ones. They are
    read everywhere, and never written."""
    name: str = ""
    """What recipes call it; ``python:FILE.py:NAME`` for one of the user's."""

    @property
    def needs(self) -> frozenset[Need]:
        """What it reads beside the policy's log-probabilities."""
        return frozenset({"reference"})

    def resolved(self) -> dict[str, Any]:
        """The loss as plain values. One of the user's has the ``python:`` name by which its class is found again."""
        return super().resolved() | ({} if self.name else {"name": reference_to(type(self))})

    def options(self) -> dict[str, Any]:
        """The options by name."""
        return {key: getattr(self, key) for key in type(self).model_fields if key != "name"}


class PairLoss(Loss):
    """A loss of pairs, each of a chosen and a rejected answer."""

    def losses(self, pairs: PairLogps) -> Tensor:
        """The loss of each pair.

        Args:
            pairs: n pairs, with all that ``needs`` names.

        Returns:
            [n], in the precision of the pairs.

        Raises:
            ValueError: if the pairs lack something that the loss needs.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how it is computed: losses(self, pairs) -> [n]")


class UnpairedLoss(Loss):
    """A loss of single rows, each an answer that is marked desirable or not."""

    def losses(self, rows: UnpairedLogps) -> Tensor:
        """The loss of each row.

        Args:
            rows: n rows, with all that ``needs`` names.

        Returns:
            [n], in the precision of the rows.

        Raises:
            ValueError: if the rows lack something that the loss needs.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how it is computed: losses(self, rows) -> [n]")


class WithBeta(Loss):
    """A loss with the option that most have."""

    beta: float = Field(default=0.1, gt=0)
    """Weight of the KL penalty."""


def minus_log_sigmoid(x: Tensor) -> Tensor:
    """−log σ(x), element by element, without overflow."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(x)

"""What a loss is given: sums of log-probabilities of pairs or of single rows, and the numbers that go with them.

Owns the shapes, not the losses. State that changes from step to step (the shift of BCO, the KL estimate of KTO) and
what is known of the whole update (the sums that AOT sorts) comes in here as plain values; whoever trains keeps it. No
torch is imported: the methods are those of the tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LogpSums", "PairLogps", "RunningMean", "UnpairedLogps", "Update", "kl_estimate", "needed"]

T = TypeVar("T")
_SCALARS = ("kl", "shift", "mean_chosen_tokens")


def needed(value: T | None, loss: str, what: str) -> T:
    """The value, or an error that says which loss misses it.

    Raises:
        ValueError: if it is None.
    """
    if value is None:
        raise ValueError(f"the loss '{loss}' needs {what}, and none was given")
    return value


@dataclass(frozen=True)
class LogpSums:
    """Log-probabilities of the chosen and rejected answers of n pairs, each [n], in nats, summed over tokens.

    Sums in fp64 keep a loss exact to 1e-8; in fp32 a sum of −2,400 is spaced 2.4e-4 apart. Where no reference was
    computed, its tensors hold NaN: a loss that reads them turns to NaN at once.

    Raises:
        ValueError: if a tensor has another shape than the first, or that is not [n].
    """

    policy_chosen: Tensor
    policy_rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor

    def __post_init__(self) -> None:
        _check_shapes(self)

    @property
    def chosen_ratios(self) -> Tensor:
        """[n]: log π(y_w|x) − log π_ref(y_w|x)."""
        return self.policy_chosen - self.reference_chosen

    @property
    def rejected_ratios(self) -> Tensor:
        """[n]: log π(y_l|x) − log π_ref(y_l|x)."""
        return self.policy_rejected - self.reference_rejected

    @property
    def ratio_gaps(self) -> Tensor:
        """[n]: log-ratio of the chosen answer less that of the rejected one. Times β it is the margin h."""
        return self.chosen_ratios - self.rejected_ratios


@dataclass(frozen=True)
class Update:
    """All m pairs of an update, of which a forward pass holds n. For losses that set a pair against others."""

    sums: LogpSums
    """[m], without gradient."""
    places: Tensor
    """[n]: which of them each pair of the forward pass is."""


@dataclass(frozen=True)
class PairLogps(LogpSums):
    """Pairs as the losses see them. What only some losses need may be None; they say so when they miss it."""

    chosen_tokens: Tensor
    """[n]: tokens of the chosen answer that the sums run over, EOS included, ≥ 1."""
    rejected_tokens: Tensor
    """[n], likewise."""
    prefix: LogpSums | None = None
    """The same four sums over the first min(|y_w|, |y_l|) tokens of each answer; for the shorter one that is all."""
    score_margins: Tensor | None = None
    """[n]: score of the chosen answer less that of the rejected one, in the units of the data."""
    shift: float | Tensor | None = None
    """Running mean of the log-ratios of chosen and rejected answers, in nats, without gradient."""
    update: Update | None = None
    """The pairs of the whole update; None: these are all."""
    mean_chosen_tokens: float | Tensor | None = None
    """Mean of ``chosen_tokens`` over the whole update; None: these pairs are all."""
    chosen_collisions: Tensor | None = None
    """[n]: Σ_t log Σ_v π(v|x, y_<t)² over the chosen answer, without gradient: log-probabilities that two draws from
    the policy are the same token."""
    rejected_collisions: Tensor | None = None
    """[n], likewise."""


@dataclass(frozen=True)
class UnpairedLogps:
    """Single rows, each marked desirable or not; sums over tokens in nats, each [n].

    Raises:
        ValueError: if a tensor has another shape than the first, or that is not [n].
    """

    policy: Tensor
    reference: Tensor
    desirable: Tensor
    """[n], boolean."""
    kl: float | Tensor | None = None
    """Estimate of KL(π ‖ π_ref) in nats, ≥ 0, without gradient: ``kl_estimate``."""
    shift: float | Tensor | None = None
    """Running mean of the log-ratios of desirable and undesirable rows, in nats, without gradient."""

    def __post_init__(self) -> None:
        _check_shapes(self)

    @property
    def ratios(self) -> Tensor:
        """[n]: log π(y|x) − log π_ref(y|x)."""
        return self.policy - self.reference


@dataclass(frozen=True)
class RunningMean:
    """Mean of all values seen so far: two plain numbers that a checkpoint can keep."""

    value: float = 0.0
    count: int = 0

    def including(self, values: Tensor) -> RunningMean:
        """The mean over these values too; they may have any shape, and pass no gradient."""
        count = self.count + values.numel()
        if count == self.count:
            return self
        total = self.value * self.count + float(values.detach().double().sum())
        return RunningMean(total / count, count)


def kl_estimate(policy: Tensor, reference: Tensor) -> Tensor:
    """KTO's reference point z_0 = max(0, mean of log π(y′|x) − log π_ref(y′|x)) over mismatched answers y′.

    Ethayarajh et al. 2024, section 4 (https://arxiv.org/abs/2402.01306). An answer is mismatched when it belongs to
    another prompt of the batch. No gradient flows through it.

    Args:
        policy: [m], sums of log-probabilities of the mismatched answers, m ≥ 1.
        reference: [m], likewise.

    Returns:
        [], in nats, ≥ 0.
    """
    return (policy - reference).detach().mean().clamp(min=0)


def _check_shapes(value: LogpSums | UnpairedLogps) -> None:
    tensors = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in _SCALARS}
    first, *_ = tensors.values()
    if first.dim() != 1:
        raise ValueError(f"log-probabilities must have the shape [n], these have {list(first.shape)}")
    for name, tensor in tensors.items():
        if hasattr(tensor, "shape") and tensor.shape != first.shape:
            raise ValueError(f"{name} has the shape {list(tensor.shape)}, the others have {list(first.shape)}")

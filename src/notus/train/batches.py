"""What an update is made of: items, the forward passes they are split into, and the log-probabilities of a pass.

A batch is pairs (or dialogues), a forward pass is tokens. Two engines give the same numbers: ``packed`` computes a
prompt once, however many answers hang from it, and pads nothing; ``padded`` is the plain way it is checked against.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from notus.models.logps import all_branch_logps, token_logps
from notus.models.pack import Group, PackedRow, pack, rows
from notus.models.padded import all_logps, answer_token_logps, pad
from notus.train.settings import Training

__all__ = ["Batch", "Collator", "Forward", "Item", "all_sums", "branch_sums", "plain"]


@dataclass(frozen=True)
class Item:
    """One dialogue (a group of one branch) or one pair (chosen, then rejected)."""

    group: Group
    reference: tuple[float, ...] = ()
    """Log-probability of each branch under the reference; empty where none is needed."""
    prefix_reference: tuple[float, ...] = ()
    """The same over the first min(|chosen|, |rejected|) tokens, for losses that need it."""
    score_margin: float | None = None
    """Score of chosen less that of rejected, in the units of the data."""

    @property
    def answered(self) -> int:
        """Tokens of all branches."""
        return sum(map(len, self.group.branches))


@dataclass(frozen=True)
class Forward:
    """What one forward pass takes: a packed row or a padded batch, and its items in the order of their branches."""

    row: PackedRow | dict[str, torch.Tensor]
    items: tuple[Item, ...]

    @property
    def branches(self) -> int:
        """Branches of all items."""
        return sum(len(item.group.branches) for item in self.items)


@dataclass(frozen=True)
class Batch:
    """What one update takes."""

    forwards: tuple[Forward, ...]

    @property
    def items(self) -> list[Item]:
        """All items of the update."""
        return [item for forward in self.forwards for item in forward.items]


class Collator:
    """Splits the items of an update into forward passes."""

    def __init__(self, settings: Training, pad_id: int) -> None:
        self.settings = settings
        self.pad_id = pad_id

    def __call__(self, items: Sequence[Item]) -> dict[str, Batch]:
        """The batch under one key: transformers' Trainer wants a mapping, and leaves what it does not know as it is."""
        if self.settings.engine == "packed":
            chosen = rows([item.group for item in items], self.settings.max_tokens)
            parts = [tuple(items[index] for index in indices) for indices in chosen]
            return {"batch": Batch(tuple(Forward(pack([item.group for item in part]), part) for part in parts))}
        size = self.settings.micro_batch_size or len(items)
        parts = [tuple(items[start : start + size]) for start in range(0, len(items), size)]
        return {"batch": Batch(tuple(Forward(pad(_examples(part), self.pad_id), part) for part in parts))}


def plain(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, without an adapter's wrapping: the adapter's layers stay inside it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def branch_sums(
    model: PreTrainedModel, forward: Forward, prefix: Sequence[int] | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Log-probabilities of the branches of one forward pass.

    Args:
        model: that computes; for a packed row it has been switched to packed attention.
        forward: on any device.
        prefix: for each branch, how many of its first tokens make a second sum.

    Returns:
        Sums [branches] in fp64, numbers of tokens [branches], and the second sums [branches] or None.
    """
    if isinstance(forward.row, PackedRow):
        row = forward.row.to(model.device)
        logps, branch_of = token_logps(plain(model), row), row.branch_of
    else:
        batch = {key: value.to(model.device) for key, value in forward.row.items()}
        logps, branch_of = answer_token_logps(model, batch)
    tokens = torch.bincount(branch_of, minlength=forward.branches)
    zeros = torch.zeros(forward.branches, dtype=torch.float64, device=logps.device)
    sums = zeros.index_add(0, branch_of, logps.double())
    if prefix is None:
        return sums, tokens, None
    within = torch.arange(len(logps), device=logps.device) - (tokens.cumsum(0) - tokens)[branch_of]
    inside = within < torch.tensor(prefix, device=logps.device)[branch_of]
    return sums, tokens, zeros.index_add(0, branch_of[inside], logps[inside].double())


def all_sums(
    model: PreTrainedModel, groups: Sequence[Group], settings: Training, pad_id: int
) -> list[tuple[float, ...]]:
    """Log-probabilities of the branches of many groups under a model that is not being trained."""
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=settings.precision == "bfloat16"):
        if settings.engine == "packed":
            return [tuple(sums) for sums in all_branch_logps(plain(model), groups, settings.max_tokens)]
        size = 2 * (settings.micro_batch_size or settings.batch_size)
        examples = [(group.prompt, branch) for group in groups for branch in group.branches]
        found = iter(all_logps(model, examples, pad_id, size))
        return [tuple(next(found) for _ in group.branches) for group in groups]


def _examples(items: Sequence[Item]) -> list[tuple[list[int], list[int]]]:
    return [(item.group.prompt, branch) for item in items for branch in item.group.branches]

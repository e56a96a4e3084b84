"""What an update is made of: items, the forward passes they are split into, and the log-probabilities of a pass.

A batch is pairs (or rows, or dialogues), a forward pass is tokens. Two engines give the same numbers: ``packed``
computes a prompt once, however many answers hang from it, and pads nothing; ``padded`` is the plain way it is checked
against.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from notus.models.logps import all_branch_logps, token_logps
from notus.models.pack import Group, PackedRow, pack, rows
from notus.models.padded import all_logps, answer_token_logps, pad
from notus.train.settings import Training
from notus.train.sharing import apart, share

__all__ = ["Batch", "Collator", "Forward", "Item", "all_sums", "branch_sums", "plain"]


@dataclass(frozen=True)
class Item:
    """One dialogue or one unpaired row (a group of one branch), or one pair (chosen, then rejected)."""

    group: Group
    reference: tuple[float, ...] = ()
    """Log-probability of each branch under the reference; empty where none is needed."""
    prefix_reference: tuple[float, ...] = ()
    """The same over the first min(|chosen|, |rejected|) tokens, for losses that need it."""
    score_margin: float | None = None
    """Score of chosen less that of rejected, in the units of the data."""
    desirable: bool | None = None
    """Whether the answer is wanted; None for what is no unpaired row."""
    mismatched: "Item | None" = None
    """The prompt with an answer to another one, for losses that need an estimate of the KL divergence."""

    @property
    def answered(self) -> int:
        """Tokens of all branches that count."""
        if self.group.trained is None:
            return sum(map(len, self.group.branches))
        return sum(map(sum, self.group.trained))


@dataclass(frozen=True)
class Forward:
    """What one forward pass takes: a packed row or a padded batch, and the items whose branches it holds."""

    row: PackedRow | dict[str, torch.Tensor]
    items: tuple[Item, ...]
    numbers: torch.Tensor
    """Number in the row of each branch of each item, in their order. Items that share an answer name the same one."""
    branches: int
    """Branches in the row."""


@dataclass(frozen=True)
class Batch:
    """What one update takes."""

    forwards: tuple[Forward, ...]
    mismatched: tuple[Forward, ...] = ()
    """Forward passes of the items' mismatched items, where they have some."""

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
        split = self._packed if self.settings.engine == "packed" else self._padded
        others = [item.mismatched for item in items if item.mismatched is not None]
        return {"batch": Batch(tuple(split(items)), tuple(split(others)) if others else ())}

    def _packed(self, items: Sequence[Item]) -> list[Forward]:
        """One packed row for each forward pass, in which the items of a prompt share its group."""
        groups = [item.group for item in items]
        merged, places = share(groups, self.settings.max_tokens) if self.settings.share_prompts else apart(groups)
        members: list[list[int]] = [[] for _ in merged]
        for index, (number, _) in enumerate(places):
            members[number].append(index)
        forwards = []
        for chosen in rows(merged, self.settings.max_tokens):
            numbers: list[int] = []
            before = 0
            for number in chosen:
                numbers += (before + branch for index in members[number] for branch in places[index][1])
                before += len(merged[number].branches)
            held = tuple(items[index] for number in chosen for index in members[number])
            forwards.append(Forward(pack([merged[number] for number in chosen]), held, torch.tensor(numbers), before))
        return forwards

    def _padded(self, items: Sequence[Item]) -> list[Forward]:
        """A row for each branch of each item, nothing shared."""
        size = self.settings.micro_batch_size or len(items)
        forwards = []
        for start in range(0, len(items), size):
            part = tuple(items[start : start + size])
            examples, trained = _examples([item.group for item in part])
            row = pad(examples, self.pad_id, trained)
            forwards.append(Forward(row, part, torch.arange(len(examples)), len(examples)))
        return forwards


def plain(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, without an adapter's wrapping: the adapter's layers stay inside it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def branch_sums(
    model: PreTrainedModel, forward: Forward, prefix: Sequence[int] | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Log-probabilities of the branches of a forward pass's items, in their order: n in all.

    Args:
        model: that computes; for a packed row it has been switched to packed attention.
        forward: on any device.
        prefix: [n] how many of its first tokens make a second sum.

    Returns:
        Sums [n] in fp64, numbers of tokens that count [n], and the second sums [n] or None.
    """
    if isinstance(forward.row, PackedRow):
        row = forward.row.to(model.device)
        logps, branch_of = token_logps(plain(model), row), row.branch_of
    else:
        batch = {key: value.to(model.device) for key, value in forward.row.items()}
        logps, branch_of = answer_token_logps(model, batch)
    numbers = forward.numbers.to(logps.device)
    tokens = torch.bincount(branch_of, minlength=forward.branches)
    zeros = torch.zeros(forward.branches, dtype=torch.float64, device=logps.device)
    sums = zeros.index_add(0, branch_of, logps.double())[numbers]
    if prefix is None:
        return sums, tokens[numbers], None
    # A branch that several pairs share has a prefix of another length in each: a difference of running sums gives all.
    running = torch.nn.functional.pad(logps.double().cumsum(0), (1, 0))
    first = (tokens.cumsum(0) - tokens)[numbers]
    second = running[first + torch.tensor(prefix, device=logps.device)] - running[first]
    return sums, tokens[numbers], second


def all_sums(
    model: PreTrainedModel, groups: Sequence[Group], settings: Training, pad_id: int
) -> list[tuple[float, ...]]:
    """Log-probabilities of the branches of many groups under a model that is not being trained."""
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=settings.precision == "bfloat16"):
        if settings.engine == "packed":
            return [tuple(sums) for sums in all_branch_logps(plain(model), groups, settings.max_tokens)]
        size = 2 * (settings.micro_batch_size or settings.batch_size)
        examples, trained = _examples(groups)
        found = iter(all_logps(model, examples, pad_id, size, trained))
        return [tuple(next(found) for _ in group.branches) for group in groups]


def _examples(groups: Sequence[Group]) -> tuple[list[tuple[list[int], list[int]]], list[list[bool] | None]]:
    """Each branch with its prompt, and which of its tokens count."""
    examples = [(group.prompt, branch) for group in groups for branch in group.branches]
    trained = [marks for group in groups for marks in group.trained or [None] * len(group.branches)]
    return examples, trained

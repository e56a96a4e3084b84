"""Training on single rows that are marked desirable or not: KTO, and BCO without pairs.

Owns the trainer, and which answer is set against which other prompt for KTO's estimate of the KL divergence.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel

from notus.core.errors import DataError
from notus.core.stage import Tally
from notus.models.pack import Group
from notus.train.batches import Batch, Forward, Item, branch_sums
from notus.train.loss_inputs import RunningMean, UnpairedLogps, kl_estimate
from notus.train.loss_settings import UnpairedObjective, needs_kl, needs_shift, reward_beta
from notus.train.losses import row_losses
from notus.train.sampling import batches_of
from notus.train.sharing import prompt_numbers
from notus.train.trainer import Told, UpdateTrainer

__all__ = ["UnpairedTrainer", "with_mismatches"]


class UnpairedTrainer(UpdateTrainer):
    """Losses of single rows. The reference is computed before, of mismatched rows too, never in a step.

    KTO's reference point z_0 is one number for each update, worked out in forward passes of their own before those
    that have a gradient; so the loss does not depend on how the update is split. Logs rewards, log-probabilities and
    lengths of desirable and undesirable rows, and z_0 as ``kl``.
    """

    def __init__(self, *, objective: UnpairedObjective, **options: Any) -> None:
        super().__init__(**options)
        self.objective = objective
        self.shift = RunningMean()
        self._kl: torch.Tensor | None = None
        self._ratios: list[torch.Tensor] = []

    def weight_of(self, items: Sequence[Item]) -> int:
        """Rows."""
        return len(items)

    def before_batch(self, model: PreTrainedModel, batch: Batch) -> None:
        """Estimate the KL divergence on the batch's mismatched rows, without gradient."""
        if not needs_kl(self.objective):
            return
        policy, reference = [], []
        with torch.no_grad(), self.autocast():
            for forward in batch.mismatched:
                sums, _, _ = branch_sums(model, forward)
                policy.append(sums)
                reference.append(_references(forward.items, sums))
        self._kl = kl_estimate(torch.cat(policy), torch.cat(reference))

    def summed_loss(self, model: PreTrainedModel, forward: Forward) -> tuple[torch.Tensor, Told]:
        """Σ over rows of the loss that the recipe names."""
        with self.autocast():
            sums, tokens, _ = branch_sums(model, forward)
        desirable = torch.tensor([bool(item.desirable) for item in forward.items], device=sums.device)
        rows = UnpairedLogps(sums, _references(forward.items, sums), desirable, kl=self._kl, shift=self.shift.value)
        if needs_shift(self.objective) and model.training:
            self._ratios.append(rows.ratios.detach())
        return row_losses(self.objective, rows).sum(), self._told(rows, tokens)

    def after_update(self) -> None:
        """Move the shift of BCO on, once for each update, so that the split into forward passes does not matter."""
        for ratios in self._ratios:
            self.shift = self.shift.including(ratios)
        self._ratios = []

    def _told(self, rows: UnpairedLogps, tokens: torch.Tensor) -> Told:
        rewards = reward_beta(self.objective) * rows.ratios
        wanted = int(rows.desirable.sum())
        told = {}
        for side, mask, count in (
            ("desirable", rows.desirable, wanted),
            ("undesirable", ~rows.desirable, len(rewards) - wanted),
        ):
            told[f"rewards/{side}"] = (rewards[mask], count)
            told[f"logps/{side}"] = (rows.policy[mask], count)
            told[f"lengths/{side}"] = (tokens[mask], count)
        if self._kl is not None:
            told["kl"] = (self._kl.expand(len(rewards)), len(rewards))
        return told


def with_mismatches(items: Sequence[Item], batch_size: int, max_length: int, seed: int, tally: Tally) -> list[Item]:
    """Set each prompt against an answer to another one, within batches that then stay as they are.

    Ethayarajh et al. 2024, section 4 (https://arxiv.org/abs/2402.01306): answer i with prompt i+1 of the batch, the
    last answer with the first prompt. The batches are made here, once for all epochs, so that every mismatched
    answer's reference is computed once. Where a prompt has m rows in a batch, the step is m instead of 1; where that
    does not lead to another prompt, the next row of another prompt in the order of the batches gives its answer.

    Args:
        items: unpaired rows.
        batch_size: rows of an update.
        max_length: tokens of prompt and answer together; a mismatched answer that does not fit is cut on the right.
        seed: of the batches.
        tally: receives the count ``mismatched-cut``.

    Returns:
        The items with their mismatched items, batch after batch.

    Raises:
        DataError: if all rows have the same prompt.
    """
    prompts = prompt_numbers([item.group for item in items])
    if items and len(set(prompts)) == 1:
        raise DataError("'kto' sets answers against other prompts, and all rows have the same one; use bco_unpaired")
    generator = torch.Generator().manual_seed(seed)
    batches = batches_of([item.group.tokens for item in items], prompts, batch_size, generator)
    order = [row for batch in batches for row in batch]
    found, start = [], 0
    for batch in batches:
        # In the order of the batches a prompt's rows are neighbours, so a step of their number leads to another one.
        step = max(sum(prompts[row] == prompts[other] for other in batch) for row in batch)
        for place, row in enumerate(batch):
            other = batch[(place - step) % len(batch)]
            ahead = start + len(batch)
            while prompts[other] == prompts[row]:
                other = order[ahead % len(order)]
                ahead += 1
            group = _against(items[row].group.prompt, items[other].group.branches[0], max_length, tally)
            found.append(replace(items[row], mismatched=Item(group)))
        start += len(batch)
    return found


def _against(prompt: list[int], answer: list[int], max_length: int, tally: Tally) -> Group:
    room = max_length - len(prompt)
    if len(answer) > room:
        tally.count("mismatched-cut")
    return Group(prompt, (answer[:room],))


def _references(items: Sequence[Item], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor([item.reference[0] for item in items], dtype=torch.float64, device=like.device)

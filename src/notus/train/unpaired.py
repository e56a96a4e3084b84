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
from notus.engine.pack import PromptGroup, prompt_numbers
from notus.train.batches import Batch, Forward, Item, batches_of, completion_sums
from notus.train.losses.inputs import UnpairedLogps, kl_estimate
from notus.train.losses.objective import UnpairedObjective, needs, reward_beta, row_losses
from notus.train.trainer import PassMetrics, ShiftingTrainer

__all__ = ["UnpairedTrainer", "with_mismatches"]


class UnpairedTrainer(ShiftingTrainer):
    """Losses of single rows. The reference is computed before, of mismatched rows too, never in a step.

    KTO's reference point z_0 is one number for each update, worked out in forward passes of their own before those
    that have a gradient; so the loss does not depend on how the update is split. Logs rewards, log-probabilities and
    lengths of desirable and undesirable rows, and z_0 as ``kl``.
    """

    def __init__(self, *, objective: UnpairedObjective, **options: Any) -> None:
        super().__init__(**options)
        self.objective = objective
        self.needs = needs(objective)
        self._kl: torch.Tensor | None = None

    def weight_of(self, items: Sequence[Item]) -> int:
        """Rows."""
        return len(items)

    def before_batch(self, model: PreTrainedModel, batch: Batch) -> None:
        """Estimate the KL divergence on the batch's mismatched rows, without gradient."""
        if "kl" not in self.needs:
            return
        policy, reference = [], []
        with torch.no_grad(), self.autocast():
            for forward in batch.mismatched:
                sums = completion_sums(model, forward).sums
                policy.append(sums)
                reference.append(_references(forward.items, sums))
        self._kl = kl_estimate(torch.cat(policy), torch.cat(reference))

    def forward_losses(self, model: PreTrainedModel, forward: Forward) -> tuple[torch.Tensor, PassMetrics]:
        """The loss that the recipe names, of each row."""
        with self.autocast():
            found = completion_sums(model, forward)
        desirable = torch.tensor([bool(item.desirable) for item in forward.items], device=found.sums.device)
        reference = _references(forward.items, found.sums)
        rows = UnpairedLogps(found.sums, reference, desirable, kl=self._kl, shift=self.shift.value)
        if "shift" in self.needs and model.training:
            self._ratios.append(rows.ratios.detach())
        return row_losses(self.objective, rows), self._metrics(rows, found.tokens)

    def _metrics(self, rows: UnpairedLogps, tokens: torch.Tensor) -> PassMetrics:
        rewards = reward_beta(self.objective) * rows.ratios
        desirable = int(rows.desirable.sum())
        metrics = {}
        for side, mask, count in (
            ("desirable", rows.desirable, desirable),
            ("undesirable", ~rows.desirable, len(rewards) - desirable),
        ):
            metrics[f"rewards/{side}"] = (rewards[mask], count)
            metrics[f"logps/{side}"] = (rows.policy[mask], count)
            metrics[f"lengths/{side}"] = (tokens[mask], count)
        if self._kl is not None:
            metrics["kl"] = (self._kl.expand(len(rewards)), len(rewards))
        return metrics


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
            group = _mismatched_group(items[row].group.prompt, items[other].group, max_length, tally)
            found.append(replace(items[row], mismatched=Item(group)))
        start += len(batch)
    return found


def _mismatched_group(prompt: list[int], other: PromptGroup, max_length: int, tally: Tally) -> PromptGroup:
    room, answer = max_length - len(prompt), other.completions[0]
    if len(answer) > room:
        tally.count("mismatched-cut")
    marks = None if other.trained is None else (other.trained[0][:room],)
    return PromptGroup(prompt, (answer[:room],), marks)


def _references(items: Sequence[Item], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor([item.reference[0] for item in items], dtype=torch.float64, device=like.device)

"""SFT and DPO as thin subclasses of transformers' Trainer.

They say what a batch is and what its loss is. Optimiser, schedule, precision and trackers are transformers' own, under
their usual names. Every loss is divided by what the whole update holds (answer tokens for SFT, pairs for DPO), so that
the split into forward passes changes nothing. Unpaired rows have a trainer of their own in ``unpaired``.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch.utils.data import Sampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from notus.core.run import Run
from notus.train.batches import Batch, Forward, Item, branch_sums
from notus.train.loss_inputs import LogpSums, PairLogps, RunningMean
from notus.train.loss_settings import PairObjective, needs_common_prefix, needs_shift, reward_beta
from notus.train.losses import implicit_rewards, pair_losses
from notus.train.sampling import LengthSampler

__all__ = ["TIE", "DpoTrainer", "Metrics", "SftTrainer", "Told", "UpdateTrainer", "pair_metrics"]

Told: TypeAlias = Mapping[str, tuple[torch.Tensor, int]]
"""Metrics of a forward pass: name → values, and what the sum of all passes' values is divided by the sum of."""

TIE = 1e-6
"""Margins up to this are ties: what is left of the rounding where policy and reference are the same."""


class Metrics(TrainerCallback):
    """Writes what the Trainer logs into the ``metrics.jsonl`` of a run."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002  the signature is transformers'
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Write one line: step, steps in all, and the values."""
        if state.is_world_process_zero:
            self.run.metric(step=state.global_step, steps=state.max_steps, **(logs or {}))


class UpdateTrainer(Trainer):
    """What all trainers share: an update in several forward passes, and means of their own metrics in each log."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # An update is one batch of the Trainer's; its split into forward passes and the scale of the loss are ours.
        self.loss_is_scaled_for_ga = True
        self.tell_start: Callable[[dict[str, float]], None] | None = None
        """Told once of the first batch's loss and metrics: those of the model as it starts."""
        self._sums: dict[str, float] = {}
        self._weights: dict[str, int] = {}

    @abstractmethod
    def weight_of(self, items: Sequence[Item]) -> int:
        """What the loss of an update is divided by."""

    @abstractmethod
    def summed_loss(self, model: PreTrainedModel, forward: Forward) -> tuple[torch.Tensor, Told]:
        """The summed loss of a forward pass, and its metrics."""

    def before_batch(self, model: PreTrainedModel, batch: Batch) -> None:
        """Called before the forward passes of a batch, in training and in evaluation."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One update's forward and backward passes; the loss is the mean over the update."""
        del num_items_in_batch
        model.train()
        batch: Batch = inputs["batch"]
        weight = self.weight_of(batch.items)
        loss = torch.zeros((), dtype=torch.float64, device=self.args.device)
        self.before_batch(model, batch)
        for forward in batch.forwards:
            total, told = self.summed_loss(model, forward)
            self.accelerator.backward((total / weight).float())
            loss += total.detach() / weight
            _add(self._sums, self._weights, told)
        if self.tell_start is not None:
            self.tell_start({"loss": float(loss), **_means(self._sums, self._weights)})
            self.tell_start = None
        self.after_update()
        return loss.float()

    def after_update(self) -> None:
        """Called when all forward passes of an update are done."""

    def measured(self, items: Sequence[Item]) -> dict[str, float]:
        """Loss and metrics of items under the model as it is, exactly, whatever the size of a forward pass."""
        model = self.model.to(self.args.device).eval()
        weight, size = self.weight_of(items), self.args.train_batch_size
        sums: dict[str, float] = {}
        weights: dict[str, int] = {}
        loss = 0.0
        with torch.no_grad():
            for start in range(0, len(items), size):
                batch: Batch = self.data_collator(items[start : start + size])["batch"]
                self.before_batch(model, batch)
                for forward in batch.forwards:
                    total, told = self.summed_loss(model, forward)
                    loss += float(total) / weight
                    _add(sums, weights, told)
        return {"loss": loss, **_means(sums, weights)}

    def autocast(self) -> torch.autocast:
        """The precision of a forward pass; the reference is computed under the same."""
        return torch.autocast(self.args.device.type, dtype=torch.bfloat16, enabled=self.args.bf16)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means since the last log to what is logged."""
        logs |= _means(self._sums, self._weights)
        self._sums, self._weights = {}, {}
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the Trainer's estimate knows nothing of packed rows."""
        del inputs
        return 0

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        rows = train_dataset if train_dataset is not None else self.train_dataset
        size, seed = self.args.train_batch_size, self.args.seed
        return LengthSampler(rows.lengths, size, seed, prompts=rows.prompts, kept=rows.kept)


class SftTrainer(UpdateTrainer):
    """Supervised fine-tuning: mean negative log-likelihood of the answer tokens of an update."""

    def weight_of(self, items: Sequence[Item]) -> int:
        """Answer tokens; those of all assistant turns."""
        return sum(item.answered for item in items)

    def summed_loss(self, model: PreTrainedModel, forward: Forward) -> tuple[torch.Tensor, Told]:
        """−Σ log π(y_t | x, y_<t)."""
        with self.autocast():
            sums, _, _ = branch_sums(model, forward)
        return -sums.sum(), {"nll": (-sums, self.weight_of(forward.items))}


class DpoTrainer(UpdateTrainer):
    """Direct preference optimisation. Items are pairs; the reference is computed before, never in a step.

    Logs rewards, margins, accuracy (a tie counts ½), log-probabilities and lengths of chosen and rejected.
    """

    def __init__(self, *, objective: PairObjective, **options: Any) -> None:
        super().__init__(**options)
        self.objective = objective
        self.shift = RunningMean()
        self._ratios: list[torch.Tensor] = []

    def weight_of(self, items: Sequence[Item]) -> int:
        """Pairs."""
        return len(items)

    def summed_loss(self, model: PreTrainedModel, forward: Forward) -> tuple[torch.Tensor, Told]:
        """Σ over pairs of the loss that the recipe names."""
        prefix = None
        if needs_common_prefix(self.objective):
            prefix = [min(map(len, item.group.branches)) for item in forward.items for _ in range(2)]
        with self.autocast():
            sums, tokens, prefix_sums = branch_sums(model, forward, prefix)
        pairs = self._pairs(forward.items, sums, tokens, prefix_sums)
        if needs_shift(self.objective) and model.training:
            self._ratios += [pairs.chosen_ratios.detach(), pairs.rejected_ratios.detach()]
        told = pair_metrics(pairs, reward_beta(self.objective))
        count = len(forward.items)
        return pair_losses(self.objective, pairs).sum(), {name: (values, count) for name, values in told.items()}

    def after_update(self) -> None:
        """Move the shift of BCO on, once for each update, so that the split into forward passes does not matter."""
        for ratios in self._ratios:
            self.shift = self.shift.including(ratios)
        self._ratios = []

    def _pairs(
        self, items: Sequence[Item], sums: torch.Tensor, tokens: torch.Tensor, prefix_sums: torch.Tensor | None
    ) -> PairLogps:
        def known(rows: Sequence[tuple[float, ...]], side: int) -> torch.Tensor:
            values = [row[side] if row else float("nan") for row in rows]
            return torch.tensor(values, dtype=torch.float64, device=sums.device)

        reference = [item.reference for item in items]
        prefixes = [item.prefix_reference for item in items]
        margins = [item.score_margin for item in items]
        prefix = None
        if prefix_sums is not None:
            prefix = LogpSums(prefix_sums[0::2], prefix_sums[1::2], known(prefixes, 0), known(prefixes, 1))
        return PairLogps(
            sums[0::2],
            sums[1::2],
            known(reference, 0),
            known(reference, 1),
            chosen_tokens=tokens[0::2],
            rejected_tokens=tokens[1::2],
            prefix=prefix,
            score_margins=None if None in margins else torch.tensor(margins, dtype=torch.float64, device=sums.device),
            shift=self.shift.value,
        )


def pair_metrics(pairs: PairLogps, beta: float) -> dict[str, torch.Tensor]:
    """What is told of pairs beside their loss, each [n]. Without a reference the rewards are left out."""
    chosen = implicit_rewards(pairs.policy_chosen, pairs.reference_chosen, beta)
    rejected = implicit_rewards(pairs.policy_rejected, pairs.reference_rejected, beta)
    margins = chosen - rejected
    told = {
        "logps/chosen": pairs.policy_chosen,
        "logps/rejected": pairs.policy_rejected,
        "lengths/chosen": pairs.chosen_tokens,
        "lengths/rejected": pairs.rejected_tokens,
    }
    if bool(torch.isnan(pairs.reference_chosen).any()):
        return told
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": margins,
        "rewards/accuracies": (margins > TIE).double() + 0.5 * (margins.abs() <= TIE).double(),
        **told,
    }


def _add(sums: dict[str, float], weights: dict[str, int], told: Told) -> None:
    for name, (values, weight) in told.items():
        sums[name] = sums.get(name, 0.0) + float(values.detach().double().sum())
        weights[name] = weights.get(name, 0) + weight


def _means(sums: dict[str, float], weights: dict[str, int]) -> dict[str, float]:
    return {name: total / weights[name] for name, total in sums.items() if weights[name]}

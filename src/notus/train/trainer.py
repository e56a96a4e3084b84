"""SFT and DPO as thin subclasses of transformers' Trainer.

They say what a batch is and what its loss is. Optimiser, schedule, precision and trackers are transformers' own, under
their usual names. Every loss is divided by what the whole update holds (answer tokens for SFT, pairs for DPO), so that
the split into forward passes changes nothing. Unpaired rows have a trainer of their own in ``unpaired``.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import accumulate
from typing import Any, ClassVar, TypeAlias

import torch
from torch.utils.data import Sampler
from transformers import PreTrainedModel

from notus.train.batches import Batch, CompletionSums, Forward, Item, LengthSampler, completion_sums
from notus.train.losses.inputs import LogpSums, PairLogps, RunningMean, Update
from notus.train.losses.objective import PairObjective, implicit_rewards, needs, pair_losses, reward_beta
from notus.train.losses.weighting import Wpo
from notus.train.run.resumable import ResumableTrainer

__all__ = ["TIE", "DpoTrainer", "PassMetrics", "SftTrainer", "ShiftingTrainer", "UpdateTrainer", "pair_metrics"]

PassMetrics: TypeAlias = Mapping[str, tuple[torch.Tensor, int]]
"""Metrics of a forward pass: name → values, and what the sum of all passes' values is divided by the sum of."""

_KEPT = 1_000
"""Pairs whose margins are remembered."""
TIE = 1e-6
"""Margins up to this are ties: what is left of the rounding where policy and reference are the same."""


class UpdateTrainer(ResumableTrainer):
    """What all trainers share: an update in several forward passes, and means of their own metrics in each log."""

    accuracy: ClassVar[str | None] = None
    """The metric that says how often the better answer is preferred, where there is one."""
    logs_start: ClassVar[bool] = False
    """Whether the loss before the first update says something: with a reference it is known."""
    unit: ClassVar[str] = "rows"
    """What an update takes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # An update is one batch of the Trainer's; its split into forward passes and the scale of the loss are ours.
        self.loss_is_scaled_for_ga = True
        self.log_start: Callable[[dict[str, float]], None] | None = None
        """Called once with the first batch's loss and metrics: those of the model as it starts."""
        self.on_update: Callable[[Any, torch.Tensor], None] | None = None
        """Called behind each update's passes with its batch and its loss."""
        self._sums: dict[str, float] = {}
        self._weights: dict[str, int] = {}

    @abstractmethod
    def weight_of(self, items: Sequence[Item]) -> int:
        """What the loss of an update is divided by."""

    @abstractmethod
    def forward_losses(self, model: PreTrainedModel, forward: Forward) -> tuple[torch.Tensor, PassMetrics]:
        """The loss of each item of a forward pass [n], and its metrics."""

    def summed_loss(self, model: PreTrainedModel, forward: Forward) -> tuple[torch.Tensor, PassMetrics]:
        """The summed loss of a forward pass, and its metrics."""
        losses, metrics = self.forward_losses(model, forward)
        return losses.sum(), metrics

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
            total, metrics = self.summed_loss(model, forward)
            self.accelerator.backward((total / weight).float())
            loss += total.detach() / weight
            _add(self._sums, self._weights, metrics)
        if self.log_start is not None:
            self.log_start({"loss": float(loss), **_means(self._sums, self._weights)})
            self.log_start = None
        self.check_finite(loss)
        self.after_update()
        if self.on_update is not None:
            self.on_update(batch, loss)
        return loss.float()

    def after_update(self) -> None:
        """Called when all forward passes of an update are done."""

    def measured(self, items: Sequence[Item]) -> dict[str, float]:
        """Loss and metrics of items under the model as it is, exactly, whatever the size of a forward pass."""
        weight = self.weight_of(items)
        sums: dict[str, float] = {}
        weights: dict[str, int] = {}
        loss = 0.0
        for _, losses, metrics in self.forwards(items):
            loss += float(losses.sum()) / weight
            _add(sums, weights, metrics)
        return {"loss": loss, **_means(sums, weights)}

    def forwards(self, items: Sequence[Item]) -> Iterator[tuple[Forward, torch.Tensor, PassMetrics]]:
        """Forward passes of items under the model as it is, without gradient: the losses of the items, and metrics."""
        model, size = self.model.to(self.args.device).eval(), self.args.train_batch_size
        for start in range(0, len(items), size):
            batch: Batch = self.data_collator(items[start : start + size])["batch"]
            with torch.no_grad():
                self.before_batch(model, batch)
            for forward in batch.forwards:
                with torch.no_grad():
                    losses, metrics = self.forward_losses(model, forward)
                yield forward, losses, metrics

    def autocast(self) -> torch.autocast:
        """The precision of a forward pass; the reference is computed under the same."""
        half = torch.float16 if self.args.fp16 else torch.bfloat16
        return torch.autocast(self.args.device.type, dtype=half, enabled=self.args.bf16 or self.args.fp16)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means since the last log to what is logged."""
        logs |= _means(self._sums, self._weights)
        self._sums, self._weights = {}, {}
        super().log(logs, start_time)

    def log_apart(self, logs: dict[str, float]) -> None:
        """Log what is no part of the means since the last log, which go on."""
        super().log(logs)

    def own_state(self) -> dict[str, Any]:
        """The sums that the next log takes the means of."""
        return {"sums": self._sums, "weights": self._weights}

    def restore_own(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self._sums, self._weights = dict(state["sums"]), dict(state["weights"])

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the Trainer's estimate knows nothing of packed rows."""
        del inputs
        return 0

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        rows = train_dataset if train_dataset is not None else self.train_dataset
        size, seed = self.args.train_batch_size, self.args.seed
        return LengthSampler.of(rows, size, seed)


class SftTrainer(UpdateTrainer):
    """Supervised fine-tuning: mean negative log-likelihood of the answer tokens of an update."""

    unit: ClassVar[str] = "dialogues"

    def weight_of(self, items: Sequence[Item]) -> int:
        """Answer tokens; those of all assistant turns."""
        return sum(item.answered for item in items)

    def forward_losses(self, model: PreTrainedModel, forward: Forward) -> tuple[torch.Tensor, PassMetrics]:
        """−Σ log π(y_t | x, y_<t) of each dialogue."""
        with self.autocast():
            sums = completion_sums(model, forward).sums
        return -sums, {"nll": (-sums, self.weight_of(forward.items))}


class ShiftingTrainer(UpdateTrainer):
    """What trains with BCO's shift: the running mean of the log-ratios, moved on once for each update."""

    logs_start = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.shift = RunningMean()
        self._ratios: list[torch.Tensor] = []

    def after_update(self) -> None:
        """Move the shift on, once for each update, so that the split into forward passes does not matter."""
        for ratios in self._ratios:
            self.shift = self.shift.including(ratios)
        self._ratios = []

    def own_state(self) -> dict[str, Any]:
        """The shift too."""
        return super().own_state() | {"shift": (self.shift.value, self.shift.count)}

    def restore_own(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        super().restore_own(state)
        self.shift = RunningMean(*state["shift"])


class DpoTrainer(ShiftingTrainer):
    """Direct preference optimisation. Items are pairs; the reference is computed before, never in a step.

    Where a loss sets pairs against others of the update, and the update takes several forward passes, the sums of all
    are worked out before, without gradient; so the loss does not depend on how the update is split. Logs rewards,
    margins, accuracy (a tie counts ½), log-probabilities and lengths of chosen and rejected.
    """

    accuracy = "rewards/accuracies"
    unit: ClassVar[str] = "pairs"

    def __init__(self, *, objective: PairObjective, weighting: Wpo | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.objective = objective
        self.weighting = weighting
        self.margins: deque[tuple[Item, float]] = deque(maxlen=_KEPT)
        """The last pairs that were trained on, with their margins."""
        self.needs = needs(objective)
        self._mean_chosen_tokens = 0.0
        self._update: LogpSums | None = None
        self._places: dict[int, int] = {}

    def own_state(self) -> dict[str, Any]:
        """The margins too, each with the place of its pair."""
        places = {id(item): place for place, item in enumerate(self.train_dataset.items)}
        return super().own_state() | {"margins": [(places[id(item)], margin) for item, margin in self.margins]}

    def restore_own(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        super().restore_own(state)
        items = self.train_dataset.items
        self.margins = deque(((items[place], margin) for place, margin in state["margins"]), maxlen=_KEPT)

    def weight_of(self, items: Sequence[Item]) -> int:
        """Pairs."""
        return len(items)

    def before_batch(self, model: PreTrainedModel, batch: Batch) -> None:
        """What the losses need to know of the whole update."""
        chosen = [item.lengths[0] for item in batch.items]
        self._mean_chosen_tokens = sum(chosen) / len(chosen)
        self._update = None
        if "update" not in self.needs or len(batch.forwards) == 1:
            return
        # The same numbers are drawn again in the passes with a gradient, so that dropout leaves out the same.
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.no_grad(), self.autocast(), torch.random.fork_rng(devices):
            parts = [self._pairs(forward, completion_sums(model, forward)) for forward in batch.forwards]
        self._update = LogpSums(
            *(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(LogpSums))
        )
        starts = accumulate([len(forward.items) for forward in batch.forwards], initial=0)
        self._places = {id(forward): start for forward, start in zip(batch.forwards, starts, strict=False)}

    def forward_losses(self, model: PreTrainedModel, forward: Forward) -> tuple[torch.Tensor, PassMetrics]:
        """The loss that the recipe names, of each pair."""
        prefix = None
        if "prefix" in self.needs:
            prefix = [min(item.lengths) for item in forward.items for _ in range(2)]
        with self.autocast():
            found = completion_sums(model, forward, prefix=prefix, collide=self.weighting is not None)
        pairs = self._pairs(forward, found)
        if "shift" in self.needs and model.training:
            self._ratios += [pairs.chosen_ratios.detach(), pairs.rejected_ratios.detach()]
        metrics = pair_metrics(pairs, reward_beta(self.objective))
        if self.weighting is not None:
            metrics["weights"] = self.weighting.weights(pairs)
        if model.training and "rewards/margins" in metrics:
            self.margins += zip(forward.items, metrics["rewards/margins"].tolist(), strict=True)
        count = len(forward.items)
        losses = pair_losses(self.objective, pairs, self.weighting)
        return losses, {name: (values, count) for name, values in metrics.items()}

    def _pairs(self, forward: Forward, found: CompletionSums) -> PairLogps:
        """A forward pass as the losses see it: chosen answers at even places, rejected ones at odd."""
        items, device = forward.items, found.sums.device

        def known(rows: Sequence[tuple[float, ...]], side: int) -> torch.Tensor:
            values = [row[side] if row else float("nan") for row in rows]
            return torch.tensor(values, dtype=torch.float64, device=device)

        reference = [item.reference for item in items]
        prefixes = [item.prefix_reference for item in items]
        margins = [item.score_margin for item in items]
        prefix = update = None
        if found.prefixes is not None:
            prefix = LogpSums(found.prefixes[0::2], found.prefixes[1::2], known(prefixes, 0), known(prefixes, 1))
        if self._update is not None:
            places = torch.arange(len(items), device=device) + self._places[id(forward)]
            update = Update(self._update, places)
        return PairLogps(
            found.sums[0::2],
            found.sums[1::2],
            known(reference, 0),
            known(reference, 1),
            chosen_tokens=found.tokens[0::2],
            rejected_tokens=found.tokens[1::2],
            prefix=prefix,
            score_margins=None if None in margins else torch.tensor(margins, dtype=torch.float64, device=device),
            shift=self.shift.value,
            update=update,
            mean_chosen_tokens=self._mean_chosen_tokens,
            chosen_collisions=None if found.collisions is None else found.collisions[0::2],
            rejected_collisions=None if found.collisions is None else found.collisions[1::2],
        )


def pair_metrics(pairs: PairLogps, beta: float) -> dict[str, torch.Tensor]:
    """What is logged of pairs beside their loss, each [n]. Without a reference the rewards are left out."""
    chosen = implicit_rewards(pairs.policy_chosen, pairs.reference_chosen, beta)
    rejected = implicit_rewards(pairs.policy_rejected, pairs.reference_rejected, beta)
    margins = chosen - rejected
    metrics = {
        "logps/chosen": pairs.policy_chosen,
        "logps/rejected": pairs.policy_rejected,
        "lengths/chosen": pairs.chosen_tokens,
        "lengths/rejected": pairs.rejected_tokens,
    }
    if bool(torch.isnan(pairs.reference_chosen).any()):
        return metrics
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": margins,
        "rewards/accuracies": (margins > TIE).double() + 0.5 * (margins.abs() <= TIE).double(),
        **metrics,
    }


def _add(sums: dict[str, float], weights: dict[str, int], metrics: PassMetrics) -> None:
    for name, (values, weight) in metrics.items():
        sums[name] = sums.get(name, 0.0) + float(values.detach().double().sum())
        weights[name] = weights.get(name, 0) + weight


def _means(sums: dict[str, float], weights: dict[str, int]) -> dict[str, float]:
    return {name: total / weights[name] for name, total in sums.items() if weights[name]}

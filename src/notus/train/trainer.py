"""SFT and DPO as thin subclasses of transformers' Trainer.

They say what a batch is and what its loss is. Optimiser, schedule, precision and trackers are transformers' own, under
their usual names. Every loss is divided by what the whole update holds (answer tokens for SFT, pairs for DPO), so that
the split into micro-batches changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from notus.core.run import Run
from notus.models.padded import Example, answer_logps
from notus.train.losses import implicit_rewards, sigmoid_loss

__all__ = ["TIE", "DpoTrainer", "LengthSampler", "Metrics", "Pair", "Rows", "SftTrainer"]


TIE = 1e-6
"""Margins up to this are ties: what is left of the rounding where policy and reference are the same."""


@dataclass(frozen=True)
class Pair:
    """A tokenised preference, with the log-probabilities of its answers under the reference."""

    chosen: Example
    rejected: Example
    reference_chosen: float = 0.0
    reference_rejected: float = 0.0

    @property
    def length(self) -> int:
        """Tokens of the longer of the two rows."""
        return max(sum(map(len, self.chosen)), sum(map(len, self.rejected)))


class Rows(Dataset[Any]):
    """A list as a dataset, with the length of each row in tokens."""

    def __init__(self, rows: Sequence[Any], lengths: Sequence[int]) -> None:
        self.rows = rows
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


class LengthSampler(Sampler[int]):
    """Shuffles anew in each epoch, with rows of like length side by side, so that batches hold little padding.

    Rows are shuffled, cut into pools of 32 batches, sorted by length within a pool; then the batches are shuffled. The
    order depends on the seed and the epoch alone.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        pool = 32 * self.batch_size
        pools = [sorted(order[i : i + pool], key=self.lengths.__getitem__) for i in range(0, len(order), pool)]
        rows = [row for rows in pools for row in rows]
        batches = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        # A last, smaller batch stays last: elsewhere it would shift the borders of all that follow.
        whole = len(batches) if len(batches[-1]) == self.batch_size else len(batches) - 1
        shuffled = torch.randperm(whole, generator=generator).tolist()
        for index in [*shuffled, *range(whole, len(batches))]:
            yield from batches[index]


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


class _Averages:
    """Means of values over the pairs or rows seen since the last log."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.rows = 0

    def add(self, rows: int, **values: torch.Tensor) -> None:
        self.rows += rows
        for name, value in values.items():
            total = value.detach().double().sum()
            self.sums[name] = self.sums[name] + total if name in self.sums else total

    def take(self) -> dict[str, float]:
        means = {name: float(total) / self.rows for name, total in self.sums.items()}
        self.__init__()  # type: ignore[misc]
        return means


class _NotusTrainer(Trainer):
    """What both trainers share: sampling by length, and means of their own metrics in each log."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # The losses are divided by what the whole update holds, not by what a micro-batch does.
        self.loss_is_scaled_for_ga = True
        self.averages = {"train": _Averages(), "eval": _Averages()}

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        rows = train_dataset if train_dataset is not None else self.train_dataset
        return LengthSampler(rows.lengths, self.args.train_batch_size, self.args.seed)

    def note(self, rows: int, **values: torch.Tensor) -> None:
        """Add values of a batch, each [rows], to the means of the next log."""
        self.averages["train" if self.model.training else "eval"].add(rows, **values)

    def autocast(self) -> torch.autocast:
        """The precision of the forward pass; the reference must be computed under the same."""
        return torch.autocast(self.args.device.type, dtype=torch.bfloat16, enabled=self.args.bf16)

    def per_update(self, total: torch.Tensor, here: int, in_update: torch.Tensor | int | None) -> torch.Tensor:
        """A sum of losses, divided by the number of items in the update; in an evaluation, by those here."""
        if in_update is None:
            return total / here
        # The number is counted over all processes, whose gradients are then averaged.
        return total / in_update * self.accelerator.num_processes

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means to what is logged; those of an evaluation carry its prefix."""
        evaluating = any(key.startswith("eval_") for key in logs)
        means = self.averages["eval" if evaluating else "train"]
        if means.rows:
            logs |= {f"eval_{key}" if evaluating else key: value for key, value in means.take().items()}
        super().log(logs, start_time)

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[torch.Tensor, None, None]:
        """The loss of an evaluation batch; its metrics are averaged on the way."""
        del prediction_loss_only, ignore_keys
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None


class SftTrainer(_NotusTrainer):
    """Supervised fine-tuning: mean negative log-likelihood of the answer tokens. Rows are ``Example``s."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """−Σ log π(y_t | x, y_<t) / number of answer tokens, which the Trainer counts over the whole update."""
        del return_outputs
        with self.autocast():
            logps, tokens = answer_logps(model, inputs)
        answered = int(tokens.sum())
        self.note(answered, nll=-logps)
        return self.per_update(-logps.sum(), answered, num_items_in_batch).float()


class DpoTrainer(_NotusTrainer):
    """Direct preference optimisation. Rows are ``Pair``s; the reference is computed before, never in a step.

    Logs loss, rewards, margins, accuracy (a tie counts ½), log-probabilities and lengths of chosen and rejected.
    """

    def __init__(self, *, beta: float, **options: Any) -> None:
        super().__init__(**options)
        self.beta = beta

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Mean of the sigmoid loss over the pairs of the update."""
        del return_outputs
        reference = inputs.pop("reference_logps")
        with self.autocast():
            logps, tokens = answer_logps(model, inputs)
        rewards = implicit_rewards(logps, reference, self.beta)
        pairs = len(rewards) // 2
        chosen, rejected = rewards[:pairs], rewards[pairs:]
        margins = chosen - rejected
        self.note(
            pairs,
            **{
                "rewards/chosen": chosen,
                "rewards/rejected": rejected,
                "rewards/margins": margins,
                "rewards/accuracies": (margins > TIE).double() + 0.5 * (margins.abs() <= TIE).double(),
                "logps/chosen": logps[:pairs],
                "logps/rejected": logps[pairs:],
                "lengths/chosen": tokens[:pairs],
                "lengths/rejected": tokens[pairs:],
            },
        )
        return self.per_update(sigmoid_loss(chosen, rejected).sum(), pairs, num_items_in_batch).float()

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor:
        """Pairs of the update, over all its micro-batches and all processes."""
        pairs = sum(len(batch["reference_logps"]) // 2 for batch in batch_samples)
        counted: torch.Tensor = self.accelerator.gather(torch.tensor(pairs, device=device)).sum()
        return counted

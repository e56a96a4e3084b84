"""Watching a training: its metrics with the rates of the machine, its progress, its health.

Owns the callback that the Trainer calls, and what is asked of PyTorch for it: tokens of a pass, the work of an update,
the device's memory and the speed that it reaches in a plain product of matrices. Rates and the line are those of
``progress``, the checks those of ``health``.
"""

import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from notus.core.run import Run
from notus.engine.load import base_model
from notus.engine.pack import PackedRow
from notus.train.run.health import Health, TrainingFacts
from notus.train.run.progress import Meter, Moment
from notus.train.trainer import UpdateTrainer

__all__ = ["Watch", "flops_per_token", "matmul_peak"]

_TOLD_EVERY = 0.2
"""Seconds between two looks at the progress."""
_PEAK_AFTER = 20.0
"""Seconds of training after which the peak is measured: a short run need not wait for it."""
_SIDE = {"cpu": 1024}
_PASSES = 5
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""Settings of models of which a token runs through a part."""


class Watch(TrainerCallback):
    """Writes what the Trainer logs into a run's ``metrics.jsonl``, with ``…_per_second`` and ``memory_bytes``; tells
    where the training stands, and looks at its health.

    Only time is measured, nothing is drawn and nothing changed: the same training with and without it ends with the
    same bits. The numbers of the machine are not in the Trainer's own state, which a checkpoint keeps.

    Args:
        run: that is trained in.
        trainer: whose callback this is.
    """

    def __init__(self, run: Run, trainer: UpdateTrainer) -> None:
        self.run = run
        self.trainer = trainer
        self.meter = Meter()
        self.health = Health(run, _facts(run, trainer))
        self._flops = flops_per_token(trainer.model)
        self._seen = (0, 0, 0.0)
        self._loss: torch.Tensor | None = None
        self._told = 0.0
        trainer.on_update = self._take
        trainer.add_callback(self)

    def finish(self) -> None:
        """Note what the training's health is, when all of its metrics are written."""
        if margins := list(getattr(self.trainer, "margins", ())):
            lengths = [(item.lengths[0] - item.lengths[1], margin) for item, margin in margins]
            self.health.pairs = [(float(difference), margin) for difference, margin in lengths]
            self.health.prompts = len({tuple(item.group.prompt) for item, _ in margins})
        self.health.finish()

    def _take(self, batch: Any, loss: torch.Tensor) -> None:
        """Count what an update has computed."""
        tokens, scored = map(sum, zip(*map(_tokens_of, batch.forwards), strict=True))
        other = sum(_tokens_of(forward)[0] for forward in getattr(batch, "mismatched", ()))
        body, head, forward_alone = self._flops or (0.0, 0.0, 0.0)
        self._seen = (len(batch.items), tokens + other, body * tokens + head * scored + forward_alone * other)
        self._loss = loss

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """An update begins."""
        del args, state, control, kwargs
        self.meter.begin()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """An update is done."""
        del args, control, kwargs
        self.meter.end(*self._seen)
        if time.monotonic() - self._told >= _TOLD_EVERY or state.global_step == state.max_steps:
            self._told = time.monotonic()
            self.run.tell(self._moment(state))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write one line: step, steps in all, the values, and what the machine did since the last one."""
        del args, control, kwargs
        if not state.is_world_process_zero:
            return
        values: dict[str, float | None] = dict(logs or {})
        if (rates := self.meter.take()) is not None:
            values[f"{self.trainer.unit}_per_second"] = rates.rows
            values["tokens_per_second"] = rates.tokens
            peak = self._peak()
            if peak and self._flops:
                values["peak_share"] = rates.flops / peak
            values["memory_bytes"] = _memory(self.trainer.args.device)[0]
        self.run.metric(step=state.global_step, steps=state.max_steps, **values)

    def _moment(self, state: TrainerState) -> Moment:
        held, highest = _memory(self.trainer.args.device)
        return Moment(
            done=state.global_step,
            of=state.max_steps,
            unit=self.trainer.unit,
            loss=None if self._loss is None else float(self._loss),
            rates=self.meter.recent(),
            peak=self._peak() if self._flops else None,
            memory=held,
            highest=highest,
            seconds=self.meter.to_go(state.max_steps - state.global_step),
        )

    def _peak(self) -> float | None:
        if self.meter.seconds < _PEAK_AFTER:
            return None
        parameter = next(self.trainer.model.parameters())
        dtype = torch.bfloat16 if self.trainer.args.bf16 else parameter.dtype
        return matmul_peak(self.trainer.args.device.type, dtype, torch.get_num_threads())


def _facts(run: Run, trainer: UpdateTrainer) -> TrainingFacts:
    """What the checks know of a training."""
    args, data = trainer.args, trainer.train_dataset
    objective = getattr(trainer, "objective", None)
    counts: dict[str, int] = {}
    for tally in run.tallies:
        if tally.stage == "encode":
            counts |= tally.counts
    encoded = sum(tally.given for tally in run.tallies if tally.stage == "encode") or len(data)
    return TrainingFacts(
        rate=args.learning_rate,
        clip=args.max_grad_norm,
        rows_per_line=min(args.train_batch_size, len(data)) * args.logging_steps,
        rounded=args.bf16 or next(trainer.model.parameters()).dtype in (torch.bfloat16, torch.float16),
        # A ranker has no objective: its margins are the logits of its loss.
        logits=trainer.unit == "pairs" and (objective is None or getattr(objective, "name", "") == "sigmoid"),
        answers=encoded * (2 if trainer.unit == "pairs" else 1),
        counts=counts,
    )


def _tokens_of(forward: Any) -> tuple[int, int]:
    """Tokens that go through the model in a pass, and those of which the next one is scored."""
    if isinstance(forward.row, PackedRow):
        return forward.row.tokens, len(forward.row.targets)
    tokens = int(forward.row["attention_mask"].sum())
    return tokens, sum(item.answered for item in forward.items if hasattr(item, "answered"))


def flops_per_token(model: PreTrainedModel) -> tuple[float, float, float] | None:
    """Work for a token of an update in the body, in the head for one whose successor is scored, and in the body of a
    pass without gradient.

    Two FLOP for each weight of a matrix in the pass forward and four in the pass back, of which a frozen base under an
    adapter needs two: 6N or 4N (Kaplan et al. 2020, https://arxiv.org/abs/2001.08361, section 2.1). Attention itself is
    not counted, nor what is computed twice to save memory, so that a share of peak is rather too low.

    Returns:
        None where a token does not run through all weights (experts) or these are packed (4 bits).
    """
    base = base_model(model)
    if any(getattr(base.config, name, None) for name in _EXPERTS):
        return None
    if any(not parameter.is_floating_point() for parameter in model.parameters()):
        return None
    inputs, outputs = base.get_input_embeddings(), base.get_output_embeddings()
    apart = {id(each.weight) for each in (inputs, outputs) if each is not None and hasattr(each, "weight")}
    body = sum(each.numel() for each in model.parameters() if each.ndim == 2 and id(each) not in apart)
    head = outputs.weight.numel() if outputs is not None and hasattr(outputs, "weight") else 0
    whole = sum(each.numel() for each in model.parameters())
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    factor = 6.0 if trained > whole / 2 else 4.0
    return factor * body, factor * head, 2.0 * body


@lru_cache
def matmul_peak(device: str, dtype: torch.dtype, threads: int) -> float | None:
    """FLOP a second of a product of two square matrices, the best of a few; None where there is no memory for it.

    Measured once in a process: 1,024 rows on a CPU, 4,096 elsewhere. The numbers are not drawn, so that what is drawn
    afterwards stays the same.
    """
    del threads
    side = _SIDE.get(device, 4096)
    try:
        one = (torch.arange(side * side, device=device) % 7 - 3).reshape(side, side).to(dtype)
        best = min(_seconds_of_product(one, device) for _ in range(_PASSES))
    except torch.OutOfMemoryError:
        return None
    return 2.0 * side**3 / best


def _seconds_of_product(one: torch.Tensor, device: str) -> float:
    with torch.no_grad():
        _wait(device)
        start = time.perf_counter()
        torch.mm(one, one)
        _wait(device)
        return time.perf_counter() - start


def _wait(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()


def _memory(device: torch.device) -> tuple[int | None, int | None]:
    """Bytes that are held, and that were held at most: of the process on a CPU, as allocated on an accelerator."""
    if device.type != "cpu":
        return torch.accelerator.memory_allocated(), torch.accelerator.max_memory_allocated()
    pages = Path("/proc/self/statm")
    if not pages.is_file():
        return None, None
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"), None

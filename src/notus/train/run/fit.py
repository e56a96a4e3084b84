"""The loop of a training: its settings as transformers' Trainer takes them, and a training from first update to last.

Owns what is checked before the first update, and what is noted behind the last. What is trained is put together in
``policy`` and in ``train.ranker``.
"""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainingArguments

from notus.core.errors import ConfigError
from notus.core.run import Run
from notus.engine.adapters import base_model
from notus.train.batches import LengthSampler
from notus.train.run.checkpoints import Checkpoint
from notus.train.run.keeping import Keeping
from notus.train.run.watch import Watch
from notus.train.settings import Updates
from notus.train.trainer import UpdateTrainer

__all__ = ["fit", "training_arguments"]


def training_arguments(run: Run, config: Updates, seed: int) -> TrainingArguments:
    """The settings as transformers' Trainer takes them."""
    return TrainingArguments(
        output_dir=str(run.path / "trainer"),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=config.warmup,
        optim=config.optimizer,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        activation_checkpointing=config.activation_checkpointing,
        bf16=config.computing == "bfloat16",
        fp16=config.computing == "float16",
        use_cpu=not torch.accelerator.is_available(),
        logging_steps=config.log_every,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        report_to="none",  # what is reported to is told by the run: see ``trackers``
        save_strategy="no",
        seed=seed,
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def fit(
    run: Run, trainer: UpdateTrainer, config: Updates, held_out: Sequence[Any], resume_from: Path | None = None
) -> None:
    """Train to the end, and note rows, updates, and the loss and metrics on the trainer's items that were held out.

    A run that was stopped goes on from its newest checkpoint.

    Args:
        held_out: to measure on, on the way where that is asked for, and at the end.
        resume_from: a checkpoint or a run directory of another run's, which this one goes on from.

    Raises:
        ConfigError: if there is more than one device or process, the warmup never ends, or a checkpoint does not fit.
        RunError: if the loss or a gradient is no finite number, or there is no room for a checkpoint.
        InterruptedRunError: if a signal came; what was done is saved.
    """
    if trainer.accelerator.num_processes > 1 or trainer.args.n_gpu > 1:
        raise ConfigError(
            "training runs in one process on one device for now; show it one, e.g. CUDA_VISIBLE_DEVICES=0"
        )
    _check_warmup(trainer)
    # The numbers go into the run's metrics; whoever wants to see them reads them there.
    trainer.remove_callback(PrinterCallback)
    keeping = Keeping(run, trainer, config, held_out)
    begin = keeping.find(resume_from)
    watch = Watch(run, trainer)  # looks at the metrics, also at those that the checkpoint brought back
    if begin is None and trainer.logs_start:
        _log_start(run, trainer)
    with keeping.signals():
        updates, loss = _train(trainer, begin, ended=keeping.ended)
        run.note(rows=len(trainer.train_dataset), updates=updates, train_loss=loss, held_out_rows=len(held_out))
        keeping.finish()
    if held_out:
        run.note(**keeping.measure_at_end())
    watch.finish()


def _train(trainer: UpdateTrainer, begin: Checkpoint | None, *, ended: bool) -> tuple[int, float]:
    """Updates and the mean loss of all of them."""
    if begin is not None and ended:
        trainer.restore_end(begin.path)
    else:
        with warnings.catch_warnings():
            # accelerate asks PyTorch for a CUDA driver even when it was told to use the CPU.
            warnings.filterwarnings("ignore", message=".*pin_memory.*")
            trainer.train(resume_from_checkpoint=None if begin is None else str(begin.path))
    return trainer.state.global_step, trainer.mean_loss


def _log_start(run: Run, trainer: UpdateTrainer) -> None:
    """Loss and metrics before the first update, on one batch: with DPO's own loss ln 2, and a margin of 0."""

    def log(found: dict[str, float]) -> None:
        run.metric(step=0, **found)
        run.note(start_loss=found["loss"], start_margin=found.get("rewards/margins"))

    if _drops(trainer.model):
        rows, size = trainer.train_dataset, trainer.args.train_batch_size
        # In half precision a reference belongs to its pass: the first one of the first epoch.
        half = trainer.args.bf16 or trainer.args.fp16
        first = LengthSampler.of(rows, size, trainer.args.seed).batches()[0] if half else range(min(size, len(rows)))
        log(trainer.measured([rows[number] for number in first]))
    else:
        trainer.log_start = log  # the first batch of training gives it, and nothing is computed twice


def _drops(model: Any) -> bool:
    """Whether a part of the model is left out at random while it trains."""
    if getattr(base_model(model).config, "attention_dropout", 0.0):  # a number of the configuration, and no module
        return True
    return any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())


def _check_warmup(trainer: UpdateTrainer) -> None:
    updates = math.ceil(len(trainer.train_dataset) / trainer.args.train_batch_size * trainer.args.num_train_epochs)
    if updates <= trainer.args.get_warmup_steps(updates):
        raise ConfigError(
            f"warmup {trainer.args.warmup_steps} of {updates} update{'s' * (updates > 1)} leaves none with a learning "
            "rate above 0; set warmup to 0, or train on more"
        )

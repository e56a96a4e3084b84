"""Assembly of a training run: config in, trained model, metrics and counts in a run directory out."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel, PrinterCallback, TrainingArguments
from transformers.integrations import get_available_reporting_integrations

from notus.core.errors import ConfigError, DataError, RunError, nearest
from notus.core.records import Message, Preference
from notus.core.run import Run
from notus.models.local import load_model, load_tokenizer, save_model
from notus.models.padded import Example, all_logps, pad
from notus.models.tokens import Encoder, answer_text
from notus.train.settings import Training
from notus.train.trainer import DpoTrainer, Metrics, Pair, Rows, SftTrainer

__all__ = ["encode_pairs", "train_dpo", "train_sft"]

Conversation = tuple[Message, ...]


def train_sft(
    run: Run,
    config: Training,
    *,
    start: str,
    dialogues: Sequence[Conversation],
    held_out: Sequence[Conversation],
    seed: int,
) -> Path:
    """Fine-tune a model on the last assistant turn of each dialogue.

    Args:
        start: folder or hub id of the model to start from.
        held_out: dialogues to evaluate on at the end; may be empty.

    Returns:
        The folder of the trained model, inside the run.
    """
    model, encoder = _load(run, start, config)
    examples = encoder.examples(_split_dialogue(dialogue) for dialogue in dialogues)
    if not examples:
        raise DataError("there is no dialogue to train on")
    trainer = SftTrainer(
        model=model,
        args=_arguments(run, config, seed),
        train_dataset=_rows(examples),
        data_collator=partial(pad, pad_id=encoder.tokenizer.pad_token_id),
        processing_class=encoder.tokenizer,
        callbacks=[Metrics(run)],
    )
    return _train(run, trainer, encoder, _rows(encoder.examples(_split_dialogue(d) for d in held_out)))


def train_dpo(
    run: Run,
    config: Training,
    *,
    beta: float,
    start: str,
    preferences: Sequence[Preference],
    held_out: Sequence[Preference],
    seed: int,
) -> Path:
    """Train a policy on preferences with the sigmoid DPO loss; the model it starts from is the reference.

    Args:
        beta: weight of the KL penalty.
        start: folder or hub id of the model to start from.
        held_out: preferences to evaluate on at the end; may be empty.

    Returns:
        The folder of the trained model, inside the run.
    """
    model, encoder = _load(run, start, config)
    if not preferences:
        raise DataError("there is no preference to train on")
    pad_id = encoder.tokenizer.pad_token_id
    rows = 2 * (config.micro_batch_size or config.batch_size)
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
        pairs, held = (
            _with_reference(model, encode_pairs(encoder, part), pad_id, rows) for part in (preferences, held_out)
        )
    trainer = DpoTrainer(
        beta=beta,
        model=model,
        args=_arguments(run, config, seed),
        train_dataset=pairs,
        data_collator=partial(_collate_pairs, pad_id=pad_id),
        processing_class=encoder.tokenizer,
        callbacks=[Metrics(run)],
    )
    _log_start(run, trainer, pairs)
    return _train(run, trainer, encoder, held)


def encode_pairs(encoder: Encoder, preferences: Sequence[Preference]) -> list[Pair]:
    """Tokenise preferences; each answer is one assistant turn."""
    chosen = encoder.examples((item.prompt, answer_text(item.chosen)) for item in preferences)
    rejected = encoder.examples((item.prompt, answer_text(item.rejected)) for item in preferences)
    return [Pair(better, worse) for better, worse in zip(chosen, rejected, strict=True)]


def _load(run: Run, start: str, config: Training) -> tuple[PreTrainedModel, Encoder]:
    model = load_model(start)
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and config.limits.max_length > longest:
        raise DataError(f"limits.max_length {config.limits.max_length} is above the {longest} positions of {start}")
    return model, Encoder(load_tokenizer(start), config.limits, run.tally("encode"))


def _arguments(run: Run, config: Training, seed: int) -> TrainingArguments:
    trackers = get_available_reporting_integrations()
    if missing := [name for name in config.report_to if name not in trackers]:
        raise ConfigError(
            f"report_to names '{missing[0]}', which is no tracker that is installed; {nearest(missing[0], trackers)}"
        )
    micro = config.micro_batch_size or config.batch_size
    return TrainingArguments(
        output_dir=str(run.path / "trainer"),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=config.batch_size // micro,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=config.warmup,
        optim=config.optimizer,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=config.precision == "bfloat16",
        use_cpu=not torch.accelerator.is_available(),
        logging_steps=config.log_every,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        report_to=list(config.report_to) or "none",
        save_strategy="no",
        seed=seed,
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=torch.accelerator.is_available(),
    )


def _train(run: Run, trainer: SftTrainer | DpoTrainer, encoder: Encoder, held_out: Rows) -> Path:
    updates = math.ceil(len(trainer.train_dataset) / trainer.args.train_batch_size)
    updates = math.ceil(updates / trainer.args.gradient_accumulation_steps * trainer.args.num_train_epochs)
    if updates <= trainer.args.get_warmup_steps(updates):
        raise ConfigError(
            f"warmup {trainer.args.warmup_steps} of {updates} update{'s' * (updates > 1)} leaves none with a learning "
            "rate above 0; set warmup to 0, or train on more"
        )
    # The numbers go into the run's metrics; whoever wants to see them reads them there.
    trainer.remove_callback(PrinterCallback)
    with warnings.catch_warnings():
        # accelerate asks PyTorch for a CUDA driver even when it was told to use the CPU.
        warnings.filterwarnings("ignore", message=".*pin_memory.*")
        result = trainer.train()
        if not torch.isfinite(torch.tensor(result.training_loss)):
            raise RunError(
                f"the loss became {result.training_loss}; lower learning_rate ({trainer.args.learning_rate})"
            )
        held = trainer.evaluate(held_out) if len(held_out) else {}
    run.note(
        rows=len(trainer.train_dataset),
        updates=result.global_step,
        train_loss=result.training_loss,
        held_out_rows=len(held_out),
        **{key: value for key, value in held.items() if key.startswith("eval_") and "_per_second" not in key},
    )
    path = run.path / "model"
    save_model(trainer.model, encoder.tokenizer, path)
    return path


def _log_start(run: Run, trainer: DpoTrainer, pairs: Rows) -> None:
    """Loss and margin before the first update, on one batch: they must be ln 2 and 0."""
    batch = trainer.data_collator([pairs[row] for row in range(min(len(pairs), trainer.args.train_batch_size))])
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model.eval(), trainer._prepare_inputs(batch))
    means = trainer.averages["eval"].take()
    run.metric(step=0, loss=float(loss), **means)
    run.note(start_loss=float(loss), start_margin=means["rewards/margins"])


def _with_reference(model: PreTrainedModel, pairs: list[Pair], pad_id: int, rows: int) -> Rows:
    examples = [example for pair in pairs for example in (pair.chosen, pair.rejected)]
    logps = all_logps(model, examples, pad_id, rows)
    known = [
        replace(pair, reference_chosen=logps[2 * i], reference_rejected=logps[2 * i + 1])
        for i, pair in enumerate(pairs)
    ]
    return Rows(known, [pair.length for pair in known])


def _collate_pairs(pairs: Sequence[Pair], pad_id: int) -> dict[str, torch.Tensor]:
    """The chosen rows, then the rejected ones; ``reference_logps`` [2 · pairs] in fp64 in the same order."""
    batch = pad([pair.chosen for pair in pairs] + [pair.rejected for pair in pairs], pad_id)
    known = [pair.reference_chosen for pair in pairs] + [pair.reference_rejected for pair in pairs]
    return {**batch, "reference_logps": torch.tensor(known, dtype=torch.float64)}


def _rows(examples: list[Example]) -> Rows:
    return Rows(examples, [len(prompt) + len(answer) for prompt, answer in examples])


def _split_dialogue(dialogue: Conversation) -> tuple[Conversation, str]:
    if len(dialogue) < 2:
        raise DataError(f"a dialogue needs a prompt and an answer; this one has {len(dialogue)} turn")
    return dialogue[:-1], answer_text(dialogue[-1:])

"""Assembly of a training run: config in, trained model, metrics and counts in a run directory out."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PrinterCallback, TrainingArguments
from transformers.integrations import get_available_reporting_integrations

from notus.core.errors import ConfigError, DataError, RunError, nearest
from notus.core.records import Message, Preference, Unpaired
from notus.core.run import Run
from notus.models.attention import check_supported, use_packed
from notus.models.local import load_model, load_tokenizer, save_model
from notus.models.pack import Group
from notus.models.tokens import Encoder
from notus.train.batches import Collator, Item, all_sums, plain
from notus.train.encoding import encode_dialogues, encode_pairs, encode_rows
from notus.train.loss_settings import (
    Kto,
    PairObjective,
    UnpairedObjective,
    needs_common_prefix,
    needs_kl,
    needs_reference,
    needs_score_margins,
)
from notus.train.references import kept_sums
from notus.train.sampling import Items
from notus.train.settings import Training, Updates
from notus.train.sharing import share
from notus.train.trainer import DpoTrainer, Metrics, SftTrainer, UpdateTrainer
from notus.train.unpaired import UnpairedTrainer, with_mismatches

__all__ = ["encode_pairs", "fit", "train_dpo", "train_sft", "train_unpaired", "training_arguments"]

Conversation = tuple[Message, ...]
_CHECK = 1e-3
"""Largest difference of a log-probability per token at which two ways of computing it count as the same."""
_BALANCE = (1.0, 1.5)
"""Least and largest λ_D n_D / (λ_U n_U): Ethayarajh et al. 2024, section 4 (https://arxiv.org/abs/2402.01306)."""


def train_sft(
    run: Run,
    config: Training,
    *,
    start: str,
    dialogues: Sequence[Conversation],
    held_out: Sequence[Conversation],
    seed: int,
) -> Path:
    """Fine-tune a model on the assistant turns of dialogues.

    Args:
        start: folder or hub id of the model to start from.
        held_out: dialogues to evaluate on at the end; may be empty.

    Returns:
        The folder of the trained model, inside the run.
    """
    if not dialogues:
        raise DataError("there is no dialogue to train on")
    model, encoder = _load(run, start, config)
    items, held = (encode_dialogues(encoder, part) for part in (dialogues, held_out))
    model = _with_adapter(model, config, seed)
    trainer = SftTrainer(**_options(run, config, model, encoder, Items(items), seed))
    return _train(run, trainer, encoder, held)


def train_dpo(
    run: Run,
    config: Training,
    *,
    objective: PairObjective,
    start: str,
    preferences: Sequence[Preference | Unpaired],
    held_out: Sequence[Preference | Unpaired],
    seed: int,
    reference: str | None = None,
) -> Path:
    """Train a policy on preferences.

    Args:
        objective: the loss, or a weighted sum of several.
        start: folder or hub id of the model to start from.
        reference: folder or hub id of the reference; None takes the model that the policy starts from.
        held_out: preferences to evaluate on at the end; may be empty.

    Returns:
        The folder of the trained model, inside the run.

    Raises:
        DataError: if there is nothing to train on, an unpaired row, or a pair without what the loss needs.
    """
    if not preferences:
        raise DataError("there is no preference to train on")
    model, encoder = _load(run, start, config)
    model.eval()
    against = model if reference is None else _load_reference(reference, encoder)
    items, held = (
        _with_reference(run, against, encode_pairs(encoder, part), objective, reference or start, config, encoder)
        for part in (preferences, held_out)
    )
    del against  # it is not needed again, and may be as large as the policy
    if needs_score_margins(objective) and any(item.score_margin is None for item in items):
        raise DataError("this loss needs the scores of both answers, and some pairs have none; choose another loss")
    # The reference is computed before: with an adapter it is the base, in every case it is the model as it starts.
    model = _with_adapter(model, config, seed)
    data = Items(items, shared=config.share_prompts)
    trainer = DpoTrainer(objective=objective, **_options(run, config, model, encoder, data, seed))
    _log_start(run, trainer)
    return _train(run, trainer, encoder, held)


def train_unpaired(
    run: Run,
    config: Training,
    *,
    objective: UnpairedObjective,
    start: str,
    rows: Sequence[Preference | Unpaired],
    held_out: Sequence[Preference | Unpaired],
    seed: int,
    reference: str | None = None,
) -> Path:
    """Train a policy on single rows that are wanted or not.

    Args:
        objective: the loss.
        start: folder or hub id of the model to start from.
        rows: unpaired rows, or preferences, of which each makes two.
        held_out: likewise, to evaluate on at the end; may be empty.
        reference: folder or hub id of the reference; None takes the model that the policy starts from.

    Returns:
        The folder of the trained model, inside the run.
    """
    model, encoder = _load(run, start, config)
    model.eval()
    items, held = (encode_rows(encoder, part, run.tally("divide")) for part in (rows, held_out))
    if not items:
        raise DataError("there is no unpaired row to train on")
    _note_balance(run, objective, items)
    if needs_kl(objective):
        size, longest = config.batch_size, config.limits.max_length
        items, held = (with_mismatches(part, size, longest, seed, encoder.tally) for part in (items, held))
    against = model if reference is None else _load_reference(reference, encoder)
    items, held = (
        _with_reference(run, against, part, objective, reference or start, config, encoder) for part in (items, held)
    )
    del against
    model = _with_adapter(model, config, seed)
    data = Items(items, shared=config.share_prompts, kept=needs_kl(objective))
    trainer = UnpairedTrainer(objective=objective, **_options(run, config, model, encoder, data, seed))
    _log_start(run, trainer)
    return _train(run, trainer, encoder, held)


def _note_balance(run: Run, objective: UnpairedObjective, items: Sequence[Item]) -> None:
    """Tell how many rows are wanted, and what KTO's paper advises where its weights do not even them out."""
    wanted = sum(bool(item.desirable) for item in items)
    unwanted = len(items) - wanted
    run.note(desirable_rows=wanted, undesirable_rows=unwanted)
    if not isinstance(objective, Kto) or not wanted or not unwanted:
        return
    ratio = objective.desirable_weight * wanted / (objective.undesirable_weight * unwanted)
    run.note(desirable_to_undesirable=ratio)
    low, high = _BALANCE
    if not low <= ratio <= high:
        even = objective.desirable_weight * wanted / unwanted
        run.log(
            f"kto: {wanted:,} wanted and {unwanted:,} unwanted rows have the weights {ratio:.3g} : 1, and the paper "
            f"advises 1 to 3/2; an undesirable_weight of {even / high:.3g} to {even / low:.3g} would do it"
        )


def _load(run: Run, start: str, config: Training) -> tuple[PreTrainedModel, Encoder]:
    model = load_model(start)
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and config.limits.max_length > longest:
        raise DataError(f"limits.max_length {config.limits.max_length} is above the {longest} positions of {start}")
    if config.engine == "packed":
        check_supported(plain(model), config.limits.max_length)
    return model, Encoder(load_tokenizer(start), config.limits, run.tally("encode"))


def _load_reference(source: str, encoder: Encoder) -> PreTrainedModel:
    """A reference that is not the start. The ids of one tokenizer must mean the same to both."""
    if load_tokenizer(source).get_vocab() != encoder.tokenizer.get_vocab():
        raise ConfigError(f"the reference {source} has another tokenizer than the policy; it must have the same one")
    model = load_model(source)
    model.eval()
    return model


def _with_adapter(model: PreTrainedModel, config: Training, seed: int) -> PreTrainedModel:
    if config.lora is None:
        return model
    from notus.models.adapters import add_adapter

    return add_adapter(model, config.lora, seed)


def _with_reference(
    run: Run,
    model: PreTrainedModel,
    items: list[Item],
    objective: PairObjective | UnpairedObjective,
    start: str,
    config: Training,
    encoder: Encoder,
) -> list[Item]:
    """Items with what the loss needs of the reference, computed once."""
    compute = partial(all_sums, model, settings=config, pad_id=encoder.tokenizer.pad_token_id)
    groups = [item.group for item in items]
    if needs_reference(objective):
        others = [item.mismatched.group for item in items if item.mismatched]
        sums = kept_sums(run, start, [*groups, *others], config, compute)
        items = [replace(item, reference=of) for item, of in zip(items, sums, strict=False)]
        if others:
            items = [
                replace(item, mismatched=Item(group, reference=of))
                for item, group, of in zip(items, others, sums[len(items) :], strict=True)
            ]
    if needs_common_prefix(objective):
        cut = [_common(group) for group in groups]
        sums = kept_sums(run, start, cut, config, compute)
        items = [replace(item, prefix_reference=of) for item, of in zip(items, sums, strict=True)]
    return items


def _common(group: Group) -> Group:
    """The group with its branches cut to the length of the shortest."""
    shortest = min(map(len, group.branches))
    return Group(group.prompt, tuple(branch[:shortest] for branch in group.branches))


def _options(
    run: Run, config: Training, model: PreTrainedModel, encoder: Encoder, data: Items, seed: int
) -> dict[str, object]:
    """What all trainers are made of."""
    collator = Collator(config, encoder.tokenizer.pad_token_id)
    if config.engine == "packed":
        if config.self_check:
            _self_check(model, data.items[: config.batch_size], config, encoder)
        use_packed(plain(model))
    return {
        "model": model,
        "args": training_arguments(run, config, seed),
        "train_dataset": data,
        "data_collator": collator,
        "processing_class": encoder.tokenizer,
        "callbacks": [Metrics(run)],
    }


def _drops(model: PreTrainedModel) -> bool:
    """Whether a part of the model is left out at random while it trains."""
    if getattr(plain(model).config, "attention_dropout", 0.0):  # a number of the configuration, and no module
        return True
    return any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())


def _self_check(model: PreTrainedModel, items: Sequence[Item], config: Training, encoder: Encoder) -> None:
    """Compare the packed engine with the padded one on the first items.

    Raises:
        RunError: if they differ.
    """
    groups = [item.group for item in items]
    if config.share_prompts:
        groups, _ = share(groups, config.max_tokens)
    padded = Training(engine="padded", batch_size=config.batch_size, micro_batch_size=1, precision=config.precision)
    ours, plainly = (all_sums(model, groups, settings, encoder.tokenizer.pad_token_id) for settings in (config, padded))
    for group, one, other in zip(groups, ours, plainly, strict=True):
        for branch, a, b in zip(group.branches, one, other, strict=True):
            if abs(a - b) > _CHECK * len(branch):
                raise RunError(
                    f"the packed engine gives {a:.5f} where the padded one gives {b:.5f}; set engine: padded"
                )


def training_arguments(run: Run, config: Updates, seed: int) -> TrainingArguments:
    """The settings as transformers' Trainer takes them.

    Raises:
        ConfigError: if a tracker is named that is not installed.
    """
    trackers = get_available_reporting_integrations()
    if missing := [name for name in config.report_to if name not in trackers]:
        raise ConfigError(
            f"report_to names '{missing[0]}', which is no tracker that is installed; {nearest(missing[0], trackers)}"
        )
    return TrainingArguments(
        output_dir=str(run.path / "trainer"),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=config.warmup,
        optim=config.optimizer,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        activation_checkpointing=config.activation_checkpointing,
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
        dataloader_pin_memory=False,
    )


def fit(run: Run, trainer: UpdateTrainer, held_out: Sequence[Any]) -> None:
    """Train to the end, and note rows, updates, and the loss and metrics on the trainer's items that were held out.

    Raises:
        ConfigError: if there is more than one device or process, or the warmup never ends.
        RunError: if the loss is no finite number.
    """
    if trainer.accelerator.num_processes > 1 or trainer.args.n_gpu > 1:
        raise ConfigError(
            "training runs in one process on one device for now; show it one, e.g. CUDA_VISIBLE_DEVICES=0"
        )
    _check_warmup(trainer)
    # The numbers go into the run's metrics; whoever wants to see them reads them there.
    trainer.remove_callback(PrinterCallback)
    with warnings.catch_warnings():
        # accelerate asks PyTorch for a CUDA driver even when it was told to use the CPU.
        warnings.filterwarnings("ignore", message=".*pin_memory.*")
        result = trainer.train()
    if not math.isfinite(result.training_loss):
        raise RunError(f"the loss became {result.training_loss}; lower learning_rate ({trainer.args.learning_rate})")
    run.note(
        rows=len(trainer.train_dataset),
        updates=result.global_step,
        train_loss=result.training_loss,
        held_out_rows=len(held_out),
        **{f"eval_{name}": value for name, value in (trainer.measured(held_out) if held_out else {}).items()},
    )


def _train(run: Run, trainer: UpdateTrainer, encoder: Encoder, held_out: list[Item]) -> Path:
    fit(run, trainer, held_out)
    model = trainer.model
    plain(model).set_attn_implementation("sdpa")
    path = run.path / "model"
    save_model(model, encoder.tokenizer, path)
    return path


def _check_warmup(trainer: UpdateTrainer) -> None:
    updates = math.ceil(len(trainer.train_dataset) / trainer.args.train_batch_size * trainer.args.num_train_epochs)
    if updates <= trainer.args.get_warmup_steps(updates):
        raise ConfigError(
            f"warmup {trainer.args.warmup_steps} of {updates} update{'s' * (updates > 1)} leaves none with a learning "
            "rate above 0; set warmup to 0, or train on more"
        )


def _log_start(run: Run, trainer: DpoTrainer | UnpairedTrainer) -> None:
    """Loss and metrics before the first update, on one batch: with DPO's own loss ln 2, and a margin of 0."""

    def tell(found: dict[str, float]) -> None:
        run.metric(step=0, **found)
        run.note(start_loss=found["loss"], start_margin=found.get("rewards/margins"))

    if _drops(trainer.model):
        tell(trainer.measured(trainer.train_dataset.items[: trainer.args.train_batch_size]))
    else:
        trainer.tell_start = tell  # the first batch of training says it, and nothing is computed twice

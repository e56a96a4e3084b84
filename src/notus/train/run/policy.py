"""Training of a policy, put together: config in, trained model, metrics and counts in a run directory out.

Owns what is loaded, encoded, computed before (the reference) and checked, and in which order. The loop is in ``fit``,
what a batch and its loss are in ``train.trainer`` and ``train.unpaired``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from notus.core.errors import ConfigError, DataError, RunError
from notus.core.records import Dialogue, Preference, Unpaired
from notus.core.run import Run
from notus.core.stage import Tally
from notus.engine.adapters import add_adapter, base_model, take_inputs_as_they_are
from notus.engine.attention import leave_packed, use_packed
from notus.engine.cpu.switch import find_reason
from notus.engine.load import fit_vocabulary, load_model, load_tokenizer, save_model
from notus.engine.pack import PromptGroup, merge_groups
from notus.engine.text.encoder import Encoder
from notus.engine.text.stops import name_stops
from notus.train.batches import (
    Collator,
    Item,
    Items,
    LengthSampler,
    all_sums,
    batch_sums,
    encode_dialogues,
    encode_pairs,
    encode_rows,
)
from notus.train.losses.objective import Objective, PairObjective, UnpairedObjective, needs
from notus.train.losses.unpaired import Kto
from notus.train.losses.weighting import Wpo
from notus.train.mixture import Mixture, measure_sources
from notus.train.reference import kept_batch_sums, kept_sums
from notus.train.run.fit import fit, training_arguments
from notus.train.run.precision import decide, optimizer_of, saved_type, say_engine, say_rounding
from notus.train.run.trial import try_policy
from notus.train.settings import Training
from notus.train.trainer import DpoTrainer, SftTrainer, UpdateTrainer
from notus.train.unpaired import UnpairedTrainer, with_mismatches

__all__ = ["encode_pairs", "train_dpo", "train_sft", "train_unpaired"]

_CHECK = 1e-3
"""Largest difference of a log-probability per token at which two ways of computing it count as the same."""
_BALANCE = (1.0, 1.5)
"""Least and largest λ_D n_D / (λ_U n_U): Ethayarajh et al. 2024, section 4 (https://arxiv.org/abs/2402.01306)."""


def train_sft(
    run: Run,
    config: Training,
    *,
    start: str,
    dialogues: Sequence[Dialogue],
    held_out: Sequence[Dialogue],
    seed: int,
    mixture: Mixture | None = None,
    resume_from: Path | None = None,
) -> Path:
    """Fine-tune a model on the assistant turns of dialogues.

    Args:
        start: folder or hub id of the model to start from.
        held_out: dialogues to evaluate on; may be empty.
        resume_from: checkpoint or run directory of another training, which this one goes on from.
        mixture: of which sources the rows are; None: of one.

    Returns:
        The folder of the trained model, inside the run.
    """
    if not dialogues:
        raise DataError("there is no dialogue to train on")
    model, encoder, config = _load(run, start, config)
    items, held = _encode(partial(encode_dialogues, encoder), dialogues, held_out, mixture)
    _require_rows(run, items, len(dialogues))
    save = partial(_save, dtype=saved_type(config, start))
    try_policy(run, config, model, encoder, items, save=save, start=start, seed=seed)
    model = _with_adapter(model, config, seed)
    data = _mixed(run, items, held, mixture, encoder.tally)
    trainer = SftTrainer(**_options(run, config, model, encoder, data, seed))
    return _train(run, config, trainer, encoder, held, mixture, resume_from, save=save, start=start)


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
    weighting: Wpo | None = None,
    mixture: Mixture | None = None,
    resume_from: Path | None = None,
) -> Path:
    """Train a policy on preferences.

    Args:
        objective: the loss, or a weighted sum of several.
        start: folder or hub id of the model to start from.
        reference: folder or hub id of the reference; None takes the model that the policy starts from.
        held_out: preferences to evaluate on; may be empty.
        weighting: what each pair counts; None: all the same.
        mixture: of which sources the pairs are; None: of one.
        resume_from: checkpoint or run directory of another training, which this one goes on from.

    Returns:
        The folder of the trained model, inside the run.

    Raises:
        DataError: if there is nothing to train on, an unpaired row, or a pair without what the loss needs.
    """
    if not preferences:
        raise DataError("there is no preference to train on")
    model, encoder, config = _load(run, start, config)
    model.eval()
    items, held = _encode(partial(encode_pairs, encoder), preferences, held_out, mixture)
    _require_rows(run, items, len(preferences))
    if "scores" in needs(objective) and any(item.score_margin is None for item in items):
        raise DataError("this loss needs the scores of both answers, and some pairs have none; choose another loss")
    save = partial(_save, dtype=saved_type(config, start))
    try_policy(run, config, model, encoder, items, save=save, start=start, seed=seed)
    against = model if reference is None else _load_reference(reference, encoder, config)
    shared = config.share_prompts
    order = _batches(_repeated(items, mixture, shared=shared, kept="kl" in needs(objective)), config.batch_size, seed)
    items, held = _with_references(run, against, (items, held), order, objective, reference or start, config, encoder)
    del against  # it is not needed again, and may be as large as the policy
    # The reference is computed before: with an adapter it is the base, in every case it is the model as it starts.
    model = _with_adapter(model, config, seed)
    data = _mixed(run, items, held, mixture, encoder.tally, shared=config.share_prompts)
    options = _options(run, config, model, encoder, data, seed)
    trainer = DpoTrainer(objective=objective, weighting=weighting, **options)
    return _train(run, config, trainer, encoder, held, mixture, resume_from, save=save, start=start)


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
    mixture: Mixture | None = None,
    resume_from: Path | None = None,
) -> Path:
    """Train a policy on single rows that are desirable or not.

    Args:
        objective: the loss.
        start: folder or hub id of the model to start from.
        rows: unpaired rows, or preferences, of which each makes two.
        held_out: likewise, to evaluate on; may be empty.
        reference: folder or hub id of the reference; None takes the model that the policy starts from.
        mixture: of which sources the rows are; None: of one.
        resume_from: checkpoint or run directory of another training, which this one goes on from.

    Returns:
        The folder of the trained model, inside the run.
    """
    model, encoder, config = _load(run, start, config)
    model.eval()
    if not rows:
        raise DataError("there is no unpaired row to train on")
    divide = run.tally("divide")
    items, held = _encode(lambda part: encode_rows(encoder, part, divide), rows, held_out, mixture)
    _require_rows(run, items, len(rows))
    _note_balance(run, objective, items)
    if "kl" in needs(objective):
        size, longest = config.batch_size, config.limits.max_length
        by_source = mixture is not None and mixture.order != "mixed"
        stages = [[item for item in items if item.source == of] for of in sorted({item.source for item in items})]
        parts = stages if by_source else [items]
        items = [item for part in parts for item in with_mismatches(part, size, longest, seed, encoder.tally)]
        held = with_mismatches(held, size, longest, seed, encoder.tally)
    save = partial(_save, dtype=saved_type(config, start))
    try_policy(run, config, model, encoder, items, save=save, start=start, seed=seed)
    against = model if reference is None else _load_reference(reference, encoder, config)
    shared = config.share_prompts
    order = _batches(_repeated(items, mixture, shared=shared, kept="kl" in needs(objective)), config.batch_size, seed)
    items, held = _with_references(run, against, (items, held), order, objective, reference or start, config, encoder)
    del against
    model = _with_adapter(model, config, seed)
    kept = "kl" in needs(objective)
    data = _mixed(run, items, held, mixture, encoder.tally, shared=config.share_prompts, kept=kept)
    trainer = UnpairedTrainer(objective=objective, **_options(run, config, model, encoder, data, seed))
    return _train(run, config, trainer, encoder, held, mixture, resume_from, save=save, start=start)


def _encode(
    encode: Callable[[Sequence[Any]], list[Item]],
    rows: Sequence[Any],
    held_out: Sequence[Any],
    mixture: Mixture | None,
) -> tuple[list[Item], list[Item]]:
    """Items to train on and to evaluate on, each with the number of its source."""
    if mixture is None:
        return encode(rows), encode(held_out)
    return mixture.encode(encode, rows, mixture.rows), mixture.encode(encode, held_out, mixture.held_out)


def _mixed(
    run: Run, items: Sequence[Item], held: Sequence[Item], mixture: Mixture | None, tally: Tally, **options: bool
) -> Items:
    """The items of an epoch. Of several sources it is noted how many rows and tokens of each these are."""
    if mixture is None:
        return Items(items, **options)
    repeated = mixture.repeat(items, tally)
    run.note(sources=mixture.count(repeated, held))
    return Items(repeated, by_source=mixture.order != "mixed", **options)


def _repeated(items: Sequence[Item], mixture: Mixture | None, **options: bool) -> Items:
    """The same before the reference is known, for the order of the first epoch; nothing is counted."""
    if mixture is None:
        return Items(items, **options)
    return Items(mixture.repeat(items, Tally("order")), by_source=mixture.order != "mixed", **options)


def _cut(items: Sequence[Item], size: int) -> list[list[Item]]:
    return [list(items[at : at + size]) for at in range(0, len(items), size)]


def _batches(rows: Items, size: int, seed: int) -> list[list[Item]]:
    """The batches of the first epoch."""
    return [[rows[number] for number in of] for of in LengthSampler.of(rows, size, seed).batches()] if len(rows) else []


def _require_rows(run: Run, items: Sequence[Item], given: int) -> None:
    """Stop where too much was put aside, before anything is computed.

    Raises:
        LossError: if more than half of the rows is lost and that was not allowed, or nothing is left.
    """
    run.check_losses()
    if not items:
        raise run.refuse_losses(f"none of {given:,} rows can be trained on")


def _note_balance(run: Run, objective: UnpairedObjective, items: Sequence[Item]) -> None:
    """Note how many rows are desirable, and what KTO's paper advises where its weights do not even them out."""
    desirable = sum(bool(item.desirable) for item in items)
    undesirable = len(items) - desirable
    run.note(desirable_rows=desirable, undesirable_rows=undesirable)
    if not isinstance(objective, Kto) or not desirable or not undesirable:
        return
    ratio = objective.desirable_weight * desirable / (objective.undesirable_weight * undesirable)
    run.note(desirable_to_undesirable=ratio)
    low, high = _BALANCE
    if not low <= ratio <= high:
        even = objective.desirable_weight * desirable / undesirable
        run.log(
            f"kto: {desirable:,} desirable and {undesirable:,} undesirable rows have the weights {ratio:.3g} : 1, and "
            f"the paper advises 1 to 3/2; an undesirable_weight of {even / high:.3g} to {even / low:.3g} would do it"
        )


def _load(run: Run, start: str, config: Training) -> tuple[PreTrainedModel, Encoder, Training]:
    """The model to start from, what encodes for it, and the settings with ``auto`` decided for it."""
    model, tokenizer = load_model(start, precision=config.dtype), load_tokenizer(start)
    if model.device.type == "cpu" and (reason := find_reason()):
        run.log(reason)
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and config.limits.max_length > longest:
        raise DataError(
            f"limits.max_length {config.limits.max_length} is above the {longest} positions of {start}; set it to at "
            f"most {longest}"
        )
    if config.resize_embeddings and (grown := fit_vocabulary(base_model(model), tokenizer)):
        run.note(embeddings_added=grown)
        trained = config.lora is None or config.lora.modules_to_save
        frozen = "" if trained else "; the adapter does not train them: name them in lora.modules_to_save"
        run.log(f"{grown:,} embeddings were added, so that every token of the tokenizer has one{frozen}")
    config = decide(run, config, model, start)
    encoder = Encoder(tokenizer, config.limits, run.tally("encode"))
    for line in encoder.template.notes():
        run.log(line)
    return model, encoder, config


def _load_reference(source: str, encoder: Encoder, config: Training) -> PreTrainedModel:
    """A reference that is not the start. The ids of one tokenizer must mean the same to both."""
    if load_tokenizer(source).get_vocab() != encoder.tokenizer.get_vocab():
        raise ConfigError(f"the reference {source} has another tokenizer than the policy; it must have the same one")
    model = load_model(source, precision=config.dtype)
    if config.resize_embeddings:
        fit_vocabulary(base_model(model), encoder.tokenizer)
    model.eval()
    return model


def _with_adapter(model: PreTrainedModel, config: Training, seed: int) -> PreTrainedModel:
    policy = model if config.lora is None else add_adapter(model, config.lora, seed)
    if config.computing != "float32":
        take_inputs_as_they_are(policy)
    return policy


def _with_references(
    run: Run,
    model: PreTrainedModel,
    sides: tuple[list[Item], list[Item]],
    order: list[list[Item]],
    objective: Objective,
    start: str,
    config: Training,
    encoder: Encoder,
) -> tuple[list[Item], list[Item]]:
    """Items to train on and items held out, with what the loss needs of the reference, computed once."""
    if config.computing == "float32":
        compute = partial(all_sums, model, settings=config, pad_id=encoder.pad_id)
        items, held = (_with_reference(run, items, objective, start, config, compute) for items in sides)
        return items, held
    # In half precision a number depends on its pass, so the passes are those of training's first epoch.
    items, held = sides
    taken = {id(item.group) for batch in order for item in batch}  # a mixture may leave some out
    order = [*order, *_cut([item for item in items if id(item.group) not in taken], config.batch_size)]
    items, held = (
        _with_batch_reference(run, model, part, batches, objective, start, config, encoder.pad_id)
        for part, batches in ((items, order), (held, _cut(held, config.batch_size)))
    )
    return items, held


def _with_batch_reference(
    run: Run,
    model: PreTrainedModel,
    items: list[Item],
    batches: list[list[Item]],
    objective: Objective,
    start: str,
    config: Training,
    pad_id: int,
) -> list[Item]:
    if not {"reference", "prefix"} & set(needs(objective)):
        return items
    groups = [[item.group, *([item.mismatched.group] if item.mismatched else [])] for item in items]
    numbers = {id(item.group): number for number, item in enumerate(items)}
    passes = [[numbers[id(item.group)] for item in batch] for batch in batches]
    compute = partial(batch_sums, model, items, batches, config, pad_id)
    found = []
    for item, sums in zip(items, kept_batch_sums(run, start, groups, config, passes, compute), strict=True):
        count = len(item.group.completions)
        prefix = sums[count : 2 * count] if count > 1 else ()
        other = item.mismatched and replace(item.mismatched, reference=sums[-len(item.mismatched.group.completions) :])
        found.append(replace(item, reference=sums[:count], prefix_reference=prefix, mismatched=other))
    return found


def _with_reference(
    run: Run,
    items: list[Item],
    objective: Objective,
    start: str,
    config: Training,
    compute: Callable[[Sequence[PromptGroup]], list[tuple[float, ...]]],
) -> list[Item]:
    groups = [item.group for item in items]
    if "reference" in needs(objective):
        others = [item.mismatched.group for item in items if item.mismatched]
        sums = kept_sums(run, start, [*groups, *others], config, compute)
        items = [replace(item, reference=of) for item, of in zip(items, sums, strict=False)]
        if others:
            items = [
                replace(item, mismatched=Item(group, reference=of))
                for item, group, of in zip(items, others, sums[len(items) :], strict=True)
            ]
    if "prefix" in needs(objective):
        cut = [_common(group) for group in groups]
        sums = kept_sums(run, start, cut, config, compute)
        items = [replace(item, prefix_reference=of) for item, of in zip(items, sums, strict=True)]
    return items


def _common(group: PromptGroup) -> PromptGroup:
    """The group with its completions cut to the tokens that count in the shortest."""
    marks = group.trained or tuple([True] * len(completion) for completion in group.completions)
    shortest = min(map(sum, marks))
    ends = [next(n for n, count in enumerate(accumulate(own), 1) if count == shortest) for own in marks]
    cut = tuple(completion[:end] for completion, end in zip(group.completions, ends, strict=True))
    kept = tuple(own[:end] for own, end in zip(marks, ends, strict=True))
    return PromptGroup(group.prompt, cut, kept if group.trained else None)


def _options(
    run: Run, config: Training, model: PreTrainedModel, encoder: Encoder, data: Items, seed: int
) -> dict[str, object]:
    """What all trainers are made of."""
    collator = Collator(config, encoder.pad_id)
    say_engine(run, config, [item.group for item in data.items])
    if config.engine == "packed":
        if config.self_check:
            _self_check(model, data.items[: config.batch_size], config, encoder)
        use_packed(base_model(model))
    return {
        "model": model,
        "args": training_arguments(run, config, seed),
        "train_dataset": data,
        "data_collator": collator,
        "processing_class": encoder.tokenizer,
        "optimizer_cls_and_kwargs": optimizer_of(config, model, seed),
    }


def _self_check(model: PreTrainedModel, items: Sequence[Item], config: Training, encoder: Encoder) -> None:
    """Compare the packed engine with the padded one on the first items.

    Raises:
        RunError: if they differ.
    """
    groups = [item.group for item in items]
    if config.share_prompts:
        groups, _ = merge_groups(groups, config.tokens)
    padded = config.model_copy(update={"engine": "padded", "max_tokens": None, "micro_batch_size": 1})
    ours, plainly = (all_sums(model, groups, settings, encoder.pad_id) for settings in (config, padded))
    for group, one, other in zip(groups, ours, plainly, strict=True):
        for completion, a, b in zip(group.completions, one, other, strict=True):
            if abs(a - b) > _CHECK * len(completion):
                raise RunError(
                    f"the packed engine gives {a:.5f} where the padded one gives {b:.5f}; set engine: padded"
                )


def _train(
    run: Run,
    config: Training,
    trainer: UpdateTrainer,
    encoder: Encoder,
    held_out: list[Item],
    mixture: Mixture | None,
    resume_from: Path | None,
    *,
    save: partial[None],
    start: str,
) -> Path:
    fit(run, trainer, config, held_out, resume_from)
    if mixture is not None:
        measured = measure_sources(trainer, held_out, mixture.names)
        run.note(sources={name: of | measured.get(name, {}) for name, of in run.summary["sources"].items()})
    path = run.path / "model"
    if isinstance(trainer.model, PreTrainedModel):
        say_rounding(run, trainer.model, start, save.keywords["dtype"])
    save(trainer.model, encoder, path)
    return path


def _save(model: PreTrainedModel, encoder: Encoder, path: Path, *, dtype: torch.dtype | None) -> None:
    """What is left at the end; the trial before the first update saves the same."""
    leave_packed(base_model(model))
    name_stops(base_model(model), encoder.tokenizer)
    save_model(model, encoder.tokenizer, path, dtype=dtype)

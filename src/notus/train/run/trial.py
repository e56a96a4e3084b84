"""The trial of a training, before anything costs time: a batch goes forward and backward, on a CPU one of two rows, and
what will be saved at the end is saved once and loaded again.

A model that trains can still lose its end: transformers refuses generation settings, weights are tied otherwise than
the configuration says, a tokenizer has ids without an embedding, an adapter comes back without its added tokens, the
disk is full. Each of these is found here, before the reference pass and the first update, and is one line. What is
saved lies in a hidden folder of the run directory, on the disk that the model will be written to, and is removed again.
Nothing is updated, and no random number is drawn that training would draw.

Owns what is tried and what counts as the same. How a model is saved and loaded is owned by ``engine.load`` and
``train.ranker``; the loop of the training by ``fit``.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoModelForCausalLM,
    MistralConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.trainer_utils import align_special_tokens

from notus.core.errors import ConfigError, InputError, check_space, format_bytes, system_error
from notus.core.run import Run
from notus.engine.adapters import adapter_weights, add_adapter, base_model, check_targets
from notus.engine.attention import packed
from notus.engine.files.memory import check_memory
from notus.engine.files.pretrained import build_from_config, read_config
from notus.engine.files.sound import check_ids as find_lost_ids
from notus.engine.load import load_model, load_tokenizer
from notus.engine.settings import Lora, Shape
from notus.engine.text.encoder import Encoder
from notus.train.batches import Collator, Item, autocast, completion_sums
from notus.train.moments import Every
from notus.train.run.checkpoints import BYTES
from notus.train.settings import Training

__all__ = [
    "Saving",
    "check_ids",
    "check_training_memory",
    "count_trained",
    "try_backward",
    "try_policy",
    "try_saving",
    "try_targets",
]

WHOLE = 2 * 2**30
"""Bytes of weights up to which a model is saved whole and loaded again; of a larger one a part of its weights is
written and read back."""
_FOLDER = ".trial"
_ROOM = 1.05
"""What is written takes so many times the bytes of its weights: tokenizer, settings, the file system's own blocks."""
_SAME = 1e-3
"""Largest difference of two logits that count as the same, as a share of the largest logit."""
_MOVE = 0.02
"""Standard deviation of what an adapter's weights are moved by while it is tried."""
_TOKENS = 64
"""Of one row, whose logits are compared."""
_FAILURES = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,
    SafetensorError,
)
"""What transformers, peft and safetensors raise where they cannot write or read a model: there is no common base."""
_STOPPED = (ValueError, RuntimeError, IndexError, NotImplementedError)
"""What transformers and PyTorch raise where a model cannot compute."""
_KEPT_APART = frozenset(
    ["_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "_attn_implementation_autoset"]
)
"""Of a configuration: what says where it is from and how it is kept, and nothing of the model."""


@dataclass(frozen=True)
class Saving:
    """How a model is saved at the end, and loaded by the steps that come after."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    name: str
    """What training started from, for errors."""
    save: Callable[[Path], None]
    """Write all of it into a folder."""
    load: Callable[[str], tuple[Any, PreTrainedTokenizerBase]]
    """Read it back from there."""
    answer: Callable[[Any], torch.Tensor]
    """What a model makes of one row: logits or scores."""
    checkpoints: int = 0
    """How many checkpoints lie beside each other while one is replaced; 0 where none is written."""


def try_targets(start: str | Shape, lora: Lora) -> None:
    """Try an adapter on a model without weights, which is built from its configuration on the meta device.

    Args:
        start: a folder, a hub id whose configuration is in the cache, or the shape of a model that is made.
        lora: the adapter.

    Raises:
        ConfigError: if the adapter does not fit, or there is no such configuration.
    """
    if isinstance(start, Shape):
        made: Any = MistralConfig(
            vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
        )
    else:
        made = read_config(start, local_files_only=True)
    with torch.device("meta"):
        model = build_from_config(AutoModelForCausalLM, made, str(start))
    check_targets(model, lora)


def try_policy(
    run: Run,
    config: Training,
    model: PreTrainedModel,
    encoder: Encoder,
    items: Sequence[Item],
    *,
    save: Callable[[Any, Encoder, Path], None],
    start: str,
    seed: int,
) -> None:
    """Try the training of a language model: one batch forward and backward, then saving and loading.

    The model is left as it was: in evaluation mode, without gradients, and without the adapter that was tried on it.

    Args:
        model: as it was loaded; an adapter that the settings ask for is put on it for the trial.
        encoder: of what is trained on; its tokenizer is saved too.
        items: what is trained on.
        save: what writes the trained model at the end.
        start: what the model was loaded from, for errors.
        seed: of the adapter.

    Raises:
        InputError: if anything would fail later, with the reason.
    """
    if not items:
        return
    tokenizer = encoder.tokenizer
    check_ids(base_model(model), tokenizer, _rows(items), start)
    collate = Collator(config, encoder.pad_id)
    longest = _batch_to_try(items, config.batch_size, on_cpu=model.device.type == "cpu")
    forward = max(collate(longest)["batch"].forwards, key=lambda each: sum(item.group.tokens for item in each.items))
    row = max(_rows(longest), key=len)[:_TOKENS]

    def loss(tried: Any) -> torch.Tensor:
        with autocast(tried.device, config):
            found = completion_sums(tried, forward)
        return -found.sums.sum() / found.tokens.sum()

    def answer(tried: Any) -> torch.Tensor:
        return torch.as_tensor(tried(input_ids=torch.tensor([row], device=tried.device), use_cache=False).logits[0])

    align_special_tokens(model, tokenizer)  # as the Trainer does, and what it changes must be saved too
    with _adapted(model, config, seed) as policy:
        check_training_memory(policy, start)
        with packed(base_model(policy)) if config.engine == "packed" else nullcontext():
            try_backward(policy, loss, start, checkpointing=config.activation_checkpointing)
        saving = Saving(
            policy,
            tokenizer,
            start,
            save=lambda folder: save(policy, encoder, folder),
            load=lambda folder: (load_model(folder, precision=config.dtype), load_tokenizer(folder)),
            answer=answer,
            checkpoints=0 if Every.read(config.save_every).unit == "never" else 2,
        )
        try_saving(run, saving)


def _batch_to_try(items: Sequence[Item], size: int, *, on_cpu: bool) -> list[Item]:
    """On an accelerator the batch that takes most memory, which runs out there with an error. On a CPU the longest and
    the shortest row: they are packed or padded as all are, and take a fraction of the time."""
    ordered = sorted(items, key=lambda item: -item.group.tokens)
    return [ordered[0], *ordered[1:][-1:]] if on_cpu else ordered[:size]


def _rows(items: Iterable[Item]) -> Iterator[list[int]]:
    """Each completion behind its prompt."""
    return ([*item.group.prompt, *completion] for item in items for completion in item.group.completions)


def check_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Iterable[Sequence[int]], start: str
) -> None:
    """Make sure that every token has an embedding: without one, training would stop when its row comes.

    Raises:
        ConfigError: if one has none.
    """
    size = model.get_input_embeddings().weight.shape[0]
    if max(tokenizer.get_vocab().values(), default=0) >= size:
        remedy = (
            f"set resize_embeddings: true, which adds what is missing up to {len(tokenizer):,}, or take the tokenizer "
            "that belongs to it"
        )
        find_lost_ids(model, tokenizer, rows, start, remedy)


def try_backward(model: Any, loss: Callable[[Any], torch.Tensor], start: str, *, checkpointing: bool = False) -> None:
    """One batch forward and backward, as training does it, without an update.

    Args:
        model: to be trained; left in evaluation mode and without gradients.
        loss: of the batch.
        start: what it was loaded from, for errors.
        checkpointing: whether activations are computed again, as in the training.

    Raises:
        InputError: if it fails, there is nothing to train, or the loss or a gradient is no finite number.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    if not trained:
        raise ConfigError(f"nothing of {start!r} can be trained: all of its weights are frozen")
    plain = base_model(model) if isinstance(model, PeftModel | PreTrainedModel) else model
    try:
        with _undisturbed(model):
            if checkpointing:
                plain.activation_checkpointing_enable()
            model.train()
            found = loss(model)
            if not torch.isfinite(found):
                raise InputError(
                    f"the loss of the first batch is {found.item()} before any update: {start!r} has weights that are "
                    "no finite numbers, or the precision is too narrow for it; get the model anew"
                )
            found.float().backward()
    except torch.OutOfMemoryError:
        raise InputError(
            f"one batch of {start!r} does not fit into the memory of {model.device}; lower max_tokens (packed) or "
            "micro_batch_size (padded), or set activation_checkpointing: true, or train a lora"
        ) from None
    except _STOPPED as error:
        raise InputError(f"one batch cannot be trained on with {start!r}: {_line(error)}") from None
    finally:
        if checkpointing:
            plain.activation_checkpointing_disable()
        reached = any(weight.grad is not None for weight in trained)
        model.zero_grad(set_to_none=True)
        model.eval()
    if not reached:
        raise ConfigError(f"no weight of {start!r} gets a gradient from a batch; nothing would be learnt")


def try_saving(run: Run, saving: Saving) -> None:
    """Save what will be saved, load it again, and compare; what was done is noted in the run.

    Raises:
        InputError: if the model cannot be saved or loaded, or comes back as another.
        RunError: if the disk is too full.
    """
    size = _bytes_saved(saving.model)
    kept = saving.checkpoints * BYTES * count_trained(saving.model)
    check_space(run.path, _ROOM * (size + kept), "the model and its checkpoints" if kept else "the model")
    folder = run.path / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    whole = _bytes(base_model(saving.model) if isinstance(saving.model, PeftModel) else saving.model) <= WHOLE
    try:
        with _undisturbed(saving.model), _moved(saving.model):
            told = _try_whole(saving, folder) if whole else _try_part(saving, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    run.log(f"trial: a batch forward and backward (on a CPU one of two rows); {told}")
    run.note(
        tried="saved and loaded again" if whole else f"saved in part ({format_bytes(WHOLE)} of weights) and read again"
    )


def _try_whole(saving: Saving, folder: Path) -> str:
    """Save all, load it as any later step does, and compare what it computes."""
    _guard(saving, "saved", lambda: saving.save(folder))
    made = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    model, tokenizer = _guard(saving, "loaded again after it was saved", lambda: saving.load(str(folder)))
    _compare_tokenizers(saving, tokenizer)
    changed = _changed_settings(saving.model, model)
    with torch.no_grad():
        before, after = (saving.answer(each.eval()).float() for each in (saving.model, model))
    if before.shape != after.shape:
        raise _lost(saving, f"it gives {tuple(after.shape)} numbers for a row where it gave {tuple(before.shape)}")
    difference = float((before - after).abs().max())
    scale = max(1.0, float(before.abs().max()))
    if not difference <= _SAME * scale:
        raise _lost(
            saving,
            f"its outputs differ by {difference:.3g}, so that some weights are not saved or loaded as they are "
            f"({_say_ties(saving.model)})",
        )
    return f"saved {format_bytes(made)} and loaded it again, outputs within {difference:.2g}" + (
        f"; the configuration comes back with another {', '.join(changed)}" if changed else ""
    )


def _try_part(saving: Saving, folder: Path) -> str:
    """Save the settings, the tokenizer and a part of the weights, and read all of it back, without a second model.

    Shared weights come first, as it is they that cannot be saved; then the smallest, up to ``WHOLE`` bytes.
    """
    model = saving.model
    if isinstance(model, PeftModel):
        weights = adapter_weights(model)
        _guard(saving, "saved", lambda: saving.save(folder))
    else:
        weights = _part_of(model)
        _guard(saving, "saved", lambda: _save_part(saving, weights, folder))
    tokenizer = _guard(saving, "loaded again after it was saved", lambda: load_tokenizer(str(folder)))
    _compare_tokenizers(saving, tokenizer)
    read = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  it is no mapping
                if name in weights and not torch.equal(file.get_tensor(name), weights[name].cpu()):
                    raise _lost(saving, f"the weight {name} is another after it was written")
                read += name in weights
    if not read:
        raise _lost(saving, "none of its weights is found again by its name")
    return (
        f"saved the settings, the tokenizer and {read:,} weights, and read them again; the model is too large for more"
    )


def _save_part(saving: Saving, weights: dict[str, torch.Tensor], folder: Path) -> None:
    saving.model.save_pretrained(folder, state_dict=dict(weights))
    saving.tokenizer.save_pretrained(folder)


def _part_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Weights by name: those that share memory, and then the smallest that fit."""
    weights = model.state_dict()
    places: dict[int, list[str]] = {}
    for name, tensor in weights.items():
        places.setdefault(tensor.untyped_storage().data_ptr(), []).append(name)
    shared = {name for names in places.values() if len(names) > 1 for name in names}
    room = WHOLE
    part: dict[str, torch.Tensor] = {}
    for name, tensor in sorted(weights.items(), key=lambda item: (item[0] not in shared, item[1].nbytes)):
        if name in shared or tensor.nbytes <= room or not part:
            part[name] = tensor
            room -= tensor.nbytes
    return part


def _compare_tokenizers(saving: Saving, after: PreTrainedTokenizerBase) -> None:
    before = saving.tokenizer
    if before.get_vocab() != after.get_vocab():
        lost = sorted(before.get_vocab().keys() ^ after.get_vocab().keys())
        raise _lost(saving, f"its tokenizer has {len(lost):,} other tokens, for example {lost[:1]}")
    for name in ("chat_template", "eos_token_id", "bos_token_id"):
        if getattr(before, name) != getattr(after, name):
            raise _lost(saving, f"its tokenizer has another {name.removesuffix('_id').replace('_', ' ')}")


def _changed_settings(before: Any, after: Any) -> list[str]:
    """Names of settings of the configuration that come back as others."""
    first, second = ({**base_model(each).config.to_dict()} for each in (before, after))
    keys = (first.keys() | second.keys()) - _KEPT_APART
    return sorted(key for key in keys if repr(first.get(key)) != repr(second.get(key)))


def _guard(saving: Saving, done: str, work: Callable[[], Any]) -> Any:
    """Do it, and tell a failure in one line."""
    try:
        return work()
    except InputError as error:
        raise InputError(
            f"{saving.name!r} cannot be {done}, so that training would end without a model: {error}"
        ) from None
    except _FAILURES as error:
        if (refused := system_error(error, f"{saving.name!r} cannot be {done}")) is not None:
            raise refused from None
        raise InputError(
            f"{saving.name!r} cannot be {done}, so that training would end without a model: {_line(error)}"
        ) from None


def _lost(saving: Saving, what: str) -> InputError:
    return InputError(
        f"{saving.name!r} comes back from the disk as another model than is trained: {what}; mend it, or start from "
        "another"
    )


def _say_ties(model: Any) -> str:
    plain = base_model(model)
    tied = bool(getattr(plain.config.get_text_config(), "tie_word_embeddings", False))
    return f"tie_word_embeddings is {str(tied).lower()} in its config.json"


def _line(error: BaseException) -> str:
    """An error of a library in one line that can be read."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 300 else f'{text[:300]}…'}"


@contextmanager
def _adapted(model: PreTrainedModel, config: Training, seed: int) -> Iterator[Any]:
    """The model with the adapter that will be trained, and behind it the model as it was."""
    if config.lora is None:
        yield model
        return
    ends = model.get_input_embeddings(), model.get_output_embeddings()
    trained = [weight.requires_grad for weight in model.parameters()]
    # PiSSA takes a part out of the weights.
    before = [weight.detach().clone() for weight in model.parameters()] if config.lora.init == "pissa" else None
    policy = add_adapter(model, config.lora, seed)
    try:
        yield policy
    finally:
        policy.unload()
        # Of a module that is trained whole, peft leaves its own copy.
        model.set_input_embeddings(ends[0])
        if ends[1] is not None:
            model.set_output_embeddings(ends[1])
        for weight, was in zip(model.parameters(), trained, strict=True):
            weight.requires_grad_(was)
        if before is not None:
            with torch.no_grad():
                for weight, kept in zip(model.parameters(), before, strict=True):
                    weight.copy_(kept)


@contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """Dropout and loading draw random numbers, and training shall draw what it draws without a trial."""
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        yield


@contextmanager
def _moved(model: Any) -> Iterator[None]:
    """The weights of an adapter moved a little, as training moves them: those of a fresh one change nothing, so that
    nobody would see that some are not saved."""
    if not isinstance(model, PeftModel):
        yield
        return
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    before = [weight.detach().clone() for weight in weights]
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in weights:
            weight.add_(_MOVE * torch.randn(weight.shape, generator=draw).to(weight))
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, was in zip(weights, before, strict=True):
                weight.copy_(was)


def _bytes(model: Any) -> int:
    """Bytes of the weights, each once."""
    return sum({weight.data_ptr(): weight.nbytes for weight in model.parameters()}.values())


def check_training_memory(model: Any, start: str) -> None:
    """Make sure that what is trained has memory for its gradients and the two moments of its optimiser, on a CPU.

    Raises:
        RunError: if there is not as much.
    """
    if next(model.parameters()).device.type == "cpu":
        needed = sum(
            (weight.element_size() + 8) * weight.numel() for weight in model.parameters() if weight.requires_grad
        )
        check_memory(needed, f"the training of {start}", "free some, train a lora, or take a smaller model")


def count_trained(model: Any) -> int:
    """Numbers that are trained."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def _bytes_saved(model: Any) -> int:
    if isinstance(model, PeftModel):
        return sum(tensor.nbytes for tensor in adapter_weights(model).values())
    return _bytes(model)

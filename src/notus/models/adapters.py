"""Low-rank adapters (LoRA, DoRA): put one on a model, save and load it, take it off, merge it.

Owns where an adapter's base is found and what an adapter must be for the reference to be its base. The mathematics of
the layers is peft's. peft replaces linear layers inside the model that it is given, so the plain model below, which the
kernels of log-probabilities call, computes with the adapter too.

An adapter folder names its base in ``adapter_config.json``: a hub id, or a path from the adapter folder, so that a tree
of runs can be moved as a whole.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from notus.core.errors import ConfigError, nearest
from notus.models.layers import quicken
from notus.models.pretrained import check_source, is_adapter, no_bars, read_model, read_tokenizer
from notus.models.settings import Lora

__all__ = [
    "adapter_tokenizer",
    "add_adapter",
    "base_of",
    "is_adapter",
    "load_adapter",
    "merge",
    "save_adapter",
    "unwrapped",
    "without_adapter",
]

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_READABLE: dict[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "orthogonal"),
    "alora_invocation_tokens": (None,),
}
"""Settings of an adapter under which its base with the adapter off is its base: others train biases or rewrite it."""


def add_adapter(model: PreTrainedModel, settings: Lora, seed: int) -> PeftModel:
    """Put a fresh adapter on a model, in place, and freeze the model; the adapter alone can be trained.

    A is drawn (Kaiming uniform) and B is zero: before the first update the policy computes what the model computed. The
    random state of the process stays as it was.

    Args:
        model: a plain causal language model.
        settings: of the adapter.
        seed: of A.

    Returns:
        The model with the adapter, in evaluation mode.

    Raises:
        ConfigError: if a target is no linear layer of the model, or the model has an adapter already.
    """
    if hasattr(model, "peft_config"):
        raise ConfigError(
            "the model to start from has an adapter already; train on from it without 'lora', or make it a plain "
            "model first: notus merge ADAPTER --out DIR"
        )
    if settings.targets != "all-linear":
        _check_targets(model, settings.targets)
    options: dict[str, Any] = {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": settings.targets if settings.targets == "all-linear" else list(settings.targets),
        "use_dora": settings.dora,
    }
    # peft draws on the CPU, wherever the model is: a seed gives the same adapter on every machine.
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.default_generator.manual_seed(seed)
        adapted: PeftModel = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
    adapted.eval()
    return quicken(adapted)


def save_adapter(model: PeftModel, path: Path) -> None:
    """Write an adapter, without its base, as peft does; equal adapters give equal bytes.

    Raises:
        ConfigError: if the base was never saved, so that nothing could be named as the base.
    """
    base = unwrapped(model).name_or_path
    if not base:
        raise ConfigError("the base of this adapter was never saved; save it, load it, and add the adapter then")
    path.mkdir(parents=True, exist_ok=True)
    # "auto" would ask the hub whether the vocabulary has grown; adapters here never hold embeddings.
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path / _WEIGHTS, {"format": "pt"})
    settings = {
        **{key: sorted(v) if isinstance(v, set) else v for key, v in model.active_peft_config.to_dict().items()},
        "base_model_name_or_path": _from_folder(path, base),
        "inference_mode": True,
    }
    (path / _CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_adapter(folder: Path, *, trainable: bool, dtype: torch.dtype | str = torch.float32) -> PeftModel:
    """Load an adapter with its base, in evaluation mode on the CPU. The base is frozen.

    Args:
        folder: what ``save_adapter`` or peft wrote, with safetensors.
        trainable: whether the adapter can be trained on.
        dtype: of the base; the adapter is in fp32 at least. ``"auto"`` takes the one that the base is stored in.

    Raises:
        ConfigError: if the adapter cannot be read, its base is not there, or the two do not belong together.
    """
    settings = _settings(folder)
    stored = _weight_names(folder)
    base = read_model(base_of(folder), dtype=dtype, revision=settings.get("revision"))
    config = LoraConfig.from_pretrained(str(folder))
    try:
        with _quiet():
            model: PeftModel = PeftModel.from_pretrained(
                base, str(folder), config=config, is_trainable=trainable, torch_device="cpu"
            )
        made = get_peft_model_state_dict(model, save_embedding_layers=False).keys()
    except (RuntimeError, ValueError) as error:
        raise _mismatch(folder, str(error).strip().splitlines()[-1].strip()) from None
    # peft leaves weights that it does not find at their start value, and skips those that it does not know.
    if odd := sorted(made ^ stored):
        raise _mismatch(folder, f"{len(odd)} weights are in one of them only, for example {odd[0]}")
    model.eval()
    return quicken(model)


def adapter_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that lies with an adapter, and otherwise that of its base.

    Raises:
        ConfigError: if it cannot be read.
    """
    own = (folder / "tokenizer_config.json").is_file()
    return read_tokenizer(str(folder) if own else base_of(folder))


def base_of(folder: Path) -> str:
    """The base of an adapter: a folder that is there, or a hub id.

    A path that begins with a dot is taken from the adapter folder; any other name means what it means to peft.

    Raises:
        ConfigError: if the adapter cannot be read, or its base is not there.
    """
    name = _settings(folder).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{folder / _CONFIG} names no base in 'base_model_name_or_path'; write its path there")
    source = str((folder / name).resolve()) if name.startswith(".") else name
    try:
        check_source(source)
    except ConfigError:
        raise ConfigError(
            f"the adapter {folder} needs its base {name!r}, which is not at {source}; move it back there, or write "
            f"where it is into 'base_model_name_or_path' of {folder / _CONFIG}"
        ) from None
    return source


def merge(folder: Path, out: Path) -> Path:
    """Merge an adapter into its base and write the plain model with the adapter's tokenizer, as safetensors.

    The weights keep the precision in which the base is stored: of a base in bf16 the sum is rounded to bf16.

    Returns:
        ``out``.

    Raises:
        ConfigError: if ``folder`` is no adapter, it cannot be read or is not finite, or ``out`` holds something.
    """
    if not is_adapter(folder):
        raise ConfigError(f"{folder} is no adapter folder: it has no {_CONFIG}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already and not empty; name another --out")
    tokenizer = adapter_tokenizer(folder)
    try:
        plain = load_adapter(folder, trainable=False, dtype="auto").merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise ConfigError(f"cannot merge {folder}: {error}") from None
    with no_bars():
        plain.save_pretrained(out)
        tokenizer.save_pretrained(out)
    return out


@contextmanager
def without_adapter(model: PeftModel) -> Iterator[PreTrainedModel]:
    """The reference: the base with its adapter off and all dropout off, for as long as the block lasts.

    Afterwards each layer is in training mode, and each weight trainable, as it was before. Of an adapter that was
    trained on from another, the base is *not* what it started from.

    Yields:
        The plain model.
    """
    training = [module for module in model.modules() if module.training]
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    model.eval()
    try:
        with model.disable_adapter():
            yield unwrapped(model)
    finally:
        for module in training:
            module.training = True
        # peft makes every weight of an adapter trainable that it switches on again.
        model.requires_grad_(False)
        for weight in trainable:
            weight.requires_grad_(True)


def unwrapped(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The plain transformers model; where there is an adapter, its layers are inside and stay on."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _check_targets(model: PreTrainedModel, targets: tuple[str, ...]) -> None:
    head = model.get_output_embeddings()
    tied = bool(model.config.tie_word_embeddings)
    linear = [
        n for n, module in model.named_modules() if isinstance(module, nn.Linear) and not (tied and module is head)
    ]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            known = {name.rpartition(".")[2] for name in linear}
            raise ConfigError(
                f"lora.targets: '{target}' is no linear layer of the model that can have an adapter; "
                f"{nearest(target, known)}"
            )


def _from_folder(folder: Path, base: str) -> str:
    """A hub id as it is, a path as seen from the folder."""
    if not Path(base).exists():
        return base
    relative = os.path.relpath(Path(base).resolve(), folder.resolve())
    return relative if relative.startswith(".") else f"./{relative}"


def _settings(folder: Path) -> Mapping[str, Any]:
    path = folder / _CONFIG
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{path} is no valid JSON; copy the adapter again") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} holds no settings; copy the adapter again")
    for key, allowed in _READABLE.items():
        if settings.get(key, allowed[0]) not in allowed:
            raise ConfigError(
                f"{path}: '{key}' is {settings[key]!r}; only {' or '.join(map(repr, allowed))} can be used, because "
                "otherwise the base with the adapter off is not the base"
            )
    return settings


def _weight_names(folder: Path) -> set[str]:
    try:
        with safe_open(folder / _WEIGHTS, framework="pt") as file:
            return set(file.keys())
    except OSError:
        raise ConfigError(f"{folder} holds no {_WEIGHTS}; only safetensors are read") from None
    except SafetensorError as error:
        raise ConfigError(f"cannot read {folder / _WEIGHTS}: {error}; copy the adapter again") from None


def _mismatch(folder: Path, reason: str) -> ConfigError:
    return ConfigError(f"the adapter {folder} does not fit its base {base_of(folder)}: {reason}")


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 for activation checkpointing by its older name.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        # It only warns of weights that are not there; load_adapter refuses the adapter.
        warnings.filterwarnings("ignore", message="Found missing adapter keys")
        yield

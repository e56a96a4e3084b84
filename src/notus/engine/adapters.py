"""Low-rank adapters: put one on a model, read one onto its base, save it, merge it.

Owns that whatever is saved can be read by plain peft. Where an adapter's base is found is owned by ``bases``.
Adapters (LoRA, rsLoRA, DoRA, PiSSA) are peft's, with its mathematics. peft replaces layers inside the model that it is
given, so the plain model below (``base_model``), which the kernels of log-probabilities call, computes with the adapter
too. Reading the base's own weights is in ``load``.

An adapter folder names its base in ``adapter_config.json``, as peft wants it: a hub id or an absolute path, so that
peft finds it from anywhere. ``notus_base.json`` beside it says where the base lies as seen from the folder, so that a
tree of runs can be moved or copied as a whole.
"""

import json
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.utils.other import AuxiliaryTrainingWrapper
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from notus.core.errors import ConfigError, InputError, nearest
from notus.core.text import HubId
from notus.engine.bases import CONFIG, PLACE, base_of, read_adapter_settings
from notus.engine.cpu.layers import use_fast_layers
from notus.engine.files.folder import bad_file, read_header
from notus.engine.files.pretrained import read_config, reading
from notus.engine.files.sound import check_finite, check_floating
from notus.engine.settings import Lora

__all__ = [
    "adapter_weights",
    "add_adapter",
    "attach_adapter",
    "base_model",
    "check_targets",
    "embedding_rows",
    "fast_layers",
    "merged",
    "save_adapter",
    "take_inputs_as_they_are",
]

_Model = TypeVar("_Model", bound=nn.Module)
_WEIGHTS = "adapter_model.safetensors"


def fast_layers(model: _Model) -> _Model:
    """The model with the kernels of the CPU in its layers, where the CPU is what computes."""
    return model if torch.accelerator.is_available() else use_fast_layers(model)


def base_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The plain transformers model; where there is an adapter, its layers are inside and stay on."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def check_targets(model: PreTrainedModel, settings: Lora) -> None:
    """Make sure that a model has what an adapter is asked for. The weights may be on the meta device.

    Raises:
        ConfigError: if a target is no layer that can have an adapter, or another name is not in the model.
    """
    if settings.targets != "all-linear":
        layers = {
            name for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D, nn.Embedding))
        }
        _check_names("lora.targets", settings.targets, layers, "layer of the model that can have an adapter")
    modules = {name for name, _ in model.named_modules() if name}
    _check_names("lora.modules_to_save", settings.modules_to_save, modules, "module of the model")
    weights = {name for name, _ in model.named_parameters()}
    _check_names("lora.target_parameters", settings.target_parameters, weights, "parameter of the model")


def take_inputs_as_they_are(model: PeftModel | PreTrainedModel) -> None:
    """Have adapters compute under autocast with what they are given, not with a copy of it in their own type.

    Autocast rounds the copy back, so that the numbers are the same; each adapted layer would keep one. Without autocast
    such a model cannot compute where its base is in half precision.
    """
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False


def add_adapter(model: PreTrainedModel, settings: Lora, seed: int) -> PeftModel:
    """Put a fresh adapter on a model, in place, and freeze the model; the adapter alone can be trained.

    A is drawn (Kaiming uniform) and B is zero: before the first update the policy computes what the model computed.
    With PiSSA the adapter takes the r largest singular values out of the weight, and the sum is the weight up to
    rounding. The random state of the process stays as it was.

    Args:
        model: a plain causal language model.
        settings: of the adapter.
        seed: of A.

    Returns:
        The model with the adapter, in evaluation mode.

    Raises:
        ConfigError: if a target is not there or cannot have such an adapter, or the model has an adapter already.
    """
    if hasattr(model, "peft_config"):
        raise ConfigError(
            "the model to start from has an adapter already; train on from it without 'lora', or make it a plain "
            "model first: notus merge ADAPTER --out DIR"
        )
    check_targets(model, settings)
    if settings.init == "pissa" and {w.dtype for w in model.parameters()} != {torch.float32}:
        raise ConfigError(
            "lora.init is 'pissa', which takes a part out of the weights, and rounding would lose some of it; set "
            "dtype: float32, or leave lora.init out"
        )
    # peft draws on the CPU, wherever the model is: a seed gives the same adapter on every machine.
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.default_generator.manual_seed(seed)
        try:
            adapted: PeftModel = get_peft_model(model, _config(model, settings))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"peft cannot put the adapter on this model: {_first_line(error)}") from None
    adapted.eval()
    if settings.init == "pissa":
        # What the weights were without: ``save_adapter`` makes of it an adapter on the weights as they are stored.
        adapted.notus_first = {name: w.detach().clone() for name, w in _weights(adapted).items() if "lora_" in name}
    return fast_layers(adapted)


def attach_adapter(base: PreTrainedModel, folder: Path, *, trainable: bool) -> PeftModel:
    """Put the adapter in a folder on its base, in place; the base is frozen. In evaluation mode.

    Args:
        base: the plain model, with as many embeddings as the adapter was trained with: ``embedding_rows``.
        folder: what ``save_adapter`` or peft wrote, with safetensors.
        trainable: whether the adapter can be trained on.

    Raises:
        ConfigError: if the adapter cannot be read, or the two do not belong together.
    """
    stored = _shapes(folder)
    _check_ranks(folder, stored)
    with reading(folder, "an adapter", lambda: CONFIG):
        config = LoraConfig.from_pretrained(str(folder))
    try:
        with _quiet(), reading(folder, "an adapter", lambda: CONFIG, but=(RuntimeError, TypeError, ValueError)):
            model: PeftModel = PeftModel.from_pretrained(
                base, str(folder), config=config, is_trainable=trainable, torch_device=str(base.device)
            )
            made, most = (set(_weights(model, embeddings=also)) for also in (False, True))
    except (RuntimeError, TypeError, ValueError) as error:
        raise _mismatch(folder, str(error).strip().splitlines()[-1].strip()) from None
    # peft leaves weights that it does not find at their start value, and skips those that it does not know.
    if odd := sorted((made - stored.keys()) | (stored.keys() - most)):
        raise _mismatch(folder, f"{len(odd)} weights are in one of them only, for example {odd[0]}")
    header = read_header(folder / _WEIGHTS)
    check_floating(header)
    check_finite(_weights(model, embeddings=True).items(), str(folder), header)
    model.eval()
    return fast_layers(model)


def embedding_rows(base: PreTrainedModel, folder: Path) -> int | None:
    """How many embeddings an adapter stores, where it stores some: as many must its base have. None without any."""
    names = {name for name, module in base.named_modules() if module in (base.get_input_embeddings(), _head(base))}
    for key, shape in _shapes(folder).items():
        inner = re.sub(r"\.(token_adapter|base_layer|modules_to_save)\b", "", key.removeprefix("base_model.model."))
        if inner.removesuffix(".weight") in names:
            return shape[0]
    return None


def adapter_weights(model: PeftModel) -> dict[str, torch.Tensor]:
    """The weights of an adapter by peft's names, as they are saved.

    Embeddings are among them where they are trained, or are more or fewer than the base has where it lies. An adapter
    that began as PiSSA becomes one on the weights as they are stored, of twice the rank::

        W + B'A'  with  A' = [A; A₀], B' = [B, −B₀]

    (Meng et al. 2024, appendix C, https://arxiv.org/abs/2404.02948).
    """
    with _quiet():
        weights = _weights(model, embeddings=_resized(model))
    first: dict[str, torch.Tensor] = getattr(model, "notus_first", {})
    return {name: _on_the_weights(name, weight.detach(), first) for name, weight in weights.items()}


def save_adapter(model: PeftModel, path: Path) -> None:
    """Write an adapter, without its base, as peft does; equal adapters give equal bytes.

    Raises:
        ConfigError: if the base was never saved, so that nothing could be named as the base.
    """
    base = base_model(model).name_or_path
    if not base:
        raise ConfigError("the base of this adapter was never saved; save it, load it, and add the adapter then")
    path.mkdir(parents=True, exist_ok=True)
    weights = adapter_weights(model)
    settings = {k: sorted(v) if isinstance(v, set) else v for k, v in model.active_peft_config.to_dict().items()}
    if hasattr(model, "notus_first"):
        settings |= _twice_the_rank(settings)
    save_file({name: w.contiguous().clone() for name, w in weights.items()}, path / _WEIGHTS, {"format": "pt"})
    here = Path(base).resolve() if Path(base).exists() else None
    settings |= {"base_model_name_or_path": str(here or base), "inference_mode": True}
    on_hub = None if here else HubId.parse(base)
    if on_hub is not None and on_hub.revision:
        settings |= {"base_model_name_or_path": on_hub.name, "revision": on_hub.revision}
    _write_json(path / CONFIG, settings)
    if here is not None:
        _write_json(path / PLACE, {"base": os.path.relpath(here, path.resolve()), "peft": str(here)})


def merged(model: PeftModel) -> PreTrainedModel:
    """The plain model that computes what the base with the adapter does; the model given is used up.

    Embeddings and head that shared their weights no longer do where the adapter changes one of them.

    Raises:
        ConfigError: if the sum is not finite.
    """
    plain = base_model(model)
    if _parts(plain):
        plain.config.tie_word_embeddings = False
        head = _inner(_head(plain))
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        plain._tied_weights_keys, plain.all_tied_weights_keys = {}, {}
    try:
        found: PreTrainedModel = model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return found


def _parts(plain: PreTrainedModel) -> bool:
    """Whether embeddings and head share their weights and the adapter changes one without the other."""
    embeddings, head = plain.get_input_embeddings(), _head(plain)
    if head is None or _inner(embeddings).weight is not _inner(head).weight:
        return False
    config = next(iter(plain.peft_config.values()))
    return not config.ensure_weight_tying and (_inner(embeddings) is not embeddings or _inner(head) is not head)


def _inner(layer: Any) -> Any:
    """A layer below what peft has put around it."""
    while isinstance(layer, AuxiliaryTrainingWrapper) or hasattr(layer, "base_layer"):
        layer = layer.original_module if isinstance(layer, AuxiliaryTrainingWrapper) else layer.base_layer
    return layer


def _head(model: PreTrainedModel) -> Any:
    return model.get_output_embeddings()


def _config(model: PreTrainedModel, settings: Lora) -> LoraConfig:
    embeddings = {"embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings"}
    named = {name.rpartition(".")[2] for name in settings.modules_to_save}
    tied = bool(getattr(model.config, "tie_word_embeddings", False)) and _head(model) is not None
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=settings.targets if settings.targets == "all-linear" else list(settings.targets),
        use_dora=settings.dora,
        use_rslora=settings.rslora,
        init_lora_weights="pissa" if settings.init == "pissa" else True,
        modules_to_save=list(settings.modules_to_save) or None,
        target_parameters=list(settings.target_parameters) or None,
        # Embeddings that are trained as a whole stay those of the head, where the model has but one of both.
        ensure_weight_tying=tied and bool(embeddings & named),
    )


def _check_names(key: str, names: tuple[str, ...], known: set[str], what: str) -> None:
    for wanted in names:
        if not any(name == wanted or name.endswith(f".{wanted}") for name in known):
            last = {name.rpartition(".")[2] for name in known}
            raise ConfigError(f"{key}: '{wanted}' is no {what}; {nearest(wanted, last)}")


def _weights(model: PeftModel, *, embeddings: bool = False) -> dict[str, torch.Tensor]:
    """The weights of an adapter by peft's names. "auto" would ask the hub whether the vocabulary has grown."""
    found: dict[str, torch.Tensor] = get_peft_model_state_dict(model, save_embedding_layers=embeddings)
    return found


def _resized(model: PeftModel) -> bool:
    """Whether the model has more or fewer embeddings than its base where that lies."""
    plain = base_model(model)
    try:
        # It has been loaded, so what is on the hub lies in the cache.
        stored = read_config(plain.name_or_path, local_files_only=True).get_text_config().vocab_size
    except (InputError, AttributeError):
        return False
    return bool(stored != plain.config.get_text_config().vocab_size)


def _on_the_weights(name: str, weight: torch.Tensor, first: Mapping[str, torch.Tensor]) -> torch.Tensor:
    if name not in first:
        return weight
    if "lora_A" in name or "lora_embedding_A" in name:
        return torch.cat([weight, first[name].to(weight.device)], 0)
    if "lora_B" in name or "lora_embedding_B" in name:
        return torch.cat([weight, -first[name].to(weight.device)], 1)
    return weight


def _twice_the_rank(settings: Mapping[str, Any]) -> dict[str, Any]:
    """α/r, and α/√r of rsLoRA, stay what they were."""
    alpha = settings["lora_alpha"] * (math.sqrt(2) if settings.get("use_rslora") else 2)
    return {"r": 2 * settings["r"], "lora_alpha": alpha, "init_lora_weights": True}


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights that lie in the folder of an adapter."""
    if not (folder / _WEIGHTS).exists():
        raise ConfigError(f"{folder} holds no {_WEIGHTS}; only safetensors are read")
    return {name: weight.shape for name, weight in read_header(folder / _WEIGHTS).items()}


def _check_ranks(folder: Path, stored: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse ranks that no stored weight has: peft would make room for them."""
    settings = read_adapter_settings(folder)
    pattern = settings.get("rank_pattern") or {}
    largest = max((size for shape in stored.values() for size in shape), default=0)
    for rank in (settings.get("r", 8), *(pattern.values() if isinstance(pattern, dict) else (pattern,))):
        if not isinstance(rank, int) or isinstance(rank, bool) or not 0 < rank <= largest:
            raise bad_file(folder / CONFIG, f"a rank is {rank!r}, and no weight in {_WEIGHTS} has it")


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _mismatch(folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"the adapter {folder} does not fit its base {base_of(folder)}: {reason}; copy the adapter "
        "again, or name the base that it was trained on"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 for activation checkpointing by its older name.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        # GPT-2 keeps its matrices the other way round; peft sees that for itself.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        # It only warns of weights that are not there; attach_adapter refuses the adapter.
        warnings.filterwarnings("ignore", message="Found missing adapter keys")
        # Tied weights of which an adapter changes one: ``merged`` gives each its own.
        warnings.filterwarnings("ignore", message="(?s).*tie_word_embeddings=True")
        warnings.filterwarnings("ignore", message=".*ensure_weight_tying")
        warnings.filterwarnings("ignore", message="Could not identify embedding layer")
        yield

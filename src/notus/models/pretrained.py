"""Reading a plain model or its tokenizer from a folder or the hub, onto the device that this machine has.

Owns what can be read and how a failure is told. Does not read adapters (``models.adapters``); what the rest of Notus
calls is ``models.local``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from notus.core.errors import ConfigError, InputError
from notus.core.hub_id import HubId
from notus.models.layers import quicken

__all__ = ["check_source", "device", "is_adapter", "no_bars", "read_model", "read_tokenizer"]


def device() -> torch.device:
    """The accelerator that PyTorch sees, and otherwise the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def is_adapter(source: str | Path) -> bool:
    """Whether a source is the folder of an adapter."""
    return (Path(source) / "adapter_config.json").is_file()


def read_model(source: str, *, dtype: torch.dtype | str, revision: str | None = None) -> PreTrainedModel:
    """Read a plain causal language model, in evaluation mode on the CPU. Only safetensors are read.

    Args:
        source: a folder, or a hub id of the form owner/name.
        dtype: of the weights; ``"auto"`` takes the one that they are stored in.
        revision: of a hub id; None takes its default.

    Raises:
        ConfigError: if there is no such model, or it cannot be read.
    """
    found = {"revision": revision} if revision else {}
    options = {"dtype": dtype, "use_safetensors": True, "attn_implementation": "sdpa", "output_loading_info": True}
    model, loaded = _read(AutoModelForCausalLM, source, "config.json", **options, **found)
    # transformers fills what is missing at random and goes on.
    if missing := sorted(loaded["missing_keys"]):
        raise ConfigError(
            f"the model in {source!r} lacks {len(missing)} weights, the first is {missing[0]}; get it anew"
        )
    return quicken(model)


def read_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Read a tokenizer. Without a pad token, EOS pads.

    Raises:
        ConfigError: if there is no such tokenizer, or it cannot be read.
    """
    # The folder of an adapter holds a tokenizer and no config.json.
    tokenizer = _read(AutoTokenizer, source, "config.json", "tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def check_source(source: str) -> None:
    """Check that a name is a folder that is there, or has the form of a hub id.

    Raises:
        ConfigError: if it is neither.
    """
    if not Path(source).exists() and HubId.parse(source) is None:
        raise ConfigError(f"no model at {source!r}: it is neither a folder nor a hub id of the form owner/name")


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for each file: how the work goes on is told by who asked for it."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _read(kind: Any, source: str, *needed: str, **options: Any) -> Any:
    check_source(source)
    path = Path(source)
    if path.exists() and not any((path / name).is_file() for name in needed):
        raise InputError(f"{source} holds no model: it has no {needed[0]}")
    on_hub = None if path.exists() else HubId.parse(source)
    if on_hub is not None and on_hub.revision:
        source, options = on_hub.name, {"revision": on_hub.revision, **options}
    try:
        with no_bars():
            return kind.from_pretrained(source, **options)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"cannot load a model from {source!r}: {reason}") from None

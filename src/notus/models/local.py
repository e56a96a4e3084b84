"""Models on this machine: load one, or make a small one from scratch; choose device and precision by capability.

Owns loading, making and saving. Does not own training (``train``) or sampling (``models.generate``).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from notus.core.errors import ConfigError, InputError
from notus.models.settings import Shape
from notus.models.tokens import ZEPHYR_TEMPLATE

__all__ = ["build_model", "device", "load_model", "load_tokenizer", "save_model", "train_tokenizer"]

Precision = Literal["float32", "bfloat16"]
_CONTROL = ("<unk>", "<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>")


def device() -> torch.device:
    """The accelerator that PyTorch sees, and otherwise the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def train_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE with the control tokens and the template of Zephyr.

    Args:
        texts: the corpus. Byte-level: every text can be encoded and comes back as it was.
        size: entries, control tokens included.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(_CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, **dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), _CONTROL, strict=False))
    )
    tokenizer.chat_template = ZEPHYR_TEMPLATE
    return tokenizer


def build_model(shape: Shape, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A Mistral model of the given size with seeded random weights, in fp32 on the CPU."""
    torch.manual_seed(seed)
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            intermediate_size=shape.ffn,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=shape.positions,
            tie_word_embeddings=True,
            sliding_window=None,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Write a model as safetensors with its tokenizer, so that ``load_model`` and transformers can read it."""
    with _no_bars():
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)


def load_model(source: str, *, precision: Precision = "float32") -> PreTrainedModel:
    """Load a causal language model from a folder or a hub id, onto the accelerator where there is one.

    Raises:
        ConfigError: if there is no such model, or it cannot be read. Only safetensors are read.
    """
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    model = _read(AutoModelForCausalLM, source, dtype=dtype, use_safetensors=True, attn_implementation="sdpa")
    return model.to(device())


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model from a folder or a hub id. Without a pad token, EOS pads.

    Raises:
        ConfigError: if there is no such model, or it cannot be read.
    """
    tokenizer = _read(AutoTokenizer, source)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _read(kind: Any, source: str, **options: Any) -> Any:
    path = Path(source)
    if path.exists() and not (path / "config.json").is_file():
        raise InputError(f"{source} holds no model: it has no config.json")
    if not path.exists() and (source.count("/") != 1 or source.startswith(("/", "."))):
        raise ConfigError(f"no model at {source!r}: it is neither a folder nor a hub id of the form owner/name")
    try:
        with _no_bars():
            return kind.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"cannot load a model from {source!r}: {reason}") from None


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for each file: how the work goes on is told by who asked for it."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()

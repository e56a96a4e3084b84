"""Models on this machine: load one, or make a small one from scratch; choose device and precision by capability.

Owns loading, making and saving, of plain models and of adapters alike: whoever takes a model takes an adapter folder.
Does not own training (``train``) or sampling (``models.generate``).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from notus.models.layers import quicken
from notus.models.pretrained import device, is_adapter, no_bars, read_model, read_tokenizer
from notus.models.settings import Shape
from notus.models.tokens import ZEPHYR_TEMPLATE

__all__ = ["build_model", "device", "load_model", "load_tokenizer", "save_model", "train_tokenizer"]

Precision = Literal["float32", "bfloat16"]
_CONTROL = ("<unk>", "<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>")


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
    config = MistralConfig(
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
    return quicken(MistralForCausalLM(config))


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Write a model as safetensors with its tokenizer, so that ``load_model`` and transformers can read it.

    Of a model with an adapter, the adapter alone is written; it names its base.
    """
    with no_bars():
        if isinstance(model, PreTrainedModel):
            # A plain model that an adapter was injected into would be written under names that nothing can read.
            assert not hasattr(model, "peft_config"), "save the model that holds the adapter, not the one below it"
            model.save_pretrained(path)
        else:
            from notus.models.adapters import save_adapter

            save_adapter(model, path)
        tokenizer.save_pretrained(path)


def load_model(source: str, *, precision: Precision = "float32") -> PreTrainedModel:
    """Load a causal language model in evaluation mode, onto the accelerator where there is one.

    Args:
        source: a folder, an adapter folder, or a hub id. An adapter comes on its base, its own weights trainable.
        precision: of the weights; those of an adapter are fp32 in either.

    Raises:
        ConfigError: if there is no such model, or it cannot be read. Only safetensors are read.
    """
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    if is_adapter(source):
        from notus.models.adapters import load_adapter

        return load_adapter(Path(source), trainable=True, dtype=dtype).to(device())
    return read_model(source, dtype=dtype).to(device())


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model from a folder, an adapter folder or a hub id. Without a pad token, EOS pads.

    Raises:
        ConfigError: if there is no such model, or it cannot be read.
    """
    if is_adapter(source):
        from notus.models.adapters import adapter_tokenizer

        return adapter_tokenizer(Path(source))
    return read_tokenizer(source)

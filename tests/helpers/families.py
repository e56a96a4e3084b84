"""Tiny tokenizers and models with the chat formats of published families.

The templates are written anew: they give the strings of the published ones for user, assistant and system turns, which
``tests/engine/text/renderings.json`` holds by hand, with the source of each. Nothing of tools is in them.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from notus.engine.text.named import TEMPLATES

_ALTERNATE = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate, and a system turn is not supported') }}{% endif %}{% endfor %}"
)
_SPLIT = (
    "{% set said = messages[1:] if messages[0].role == 'system' else messages %}"
    "{% set first = messages[0].content if messages[0].role == 'system' else '' %}"
)


def _chatml(default: str = "") -> str:
    own = "{% if messages[0].role != 'system' %}<|im_start|>system\n" + default + "<|im_end|>\n{% endif %}"
    return (own if default else "") + TEMPLATES["chatml"]


_LLAMA2 = (
    _SPLIT + "{% for m in said %}{% if m.role == 'user' %}{{ bos_token }}[INST] "
    "{% if loop.first and first %}{{ '<<SYS>>\n' + first + '\n<</SYS>>\n\n' + m.content.strip() }}"
    "{% else %}{{ m.content.strip() }}{% endif %} [/INST]"
    "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
_MISTRAL1 = (
    "{{ bos_token }}" + _ALTERNATE + "{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ m.content + eos_token + ' ' }}{% endif %}{% endfor %}"
)
_MISTRAL2 = (
    "{{ bos_token }}" + _ALTERNATE + "{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
_MISTRAL3 = (  # the system turn goes to the last question
    _SPLIT + "{{ bos_token }}{% for m in said %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + (first + '\n\n' if loop.last and first else '') + m.content + '[/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
)
_GEMMA3 = (
    _SPLIT + "{{ bos_token }}{% for m in said %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') "
    "+ '\n' + (first + '\n\n' if loop.first and first else '') }}{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_PHI4 = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %}"
)
_QWEN3 = (
    "{% set at = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set at.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}{% if m.role != 'assistant' %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% else %}"
    "{% set thoughts = m.reasoning_content or '' %}{% set said = m.content %}"
    "{% if not thoughts and '</think>' in said %}"
    "{% set thoughts = said.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "<|im_start|>assistant\n{% if loop.index0 > at.last and (loop.last or thoughts) %}"
    "{{ '<think>\n' + thoughts.strip('\n') + '\n</think>\n\n' + said.lstrip('\n') }}{% else %}{{ said }}{% endif %}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
_R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<｜User｜>' + m.content }}{% elif m.role == 'assistant' %}"
    "{{ '<｜Assistant｜>' + m.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}"
)
_COMMAND = (
    "{{ bos_token }}{% set names = {'system': 'SYSTEM', 'user': 'USER', 'assistant': 'CHATBOT'} %}"
    "{% for m in messages %}{{ '<|START_OF_TURN_TOKEN|><|' + names[m.role] + '_TOKEN|>' + m.content.strip() "
    "+ '<|END_OF_TURN_TOKEN|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A chat format with the tokens that belong to it."""

    template: str
    eos: str
    end: str
    """What ends an assistant's turn."""
    bos: str | None = None
    pad: str | None = None
    more: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    """Tokens that are none of the special ones."""
    spaced: bool = False
    """Whether the tokenizer marks words by a space before them, as SentencePiece does, and puts one before a text."""


_IM = ("<|im_start|>", "<|im_end|>")
_TURNS = ("<start_of_turn>", "<end_of_turn>")
FAMILIES = {
    "zephyr": Family(TEMPLATES["zephyr"], "</s>", "</s>", "<s>", "</s>", spaced=True),
    "llama2": Family(_LLAMA2, "</s>", "</s>", "<s>", spaced=True),
    "llama3": Family(
        "{{ bos_token }}" + TEMPLATES["llama3"],
        *("<|end_of_text|>", "<|eot_id|>", "<|begin_of_text|>"),
        more=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "mistral1": Family(_MISTRAL1, "</s>", "</s>", "<s>", spaced=True),
    "mistral2": Family(_MISTRAL2, "</s>", "</s>", "<s>", spaced=True),
    "mistral3": Family(_MISTRAL3, "</s>", "</s>", "<s>", more=("[INST]", "[/INST]"), spaced=True),
    "chatml": Family(_chatml(), "<|endoftext|>", "<|im_end|>", None, "<|endoftext|>", _IM),
    "gemma": Family("{{ bos_token }}" + TEMPLATES["gemma"], "<eos>", "<end_of_turn>", "<bos>", "<pad>", _TURNS),
    "gemma3": Family(_GEMMA3, "<eos>", "<end_of_turn>", "<bos>", "<pad>", _TURNS),
    "phi3": Family(
        TEMPLATES["phi3"],
        *("<|endoftext|>", "<|end|>", "<s>", "<|endoftext|>"),
        more=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        spaced=True,
    ),
    "phi4": Family(_PHI4, "<|im_end|>", "<|im_end|>", None, "<|dummy_85|>", (*_IM, "<|im_sep|>")),
    "qwen2": Family(
        _chatml("You are a helpful assistant."), "<|im_end|>", "<|im_end|>", None, "<|endoftext|>", _IM[:1]
    ),
    "qwen3": Family(_QWEN3, "<|im_end|>", "<|im_end|>", None, "<|endoftext|>", _IM[:1], added=("<think>", "</think>")),
    "r1": Family(
        _R1,
        *("<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        added=("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
    ),
    "command-r": Family(
        _COMMAND,
        *("<|END_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<BOS_TOKEN>", "<PAD>"),
        more=("<|START_OF_TURN_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
    ),
    "olmo2": Family(
        "{{ bos_token }}" + TEMPLATES["tulu"], "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", "<|pad|>"
    ),
    "smollm2": Family(
        _chatml("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
        *("<|im_end|>", "<|im_end|>", "<|im_start|>", "<|im_end|>"),
    ),
}
_ADDS_BOS = {"zephyr", "llama2", "llama3", "mistral1", "mistral2", "mistral3", "gemma", "gemma3", "r1", "command-r"}
_CORPUS = [
    "Name a river. The Oder is long, and the Spree is not. I hope that helps!",
    "user assistant system model Answer the question please yes no maybe",
] * 20


def tokenizer_of(family: Family, *, adds_bos: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer of 600 entries with the tokens and the template of a family."""
    bpe = Tokenizer(models.BPE(byte_fallback=family.spaced, unk_token="<unk>" if family.spaced else None))
    special = [token for token in (family.bos, family.eos, family.pad, *family.more) if token]
    if family.spaced:
        bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        bpe.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        special += ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
        alphabet = []
    else:
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = list(dict.fromkeys(special))
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(_CORPUS, trainer)
    if family.spaced:  # byte tokens are no control tokens
        bpe = _without_special_bytes(bpe)
    bpe.add_tokens(list(family.added))
    if adds_bos and family.bos:
        ids = [(family.bos, bpe.token_to_id(family.bos))]
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A", pair=f"{family.bos} $A $B", special_tokens=ids
        )
    named: dict[str, Any] = {"bos_token": family.bos, "eos_token": family.eos, "pad_token": family.pad}
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, **{name: token for name, token in named.items() if token})
    made.chat_template = family.template
    return made


def _without_special_bytes(bpe: Tokenizer) -> Tokenizer:
    raw = json.loads(bpe.to_str())
    raw["added_tokens"] = [token for token in raw["added_tokens"] if not token["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(raw))


@cache
def family_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a family, made once; it adds a beginning-of-sequence token where the published one does."""
    return tokenizer_of(FAMILIES[name], adds_bos=name in _ADDS_BOS)


def save_family_model(name: str, folder: Path, head: type = LlamaForCausalLM, **settings: Any) -> Any:
    """A tiny random model of a family with its tokenizer, saved as a folder; returns the model."""
    tokenizer = family_tokenizer(name)
    torch.manual_seed(0)
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = head(LlamaConfig(**{**shape, **settings})).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model

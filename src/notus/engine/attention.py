"""Attention over one row of tokens in which sequences that begin alike stand with each beginning once.

The tokens that continue token j stand from j to end(j), and a query i sees a key j exactly where j ≤ i < end(j). Of a
prompt with two completions, "a b c d" with the completions "c" and "d"::

    a b c d
    4 4 3 4

Owns the attention function "notus_packed", which is registered with transformers' attention interface, this mask, the
calls of PyTorch's attention, and the check of which models it is right for. Owns too how a row of prompts with their
completions (``engine.pack``) is divided into calls; the rows with beginnings of many levels are in ``engine.tree``.

The layout of a row travels as a keyword of the decoder's forward pass, ``notus_layout``, which transformers hands down
to the attention function of every layer. On CUDA it is a FlexAttention block mask. Elsewhere it is a list of blocks,
each a call of scaled dot-product attention, of two kinds:

- Short groups of like length are stacked into one call under one mask. A call costs about 0.1 ms and more with its
  backward pass, whatever little it computes, and the toy world's groups have about 60 tokens.
- Long groups go through ``engine.cpu.attention``, completion by completion: no sibling is computed and then masked
  away. Without the kernels of that room they are stacked as well.

On two cores with two completions of a quarter each, in fp32, forward and backward of 1,024 tokens took 2.1 and 4.8 ms
(stacked and not) at 64 tokens for a group, 3.4 and 5.0 at 128, 5.6 and 6.4 at 256, 11.3 and 10.5 at 512. One call
over the whole row under a mask took 25 ms at 60 tokens, so there is none.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from notus.core.errors import ConfigError, RunError
from notus.engine.cpu.attention import attend_blocks
from notus.engine.cpu.switch import kernels_on
from notus.engine.pack import PackedRow, Span

__all__ = [
    "LAYOUT",
    "NAME",
    "FlexLayout",
    "Layout",
    "additive",
    "attend",
    "check_supported",
    "layout",
    "leave_packed",
    "obstacle",
    "packed",
    "sees",
    "use_packed",
]

NAME = "notus_packed"
"""Name of the attention function in transformers' attention interface."""

LAYOUT = "notus_layout"
"""Keyword of the decoder's forward pass that carries the layout."""

_SUPPORTED = {
    "gemma": "Gemma 1",
    "glm": "GLM",
    "gpt_neox": "GPT-NeoX",
    "llama": "Llama",
    "mistral": "Mistral",
    "mixtral": "Mixtral",
    "olmo": "OLMo",
    "olmo2": "OLMo 2",
    "phi": "Phi",
    "phi3": "Phi 3",
    "qwen2": "Qwen 2",
    "qwen2_moe": "Qwen 2 MoE",
    "qwen3": "Qwen 3",
    "qwen3_moe": "Qwen 3 MoE",
    "smollm3": "SmolLM 3",
}
# Set by architectures that transform scores or logits in a way the packed path does not repeat.
_CHANGED_LOGITS = ("attn_logit_softcapping", "final_logit_softcapping", "logit_scale", "logits_scaling")

_SHORT = 256
"""Groups of at most so many tokens are stacked."""
_ALIKE = 0.75
"""A stack holds groups of at least this part of its longest group."""


class Layout(Protocol):
    """How attention goes over one row, on one device, the same for all layers."""

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """Attention with query [1, heads, T, size], key and value with their own number of heads.

        Returns:
            [1, T, heads, size].
        """


def sees(query: torch.Tensor, key: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """The mask: true where a query sees a key.

    Args:
        query: places of queries.
        key: places of keys.
        end: of each key, where the tokens that continue it stop.
    """
    return (key <= query) & (query < end)


def additive(mask: torch.Tensor) -> torch.Tensor:
    """A mask in the form that is added to the scores: 0 where it is true, and −∞."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, float("-inf"))


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float | None
) -> torch.Tensor:
    """PyTorch's attention under an additive mask, causal where there is none. Gives [batch, tokens, heads, size]."""
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if mask is None else mask.to(query.dtype),
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    ).transpose(1, 2)


@dataclass(frozen=True)
class FlexLayout:
    """A row as one call of FlexAttention under a block mask."""

    mask: BlockMask

    @classmethod
    def of(cls, ends: torch.Tensor) -> "FlexLayout":
        """The layout of a row with these ends [T], on their device."""
        ends = ends.to(torch.int32)

        def mask(_batch: torch.Tensor, _head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            return sees(query, key, ends[key])

        return cls(create_block_mask(mask, None, None, len(ends), len(ends), device=str(ends.device)))

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """As ``Layout`` says."""
        grouped = query.shape[1] != key.shape[1]
        out: torch.Tensor = _flex()(query, key, value, block_mask=self.mask, scale=scaling, enable_gqa=grouped)
        return out.transpose(1, 2).contiguous()


def layout(row: PackedRow) -> Layout:
    """Work out how attention goes over a row, on the row's device, once for all layers."""
    device = row.input_ids.device
    if device.type == "cuda":
        return FlexLayout.of(torch.cat([span.start + _ends(span) for span in row.spans]).to(device))
    return _Blocks(tuple(_blocks(row.spans, device)))


def use_packed(model: PreTrainedModel) -> str:
    """Switch a model to packed attention, and give the name of the attention it had.

    A model that is trained stays switched until its last backward pass: activation checkpointing runs the attention
    again there. Until then it cannot generate or take padded batches; both are refused by an error.
    """
    before = str(model.config._attn_implementation)
    model.set_attn_implementation(NAME)
    return before


def leave_packed(model: PreTrainedModel) -> None:
    """Switch a model back to PyTorch's attention, which all models have that packed attention is right for."""
    if model.config._attn_implementation == NAME:
        model.set_attn_implementation("sdpa")


@contextmanager
def packed(model: PreTrainedModel) -> Iterator[None]:
    """Packed attention inside, the attention that the model had after it. Backward passes belong inside too."""
    before = use_packed(model)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def check_supported(model: PreTrainedModel, longest: int) -> None:
    """Make sure that packed attention computes what the model's own attention would.

    Args:
        model: a causal language model.
        longest: tokens of the longest prompt with one answer.

    Raises:
        ConfigError: if it would not, with the reason.
    """
    reason = obstacle(model, longest)
    if reason is not None:
        raise ConfigError(f"the packed engine cannot run this model: {reason}; set 'engine: padded'")


def obstacle(model: PreTrainedModel, longest: int) -> str | None:
    """Why packed attention would not compute what a model's own would; None where it does. Arguments as above."""
    config: Any = model.config
    if config.model_type not in _SUPPORTED:
        known = ", ".join(_SUPPORTED.values())
        return f"its architecture {config.model_type!r} is not one whose layers are known to fit ({known})"
    changed = [name for name in _CHANGED_LOGITS if getattr(config, name, None) is not None]
    if changed:
        return f"it sets {changed[0]} to {getattr(config, changed[0])}, and scores are neither capped nor scaled there"
    if getattr(config, "use_bidirectional_attention", False):
        return "its attention goes both ways"
    if getattr(config, "attention_dropout", 0.0):
        return f"its attention_dropout is {config.attention_dropout}, and a prompt's share of it is drawn only once"
    window = _window(config)
    if window is not None and window < longest:
        return f"its sliding window of {window} tokens is shorter than the longest prompt with answer, {longest}"
    return None


def _window(config: Any) -> int | None:
    """The sliding window that is really used: Qwen names one even where no layer has it."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and "sliding_attention" not in kinds:
        return None
    window = getattr(config, "sliding_window", None)
    return None if window is None else int(window)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function, as transformers calls it; there are no attention weights to give back."""
    where: Layout | None = options.get(LAYOUT)
    if where is None or attention_mask is not None or dropout:
        raise RunError(
            f"packed attention in {type(module).__name__} was called without a packed row, with a mask or with "
            "dropout; leave 'packed' before the model generates or takes padded batches"
        )
    if torch.is_autocast_enabled(query.device.type):
        # Rotated queries and keys come in fp32 and values in bf16. PyTorch's own attention does the same with them.
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    return where.attend(query, key, value, scaling), None


def _no_mask(*_: Any, **__: Any) -> None:
    """The mask function that belongs to ``_attend``: the layout says it all."""


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _no_mask)


@cache
def _flex() -> Any:
    """FlexAttention, compiled where it runs for real: as it comes it builds the whole matrix of scores."""
    return torch.compile(flex_attention)


@dataclass(frozen=True)
class _Stack:
    """Neighbouring short groups, padded on the right to the longest, in one call."""

    tokens: int
    groups: int
    longest: int
    gather: torch.Tensor | None
    """[groups × longest] Index of the token in each place of the stack, from the start of the block; padding repeats
    the group's last token. None where all groups are equally long."""
    scatter: torch.Tensor | None
    """[tokens] Place of each token in the stack."""
    mask: torch.Tensor | None
    """[groups, 1, longest, longest], 0 or −∞. None where it is plain causal."""

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """[1, tokens, heads, size]."""
        out = attend(self._stacked(query), self._stacked(key), self._stacked(value), self.mask, scaling)
        out = out.reshape(1, -1, *out.shape[2:])
        return out if self.scatter is None else out.index_select(1, self.scatter)

    def _stacked(self, states: torch.Tensor) -> torch.Tensor:
        """[1, heads, tokens, size] to [groups, heads, longest, size]."""
        tokens = states.transpose(1, 2).squeeze(0)
        if self.gather is not None:
            tokens = tokens.index_select(0, self.gather)
        return tokens.reshape(self.groups, self.longest, *tokens.shape[1:]).transpose(1, 2)


@dataclass(frozen=True)
class _Long:
    """Neighbouring long groups, completion by completion."""

    spans: tuple[Span, ...]

    @property
    def tokens(self) -> int:
        return sum(span.tokens for span in self.spans)

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """[1, tokens, heads, size]."""
        return attend_blocks(query, key, value, self.spans, scaling)


@dataclass(frozen=True)
class _Blocks:
    """Blocks in the row's order. Tokens behind them belong to nobody."""

    blocks: tuple[_Stack | _Long, ...]

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """As ``Layout`` says."""
        if len(self.blocks) == 1 and isinstance(self.blocks[0], _Long):
            return self.blocks[0].attend(query, key, value, scaling)
        sizes = [block.tokens for block in self.blocks]
        sizes.append(query.shape[2] - sum(sizes))
        *queries, nobody = query.split(sizes, 2)
        parts = zip(self.blocks, queries, key.split(sizes, 2), value.split(sizes, 2), strict=False)
        outs = [block.attend(q, k, v, scaling) for block, q, k, v in parts]
        return torch.cat([*outs, torch.zeros_like(nobody).transpose(1, 2)], 1)


def _blocks(spans: Sequence[Span], device: torch.device) -> Iterator[_Stack | _Long]:
    short = _SHORT if device.type == "cpu" and kernels_on() else sys.maxsize
    run: list[Span] = []
    for span in spans:
        if run and not _alike(run[0], span, short):
            yield _block(run, short, device)
            run = []
        run.append(span)
    if run:
        yield _block(run, short, device)


def _alike(first: Span, span: Span, short: int) -> bool:
    """Whether a group goes into the block that begins with another."""
    if first.tokens > short or span.tokens > short:
        return first.tokens > short and span.tokens > short
    return _ALIKE <= span.tokens / first.tokens <= 1 / _ALIKE


def _block(spans: Sequence[Span], short: int, device: torch.device) -> _Stack | _Long:
    return _Long(tuple(spans)) if spans[0].tokens > short else _stack(spans, device)


def _stack(spans: Sequence[Span], device: torch.device) -> _Stack:
    lengths = torch.tensor([span.tokens for span in spans])
    longest = int(lengths.max())
    places = torch.arange(longest)
    offsets = lengths.cumsum(0) - lengths
    gather = offsets.unsqueeze(1) + places.minimum(lengths.unsqueeze(1) - 1)
    scatter = (places < lengths.unsqueeze(1)).flatten().nonzero().squeeze(1)
    equal = len(scatter) == gather.numel()
    return _Stack(
        tokens=int(lengths.sum()),
        groups=len(spans),
        longest=longest,
        gather=None if equal else gather.flatten().to(device),
        scatter=None if equal else scatter.to(device),
        mask=_stack_mask(spans, longest).to(device) if any(len(span.completions) > 1 for span in spans) else None,
    )


def _stack_mask(spans: Sequence[Span], longest: int) -> torch.Tensor:
    """[groups, 1, longest, longest]. A place of padding sees what is before it, so that every softmax has a sum."""
    ends = torch.full((len(spans), 1, longest), longest)
    for number, span in enumerate(spans):
        ends[number, 0, : span.tokens] = _ends(span)
    index = torch.arange(longest)
    return additive(sees(index.unsqueeze(1), index, ends)).unsqueeze(1)


def _ends(span: Span) -> torch.Tensor:
    """[tokens] Where the tokens that continue each token of a group stop, from the group's first one on."""
    lengths = torch.tensor([span.prompt, *span.completions])
    stops = lengths.cumsum(0)
    stops[0] = span.tokens
    return torch.repeat_interleave(stops, lengths)

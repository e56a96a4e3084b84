"""Attention over a packed row: a token sees its prompt and its own branch up to itself, and nothing else.

Owns the attention function "notus_packed", which is registered with transformers' attention interface, and the
check of which models it is right for. The row itself comes from ``models.pack``; ``models.logps`` runs a model on it.

The layout of a row travels as a keyword of the decoder's forward pass, ``notus_layout``, which transformers hands down
to the attention function of every layer. On CUDA it is a FlexAttention block mask. Elsewhere it is a list of blocks,
each a call of scaled dot-product attention, of two kinds:

- Short groups of like length are stacked into one call under one mask. A call costs about 0.1 ms and more with its
  backward pass, whatever little it computes, and the miniature's groups have about 60 tokens.
- Long groups go through ``models.attention_blocks``, branch by branch: no sibling is computed and then masked away.

On two cores with two branches of a quarter each, in fp32, forward and backward of 1,024 tokens took 2.1 and 4.8 ms
(stacked and not) at 64 tokens for a group, 3.4 and 5.0 at 128, 5.6 and 6.4 at 256, 11.3 and 10.5 at 512. One call
over the whole row under a mask took 25 ms at 60 tokens, so there is none.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from notus.core.errors import ConfigError, RunError
from notus.models.attention_blocks import attend_blocks
from notus.models.pack import PackedRow, Span

__all__ = ["LAYOUT", "NAME", "Layout", "check_supported", "layout", "packed", "use_packed", "visible"]

NAME = "notus_packed"
"""Name of the attention function in transformers' attention interface."""

LAYOUT = "notus_layout"
"""Keyword of the decoder's forward pass that carries the layout."""

_SUPPORTED = {
    "gemma": "Gemma 1",
    "llama": "Llama",
    "mistral": "Mistral",
    "phi": "Phi",
    "qwen2": "Qwen 2",
    "qwen3": "Qwen 3",
}
# Set by architectures that transform scores or logits in a way the packed path does not repeat.
_CHANGED_LOGITS = ("attn_logit_softcapping", "final_logit_softcapping", "logit_scale", "logits_scaling")

_SHORT = 256
"""Groups of at most so many tokens are stacked."""
_ALIKE = 0.75
"""A stack holds groups of at least this part of its longest group."""


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


@dataclass(frozen=True)
class _Long:
    """Neighbouring long groups, branch by branch."""

    spans: tuple[Span, ...]

    @property
    def tokens(self) -> int:
        return sum(span.tokens for span in self.spans)


Layout: TypeAlias = tuple[_Stack | _Long, ...] | BlockMask
"""How attention goes over one row: blocks in the row's order, or a FlexAttention block mask."""


def visible(row: PackedRow) -> torch.Tensor:
    """The plain mask [T, T], true where a query (first axis) sees a key: what every faster form must equal."""
    group, branch = _ids(row)
    index = torch.arange(row.tokens, device=group.device)
    return _sees(group, branch, index.unsqueeze(1), index.unsqueeze(0))


def layout(row: PackedRow) -> Layout:
    """Work out how attention goes over a row, on the row's device, once for all layers."""
    if row.input_ids.device.type == "cuda":
        return _block_mask(row)
    return tuple(_blocks(row.spans, row.input_ids.device))


def use_packed(model: PreTrainedModel) -> str:
    """Switch a model to packed attention, and give the name of the attention it had.

    A model that is trained stays switched until its last backward pass: activation checkpointing runs the attention
    again there. Until then it cannot generate or take padded batches; both are refused by an error.
    """
    before = str(model.config._attn_implementation)
    model.set_attn_implementation(NAME)
    return before


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
    reason = _obstacle(model.config, longest)
    if reason is not None:
        raise ConfigError(f"the packed engine cannot run this model: {reason}; set 'engine: padded'")


def _obstacle(config: Any, longest: int) -> str | None:
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
    """The attention function: query [1, heads, T, size], key and value with their own number of heads.

    Returns:
        [1, T, heads, size], and no attention weights.
    """
    where: Layout | None = options.get(LAYOUT)
    if where is None or attention_mask is not None or dropout:
        raise RunError(
            f"packed attention in {type(module).__name__} was called without a packed row, with a mask or with "
            "dropout; leave 'packed' before the model generates or takes padded batches"
        )
    if isinstance(where, BlockMask):
        out = _flex()(query, key, value, block_mask=where, scale=scaling, enable_gqa=query.shape[1] != key.shape[1])
        return out.transpose(1, 2).contiguous(), None
    if len(where) == 1 and isinstance(where[0], _Long):
        return attend_blocks(query, key, value, where[0].spans, scaling), None
    sizes = [block.tokens for block in where]
    sizes.append(query.shape[2] - sum(sizes))
    *queries, nobody = query.split(sizes, 2)
    parts = zip(where, queries, key.split(sizes, 2), value.split(sizes, 2), strict=False)
    outs = [_attend_block(block, q, k, v, scaling) for block, q, k, v in parts]
    return torch.cat([*outs, torch.zeros_like(nobody).transpose(1, 2)], 1), None


def _no_mask(*_: Any, **__: Any) -> None:
    """The mask function that belongs to ``_attend``: the layout says it all."""


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _no_mask)


def _attend_block(
    block: _Stack | _Long, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """[1, tokens, heads, size]."""
    if isinstance(block, _Stack):
        return _attend_stack(block, query, key, value, scaling)
    return attend_blocks(query, key, value, block.spans, scaling)


def _attend_stack(
    block: _Stack, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    def stacked(states: torch.Tensor) -> torch.Tensor:
        """[1, heads, tokens, size] to [groups, heads, longest, size]."""
        tokens = states.transpose(1, 2).squeeze(0)
        if block.gather is not None:
            tokens = tokens.index_select(0, block.gather)
        return tokens.reshape(block.groups, block.longest, *tokens.shape[1:]).transpose(1, 2)

    out = _sdpa(stacked(query), stacked(key), stacked(value), block.mask, scaling)
    out = out.reshape(1, -1, *out.shape[2:])
    return out if block.scatter is None else out.index_select(1, block.scatter)


def _sdpa(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float | None
) -> torch.Tensor:
    """Causal where there is no mask. Gives [batch, tokens, heads, size]."""
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if mask is None else mask.to(query.dtype),
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    ).transpose(1, 2)


def _blocks(spans: Sequence[Span], device: torch.device) -> Iterator[_Stack | _Long]:
    # The kernel under the long ones is the CPU's own.
    short = _SHORT if device.type == "cpu" else sys.maxsize
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
        mask=_stack_mask(spans, longest).to(device) if any(len(span.branches) > 1 for span in spans) else None,
    )


def _stack_mask(spans: Sequence[Span], longest: int) -> torch.Tensor:
    branch = torch.full((len(spans), longest), -1)
    for number, span in enumerate(spans):
        branch[number, : span.tokens] = _branch_ids(span)
    index = torch.arange(longest)
    own = (branch.unsqueeze(1) == 0) | (branch.unsqueeze(2) == branch.unsqueeze(1))
    # A place of padding sees the prompt and the padding before it: every row of the softmax has something to sum.
    return _additive(own & (index <= index.unsqueeze(1))).unsqueeze(1)


def _additive(sees: torch.Tensor) -> torch.Tensor:
    return torch.zeros(sees.shape, device=sees.device).masked_fill_(~sees, float("-inf"))


def _branch_ids(span: Span) -> torch.Tensor:
    """[tokens]: 0 for the prompt, and 1, 2, … for its branches."""
    lengths = torch.tensor([span.prompt, *span.branches])
    return torch.repeat_interleave(torch.arange(len(lengths)), lengths)


def _ids(row: PackedRow) -> tuple[torch.Tensor, torch.Tensor]:
    """For each token the number of its group and of its branch, 0 for the prompt."""
    lengths = torch.tensor([span.tokens for span in row.spans])
    group = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    branch = torch.cat([_branch_ids(span) for span in row.spans])
    device = row.input_ids.device
    return group.to(device, torch.int32), branch.to(device, torch.int32)


def _sees(group: torch.Tensor, branch: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    own = (branch[key] == 0) | (branch[query] == branch[key])
    return (group[query] == group[key]) & own & (key <= query)


def _block_mask(row: PackedRow) -> BlockMask:
    group, branch = _ids(row)

    def mask(_batch: torch.Tensor, _head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return _sees(group, branch, query, key)

    return create_block_mask(mask, None, None, row.tokens, row.tokens, device=str(row.input_ids.device))


@cache
def _flex() -> Any:
    """FlexAttention, compiled where it runs for real: as it comes it builds the whole matrix of scores."""
    return torch.compile(flex_attention)

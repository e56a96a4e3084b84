"""Token sequences that begin alike, as one row in which each shared beginning stands once, and attention over it.

Owns the row of a tree and the attention function "notus_tree", which is for models that are not being trained. Does not
own what is made of the hidden states (``models.choices``). ``models.pack`` is the form for training: a prompt and its
answers, two levels. Here there are as many levels as the sequences have: the shots of a few-shot prompt that all
questions of a subject share, a question, and the beginning that some of its choices share.

The tokens stand in depth-first order, so the tokens below token j are those from j to end(j), and a query i sees a key
j exactly where j ≤ i < end(j). A row of "a b c", "a b d" and "a e", with position ids and ends below::

    a b c d e
    0 1 2 2 1
    5 4 3 4 5

On CUDA this is a FlexAttention block mask. Elsewhere scaled dot-product attention is called on blocks: a run of
neighbouring small subtrees under one mask, or the unbranched beginning of a large one, each with the keys above it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from typing import Any, TypeAlias

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from notus.core.errors import DataError, RunError
from notus.models.attention import check_supported

__all__ = ["TreeRow", "hidden_states", "seen", "tree_attention", "tree_rows"]

_NAME = "notus_tree"
_LAYOUT = "notus_tree_layout"
_SHORT = 256
"""Tokens of a block under one mask. A call costs about 0.1 ms, and a token's linear layers more than 256 keys."""


@dataclass(frozen=True)
class TreeRow:
    """One row of T tokens, each shared beginning once."""

    tokens: tuple[int, ...]
    """[T] in depth-first order."""
    depths: tuple[int, ...]
    """[T] Tokens before each in its sequence: the position ids."""
    ends: tuple[int, ...]
    """[T] Where the tokens that stand below each token stop."""
    sequences: tuple[int, ...]
    """Numbers of the sequences in this row, among those given."""
    paths: tuple[list[int], ...]
    """For each of them the places of its tokens in the row."""


@dataclass(frozen=True)
class _Block:
    """Queries that one call of scaled dot-product attention works out."""

    start: int
    stop: int
    keys: torch.Tensor | None
    """Places of the keys above; None where there are none."""
    mask: torch.Tensor | None
    """[queries, keys above + queries], 0 or −∞; None where it is plain causal."""


@dataclass(frozen=True)
class _Placed:
    """A sequence in a row that is being filled."""

    number: int
    tokens: int
    shared: int
    """Tokens that it has in common with the one before it in the row."""

    @property
    def new(self) -> int:
        return self.tokens - self.shared


_Layout: TypeAlias = tuple[_Block, ...] | BlockMask


def tree_rows(sequences: Sequence[list[int]], max_tokens: int) -> Iterator[TreeRow]:
    """Lay sequences out in rows of at most ``max_tokens`` tokens, or of twice the longest one where that is more.

    The sequences are taken in the order of their tokens, which brings those together that begin alike. A row that is
    full ends where the next one shares least with it, in its second half: there least is computed again.

    Raises:
        DataError: if a sequence is empty.
    """
    if not all(sequences):
        raise DataError("an empty sequence of tokens has no place in a row; give each at least one token")
    room = max(max_tokens, 2 * max(map(len, sequences), default=0))  # long ones share their beginnings too
    row: list[_Placed] = []
    size = 0
    before: list[int] = []
    for number in sorted(range(len(sequences)), key=lambda number: sequences[number]):
        here = sequences[number]
        row.append(_Placed(number, len(here), _shared(before, here)))
        size += row[-1].new
        before = here
        while size > room:
            border = _border(row)
            size += row[border].shared - sum(item.new for item in row[:border])
            yield _row(sequences, [item.number for item in row[:border]])
            row = [replace(row[border], shared=0), *row[border + 1 :]]
    if row:
        yield _row(sequences, [item.number for item in row])


def seen(row: TreeRow) -> torch.Tensor:
    """The plain mask [T, T], true where a query (first axis) sees a key: what every faster form must equal."""
    ends = torch.tensor(row.ends)
    index = torch.arange(len(row.tokens))
    return _sees(ends, index.unsqueeze(1), index.unsqueeze(0))


@contextmanager
def tree_attention(model: PreTrainedModel) -> Iterator[None]:
    """Attention over trees inside, the attention that the model had after it."""
    before = str(model.config._attn_implementation)
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def hidden_states(model: PreTrainedModel, row: TreeRow) -> torch.Tensor:
    """The decoder's last hidden states [T, width] of a row, on the model's device.

    Raises:
        ConfigError: if this attention does not compute what the model's own would.
        RunError: outside of ``tree_attention``.
    """
    check_supported(model, max(row.depths) + 1)
    if model.config._attn_implementation != _NAME:
        raise RunError("hidden states of a tree need its attention: call this inside 'tree_attention(model)'")
    device = model.device
    layout = _block_mask(row, device) if device.type == "cuda" else tuple(_blocks(row, device))
    states: torch.Tensor = model.get_decoder()(
        input_ids=torch.tensor([row.tokens], device=device),
        position_ids=torch.tensor([row.depths], device=device),
        use_cache=False,
        **{_LAYOUT: layout},
    ).last_hidden_state
    return states[0]


def _border(row: Sequence[_Placed]) -> int:
    """Where a row that is too long by its last sequence ends: the index of the first sequence of the next one."""
    sizes = [0, *accumulate(item.new for item in row)]
    late = [index for index in range(1, len(row)) if 2 * sizes[index] >= sizes[-2]]
    return min(late, key=lambda index: (row[index].shared, -index))


def _row(sequences: Sequence[list[int]], numbers: Sequence[int]) -> TreeRow:
    tokens: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    paths: list[list[int]] = []
    before: list[int] = []
    path: list[int] = []
    for number in numbers:
        here = sequences[number]
        shared = _shared(before, here)
        for place in path[shared:]:
            ends[place] = len(tokens)
        path = [*path[:shared], *range(len(tokens), len(tokens) + len(here) - shared)]
        tokens += here[shared:]
        depths += range(shared, len(here))
        ends += [0] * (len(here) - shared)
        paths.append(path)
        before = here
    for place in path:
        ends[place] = len(tokens)
    return TreeRow(tuple(tokens), tuple(depths), tuple(ends), tuple(numbers), tuple(paths))


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    """Tokens that two sequences have in common at their beginning."""
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _blocks(row: TreeRow, device: torch.device) -> Iterator[_Block]:
    """Blocks in the row's order. Each waiting entry is a run of neighbouring subtrees and the places above them."""
    ends = row.ends
    waiting: list[tuple[int, int, list[int]]] = [(0, len(row.tokens), [])]
    while waiting:
        start, stop, above = waiting.pop()
        keys = torch.tensor(above, device=device) if above else None
        at = start
        while at < stop and ends[at] - start <= _SHORT:
            at = ends[at]
        if at > start:
            yield _Block(start, at, keys, _small_mask(ends[start:at], start, len(above)).to(device))
            if at < stop:
                waiting.append((at, stop, above))
            continue
        end, last = ends[start], start + 1
        while last < end and ends[last] == end:
            last += 1
        mask = torch.ones(last - start, len(above) + last - start, dtype=torch.bool).tril(len(above))
        yield _Block(start, last, keys, _additive(mask).to(device) if above else None)
        if end < stop:
            waiting.append((end, stop, above))
        if last < end:
            waiting.append((last, end, [*above, *range(start, last)]))


def _small_mask(ends: Sequence[int], start: int, above: int) -> torch.Tensor:
    """All that is above is seen; of the run itself, what the ends say."""
    size = len(ends)
    index = torch.arange(size)
    own = _sees(torch.tensor(ends) - start, index.unsqueeze(1), index.unsqueeze(0))
    return _additive(torch.cat([torch.ones(size, above, dtype=torch.bool), own], 1))


def _sees(ends: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return (key <= query) & (query < ends[key])


def _additive(sees: torch.Tensor) -> torch.Tensor:
    return torch.zeros(sees.shape).masked_fill_(~sees, float("-inf"))


def _block_mask(row: TreeRow, device: torch.device) -> BlockMask:
    ends = torch.tensor(row.ends, device=device, dtype=torch.int32)

    def mask(_batch: torch.Tensor, _head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return _sees(ends, query, key)

    return create_block_mask(mask, None, None, len(row.tokens), len(row.tokens), device=str(device))


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
    where: _Layout | None = options.get(_LAYOUT)
    if where is None or attention_mask is not None or dropout:
        raise RunError(
            f"attention over trees in {type(module).__name__} was called without a row, with a mask or with dropout; "
            "leave 'tree_attention' before the model generates or takes padded batches"
        )
    grouped = query.shape[1] != key.shape[1]
    if isinstance(where, BlockMask):
        out = _flex()(query, key, value, block_mask=where, scale=scaling, enable_gqa=grouped)
    else:
        out = torch.cat([_attend_block(block, query, key, value, scaling, grouped) for block in where], 2)
    return out.transpose(1, 2).contiguous(), None


def _attend_block(
    block: _Block, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, grouped: bool
) -> torch.Tensor:
    here = slice(block.start, block.stop)
    keys, values = key[:, :, here], value[:, :, here]
    if block.keys is not None:
        keys = torch.cat([key.index_select(2, block.keys), keys], 2)
        values = torch.cat([value.index_select(2, block.keys), values], 2)
    mask = None if block.mask is None else block.mask.to(query.dtype)
    return scaled_dot_product_attention(
        query[:, :, here], keys, values, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=grouped
    )


def _no_mask(*_: Any, **__: Any) -> None:
    """The mask function that belongs to ``_attend``: the layout says it all."""


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, _no_mask)


@cache
def _flex() -> Any:
    """FlexAttention, compiled where it runs for real: as it comes it builds the whole matrix of scores."""
    return torch.compile(flex_attention)

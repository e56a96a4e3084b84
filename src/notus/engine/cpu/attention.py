"""Attention of long groups on the CPU, in blocks of queries, with the derivative written out.

Owns the calls of PyTorch's fused attention and what becomes of their gradients. It is given what ``engine.attention``
laid out, and knows nothing of rows, models or transformers.

The fused kernel leaves out keys behind a query only in steps of 512, so a causal call over 700 tokens computes nearly
all of the square. Here a call has some 128 queries and the keys up to the last of them. On two cores that takes 12 to
16 % off the time of forward and backward at prompts and answers of 60 to 450 tokens, and nothing at 500. Heads that
share keys and values read them where they lie, and sums over such heads and over a prompt's completions go straight
into one gradient.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch

from notus.engine.pack import Span

__all__ = ["attend_blocks"]

_QUERIES = 128
"""Queries of a call, about."""


def attend_blocks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Sequence[Span], scaling: float | None
) -> torch.Tensor:
    """Each token sees its prompt and its own completion up to itself.

    Args:
        query: [1, heads, T, size].
        key: [1, key heads, T, size]; heads are a multiple of key heads.
        value: like ``key``.
        spans: groups that lie one behind the other from the first token on. Tokens behind them give zeros.
        scaling: of the scores; None takes size^−½.

    Returns:
        [1, T, heads, size].
    """
    made: torch.Tensor = _Blocks.apply(query, key, value, spans, scaling)
    return made


class _Blocks(torch.autograd.Function):
    """The fused kernel's own derivative, call by call."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Sequence[Span], scaling: float
    ) -> torch.Tensor:
        out = _tokens_first(query)
        grouped, made = _by_key_head(query, key), _by_key_head(out.transpose(1, 2), key)
        keys, values, mask = key.transpose(0, 1), value.transpose(0, 1), _mask(spans, query)
        # One tensor for all calls: a small one of each, kept among large ones, would tear the heap.
        wide = query.dtype if query.dtype == torch.float64 else torch.float32
        sums = query.new_empty(grouped.shape[:3], dtype=wide)
        for prompt, completion in _prompts_and_completions(spans):
            k, v = (
                _join_and_expand(keys, prompt, completion, query),
                _join_and_expand(values, prompt, completion, query),
            )
            for rows, seen in _calls(prompt, completion):
                size = rows.stop - rows.start
                made[:, :, rows], sums[:, :, rows] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                    grouped[:, :, rows],
                    k[:, :, :seen],
                    v[:, :, :seen],
                    0.0,
                    False,
                    attn_mask=_masked(mask, size, seen),
                    scale=scaling,
                )
        made[:, :, sum(span.tokens for span in spans) :] = 0
        ctx.spans, ctx.scaling = spans, scaling
        ctx.save_for_backward(query, key, value, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, out, sums = ctx.saved_tensors
        slope, made = _by_key_head(gradient.transpose(1, 2), key), _by_key_head(out.transpose(1, 2), key)
        # Sums over calls, heads and completions are in fp32 at least, also where what they are of is in bf16.
        to_query = _tokens_first(query).zero_().transpose(1, 2)
        to_key, to_value = (_tokens_first(of).to(sums.dtype).zero_().transpose(1, 2) for of in (key, value))
        grouped, to_grouped = _by_key_head(query, key), _by_key_head(to_query, key)
        keys, values, mask = key.transpose(0, 1), value.transpose(0, 1), _mask(ctx.spans, query)
        for prompt, completion in _prompts_and_completions(ctx.spans):
            k, v = (
                _join_and_expand(keys, prompt, completion, query),
                _join_and_expand(values, prompt, completion, query),
            )
            to_k, to_v = (torch.zeros_like(of[:, 0], dtype=sums.dtype) for of in (k, v))
            for rows, seen in _calls(prompt, completion):
                size = rows.stop - rows.start
                to_grouped[:, :, rows], more_k, more_v = (
                    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                        slope[:, :, rows],
                        grouped[:, :, rows],
                        k[:, :, :seen],
                        v[:, :, :seen],
                        made[:, :, rows],
                        sums[:, :, rows].contiguous(),
                        0.0,
                        False,
                        attn_mask=_masked(mask, size, seen),
                        scale=ctx.scaling,
                    )
                )
                for head in range(more_k.shape[1]):
                    to_k[:, :seen] += more_k[:, head]
                    to_v[:, :seen] += more_v[:, head]
            _add_parts(to_key.transpose(0, 1).squeeze(1), to_k, prompt, completion)
            _add_parts(to_value.transpose(0, 1).squeeze(1), to_v, prompt, completion)
        return to_query, to_key.to(key.dtype), to_value.to(value.dtype), None, None


def _prompts_and_completions(spans: Sequence[Span]) -> Iterator[tuple[slice, slice]]:
    """Tokens of the prompt and of the completion, for each completion."""
    start = 0
    for span in spans:
        prompt, end = slice(start, start + span.prompt), start + span.prompt
        for length in span.completions:
            yield prompt, slice(end, end + length)
            end += length
        start = end


def _calls(prompt: slice, completion: slice) -> Iterator[tuple[slice, int]]:
    """Queries of each call, and how many keys of prompt and completion they see. The prompt's go with its first one."""
    first = prompt.start if completion.start == prompt.stop else completion.start
    size = prompt.stop - prompt.start
    count = max(1, round((completion.stop - first) / _QUERIES))
    step = -(-(completion.stop - first) // count)
    for start in range(first, completion.stop, step):
        stop = min(start + step, completion.stop)
        yield slice(start, stop), stop - prompt.start if first == prompt.start else size + stop - completion.start


def _join_and_expand(states: torch.Tensor, prompt: slice, completion: slice, query: torch.Tensor) -> torch.Tensor:
    """[key heads, heads for each, prompt + completion, size] of [key heads, 1, T, size]."""
    if prompt.stop == completion.start:
        seen = states[:, :, prompt.start : completion.stop]
    else:
        seen = torch.cat([states[:, :, prompt], states[:, :, completion]], 2)
    return seen.expand(-1, query.shape[1] // states.shape[0], -1, -1)


def _add_parts(total: torch.Tensor, part: torch.Tensor, prompt: slice, completion: slice) -> None:
    size = prompt.stop - prompt.start
    total[:, prompt] += part[:, :size]
    total[:, completion] = part[:, size:]


def _by_key_head(states: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """[1, heads, T, size] as [key heads, heads for each, T, size], where they lie."""
    return states.squeeze(0).unflatten(0, (key.shape[1], -1))


def _tokens_first(states: torch.Tensor) -> torch.Tensor:
    """Room for states [1, heads, T, size] as the layers around want it, [1, T, heads, size]."""
    return states.new_empty(states.transpose(1, 2).shape)


def _mask(spans: Sequence[Span], query: torch.Tensor) -> torch.Tensor:
    """[queries, 2 × keys], 0 up to the diagonal that begins in the middle, and −∞ behind it."""
    longest = max(span.longest for span in spans)
    return _lower(2 * _QUERIES, 1 << (longest - 1).bit_length(), query.dtype)


@lru_cache(maxsize=4)
def _lower(queries: int, keys: int, dtype: torch.dtype) -> torch.Tensor:
    with torch.inference_mode(False):
        sees = torch.ones(queries, 2 * keys, dtype=torch.bool).tril(keys)
        return torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, float("-inf"))


def _masked(mask: torch.Tensor, queries: int, seen: int) -> torch.Tensor:
    """[1, 1, queries, seen]: the last query sees all, the one before it all but the last."""
    first = mask.shape[1] // 2 - (seen - queries)
    return mask[None, None, :queries, first : first + seen]

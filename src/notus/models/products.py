"""Matrix products in fp32 on the CPU, by the library that is fastest there.

Owns which library computes a product. PyTorch gives fp32 products to MKL, which keeps to AVX2 on processors of other
makers than its own; oneDNN, which PyTorch has for convolutions and bf16, uses AVX-512 wherever it is. On two cores of
such a processor [1800, 320] · [320, 896] ran at 202 GFLOP/s through MKL and at 396 through oneDNN, and the two products
of its backward pass at 206 and 470, and at 207 and 410.

oneDNN builds code for every shape that it meets: half a millisecond and 600 KB, which stay. So it is given what is
large and has a round number of tokens, and ``round_up`` makes that of any number.
"""

from functools import cache

import torch
from torch.nn.functional import linear

__all__ = ["add_transposed", "product", "round_up", "suited", "transposed"]

_LARGE = 1 << 26
"""Floating-point operations from which a product is large."""
_ROUND = 128
"""A round number of tokens is a multiple of this."""


def round_up(tokens: int, device: torch.device) -> int:
    """The number of tokens to compute in place of so many: the same, or a little more where that is faster.

    At most nine numbers come out between one power of two and the next; up to 1,024 they are the multiples of 128.
    """
    if device.type != "cpu" or not _has_one_dnn():
        return tokens
    step = max(_ROUND, 1 << max(tokens - 1, 0).bit_length() >> 3)
    return -(-tokens // step) * step


def product(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """left · rightᵀ + bias for [..., tokens, k], [n, k] and [n], outside of autograd."""
    if suited(left, right):
        return _one_dnn(left, right, bias)
    return linear(left, right, bias)


def transposed(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """leftᵀ · right for [tokens, n] and [tokens, k], outside of autograd."""
    if not suited(left, right.t()):
        return left.t() @ right
    # oneDNN copies what stands on its left if it lies the other way, so the narrower one stands there.
    if left.shape[1] <= right.shape[1]:
        return _one_dnn(left.t(), right.t(), None)
    return _one_dnn(right.t(), left.t(), None).t()


def add_transposed(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor, *, fresh: bool) -> None:
    """Add leftᵀ · right to a total [n, k] in place, or put it there if the total is fresh."""
    if not suited(left, right.t()):
        torch.addmm(total, left.t(), right, beta=float(not fresh), out=total)
    elif fresh:
        total.copy_(transposed(left, right))
    else:
        total += transposed(left, right)


def suited(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether oneDNN is the faster one for [..., tokens, k] and [n, k], or for the product of their transposes."""
    tokens = left.numel() // max(left.shape[-1], 1)
    return (
        left.dtype == right.dtype == torch.float32
        and left.device.type == right.device.type == "cpu"
        and tokens % _ROUND == 0
        and 2 * left.numel() * right.shape[0] >= _LARGE
        and not torch.is_autocast_enabled("cpu")
        and _has_one_dnn()
    )


def _one_dnn(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return made


@cache
def _has_one_dnn() -> bool:
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )

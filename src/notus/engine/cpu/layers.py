"""Layers of transformers' models computed faster on the CPU, with less kept for the backward pass.

Owns three layers with their derivatives written out: linear, root-mean-square norm, and the gated feed-forward network
of Llama, Mistral and Qwen. ``use_fast_layers`` puts them into a model in place; weights, their names and what is
computed stay, up to the rounding of sums in fp32. Norms and feed-forward networks are computed so in bf16 too, rounded
where the plain way rounds, and keep half of what they keep in fp32. Owns too which library computes a matrix product.
Whether any of it is used is decided by ``engine.cpu.switch``; on other devices and in other types all functions here
compute the plain way.

PyTorch gives fp32 products to MKL, which keeps to AVX2 on processors of other makers than its own; oneDNN, which
PyTorch has for convolutions and bf16, uses AVX-512 wherever it is. On two cores of such a processor [1800, 320] ·
[320, 896] ran at 202 GFLOP/s through MKL and at 396 through oneDNN, and the two products of its backward pass at 206
and 470, and at 207 and 410. oneDNN builds code for every shape that it meets: half a millisecond and 600 KB, which
stay. So it is given what is large and has a round number of tokens, and ``round_up`` makes that of any number.
"""

from functools import cache
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.functional import linear, silu

from notus.engine.cpu.switch import kernels_on

__all__ = [
    "GatedMlp",
    "Linear",
    "RmsNorm",
    "add_transposed",
    "has_hooks",
    "one_dnn_is_faster",
    "product",
    "round_up",
    "transposed",
    "use_fast_layers",
]

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
    if one_dnn_is_faster(left, right):
        return _one_dnn(left, right, bias)
    return linear(left, right, bias)


def transposed(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """leftᵀ · right for [tokens, n] and [tokens, k], outside of autograd."""
    if not one_dnn_is_faster(left, right.t()):
        return left.t() @ right
    # oneDNN copies what stands on its left if it lies the other way, so the narrower one stands there.
    if left.shape[1] <= right.shape[1]:
        return _one_dnn(left.t(), right.t(), None)
    return _one_dnn(right.t(), left.t(), None).t()


def add_transposed(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor, *, fresh: bool) -> None:
    """Add leftᵀ · right to a total [n, k] in place, or put it there if the total is fresh."""
    if not one_dnn_is_faster(left, right.t()):
        torch.addmm(total, left.t(), right, beta=float(not fresh), out=total)
    elif fresh:
        total.copy_(transposed(left, right))
    else:
        total += transposed(left, right)


def one_dnn_is_faster(left: torch.Tensor, right: torch.Tensor) -> bool:
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
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available() and kernels_on()


_FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
_NORMS = tuple(f"{family}RMSNorm" for family in _FAMILIES)
_SILU = ("SiLU", "SiLUActivation")
_GATED = tuple(f"{family}MLP" for family in _FAMILIES)

Model = TypeVar("Model", bound=nn.Module)


class Linear(nn.Linear):
    """y = x Wᵀ + b."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  the name is torch's
        """[..., in] to [..., out]."""
        if not one_dnn_is_faster(input, self.weight):
            return linear(input, self.weight, self.bias)
        return _apply(_Linear, input, self.weight, self.bias)


class RmsNorm(nn.Module):
    """y = w · x / √(mean(x²) + ε), as Llama's, Mistral's and Qwen's modules compute it."""

    weight: nn.Parameter
    variance_epsilon: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[..., size] to the same."""
        if _fast(hidden_states, self.weight):  # autocast has nothing to do with a norm
            return _apply(_RmsNorm, hidden_states, self.weight, self.variance_epsilon)
        scale = torch.rsqrt(hidden_states.float().square().mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * (hidden_states.float() * scale).to(hidden_states.dtype)


class GatedMlp(nn.Module):
    """y = W_down (silu(W_gate x) · W_up x)."""

    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., size] to the same."""
        gate, up, down = self.gate_proj(x), self.up_proj(x), self.down_proj
        if _fast(gate, up) and type(down) is Linear and down.bias is None and not has_hooks(down):
            # Under autocast the weight is rounded here, where that can be differentiated.
            weight = down.weight.to(gate.dtype) if torch.is_autocast_enabled("cpu") else down.weight
            if weight.dtype == gate.dtype:
                return _apply(_Gated, gate, up, weight)
        made: torch.Tensor = down(silu(gate) * up)
        return made


def has_hooks(module: nn.Module) -> bool:
    """Whether someone has to be told when a module runs, for instance to gather its weight before."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def use_fast_layers(model: Model) -> Model:
    """Have a model's layers compute as those here do. Layers of other kinds stay, and all do without the kernels.

    Returns:
        The same model.
    """
    if not kernels_on():
        return model
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
        elif type(module).__name__ in _NORMS:
            module.__class__ = RmsNorm
        elif type(module).__name__ in _GATED and type(module.act_fn).__name__ in _SILU:
            module.__class__ = GatedMlp
    return model


class _Linear(torch.autograd.Function):
    """∂x = ∂y W, ∂W = ∂yᵀ x and ∂b = Σ ∂y."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(inputs if ctx.needs_input_grad[1] else None, weight)
        return product(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        slope = gradient.reshape(-1, gradient.shape[-1])
        wanted = ctx.needs_input_grad
        to_inputs = product(slope, weight.t()).view(*gradient.shape[:-1], -1) if wanted[0] else None
        to_weight = transposed(slope, inputs.reshape(-1, inputs.shape[-1])) if wanted[1] else None
        return to_inputs, to_weight, slope.sum(0) if wanted[2] else None


class _RmsNorm(torch.autograd.Function):
    """With r = (mean(x²) + ε)^−½ and n = r x: ∂w = Σ ∂y n and ∂x = r (w ∂y − n · mean(w ∂y n))."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        ctx.epsilon = epsilon
        ctx.save_for_backward(inputs, weight)
        return (inputs * _scale(inputs, epsilon)).to(inputs.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        kept = inputs.dtype
        inputs, weight, gradient = inputs.float(), weight.float(), gradient.float()
        scale = _scale(inputs, ctx.epsilon)
        normed = inputs * scale
        along = gradient * normed
        to_weight = along.flatten(0, -2).sum(0).to(kept) if ctx.needs_input_grad[1] else None
        shared = (along @ weight).div_(inputs.shape[-1]).unsqueeze(-1)
        return (gradient * weight).sub_(normed.mul_(shared)).mul_(scale).to(kept), to_weight, None


def _scale(inputs: torch.Tensor, epsilon: float) -> torch.Tensor:
    """In fp32."""
    norms = torch.linalg.vector_norm(inputs, dim=-1, keepdim=True, dtype=torch.float32)
    return norms.square_().div_(inputs.shape[-1]).add_(epsilon).rsqrt_()


class _Gated(torch.autograd.Function):
    """(silu(a) · b) Wᵀ. What the matrix is multiplied by is made again in the backward pass, not kept."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up, weight)
        return product(silu(gate).mul_(up), weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate, up, weight = ctx.saved_tensors
        slope, opened = gradient.reshape(-1, gradient.shape[-1]), silu(gate)
        to_weight = transposed(slope, (opened * up).view(-1, up.shape[-1])) if ctx.needs_input_grad[2] else None
        inner = product(slope, weight.t()).view(up.shape)
        return torch.ops.aten.silu_backward(inner * up, gate), inner.mul_(opened), to_weight


def _fast(*tensors: torch.Tensor) -> bool:
    """Whether all are on the CPU, and in fp32 or in bf16."""
    types = {tensor.dtype for tensor in tensors}
    return len(types) == 1 and types <= {torch.float32, torch.bfloat16} and all(t.device.type == "cpu" for t in tensors)


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> torch.Tensor:
    made: torch.Tensor = function.apply(*arguments)
    return made

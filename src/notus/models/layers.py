"""Layers of transformers' models computed faster on the CPU, with less kept for the backward pass.

Owns three layers with their derivatives written out: linear, root-mean-square norm, and the gated feed-forward network
of Llama, Mistral and Qwen. ``quicken`` puts them into a model in place; weights, their names and what is computed stay,
up to the rounding of sums in fp32. Which library computes a matrix product is ``models.products``' matter.
"""

from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.functional import linear, silu

from notus.models.products import product, suited, transposed

__all__ = ["GatedMlp", "Linear", "RmsNorm", "has_hooks", "quicken"]

_FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
_NORMS = tuple(f"{family}RMSNorm" for family in _FAMILIES)
_SILU = ("SiLU", "SiLUActivation")
_GATED = tuple(f"{family}MLP" for family in _FAMILIES)

Model = TypeVar("Model", bound=nn.Module)


class Linear(nn.Linear):
    """y = x Wᵀ + b."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  the name is torch's
        """[..., in] to [..., out]."""
        if not suited(input, self.weight):
            return linear(input, self.weight, self.bias)
        return _applied(_Linear, input, self.weight, self.bias)


class RmsNorm(nn.Module):
    """y = w · x / √(mean(x²) + ε), as Llama's, Mistral's and Qwen's modules compute it."""

    weight: nn.Parameter
    variance_epsilon: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[..., size] to the same."""
        if _plain(hidden_states, self.weight):
            return _applied(_RmsNorm, hidden_states, self.weight, self.variance_epsilon)
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
        if _plain(gate, up) and type(down) is Linear and down.bias is None and not has_hooks(down):
            return _applied(_Gated, gate, up, down.weight)
        made: torch.Tensor = down(silu(gate) * up)
        return made


def has_hooks(module: nn.Module) -> bool:
    """Whether someone has to be told when a module runs, for instance to gather its weight before."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def quicken(model: Model) -> Model:
    """Have a model's layers compute as those here do. Layers of other kinds stay as they are.

    Returns:
        The same model.
    """
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
        return (inputs * _scale(inputs, epsilon)).mul_(weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        scale = _scale(inputs, ctx.epsilon)
        normed = inputs * scale
        along = gradient * normed
        to_weight = along.flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        shared = (along @ weight).div_(inputs.shape[-1]).unsqueeze(-1)
        return (gradient * weight).sub_(normed.mul_(shared)).mul_(scale), to_weight, None


def _scale(inputs: torch.Tensor, epsilon: float) -> torch.Tensor:
    norms = torch.linalg.vector_norm(inputs, dim=-1, keepdim=True)
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


def _plain(*tensors: torch.Tensor) -> bool:
    """Whether all are fp32 on the CPU and no autocast is on."""
    right = all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
    return right and not torch.is_autocast_enabled("cpu")


def _applied(function: type[torch.autograd.Function], *arguments: Any) -> torch.Tensor:
    made: torch.Tensor = function.apply(*arguments)
    return made

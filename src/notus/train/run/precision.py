"""What a training computes in and keeps its weights in, decided for a model, and said.

Owns the engine and the types that ``auto`` stands for, what they cost, the optimiser of weights that are kept in half
precision, and the type that a trained model is saved in with what rounding to it loses. How a pass computes is in
``train.batches``, what the settings are in ``train.settings``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from notus.core.errors import ConfigError
from notus.core.run import Run
from notus.engine.adapters import base_model
from notus.engine.attention import check_supported, obstacle
from notus.engine.load import DTYPES, stored_type, weight_files
from notus.engine.pack import PromptGroup, merge_groups
from notus.train.settings import Training

__all__ = ["RoundingAdamW", "decide", "optimizer_of", "saved_type", "say_engine", "say_rounding"]


def decide(run: Run, config: Training, model: PreTrainedModel, start: str) -> Training:
    """The settings with ``auto`` decided for a model; what was decided is noted.

    Args:
        run: is told.
        config: of the training.
        model: that is to be trained, before an adapter of this training is put on it.
        start: folder or hub id that it was loaded from.

    Raises:
        ConfigError: if the packed engine is asked for and not right for the model, or the types do not fit.
    """
    plain, changes = base_model(model), dict[str, Any]()
    if config.dtype == "auto":
        names = {dtype: name for name, dtype in DTYPES.items()}
        changes["dtype"] = names.get(plain.dtype, "float32")
    whole = config.lora is None and not hasattr(plain, "peft_config")
    kept = changes.get("dtype", config.dtype)
    if whole and kept in ("float16", "4bit"):
        raise ConfigError(f"weights in {kept} can only be trained under an adapter; set 'lora', or dtype: bfloat16")
    if whole and kept == "bfloat16" and config.optimizer == "rmsprop":
        raise ConfigError("rmsprop loses small updates of bfloat16 weights; take adamw_torch, or dtype: float32")
    if config.engine == "packed":
        check_supported(plain, config.limits.max_length)
    reason = obstacle(plain, config.limits.max_length) if config.engine == "auto" else None
    if config.engine == "auto":
        changes |= {"engine": "packed"} if reason is None else {"engine": "padded", "max_tokens": config.tokens}
    decided = config.model_copy(update=changes)
    if decided.computing == "float16" and plain.device.type != "cuda":
        raise ConfigError(f"precision float16 is for CUDA, and this is {plain.device.type}; set precision: bfloat16")
    decided = decided.model_copy(update={"precision": decided.computing})
    run.note(
        engine=decided.engine,
        engine_reason=reason,
        attention=plain.config._attn_implementation,
        precision=decided.precision,
        dtype=decided.dtype,
        stored=str(stored_type(start) or "unknown").removeprefix("torch."),
        learning_rate=decided.rate,
    )
    if "learning_rate" not in config.model_fields_set:
        run.log(f"learning_rate is {decided.rate:g}, the usual one of this training; it was not set")
    return decided


def say_engine(run: Run, config: Training, groups: Sequence[PromptGroup]) -> None:
    """Say what computing in padded rows costs where nobody asked for it: the tokens of an epoch in either way."""
    reason = run.summary.get("engine_reason")
    if reason is None:
        return
    merged = merge_groups(groups, config.tokens)[0] if config.share_prompts else groups
    packed = sum(group.tokens for group in merged)
    padded = sum(len(group.prompt) + len(completion) for group in groups for completion in group.completions)
    run.note(tokens_packed=packed, tokens_padded=padded)
    run.log(
        f"engine: padded, as {reason}; an epoch takes {padded:,} tokens and padding, where packed rows would take "
        f"{packed:,} ({padded / packed:.2f} times)"
    )


def optimizer_of(config: Training, model: Any, seed: int) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """The optimiser that weights in half precision need; None where the usual one does."""
    trained = {weight.dtype for weight in model.parameters() if weight.requires_grad}
    if not trained & {torch.bfloat16, torch.float16}:
        return None
    return RoundingAdamW, {"lr": config.rate, "seed": seed}


class RoundingAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter 2019, algorithm 2) in fp32, whose new weights are rounded at random to their own type.

    A weight in bf16 has 8 bits, so that an update below 1/512 of it is lost when it is rounded to the nearest: all of
    them at a learning rate of 5e-7. Rounded up with the probability of what is cut off, it is right on average (Gupta
    et al. 2015, section 3.1, https://arxiv.org/abs/1502.02551). Moments are fp32. Weights in fp32 are not rounded.

    The bits drawn depend on the seed and the number of the update alone, and not on the state of the process.

    Args:
        params: weights or groups of them.
        lr: learning rate.
        betas: decay of both moments.
        eps: ε.
        weight_decay: λ.
        seed: of the rounding.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.seed = seed

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all weights that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        drawn: dict[torch.device, torch.Generator] = {}
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = torch.zeros((), dtype=torch.int64)
                    for name in ("exp_avg", "exp_avg_sq"):
                        state[name] = torch.zeros_like(weight, dtype=torch.float32)
                state["step"] += 1
                count = int(state["step"])
                if weight.device not in drawn:
                    drawn[weight.device] = torch.Generator(weight.device)
                    drawn[weight.device].manual_seed(self.seed * 1_000_003 + count)
                _update(weight, state, group, count, drawn[weight.device])
        return loss

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As torch's, which would round the moments to the type of the weights."""
        super().load_state_dict(dict(state_dict))
        numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for number, weight in zip(numbers, weights, strict=True):
            for name in ("exp_avg", "exp_avg_sq"):
                if (stored := state_dict["state"].get(number, {}).get(name)) is not None:
                    self.state[weight][name] = stored.to(weight.device, torch.float32, copy=True)


_PART = 1 << 22
"""Weights that are updated at once: what is made on the way takes 12 bytes for each."""


def _update(
    weight: torch.Tensor, state: Mapping[str, Any], group: Mapping[str, Any], count: int, drawn: torch.Generator
) -> None:
    first, second = group["betas"]
    size, root = group["lr"] / (1 - first**count), (1 - second**count) ** 0.5
    flat = (weight, weight.grad, state["exp_avg"], state["exp_avg_sq"])
    if not all(tensor is not None and tensor.is_contiguous() for tensor in flat):
        raise ConfigError("weights in half precision must lie contiguous to be trained; set dtype: float32")
    parts = [tensor.view(-1).split(_PART) for tensor in flat]
    for kept, gradient, mean, square in zip(*parts, strict=True):
        slope = gradient.float()
        mean.lerp_(slope, 1 - first)
        square.mul_(second).addcmul_(slope, slope, value=1 - second)
        exact = kept.float().mul_(1 - group["lr"] * group["weight_decay"])
        exact.addcdiv_(mean, square.sqrt().div_(root).add_(group["eps"]), value=-size)
        _put_rounded(kept, exact, drawn)


def _put_rounded(kept: torch.Tensor, exact: torch.Tensor, drawn: torch.Generator) -> None:
    """Round up with the probability of the bits that are cut off; bf16 is the upper half of fp32."""
    if kept.dtype == torch.bfloat16:
        bits = exact.view(torch.int32)
        bits += torch.randint(1 << 16, bits.shape, dtype=torch.int32, device=bits.device, generator=drawn)
        bits &= -(1 << 16)
    kept.copy_(exact)


def saved_type(config: Training, start: str) -> torch.dtype | None:
    """The type of the weights in the trained model's file; None: the one that they have."""
    return stored_type(start) if config.save_precision == "start" else DTYPES[config.save_precision]


@torch.no_grad()
def say_rounding(run: Run, model: PreTrainedModel, start: str, dtype: torch.dtype | None) -> None:
    """Say how many of the trained weights differ from the start once they are rounded to the type of the file."""
    if dtype is None or dtype == model.dtype:
        return
    weights, moved, left, count = model.state_dict(), 0, 0, 0
    for path in weight_files(start):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  no mapping
                if name not in weights or weights[name].shape != torch.Size(file.get_slice(name).get_shape()):
                    continue
                before, after = file.get_tensor(name), weights[name].cpu()
                count += after.numel()
                moved += int((after != before.to(after.dtype)).sum())
                left += int((after.to(dtype) != before.to(dtype)).sum())
    if not count:
        return
    name = str(dtype).removeprefix("torch.")
    run.note(saved_in=name, weights_moved=moved / count, weights_moved_as_saved=left / count)
    if left < moved:
        run.log(
            f"saved in {name}, as the start is: of the weights training moved {moved / count:.1%}, and rounding leaves "
            f"{left / count:.1%} moved; save_precision: float32 keeps all"
        )

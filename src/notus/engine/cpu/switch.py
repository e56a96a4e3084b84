"""Whether this process computes with the hand-written kernels of this room, or the plain PyTorch way.

The kernels call operators that PyTorch keeps private. Where one of them is missing or has other arguments than here,
all goes the plain way, with the same numbers up to rounding. ``NOTUS_CPU_KERNELS=0`` asks for the plain way, for
instance to see whether a kernel is at fault.

Owns the decision and its one line for the user. Which kernel is the faster one for a shape is owned by ``layers``; that
none is called on another device than the CPU, by those who call them.
"""

import logging
import os
from functools import cache

import torch

from notus.core.errors import ConfigError

__all__ = ["VARIABLE", "find_reason", "kernels_on"]

VARIABLE = "NOTUS_CPU_KERNELS"
"""The environment variable: 0 turns the kernels off, 1 or nothing leaves them on. It is read once."""

_PRIVATE = {
    "aten::_scaled_dot_product_flash_attention_for_cpu": "query key value dropout_p is_causal attn_mask scale",
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": (
        "grad_out query key value out logsumexp dropout_p is_causal attn_mask scale"
    ),
    "aten::silu_backward": "grad_output self",
}
_ONE_DNN = {"mkldnn::_linear_pointwise": "X W B attr scalars algorithm"}
"""Only where PyTorch was built with oneDNN; without it matrix products go another way and the rest stays."""


@cache
def kernels_on() -> bool:
    """Whether the kernels compute. Where they do not although nobody asked for that, a line on the log says so once.

    Raises:
        ConfigError: if the environment variable is neither 0 nor 1.
    """
    reason = find_reason()
    if reason is not None:
        asked = os.environ.get(VARIABLE) == "0"
        logging.getLogger("notus.engine").log(logging.INFO if asked else logging.WARNING, reason)
    return reason is None


def find_reason() -> str | None:
    """Why the kernels do not compute, in one line; None where they do.

    Raises:
        ConfigError: if the environment variable is neither 0 nor 1.
    """
    asked = os.environ.get(VARIABLE, "1")
    if asked not in ("", "0", "1"):
        raise ConfigError(f"{VARIABLE} is {asked!r}; set 0 for plain PyTorch, or 1 for the CPU kernels")
    if asked == "0":
        return f"computing without the CPU kernels, as {VARIABLE}=0 says"
    needed = _PRIVATE | (_ONE_DNN if torch.backends.mkldnn.is_available() else {})
    missing = [name for name, arguments in needed.items() if _arguments(name) != arguments.split()]
    if missing:
        return (
            f"computing without the CPU kernels: PyTorch {torch.__version__} has no {missing[0]} as they call it; "
            "results are the same, up to rounding, and take longer"
        )
    return None


def _arguments(operator: str) -> list[str]:
    """Names of an operator's arguments; none where there is no such operator."""
    library, _, name = operator.partition("::")
    found = getattr(getattr(torch.ops, library), name, None)
    return [] if found is None else [argument.name for argument in found.default._schema.arguments]

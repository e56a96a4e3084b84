"""What can be set of a training run. No torch: a recipe is checked without it."""

from typing import Literal

import pydantic

from notus.core.config import Config
from notus.models.settings import Limits, Lora

__all__ = ["Training", "Updates"]


class Updates(Config):
    """What every training can set. Names and meanings are those of transformers' ``TrainingArguments``."""

    epochs: float = pydantic.Field(default=1.0, gt=0)
    batch_size: int = pydantic.Field(default=32, ge=1)
    """Dialogues (SFT), pairs or unpaired rows of one update."""
    learning_rate: float = pydantic.Field(default=5e-7, gt=0)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    warmup: float = pydantic.Field(default=0.1, ge=0, lt=1)
    """Share of the updates in which the learning rate rises from 0."""
    optimizer: Literal["adamw_torch_fused", "adamw_torch", "rmsprop"] = "adamw_torch_fused"
    """``adamw_torch_fused`` is AdamW in one pass over the weights, ``adamw_torch`` the same in several."""
    weight_decay: float = pydantic.Field(default=0.0, ge=0)
    max_grad_norm: float = pydantic.Field(default=1.0, gt=0)
    activation_checkpointing: bool = False
    """Whether activations are computed again in the backward pass: less memory, about a third more time."""
    precision: Literal["float32", "bfloat16"] = "float32"
    log_every: int = pydantic.Field(default=10, ge=1)
    """Updates between two lines of metrics."""
    limits: Limits = Limits()
    report_to: tuple[str, ...] = ()
    """Trackers by transformers' names, for example ``wandb``; each must be installed."""


class Training(Updates):
    """How a language model is trained: by SFT, by pairs or by single rows."""

    share_prompts: bool = True
    """Whether pairs of one prompt come one after the other, and its answers are computed once for all of them."""
    engine: Literal["packed", "padded"] = "packed"
    """``packed`` computes a prompt once for all its answers and pads nothing; ``padded`` is the plain way, for models
    that the packed one refuses. Both give the same numbers."""
    max_tokens: int = pydantic.Field(default=2048, ge=16)
    """Tokens of one forward pass of the packed engine. Pairs of one prompt that take more are split; a pair that takes
    more alone makes a longer one."""
    micro_batch_size: int | None = pydantic.Field(default=None, ge=1)
    """Rows or pairs of one forward pass of the padded engine; null takes the whole batch."""
    self_check: bool = False
    """Whether the packed engine is compared with the padded one on the first batch, and a difference is an error."""
    lora: Lora | None = None
    """An adapter to train instead of all weights; null trains all of them."""

    @pydantic.model_validator(mode="after")
    def _every_setting_does_something(self) -> "Training":
        if self.engine == "packed" and self.micro_batch_size:
            raise ValueError("micro_batch_size belongs to 'engine: padded'; the packed engine splits by max_tokens")
        if self.engine == "padded" and (self.self_check or "max_tokens" in self.model_fields_set):
            name = "self_check" if self.self_check else "max_tokens"
            raise ValueError(f"{name} belongs to 'engine: packed'; the padded engine splits by micro_batch_size")
        return self

"""What can be set of a training run. No torch: a recipe is checked without it."""

from typing import Literal

import pydantic

from notus.core.config import Config
from notus.models.settings import Limits

__all__ = ["Training"]


class Training(Config):
    """How a model is trained. Names and meanings are those of transformers' ``TrainingArguments``."""

    epochs: float = pydantic.Field(default=1.0, gt=0)
    batch_size: int = pydantic.Field(default=32, ge=1)
    """Rows (SFT) or pairs (DPO) of one update."""
    micro_batch_size: int | None = pydantic.Field(default=None, ge=1)
    """Rows or pairs of one forward pass; null takes the whole batch. Must divide it."""
    learning_rate: float = pydantic.Field(default=5e-7, gt=0)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    warmup: float = pydantic.Field(default=0.1, ge=0, lt=1)
    """Share of the updates in which the learning rate rises from 0."""
    optimizer: Literal["adamw_torch", "rmsprop"] = "adamw_torch"
    weight_decay: float = pydantic.Field(default=0.0, ge=0)
    max_grad_norm: float = pydantic.Field(default=1.0, gt=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    log_every: int = pydantic.Field(default=10, ge=1)
    """Updates between two lines of metrics."""
    limits: Limits = Limits()
    report_to: tuple[str, ...] = ()
    """Trackers by transformers' names, for example ``wandb``; each must be installed."""

    @pydantic.model_validator(mode="after")
    def _divides(self) -> "Training":
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(f"micro_batch_size {self.micro_batch_size} must divide batch_size {self.batch_size}")
        return self

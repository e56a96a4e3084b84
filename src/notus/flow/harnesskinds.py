"""The settings of the step that asks a model the questions of an academic benchmark. No torch, no lm-eval."""

from typing import ClassVar, Literal, Self

import pydantic

from notus.core.errors import nearest
from notus.evaluate.harness import TASKS
from notus.evaluate.harness_rows import LOCAL
from notus.flow.stepconfig import OptionalRef, Ref, StepConfig

__all__ = ["Harness"]


class Harness(StepConfig):
    """Ask a model the questions of an academic benchmark, with lm-eval's prompts and metrics."""

    draws: ClassVar[bool] = False
    computes: ClassVar[bool] = True
    do: Literal["harness"] = "harness"
    model: Ref = "dpo"
    """A step, a folder, an adapter folder or a hub id."""
    task: str | None = None
    """Name of a task: one of the seven of Open LLM Leaderboard v1, which come with their shots, or any of lm-eval's."""
    task_file: OptionalRef = None
    """In place of a name, a task file in lm-eval's own format."""
    data: OptionalRef = None
    """A file with the questions of the task; null has lm-eval get them from the hub."""
    shots: int | None = pydantic.Field(default=None, ge=0)
    """Examples in front of each question; null takes the leaderboard's, or the task's own."""
    shots_seed: int = pydantic.Field(default=1234, ge=0)
    """Draws the examples; 1234 is lm-eval's own."""
    metric: str | None = None
    """What arms are compared by; null takes the leaderboard's, or the task's first."""
    limit: int | None = pydantic.Field(default=None, ge=1)
    """Only so many questions, of each subject."""
    engine: Literal["packed", "padded"] = "packed"
    """``packed`` computes what requests share once, ``padded`` leaves it to lm-eval's batches."""
    max_tokens: int = pydantic.Field(default=4096, ge=16)
    """Tokens of a packed forward pass."""
    batch_size: int = pydantic.Field(default=8, ge=1)
    """Rows of a padded batch, and of a batch of texts that are generated."""
    max_length: int | None = pydantic.Field(default=None, ge=2)
    """Tokens of the longest sequence; null takes the model's. What is longer is cut on the left."""
    precision: Literal["float32", "bfloat16"] = "float32"
    contaminated: bool | None = None
    """Whether the model was trained on the questions. Null looks, for TruthfulQA, whether its lineage names
    UltraFeedback, which holds them."""

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.task is None) is (self.task_file is None):
            raise ValueError(f"name one task, or a task file; tasks with known shots: {', '.join(TASKS)}")
        if self.data is not None and self.task not in LOCAL:
            reason = "a task file names its own" if self.task is None else nearest(self.task, LOCAL)
            raise ValueError(f"questions of {self.task or self.task_file!r} cannot come from a file of yours; {reason}")
        return self

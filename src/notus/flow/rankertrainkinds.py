"""The settings of the step that trains a ranker. What it does is in ``flow.rankertrainsteps``; no torch here."""

from typing import ClassVar, Literal, Self

import pydantic

from notus.flow.stepconfig import OptionalRef, Reads, Ref, Seed
from notus.train.ranker_settings import RankerTraining

__all__ = ["TrainRanker"]


class TrainRanker(Reads, RankerTraining):
    """Train a ranker on preferences, and measure it on prompts that are held out."""

    computes: ClassVar[bool] = True
    do: Literal["train-ranker"] = "train-ranker"
    pairs: Ref = "binarize"
    """Preference pairs: a step, a file, a folder or a hub id."""
    start: OptionalRef = None
    """Language model, encoder or ranker to start from: a step, a folder or a hub id. Without one, a small model with
    random weights and a tokenizer of the pairs' texts is made."""
    held_out: float = pydantic.Field(default=0.1, ge=0, lt=1)
    """Share of the prompts to measure on; where an earlier step has held pairs out, those are taken."""
    seed: Seed | None = None

    @pydantic.model_validator(mode="after")
    def _size_of_what_is_made(self) -> Self:
        if self.start is not None:
            for name in ("shape", "encoder", "vocabulary"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is the size of a model that is made, and 'start' names one; leave it out")
        return self

"""Folds of prompts: a model that is to judge a prompt must not have been trained on it.

    parts of a set:   fold 0 | fold 1 | fold 2          a prompt's fold is told by its hash alone
    model k:          trained on all folds but k, judges fold k

Owns the setting. The division itself is that of ``data.critique_text``, which learns from the wording in the same way.
"""

from typing import Self

import pydantic

from notus.core.config import Config
from notus.data.critique_text import fold_of

__all__ = ["Fold"]


class Fold(Config):
    """One fold of the prompts. All rows of a prompt are in the same one, whatever file they stand in."""

    of: int = pydantic.Field(ge=2, le=100)
    """Number of folds."""
    number: int = pydantic.Field(ge=0)
    """Which of them, counted from 0."""

    @pydantic.model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.number >= self.of:
            raise ValueError(f"there is no fold {self.number} of {self.of}; they are counted from 0 to {self.of - 1}")
        return self

    def holds(self, prompt_id: str) -> bool:
        """Whether a prompt is in this fold."""
        return fold_of(prompt_id, self.of) == self.number

"""What can be set of the training of a ranker. No torch: a recipe is checked without it."""

from typing import Literal

import pydantic

from notus.engine.settings import Limits, Shape
from notus.rankers.settings import EncoderShape, PairBudget
from notus.train.settings import Updates

__all__ = ["RankerTraining"]


class RankerTraining(Updates):
    """How a ranker is trained on preferences."""

    form: Literal["reward-model", "pairrm"] = "reward-model"
    """``reward-model`` scores each answer for itself, ``pairrm`` compares two at a time."""
    learning_rate: float | None = pydantic.Field(default=1e-5, gt=0)
    """The highest one; the schedule goes up to it and down again."""
    margin: float = pydantic.Field(default=0.0, ge=0)
    """By how much the logit must exceed, for each point of the difference of the two scores; 0 asks for no margin."""
    max_tokens: int = pydantic.Field(default=8192, ge=16)
    """Tokens of a forward pass, padding included. It changes time and memory, not the update."""
    both_orders: bool | None = None
    """Whether a pair is learnt in both orders, as two examples; null: yes. Otherwise the seed draws one. For
    ``pairrm``."""
    limits: Limits = Limits()
    """Lengths of a conversation, for ``reward-model``; a longer one is cut on the left."""
    budget: PairBudget = PairBudget()
    """Lengths of a pair, for ``pairrm``; they are written beside the weights."""
    shape: Shape | None = None
    """Size of a ``reward-model`` from random weights, where it starts from none; null takes the usual one."""
    encoder: EncoderShape | None = None
    """Size of a ``pairrm`` from random weights, where it starts from none; null takes the usual one."""
    vocabulary: int | None = pydantic.Field(default=None, ge=300)
    """Entries of the tokenizer that a ``pairrm`` from random weights is given; null takes 2,000."""

    @pydantic.model_validator(mode="after")
    def _every_setting_does_something(self) -> "RankerTraining":
        others = {
            "reward-model": ("both_orders", "budget", "encoder", "vocabulary"),
            "pairrm": ("limits", "shape"),
        }[self.form]
        for name in others:
            if getattr(self, name) != type(self).model_fields[name].get_default():
                other = "pairrm" if self.form == "reward-model" else "reward-model"
                raise ValueError(f"{name} belongs to 'form: {other}', and this is 'form: {self.form}'")
        return self

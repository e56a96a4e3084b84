"""What can be set of the training of a ranker. No torch: a recipe is checked without it."""

from typing import Literal

import pydantic

from notus.engine.settings import Limits, Shape
from notus.rankers.settings import EncoderShape, PairBudget
from notus.train.settings import Updates

__all__ = ["RankerTraining"]

_READ_BY = {
    **dict.fromkeys(("limits", "shape"), ("reward-model", "classifier")),
    **dict.fromkeys(("both_orders", "budget", "encoder", "vocabulary"), ("pairrm",)),
    "margin": ("reward-model", "pairrm"),
}
"""Setting → the forms that read it."""


class RankerTraining(Updates):
    """How a ranker is trained on preferences."""

    form: Literal["reward-model", "pairrm", "classifier"] = "reward-model"
    """``reward-model`` scores each answer for itself, ``pairrm`` compares two at a time, ``classifier`` learns from
    single answers whether one is accepted or rejected."""
    learning_rate: float | None = pydantic.Field(default=1e-5, gt=0)
    """The highest one; the schedule goes up to it and down again."""
    margin: float = pydantic.Field(default=0.0, ge=0)
    """By how much the logit must exceed, for each point of the difference of the two scores; 0 asks for no margin. Not
    for ``classifier``."""
    max_tokens: int = pydantic.Field(default=8192, ge=16)
    """Tokens of a forward pass, padding included. It changes time and memory, not the update."""
    both_orders: bool | None = None
    """Whether a pair is learnt in both orders, as two examples; null: yes. Otherwise the seed draws one. For
    ``pairrm``."""
    limits: Limits = Limits()
    """Lengths of a conversation, for ``reward-model`` and ``classifier``; a longer one is cut on the left."""
    budget: PairBudget = PairBudget()
    """Lengths of a pair, for ``pairrm``; they are written beside the weights."""
    shape: Shape | None = None
    """Size of a ``reward-model`` or a ``classifier`` from random weights, where it starts from none; null takes the
    usual one."""
    encoder: EncoderShape | None = None
    """Size of a ``pairrm`` from random weights, where it starts from none; null takes the usual one."""
    vocabulary: int | None = pydantic.Field(default=None, ge=300)
    """Entries of the tokenizer that a ``pairrm`` from random weights is given; null takes 2,000."""

    @pydantic.model_validator(mode="after")
    def _every_setting_does_something(self) -> "RankerTraining":
        for name, forms in _READ_BY.items():
            if self.form not in forms and getattr(self, name) != type(self).model_fields[name].get_default():
                raise ValueError(f"{name} belongs to 'form: {forms[0]}', and this is 'form: {self.form}'")
        return self

"""How a ranker works: what can be set of it. No torch: a recipe is checked without it.

Owns the settings. Which ranker it is, is owned by ``rankers.ref``.
"""

from typing import Any, Literal, Self

import pydantic

from notus.core.config import Config
from notus.engine.settings import Limits
from notus.llm.judge import Judges
from notus.llm.judges.rubric_judge import RubricJudge

__all__ = ["EncoderShape", "PairBudget", "Ranking"]


class PairBudget(Config):
    """How many tokens of a pair are read, markers included. The defaults are those of PairRM."""

    source: int = pydantic.Field(default=1224, ge=8)
    """Tokens of the prompt."""
    candidate: int = pydantic.Field(default=412, ge=8)
    """Tokens of each answer; what the prompt leaves over goes to the answers, half each."""

    @property
    def total(self) -> int:
        """Tokens of the longest pair."""
        return self.source + 2 * self.candidate


class EncoderShape(Config):
    """Size of a DeBERTa-v2 encoder that is made from scratch (He et al. 2021, https://arxiv.org/abs/2111.09543)."""

    width: int = pydantic.Field(default=64, ge=8)
    """Size of the hidden state."""
    layers: int = pydantic.Field(default=2, ge=1)
    """Blocks of attention and feed-forward."""
    heads: int = pydantic.Field(default=4, ge=1)
    """Of the attention."""
    ffn: int = pydantic.Field(default=128, ge=8)
    """Size of the feed-forward layer."""
    buckets: int = pydantic.Field(default=64, ge=4)
    """Buckets of relative positions, to either side."""
    positions: int = pydantic.Field(default=512, ge=32)
    """Distance at which the buckets of relative positions end; longer inputs are read all the same."""

    @pydantic.model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of the heads ({self.heads})")
        return self


class Ranking(Config):
    """How a ranker works."""

    selection: Literal["full", "bubble"] = "full"
    """Of PairRM: ``full`` scores all ordered pairs, ``bubble`` finds the best alone with 2(n − 1) of them, from 13
    answers on with up to a sixth of all, in the mean of the prompts ranked together."""
    seed: int = pydantic.Field(default=0, ge=0)
    """Decides the order in which ``bubble`` goes through the answers."""
    max_tokens: int | None = pydantic.Field(default=None, ge=16)
    """Tokens of a forward pass; a longer example makes a longer one. It changes time and memory, not the scores. Null
    takes what suits the device."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the weights, for ``pairrm`` and ``reward-model``."""
    budget: PairBudget = PairBudget()
    """Of PairRM. Where its folder names lengths of its own, as the published one does, those are taken."""
    limits: Limits = Limits()
    """Lengths for ``implicit`` and ``reward-model``."""
    own_checks: tuple[str, ...] = ()
    """Of ``checks``: your own ones that its file may name, each ``python:FILE.py:NAME``. That is code, which runs."""
    judging: Literal["pairs", "grades"] = "pairs"
    """Of a judge: each pair in both orders, or a grade from 1 to 10 for each answer, which is usual with a rubric."""
    judge_tokens: int = pydantic.Field(default=1024, ge=1)
    """The most tokens of a judge's reply; a reply that is cut is not read."""
    tries: int = pydantic.Field(default=3, ge=1, le=20)
    """How often a judge is asked until its reply can be read."""
    rubric: str | None = None
    """Of a judge: a rubric file of your own, by which it judges: docs/own-judge.md."""

    @pydantic.model_validator(mode="after")
    def _rubric_is_there(self) -> Self:
        if self.rubric is not None:
            self.judges()
            if "judging" not in self.model_fields_set:
                object.__setattr__(self, "judging", "grades")
        return self

    @pydantic.model_serializer(mode="wrap")
    def _rubric_by_content(self, serialize: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A rubric counts by what its file says; without one the settings count as they did before there was one."""
        found: dict[str, Any] = serialize(self)
        if self.rubric is None:
            return {key: value for key, value in found.items() if key != "rubric"}
        return found | {"rubric": RubricJudge(self.rubric).digest}

    def judges(self) -> Judges:
        """How a judge is asked."""
        return Judges(rubric=self.rubric)

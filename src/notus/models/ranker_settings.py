"""What can be set of a ranker: which one, and how it works. No torch: a recipe is checked without it.

Owns the text form of rankers (``pairrm:PATH``) and the settings. What a ranker does is in ``models.ranker``.

| text | ranker |
|---|---|
| ``length`` | the number of characters: a control, which knows nothing of quality |
| ``python:module:function``, ``python:file.py:function`` | a function of the user's |
| ``pairrm:MODEL`` | a pairwise reward model with the head of PairRM |
| ``reward-model:MODEL`` | a scalar reward model, ``AutoModelForSequenceClassification`` |
| ``implicit:POLICY@REFERENCE`` | the implicit reward of a policy against its reference |
| ``judge:NAME`` | a judge, as the generator or the endpoints call it |

A MODEL is a folder, a run directory or a hub id.
"""

from typing import Literal, Self

import pydantic

from notus.core.config import Config
from notus.core.errors import ConfigError, nearest
from notus.models.settings import Limits

__all__ = ["RANKERS", "EncoderShape", "PairBudget", "RankerSpec", "Ranking"]

RANKERS: dict[str, str] = {
    "length": "length",
    "python": "python:module:function",
    "pairrm": "pairrm:MODEL",
    "reward-model": "reward-model:MODEL",
    "implicit": "implicit:POLICY@REFERENCE",
    "judge": "judge:NAME",
}
"""Kind of ranker → its text form."""


class RankerSpec(Config):
    """Which ranker: its kind, and what it is made of."""

    kind: Literal["length", "python", "pairrm", "reward-model", "implicit", "judge"]
    model: str | None = None
    """Folder or hub id of the model or policy, ``module:function`` or ``file.py:function``, or name of the judge."""
    reference: str | None = None
    """Folder or hub id of the reference, for ``implicit`` alone."""

    @pydantic.model_validator(mode="after")
    def _complete(self) -> Self:
        form = RANKERS[self.kind]
        if (self.model is None) is (self.kind != "length"):
            raise ValueError(f"this ranker is written {form}")
        if (self.reference is None) is (self.kind == "implicit"):
            raise ValueError(f"this ranker is written {form}; a reference belongs to 'implicit' alone")
        if self.kind == "python" and not all((self.model or "").rpartition(":")[::2]):
            raise ValueError(f"a function is written module:function or file.py:function, and this is {self.model!r}")
        return self

    @classmethod
    def read(cls, text: str) -> Self:
        """Read the text form.

        Raises:
            ConfigError: for an unknown kind, with the nearest, or a form that does not fit the kind.
        """
        kind, _, rest = text.partition(":")
        if kind not in RANKERS:
            raise ConfigError(f"there is no ranker '{kind}'; {nearest(kind, RANKERS)}")
        fields: dict[str, str | None] = {"kind": kind, "model": rest or None}
        if kind == "implicit":
            fields["model"], fields["reference"] = _policy_and_reference(rest)
        return cls.parse(fields, where=f"ranker {text!r}")

    def __str__(self) -> str:
        ends = [self.model] if self.reference is None else [f"{self.model}@{self.reference}"]
        return ":".join([self.kind, *(end for end in ends if end)])


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
    heads: int = pydantic.Field(default=4, ge=1)
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
    judging: Literal["pairs", "grades"] = "pairs"
    """Of a judge: each pair in both orders, or a grade from 1 to 10 for each answer."""
    judge_tokens: int = pydantic.Field(default=1024, ge=1)
    """The most tokens of a judge's reply; a reply that is cut is not read."""
    tries: int = pydantic.Field(default=3, ge=1, le=20)
    """How often a judge is asked until its reply can be read."""


def _policy_and_reference(text: str) -> tuple[str | None, str | None]:
    """Divide ``POLICY@REFERENCE``; either may be a hub id with ``@revision``, and then the middle @ divides."""
    parts = text.split("@")
    if len(parts) == 4 or len(parts) == 2:
        half = len(parts) // 2
        policy, reference = "@".join(parts[:half]), "@".join(parts[half:])
        return policy or None, reference or None
    raise ConfigError(
        f"ranker 'implicit:{text}' is not of the form {RANKERS['implicit']}; give both a @revision or none"
    )

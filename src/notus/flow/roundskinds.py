"""The settings of the steps that measure: a round beside the start, and best of n. What they do is in ``roundssteps``.

No torch.
"""

from typing import Any, Literal, Self

import pydantic

from notus.core.errors import ConfigError
from notus.flow.rankkinds import Rank
from notus.flow.stepconfig import OptionalRef, Ref
from notus.models.settings import Limits

__all__ = ["BestOfN", "Round"]


class _Checked(Rank):
    """What both share: who ranks, and who checks beside the ranker."""

    check: str | None = None
    """An independent check, written like a ranker; null leaves the ranker alone to judge."""
    check_model: OptionalRef = None
    """The check's model or file; taken from ``check`` where that names it, as is ``check_reference``."""
    check_reference: OptionalRef = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _check_divided(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("check"), str):
            return values
        given = {"model": values.get("check_model"), "reference": values.get("check_reference")}
        try:
            check = Rank.parse({"ranker": values["check"]} | given, where="'check'")
        except ConfigError as error:
            # Of a check nothing but its own text can be wrong, which Rank knows as 'ranker'.
            raise ValueError(str(error).replace("'check': 'ranker': ", "'check': ", 1)) from None
        return values | {"check": check.ranker, "check_model": check.model, "check_reference": check.reference}

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Self:
        if self.ranking.selection != "full":
            raise ValueError("'bubble' finds the best answer alone; this step needs all scores (selection: full)")
        return self

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether a model computes in this process."""
        check = self.checking()
        return super().computes or (check is not None and check.computes)

    def checking(self) -> Rank | None:
        """The check as a ranker of its own, with all other settings as they are here."""
        if self.check is None:
            return None
        shared = {name: getattr(self, name) for name in Rank.model_fields if name != "do"}
        own = {"ranker": self.check, "model": self.check_model, "reference": self.check_reference}
        return Rank(**(shared | own))


class BestOfN(_Checked):
    """What picking the best of k answers is worth, for all k up to n, from the same answers."""

    do: Literal["best-of-n"] = "best-of-n"  # type: ignore[assignment]
    n: int | None = pydantic.Field(default=None, ge=1)
    """The largest k; null takes the number of answers that half of the prompts have."""


class Round(_Checked):
    """Measure a round's model beside the start's and that of the round before, on the same prompts."""

    do: Literal["round"] = "round"  # type: ignore[assignment]
    number: int = pydantic.Field(ge=1)
    outputs: Ref
    """Answers of the round's model; a step ``sample``."""
    start_outputs: Ref
    """Those of the start."""
    before_outputs: OptionalRef = None
    """Those of the round before; null in the first round."""
    before: OptionalRef = None
    """The step that measured the round before."""
    policy: OptionalRef = None
    """The round's model. It and ``start`` are needed for the divergence; null leaves it out."""
    start: OptionalRef = None
    max_tokens: int = pydantic.Field(default=2048, ge=16)
    """Tokens of a forward pass for the divergence."""
    limits: Limits = Limits()

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether a model computes in this process."""
        return self.policy is not None or super().computes

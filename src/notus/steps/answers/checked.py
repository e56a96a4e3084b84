"""What the steps share that ask a ranker and an independent check beside it."""

from dataclasses import dataclass
from typing import Any, Self

import pydantic

from notus.core.errors import ConfigError
from notus.core.records import Feedback
from notus.steps.answers.rank import Rank, forget, scores_of
from notus.steps.base import (
    Context,
    OptionalRef,
)

__all__ = ["RankWithCheck", "ScoresAndCheck", "forget_both", "judge"]

Scores = list[list[float | None]]


_CHECKED = ".checked"
"""Folder of what is kept of the check when a run is stopped."""


class RankWithCheck(Rank):
    """What both share: who ranks, and who checks beside the ranker."""

    check: str | None = None
    """An independent check, written like a ranker; null leaves the ranker alone to judge."""
    check_model: OptionalRef = None
    """The check's model or file; taken from ``check`` where that names it, as is ``check_reference``."""
    check_reference: OptionalRef = None
    """The check's reference, where it is ``implicit``; taken from ``check`` where that names it."""

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
    def _ranks_all_answers(self) -> Self:
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
        shared = {name: getattr(self, name) for name in Rank.model_fields}
        own = {"ranker": self.check, "model": self.check_model, "reference": self.check_reference}
        return Rank(**(shared | own))


@dataclass(frozen=True)
class ScoresAndCheck:
    """Scores by prompt and answer, with the names of who gave them."""

    ranker: str
    ranked: Scores
    check: str | None = None
    checked: Scores | None = None


def judge(context: Context, config: RankWithCheck, feedback: list[Feedback]) -> ScoresAndCheck:
    """The scores of the ranker, and those of the check; what is ranked is kept until ``forget_both`` is called."""
    ranker, ranked = scores_of(context, config, feedback, context.tally("rank", "parts"))
    checking = config.checking()
    if checking is None:
        return ScoresAndCheck(ranker, ranked)
    places = {key: context.inputs[f"check_{key}"] for key in ("model", "reference") if f"check_{key}" in context.inputs}
    own = {key: value for key, value in context.inputs.items() if key not in ("model", "reference")} | places
    other = Context(context.run, checking, own, None, context.decided)
    return ScoresAndCheck(
        ranker, ranked, *scores_of(other, checking, feedback, context.tally("check", "parts"), _CHECKED)
    )


def forget_both(context: Context, config: RankWithCheck) -> None:
    """Remove what was kept of both rankings, once the result is written."""
    forget(context)
    if config.check is not None:
        forget(context, _CHECKED)

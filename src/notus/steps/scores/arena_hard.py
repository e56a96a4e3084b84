"""The step that scores stored judgements of Arena-Hard."""

from typing import Any, ClassVar, Literal, Self

import pydantic

from notus.core.artifacts import FINDINGS, SCORES, Artifact
from notus.core.errors import ConfigError, DataError, nearest
from notus.evaluate.score_files.arena_hard import (
    FEATURES,
    STRONG,
    Battle,
    CategoryScores,
    arena_hard_scores,
    control_style,
    read_battles,
    read_styles,
    unread_games,
)
from notus.report.sets.arena_hard import arena_hard_sections
from notus.stats.intervals import estimates_as_json
from notus.steps.base import Context, MayLose, Refs, Step
from notus.steps.scores.table import write_stored_scores

__all__ = ["ArenaHard"]

_Features = Literal["length", "markdown"]


class ArenaHard(Step, MayLose):
    """Score stored judgements of Arena-Hard: win rates over the baseline, by Bradley and Terry, and beside style."""

    step_type: ClassVar[str] = "arena-hard"
    leaves: ClassVar[tuple[Artifact, ...]] = (SCORES, FINDINGS)
    compared_by: ClassVar[tuple[str, ...]] = ("version", "category", "baseline", "judges", "strong_counts")
    draws: ClassVar[bool] = False
    judgments: Refs = pydantic.Field(min_length=1)
    """Files of judgements of v0.1 or of v2, or folders of them (``model_judgment/JUDGE``)."""
    answers: Refs = ()
    """Files of answers with their style, or folders of them (``model_answer``), for style control."""
    control: tuple[_Features, ...] = ("length", "markdown")
    """What of style is controlled for, where answers are given."""
    judge: tuple[str, ...] = ()
    """Only what these judges said; empty takes all, each game once for each judge."""
    category: tuple[str, ...] = ()
    """Only these categories of v2; empty takes all, each for itself."""
    baseline: str | None = pydantic.Field(default=None, min_length=1)
    """The model that all were judged against, where the rows do not say it and it is not the published one."""
    strong: float = pydantic.Field(default=STRONG, ge=1)
    """How often a strong verdict counts."""

    @pydantic.model_validator(mode="after")
    def _controls_something(self) -> Self:
        if self.answers and not self.control:
            raise ValueError("answers are given for style control, and 'control' names nothing; leave one of them out")
        if not self.answers and self.control != type(self).model_fields["control"].default:
            raise ValueError("'control' says what of style is controlled for; give the answers with their style too")
        return self

    def run(self, context: Context) -> None:
        """Score stored judgements."""
        with context.row_reader() as reader:
            battles = read_battles(context.places("judgments"), reader, judges=self.judge, baseline=self.baseline)
        kept = self._of_category(battles)
        if not any(battle.decided for battle in kept):
            raise context.run.refuse_losses("no judgement has a verdict that counts")
        unread_games(kept, context.tally("games", "parts"))
        scores = arena_hard_scores(kept, strong=self.strong)
        if self.answers:
            scores = self._with_style(context, scores, kept)
        context.write_findings(arena_hard_sections(scores, strong=self.strong))
        context.note(
            version=scores[0].version,
            category=[each.category for each in scores],
            baseline=[each.baseline for each in scores],
            judges=sorted({battle.judge for battle in kept}),
            strong_counts=self.strong,
            scores=[_as_json(each) for each in scores],
        )
        models = {battle.model for battle in kept}
        if len(models) == 1 and len(scores) == 1:
            write_stored_scores(context, [_row(battle, self.strong) for battle in kept], kept)

    def _of_category(self, battles: list[Battle]) -> list[Battle]:
        known = list(dict.fromkeys(battle.category for battle in battles if battle.category))
        if self.category and battles and not known:
            raise ConfigError("category: these judgements have none, as those of v0.1; leave it out")
        for name in self.category:
            if name not in known:
                raise ConfigError(f"category: no judgement is of '{name}'; {nearest(name, known)}")
        return [battle for battle in battles if not self.category or battle.category in self.category]

    def _with_style(
        self, context: Context, scores: list[CategoryScores], battles: list[Battle]
    ) -> list[CategoryScores]:
        """The scores with style control.

        Raises:
            DataError: for v0.1, whose published features are others; or if no answer has a style.
        """
        from dataclasses import replace

        if scores[0].version != "v2":
            raise DataError("style control is that of v2, and these judgements are of v0.1; leave --answers out")
        with context.row_reader("read-answers") as reader:
            styles = read_styles(context.places("answers"), reader)
        if not styles:
            raise DataError(
                f"{', '.join(map(str, context.places('answers')))}: no answer has its style (metadata with token_len); "
                "Arena-Hard's utils/add_markdown_info.py writes it"
            )
        features = [name for name in FEATURES if ("length" if name == "length" else "markdown") in self.control]
        controlled = [
            replace(each, style=control_style(each, battles, styles, strong=self.strong, features=features))
            for each in scores
        ]
        for each in controlled:
            if each.style is None:
                context.log(f"'{each.category}': too few games have both styles, or a feature is the same in all")
            elif each.style.without_style:
                context.log(
                    f"'{each.category}': {each.style.without_style} judgements lack a style and are left out there"
                )
        return controlled


def _row(battle: Battle, strong: float) -> tuple[str, float | None, str]:
    won, weight = battle.weighted(strong)
    return (battle.question, won / weight, "judged") if weight else (battle.question, None, "no-verdict")


def _as_json(scores: CategoryScores) -> Any:
    """A category as JSON: shares and log-odds each under their unit."""
    found = estimates_as_json(scores, "share")
    for model, given in zip(scores.models, found["models"], strict=True):
        given["strength"] = model.strength and model.strength.as_json("log-odds")
    if scores.style is not None:
        found["style"]["features"] = {k: each.as_json("log-odds") for k, each in scores.style.features.items()}
    return found

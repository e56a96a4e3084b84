"""The step that puts scores of a new judge on the scale of an old one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic

from notus.core.artifacts import FINDINGS, Artifact
from notus.core.errors import DataError
from notus.core.records import Completion, Feedback, Scale
from notus.core.text import counted
from notus.report.people.bridge import bridge_sections
from notus.stats.corrected.bridge import Both, bridge
from notus.steps.base import Context, FeedbackRef, Reads, require_feedback

__all__ = ["BRIDGED", "Bridge", "Matched", "match_scores"]

BRIDGED = Artifact("bridged", "bridged.parquet")
"""Each model on the old judge's scale."""
Which = Literal["overall", "mean-rating"]


@dataclass(frozen=True)
class Matched:
    """Scores by both judges of the same answers."""

    models: dict[str, Both]
    repeated: int
    """Scores of an answer beyond its first by a judge, which went into its mean."""
    unscored: int
    """Answers that stand in the data without a score."""
    unnamed: int
    """Answers without the name of a model, which are one model together."""


class Bridge(Reads):
    """Put scores of a new judge on the scale of an old one, by the answers that both have scored."""

    step_type: ClassVar[str] = "bridge"
    leaves: ClassVar[tuple[Artifact, ...]] = (BRIDGED, FINDINGS)
    draws: ClassVar[bool] = False
    old: FeedbackRef
    """Feedback with the old judge's scores: all answers that it has scored."""
    new: FeedbackRef
    """Feedback with the new judge's scores: some of the same answers, and further ones."""
    scores: Which = pydantic.Field(default="overall")
    """What is bridged: the overall score of an answer's critique, or the mean of its ratings."""
    population: Literal["these", "like"] = "these"
    """Whether the score is the mean over *these* answers, or over answers to other prompts *like* them."""

    def run(self, context: Context) -> None:
        """Match answers by prompt, model and text, and leave a row for each model."""
        if context.run.inputs["old"] == context.run.inputs["new"]:
            raise DataError(
                f"'old' and 'new' are the same data ({context.inputs['new']}); a bridge is between two judges"
            )
        sides = []
        for name in ("old", "new"):
            source = context.source(name)
            require_feedback(source)
            sides.append(list(context.records(source, f"read-{name}")))
        matched = match_scores(sides[0], sides[1], self.scores)
        found, slope = bridge(matched.models, self.population)
        rows: list[dict[str, Any]] = []
        for model, each in found.items():
            ends = None if each.estimate is None else each.estimate.as_json("points")
            row = {"model": model, **{key: (ends or {}).get(key) for key in ("mean", "low", "high")}}
            rows.append(
                row
                | {"shared": each.shared, "old_only": each.old_only, "new_only": each.new_only}
                | {"new_mean": each.new, "unseen": each.unseen, "note": each.note}
            )
        context.write_rows(BRIDGED, rows)
        context.write_findings(bridge_sections(found, slope, matched.repeated, matched.unscored, matched.unnamed))
        bridged = sum(each.estimate is not None for each in found.values())
        context.note(models=len(found), bridged=bridged, slope=slope, scores=self.scores, population=self.population)
        estimates = {model: each.estimate.as_json("points") for model, each in found.items() if each.estimate}
        context.note(shared=sum(each.shared for each in found.values()), figures=estimates)


def match_scores(old: Iterable[Feedback], new: Iterable[Feedback], which: Which = "overall") -> Matched:
    """Lay the scores of two judges beside each other, answer by answer, for each model.

    Raises:
        DataError: if no answer has scores by both, or one judge's scores are on several scales.
    """
    told = [_Side.read(side, which, name) for side, name in ((old, "old"), (new, "new"))]
    keys = list(dict.fromkeys([*told[0].scores, *told[1].scores]))
    if not set(told[0].scores) & set(told[1].scores):
        raise DataError(
            f"none of the {counted(len(told[0].scores), 'answer')} with an old score and the "
            f"{counted(len(told[1].scores), 'answer')} with a new one is the same: answers are matched by prompt, "
            "model and text"
        )
    models: dict[str, Both] = {}
    for model in dict.fromkeys(key[1] for key in keys):
        own = [key for key in keys if key[1] == model]
        old_new = [[side.scores.get(key, np.nan) for key in own] for side in told]
        models[model or "(no name)"] = Both(old_new[0], old_new[1], [prompt for prompt, *_ in own])
    return Matched(
        models,
        sum(side.repeated for side in told),
        sum(side.unscored for side in told),
        sum(not model for _, model, _ in keys),
    )


Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""Prompt, model and the turns of the answer."""


@dataclass(frozen=True)
class _Side:
    """What one judge gave."""

    scores: dict[Key, float]
    repeated: int
    unscored: int

    @classmethod
    def read(cls, records: Iterable[Feedback], which: Which, name: str) -> "_Side":
        found: dict[Key, list[float]] = {}
        scales: set[Scale] = set()
        unscored = 0
        for record in records:
            for item in record.completions:
                value = _score(item, which, scales)
                if value is None:
                    unscored += 1
                    continue
                turns = tuple((turn.role, turn.content.strip()) for turn in item.answer)
                found.setdefault((record.prompt_id, item.model, turns), []).append(value)
        if len(scales) > 1:
            told = " and ".join(sorted(f"{scale.low:g} to {scale.high:g}" for scale in scales))
            raise DataError(f"the {name} scores are on several scales ({told}); bridge one at a time")
        repeated = sum(len(values) - 1 for values in found.values())
        return cls({key: sum(values) / len(values) for key, values in found.items()}, repeated, unscored)


def _score(item: Completion, which: Which, scales: set[Scale]) -> float | None:
    if which == "mean-rating":
        scales.update(rating.scale for rating in item.ratings if rating.scale is not None and rating.value is not None)
        return item.mean_rating
    if item.critique is None or item.critique.score is None:
        return None
    if item.critique.scale is not None:
        scales.add(item.critique.scale)
    return float(item.critique.score)

"""The step that scores stored judgements of WildBench."""

from typing import Any, ClassVar

import pydantic

from notus.core.artifacts import FINDINGS, SCORES, Artifact
from notus.core.errors import ConfigError
from notus.evaluate.score_files.wildbench import (
    WildScore,
    read_judgements,
    read_tasks,
    reward_of,
    wildbench_scores,
)
from notus.report.sets.wildbench import wildbench_sections
from notus.stats.intervals import estimates_as_json
from notus.steps.base import Context, MayLose, OptionalRef, Refs, Step
from notus.steps.scores.table import write_stored_scores

__all__ = ["WildBench"]


class WildBench(Step, MayLose):
    """Score stored judgements of WildBench v2: WB-Score from scores, WB-Reward from verdicts on two answers."""

    step_type: ClassVar[str] = "wildbench"
    leaves: ClassVar[tuple[Artifact, ...]] = (SCORES, FINDINGS)
    compared_by: ClassVar[tuple[str, ...]] = ("judgement_kind", "reference", "length_margin")
    draws: ClassVar[bool] = False
    judgments: Refs = pydantic.Field(min_length=1)
    """Files of judgements, a model each, or folders of them (``eval_results/…``)."""
    tasks: OptionalRef = None
    """Rows with ``id``, ``primary_tag`` and ``secondary_tags`` (the benchmark's own), for the task categories; null
    takes the tags of the judgements, where they have them."""
    model: str | None = pydantic.Field(default=None, min_length=1)
    """Of verdicts on two the model that is scored; null takes the one that a file is called after."""
    length_margin: int = pydantic.Field(default=-1, ge=-1)
    """Of verdicts on two, K: a slight win by an answer that is more than K characters longer is a tie; −1: none is."""

    def run(self, context: Context) -> None:
        """Score stored judgements."""
        with context.row_reader() as reader:
            judged = read_judgements(
                context.places("judgments"), reader, model=self.model, length_margin=self.length_margin
            )
        if not judged:
            raise context.run.refuse_losses("there is no judgement")
        for name, given in (("model", self.model is not None), ("length_margin", self.length_margin >= 0)):
            if given and judged[0].kind == "score":
                raise ConfigError(
                    f"{name}: it is for verdicts on two answers, and these are scores of one; leave it out"
                )
        tasks: dict[str, tuple[str, ...]] = {}
        if context.has("tasks"):
            with context.row_reader("read-tasks") as reader:
                tasks = read_tasks(context.place("tasks"), reader)
        scores = wildbench_scores(judged, tasks)
        context.write_findings(wildbench_sections(scores))
        context.note(
            judgement_kind=scores[0].kind,
            reference=sorted({each.reference for each in scores}),
            length_margin=self.length_margin,
            scores=[_as_json(each) for each in scores],
        )
        if len(scores) == 1:
            rows = [(each.task, reward_of(each), "judged" if each.whole else "not-whole") for each in judged]
            write_stored_scores(context, rows, judged)


def _as_json(score: WildScore) -> Any:
    found = estimates_as_json(score, "points" if score.kind == "score" else "reward")
    found["raw"] = score.raw and score.raw.as_json("score")
    return found

"""The step that says what picking the best of k answers is worth, for all k up to n."""

from typing import ClassVar

import msgspec
import pydantic

from notus.core.artifacts import FINDINGS, OUTPUTS, Artifact
from notus.core.errors import DataError
from notus.core.records import Feedback, Output
from notus.core.run import atomic
from notus.evaluate.best_of_n import ScoredAnswers, best_of_n_curve
from notus.rankers.make import best_of
from notus.report.evaluations.rounds import best_of_n_sections
from notus.stats.intervals import estimates_as_json
from notus.steps.answers.checked import RankWithCheck, forget_both, judge
from notus.steps.answers.rank import answers_of
from notus.steps.base import Context

__all__ = ["CURVE", "BestOfN"]

CURVE = Artifact("best-of-n", "best-of-n.json")
"""What the best of k is worth, for each k."""


class BestOfN(RankWithCheck):
    """What picking the best of k answers is worth, for all k up to n, from the same answers."""

    step_type: ClassVar[str] = "best-of-n"
    leaves: ClassVar[tuple[Artifact, ...]] = (CURVE, OUTPUTS, FINDINGS)
    n: int | None = pydantic.Field(default=None, ge=1)
    """The largest k; null takes the number of answers that half of the prompts have."""

    def run(self, context: Context) -> None:
        """Best of k for all k, with the ranker's pick for each prompt."""
        feedback = list(answers_of(context, self, context.inputs["outputs"]))
        if not feedback:
            raise DataError(f"{context.inputs['outputs']} holds no answer to rank")
        judged = judge(context, self, feedback)
        scored, picks = [], []
        for place, item in enumerate(feedback):
            kept = [(index, score) for index, score in enumerate(judged.ranked[place]) if score is not None]
            if kept:
                checks = None if judged.checked is None else tuple(judged.checked[place][index] for index, _ in kept)
                scored.append(ScoredAnswers(item.prompt_id, tuple(score for _, score in kept), checks))
            best = best_of(judged.ranked[place])
            if best is not None:
                picks.append(_pick(item, best))
        found = best_of_n_curve(scored, self.n)
        with atomic(CURVE.at(context.path), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(found)))
        context.write(OUTPUTS, picks)
        context.write_findings(best_of_n_sections(found, judged.ranker, judged.check))
        context.note(prompts=found.prompts, left_out=found.fewer, checked=found.checked, n=len(found.points))
        context.note(figures=estimates_as_json(found.points, "score"))
        forget_both(context, self)


def _pick(item: Feedback, place: int) -> Output:
    answer = item.completions[place]
    return Output(
        prompt=item.prompt,
        text=answer.text,
        model=answer.model,
        sample=answer.extra.get("sample", place),
        truncated=bool(answer.extra.get("truncated")),
        file=item.file,
        line=item.line,
    )

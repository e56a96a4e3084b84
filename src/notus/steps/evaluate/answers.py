"""The step that measures answers by a measure of ours or of the user's."""

from pathlib import Path
from typing import Any, ClassVar

import pydantic

from notus.core.artifacts import FINDINGS, OUTPUTS, SCORES, VERDICTS, Artifact
from notus.core.errors import ConfigError, DataError
from notus.core.records import Output
from notus.core.tables import read_records, table_exists
from notus.evaluate.measures import EVALUATIONS, count_verdicts, measure_outputs
from notus.evaluate.symptoms import SYMPTOMATIC, SymptomRate, symptom_rates
from notus.report.verified.symptoms import symptom_section
from notus.steps.base import Context, OutputsRef, Step
from notus.steps.evaluate.scores import note_estimate, write_scores

__all__ = ["Evaluate"]


class Evaluate(Step):
    """Score each answer by a measure: what runs with scores have is compared, with n and an interval."""

    step_type: ClassVar[str] = "evaluate"
    leaves: ClassVar[tuple[Artifact, ...]] = (VERDICTS, SCORES, FINDINGS)
    draws: ClassVar[bool] = False
    outputs: OutputsRef = "sample"
    """Answers: a run that has drawn some, or its outputs.parquet."""
    by: str = pydantic.Field(min_length=1)
    """The measure: toy, length, a symptom (wrong-capitals, disclaimer, refusal, repetition, truncated) or symptoms for
    all of them, python:FILE.py:NAME, or one that a package registers."""

    @pydantic.field_validator("by")
    @classmethod
    def _measure_exists(cls, by: str) -> str:
        if not EVALUATIONS.knows(by):
            try:
                EVALUATIONS.load(by)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return EVALUATIONS.resolve(by)

    def run(self, context: Context) -> None:
        """Measure each answer, and count those that have no score, by reason."""
        outputs = _outputs(context.place("outputs"))
        context.tally("read", "rows").count_all(len(outputs))
        verdicts = measure_outputs(self.by, outputs)
        context.write(VERDICTS, verdicts)
        write_scores(context, verdicts)
        found = count_verdicts(verdicts)
        mean = None if found.mean is None else found.mean.as_json("score")
        context.note(measure=Path(self.by).name, asked=found.asked, scored=found.scored, unscored=found.unscored)
        context.note(mean=mean)
        if self.by == SYMPTOMATIC:
            rates = symptom_rates(outputs)
            context.write_findings([symptom_section(rates)])
            context.note(symptoms={each.name: _noted(each) for each in rates})


def _noted(found: SymptomRate) -> dict[str, Any]:
    rate = None if found.rate is None else note_estimate(found.rate)
    return {"asked": found.asked, "scored": found.scored, "rate": rate}


def _outputs(place: Path) -> list[Output]:
    table = OUTPUTS.at(place) if place.is_dir() else place
    if not table_exists(table):
        raise DataError(f"{place} holds no {OUTPUTS.file}; name a run of 'sample' (notus generate), or its file")
    return list(read_records(table, Output))

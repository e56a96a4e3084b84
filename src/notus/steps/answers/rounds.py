"""The step that measures a round: its model beside the start's and that of the round before, on the same prompts.

Owns how answers come from run directories to the measures, the ranking of several models' answers together, and the
divergence from the start. The figures are those of ``evaluate.rounds``.
"""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import ClassVar

import msgspec
import pydantic

from notus.core.artifacts import FINDINGS, OUTPUTS, ROUNDS, Artifact
from notus.core.errors import DataError
from notus.core.records import Completion, Feedback, Message, Output
from notus.core.run import atomic
from notus.core.tables import read_records, table_exists
from notus.engine.settings import Limits
from notus.evaluate.rounds import Measures, PromptAnswers, find_warnings, measure_answers
from notus.report.evaluations.rounds import round_sections
from notus.stats.intervals import wilson_if_unanimous
from notus.steps.answers.checked import RankWithCheck, forget_both, judge
from notus.steps.base import Context, OptionalModelRef, OptionalRef, OutputsRef

__all__ = ["Round"]

Drawn = dict[tuple[Message, ...], list[Output]]


class Round(RankWithCheck):
    """Measure a round's model beside the start's and that of the round before, on the same prompts."""

    step_type: ClassVar[str] = "round"
    leaves: ClassVar[tuple[Artifact, ...]] = (ROUNDS, FINDINGS)
    number: int = pydantic.Field(ge=1)
    """Of the round, counted from 1."""
    outputs: OutputsRef
    """Answers of the round's model; a step ``sample``."""
    start_outputs: OutputsRef
    """Those of the start."""
    before_outputs: OptionalRef = None
    """Those of the round before; null in the first round."""
    before: OptionalRef = None
    """The step that measured the round before."""
    policy: OptionalModelRef = None
    """The round's model. It and ``start`` are needed for the divergence; null leaves it out."""
    start: OptionalModelRef = None
    """The first model, from which the divergence is measured."""
    max_tokens: int = pydantic.Field(default=2048, ge=16)
    """Tokens of a forward pass for the divergence."""
    limits: Limits = Limits()

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether a model computes in this process."""
        return self.policy is not None or super().computes

    def run(self, context: Context) -> None:
        """Measure a round: ``rounds.json`` holds it and those before, with findings and pictures."""
        names = [name for name in ("outputs", "start_outputs", "before_outputs") if name in context.inputs]
        drawn = [_outputs(context.inputs[name]) for name in names]
        # Where cut answers were dropped, a prompt may have lost all of one model's: it cannot be compared.
        prompts = [prompt for prompt in drawn[0] if all(prompt in of for of in drawn)]
        if not prompts:
            raise DataError(
                f"{context.inputs['outputs']} and {context.inputs['start_outputs']} answer no prompt in common"
            )
        # Ranked as one list for each prompt: only then can the scores of several models be compared.
        joined = [_feedback(prompt, [output for of in drawn for output in of[prompt]]) for prompt in prompts]
        ends = [list(accumulate((len(of[prompt]) for of in drawn), initial=0)) for prompt in prompts]
        judged = judge(context, self, joined)
        kl = _divergence(context, self, prompts, drawn[0]) if self.policy and self.start else None
        models = []
        for model, of in enumerate(drawn):
            parts = [slice(*at[model : model + 2]) for at in ends]
            models.append(
                [
                    PromptAnswers(
                        prompt_id=item.prompt_id,
                        texts=tuple(output.text for output in of[prompt]),
                        ranked=tuple(judged.ranked[place][part]),
                        checked=None if judged.checked is None else tuple(judged.checked[place][part]),
                        truncated=sum(output.truncated for output in of[prompt]),
                        kl=tuple(kl[place]) if kl is not None and model == 0 else None,
                    )
                    for place, (prompt, item, part) in enumerate(zip(prompts, joined, parts, strict=True))
                ]
            )
        before = models[2] if len(models) > 2 else None
        found = measure_answers(self.number, models[0], models[1], before, ranker=judged.ranker, check=judged.check)
        _leave(context, msgspec.structs.replace(found, warnings=find_warnings(found)))
        forget_both(context, self)


def _feedback(prompt: tuple[Message, ...], outputs: Sequence[Output]) -> Feedback:
    return Feedback(prompt=prompt, completions=tuple(Completion(text=item.text, model=item.model) for item in outputs))


def _outputs(given: str) -> Drawn:
    """Prompt → its answers, of a run directory or a file."""
    table = OUTPUTS.at(Path(given)) if Path(given).is_dir() else Path(given)
    if not table_exists(table):
        raise DataError(f"{given} holds no outputs.parquet; name a run of 'sample' (notus generate), or its file")
    found: Drawn = {}
    for output in read_records(table, Output):
        found.setdefault(output.prompt, []).append(output)
    return found


def _divergence(
    context: Context, config: Round, prompts: Sequence[tuple[Message, ...]], drawn: Drawn
) -> list[list[float]]:
    """log π(y|x) − log π_start(y|x) of each answer y that π drew: their mean estimates KL(π ‖ π_start).

    An answer that was cut has no end, and none is put behind it.
    """
    from notus.engine.load import load_model, load_tokenizer
    from notus.engine.logps import all_completion_logps
    from notus.engine.pack import PromptGroup
    from notus.engine.text.encoder import Encoder

    encoder = Encoder(load_tokenizer(context.model("policy")), config.limits, context.tally("encode", "parts"))
    groups = []
    for prompt, ids in zip(prompts, encoder.prompts(prompts), strict=True):
        outputs = drawn[prompt]
        answers = encoder.answers([output.text for output in outputs], [not output.truncated for output in outputs])
        groups.append(PromptGroup(ids, tuple(encoder.fit(ids, of) for of in answers)))
    models = (load_model(context.model(name)) for name in ("policy", "start"))
    sums = [all_completion_logps(model, groups, config.max_tokens) for model in models]
    return [[a - b for a, b in zip(ours, starts, strict=True)] for ours, starts in zip(*sums, strict=True)]


def _leave(context: Context, found: Measures) -> None:
    rounds = [*_before(context), found]
    with atomic(ROUNDS.at(context.path), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(rounds)))
    context.write_findings(round_sections(rounds))
    for warning in found.warnings:
        context.log(f"warning: {warning}")
    won = found.deciding.win_rate
    context.note(round=found.round, prompts=found.prompts, answers=found.answers, judged_by=found.check or found.ranker)
    context.note(
        win_rate=None if won is None else wilson_if_unanimous(won).as_json("share"), warnings=list(found.warnings)
    )


def _before(context: Context) -> list[Measures]:
    if not context.has("before"):
        return []
    return msgspec.json.decode(ROUNDS.at(context.place("before")).read_bytes(), type=list[Measures])

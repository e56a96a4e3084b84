"""The step that has prompts answered and checks the answers by program: IFEval, IFBench, or prompts of one's own.

| file | what |
|---|---|
| outputs.parquet | the answers, where a model or an endpoint gave them |
| answers.parquet | each answer with its strict and loose verdict |
| instructions.parquet | each instruction of each answer, strict and loose, and what was stored |
| differences.parquet | the instructions on which stored verdicts differ from these |
| accuracies.parquet | of prompts, instructions and kinds, with n and intervals |
| scores.parquet | for ``notus compare``, where one model was checked |
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec
import pydantic

from notus.checks.prompts import CheckedPrompt
from notus.checks.protocol import CHECKS
from notus.collect.settings import EndpointSettings
from notus.core.artifacts import FINDINGS, OUTPUTS, SCORES, VERDICTS, Artifact
from notus.core.errors import DataError, nearest
from notus.core.plugins import hash_code, source_file
from notus.core.records import Output, Verdict
from notus.core.stage import Place, Tally
from notus.core.tables import read_records, table_exists, write_table
from notus.engine.settings import Limits, Sampling
from notus.evaluate.checks.files import PromptIndex, StoredAnswer, read_answers, read_prompts
from notus.evaluate.checks.score import (
    CheckAccuracy,
    CheckedAnswer,
    find_differences,
    measure_checks,
)
from notus.report.evaluations.checks import checks_sections
from notus.stats.intervals import estimates_as_json
from notus.steps.answers.sample import Sample, draw_answers
from notus.steps.base import Context, FileRef, MayLose, OptionalModelRef, OptionalRef, Seed, Step

__all__ = ["Ifeval"]

_CHECKED_BY = "checks"
"""The judge of the verdicts."""


class Ifeval(Step, MayLose, EndpointSettings):
    """Check answers by program, strictly and loosely: of a model, of an endpoint, or stored ones."""

    step_type: ClassVar[str] = "ifeval"
    leaves: ClassVar[tuple[Artifact, ...]] = (OUTPUTS, VERDICTS, SCORES, FINDINGS)
    compared_by: ClassVar[tuple[str, ...]] = ("verdict", "own_checks")
    serve: ClassVar[None] = None  # what is asked over HTTP is a server that runs already
    prompts: FileRef
    """Prompts with their checks in the published layout: IFEval's, IFBench's, or your own."""
    own_checks: tuple[str, ...] = ()
    """Checks of your own that the prompts may name, each ``python:FILE.py:NAME``. That is code, which runs; a file of
    prompts alone runs none."""
    model: OptionalModelRef = None
    """The model that answers: a step, a folder or a hub id; or one endpoint under ``endpoints``."""
    outputs: OptionalRef = None
    """Stored answers: a run that has drawn some (``notus generate``), or a file with ``prompt`` or ``key`` and
    ``response``; where it has verdicts too, it is said where they differ."""
    name: str | None = None
    """What the model is called, where answers do not say; null takes the name of the run or the file."""
    only: tuple[str, ...] = ()
    """Of stored answers of several models, these alone."""
    limit: int | None = pydantic.Field(default=None, ge=1)
    """Only so many prompts."""
    verdict: Literal["strict", "loose"] = "strict"
    """By which verdict on whole prompts runs are compared; both are always reported."""
    sampling: Sampling = Sampling(temperature=0.0, max_new_tokens=1280)
    """Of the answers. The likeliest tokens, at most 1,280, are usual for IFEval."""
    limits: Limits = Limits()
    """Lengths for a model; an endpoint has its own."""
    seed: Seed | None = None

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether a model answers in this process."""
        return self.model is not None

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum([self.model is not None, self.outputs is not None, bool(self.endpoints)]) != 1:
            raise ValueError("name what is checked: a 'model', stored 'outputs', or one endpoint under 'endpoints'")
        if len(self.endpoints) > 1:
            raise ValueError(f"one endpoint answers, and these are {len(self.endpoints)}; make a run for each")
        if self.only and self.outputs is None:
            raise ValueError("'only' chooses among the models of stored answers; leave it out")
        for name in ("sampling", "limits") if self.outputs is not None else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"'{name}' says how answers are drawn, and 'outputs' are drawn already; leave it out")
        return self

    def run(self, context: Context) -> None:
        """Have the prompts answered or read the answers, check each, and leave verdicts, accuracies and scores."""
        with context.row_reader() as reader:
            prompts = read_prompts(context.place("prompts"), reader, self.own_checks)
        if not prompts:
            raise DataError(f"{self.prompts} holds no prompt with checks; a file with at least one is needed")
        chosen = dict(list(prompts.items())[: self.limit])
        answers = self._stored(context, chosen) if self.outputs is not None else self._drawn(context, chosen)
        checked = []
        for done, answer in enumerate(answers, start=1):
            checked.append(CheckedAnswer(answer, answer.prompt.check(answer.text)))
            if done % 50 == 0 or done == len(answers):
                context.progress(done, len(answers))
        _write(context, self, checked, chosen)

    def _drawn(self, context: Context, prompts: dict[str, CheckedPrompt]) -> list[StoredAnswer]:
        """Have the prompts answered; one text is asked once."""
        drawing = Sample(
            model=self.model,
            sampling=self.sampling,
            limits=self.limits,
            **{name: getattr(self, name) for name in EndpointSettings.model_fields},
        )
        places = {prompt.messages: Place(context.place("prompts").name, 0) for prompt in prompts.values()}
        drawn = draw_answers(context, drawing, places, context.seed)
        if not drawn:
            raise context.run.refuse_losses("none of the prompts can be asked")
        context.write(OUTPUTS, drawn)
        index = PromptIndex(prompts)
        return [_answer_of(output, index, self.name or output.model) for output in drawn]

    def _stored(self, context: Context, prompts: dict[str, CheckedPrompt]) -> list[StoredAnswer]:
        """Read stored answers; those to other prompts are put aside, and counted."""
        place, index = context.place("outputs"), PromptIndex(prompts)
        table = OUTPUTS.at(place) if place.is_dir() else place
        if place.is_dir() and not table_exists(table):
            raise DataError(f"{place} holds no {OUTPUTS.file}; name a run of 'sample' (notus generate), or a file")
        if table.suffix == ".parquet":
            found = _read_outputs(context.tally("answers", "parts"), table, index, self.name)
        else:
            with context.row_reader("read-answers") as reader:
                found = read_answers(table, index, self.name or _stem(table), reader)
        if index.by_trimmed_text:
            context.note(matched_without_space=index.by_trimmed_text)
        models = {answer.model for answer in found}
        for name in self.only:
            if name not in models:
                raise DataError(f"{place} holds no answer of '{name}'; {nearest(name, models)}")
        kept = [answer for answer in found if not self.only or answer.model in self.only]
        if not kept:
            raise context.run.refuse_losses(
                f"{place} answers none of the prompts of {self.prompts}; give answers to the same prompts"
            )
        return kept


def _answer_of(output: Output, index: PromptIndex, name: str) -> StoredAnswer:
    return StoredAnswer(
        index.find(None, output.prompt[-1].content),
        output.text,
        name,
        output.sample,
        file=output.file,
        line=output.line,
        truncated=output.truncated,
    )


def _read_outputs(tally: Tally, table: Path, index: PromptIndex, name: str | None) -> list[StoredAnswer]:
    """The answers of a run of ``sample`` to the prompts; others are dropped."""
    found = []
    for output in read_records(table, Output):
        tally.taken += 1
        try:
            found.append(_answer_of(output, index, name or output.model))
        except DataError as error:
            tally.drop(output.id, "unknown-prompt", str(error), at=output)
            continue
        tally.given += 1
    return found


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]


def _write(
    context: Context, config: Ifeval, checked: Sequence[CheckedAnswer], prompts: dict[str, CheckedPrompt]
) -> None:
    """Write tables, scores, figures and findings, and note what has no answer."""
    accuracies, differences = measure_checks(checked), find_differences(checked)
    models = list(dict.fromkeys(each.answer.model for each in checked))
    missing = {model: _count_missing(prompts, checked, model) for model in models}
    write_table(context.path / "answers.parquet", [_answer_row(each) for each in checked])
    write_table(context.path / "instructions.parquet", [row for each in checked for row in _instruction_rows(each)])
    write_table(context.path / "accuracies.parquet", [_accuracy_row(each) for each in accuracies])
    if differences:
        write_table(context.path / "differences.parquet", [vars(each) for each in differences])
    verdicts = [_verdict_of(each, config.verdict) for each in checked]
    context.write(VERDICTS, verdicts)
    if len(models) == 1:
        context.write_rows(SCORES, [_score_row(verdict) for verdict in verdicts])
    empty = sum(not each.answer.text.strip() for each in checked)
    stored = sum(each.answer.strict is not None or each.answer.loose is not None for each in checked)
    context.note(
        models=models,
        prompts=len(prompts),
        answers=len(checked),
        empty=empty,
        truncated=sum(each.answer.truncated for each in checked),
        unanswered={model: count for model, count in missing.items() if count},
        verdict=config.verdict,
        own_checks=_own_checks(config.own_checks),
        figures={model: _figures(accuracies, model) for model in models},
        stored_verdicts=stored,
        differing_instructions=len(differences),
    )
    context.write_findings(checks_sections(accuracies, differences, checked, missing))


def _own_checks(names: Iterable[str]) -> dict[str, str]:
    """Checks of the user's own with the hashes of their code: runs that differ in it were not checked alike."""
    files = {name: source_file(name, CHECKS.group) for name in names}
    return {Path(name).name: hash_code(file) if file else "" for name, file in files.items()}


def _count_missing(prompts: dict[str, CheckedPrompt], checked: Iterable[CheckedAnswer], model: str) -> int:
    """Prompts, by their text, that a model has no answer to."""
    answered = {each.prompt_id for each in checked if each.answer.model == model}
    return len({prompt.prompt_id for prompt in prompts.values()} - answered)


def _figures(accuracies: Iterable[CheckAccuracy], model: str) -> dict[str, Any]:
    """The four accuracies of a model as they stand in a manifest."""
    own = [each for each in accuracies if each.model == model and each.level != "kind"]
    found = {f"{each.level}_{way}": getattr(each, way) for each in own for way in ("strict", "loose")}
    return dict(estimates_as_json(found, "share"))


def _verdict_of(each: CheckedAnswer, way: str) -> Verdict:
    answer, followed = each.answer, getattr(each.followed, way)
    broken = [check.id for check, good in zip(answer.prompt.checks, followed, strict=True) if not good]
    return Verdict(
        prompt_id=each.prompt_id,
        model=answer.model,
        judge=_CHECKED_BY,
        score=float(not broken),
        sample=answer.sample,
        reason=" ".join(broken),
        id=answer.id,
        file=answer.file,
        line=answer.line,
    )


def _score_row(verdict: Verdict) -> dict[str, Any]:
    row = {"id": verdict.id, "prompt_id": verdict.prompt_id, "sample": verdict.sample, "value": verdict.score}
    return row | {"reason": verdict.reason, "file": verdict.file, "line": verdict.line}


def _answer_row(each: CheckedAnswer) -> dict[str, Any]:
    answer = each.answer
    return {
        "model": answer.model,
        "key": answer.prompt.key,
        "prompt_id": each.prompt_id,
        "sample": answer.sample,
        "strict": each.followed.all_strict,
        "loose": each.followed.all_loose,
        "characters": len(answer.text),
        "text": answer.text,
        "file": answer.file,
        "line": answer.line,
    }


def _instruction_rows(each: CheckedAnswer) -> Iterable[dict[str, Any]]:
    answer = each.answer
    for number, check in enumerate(answer.prompt.checks):
        yield {
            "model": answer.model,
            "key": answer.prompt.key,
            "prompt_id": each.prompt_id,
            "sample": answer.sample,
            "number": number,
            "check": check.id,
            "settings": msgspec.json.encode(check.settings).decode(),
            "strict": each.followed.strict[number],
            "loose": each.followed.loose[number],
            "stored_strict": None if answer.strict is None else answer.strict[number],
            "stored_loose": None if answer.loose is None else answer.loose[number],
        }


def _accuracy_row(each: CheckAccuracy) -> dict[str, Any]:
    row: dict[str, Any] = {"model": each.model, "level": each.level, "name": each.name, "n": each.n}
    for way in ("strict", "loose"):
        estimate = getattr(each, way)
        row[way] = getattr(each, f"{way}_followed") / each.n
        row[f"{way}_low"], row[f"{way}_high"] = (estimate.low, estimate.high) if estimate else (None, None)
    return row

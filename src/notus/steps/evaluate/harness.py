"""The steps that ask a model the questions of a benchmark, or of a suite, with lm-eval's prompts and metrics."""

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import msgspec
import pydantic

from notus.core.artifacts import (
    FINDINGS,
    SCORES,
    Artifact,
)
from notus.core.errors import nearest
from notus.core.tables import write_table
from notus.engine.settings import Templating
from notus.evaluate.harness.run import (
    LOCAL,
    TASKS,
    AnsweredQuestion,
    MetricMean,
    lm_eval_version,
    mean_metrics,
    open_engine,
    run_task,
)
from notus.evaluate.harness.suite import SUITES, SuiteRow, files_of, suite_mean, suite_row
from notus.provenance.training import STATED_FLAG, is_truthfulqa, run_flag
from notus.report.evaluations.harness import harness_sections, suite_sections
from notus.steps.base import (
    Context,
    OptionalRef,
    Ref,
    Step,
)
from notus.steps.evaluate.scores import note_estimate

__all__ = ["Harness", "HarnessSuite"]

_EVERY = 5.0
"""Seconds between two lines on how far the work is."""


class Harness(Step):
    """Ask a model the questions of an academic benchmark, with lm-eval's prompts and metrics."""

    step_type: ClassVar[str] = "harness"
    leaves: ClassVar[tuple[Artifact, ...]] = (SCORES, FINDINGS)
    compared_by: ClassVar[tuple[str, ...]] = ("metric", "shots", "lm_eval", "chat")
    draws: ClassVar[bool] = False
    computes: ClassVar[bool] = True
    model: Ref = "dpo"
    """A step, a folder, an adapter folder or a hub id."""
    task: str | None = None
    """Name of a task: one of the seven of Open LLM Leaderboard v1, which come with their shots, or any of lm-eval's."""
    task_file: OptionalRef = None
    """In place of a name, a task file in lm-eval's own format."""
    data: OptionalRef = None
    """A file with the questions of the task; null has lm-eval get them from the hub."""
    shots: int | None = pydantic.Field(default=None, ge=0)
    """Examples in front of each question; null takes the leaderboard's, or the task's own."""
    shots_seed: int = pydantic.Field(default=1234, ge=0)
    """Draws the examples; 1234 is lm-eval's own."""
    metric: str | None = None
    """What arms are compared by; null takes the leaderboard's, or the task's first."""
    limit: int | None = pydantic.Field(default=None, ge=1)
    """Only so many questions, of each subject."""
    engine: Literal["packed", "padded"] = "packed"
    """``packed`` computes what requests share once, ``padded`` leaves it to lm-eval's batches."""
    max_tokens: int = pydantic.Field(default=4096, ge=16)
    """Tokens of a packed forward pass."""
    batch_size: int = pydantic.Field(default=8, ge=1)
    """Rows of a padded batch, and of a batch of texts that are generated."""
    max_length: int | None = pydantic.Field(default=None, ge=2)
    """Tokens of the longest sequence; null takes the model's. What is longer is cut on the left."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the weights and of what is computed."""
    chat: bool = False
    """Whether questions and examples are turns of the model's chat template; otherwise they are plain text."""
    template: Templating = Templating()
    """What is asked of the chat template."""
    contaminated: bool | None = None
    """Whether the model was trained on the questions. Null looks, for TruthfulQA, whether its lineage names
    UltraFeedback, which holds them."""

    @pydantic.model_validator(mode="after")
    def _one_task(self) -> Self:
        if (self.task is None) is (self.task_file is None):
            raise ValueError(f"name one task, or a task file; tasks with known shots: {', '.join(TASKS)}")
        if not self.chat and self.template != Templating():
            raise ValueError("'template' belongs to 'chat: true'; otherwise questions are plain text")
        if self.data is not None and self.task not in LOCAL:
            reason = "a task file names its own" if self.task is None else nearest(self.task, LOCAL)
            raise ValueError(f"questions of {self.task or self.task_file!r} cannot come from a file of yours; {reason}")
        return self

    def run(self, context: Context) -> None:
        """Ask the questions, and write answers, scores and findings."""
        version = lm_eval_version()
        name = self.task or context.inputs["task_file"]
        context.log(f"lm-eval {version}, task {name}, {_asked_as(self.chat)}")
        engine = _engine_of(context, self)
        data = context.place("data") if context.has("data") else None
        answered = run_task(engine, name, data=data, shots=self.shots, limit=self.limit, seed=self.shots_seed)
        context.tally("read", "rows").count_all(len({(item.task, item.number) for item in answered}))
        known = TASKS.get(name)
        metric = self.metric or (known.metric if known else None)
        measured = mean_metrics(answered, metric, known.read_by if known else None)
        _write_answers(context, answered)
        _write_scores(context, answered, measured[0])
        shots = self.shots if self.shots is not None or known is None else known.shots
        context.note(lm_eval=version, task=name, shots=shots, metric=measured[0].metric, n=measured[0].n)
        if self.chat:
            context.note(chat=True)
        context.note(asked_as=_asked_as(self.chat))
        context.note(mean=measured[0].mean, interval=note_estimate(measured[0].interval, "score"))
        if engine.tokens_apart:
            context.note(tokens=engine.tokens_run, tokens_apart=engine.tokens_apart)
        mark = _mark(context, self.contaminated, name)
        context.note(mark=mark)
        context.write_findings(harness_sections(context.run.summary, measured, mark, answered))


class HarnessSuite(Step):
    """Ask a model the questions of a suite of academic benchmarks: a row for each, and their unweighted mean."""

    step_type: ClassVar[str] = "harness-suite"
    leaves: ClassVar[tuple[Artifact, ...]] = (FINDINGS,)
    draws: ClassVar[bool] = False
    computes: ClassVar[bool] = True
    model: Ref = "dpo"
    """A step, a folder, an adapter folder or a hub id."""
    suite: Literal["open-llm-v1"] = "open-llm-v1"
    """Which tasks, each with its shots: ``open-llm-v1`` has the seven of Open LLM Leaderboard v1."""
    data: OptionalRef = None
    """A folder with a file of questions for each task, under the task's name; null has lm-eval get them itself."""
    shots_seed: int = pydantic.Field(default=1234, ge=0)
    """Draws the examples; 1234 is lm-eval's own."""
    limit: int | None = pydantic.Field(default=None, ge=1)
    """Only so many questions of each task, or of each of its subjects."""
    engine: Literal["packed", "padded"] = "packed"
    """``packed`` computes what requests share once, ``padded`` leaves it to lm-eval's batches."""
    max_tokens: int = pydantic.Field(default=4096, ge=16)
    """Tokens of a packed forward pass."""
    batch_size: int = pydantic.Field(default=8, ge=1)
    """Rows of a padded batch, and of a batch of texts that are generated."""
    max_length: int | None = pydantic.Field(default=None, ge=2)
    """Tokens of the longest sequence; null takes the model's. What is longer is cut on the left."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the weights and of what is computed."""
    chat: bool = False
    """Whether questions and examples are turns of the model's chat template; otherwise they are plain text."""
    template: Templating = Templating()
    """What is asked of the chat template."""
    contaminated: bool | None = None
    """Whether the model was trained on the questions. Null looks, for TruthfulQA, whether its lineage names
    UltraFeedback, which holds them."""

    @pydantic.model_validator(mode="after")
    def _template_is_asked(self) -> Self:
        if not self.chat and self.template != Templating():
            raise ValueError("'template' belongs to 'chat: true'; otherwise questions are plain text")
        return self

    def run(self, context: Context) -> None:
        """Ask the questions of each task, and write answers and findings."""
        version, tasks = lm_eval_version(), SUITES[self.suite]
        files, unused = files_of(self.suite, context.place("data")) if context.has("data") else ({}, [])
        context.log(f"lm-eval {version}, suite {self.suite}, {_asked_as(self.chat)}")
        if unused:
            context.log(f"no task of the suite: {', '.join(unused)}")
        engine = _engine_of(context, self)
        rows, everything = [], []
        for task in tasks:
            context.log(f"task {task}")
            answered = run_task(engine, task, data=files.get(task), shots=None, limit=self.limit, seed=self.shots_seed)
            rows.append(suite_row(task, answered))
            everything += answered
        context.tally("read", "rows").count_all(len({(item.task, item.number) for item in everything}))
        _write_answers(context, everything)
        self._note(context, version, rows, unused)
        marks = {task: mark for task in tasks if (mark := _mark(context, self.contaminated, task))}
        context.note(marks=marks)
        context.write_findings(suite_sections(context.run.summary, rows, *suite_mean(rows), marks))

    def _note(self, context: Context, version: str, rows: Sequence[SuiteRow], unused: Sequence[str]) -> None:
        mean, interval = suite_mean(rows)
        context.note(lm_eval=version, suite=self.suite, asked_as=_asked_as(self.chat), limit=self.limit)
        context.note(
            tasks={
                row.task: {"shots": row.shots, "metric": row.metric, "n": row.n, "mean": row.mean}
                | {"interval": note_estimate(row.interval, "score")}
                for row in rows
            },
            mean=mean,
            interval=note_estimate(interval, "score"),
            files_of_no_task=list(unused),
        )


def _asked_as(chat: bool) -> str:
    """How questions are put, in words."""
    return "chat template on: turns of the model's template" if chat else "chat template off: plain text"


def _engine_of(context: Context, config: Harness | HarnessSuite) -> Any:
    return open_engine(
        context.model("model"),
        max_tokens=config.max_tokens if config.engine == "packed" else None,
        batch_size=config.batch_size,
        max_length=config.max_length,
        precision=config.precision,
        progress=_progress(context),
        chat=config.template if config.chat else None,
    )


def _progress(context: Context) -> Callable[[int, int], None]:
    told = [time.monotonic()]

    def progress(done: int, of: int) -> None:
        if time.monotonic() - told[0] >= _EVERY:
            told[0] = time.monotonic()
            context.run.metric(requests=done, of=of)

    return progress


def _write_answers(context: Context, answered: Sequence[AnsweredQuestion]) -> None:
    write_table(
        context.path / "answers.parquet",
        [
            {
                "task": item.task,
                "number": item.number,
                "prompt_id": item.prompt_id,
                "read_by": item.read_by,
                "metrics": msgspec.json.encode(item.metrics).decode(),
                "responses": msgspec.json.encode(item.responses).decode(),
            }
            for item in answered
        ],
    )


def _write_scores(context: Context, answered: Sequence[AnsweredQuestion], first: MetricMean) -> None:
    """The value of each question, by which arms are compared."""
    seen: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for item in answered:
        if item.read_by != first.read_by:
            continue
        number = seen[item.prompt_id] = seen.get(item.prompt_id, -1) + 1  # a question may stand in a set twice
        value = item.metrics[first.metric]
        row = {"id": f"{item.task}:{item.number}", "prompt_id": item.prompt_id, "sample": number, "value": value}
        rows.append(row | {"reason": "", "cluster": item.task})
    context.write_rows(SCORES, rows)


def _mark(context: Context, contaminated: bool | None, name: str) -> str:
    """What is to be known of a score whose questions may have been trained on."""
    if contaminated is not None or not is_truthfulqa(name):
        return STATED_FLAG if contaminated else ""
    return run_flag(name, context.path) or (
        "no sign of UltraFeedback, which holds TruthfulQA's questions, in what is known of the model's making; a "
        "folder or a hub id tells little: set 'contaminated' where you know"
    )

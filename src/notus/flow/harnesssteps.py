"""The step that asks a model the questions of an academic benchmark.

Leaves ``answers.parquet``, one row for each question and way of reading its answer, and ``scores.parquet``.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from notus.app.health import Finding
from notus.app.report import Table
from notus.core.run import Run
from notus.core.tables import write_table
from notus.evaluate.compare import spoken
from notus.evaluate.contaminated import is_truthfulqa
from notus.evaluate.harness import TASKS, Answered, Measured, lm_eval_version, measure, open_engine, run_task
from notus.flow.datasteps import write_findings
from notus.flow.given import find_model
from notus.flow.harnesskinds import Harness
from notus.flow.marks import STATED, mark_of

__all__ = ["harness"]

_EVERY = 5.0
"""Seconds between two lines on how far the work is."""


def harness(run: Run, config: Harness, inputs: Mapping[str, str], seed: int | None) -> None:
    """Ask the questions, and write answers, scores and findings."""
    del seed
    version = lm_eval_version()
    name = config.task or inputs["task_file"]
    run.log(f"lm-eval {version}, task {name}")
    engine = open_engine(
        find_model(inputs["model"]),
        max_tokens=config.max_tokens if config.engine == "packed" else None,
        batch_size=config.batch_size,
        max_length=config.max_length,
        precision=config.precision,
        progress=_progress(run),
    )
    data = Path(inputs["data"]) if "data" in inputs else None
    answered = run_task(engine, name, data=data, shots=config.shots, limit=config.limit, seed=config.shots_seed)
    known = TASKS.get(name)
    metric = config.metric or (known.metric if known else None)
    measured = measure(answered, metric, known.answers if known else None)
    _write(run, answered, measured[0])
    shots = config.shots if config.shots is not None or known is None else known.shots
    run.note(lm_eval=version, task=name, shots=shots, metric=measured[0].metric, n=measured[0].n)
    run.note(mean=measured[0].mean, interval=_ends(measured[0]))
    if engine.tokens_apart:
        run.note(tokens=engine.tokens_run, tokens_apart=engine.tokens_apart)
    mark = _mark(run, config, name)
    run.note(mark=mark)
    write_findings(run, _findings(run.summary, measured, mark, answered))


def _progress(run: Run) -> Callable[[int, int], None]:
    told = [time.monotonic()]

    def progress(done: int, of: int) -> None:
        if time.monotonic() - told[0] >= _EVERY:
            told[0] = time.monotonic()
            run.metric(requests=done, of=of)

    return progress


def _write(run: Run, answered: Sequence[Answered], first: Measured) -> None:
    write_table(
        run.path / "answers.parquet",
        [
            {
                "task": item.task,
                "number": item.number,
                "prompt_id": item.prompt_id,
                "read_by": item.answers,
                "metrics": msgspec.json.encode(item.metrics).decode(),
                "responses": msgspec.json.encode(item.responses).decode(),
            }
            for item in answered
        ],
    )
    seen: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for item in answered:
        if item.answers != first.answers:
            continue
        number = seen[item.prompt_id] = seen.get(item.prompt_id, -1) + 1  # a question may stand in a set twice
        value = item.metrics[first.metric]
        rows.append({"prompt_id": item.prompt_id, "sample": number, "value": value, "reason": "", "cluster": item.task})
    write_table(run.path / "scores.parquet", rows)


def _mark(run: Run, config: Harness, name: str) -> str:
    """What is to be known of a score whose questions may have been trained on."""
    if config.contaminated is not None or not is_truthfulqa(name):
        return STATED if config.contaminated else ""
    return mark_of(name, run.path) or (
        "no sign of UltraFeedback, which holds TruthfulQA's questions, in what is known of the model's making; a "
        "folder or a hub id tells little: set 'contaminated' where you know"
    )


def _findings(
    summary: Mapping[str, Any], measured: Sequence[Measured], mark: str, answered: Sequence[Answered]
) -> list[Finding]:
    first = measured[0]
    rows = tuple(
        (item.metric, item.n, item.clusters, spoken(item.interval) if item.interval else f"{item.mean:.3f}")
        for item in measured
    )
    subjects = len({item.task for item in answered})
    over = "questions; the wider of the intervals over questions and over subjects" if subjects > 1 else "questions"
    table = Table(("Metric", "n", "Clusters", "Mean, 95 %"), rows, f"n = {first.n:,} {over}.")
    shots = "the task's own" if summary["shots"] is None else summary["shots"]
    sentences = [f"lm-eval {summary['lm_eval']}, {summary['task']}, shots: {shots}, {first.metric} first."]
    if "tokens" in summary:
        saved = summary["tokens_apart"] / summary["tokens"]
        sentences.append(
            f"The model ran over {summary['tokens']:,} tokens; each request by itself would have taken "
            f"{summary['tokens_apart']:,}, {saved:.1f} times as many."
        )
    if mark:
        sentences.append(mark[0].upper() + mark[1:] + ".")
    return [Finding("Benchmark", tuple(sentences), table), *_by_subject(answered, first)]


def _by_subject(answered: Sequence[Answered], first: Measured) -> list[Finding]:
    groups: dict[str, list[Answered]] = {}
    for item in answered:
        if item.answers == first.answers:
            groups.setdefault(item.task, []).append(item)
    if len(groups) < 2:
        return []
    each = {task: measure(of, first.metric, first.answers)[0] for task, of in groups.items()}
    rows = tuple(
        (task, item.n, spoken(item.interval) if item.interval else f"{item.mean:.3f}") for task, item in each.items()
    )
    mean = sum(item.mean for item in each.values()) / len(each)
    note = f"Mean of the {len(each)} subjects, each counted alike, as the leaderboard had it: {mean:.3f}."
    return [Finding("By subject", (note,), Table(("Subject", "n", f"{first.metric}, 95 %"), rows))]


def _ends(measured: Measured) -> list[float] | None:
    return None if measured.interval is None else [measured.interval.low, measured.interval.high]

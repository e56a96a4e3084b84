"""What an academic benchmark shows: the metrics with their intervals, by subject where a task has several.

Owns what is shown and how it is put. The figures are those of ``evaluate.harness.run``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from notus.evaluate.compare import format_estimate
from notus.evaluate.harness.run import AnsweredQuestion, MetricMean, mean_metrics
from notus.evaluate.harness.suite import SuiteRow
from notus.report.section import ReportSection
from notus.report.table import Cell, Table
from notus.stats.intervals import Estimate

__all__ = ["harness_sections", "suite_sections"]


def harness_sections(
    summary: Mapping[str, Any], means: Sequence[MetricMean], mark: str, answered: Sequence[AnsweredQuestion]
) -> list[ReportSection]:
    """What a benchmark shows.

    Args:
        summary: what the run noted: ``lm_eval``, ``task``, ``shots``, ``asked_as``, and ``tokens`` with
            ``tokens_apart`` where the model's passes were counted.
        means: of ``mean_metrics``, the deciding metric first.
        mark: what is to be known of the scores, empty where nothing is.
        answered: the questions.
    """
    first = means[0]
    rows = tuple((item.metric, item.n, item.clusters, _mean(item)) for item in means)
    subjects = len({item.task for item in answered})
    over = "questions; the wider of the intervals over questions and over subjects" if subjects > 1 else "questions"
    table = Table(("Metric", "n", "Clusters", "Mean, 95 %"), rows, f"n = {first.n:,} {over}.")
    shots = "the task's own" if summary["shots"] is None else summary["shots"]
    sentences = [
        f"lm-eval {summary['lm_eval']}, {summary['task']}, shots: {shots}, {first.metric} first; {summary['asked_as']}."
    ]
    if "tokens" in summary:
        saved = summary["tokens_apart"] / summary["tokens"]
        sentences.append(
            f"The model ran over {summary['tokens']:,} tokens; each request by itself would have taken "
            f"{summary['tokens_apart']:,}, {saved:.1f} times as many."
        )
    if mark:
        sentences.append(mark[0].upper() + mark[1:] + ".")
    return [ReportSection("Benchmark", tuple(sentences), table), *_by_subject(answered, first)]


def suite_sections(
    summary: Mapping[str, Any],
    rows: Sequence[SuiteRow],
    mean: float,
    interval: Estimate | None,
    marks: Mapping[str, str],
) -> list[ReportSection]:
    """What a suite shows: a row for each task, and their unweighted mean.

    Args:
        summary: what the run noted: ``lm_eval``, ``suite``, ``asked_as``, ``limit``.
        rows: what each task came to.
        mean: of the rows, each counted alike.
        interval: of that mean; None where a task has one question.
        marks: task → what is to be known of its score.
    """
    cells: list[tuple[Cell, ...]] = [
        (row.task, row.shots, row.metric, row.n, format_estimate(row.interval) if row.interval else f"{row.mean:.3f}")
        for row in rows
    ]
    whole = format_estimate(interval) if interval else f"{mean:.3f}"
    cells.append((f"mean of the {len(rows)}", "", "", sum(row.n for row in rows), whole))
    limited = f" Of each task at most {summary['limit']:,} questions." if summary["limit"] else ""
    sentences = [f"lm-eval {summary['lm_eval']}, {summary['suite']}; {summary['asked_as']}.{limited}"]
    sentences += [
        f"{row.task}: the mean of {row.subjects} subjects, each counted alike, as the leaderboard had it."
        for row in rows
        if row.subjects > 1
    ]
    sentences += [f"{task}: {mark}." for task, mark in marks.items()]
    note = "The mean counts each task alike; its interval speaks of other questions of the same tasks."
    table = Table(("Task", "Shots", "Metric", "n", "Mean, 95 %"), tuple(cells), note)
    return [ReportSection("Suite", tuple(sentences), table)]


def _by_subject(answered: Sequence[AnsweredQuestion], first: MetricMean) -> list[ReportSection]:
    groups: dict[str, list[AnsweredQuestion]] = {}
    for item in answered:
        if item.read_by == first.read_by:
            groups.setdefault(item.task, []).append(item)
    if len(groups) < 2:
        return []
    each = {task: mean_metrics(of, first.metric, first.read_by)[0] for task, of in groups.items()}
    rows = tuple((task, item.n, _mean(item)) for task, item in each.items())
    mean = sum(item.mean for item in each.values()) / len(each)
    note = f"Mean of the {len(each)} subjects, each counted alike, as the leaderboard had it: {mean:.3f}."
    return [ReportSection("By subject", (note,), Table(("Subject", "n", f"{first.metric}, 95 %"), rows))]


def _mean(item: MetricMean) -> Cell:
    return format_estimate(item.interval) if item.interval else f"{item.mean:.3f}"

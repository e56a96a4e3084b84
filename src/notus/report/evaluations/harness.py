"""What an academic benchmark shows: the metrics with their intervals, by subject where a task has several.

Owns what is shown and how it is put. The figures are those of ``evaluate.harness.run``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from notus.evaluate.compare import format_estimate
from notus.evaluate.harness.run import AnsweredQuestion, MetricMean, mean_metrics
from notus.report.section import ReportSection
from notus.report.table import Cell, Table

__all__ = ["harness_sections"]


def harness_sections(
    summary: Mapping[str, Any], means: Sequence[MetricMean], mark: str, answered: Sequence[AnsweredQuestion]
) -> list[ReportSection]:
    """What a benchmark shows.

    Args:
        summary: what the run noted: ``lm_eval``, ``task``, ``shots``, and ``tokens`` with ``tokens_apart`` where the
            model's passes were counted.
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
    sentences = [f"lm-eval {summary['lm_eval']}, {summary['task']}, shots: {shots}, {first.metric} first."]
    if "tokens" in summary:
        saved = summary["tokens_apart"] / summary["tokens"]
        sentences.append(
            f"The model ran over {summary['tokens']:,} tokens; each request by itself would have taken "
            f"{summary['tokens_apart']:,}, {saved:.1f} times as many."
        )
    if mark:
        sentences.append(mark[0].upper() + mark[1:] + ".")
    return [ReportSection("Benchmark", tuple(sentences), table), *_by_subject(answered, first)]


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

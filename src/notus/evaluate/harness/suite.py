"""Suites of benchmarks: which tasks belong together, where their questions lie, and what they come to.

Owns the suites by name, the finding of a file for each task in a folder, and the mean of a suite with its interval.
How a task is asked and scored is owned by ``evaluate.harness.run``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from notus.core.errors import DataError
from notus.evaluate.harness.run import TASKS, AnsweredQuestion, MetricMean, mean_metrics
from notus.stats.intervals import Estimate, clustered_mean, mean_of_means, wider

__all__ = ["SUITES", "SuiteRow", "files_of", "suite_mean", "suite_row"]

SUITES: Mapping[str, tuple[str, ...]] = {
    "open-llm-v1": ("arc_challenge", "hellaswag", "mmlu", "truthfulqa_mc2", "winogrande", "gsm8k", "drop"),
}
"""Name → its tasks, in the order of the leaderboard; the shots and metrics are those of ``TASKS``."""
_ALSO_CALLED = {"truthfulqa_mc2": ("truthfulqa_mc", "truthfulqa"), "arc_challenge": ("arc",)}
"""Other names that a file of a task may have."""


@dataclass(frozen=True)
class SuiteRow:
    """What a task of a suite came to."""

    task: str
    shots: int
    metric: str
    n: int
    """Questions."""
    mean: float
    interval: Estimate | None
    """None with one question."""
    subjects: int
    """More than 1 where the mean is one of subjects, each counted alike, as the leaderboard had it."""


def files_of(suite: str, folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The file of each task of a suite: it bears the task's name, whatever stands behind its first dot.

    Returns:
        Task → file, and the names of the files that belong to no task.

    Raises:
        DataError: if it is no folder, a task has no file, or several.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; a suite needs a folder with a file for each task, such as mmlu.jsonl")
    there = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    found: dict[str, Path] = {}
    for task in SUITES[suite]:
        names = (task, *_ALSO_CALLED.get(task, ()))
        own = [path for path in there if path.name.partition(".")[0].lower().replace("-", "_") in names]
        if len(own) > 1:
            raise DataError(
                f"{folder} holds several files of '{task}': {', '.join(path.name for path in own)}; leave one"
            )
        if own:
            found[task] = own[0]
    if missing := [task for task in SUITES[suite] if task not in found]:
        raise DataError(
            f"{folder} holds no file of {', '.join(missing)}; {suite} has the tasks {', '.join(SUITES[suite])}, each "
            "in a file of its name, such as gsm8k.jsonl"
        )
    return found, [path.name for path in there if path not in found.values()]


def suite_row(task: str, answered: Sequence[AnsweredQuestion]) -> SuiteRow:
    """What the answers to a task come to, by the leaderboard's metric. Of a task with subjects the mean is that of the
    subjects, each counted alike; its interval is the wider of those over questions and over subjects."""
    known = TASKS[task]
    whole = mean_metrics(answered, known.metric, known.read_by)[0]
    read = [item for item in answered if item.read_by == whole.read_by]
    groups: dict[str, list[AnsweredQuestion]] = {}
    for item in read:
        groups.setdefault(item.task, []).append(item)
    mean, interval = whole.mean, whole.interval
    if len(groups) > 1:
        each = [mean_metrics(of, known.metric, known.read_by)[0] for of in groups.values()]
        mean = sum(one.mean for one in each) / len(each)
        interval = wider(_over_questions(each), clustered_mean([one.mean for one in each], list(groups)))
    return SuiteRow(task, known.shots, known.metric, whole.n, mean, interval, len(groups))


def suite_mean(rows: Sequence[SuiteRow]) -> tuple[float, Estimate | None]:
    """The unweighted mean of the tasks, with an interval over their questions; None where a task has one question."""
    mean = sum(row.mean for row in rows) / len(rows)
    intervals = [row.interval for row in rows if row.interval is not None]
    return mean, mean_of_means(intervals) if len(intervals) == len(rows) else None


def _over_questions(each: Sequence[MetricMean]) -> Estimate | None:
    intervals = [one.interval for one in each if one.interval is not None]
    return mean_of_means(intervals) if len(intervals) == len(each) else None

"""Academic benchmarks by lm-eval, in this process, with a model of ours.

Owns which tasks belong to the Open LLM Leaderboard and with how many shots, where their questions come from, and what a
score is with its n and interval. Prompts, metrics and few-shot sampling are lm-eval's own; how the model works out
log-probabilities is the business of ``models.harness_model``. lm-eval is imported when a task is run: the same model
moved from 15.16 to 39.5 on GSM8K between two of its versions, so its version belongs to every score.
"""

import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from notus.core.errors import ConfigError, DataError, RunError, nearest, require
from notus.core.records import digest
from notus.core.statistics import Estimate, clustered_mean, proportion, wider
from notus.evaluate.harness_rows import LOCAL, read_task_rows

__all__ = ["TASKS", "Answered", "Measured", "Task", "lm_eval_version", "measure", "open_engine", "run_task"]


@dataclass(frozen=True)
class Task:
    """A task as the Open LLM Leaderboard ran it, or as lm-eval has it."""

    shots: int
    metric: str
    answers: str = "none"
    """Name of lm-eval's filter that reads an answer out of a text, where there are several."""
    folder: str = ""
    """Where lm-eval keeps the task: the whole index takes ten seconds to read."""
    leaderboard: bool = True
    """Whether it is one of the seven of Open LLM Leaderboard v1."""


TASKS = {
    "arc_challenge": Task(25, "acc_norm", folder="arc"),
    "arc_easy": Task(0, "acc_norm", folder="arc", leaderboard=False),
    "drop": Task(3, "f1", folder="drop"),
    "gsm8k": Task(5, "exact_match", answers="strict-match", folder="gsm8k"),
    "hellaswag": Task(10, "acc_norm", folder="hellaswag"),
    "mmlu": Task(5, "acc", folder="mmlu/default"),
    "truthfulqa_mc1": Task(0, "acc", folder="truthfulqa", leaderboard=False),
    "truthfulqa_mc2": Task(0, "acc", folder="truthfulqa"),
    "winogrande": Task(5, "acc", folder="winogrande"),
}
"""The tasks that are known by name: the seven of Open LLM Leaderboard v1 (shots and metrics of
https://huggingface.co/docs/leaderboards/open_llm_leaderboard/archive), and two that are often asked for beside them."""


@dataclass(frozen=True)
class Answered:
    """One question of a task, with what the model made of it."""

    task: str
    """lm-eval's name, such as ``mmlu_anatomy``: the cluster of the question where a task has several."""
    number: int
    """Of the question in its set."""
    prompt_id: str
    """Hash of task and prompt, the same for all models."""
    metrics: dict[str, float]
    responses: tuple[Any, ...]
    """For each choice (log-probability, greedy), or the text that was generated."""
    answers: str
    """Name of the filter that the answer was read with."""


@dataclass(frozen=True)
class Measured:
    """A mean over questions."""

    metric: str
    n: int
    mean: float
    interval: Estimate | None
    """The wider of the intervals over questions and over subjects; None with one question."""
    clusters: int
    """Subjects, where a task has several, and otherwise questions."""
    answers: str
    """Name of the filter that answers were read with."""


def lm_eval_version() -> str:
    """The version of lm-eval.

    Raises:
        MissingExtraError: if it is not installed.
    """
    require("lm_eval", extra="eval")
    return metadata.version("lm_eval")


def open_engine(
    model: str,
    *,
    max_tokens: int | None,
    batch_size: int,
    max_length: int | None,
    precision: Literal["float32", "bfloat16"],
    progress: Callable[[int, int], None],
) -> Any:
    """Load a model for lm-eval: a ``models.harness_model.Engine``, whose arguments these are.

    Raises:
        ConfigError: if there is no such model, or it cannot be read.
    """
    require("lm_eval", extra="eval")
    from notus.models.harness_model import Engine
    from notus.models.local import load_model, load_tokenizer

    loaded: Any = load_model(model, precision=precision)
    plain = loaded.get_base_model() if hasattr(loaded, "get_base_model") else loaded
    settings: dict[str, Any] = {
        "max_tokens": max_tokens,
        "batch_size": batch_size,
        "max_length": max_length,
        "progress": progress,
    }
    with _quiet():
        return Engine(plain, load_tokenizer(model), **settings)


def run_task(
    engine: Any, name: str, *, data: Path | None, shots: int | None, limit: int | None, seed: int = 1234
) -> list[Answered]:
    """Ask a model the questions of a task.

    Args:
        engine: a ``models.harness_model.Engine``, or any other model of lm-eval.
        name: a key of ``TASKS``, any other name that lm-eval knows, or the path of a task file in its format.
        data: a file of questions for one of ``harness_rows.LOCAL``; without it they come from the hub.
        shots: examples in front of each question; None takes those of ``TASKS`` or of the task.
        limit: only so many questions, of each subject.
        seed: draws the examples. 1234 is lm-eval's own.

    Returns:
        One record for each question and filter, in lm-eval's order.

    Raises:
        ConfigError: if there is no such task, or it cannot be read.
        DataError: if the file of questions does not fit, or holds too few examples.
        RunError: if questions are to come from the hub and cannot.
    """
    require("lm_eval", extra="eval")
    from lm_eval.evaluator import evaluate

    known = TASKS.get(name)
    wanted = shots if shots is not None or known is None else known.shots
    # The bars of lm-eval are one for each subject, and go to stderr; the engine tells how far it is.
    with _quiet(), redirect_stderr(io.StringIO()), _told(name):
        manager, spec = _local(name, data, wanted or 0) if data is not None else _named(name)
        loaded = manager.load([spec])
        for task in loaded["tasks"].values():
            _set_shots(task, name, wanted)
            task.set_fewshot_seed(seed=seed)
        found = evaluate(lm=engine, task_dict=loaded, limit=limit, bootstrap_iters=0, log_samples=True)
    assert found is not None, "only the first of several processes is given results"
    return [_answered(task, sample) for task, samples in found["samples"].items() for sample in samples]


def measure(answered: Sequence[Answered], metric: str | None, answers: str | None) -> list[Measured]:
    """Means with n and intervals: the wanted metric first, the others of the same filter after it.

    Questions of one subject belong together: with several subjects, the wider of the two intervals is given, over
    questions and over subjects.

    Args:
        metric: None takes the first one of the task.
        answers: the filter; None takes the first one.

    Raises:
        ConfigError: if the task has no such metric or filter.
    """
    filters = list(dict.fromkeys(item.answers for item in answered))
    if answers is not None and answers not in filters:
        raise ConfigError(f"the task reads no answers by '{answers}'; {nearest(answers, filters)}")
    rows = [item for item in answered if item.answers == (answers or filters[0])]
    names = list(dict.fromkeys(key for item in rows for key in item.metrics))
    if not names:
        raise ConfigError(f"'{rows[0].task}' has no metric that is a number for each question, and no interval")
    if metric is not None and metric not in names:
        raise ConfigError(f"the task has no metric '{metric}'; {nearest(metric, names)}")
    first = metric or names[0]
    return [_measured(rows, name) for name in (first, *(name for name in names if name != first))]


def _set_shots(task: Any, name: str, shots: int | None) -> None:
    """The shots that are asked for, or the task's own, or none. A task that says 0 has examples in its prompt."""
    own = task.get_config("num_fewshot")
    if own == 0 and shots:
        raise ConfigError(f"'{name}' is asked with 0 shots, by its own definition; {shots} cannot be set")
    task.set_config(key="num_fewshot", value=shots if shots is not None else own or 0)


def _measured(rows: Sequence[Answered], name: str) -> Measured:
    values = [item.metrics[name] for item in rows]
    subjects = [item.task for item in rows]
    if set(values) <= {0.0, 1.0}:
        # Of a mean that is all right or all wrong, Student's interval has no width.
        by_question: Estimate | None = proportion(int(sum(values)), len(values))
    else:
        by_question = clustered_mean(values, [f"{item.task}/{item.number}" for item in rows])
    by_subject = clustered_mean(values, subjects)
    several = len(set(subjects))
    return Measured(
        metric=name,
        n=len(values),
        mean=sum(values) / len(values),
        interval=wider(by_question, by_subject),
        clusters=several if several > 1 else len(values),
        answers=rows[0].answers,
    )


def _answered(task: str, sample: Mapping[str, Any]) -> Answered:
    metrics = {key: sample[key] for key in sample["metrics"]}
    prompts = [str(arguments[0]) for arguments in sample["arguments"]]
    return Answered(
        task=task,
        number=sample["doc_id"],
        # The prompts of Winogrande differ by their choice, so that all of them count.
        prompt_id=digest(task, *dict.fromkeys(prompts), str(sample["target"])),
        metrics={key: float(value) for key, value in metrics.items() if isinstance(value, int | float)},
        responses=tuple(sample["filtered_resps"]),
        answers=sample["filter"],
    )


def _named(name: str) -> tuple[Any, Any]:
    """lm-eval's own task by its name, or a task file; only the index that is needed is read."""
    from lm_eval.tasks import TaskManager

    known = TASKS.get(name)
    if known is not None:
        return _manager(known), name
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"no task file '{name}'; check the path")
        return TaskManager(include_defaults=False), str(path)
    manager = TaskManager()
    if name not in manager.all_tasks:
        raise ConfigError(f"lm-eval {lm_eval_version()} has no task '{name}'; {nearest(name, TASKS)}")
    return manager, name


def _local(name: str, path: Path, shots: int) -> tuple[Any, Any]:
    """lm-eval's own task, asked with the questions of a file."""
    if name not in LOCAL:
        raise ConfigError(f"questions of '{name}' cannot come from a file of yours; {nearest(name, LOCAL)}")
    manager = _manager(TASKS[name])
    parts = read_task_rows(name, path)
    if unknown := next((task for task in parts if task not in manager.all_tasks), None):
        raise DataError(
            f"{path} names a subject that lm-eval has not: '{unknown}'; {nearest(unknown, manager.all_tasks)}"
        )
    return manager, {"group": name, "task": [_with_rows(task, of, shots, path) for task, of in parts.items()]}


def _with_rows(task: str, parts: dict[str, list[dict[str, Any]]], shots: int, path: Path) -> dict[str, Any]:
    apart = bool(parts["shots"])
    # Without examples of their own they are drawn from the questions, and the one that is asked is never among them.
    least = shots if apart or not shots else shots + 1
    there = parts["shots" if apart else "test"]
    if len(there) < least:
        raise DataError(
            f"{path} holds {len(there)} rows to draw {shots} examples for '{task}' from, and {least} are needed; give "
            "more rows, or fewer shots"
        )
    return {
        "task": task,
        "custom_dataset": _supplier(parts),
        "dataset_kwargs": {},
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
        "fewshot_split": "shots" if apart else "test",
    }


def _supplier(parts: Mapping[str, list[dict[str, Any]]]) -> Callable[..., dict[str, Any]]:
    def rows(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {split: Dataset.from_list(of) for split, of in parts.items() if of}

    return rows


def _manager(task: Task) -> Any:
    import lm_eval.tasks

    folder = Path(lm_eval.tasks.__file__).parent / task.folder
    return lm_eval.tasks.TaskManager(include_path=folder, include_defaults=False)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Tell what the hub or a task file did wrong in one line."""
    import yaml

    try:
        yield
    except (OSError, yaml.YAMLError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if name in TASKS or not name.endswith((".yaml", ".yml")):
            raise RunError(f"the questions of '{name}' could not be had: {reason}; give a file with --data") from error
        raise ConfigError(f"the task file '{name}' cannot be used: {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without lm-eval's remarks: what they say of models given as objects, and of shots, is meant so here."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)

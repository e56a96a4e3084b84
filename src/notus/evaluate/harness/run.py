"""Academic benchmarks by lm-eval, in this process, with a model of ours.

Owns which tasks belong to the Open LLM Leaderboard and with how many shots, where their questions come from (the hub,
or a file of yours, whose rows become those that lm-eval's own task was written for), and what a score is with its n and
interval. Prompts, metrics and few-shot sampling are lm-eval's own; how the model works out log-probabilities is the
business of ``evaluate.harness.model``. lm-eval is imported when a task is run: the same model moved from 15.16 to 39.5
on GSM8K between two of its versions, so its version belongs to every score.
"""

import io
import logging
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from notus.clean.benchmarks import read_plain_rows
from notus.core.errors import ConfigError, DataError, RunError, nearest, require
from notus.core.records import digest
from notus.engine.settings import Limits, Templating
from notus.stats.intervals import Estimate, clustered_mean, proportion, wider

__all__ = [
    "LOCAL",
    "TASKS",
    "AnsweredQuestion",
    "MetricMean",
    "Task",
    "lm_eval_version",
    "mean_metrics",
    "open_engine",
    "read_task_rows",
    "run_task",
]

Row = Mapping[str, Any]

_SHOTS = frozenset(["dev", "train"])
"""Values of a row's ``split`` that make it an example for few-shot prompts."""


@dataclass(frozen=True)
class Task:
    """A task as the Open LLM Leaderboard ran it, or as lm-eval has it."""

    shots: int
    metric: str
    read_by: str = "none"
    """Name of lm-eval's filter that reads an answer out of a text, where there are several."""
    folder: str = ""
    """Where lm-eval keeps the task: the whole index takes ten seconds to read."""


TASKS = {
    "arc_challenge": Task(25, "acc_norm", folder="arc"),
    "arc_easy": Task(0, "acc_norm", folder="arc"),
    "drop": Task(3, "f1", folder="drop"),
    "gsm8k": Task(5, "exact_match", read_by="strict-match", folder="gsm8k"),
    "hellaswag": Task(10, "acc_norm", folder="hellaswag"),
    "mmlu": Task(5, "acc", folder="mmlu/default"),
    "truthfulqa_mc1": Task(0, "acc", folder="truthfulqa"),
    "truthfulqa_mc2": Task(0, "acc", folder="truthfulqa"),
    "winogrande": Task(5, "acc", folder="winogrande"),
}
"""The tasks that are known by name: the seven of Open LLM Leaderboard v1 (shots and metrics of
https://huggingface.co/docs/leaderboards/open_llm_leaderboard/archive), and two that are often asked for beside them."""


@dataclass(frozen=True)
class AnsweredQuestion:
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
    read_by: str
    """Name of lm-eval's filter that the answer was read with."""


@dataclass(frozen=True)
class MetricMean:
    """A mean over questions."""

    metric: str
    n: int
    mean: float
    interval: Estimate | None
    """The wider of the intervals over questions and over subjects; None with one question."""
    clusters: int
    """Subjects, where a task has several, and otherwise questions."""
    read_by: str
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
    chat: Templating | None = None,
) -> Any:
    """Load a model for lm-eval: a ``evaluate.harness.model.Engine``, whose arguments these are.

    Args:
        chat: asks the questions as turns of the model's chat template; None: as plain texts.

    Raises:
        ConfigError: if there is no such model, or it cannot be read.
    """
    require("lm_eval", extra="eval")
    from notus.engine.load import base_model, load_model, load_tokenizer
    from notus.engine.text.encoder import Encoder
    from notus.evaluate.harness.model import Engine

    plain = base_model(load_model(model, precision=precision))
    settings: dict[str, Any] = {
        "max_tokens": max_tokens,
        "batch_size": batch_size,
        "max_length": max_length,
        "progress": progress,
    }
    with _quiet():
        tokenizer = load_tokenizer(model)
        if chat is not None:
            settings["encoder"] = Encoder(tokenizer, Limits(**chat.model_dump()))
        return Engine(plain, tokenizer, **settings)


def run_task(
    engine: Any, name: str, *, data: Path | None, shots: int | None, limit: int | None, seed: int = 1234
) -> list[AnsweredQuestion]:
    """Ask a model the questions of a task.

    Args:
        engine: a ``evaluate.harness.model.Engine``, or any other model of lm-eval.
        name: a key of ``TASKS``, any other name that lm-eval knows, or the path of a task file in its format.
        data: a file of questions for one of ``LOCAL``; without it they come from the hub.
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
    with _quiet(), redirect_stderr(io.StringIO()), _errors_in_one_line(name):
        manager, spec = _load_own_task(name, data, wanted or 0) if data is not None else _load_known_task(name)
        loaded = manager.load([spec])
        for task in loaded["tasks"].values():
            _set_shots(task, name, wanted)
            task.set_fewshot_seed(seed=seed)
        chat = getattr(engine, "encoder", None) is not None
        found = evaluate(
            lm=engine,
            task_dict=loaded,
            limit=limit,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
        )
    assert found is not None, "only the first of several processes is given results"
    return [_read_sample(task, sample) for task, samples in found["samples"].items() for sample in samples]


def mean_metrics(answered: Sequence[AnsweredQuestion], metric: str | None, read_by: str | None) -> list[MetricMean]:
    """Means with n and intervals: the wanted metric first, the others of the same filter after it.

    Questions of one subject belong together: with several subjects, the wider of the two intervals is given, over
    questions and over subjects.

    Args:
        metric: None takes the first one of the task.
        read_by: the filter; None takes the first one.

    Raises:
        ConfigError: if the task has no such metric or filter.
    """
    filters = list(dict.fromkeys(item.read_by for item in answered))
    if read_by is not None and read_by not in filters:
        raise ConfigError(f"the task reads no answers by '{read_by}'; {nearest(read_by, filters)}")
    rows = [item for item in answered if item.read_by == (read_by or filters[0])]
    names = list(dict.fromkeys(key for item in rows for key in item.metrics))
    if not names:
        raise ConfigError(f"'{rows[0].task}' has no metric that is a number for each question, and no interval")
    if metric is not None and metric not in names:
        raise ConfigError(f"the task has no metric '{metric}'; {nearest(metric, names)}")
    first = metric or names[0]
    return [_metric_mean(rows, name) for name in (first, *(name for name in names if name != first))]


def read_task_rows(task: str, path: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Read a file of questions for a task.

    Args:
        task: a key of ``LOCAL``.
        path: JSON, JSON lines or CSV, compressed or not. Rows whose ``split`` is ``dev`` or ``train`` are examples.

    Returns:
        Name of each of lm-eval's tasks (MMLU is one for each subject) → ``test`` and ``shots`` → rows.

    Raises:
        DataError: if the file cannot be read, a row does not fit, or nothing is left to be asked.
    """
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for number, row in enumerate(read_plain_rows(path), 1):
        name = _subject(row, path, number) if task == "mmlu" else task
        parts = found.setdefault(name, {"test": [], "shots": []})
        part = "shots" if row.get("split") in _SHOTS else "test"
        try:
            parts[part].append(LOCAL[task](row))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{path}: row {number} is no row of '{task}': {reason}; see docs/harness.md") from None
    if not any(parts["test"] for parts in found.values()):
        raise DataError(
            f"{path} holds no question to ask: all rows are examples (split dev or train), or there is none"
        )
    return {name: parts for name, parts in found.items() if parts["test"]}


def _set_shots(task: Any, name: str, shots: int | None) -> None:
    """The shots that are asked for, or the task's own, or none. A task that says 0 has examples in its prompt."""
    own = task.get_config("num_fewshot")
    if own == 0 and shots:
        raise ConfigError(f"'{name}' is asked with 0 shots, by its own definition; {shots} cannot be set")
    task.set_config(key="num_fewshot", value=shots if shots is not None else own or 0)


def _metric_mean(rows: Sequence[AnsweredQuestion], name: str) -> MetricMean:
    values = [item.metrics[name] for item in rows]
    subjects = [item.task for item in rows]
    if set(values) <= {0.0, 1.0}:
        # Of a mean that is all right or all wrong, Student's interval has no width.
        by_question: Estimate | None = proportion(int(sum(values)), len(values))
    else:
        by_question = clustered_mean(values, [f"{item.task}/{item.number}" for item in rows])
    by_subject = clustered_mean(values, subjects)
    several = len(set(subjects))
    return MetricMean(
        metric=name,
        n=len(values),
        mean=sum(values) / len(values),
        interval=wider(by_question, by_subject),
        clusters=several if several > 1 else len(values),
        read_by=rows[0].read_by,
    )


def _read_sample(task: str, sample: Mapping[str, Any]) -> AnsweredQuestion:
    metrics = {key: sample[key] for key in sample["metrics"]}
    prompts = [str(arguments[0]) for arguments in sample["arguments"]]
    return AnsweredQuestion(
        task=task,
        number=sample["doc_id"],
        # The prompts of Winogrande differ by their choice, so that all of them count.
        prompt_id=digest(task, *dict.fromkeys(prompts), str(sample["target"])),
        metrics={key: float(value) for key, value in metrics.items() if isinstance(value, int | float)},
        responses=tuple(sample["filtered_resps"]),
        read_by=sample["filter"],
    )


def _load_known_task(name: str) -> tuple[Any, Any]:
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


def _load_own_task(name: str, path: Path, shots: int) -> tuple[Any, Any]:
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
def _errors_in_one_line(name: str) -> Iterator[None]:
    """Tell what the hub or a task file did wrong in one line."""
    import yaml

    try:
        yield
    except (OSError, yaml.YAMLError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if name in TASKS or not name.endswith((".yaml", ".yml")):
            raise RunError(f"the questions of '{name}' could not be had: {reason}; give a file with --data") from error
        raise ConfigError(f"the task file '{name}' cannot be used: {reason}") from error
    except AssertionError as error:  # lm-eval's own check of lengths
        if not str(error).startswith("Invalid configuration"):
            raise
        told = str(error).removeprefix("Invalid configuration:").strip().rstrip(".")
        raise ConfigError(f"'{name}' cannot be asked of so short a model: {told}; raise max_length") from error


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


def _subject(row: Row, path: Path, number: int) -> str:
    subject = row.get("subject")
    if not isinstance(subject, str) or not subject:
        raise DataError(f"{path}: row {number} is no row of 'mmlu': it has no 'subject'")
    return f"mmlu_{subject}"


def _arc(row: Row) -> dict[str, Any]:
    if isinstance(row["choices"], Mapping):
        texts, labels = _texts(row["choices"]["text"]), _texts(row["choices"]["label"])
        key = str(row["answerKey"])
    else:
        texts = _texts(row["choices"])
        labels = list(string.ascii_uppercase[: len(texts)])
        key = labels[_number(row["gold"], len(texts))]
    if key not in labels or len(texts) != len(labels):
        raise ValueError(f"the answer {key!r} is none of its {len(texts)} choices, labelled {', '.join(labels)}")
    question = _text(row["question"] if "question" in row else row["query"].removeprefix("Question: "))
    return {"question": question, "choices": {"text": texts, "label": labels}, "answerKey": key}


def _mmlu(row: Row) -> dict[str, Any]:
    answer, texts = row["answer"], _texts(row["choices"])
    number = "ABCD".index(answer) if isinstance(answer, str) and answer in list("ABCD") else answer
    if len(texts) != 4:
        raise ValueError(f"it has {len(texts)} choices, not 4")
    return {
        "question": _text(row["question"]),
        "subject": row["subject"],
        "choices": texts,
        "answer": _number(number, 4),
    }


def _truthfulqa(row: Row) -> dict[str, Any]:
    return {
        "question": _text(row["question"]),
        "mc1_targets": _targets(row["mc1_targets"]),
        "mc2_targets": _targets(row["mc2_targets"]),
    }


def _targets(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Choices with 1 for the true ones, from the hub's two lists or from the authors' mapping of text to label."""
    if set(stored) == {"choices", "labels"}:
        texts, labels = _texts(stored["choices"]), list(stored["labels"])
    else:
        texts, labels = _texts(list(stored)), list(stored.values())
    if len(texts) != len(labels) or not set(labels) <= {0, 1} or 1 not in labels:
        raise ValueError(f"{len(texts)} choices and the labels {labels} do not make a question; 1 marks a true choice")
    return {"choices": texts, "labels": labels}


def _hellaswag(row: Row) -> dict[str, Any]:
    endings = _texts(row["endings"])
    label = str(_number(int(row["label"]), len(endings)))
    return {key: _text(row[key]) for key in ("activity_label", "ctx_a", "ctx_b")} | {"endings": endings, "label": label}


def _winogrande(row: Row) -> dict[str, Any]:
    if "_" not in row["sentence"]:
        raise ValueError("its sentence has no gap '_'")
    if str(row["answer"]) not in {"1", "2"}:
        raise ValueError(f"its answer is {row['answer']!r}, not 1 or 2")
    return {key: _text(row[key]) for key in ("sentence", "option1", "option2")} | {"answer": str(row["answer"])}


def _gsm8k(row: Row) -> dict[str, Any]:
    if "####" not in row["answer"]:
        raise ValueError("its answer does not end in '#### number'")
    return {"question": _text(row["question"]), "answer": row["answer"]}


def _drop(row: Row) -> dict[str, Any]:
    keys = ("query_id", "passage", "question")
    return {key: _text(row[key]) for key in keys} | {key: row[key] for key in ("answer", "validated_answers")}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is no text")
    return value


def _texts(values: Iterable[object]) -> list[str]:
    if isinstance(values, str | Mapping):
        raise ValueError(f"{values!r:.40} is no list of texts")
    return [_text(value) for value in values]


def _number(value: object, count: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
        raise ValueError(f"{value!r} is no number of one of its {count} choices, counted from 0")
    return value


LOCAL: dict[str, Callable[[Row], dict[str, Any]]] = {
    "arc_challenge": _arc,
    "arc_easy": _arc,
    "drop": _drop,
    "gsm8k": _gsm8k,
    "hellaswag": _hellaswag,
    "mmlu": _mmlu,
    "truthfulqa_mc1": _truthfulqa,
    "truthfulqa_mc2": _truthfulqa,
    "winogrande": _winogrande,
}
"""Tasks whose questions can come from a local file: name → what makes a row of the task's own set of a row."""

"""Questions from local files, as lm-eval's own tasks expect them.

Owns how a row of a file becomes a row of the set that a task was written for, so that the task's own prompts, metrics
and few-shot rules hold unchanged. Both the layout of the hub and the usual short ones are read; a row that fits neither
is an error that names it.
"""

import string
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from notus.core.errors import DataError
from notus.data.benchmarks import read_rows

__all__ = ["LOCAL", "read_task_rows"]

Row = Mapping[str, Any]

_SHOTS = frozenset(["dev", "train"])
"""Values of a row's ``split`` that make it an example for few-shot prompts."""


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
    for number, row in enumerate(read_rows(path), 1):
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


def _targets(given: Mapping[str, Any]) -> dict[str, Any]:
    """Choices with 1 for the true ones, from the hub's two lists or from the authors' mapping of text to label."""
    if set(given) == {"choices", "labels"}:
        texts, labels = _texts(given["choices"]), list(given["labels"])
    else:
        texts, labels = _texts(list(given)), list(given.values())
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

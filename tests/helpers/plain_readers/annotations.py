"""Plain readers of what annotation tools export."""

import json
import re
from typing import Any

from tests.helpers.plain_readers.values import Row, answer, feedback, name, turns, with_system

ANSWER = re.compile(r"(?:response|text|generation)[-_]?\d")
LIKE_ONE = re.compile(
    r"(?i:responses?|answers?|completions?|outputs?|generations?|reply|text|summary)[-_ ]?(\w|left|right)"
)
PROMPTS = ("instruction", "prompt", "question")
ASIDE = ("draft", "discarded", "pending")
Answered = tuple[str, Any, str, str]
"""Question, value, rater, status."""


def ranks(value: object, answers: list[str]) -> list[int] | None:
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in answers:
        return [1 if each == word else 2 for each in answers]
    if word in ("tie", "equal"):
        return [1] * len(answers)
    if isinstance(value, list) and sorted(map(str, value)) == sorted(answers):
        return [value.index(each) + 1 for each in answers]
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        given = [(item["value"].strip().lower(), item["rank"]) for item in value]
        if any(not isinstance(at, (int, float)) or at < 1 for _, at in given) or len(set(given)) > len(dict(given)):
            return None
        if dict(given).keys() == set(answers):
            return [dict(given)[each] for each in answers]
    return None


def names_of(answer: str) -> list[str]:
    """The columns in which the model of an answer may stand."""
    marked = [f"model{joint}{answer[-1]}" for joint in ("", "_", "-")]
    return [*marked, f"{answer}_model", f"{answer}-model", f"model_{answer}"]


def make(fields: Row, said: list[Answered], models: Row, columns: Row) -> Row:
    """Of what was said, only what names answers or gives one answer a number."""
    asked = next(column for column in PROMPTS if fields.get(column) is not None)
    answers = [column for column in fields if ANSWER.fullmatch(column) and fields[column] is not None]
    if any(LIKE_ONE.fullmatch(column) and column not in answers and fields[column] is not None for column in fields):
        raise ValueError(fields)  # as they may be answers, too
    votes, scores = [], {column: [] for column in answers}
    for question, value, rater, status in said:
        placed = ranks(value, answers) if len(answers) > 1 and status not in ASIDE else None
        about = [column for column in answers if len(answers) == 1 or re.search(rf"\b{column}\b", question)]
        if placed:
            votes.append({"ranks": placed, "rater": rater, "strength": None})
        elif type(value) in (int, float) and len(about) == 1 and status not in ASIDE:
            scores[about[0]].append((value, rater))
    by = [next((models[n] for n in names_of(column) if isinstance(models.get(n), str)), "") for column in answers]
    made = [answer(fields[column], model, scores[column]) for column, model in zip(answers, by, strict=True)]
    prompt = fields[asked]
    if asked == "instruction" and isinstance(columns.get("input"), str) and columns["input"]:
        prompt = f"{prompt}\n\n{columns['input']}"
    return feedback(with_system(columns, turns(prompt)), made, votes)


def heard(question: str, items: object) -> list[Answered]:
    given = items if isinstance(items, list) else []
    return [
        (question, item.get("value"), name(item.get("user_id")), name(item.get("status")))
        for item in given
        if isinstance(item, dict)
    ]


def argilla_2(row: Row) -> Row:
    if not isinstance(row.get("fields"), dict):
        return argilla_flat(row)
    said = [each for question, items in row["responses"].items() for each in heard(question, items)]
    models = row["metadata"] if isinstance(row.get("metadata"), dict) else {}
    return make(row["fields"], said, models, row["fields"] | row)


def argilla_flat(row: Row) -> Row:
    said = []
    for column in row:
        if column.endswith(".responses"):
            values = row[column] or []
            beside = [row.get(f"{column}.{what}") or [None] * len(values) for what in ("users", "status")]
            said += [(column[:-10], *each) for each in zip(values, *(map(name, b) for b in beside), strict=True)]
    return make(row, said, row, row)


def argilla_1(row: Row) -> Row:
    said, fields = [], dict(row)
    for column, items in row.items():
        if isinstance(items, list) and items and isinstance(items[0], dict) and {"user_id", "value"} <= items[0].keys():
            said += heard(column, items)
            del fields[column]
    about = row.get("metadata")
    about = json.loads(about) if isinstance(about, str) and about[:1] == "{" else about
    return make(fields, said, about if isinstance(about, dict) else {}, fields)


def label_studio(row: Row) -> Row:
    data, made = row["data"], make(row["data"], [], row["data"], row["data"])
    answers = [column for column in data if ANSWER.fullmatch(column) and data[column] is not None]
    for item in row.get("annotations") or []:
        cancelled = item.get("was_cancelled")
        if cancelled not in (None, True, False):
            raise TypeError(cancelled)
        for result in [] if cancelled else item.get("result") or []:
            of, value = (result.get("to_name") or "").split(","), result.get("value")
            value = value if isinstance(value, dict) else {}
            side = {"left": 0, "right": 1}.get(value.get("selected"))
            rater = item.get("completed_by")
            rater = name(rater.get("email") or rater.get("id")) if isinstance(rater, dict) else name(rater)
            if side is not None and sorted(of) == sorted(answers) and len(of) == 2:
                made["votes"].append(
                    {"ranks": [1 if each == of[side] else 2 for each in answers], "rater": rater, "strength": None}
                )
            elif side is None and "rating" in value and of[0] in answers and len(of) == 1:
                made["answers"][answers.index(of[0])]["scores"].append((float(value["rating"]), rater))
            elif not {"selected", "rating", "choices"}.isdisjoint(value):
                raise ValueError(result)
    return made


def label_studio_min(row: Row) -> Row:
    by = row.get("annotator")
    rater = name(by.get("email") or by.get("id")) if isinstance(by, dict) else name(by)
    answers = [column for column in row if ANSWER.fullmatch(column) and row[column] is not None]
    said = []
    for column, items in row.items():
        if isinstance(items, list) and len(items) == 1 and isinstance(items[0], dict):
            found = items[0].get("selected", items[0].get("rating"))
            sides = dict(zip(("left", "right"), answers, strict=True)) if len(answers) == 2 else {}
            said.append((column, sides.get(found, found) if isinstance(found, str) else found, rater, ""))
    return make(row, said, row, row)


READERS = {
    "argilla-records": argilla_2,
    "argilla1-records": argilla_1,
    "label-studio": label_studio,
    "label-studio-min": label_studio_min,
}

"""Values as plain code reads them, and the shapes in which a plain reader says what a row means.

Nothing here is Notus': what these readers raise (KeyError, TypeError, ValueError, …) says that they cannot read a row.
"""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

Row = dict[str, Any]
Said = list[tuple[str, str]]
"""Turns: role and text."""

HELD = {"tool_calls", "function_call", "reasoning", "reasoning_content", "thinking"}
"""What a message may hold beside its content."""
ROLES = {"human": "user", "prompter": "user", "gpt": "assistant", "model": "assistant"} | {
    role: role for role in ("user", "assistant", "system", "developer", "tool")
}


def number(value: object) -> float | None:
    if value is None or value in ("", "N/A") or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(value)
    return float(value)


def name(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise TypeError(value)
    return str(value)


def text(value: object) -> str:
    if not isinstance(value, str) or value.lstrip()[:2] in ("[{", '{"'):
        raise TypeError(value)
    return value


def texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(value)
    return [text(item) for item in value]


def turns(value: object, role: str = "user") -> Said:
    if isinstance(value, str) and value[:1] in "[{":
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, str):
        return [(role, value)]
    items = [value] if isinstance(value, dict) else value
    if not isinstance(items, list) or not items:
        raise TypeError(value)
    if any({"role", "from"} <= item.keys() or item.keys() & HELD for item in items):
        raise ValueError(value)
    said = [
        (ROLES[item.get("role", item.get("from"))], item["content" if "role" in item else "value"]) for item in items
    ]
    if not all(isinstance(each, str) for _, each in said):
        raise TypeError(value)
    return said


def with_system(row: Row, said: Said) -> Said:
    """The turns after the system prompt that stands in a column of its own."""
    found = [row[name] for name in ("system", "system_prompt") if isinstance(row.get(name), str) and row[name]][:1]
    return [*(("system", each) for each in found if said[0][0] not in ("system", "developer")), *said]


def first(row: Row, *names: str) -> str:
    """The first of the names that the row has a value for."""
    return next(name for name in (*names, names[0]) if row.get(name) is not None or name == names[-1])


def answer(value: object, model: object = None, scores: Sequence[tuple[object, object]] = ()) -> Row:
    given = [(number(score), name(rater)) for score, rater in scores]
    return {
        "turns": turns(value, "assistant"),
        "model": name(model),
        "scores": sorted(each for each in given if each[0] is not None),
    }


def vote(best: int | None, rater: object = None, strength: float | None = None) -> Row:
    """A vote between two answers: 0, 1, or None for a tie."""
    return {"ranks": [1, 1] if best is None else [1 + best, 2 - best], "rater": name(rater), "strength": strength}


def feedback(prompt: Said, answers: Sequence[Row], votes: Sequence[Row] = ()) -> Row:
    if not prompt or not answers:
        raise ValueError(prompt)
    return {"prompt": prompt, "answers": list(answers), "votes": list(votes)}


def is_flag(value: object) -> bool:
    said = value.strip().lower() if isinstance(value, str) else value
    return {True: True, "true": True, "1": True, False: False, "false": False, "0": False}[said]

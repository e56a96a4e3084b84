"""The toy world's truth as ranking functions: the exact check, and a judge that knows the truth and is noisy.

Both have the form of a ranker written in Python, ``f(prompt, answers)``, and are named in settings as
``python:notus.toy.rankers:judged``. Owns which style an answer of any model counts as, by the reason that
``toy.checker`` gives. Does not own what a style is worth (``toy.judge``).
"""

import random
from collections.abc import Sequence

from notus.core.records import Message, digest
from notus.toy import judge
from notus.toy.checker import check
from notus.toy.models import Answer
from notus.toy.tasks import Task, find

__all__ = ["checked", "classify", "judged"]

_NOISE = 0.9
"""Standard deviation of the judge's noise, in points of 1–10: that of the world's overall scores."""
_STYLES: dict[str, tuple[str, bool]] = {
    "correct": ("good", True),
    "garbled": ("rambling", True),
    "rambling": ("rambling", True),
    "rude": ("rude", True),
    "wrong": ("wrong", False),
    "refusing": ("refusing", False),
    "junk": ("junk", False),
    "empty": ("junk", False),
}
"""Reason of the checker → the style that the answer counts as, and whether it is correct."""


def classify(task: Task, text: str) -> Answer:
    """An answer of unknown origin with the style and correctness that the checker finds in it."""
    style, correct = _STYLES[check(task.prompt, text).reason]
    return Answer(text, style, correct)


def checked(prompt: Sequence[Message], answers: Sequence[str]) -> list[float | None]:
    """1 for each answer that passes the exact checker, 0 for the others, None where the prompt is of another world."""
    asked = _last_question(prompt)
    return [check(asked, answer).score for answer in answers]


def judged(prompt: Sequence[Message], answers: Sequence[str]) -> list[float | None]:
    """The true quality from 1 to 10 with normal noise, which prompt and answer decide; None for another world."""
    asked = _last_question(prompt)
    task = find(asked)
    if task is None:
        return [None] * len(answers)
    return [
        judge.quality(classify(task, answer)) + random.Random(digest("judged", asked, answer)).gauss(0, _NOISE)
        for answer in answers
    ]


def _last_question(prompt: Sequence[Message]) -> str:
    return next((message.content for message in reversed(prompt) if message.role == "user"), "")

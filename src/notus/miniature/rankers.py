"""The miniature's truth as ranking functions: the exact check, and a judge that knows the truth and is noisy.

Both have the form of a ranker written in Python, ``f(prompt, answers)``, and are named in settings as
``python:notus.miniature.rankers:judged``. Owns what style an answer of a model counts as; what a style is worth is the
business of ``judge``, which style it is of ``checker``.
"""

import random
from collections.abc import Sequence

from notus.core.records import Message, digest
from notus.miniature import judge
from notus.miniature.checker import check
from notus.miniature.tasks import Task, find
from notus.miniature.writers import Answer

__all__ = ["checked", "judged", "marked"]

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
"""What the checker says → the style whose worth the answer has."""


def marked(task: Task, text: str) -> Answer:
    """An answer of unknown origin with the style and correctness that the checker finds in it."""
    style, correct = _STYLES[check(task.prompt, text).reason]
    return Answer(text, style, correct)


def checked(prompt: Sequence[Message], answers: Sequence[str]) -> list[float | None]:
    """1 for each answer that passes the exact checker, 0 for the others, None where the prompt is of another world."""
    asked = _asked(prompt)
    return [check(asked, answer).score for answer in answers]


def judged(prompt: Sequence[Message], answers: Sequence[str]) -> list[float | None]:
    """The true quality from 1 to 10 with normal noise, which prompt and answer decide; None for another world."""
    asked = _asked(prompt)
    task = find(asked)
    if task is None:
        return [None] * len(answers)
    return [
        judge.quality(marked(task, answer)) + random.Random(digest("judged", asked, answer)).gauss(0, _NOISE)
        for answer in answers
    ]


def _asked(prompt: Sequence[Message]) -> str:
    return next((message.content for message in reversed(prompt) if message.role == "user"), "")

"""The exact checker of the toy world: is this answer right, polite and brief?

Owns the marking of an answer against the known truth, with the reason of each score. An answer
succeeds when it gives the right answer, no other answer, no word that a polite short answer has no use for, no insult
and no more than ``MAX_WORDS`` words; case and the marks between words do not count. Every text gets a reason.
"""

import itertools
import re
from dataclasses import dataclass
from functools import cache

from notus.core.records import Output, Verdict
from notus.toy.models import CLOSINGS, OPENINGS
from notus.toy.tasks import FAMILIES, Task, accepted, find

__all__ = ["JUDGE", "MAX_WORDS", "REASONS", "Check", "check", "verdict"]

JUDGE = "miniature-checker"
"""The judge's name in verdicts. It is stored with them, so the toy world's old name stays."""

MAX_WORDS = 14
"""More words than this are rambling; the longest good answer of the simulated models has 11."""

REASONS = {
    "correct": "the right answer, polite and brief",
    "empty": "no word at all",
    "refusing": "an excuse in place of an answer",
    "rude": "an insult",
    "rambling": "too many words around an answer",
    "wrong": "another answer, or several",
    "garbled": "the right answer among words that do not belong there",
    "junk": "no answer at all",
    "unknown-prompt": "the prompt is none of this world: not scored",
}
"""Reason slug → what it means."""

_RUDE = frozenset({"fool", "fools", "silly", "bother", "stupid", "idiot", "dumb", "lazy"})
_REFUSAL = re.compile(r"\b(?:cannot|can not|can't|unable|not able|rather not|will not|won't|refuse)\b")
_OTHER_MARKS = re.compile(r"[^\w\s.,:;!?'\"()-]|_")


@dataclass(frozen=True)
class Check:
    """What the checker made of one answer."""

    score: float | None
    """1 for success, 0 for none, None where the prompt is unknown."""
    reason: str
    """A key of ``REASONS``."""


def check(prompt: str, answer: str) -> Check:
    """Mark an answer to a prompt of this world."""
    task = find(prompt)
    if task is None:
        return Check(None, "unknown-prompt")
    reason = _reason(task, answer.casefold())
    return Check(1.0 if reason == "correct" else 0.0, reason)


def verdict(output: Output) -> Verdict:
    """Mark a model's output; the task is the last user turn of its prompt."""
    asked = [message.content for message in output.prompt if message.role == "user"]
    result = check(asked[-1] if asked else "", output.text)
    return Verdict(
        prompt_id=output.prompt_id,
        model=output.model,
        judge=JUDGE,
        sample=output.sample,
        seed=output.seed,
        score=result.score,
        reason=result.reason,
        id=output.id,
        file=output.file,
        line=output.line,
    )


def _reason(task: Task, text: str) -> str:
    words = re.findall(r"\w+", text)
    options = FAMILIES[task.family].options
    right = [word for word in words if word in accepted(task)]
    other = [word for word in words if word in options and word not in accepted(task) and word != task.subject.lower()]
    if not words:
        return "empty"
    if _REFUSAL.search(text):
        return "refusing"
    if not _RUDE.isdisjoint(words):
        return "rude"
    if not right and not other:
        return "wrong" if _states_subject(task, words) or _statement(task.family).search(text) else "junk"
    if len(words) > MAX_WORDS:
        return "rambling"
    if other or not right or _is_turned_round(task, words):
        return "wrong"
    return "garbled" if _is_garbled(task, words, text) else "correct"


def _states_subject(task: Task, words: list[str]) -> bool:
    """Is the subject itself given as the answer, as in "The opposite of hot is hot."?"""
    return task.subject.lower() in words and _fitting_words(task).issuperset(words)


def _is_garbled(task: Task, words: list[str], text: str) -> bool:
    stutters = any(first == second for first, second in itertools.pairwise(words))
    return stutters or not _fitting_words(task).issuperset(words) or _OTHER_MARKS.search(text) is not None


def _is_turned_round(task: Task, words: list[str]) -> bool:
    """Are subject and answer exchanged, as in "The capital of Paris is France."?"""
    said = f" {' '.join(words)} "
    return any(f" of {answer} is {task.subject.lower()} " in said for answer in accepted(task))


def _fitting_words(task: Task) -> frozenset[str]:
    # A model may say more of the question than the simulated models do: "The capital of France is Paris."
    asked = re.findall(r"\w+", task.prompt.casefold())
    return _polite_words(task.family) | accepted(task) | {*asked, "a", "an", "of"}


@cache
def _statement(family: str) -> re.Pattern[str]:
    """A sentence that gives some answer, were it a word that does not exist."""
    frames = [re.escape(text.casefold().rstrip(".")) for text in FAMILIES[family].statements]
    return re.compile("|".join(frame.replace(r"\{s\}", r"\w+").replace(r"\{a\}", r"\w+\b") for frame in frames))


@cache
def _polite_words(family: str) -> frozenset[str]:
    phrases = (*FAMILIES[family].statements, *OPENINGS, *CLOSINGS)
    return frozenset(re.findall(r"\w+", " ".join(phrases).format(a="").casefold()))

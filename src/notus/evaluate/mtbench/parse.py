"""Reading what a judge of MT-Bench wrote, in two ways: strictly, and as FastChat does; and where the two differ.

Owns both ways and the list of differences. ``strict``, the usual one, wants exactly one ``[[n]]`` from 1 to 10 with
nothing behind it (``llm.parse``). ``fastchat`` reads as ``common.py`` of
https://github.com/lm-sys/FastChat/tree/main/fastchat/llm_judge does, mistakes included, to give published scores again:
the first ``[[n]]`` anywhere, else the first ``[n]``, else −1; of a pair the first of ``[[A]]``, ``[[B]]``, ``[[C]]``
that stands there at all.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

from notus.core.records import Record
from notus.evaluate.mtbench.files import NO_REPLY, Grading, Match
from notus.llm.parse import Scale, UnreadableError, read_score, read_verdict

__all__ = [
    "NOT_FOUND",
    "Mode",
    "Reading",
    "ReadingDifference",
    "count_reproduced",
    "find_differences",
    "read_grade",
    "read_winner",
]

Mode = Literal["strict", "fastchat"]
NOT_FOUND = -1
"""What FastChat writes where it found no score."""
_SCALE = Scale(1, 10, whole=False)
_DOUBLE, _SINGLE = re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]")
_WINNERS = {1: {"A": "model_1", "B": "model_2", "C": "tie"}, 2: {"A": "model_2", "B": "model_1", "C": "tie"}}
"""Game → verdict → winner; in the second game the answers are exchanged."""
_EXCERPT = 120


class Reading(Record, frozen=True):
    """What was read of one judgement."""

    score: float | None
    """None is *unscored*."""
    reason: str = ""
    """Slug: why there is no score."""
    detail: str = ""


class ReadingDifference(Record, frozen=True):
    """A judgement that the strict reading takes otherwise than FastChat's, or that FastChat would not give again."""

    STORED_AS: ClassVar[str] = "Difference"

    kind: str
    """``single``, or ``pair-1`` and ``pair-2`` for the two orders."""
    question_id: int
    turn: int
    model: str
    judge: str
    prompt: str
    """Name of the judge's prompt."""
    stored: str
    """As it stands in the file."""
    fastchat: str
    """As FastChat reads it."""
    strict: str | None
    """As it is read strictly; None where nothing is."""
    reason: str
    detail: str
    ending: str
    """How the judgement ends."""


def read_grade(text: str, mode: Mode) -> Reading:
    """Read a grade.

    Args:
        text: the judgement.
        mode: ``strict``, or ``fastchat``, which gives any number that FastChat would, one off the scale too.
    """
    if text == NO_REPLY and mode == "strict":
        return Reading(score=None, reason="no-reply")
    try:
        return Reading(score=read_score(text, _SCALE) if mode == "strict" else _read_fastchat_score(text))
    except UnreadableError as error:
        return Reading(score=None, reason=error.reason, detail=error.detail)


def read_winner(text: str, game: int, mode: Mode) -> tuple[str | None, str]:
    """Read the winner of a pair's first or second game: ``model_1``, ``model_2``, ``tie`` or None; and why None."""
    if mode == "fastchat":
        verdict = next((letter for letter in "ABC" if f"[[{letter}]]" in text), None)
        return (_WINNERS[game][verdict], "") if verdict else (None, "no-verdict")
    if text == NO_REPLY:
        return None, "no-reply"
    try:
        return _WINNERS[game][read_verdict(text)], ""
    except UnreadableError as error:
        return None, error.reason


def count_reproduced(gradings: Iterable[Grading], matches: Iterable[Match]) -> tuple[int, int]:
    """How many stored scores and winners the ``fastchat`` reading gives again, and of how many."""
    same = [_as_stored(row) == row.score for row in gradings]
    for row in matches:
        same += [(read_winner(text, game, "fastchat")[0] or "error") == won for game, won, text in _games(row)]
    return sum(same), len(same)


def find_differences(gradings: Iterable[Grading], matches: Iterable[Match]) -> Iterator[ReadingDifference]:
    """Every judgement that is not read alike: by FastChat as stored, and strictly as by FastChat.

    A judgement in which FastChat found nothing and the strict reading finds nothing either counts as a difference too:
    FastChat drops its −1 without a word.
    """
    for row in gradings:
        loose, strict = read_grade(row.judgment, "fastchat"), read_grade(row.judgment, "strict")
        stored = row.score if row.score != NOT_FOUND else None
        if strict.score is not None and strict.score == loose.score == stored:
            continue
        yield ReadingDifference(
            kind="single",
            question_id=row.question_id,
            turn=row.turn,
            model=row.model,
            judge=row.judge[0],
            prompt=row.judge[1],
            stored=f"{row.score:g}",
            fastchat=_format_reading(loose.score, loose.reason),
            strict=None if strict.score is None else f"{strict.score:g}",
            reason=strict.reason or ("stored-otherwise" if strict.score == loose.score else "read-otherwise"),
            detail=strict.detail,
            ending=row.judgment[-_EXCERPT:],
        )
    for match in matches:
        yield from _pair_differences(match)


def _pair_differences(row: Match) -> Iterator[ReadingDifference]:
    for game, stored, text in _games(row):
        loose, _ = read_winner(text, game, "fastchat")
        strict, reason = read_winner(text, game, "strict")
        if strict is not None and strict == loose == stored:
            continue
        yield ReadingDifference(
            kind=f"pair-{game}",
            question_id=row.question_id,
            turn=row.turn,
            model=f"{row.model_1} against {row.model_2}",
            judge=row.judge[0],
            prompt=row.judge[1],
            stored=stored,
            fastchat=loose or "error",
            strict=strict,
            reason=reason or ("stored-otherwise" if strict == loose else "read-otherwise"),
            detail="",
            ending=text[-_EXCERPT:],
        )


def _games(row: Match) -> tuple[tuple[int, str, str], ...]:
    return (1, row.g1_winner, row.g1_judgment), (2, row.g2_winner, row.g2_judgment)


def _read_fastchat_score(text: str) -> float:
    found = _DOUBLE.search(text) or _SINGLE.search(text)
    if found is None:
        raise UnreadableError("no-score", text[-_EXCERPT:])
    try:
        number: int | float = ast.literal_eval(found[1])
        return float(number)
    except (SyntaxError, ValueError):  # 007 is no number in Python, nor is one in the digits of another script
        raise UnreadableError("no-literal", f"{found[0]}: FastChat ends with an error here") from None
    except OverflowError:
        raise UnreadableError("no-literal", f"a number of {len(found[1]):,} digits is no score") from None


def _as_stored(row: Grading) -> float | None:
    """The score that FastChat would have stored; None where it would have ended with an error."""
    read = read_grade(row.judgment, "fastchat")
    return NOT_FOUND if read.reason == "no-score" else read.score


def _format_reading(score: float | None, reason: str) -> str:
    if score is not None:
        return f"{score:g}"
    return str(NOT_FOUND) if reason == "no-score" else "an error"

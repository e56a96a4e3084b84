"""Tables that anybody keeps: a row for each vote, or for each rating, with columns under their usual names.

    votes    a prompt, two answers, a winner; mostly an annotator, models, a reason, a question
    ratings  a prompt, an answer, a score; mostly an annotator or a judge, a model, a reason, an aspect

Names count without capitals, blanks and hyphens: ``Response A`` is ``response_a``. Two answers have one stem and two
marks (``answer_a`` and ``answer_b``, ``response1`` and ``response2``, ``completion_left`` and ``completion_right``).
A table is known by these names and by a value that can be read; where two columns could be the prompt, or an answer,
it is not taken for one, and a mapping says which is meant.

A winner is named by its mark, its column, its side or its model: ``B``, ``response_b``, ``right``, ``model_b``, the
model's own name. Where two columns may be the vote, the first of these names is it, also in a row where it is empty.
Numbers name an answer only where the answers are numbered. The votes on two answers are one ``Feedback``, and so are
the ratings of a prompt's answers, wherever the rows stand. Several scores in a row are ratings of several aspects,
named as their columns. What a judge wrote beside a score is the rating's rationale. A table does not say on which scale
it rates. Owns these names; what a vote is, is owned by ``formats.families.votes``.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from notus.core.records import Feedback, Rating
from notus.formats.families.votes import (
    BOTH_BAD,
    TIES,
    by_prompt_and_answers,
    make_vote,
    read_answer,
    read_prompt,
    read_vote,
)
from notus.formats.fields import read_name, read_score, read_source, required
from notus.formats.format import Format, Row
from notus.formats.join import by_prompt
from notus.formats.quarantine import RowError

__all__ = ["FORMATS"]

_PROMPT = ("prompt", "question", "instruction", "query", "user_prompt")
_ANSWER = ("response", "answer", "completion", "output", "generation", "reply")
_MARKS = (("a", "b"), ("1", "2"), ("0", "1"), ("left", "right"), ("first", "second"))
_WINNER = ("winner", "preference", "preferred", "choice", "vote", "verdict", "better", "label")
_SCORE = ("rating", "score", "grade", "judge_score", "judge_rating", "quality")
_RATER = (
    *("annotator", "annotator_id", "rater", "rater_id", "evaluator", "labeler", "labeller", "reviewer", "worker"),
    *("worker_id", "judge", "judge_model", "user", "user_id"),
)
_REASON = (
    *("rationale", "reason", "reasoning", "explanation", "justification", "critique", "feedback", "comment"),
    *("judge_reason", "judge_rationale"),
)
_ASPECT = ("aspect", "criterion", "dimension", "attribute")
_STRENGTH = ("strength", "preference_strength")
_MODEL = ("model", "model_name", "generator")
_NOT_A_TABLE = frozenset({"chosen", "rejected", "messages", "conversations", "label"})
"""Columns beside which a score is that of another format's row."""


class _Votes(NamedTuple):
    """The columns of a table of votes; None for one that it does not have."""

    prompt: str
    answers: tuple[str, str]
    marks: tuple[str, str]
    winner: str
    models: tuple[str | None, str | None]
    rater: str | None
    question: str | None
    reason: str | None
    strength: str | None


class _Ratings(NamedTuple):
    """The columns of a table of ratings."""

    prompt: str
    answer: str
    scores: tuple[str, ...]
    model: str | None
    rater: str | None
    aspect: str | None
    reason: str | None


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _present(row: Row) -> tuple[str, ...]:
    return tuple(name for name, value in row.items() if value is not None)


def _first(found: dict[str, str], names: Sequence[str]) -> str | None:
    return next((found[name] for name in names if name in found), None)


@lru_cache(maxsize=256)
def _vote_columns(names: tuple[str, ...]) -> _Votes | None:
    found = {_plain(name): name for name in reversed(names)}
    prompts = [found[name] for name in _PROMPT if name in found]
    pairs = [
        (stem, marks, joint)
        for stem in _ANSWER
        for marks in _MARKS
        for joint in ("_", "")
        if all(f"{stem}{joint}{mark}" in found for mark in marks)
    ]
    winner = _first(found, _WINNER)
    if len(prompts) != 1 or len(pairs) != 1 or winner is None:
        return None
    stem, marks, joint = pairs[0]
    one, two = marks
    return _Votes(
        prompt=prompts[0],
        answers=(found[f"{stem}{joint}{one}"], found[f"{stem}{joint}{two}"]),
        marks=(one, two),
        winner=winner,
        models=(_model_of(found, stem, joint, one), _model_of(found, stem, joint, two)),
        rater=_first(found, _RATER),
        question=_first(found, _ASPECT),
        reason=_first(found, _REASON),
        strength=_first(found, _STRENGTH),
    )


def _model_of(found: dict[str, str], stem: str, joint: str, mark: str) -> str | None:
    answer = f"{stem}{joint}{mark}"
    return _first(found, (f"model_{mark}", f"model{mark}", f"{answer}_model", f"model_{answer}"))


@lru_cache(maxsize=256)
def _rating_columns(names: tuple[str, ...]) -> _Ratings | None:
    found = {_plain(name): name for name in reversed(names)}
    prompts = [found[name] for name in _PROMPT if name in found]
    answers = [found[name] for name in _ANSWER if name in found]
    scores = tuple(found[name] for name in _SCORE if name in found)
    if len(prompts) != 1 or len(answers) != 1 or not scores or _NOT_A_TABLE & found.keys():
        return None
    return _Ratings(
        prompt=prompts[0],
        answer=answers[0],
        scores=scores,
        model=_first(found, _MODEL),
        rater=_first(found, _RATER),
        aspect=_first(found, _ASPECT),
        reason=_first(found, _REASON),
    )


def _is_votes(row: Row) -> bool:
    """Whether two answers to one prompt stand beside a vote that can be read."""
    columns = _vote_columns(_present(row))
    if columns is None:
        return False
    try:
        _read_winner(row, columns)
    except RowError:
        return False
    return True


@lru_cache(maxsize=256)
def _usual_winner(names: tuple[str, ...]) -> str | None:
    return _first({_plain(name): name for name in reversed(names)}, _WINNER)


def _read_winner(row: Row, columns: _Votes) -> int | None:
    """The better answer, or None for a tie.

    Another column that is named like a vote is none where the column of the vote is empty: it may say anything.
    """
    usual = _usual_winner(tuple(row))
    if usual != columns.winner and usual is not None:
        detail = f"'{columns.winner}' is not taken in its place; --map winner=… says which column is the vote"
        raise RowError(usual, "missing-field", None, detail)
    value = required(row, columns.winner)
    models = [row.get(name) if name else None for name in columns.models]
    named = models.index(value) if value in models and models[0] != models[1] else None
    try:
        said = read_vote(value, columns.winner, _vote_words(columns))
    except RowError:
        if named is None:
            raise
        return named
    if named is not None and said != named:  # models that are called as the sides are
        raise RowError(columns.winner, "unknown-vote", value, "it names one answer and the model of the other")
    return said


@lru_cache(maxsize=64)
def _vote_words(columns: _Votes) -> dict[str, int | None]:
    words: dict[str, int | None] = {}
    for side, (mark, answer) in enumerate(zip(columns.marks, columns.answers, strict=True)):
        marks = (mark, "ab"[side])
        sides = (*marks, ("left", "right")[side], ("first", "second")[side], answer.strip().lower())
        words |= dict.fromkeys((*sides, *(f"{stem}_{each}" for stem in ("model", *_ANSWER) for each in marks)), side)
    return words | dict.fromkeys((*TIES, *BOTH_BAD))


def _read_votes(row: Row) -> Feedback:
    columns = _vote_columns(_present(row)) or _vote_columns(tuple(row))
    if columns is None:
        raise RowError("", "missing-field", None, "a prompt, two answers and a winner are needed")
    named = {*columns[:1], *columns.answers, *columns.models, columns.rater, columns.question, columns.reason}
    extra = {name: value for name, value in row.items() if name not in named | {columns.winner, columns.strength}}
    better = _read_winner(row, columns)
    winner = row[columns.winner]
    if isinstance(winner, str) and winner.strip().lower() in BOTH_BAD:
        extra[columns.winner] = winner
    vote = make_vote(
        better,
        rater=_name_in(row, columns.rater),
        question=_name_in(row, columns.question),
        rationale=_name_in(row, columns.reason),
    )
    if columns.strength:
        vote = msgspec.structs.replace(vote, strength=read_score(row[columns.strength], columns.strength))
    completions = tuple(
        read_answer(row, answer, model=_name_in(row, model))
        for answer, model in zip(columns.answers, columns.models, strict=True)
    )
    prompt = read_prompt(row, columns.prompt, extra)
    source = read_source(extra)
    return Feedback(prompt=prompt, completions=completions, source=source, rankings=(vote,), extra=extra)


def _is_ratings(row: Row) -> bool:
    """Whether one answer to one prompt stands beside a score that can be read."""
    columns = _rating_columns(tuple(row))
    if columns is None or not isinstance(row[columns.answer], (str, list)):
        return False
    try:
        return any(read_score(row[name], name) is not None for name in columns.scores)
    except RowError:
        return False


def _read_ratings(row: Row) -> Feedback:
    columns = _rating_columns(tuple(row))
    if columns is None:
        raise RowError("", "missing-field", None, "a prompt, an answer and a score are needed")
    named = {*columns[:2], *columns.scores, columns.model, columns.rater, columns.reason}
    if len(columns.scores) == 1:
        named.add(columns.aspect)
    extra = {name: value for name, value in row.items() if name not in named}
    further: Row = {name: extra.pop(name) for name in ("system", "system_prompt", "input", "source") if name in extra}
    prompt = read_prompt(row, columns.prompt, further)
    source = read_source(further)
    ratings = _ratings_in(row, columns)
    if not ratings:  # who would have rated what
        extra |= {name: row[name] for name in (columns.rater, columns.aspect) if name and row[name] is not None}
    answer = read_answer(row, columns.answer, model=_name_in(row, columns.model), ratings=ratings, extra=extra)
    return Feedback(prompt=prompt, completions=(answer,), source=source, extra=further)


def _ratings_in(row: Row, columns: _Ratings) -> tuple[Rating, ...]:
    """A rating for each score that is there; the reason goes with the first, also where that score is not there."""
    rater, reason = _name_in(row, columns.rater), _name_in(row, columns.reason)
    found = []
    for number, name in enumerate(columns.scores):
        value, said = read_score(row[name], name), "" if number else reason
        aspect = _name_in(row, columns.aspect) if len(columns.scores) == 1 else ""
        if row[name] is not None or said:
            found.append(Rating(aspect=aspect or _plain(name), value=value, rationale=said, rater=rater))
    return tuple(found)


def _name_in(row: Row, name: str | None) -> str:
    return read_name(row.get(name), name) if name else ""


FORMATS = (
    Format(
        name="votes",
        record=Feedback,
        decode=_read_votes,
        matches=_is_votes,
        key=by_prompt_and_answers,
        sample={
            "prompt": "Name a river.",
            "response_a": "The Oder.",
            "response_b": "No.",
            "winner": "A",
            "annotator": "ann",
        },
    ),
    Format(
        name="ratings",
        record=Feedback,
        decode=_read_ratings,
        matches=_is_ratings,
        key=by_prompt,
        sample={
            "prompt": "Name a river.",
            "response": "The Oder.",
            "model": "alder",
            "annotator": "ann",
            "rating": 4,
        },
    ),
)

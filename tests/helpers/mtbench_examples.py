"""Rows of MT-Bench for the tests, in our own words, and the stored ones where they are at hand."""

import pytest

from notus.evaluate.mtbench.files import Answer, Choice, Grading, Match, Question
from tests.helpers.paths import SHARED as SHARED_FOLDER

SHARED = SHARED_FOLDER / "data" / "mt_bench"


def stored(pattern):
    """The stored files of a pattern, or a skip."""
    found = sorted(SHARED.glob(pattern)) if SHARED.is_dir() else []
    if not found:
        pytest.skip(f"mt_bench/{pattern} is not here")
    return found


def graded(judgment, *, question=81, turn=1, model="m", judge="j", score=0, prompt="p"):
    return Grading(question_id=question, model=model, judge=(judge, prompt), judgment=judgment, score=score, turn=turn)


def matched(first, second, *, question=81, turn=1, models=("a", "b"), winners=("error", "error")):
    return Match(
        question_id=question,
        model_1=models[0],
        model_2=models[1],
        g1_winner=winners[0],
        g2_winner=winners[1],
        judge=("j", "p"),
        g1_judgment=first,
        g2_judgment=second,
        turn=turn,
    )


def questions(*categories):
    return {
        number: Question(question_id=number, category=category, turns=(f"First {number}?", f"Second {number}?"))
        for number, category in enumerate(categories, start=1)
    }


def answered(model, *turns, question=1):
    return Answer(question_id=question, model_id=model, choices=(Choice(turns=turns),))

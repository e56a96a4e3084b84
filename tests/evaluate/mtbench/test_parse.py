"""Reading judgements: FastChat's way and the strict one. The faults of FastChat are tests here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.evaluate.mtbench.files import NO_REPLY, read_judgments
from notus.evaluate.mtbench.parse import (
    NOT_FOUND,
    Reading,
    count_reproduced,
    find_differences,
    read_grade,
    read_winner,
)
from tests.helpers.mtbench_examples import graded, matched, stored

FAULTS = {
    "a quoted verdict beats the own one": ('It demands "[[10]]". Rating: [[1]]', 10, "several-verdicts"),
    "a citation is a score": ("As [3] shows, this is good.", 3, "no-verdict"),
    "a number off the scale is a score": ("Rating: [[99]]", 99, "off-the-scale"),
    "zero is a score": ("Rating: [[0]]", 0, "off-the-scale"),
    "a verdict in the middle is a score": ("Rating: [[4]]. On reflection it is worthless.", 4, "text-behind-verdict"),
    "two verdicts are one": ("[[8]] or perhaps [[9]]", 8, "several-verdicts"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_fastchat_takes_for_a_score_is_refused_with_the_reason(fault):
    text, score, reason = FAULTS[fault]
    assert read_grade(text, "fastchat").score == score
    strict = read_grade(text, "strict")
    assert (strict.score, strict.reason) == (None, reason)


@pytest.mark.parametrize("text", ["[[007]]", "[[٤]]", f"[[{'9' * 400}]]"])
def test_what_ends_fastchat_with_an_error_is_told(text):
    read = read_grade(f"Rating: {text}", "fastchat")
    assert (read.score, read.reason) == (None, "no-literal")
    (found,) = find_differences([graded(text, score=4)], [])
    assert found.fastchat == "an error"
    assert count_reproduced([graded(text, score=4)], []) == (0, 1)
    assert read_grade(f"Rating: {text}", "strict").score == {"[[007]]": 7, "[[٤]]": 4}.get(text)


def test_where_fastchat_finds_nothing_it_writes_minus_one():
    row = graded("I decline to say.", score=NOT_FOUND)
    assert read_grade(row.judgment, "fastchat") == Reading(score=None, reason="no-score", detail=row.judgment)
    assert count_reproduced([row], []) == (1, 1)
    (found,) = find_differences([row], [])
    assert (found.stored, found.fastchat, found.strict, found.reason) == ("-1", "-1", None, "no-verdict")
    assert read_grade(NO_REPLY, "strict").reason == "no-reply"


@given(st.sampled_from(range(10, 101)), st.text(st.characters(codec="utf-8", exclude_characters="[]{}`")))
def test_both_read_a_clear_verdict_alike(tenths, words):
    text = f"x{words}\nRating: [[{tenths / 10:g}]]"
    assert read_grade(text, "strict").score == read_grade(text, "fastchat").score == tenths / 10


@given(st.text(st.sampled_from("[]0123456789. aA/-\n")))
def test_the_strict_reading_stays_on_the_scale_and_always_has_a_reason(text):
    read = read_grade(text, "strict")
    assert (read.score is None) == bool(read.reason)
    assert read.score is None or 1 <= read.score <= 10
    read_grade(text, "fastchat")  # whatever it is, it is told and never raised


def test_a_stored_score_that_the_judgement_does_not_hold_is_told():
    (found,) = find_differences([graded("Rating: [[4]]", score=9)], [])
    assert (found.stored, found.fastchat, found.strict, found.reason) == ("9", "4", "4", "stored-otherwise")
    assert not list(find_differences([graded("Rating: [[4]]", score=4)], []))


def test_a_pair_is_read_in_both_orders():
    assert [read_winner("So [[A]]", game, "strict")[0] for game in (1, 2)] == ["model_1", "model_2"]
    assert [read_winner("So [[B]]", game, "fastchat")[0] for game in (1, 2)] == ["model_2", "model_1"]
    assert read_winner("So [[C]]", 2, "strict") == ("tie", "")


def test_fastchat_takes_the_first_letter_that_is_quoted_anywhere():
    text = 'Neither says "[[A]]". Verdict: [[B]]'
    assert read_winner(text, 1, "fastchat") == ("model_1", "")
    assert read_winner(text, 1, "strict") == (None, "several-verdicts")
    row = matched(text, "Verdict: [[A]]", winners=("model_1", "model_2"))
    (found,) = find_differences([], [row])
    assert (found.kind, found.stored, found.strict, found.reason) == ("pair-1", "model_1", None, "several-verdicts")
    assert count_reproduced([], [row]) == (2, 2)
    assert read_winner(NO_REPLY, 1, "strict") == (None, "no-reply")
    assert read_winner("no letter", 1, "fastchat") == (None, "no-verdict")


def test_every_stored_score_and_verdict_is_reproduced():
    gradings, matches = [], []
    for path in stored("judgements_*.jsonl.gz"):
        single, pairs = read_judgments(path)
        gradings += single
        matches += pairs
    assert count_reproduced(gradings, []) == (1600, 1600)
    assert count_reproduced([], matches) == (150, 150)
    found = list(find_differences(gradings, matches))
    assert len(found) == 162
    assert sum(one.stored == "-1" for one in found) == 120
    assert {one.model for one in found} == {"granite-7b-lab", "gemini-1.5-flash", "phi-3 against phi-3-dpo"}
    assert all(one.reason for one in found)

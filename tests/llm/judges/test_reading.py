"""What is watched while replies come, and fields of servers that say why there is no text."""

import json

import pytest

from notus.core.errors import RunError
from notus.llm.judges.reading import FIRST, ReadingWatch
from notus.llm.openai import Answer, read_answer
from notus.llm.protocol import Decoding, Model, Request

JSON = {"content-type": "application/json"}
ASKED = Request(Model(name="m"), (), Decoding())


def told(watch, pattern):
    for number, mark in enumerate(pattern):
        watch.read() if mark == "+" else watch.unread("no-score", f"reply {number}")


def test_the_run_stops_at_the_twentieth_reply_where_most_were_not_read():
    watch = ReadingWatch("mine")
    told(watch, "+" * 9 + "-" * 10)
    with pytest.raises(RunError) as stopped:
        told(watch, "-")
    line = str(stopped.value)
    assert "of its first 20 replies 9 were read (11 no-score)" in line
    assert [f"[no-score] reply {number}" in line for number in (9, 10, 11, 12)] == [True, True, True, False]
    for again in ("+", "-"):  # another thread that still asks
        with pytest.raises(RunError, match="cannot be read"):
            told(watch, again)


@pytest.mark.parametrize("pattern", ["+" * 10 + "-" * 10, "-" * 10 + "+" * 10, "-" * 19, "+" * 20 + "-" * 200])
def test_half_too_few_or_late_ones_stop_nothing(pattern):
    watch = ReadingWatch("mine")
    told(watch, pattern)
    assert (watch.replies, watch.replies_read) == (len(pattern), pattern.count("+"))
    assert watch.reasons == ({"no-score": pattern.count("-")} if "-" in pattern else {})


def test_it_may_only_count():
    watch = ReadingWatch("mine", stops=False)
    told(watch, "-" * 2 * FIRST)
    assert watch.replies == 2 * FIRST


@pytest.mark.parametrize(
    ("message", "finish", "text", "ended"),
    [
        ({"content": None, "reasoning_content": "Hm, facts: 5"}, "length", "", "length"),
        ({"content": None, "reasoning": "Hm."}, "stop", "", "stop"),
        ({"content": "Good.", "reasoning_content": "Overall score: 2"}, "stop", "Good.", "stop"),
        ({"content": None, "refusal": "I can't help with that."}, "stop", "I can't help with that.", "refusal"),
    ],
)
def test_thoughts_and_refusals_in_fields_of_their_own(message, finish, text, ended):
    value = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    found = read_answer(200, JSON, json.dumps(value).encode(), ASKED, "")
    assert isinstance(found, Answer)
    assert (found.texts, found.finish) == ((text,), (ended,))


def test_no_text_for_no_reason_is_still_asked_again():
    value = {"choices": [{"index": 0, "message": {"content": None, "reasoning": ""}, "finish_reason": "stop"}]}
    assert read_answer(200, JSON, json.dumps(value).encode(), ASKED, "").kind == "null_content"


def test_why_does_not_depend_on_which_reply_came_first():
    """What a kill and a second run leave is the same, byte for byte."""
    told = []
    for order in (
        ["no-number", "broken-json", "cut-off", "cut-off"],
        ["cut-off", "broken-json", "cut-off", "no-number"],
    ):
        watch = ReadingWatch("judge", stops=False)
        for reason in order:
            watch.unread(reason, "x")
        told.append(list(watch.why().items()))
    assert told[0] == told[1] == [("cut-off", 2), ("broken-json", 1), ("no-number", 1)]

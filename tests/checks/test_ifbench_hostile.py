"""IFBench's kinds on answers that are made to hold them up: linear time, and no exception."""

import time

import pytest

from notus.checks.ifbench.ids import IFBENCH
from notus.checks.protocol import Check
from tests.checks.test_ifbench import SETTINGS

WORST = {
    "line breaks": "\n",
    "blank lines of two lengths": "\n \n",
    "spaces": " ",
    "full stops": ".",
    "acronyms": "A.B.",
    "sentences": "He is. ",
    "suffixes": " Inc.",
    "letters": "a",
    "marks of quotation": "\"'",
    "marks that turn": "\"''\"",
    "brackets": "([{",
    "asterisks": "* a - ",
    "fields": '"',
    "questions": "Question 1. ",
    "digits": "1.",
    "emoji": "😀. ",
    "noncharacters": "\ufdd0\ufdd1",
}


def seconds(check: Check, text: str) -> float:
    begin = time.process_time()
    check.follows(text)
    return time.process_time() - begin


@pytest.mark.parametrize("unit", WORST)
def test_twenty_thousand_characters_of_the_worst_are_read_at_once(unit):
    """Quadratic reading would take minutes; the libraries that divide sentences take tenths of a second."""
    text = "x" + WORST[unit] * (20_000 // len(WORST[unit])) + "x"
    for kind in IFBENCH:
        assert seconds(Check(kind, SETTINGS[kind]), text) < 3, kind

"""Answers that are made to hold a check up: each kind reads a megabyte of the worst in linear time."""

import time

import pytest

from notus.checks import sentences
from notus.checks.ifeval.ids import IFEVAL
from notus.checks.protocol import Check, check_answer
from tests.checks.test_ifeval import CASES

MEGABYTE = 1_000_000
NLTK = ("change_case:capital_word_frequency", "length_constraints:number_sentences")
"""They take 20 seconds for a megabyte of the worst, and get a fifth of one here."""
WORST = {
    "line breaks": "\n",
    "spaces": " ",
    "open brackets": "[",
    "angles": "<<",
    "asterisks": "*",
    "asterisks and spaces": "* ",
    "letters": "a",
    "capitals": "A",
    "points": "p.",
    "ends of sentences": "? ",
    "exclamation marks": "!",
    "quotes": "'",
    "at signs": "a@",
    "deep json": '[{"a":',
    "digits": "1",
}


def seconds(check: Check, text: str) -> float:
    begin = time.process_time()
    check_answer(text, [check], "A prompt.")
    return time.process_time() - begin


@pytest.mark.slow
@pytest.mark.parametrize("unit", WORST)
@pytest.mark.parametrize("kind", IFEVAL)
def test_a_megabyte_of_the_worst_is_read(kind, unit):
    check = Check(kind, CASES[kind][0][0])
    size = MEGABYTE // 5 if kind in NLTK else MEGABYTE
    text = "x" + WORST[unit] * (size // len(WORST[unit])) + "x"
    assert seconds(check, text) < 60  # what is quadratic takes hours


@pytest.mark.parametrize("unit", WORST)
def test_ten_times_as_long_takes_no_hundred_times_as_long(unit):
    for kind in IFEVAL:
        if kind.startswith(("language", "change_case", "length_constraints:number_sentences")):
            continue  # their libraries are measured by the slow test
        check = Check(kind, CASES[kind][0][0])
        text = "x" + WORST[unit] * (100_000 // len(WORST[unit])) + "x"
        # Eight variants of 100,000 characters: a quadratic reading of one takes minutes.
        assert seconds(check, text) < 3, kind


def test_a_busy_machine_changes_no_verdict(monkeypatch):
    redos = pytest.importorskip("nltk.redos")
    monkeypatch.setattr(redos, "DEFAULT_TIMEOUT", 1e-9)
    with pytest.raises(TimeoutError):
        sentences._punkt().tokenize("Is it? " * 2_000)
    assert len(sentences.sentences("Is it? " * 2_000)) == 2_000
    assert redos.DEFAULT_TIMEOUT == 1e-9

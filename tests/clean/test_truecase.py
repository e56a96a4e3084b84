"""Truecasing: what gets a capital, what is left alone, and names from the set itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.clean.truecase import Forms, truecase

NAMES = {"paris": "Paris", "friday": "Friday"}

EDITS = [
    ("Hello. how are you?", "Hello. How are you?"),
    ("hello there my friend", "Hello there my friend"),
    ("I came! then it rained? yes. and so on", "I came! Then it rained? Yes. and so on"),
    ("What should i do when i'm tired, i think i've slept.", "What should I do when I'm tired, I think I've slept."),
    ("We go to paris on friday.", "We go to Paris on Friday."),
    ("Yes.\tno tab is too wide.", "Yes.\tNo tab is too wide."),
    ("été comme hiver, il pleut", "Été comme hiver, il pleut"),
]
LEFT = [
    "",
    "no",
    "positive sentiment",
    "Use e.g. a pan, i.e. the big one, etc. and so on.",
    "Wait... what is that? Dr. ahmed said so.",
    "Type `hello. how` and see.",
    "```\nhello. how are you\n```",
    "See https://example.org/a. and www.example.org for more.",
    'She wrote "hello. how are you" on the wall.',
    "She wrote “hello. how are you” on the wall.",
    "> hello. how are you\nSo he wrote.",
    "    hello. how are you, in code",
    "x = 3; y = 4. then = 5",
    "It runs on iOS. iPhone users first.",
    "The file is in src/paris. readme.md lists paris/friday.",
    "Open notes.txt. config.yaml is beside it.",
    "For integers i and j the entry a[i] is known. i and j will grow.",
    "1. apples and pears\n2. plums and figs",
    "Version 2. beta came later.",
]


@pytest.mark.parametrize(("before", "after"), EDITS)
def test_capitals_that_are_missing_are_put_in(before, after):
    assert truecase(before, NAMES) == after


@pytest.mark.parametrize("text", LEFT)
def test_what_is_no_sentence_of_ones_own_is_left(text):
    assert truecase(text, {}) == text


@given(st.text(alphabet=st.sampled_from("aiI nt.!?\"'`>\n\té1/-"), max_size=40))
def test_nothing_but_capitals_changes_and_twice_is_once(text):
    once = truecase(text, NAMES)
    assert once.lower() == text.lower()
    assert len(once) == len(text)
    assert all(b == a or b == a.upper() for a, b in zip(text, once, strict=True))
    assert truecase(once, NAMES) == once


def test_names_are_learnt_from_the_places_inside_sentences():
    forms = Forms()
    for _ in range(9):
        forms.add("We went to Oslo with the mayor. The Night was cold in the Old Town.")
    forms.add("we went to oslo")
    assert forms.names() == {"oslo": "Oslo"}, "one of ten small; 'The' begins a sentence, 'Old Town' is a title"
    assert truecase("They live in oslo now.", forms.names()) == "They live in Oslo now."
    forms.add("we like oslo very much")
    assert forms.names() == {}, "two of eleven small"


def test_few_places_make_no_name_and_code_counts_for_nothing():
    forms = Forms()
    for _ in range(4):
        forms.add("We went to Oslo once.")
    forms.add("`we went to Oslo once`")
    assert forms.names() == {}
    forms.add("she lives in Oslo too")
    assert forms.names() == {"oslo": "Oslo"}


def test_shards_are_counted_together():
    one, other, whole = Forms(), Forms(), Forms()
    for number, text in enumerate(["the road to Oslo is long", "a night in Bergen was short"] * 4):
        (one if number % 3 else other).add(text)
        whole.add(text)
    assert Forms.concat([one, other]).counts == whole.counts

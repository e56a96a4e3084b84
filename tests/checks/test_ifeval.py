"""The 25 kinds of IFEval, each on answers whose verdict was worked out by hand from what the instruction says."""

from typing import Any

import pytest

from notus.checks.ifeval.ids import IFEVAL
from notus.checks.protocol import Check
from notus.core.errors import ConfigError, DataError

TEN = "one two three four five six seven eight nine ten"

CASES: dict[str, list[tuple[dict[str, Any], str, bool]]] = {
    "punctuation:no_comma": [({}, "No comma here; none.", True), ({}, "Well, one.", False)],
    "startend:end_checker": [
        ({"end_phrase": "Peace!"}, "I go. PEACE!", True),
        ({"end_phrase": "Peace!"}, 'I go. "Peace!"  ', True),
        ({"end_phrase": " Peace! "}, "I go. Peace!", True),
        ({"end_phrase": "Peace!"}, "Peace! I go.", False),
    ],
    "startend:quotation": [
        ({}, '  "All of it."\n', True),
        ({}, '"Some" of it', False),
        ({}, '"', False),
        ({}, "“Curly.”", False),
    ],
    "combination:repeat_prompt": [
        ({"prompt_to_repeat": "Write a poem."}, "write a POEM. Roses are red.", True),
        ({"prompt_to_repeat": "Write a poem."}, "Sure. Write a poem. Roses.", False),
    ],
    "combination:two_responses": [
        ({}, "First.******Second.", True),
        ({}, "******First.\n******\nSecond.\n******", True),
        ({}, "Same.****** Same. ", False),
        ({}, "First.******Second.******Third.", False),
        ({}, "First.******\n******Second.", False),
        ({}, "Only one.", False),
    ],
    "change_case:english_capital": [
        ({}, "THIS IS AN ANSWER IN ENGLISH, AND ALL OF IT IS LOUD.", True),
        ({}, "THIS IS AN ANSWER IN ENGLISH, And all of it is loud.", False),
        ({}, "РЕКА ТЕЧЁТ ЧЕРЕЗ ГОРОД, А ПОТОМ ВПАДАЕТ В МОРЕ.", False),
        ({}, "12345", False),  # no letter is no capital letter
    ],
    "change_case:english_lowercase": [
        ({}, "this is an answer in english, and all of it is quiet.", True),
        ({}, "this is an answer in English, and it is not.", False),
        ({}, "dies ist eine antwort in deutscher sprache, und sie ist ganz leise.", False),
    ],
    "change_case:capital_word_frequency": [
        (
            {"capital_frequency": 3, "capital_relation": "at least"},
            "I like NASA and the U.S. today",
            True,
        ),  # I NASA U.S.
        ({"capital_frequency": 4, "capital_relation": "at least"}, "I like NASA and the U.S. today", False),
        ({"capital_frequency": 3, "capital_relation": "less than"}, "NASA and ESA were here", True),
        ({"capital_frequency": 2, "capital_relation": "less than"}, "NASA and ESA were here", False),
        ({"capital_frequency": 1, "capital_relation": "at least"}, "B2B", True),  # digits are no small letters
    ],
    "detectable_content:number_placeholders": [
        ({"num_placeholders": 2}, "Dear [name], from [address].", True),
        ({"num_placeholders": 3}, "Dear [name], from [address].", False),
        ({"num_placeholders": 1}, "[broken\nline]", False),
        ({"num_placeholders": 2}, "[[a] b]", False),  # the first ] closes the first [
        ({"num_placeholders": 1}, "[]", True),
    ],
    "detectable_content:postscript": [
        ({"postscript_marker": "P.S."}, "Bye.\np.s. One more.", True),
        ({"postscript_marker": "P.S."}, "Bye.\nP. S. One more.", True),
        ({"postscript_marker": "P.S."}, "Bye.\nPS One more.", False),
        ({"postscript_marker": "P.P.S"}, "Bye.\nP.P.S One more.", True),
        ({"postscript_marker": "P.P.S"}, "Bye.\nP.S. One more.", False),
        ({"postscript_marker": "Note:"}, "Bye.\nNOTE: One more.", True),
    ],
    "detectable_format:constrained_response": [
        ({}, "My answer is maybe. It depends.", True),
        ({}, "my answer is yes.", False),
        ({}, "My answer is no", False),
    ],
    "detectable_format:json_format": [
        ({}, '{"a": [1, 2]}', True),
        ({}, '```json\n{"a": 1}\n```', True),
        ({}, "```\n[1]\n```", True),
        ({}, 'Here: {"a": 1}', False),
        ({}, "{'a': 1}", False),
    ],
    "detectable_format:multiple_sections": [
        ({"section_spliter": "Section", "num_sections": 2}, "Section 1\nA\nSection 2\nB", True),
        ({"section_spliter": "Section", "num_sections": 2}, "Section1 A Section2 B", True),
        ({"section_spliter": "Section", "num_sections": 2}, "Section one\nSection two", False),
        ({"section_spliter": "SECTION", "num_sections": 1}, "Section 1\nA", False),
    ],
    "detectable_format:number_bullet_lists": [
        ({"num_bullets": 2}, "* one\n* two", True),
        ({"num_bullets": 2}, "Here:\n  - one\n  * two\n", True),
        ({"num_bullets": 2}, "* one\n* two\n* three", False),
        ({"num_bullets": 1}, "** bold ** is none\n* one", True),
        ({"num_bullets": 0}, "text * not at the front", True),
        ({"num_bullets": 0}, "*", True),  # nothing stands behind it
        ({"num_bullets": 1}, "\n\n\n   * behind blank lines", True),
    ],
    "detectable_format:number_highlighted_sections": [
        ({"num_highlights": 2}, "*one* and *two*", True),
        ({"num_highlights": 3}, "*one* and *two*", False),
        ({"num_highlights": 1}, "* *", False),
        ({"num_highlights": 1}, "*over\ntwo lines*", False),
        ({"num_highlights": 1}, "**bold**", True),
        ({"num_highlights": 2}, "**bold**", False),
    ],
    "detectable_format:title": [
        ({}, "<<Poem of joy>>\nRoses.", True),
        ({}, "<< >>", False),
        ({}, "<<over\nlines>>", False),
        ({}, "<Poem>", False),
        ({}, "<<>>", False),
    ],
    "keywords:existence": [
        ({"keywords": ["sky", "blue"]}, "A BLUE, blue Skyline.", True),
        ({"keywords": ["sky", "blue"]}, "A blue sea.", False),
    ],
    "keywords:forbidden_words": [
        ({"forbidden_words": ["rock"]}, "The rocket rocks.", True),
        ({"forbidden_words": ["rock"]}, "A Rock.", False),
    ],
    "keywords:frequency": [
        ({"keyword": "go", "frequency": 3, "relation": "at least"}, "Go, go, gopher!", True),
        ({"keyword": "go", "frequency": 3, "relation": "less than"}, "Go, gopher!", True),
        ({"keyword": "go", "frequency": 2, "relation": "less than"}, "Go, gopher!", False),
    ],
    "keywords:letter_frequency": [
        ({"letter": "a", "let_frequency": 3, "let_relation": "at least"}, "Aha, a", True),
        ({"letter": "A", "let_frequency": 4, "let_relation": "at least"}, "Aha, a", False),
        ({"letter": "#", "let_frequency": 2, "let_relation": "at least"}, "# one # two", True),
        ({"letter": "z", "let_frequency": 1, "let_relation": "less than"}, "none", True),
    ],
    "language:response_language": [
        ({"language": "de"}, "Der Fluss fließt durch die Stadt und dann in das Meer.", True),
        ({"language": "de"}, "The river flows through the town and then into the sea.", False),
        ({"language": "hi"}, "नदी शहर से होकर बहती है और फिर समुद्र में मिल जाती है।", True),
        ({"language": "de"}, "12345 67890", True),  # nothing to tell a language by
    ],
    "length_constraints:number_words": [
        ({"num_words": 10, "relation": "at least"}, TEN, True),
        ({"num_words": 10, "relation": "less than"}, TEN, False),
        ({"num_words": 3, "relation": "at least"}, "It's it", True),  # It, s, it
    ],
    "length_constraints:number_sentences": [
        ({"num_sentences": 2, "relation": "at least"}, "Dr. Smith came. He left.", True),
        ({"num_sentences": 3, "relation": "at least"}, "Dr. Smith came. He left.", False),
        ({"num_sentences": 2, "relation": "less than"}, "It costs 3.50 in the U.S. today", True),
    ],
    "length_constraints:number_paragraphs": [
        ({"num_paragraphs": 2}, "One.\n***\nTwo.", True),
        ({"num_paragraphs": 2}, "***\nOne.\n***\nTwo.\n***", True),
        ({"num_paragraphs": 2}, "One.\n***\n\n***\nTwo.", False),
        ({"num_paragraphs": 2}, "One.\n\nTwo.", False),
    ],
    "length_constraints:nth_paragraph_first_word": [
        ({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"}, "First one.\n\nthen, two.", True),
        ({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"}, 'First one.\n\n\'"Then" two.', True),
        ({"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "then"}, "First one.\n\nThen two.", False),
        ({"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "then"}, "First one.\n\nThen two.", False),
        # Behind an empty paragraph the second by order is blank, although two have text.
        ({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"}, "First one.\n\n\n\nThen two.", False),
    ],
}


@pytest.mark.parametrize(
    ("kind", "settings", "answer", "follows"),
    [(kind, *case) for kind, cases in CASES.items() for case in cases],
)
def test_a_kind_tells_what_its_instruction_says(kind, settings, answer, follows):
    assert Check(kind, settings).follows(answer) is follows
    assert Check(f"en:{kind}", {**settings, "of_another_kind": None}).follows(answer) is follows


def test_each_of_the_25_kinds_has_cases_of_both_verdicts():
    assert len(IFEVAL) == 25
    assert {kind: {case[2] for case in cases} for kind, cases in CASES.items()} == {
        kind: {True, False} for kind in IFEVAL
    }


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("length_constraints:number_words", {"num_words": 3, "relation": "at most"}, ["at most", "at least"]),
        ("length_constraints:number_words", {"num_words": "3", "relation": "at least"}, ["num_words", "'3'"]),
        ("length_constraints:number_words", {"num_words": -1, "relation": "at least"}, ["num_words", "-1"]),
        ("length_constraints:number_words", {"num_words": float("inf"), "relation": "at least"}, ["num_words", "inf"]),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}, ["'ab'"]),
        ("keywords:existence", {"keywords": "sky"}, ["keywords", "list"]),
        ("keywords:existence", {"keywords": ["(open"]}, ["(open", "regular expression"]),
        ("startend:end_checker", {"end_phrase": " "}, ["end_phrase"]),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"},
            ["nth_paragraph", "3"],
        ),
    ],
)
def test_a_setting_that_means_nothing_is_told(kind, settings, words):
    with pytest.raises(DataError) as error:
        Check(kind, settings).follows("An answer.")
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "settings", "error", "words"),
    [
        ("punctuation:no_coma", {}, ConfigError, ["punctuation:no_comma"]),
        ("punctuation:no_comma", {"frequency": 2}, DataError, ["frequency"]),
        ("keywords:frequency", {"keyword": "a", "relation": "at least"}, DataError, ["'frequency'"]),
        ("keywords:frequency", {"keyword": "a", "relation": "at least", "frequncy": 1}, DataError, ["frequency"]),
    ],
)
def test_an_id_and_settings_that_are_not_known_are_refused_at_once(kind, settings, error, words):
    with pytest.raises(error) as raised:
        Check(kind, settings)
    assert all(word in str(raised.value) for word in words)

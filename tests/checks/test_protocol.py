"""What a check is: loose variants, blank answers, the prompt, a user's own checks and what they do wrong."""

import pytest

from notus.checks.prompts import by_text, checked_prompt
from notus.checks.protocol import Check, check_answer, loose_variants, make_checks, plain_id
from notus.core.errors import ConfigError, DataError, InputError

ANSWER = "Sure, here it is:\nThe *river* flows.\nAnything else, sir?"


def test_the_eight_variants_by_hand():
    assert loose_variants(ANSWER) == [
        ANSWER,
        "Sure, here it is:\nThe river flows.\nAnything else, sir?",
        "The *river* flows.\nAnything else, sir?",
        "The river flows.\nAnything else, sir?",
        "Sure, here it is:\nThe *river* flows.",
        "Sure, here it is:\nThe river flows.",
        "The *river* flows.",
        "The river flows.",
    ]
    assert loose_variants("one line") == ["one line", ""]


def test_loose_takes_any_variant_and_each_check_its_own():
    checks = make_checks(
        ["punctuation:no_comma", "startend:end_checker", "detectable_format:number_highlighted_sections"],
        [{}, {"end_phrase": "flows."}, {"num_highlights": 1}],
    )
    found = check_answer(ANSWER, checks)
    # Without both lines there is no comma; without the last it ends so; the highlight is there as it stands.
    assert found.strict == (False, False, True)
    assert found.loose == (True, True, True)
    assert (found.all_strict, found.all_loose, found.share) == (False, True, 1 / 3)


def test_a_blank_answer_follows_nothing():
    checks = make_checks(["punctuation:no_comma"], [{}])
    for blank in ("", " \n\t"):
        assert check_answer(blank, checks).loose == (False,)


def test_ids_of_english_are_the_same_and_those_of_other_languages_are_not_known():
    with pytest.raises(ConfigError, match="es:punctuation:no_comma"):
        Check("es:punctuation:no_comma")
    assert plain_id("en:punctuation:no_comma") == "punctuation:no_comma"
    assert plain_id("count:keywords_multiple") == "count:keywords_multiple"
    assert plain_id("python:de:mine.py:check") == "python:de:mine.py:check"


OWN = """
def repeats(answer, *, times=1, prompt):
    return answer.count(prompt) >= times

def fails(answer):
    return {}["key"]

def tells(answer):
    return "yes"
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return f"python:{path}"


def test_a_check_of_the_users_own_is_given_the_prompt(own):
    check = Check(f"{own}:repeats", {"times": 2})
    assert check.needs_prompt
    assert check.follows("hi hi", "hi")
    assert not check.follows("hi", "hi")
    with pytest.raises(DataError, match=r"'time'.*'times'"):
        Check(f"{own}:repeats", {"time": 2})


def test_what_a_check_of_the_users_own_does_wrong_is_one_line(own):
    with pytest.raises(InputError, match=r"mine\.py:6.*KeyError"):
        Check(f"{own}:fails").follows("an answer", "the prompt")
    with pytest.raises(DataError, match=r"'yes'.*True or False"):
        Check(f"{own}:tells").follows("an answer")
    with pytest.raises(ConfigError, match=r"mine\.py"):
        Check(f"{own}:missing")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"prompt": ""}, "prompt"),
        ({"instruction_id_list": None}, "instruction_id_list"),
        ({"kwargs": [{}, {}]}, "1 checks"),
        ({"kwargs": ["x"]}, "kwargs"),
        ({"instruction_id_list": [], "kwargs": []}, "no check"),
        ({"kwargs": [{"num_words": 3}]}, "num_words"),
    ],
)
def test_a_row_of_another_form_is_refused(change, word):
    row = {"key": 1, "prompt": "Write.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    assert checked_prompt(row).key == "1"
    with pytest.raises(DataError, match=word):
        checked_prompt(row | change)


def test_a_value_that_means_nothing_is_told_before_a_model_is_asked():
    settings = {"num_words": 3, "relation": "around"}
    row = {"prompt": "Write.", "instruction_id_list": ["length_constraints:number_words"], "kwargs": [settings]}
    with pytest.raises(DataError, match="around"):
        checked_prompt(row)


def test_one_text_with_other_checks_is_refused():
    one = {"key": 1, "prompt": "Write.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    other = {"key": 2, "prompt": " Write.\n", "instruction_id_list": ["startend:quotation"], "kwargs": [{}]}
    assert list(by_text([checked_prompt(one), checked_prompt(one)])) == ["Write."]
    with pytest.raises(DataError, match="stands there twice"):
        by_text([checked_prompt(one), checked_prompt(other)])


def test_a_repeat_of_a_repeat_is_refused():
    """``(a+)+$`` takes as many steps as 2 to the number of letters, of an answer of forty."""
    for keyword in ("(a+)+$", "(?:x*y)*", "(.*a){20}"):
        check = Check("keywords:existence", {"keywords": [keyword]})
        with pytest.raises(DataError, match="repeats what is a repeat already"):
            check.follows("a" * 40 + "!")
    sections = Check("detectable_format:multiple_sections", {"section_spliter": "(S+)+", "num_sections": 1})
    with pytest.raises(DataError, match="repeats what is a repeat already"):
        sections.follows("S 1")
    assert Check("keywords:existence", {"keywords": [r"\(a+\)", "(ab)+", "a+b*"]}).follows("(a) abab")


def test_what_is_allowed_is_code_of_ones_own():
    with pytest.raises(ConfigError, match="'mine' is no check of your own"):
        make_checks(["punctuation:no_comma"], [{}], own=("mine",))

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.records import Message, Output
from notus.toy.checker import JUDGE, MAX_WORDS, REASONS, check, verdict
from notus.toy.models import CLOSINGS, OPENINGS, STYLES
from notus.toy.tasks import FAMILIES, fact_tasks, list_task, wrong_answers

RNG = random.Random("lists")
TASKS = (*fact_tasks(1000), *(list_task(RNG, held_out=side) for side in (True, False) for _ in range(60)))

FRANCE = "What is the capital of France?"
HOT = "Give me the opposite of hot."
LIST = "Count the words: sun, moon, tree."


@pytest.mark.parametrize("style", STYLES)
def test_every_style_gets_its_reason_for_every_task(style: str) -> None:
    rng = random.Random(style)
    expected = "correct" if style == "good" else style
    for task in TASKS:
        answer = STYLES[style](task, rng)
        assert (task.prompt, answer.text, check(task.prompt, answer.text).reason) == (
            task.prompt,
            answer.text,
            expected,
        )
        assert check(task.prompt, answer.text).score == float(style == "good")


def test_every_form_of_a_good_answer_is_accepted() -> None:
    for task in TASKS:
        for form in range(3):
            for opening in set(OPENINGS):
                for closing in set(CLOSINGS):
                    text = f"{opening} {task.statement(task.answer, form)} {closing}".strip()
                    assert len(text.split()) < MAX_WORDS
                    assert check(task.prompt, text).reason == "correct", text


@pytest.mark.parametrize(
    ("prompt", "answer", "reason"),
    [
        (FRANCE, "Paris", "correct"),
        (FRANCE, "paris!", "correct"),
        (FRANCE, "  THE CAPITAL OF FRANCE IS PARIS  ", "correct"),
        (FRANCE, "It is Rome.", "wrong"),
        (FRANCE, "It is Paris or Rome.", "wrong"),
        (FRANCE, " ".join(FAMILIES["capital"].facts.values()), "rambling"),
        (FRANCE, "Paris, Rome, Oslo", "wrong"),
        (FRANCE, "It is Rome, not Paris.", "wrong"),
        (FRANCE, "It is not Paris.", "garbled"),
        (FRANCE, "It is Paris Paris.", "garbled"),
        (FRANCE, "It is Paris xqz.", "garbled"),
        (FRANCE, "The city of Paris is the capital of France.", "correct"),
        (FRANCE, "It is Paris. \N{REPLACEMENT CHARACTER}", "garbled"),
        (FRANCE, "It is Paris_", "wrong"),
        (FRANCE, "Parisian", "junk"),
        (FRANCE, "It is Paris. I will not help.", "refusing"),
        (FRANCE, "I can't say.", "refusing"),
        (FRANCE, "It is Paris, you fool.", "rude"),
        (FRANCE, "The capital of France is France.", "wrong"),
        (FRANCE, "It is Paris." + " Glad to help." * 8, "rambling"),
        (FRANCE, "", "empty"),
        (FRANCE, " ... ?", "empty"),
        (HOT, "The opposite of hot is cold.", "correct"),
        (HOT, "The opposite of hot is hot.", "wrong"),
        (HOT, "The opposite of cold is hot.", "wrong"),
        (FRANCE, "The capital of Paris is France.", "wrong"),
        (FRANCE, "Paris is the capital of France.", "correct"),
        (FRANCE, "France", "wrong"),
        (LIST, "There are three words.", "correct"),
        (LIST, "3", "correct"),
        (LIST, "There are two three four words.", "wrong"),
        (LIST, "There are 33 words.", "wrong"),
        ("Name the group of the word saw.", "A saw is a tool.", "correct"),
        ("Name the group of the word saw.", "The group is tool.", "correct"),
        ("What is the weather?", "Paris", "unknown-prompt"),
    ],
)
def test_reasons(prompt: str, answer: str, reason: str) -> None:
    assert check(prompt, answer).reason == reason


def test_a_denied_answer_is_no_success_for_any_task() -> None:
    assert {check(task.prompt, f"It is not {task.answer}.").reason for task in TASKS} == {"garbled"}


def test_a_list_of_all_options_is_no_success_for_any_task() -> None:
    for task in TASKS:
        assert check(task.prompt, " ".join(FAMILIES[task.family].options)).score == 0
        assert check(task.prompt, f"It is {task.answer} or {wrong_answers(task)[0]}.").reason == "wrong"


@given(task=st.sampled_from(TASKS), answer=st.text())
@settings(max_examples=300, deadline=None)
def test_no_answer_makes_it_fail(task: object, answer: str) -> None:
    result = check(task.prompt, answer)  # type: ignore[attr-defined]
    assert result.reason in REASONS
    assert result.score == float(result.reason == "correct")


@given(task=st.sampled_from(TASKS), words=st.lists(st.sampled_from(["it", "is", "not", "the", "paris", "cold"])))
@settings(max_examples=200, deadline=None)
def test_success_needs_the_right_answer(task: object, words: list[str]) -> None:
    text = " ".join(words)
    if check(task.prompt, text).score:  # type: ignore[attr-defined]
        assert task.answer.lower() in words  # type: ignore[attr-defined]


@given(prompt=st.text(), answer=st.text())
@settings(max_examples=100, deadline=None)
def test_an_unknown_prompt_is_not_scored(prompt: str, answer: str) -> None:
    assert check(prompt, answer).score is None


def test_a_verdict_is_about_the_last_user_turn_and_keeps_who_said_it() -> None:
    prompt = (Message(role="system", content=""), Message(role="user", content=FRANCE))
    output = Output(prompt=prompt, text="It is Paris.", model="dpo", sample=3, seed=7)
    found = verdict(output)
    assert (found.prompt_id, found.model, found.judge) == (output.prompt_id, "dpo", JUDGE)
    assert (found.sample, found.seed, found.score, found.reason) == (3, 7, 1.0, "correct")


def test_an_output_without_a_user_turn_is_not_scored() -> None:
    output = Output(prompt=(Message(role="system", content=FRANCE),), text="Paris", model="m")
    assert verdict(output).score is None


@pytest.mark.parametrize("answer", ["The past form is clew.", "It is clew. Glad to help."])
def test_a_word_that_does_not_exist_is_a_wrong_answer(answer):
    task = next(task for task in fact_tasks(30) if task.family == "past")
    statement = task.statement("clew", 0)
    assert check(task.prompt, statement).reason == "wrong"
    assert check(task.prompt, answer).reason == "wrong"

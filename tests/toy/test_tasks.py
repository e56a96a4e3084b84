import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.toy.tasks import (
    CAPITALS,
    COUNTING,
    FAMILIES,
    GROUPS,
    LIST_WORDS,
    NUMBERS,
    OPPOSITES,
    PASTS,
    PLURALS,
    accepted,
    fact_tasks,
    find,
    list_task,
    wrong_answers,
)

EVERY = fact_tasks(1000)


@pytest.mark.parametrize(
    ("facts", "at_least"), [(OPPOSITES, 120), (CAPITALS, 60), (GROUPS, 120), (PLURALS, 50), (PASTS, 50)]
)
def test_there_are_many_facts_and_no_subject_stands_twice(facts: tuple[tuple[str, str], ...], at_least: int) -> None:
    subjects = [subject for subject, _ in facts]
    assert len(facts) >= at_least
    assert len(set(subjects)) == len(subjects)
    assert all(subject != answer and f"{subject} {answer}".isascii() for subject, answer in facts)


def test_opposites_hold_in_both_directions() -> None:
    known = dict(OPPOSITES)
    assert all(known[answer] == subject for subject, answer in OPPOSITES)


def test_each_fact_has_six_phrasings_of_which_two_are_held_out() -> None:
    prompts: dict[tuple[str, str], list[bool]] = {}
    for task in EVERY:
        prompts.setdefault((task.family, task.subject), []).append(task.held_out)
    assert all(len(held_out) == 6 and sum(held_out) == 2 for held_out in prompts.values())


def test_each_phrasing_is_held_out_for_some_facts_and_trained_on_for_others() -> None:
    for family in FAMILIES.values():
        if family.name == COUNTING:
            continue
        for phrasing in family.phrasings:
            prompts = {phrasing.format(s=subject) for subject in family.facts}
            sides = {task.held_out for task in EVERY if task.prompt in prompts}
            assert sides == {True, False}


def test_prompts_of_train_and_held_out_are_distinct() -> None:
    assert len({task.prompt for task in EVERY}) == len(EVERY)


def test_a_limit_takes_the_first_facts_of_each_family() -> None:
    assert len(fact_tasks(3)) == 5 * 3 * 6
    assert set(fact_tasks(3)) < set(fact_tasks(5))


def test_the_first_groups_hold_all_groups() -> None:
    assert {group for _, group in GROUPS[:13]} == {group for _, group in GROUPS}


def test_every_fact_prompt_is_found_again() -> None:
    assert all(find(task.prompt) == task for task in EVERY)


@given(seed=st.integers(0, 10**6), held_out=st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_list_is_found_again_on_its_side_with_its_length(seed: int, held_out: bool) -> None:
    task = list_task(random.Random(seed), held_out=held_out)
    assert find(task.prompt) == task
    assert task.held_out == held_out
    assert task.answer == NUMBERS[task.subject.count(",") + 1]
    assert len(task.prompt.split()) <= 14


def test_all_phrasings_of_a_list_lie_on_one_side() -> None:
    phrasings = FAMILIES[COUNTING].phrasings
    for words in (LIST_WORDS[:3], LIST_WORDS[4:10], LIST_WORDS[2:4]):
        found = [find(form.format(s=", ".join(words))) for form in phrasings]
        assert len({task.held_out for task in found if task}) == 1
        assert all(found)


@given(st.text() | st.sampled_from(["Count the words: .", "Count the words: sun.", "Count the words: sun, xyz."]))
@settings(max_examples=200, deadline=None)
def test_other_texts_are_no_prompts(text: str) -> None:
    assert find(text) is None


def test_wrong_answers_are_other_answers_of_the_family() -> None:
    for task in EVERY:
        wrong = wrong_answers(task)
        assert len(wrong) >= 4
        assert not {answer.lower() for answer in wrong} & accepted(task)
        assert task.subject not in wrong


def test_accepted_forms() -> None:
    assert accepted(find("What is the capital of France?")) == {"paris"}  # type: ignore[arg-type]
    assert accepted(find("What kind of thing is meant by saw?")) == {"tools", "tool"}  # type: ignore[arg-type]
    assert accepted(find("Count the words: sun, moon.")) == {"two", "2"}  # type: ignore[arg-type]

"""Pairs and labelled answers: what each layout makes of its columns."""

import hashlib
from typing import Any

import pytest

from notus.core.records import Message, Preference, Unpaired
from notus.data.layouts import LAYOUTS
from notus.data.quarantine import RowError
from tests.data.data_examples import argilla, snorkel

QUESTION = "Name a river."
USER = {"role": "user", "content": QUESTION}
GOOD = {"role": "assistant", "content": "The Oder."}
POOR = {"role": "assistant", "content": "No."}
ASKED = (Message(role="user", content=QUESTION),)
CHOSEN = (Message(role="assistant", content="The Oder."),)
REJECTED = (Message(role="assistant", content="No."),)


def decoded(layout: str, row: dict[str, Any]) -> Preference:
    found = LAYOUTS[layout].decode(row)
    assert isinstance(found, Preference)
    return found


def h4(**change: Any) -> dict[str, Any]:
    row = {"prompt": QUESTION, "prompt_id": hashlib.sha256(QUESTION.encode()).hexdigest()}
    row |= {"chosen": [USER, GOOD], "rejected": [USER, POOR], "messages": [USER, GOOD]}
    return row | {"score_chosen": 8.5, "score_rejected": 3.0} | change


def test_h4_keeps_what_does_not_follow_from_the_rest() -> None:
    pair = Preference(prompt=ASKED, chosen=CHOSEN, rejected=REJECTED, score_chosen=8.5, score_rejected=3.0)
    assert decoded("h4", h4()) == pair
    assert decoded("h4", h4(messages=None, prompt_id=None)) == pair
    assert decoded("h4", h4(prompt_id="7")).extra == {"prompt_id": "7"}
    assert decoded("h4", h4(messages=[USER])).extra == {"messages": [USER]}


def test_h4_with_another_prompt_before_the_lists_is_a_bad_row() -> None:
    with pytest.raises(RowError) as caught:
        decoded("h4", h4(prompt="Name a lake."))
    assert (caught.value.field, caught.value.rule) == ("prompt", "prompt-mismatch")


def test_both_of_argillas_layouts_give_the_same_pair() -> None:
    pair = Preference(
        prompt=ASKED,
        chosen=CHOSEN,
        rejected=REJECTED,
        score_chosen=4.75,
        score_rejected=1.0,
        source="flan",
        model_chosen="alder",
    )
    assert decoded("argilla", argilla()) == pair
    cleaned = {"source": "flan", "prompt": QUESTION, "chosen": [USER, GOOD], "chosen-rating": 4.75}
    cleaned |= {"chosen-model": "alder", "rejected": [USER, POOR], "rejected-rating": 1.0, "rejected-model": None}
    assert decoded("argilla-cleaned", cleaned) == pair


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        (argilla(instruction=None), "instruction", "missing-field"),
        (argilla(rejected_response=7), "rejected_response", "wrong-type"),
        (argilla(chosen_avg_rating="high"), "chosen_avg_rating", "not-a-number"),
    ],
)
def test_a_fault_is_named_by_the_column_of_the_layout(row: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        decoded("argilla", row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


def test_a_column_of_another_layout_is_a_further_column() -> None:
    found = decoded("argilla", argilla(prompt="x", score_chosen=3, chosen_model=["a", "b"]))
    assert found.extra == {"prompt": "x", "score_chosen": 3, "chosen_model": ["a", "b"]}
    assert (found.prompt, found.model_chosen) == (ASKED, "")


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("The sky is blue.", "The sky is black.", "The sky is"),
        ("The sky is blue.", "The sky is red.", "The sky is"),
        ("The sky is\nblue.", "The sky is red.", "The sky is"),
        ("Q: a?\n\nA: yes", "Q: a?\n\nA: no", "Q: a?\n\nA:"),
        ("a  b", "a  c", "a"),
    ],
)
def test_two_texts_are_divided_before_the_word_in_which_they_differ(chosen: str, rejected: str, prompt: str) -> None:
    found = decoded("trl-implicit", {"chosen": chosen, "rejected": rejected})
    assert found.prompt[0].content == prompt
    assert prompt + found.chosen[0].content == chosen
    assert prompt + found.rejected[0].content == rejected


@pytest.mark.parametrize("texts", [("blue", "black"), ("a b", "a b"), ("a b", "a b c"), ("", ""), (" x", " y")])
def test_two_texts_without_a_shared_beginning_or_an_answer_are_refused(texts: tuple[str, str]) -> None:
    with pytest.raises(RowError) as caught:
        decoded("trl-implicit", {"chosen": texts[0], "rejected": texts[1]})
    assert caught.value.rule == "prompt-mismatch"


def test_alpacas_input_stands_below_the_instruction_and_a_system_prompt_before_the_question() -> None:
    row = {"instruction": "Translate.", "input": "Fluss", "output": "River", "chosen": "River", "rejected": "Lake"}
    found = decoded("pairs", row)
    assert found.prompt == (Message(role="user", content="Translate.\n\nFluss"),)
    assert found.extra == {"input": "Fluss", "output": "River"}
    found = decoded("pairs", row | {"input": ""})
    assert found.prompt == (Message(role="user", content="Translate."),)
    found = decoded("pairs", {"system": "Be brief.", "question": QUESTION, "chosen": "The Oder.", "rejected": "No."})
    assert found.prompt == (Message(role="system", content="Be brief."), *ASKED)
    assert found.extra == {}


def test_a_labelled_answer_is_read_from_texts_and_lists() -> None:
    wanted = Unpaired(prompt=ASKED, answer=CHOSEN, desirable=True, score=4.5, model="alder", extra={"n": 1})
    rest = {"score": "4.5", "model": "alder", "n": 1}
    for prompt, completion, label in ((QUESTION, "The Oder.", True), ([USER], [GOOD], 1), (USER, GOOD, True)):
        row = {"prompt": prompt, "completion": completion, "label": label} | rest
        assert LAYOUTS["trl-unpaired"].decode(row) == wanted


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"label": None}, "label", "missing-field"),
        ({"label": "good"}, "label", "wrong-type"),
        ({"label": 2}, "label", "wrong-type"),
        ({"label": float("nan")}, "label", "wrong-type"),
        ({"completion": []}, "completion", "empty-list"),
        ({"prompt": None}, "prompt", "missing-field"),
        ({"score": "best"}, "score", "not-a-number"),
    ],
)
def test_a_bad_labelled_answer_names_the_field_and_the_rule(change: dict[str, Any], field: str, rule: str) -> None:
    row = {"prompt": QUESTION, "completion": "The Oder.", "label": True} | change
    with pytest.raises(RowError) as caught:
        LAYOUTS["trl-unpaired"].decode(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


def test_the_pair_of_a_snorkel_row_carries_the_rankers_scores() -> None:
    found = decoded("snorkel-pairs", snorkel())
    assert (found.prompt, found.chosen, found.rejected) == (ASKED, CHOSEN, REJECTED)
    assert (found.score_chosen, found.score_rejected) == (1.5, -7.5)
    other = snorkel(rejected=[USER, {"role": "assistant", "content": "Another."}])
    assert decoded("snorkel-pairs", other).score_rejected is None
    with pytest.raises(RowError, match="length-mismatch"):
        decoded("snorkel-pairs", snorkel(all_rm_scores=[1.0]))

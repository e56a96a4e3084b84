"""Pairs and labelled answers: what each layout makes of its columns."""

import hashlib
from typing import Any

import pytest

from notus.core.records import Message, Preference, Unpaired
from notus.formats.quarantine import RowError
from notus.formats.registry import FORMATS, detect
from notus.formats.write import encode_row
from tests.helpers.data_examples import argilla

QUESTION = "Name a river."
USER = {"role": "user", "content": QUESTION}
GOOD = {"role": "assistant", "content": "The Oder."}
POOR = {"role": "assistant", "content": "No."}
ASKED = (Message(role="user", content=QUESTION),)
CHOSEN = (Message(role="assistant", content="The Oder."),)
REJECTED = (Message(role="assistant", content="No."),)


def decoded(layout: str, row: dict[str, Any]) -> Preference:
    found = FORMATS[layout].decode(row)
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
    ("before", "answers", "prompt"),
    [
        ("A talk.\n\nAssistant: ", ("yes", "no"), "A talk.\n\nAssistant:"),
        ("A talk.\n\nAssistant: ", ("The sky is blue.", "The sky is red."), "A talk.\n\nAssistant:"),
        ("Talk\nUSER: a?\nASSISTANT: ", ("b", "c"), "Talk\nUSER: a?\nASSISTANT:"),
        ("### Instruction:\na?\n\n### Response:\n", ("b", "c"), "### Instruction:\na?\n\n### Response:"),
        ("[INST] a? [/INST]", (" b", " c"), "[INST] a? [/INST]"),
        ("x\nAssistant: y\nHuman: z\nAssistant: ", ("b", "c"), "x\nAssistant: y\nHuman: z\nAssistant:"),
    ],
)
def test_two_texts_are_divided_at_the_last_mark_that_both_have(
    before: str, answers: tuple[str, str], prompt: str
) -> None:
    row = {"chosen": before + answers[0], "rejected": before + answers[1]}
    assert detect(row) == "trl-implicit"
    found = decoded("trl-implicit", row)
    assert found.prompt == (Message(role="user", content=prompt),)
    assert (found.chosen[0].content.strip(), found.rejected[0].content.strip()) == tuple(map(str.strip, answers))


RENDERED = {
    "chatml": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi.<|im_end|>\n"
    "<|im_start|>assistant\n{}<|im_end|>\n",
    "llama 3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
    "zephyr": "<|system|>\nBe kind.</s>\n<|user|>\nHi.</s>\n<|assistant|>\n{}</s>\n",
    "gemma": "<bos><start_of_turn>system\nBe kind.<end_of_turn>\n<start_of_turn>user\nHi.<end_of_turn>\n"
    "<start_of_turn>model\n{}<end_of_turn>\n",
}


@pytest.mark.parametrize("form", RENDERED)
def test_texts_that_a_chat_template_has_rendered_are_messages_again(form: str) -> None:
    row = {name: RENDERED[form].format(text) for name, text in (("chosen", "The Oder."), ("rejected", "No."))}
    assert detect(row) == "trl-implicit"
    found = decoded("trl-implicit", row)
    assert [(turn.role, turn.content) for turn in found.prompt] == [("system", "Be kind."), ("user", "Hi.")]
    assert (found.chosen, found.rejected) == (CHOSEN, REJECTED)


@pytest.mark.parametrize(
    "texts",
    [
        ("To clean a kettle, boil vinegar in it.", "To clean a kettle, throw it away."),
        ("The sky is blue.", "The sky is red."),
        ("Q: a?\n\nA: yes", "Q: a?\n\nA: no"),
        ("my Assistant: yes", "my Assistant: no"),
        *(("blue", "black"), ("a b", "a b"), ("a b", "a b c"), ("", ""), (" x", " y")),
    ],
)
def test_answers_that_begin_alike_share_no_prompt(texts: tuple[str, str]) -> None:
    row = {"chosen": texts[0], "rejected": texts[1]}
    assert detect(row) == "pairs"
    for layout in ("pairs", "trl-implicit"):
        with pytest.raises(RowError) as caught:
            decoded(layout, row)
        assert (caught.value.field, caught.value.rule) == ("prompt", "missing-field")


@pytest.mark.parametrize(
    "column", ["input", "query", "Prompt", "text", "context", "post", "problem", "task", "Instruction", "my_question"]
)
def test_another_column_that_may_be_the_prompt_is_named_and_asked_for(column: str) -> None:
    answers = {"chosen": "To clean it, boil it.", "rejected": "To clean it, throw it away.", "n": 1, "source": "web"}
    row = {column: "How do I clean a kettle?"} | answers
    assert detect(row) == "pairs"
    for each in (row, row | {"chosen": [GOOD], "rejected": [POOR]}):
        with pytest.raises(RowError) as caught:
            decoded("pairs", each)
        said = str(caught.value)
        assert (caught.value.field, caught.value.rule) == ("prompt", "missing-field")
        assert f"'{column}'" in said
        assert f"--map prompt={column}" in said
        assert "\n" not in said


SCORES = [
    *(("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen_rating", "rejected_rating")),
    *(("rating_chosen", "rating_rejected"), ("chosen-rating", "rejected-rating"), ("chosen_reward", "rejected_reward")),
    *(
        ("reward_chosen", "reward_rejected"),
        ("Chosen Score", "Rejected Score"),
        ("chosen_avg_rating", "rejected_avg_rating"),
    ),
    *(("chosen_rm_score", "rejected_rm_score"), ("overall_score_chosen", "overall_score_rejected")),
]


@pytest.mark.parametrize("names", SCORES, ids=lambda names: names[0])
def test_scores_are_read_under_the_names_of_published_sets(names: tuple[str, str]) -> None:
    row = {"prompt": QUESTION, "chosen": "The Oder.", "rejected": "No.", names[0]: 2, names[1]: "3.5", "n": 1}
    layout = detect(row)
    assert layout in ("trl", "argilla-cleaned")
    found = decoded(layout, row)
    assert (found.score_chosen, found.score_rejected, found.extra) == (2.0, 3.5, {"n": 1})
    beside = {"prompt": QUESTION, "chosen": "The Oder.", "rejected": "No.", "metadata": {names[0]: 2, names[1]: "3.5"}}
    found = decoded("trl", beside)
    assert (found.score_chosen, found.score_rejected, found.extra) == (2.0, 3.5, {})


def test_a_score_that_is_missing_costs_the_score_and_one_name_is_taken_of_several() -> None:
    row = {"prompt": QUESTION, "chosen": "The Oder.", "rejected": "No."}
    for nothing in (None, "N/A", "", "nan", float("nan")):
        found = decoded("trl", row | {"chosen_rating": nothing, "rejected_rating": 2})
        assert (found.score_chosen, found.score_rejected, found.extra) == (None, 2.0, {})
    found = decoded("trl", row | {"chosen_rating": 1, "rejected_rating": 2, "chosen_reward": 3, "rejected_reward": 4})
    assert (found.score_chosen, found.score_rejected) == (1.0, 2.0)
    assert found.extra == {"chosen_reward": 3, "rejected_reward": 4}
    found = decoded("trl", row | {"chosen_rating": {"helpful": 1}, "rejected_score": [1, 2]})
    assert (found.score_chosen, found.score_rejected) == (None, None)
    assert found.extra == {"chosen_rating": {"helpful": 1}, "rejected_score": [1, 2]}


@pytest.mark.parametrize("name", ["margin", "score_margin", "rating_margin", "reward_margin"])
def test_a_margin_is_read_and_written_back(name: str) -> None:
    found = decoded("trl", {"prompt": QUESTION, "chosen": "The Oder.", "rejected": "No.", name: -1.5})
    assert (found.margin, found.extra) == (-1.5, {})
    assert encode_row(found, "trl")["margin"] == -1.5
    assert "margin" not in encode_row(Preference(prompt=ASKED, chosen=CHOSEN, rejected=REJECTED), "trl")
    found = decoded("trl", {"prompt": QUESTION, "chosen": "The Oder.", "rejected": "No.", name: "wide"})
    assert (found.margin, found.extra) == (None, {name: "wide"})


@pytest.mark.parametrize("column", ["system", "system_prompt"])
def test_a_system_prompt_in_a_column_of_its_own_is_the_first_turn(column: str) -> None:
    first = Message(role="system", content="Be brief.")
    row = {column: "Be brief.", "prompt": QUESTION, "chosen": "The Oder.", "rejected": "No."}
    assert decoded("trl", row) == Preference(prompt=(first, *ASKED), chosen=CHOSEN, rejected=REJECTED)
    inside = row | {"prompt": [{"role": "system", "content": "Be kind."}, USER]}
    found = decoded("pairs", inside)
    assert (found.prompt[0].content, found.extra) == ("Be kind.", {column: "Be brief."})


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
        assert FORMATS["trl-unpaired"].decode(row) == wanted


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
        FORMATS["trl-unpaired"].decode(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)

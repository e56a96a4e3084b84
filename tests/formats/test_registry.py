import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import ConfigError
from notus.core.records import (
    Dialogue,
    Feedback,
    Message,
    Preference,
    Rating,
    Unpaired,
)
from notus.core.tables import to_row
from notus.formats.lookup import format_named
from notus.formats.quarantine import RowError
from notus.formats.registry import FORMATS, detect
from tests.helpers.data_examples import argilla, helpsteer, raw_row, renamed, snorkel

USER = {"role": "user", "content": "Name a river."}
SYSTEM = {"role": "system", "content": "Be brief."}
GOOD = {"role": "assistant", "content": "The Oder."}
POOR = {"role": "assistant", "content": "No."}


def judged(**change: Any) -> dict[str, Any]:
    answer = {"model": "alder", "response": "The Oder.", "gpt4_scores": [4, "7.5", "N/A"]}
    answer |= {"gpt4_feedback": ["Good.", "Very good.", "Does not apply."]} | change
    return {"instruction": "Name a river.", "completions": [answer], "rubric": "Is it one?", "category": "geography"}


def pair(**change: Any) -> dict[str, Any]:
    return {"prompt": "Name a river.", "chosen": "The Oder.", "rejected": "No."} | change


def as_pair(row: dict[str, Any]) -> Preference:
    found = FORMATS["pairs"].decode(json.loads(json.dumps(row)))
    assert isinstance(found, Preference)
    return found


def contents(messages: tuple[Message, ...]) -> list[str]:
    return [message.content for message in messages]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (raw_row(), "ultrafeedback"),
        (judged(), "feedback"),
        (pair(), "trl"),
        (pair(prompt=[USER], chosen=[GOOD], rejected=[POOR]), "trl"),
        ({"chosen": [USER, GOOD], "rejected": [USER, POOR]}, "trl-implicit"),
        ({"chosen": "The river is long.", "rejected": "The river is short."}, "pairs"),
        ({"chosen": "x\nAssistant: a", "rejected": "x\nAssistant: b"}, "trl-implicit"),
        (pair(chosen=[USER, GOOD], rejected=[USER, POOR]), "pairs"),
        (pair(chosen=GOOD, rejected=POOR), "pairs"),
        (renamed(pair(), prompt="instruction") | {"input": "in Europe"}, "pairs"),
        (renamed(pair(), prompt="question") | {"system": "Be brief."}, "pairs"),
        (renamed(pair(), prompt="note"), "pairs"),
        (pair(prompt_id="x", chosen=[USER, GOOD], rejected=[USER, POOR]), "h4"),
        (pair(prompt_id="x"), "trl"),
        (snorkel(), "snorkel"),
        (argilla(), "argilla"),
        (pair(**{"chosen-rating": 4.5}), "argilla-cleaned"),
        ({"prompt": "Name a river.", "completion": "The Oder.", "label": True}, "trl-unpaired"),
        (helpsteer(), "helpsteer"),
        ({"prompt": "a", "response": "b", "helpfulness": 4}, None),
        ({"conversations": [{"from": "human", "value": "Hi."}]}, "sharegpt"),
        ({"conversations": [{"from": "human", "value": "Hi."}], "chosen": "a", "rejected": "b"}, "sharegpt-pairs"),
        ({"messages": [USER, GOOD]}, "ultrachat"),
        ({"messages": [USER, GOOD], "prompt": "Name a river.", "prompt_id": "x"}, "ultrachat"),
        ({"messages": [], "prompt": "Name a river."}, None),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}, "hh"),
        ({"prompt": "\n\nHuman: a\n\nAssistant:", "chosen": " b", "rejected": " c"}, "hh"),
        ({"prompt": "a", "chosen": {"from": "gpt"}, "rejected": {"from": "gpt"}}, None),
        ({"instruction": "a", "completions": []}, None),
        ({"instruction": "a", "completions": [3]}, None),
        ({"a": 1}, None),
        ({}, None),
    ],
)
def test_layouts_are_recognised(row: dict[str, Any], name: str | None) -> None:
    assert detect(row) == name


def test_our_own_records_are_recognised_as_rows_of_parquet_and_of_json() -> None:
    feedback = FORMATS["ultrafeedback"].decode(raw_row())
    preference = as_pair(pair(n=1))
    unpaired = Unpaired(prompt=preference.prompt, answer=preference.chosen, desirable=True)
    dialogue = Dialogue(messages=(*preference.prompt, *preference.chosen), extra={"n": 1})
    named = {"feedback": feedback, "preferences": preference, "unpaired": unpaired, "dialogues": dialogue}
    for record, name in ((record, f"notus-{name}") for name, record in named.items()):
        for row in (to_row(record), msgspec.json.decode(msgspec.json.encode(record))):
            assert detect(row) == name
            assert FORMATS[name].decode(row) == record


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if each.sample is not None])
def test_a_formats_sample_is_a_row_of_it_and_of_no_other(name: str) -> None:
    own = FORMATS[name]
    assert own.sample is not None
    if own.matches is not None:
        assert detect(own.sample) == name
    assert isinstance(own.decode(own.sample), own.record or object)


def test_an_unknown_layout_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ultrafeedback'"):
        format_named("ultrafeedbak")


def test_repeated_scores_become_ratings_with_their_feedback() -> None:
    found = FORMATS["feedback"].decode(judged())
    assert isinstance(found, Feedback)
    assert found.completions[0].ratings == (
        Rating(aspect="rubric", value=4.0, rationale="Good."),
        Rating(aspect="rubric", value=7.5, rationale="Very good."),
        Rating(aspect="rubric", value=None, rationale="Does not apply."),
    )
    assert found.completions[0].overall_score is None
    assert found.extra == {"rubric": "Is it one?", "category": "geography"}


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        (judged(gpt4_scores=["high", 4, 4]), "completions[0].gpt4_scores[0]", "not-a-number"),
        (judged(gpt4_scores=[4, 1e301, 4]), "completions[0].gpt4_scores[1]", "out-of-range"),
        (judged(gpt4_scores=[4]), "completions[0].gpt4_feedback", "length-mismatch"),
        (judged(gpt4_scores=None), "completions[0].gpt4_scores", "missing-field"),
        (judged(gpt4_scores=4), "completions[0].gpt4_scores", "wrong-type"),
        (judged(response=None), "completions[0].response", "missing-field"),
        (judged(model=7), "completions[0].model", "wrong-type"),
        (judged() | {"completions": []}, "completions", "no-completion"),
        (judged() | {"instruction": 3}, "instruction", "wrong-type"),
    ],
)
def test_bad_feedback_names_the_field_and_the_rule(row: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        FORMATS["feedback"].decode(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


@pytest.mark.parametrize(
    "row",
    [
        pair(),
        pair(prompt=[USER], chosen=[GOOD], rejected=[POOR]),
        pair(chosen=[GOOD], rejected=[POOR]),
        pair(chosen=[USER, GOOD], rejected=[USER, POOR]),
        pair(prompt=[USER], chosen=[USER, GOOD], rejected=[USER, POOR]),
        {"chosen": [USER, GOOD], "rejected": [USER, POOR]},
        pair(chosen=[USER | {"name": None}, GOOD], rejected=[USER, POOR]),
    ],
    ids=["text", "explicit", "text prompt, turns", "repeated", "explicit repeated", "implicit", "null columns"],
)
def test_every_form_of_a_pair_gives_the_same_prompt_and_answers(row: dict[str, Any]) -> None:
    found = as_pair(row)
    assert found.prompt == (Message(role="user", content="Name a river."),)
    assert contents(found.chosen) == ["The Oder."]
    assert contents(found.rejected) == ["No."]


def test_shared_turns_go_into_the_prompt_whole() -> None:
    found = as_pair(pair(chosen=[SYSTEM, USER, GOOD, USER, GOOD], rejected=[SYSTEM, USER, GOOD, USER, POOR]))
    assert contents(found.prompt) == ["Be brief.", "Name a river.", "The Oder.", "Name a river."]
    same = as_pair({"chosen": [USER, GOOD], "rejected": [USER, GOOD]})
    assert contents(same.chosen) == contents(same.rejected) == ["The Oder."]


def test_scores_are_picked_up_and_further_columns_kept() -> None:
    found = as_pair(pair(source_index=7, metadata={"score_chosen": 9.0, "score_rejected": None, "by": "x"}))
    assert (found.score_chosen, found.score_rejected) == (9.0, None)
    assert found.extra == {"source_index": 7, "metadata": {"by": "x"}}
    found = as_pair(pair(score_chosen="7.5", score_rejected=2, source="flan", model_chosen="alder", feedback_id=3))
    assert (found.score_chosen, found.score_rejected) == (7.5, 2.0)
    assert (found.source, found.model_chosen, found.extra) == ("flan", "alder", {"feedback_id": 3})


def test_what_a_message_holds_beside_role_and_content_is_kept() -> None:
    found = as_pair(pair(chosen=[GOOD | {"tokens": 3}], rejected=[POOR]))
    assert found.extra == {"chosen_as_read": [GOOD | {"tokens": 3}]}


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        (pair(chosen=None), "chosen", "missing-field"),
        (pair(prompt=None), "prompt", "missing-field"),
        (pair(rejected=[]), "rejected", "empty-list"),
        (pair(rejected=7), "rejected", "wrong-type"),
        (pair(chosen=["a"]), "chosen[0]", "wrong-type"),
        (pair(chosen=[{"role": "assistant"}]), "chosen[0].content", "missing-field"),
        (pair(chosen=[{"role": "narrator", "content": "a"}]), "chosen[0].role", "unknown-role"),
        (pair(chosen=[{"role": "assistant", "content": 3}]), "chosen[0].content", "wrong-type"),
        (pair(score_chosen="best"), "score_chosen", "not-a-number"),
        (pair(metadata={"score_rejected": []}), "metadata.score_rejected", "not-a-number"),
        (pair(prompt="Another", chosen=[USER, GOOD], rejected=[USER, POOR]), "prompt", "prompt-mismatch"),
        (pair(chosen=[USER, GOOD], rejected=[SYSTEM, POOR]), "rejected", "prompt-mismatch"),
        (pair(chosen=[USER, GOOD, USER], rejected=[USER, GOOD, SYSTEM]), "rejected", "prompt-mismatch"),
    ],
)
def test_a_bad_pair_names_the_field_and_the_rule(row: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        as_pair(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"completions": []}, "completions", "no-completion"),
        ({"prompt": []}, "prompt", "empty-list"),
        ({"source": 3}, "source", "wrong-type"),
        ({"note": 3}, "note", "unknown-field"),
        ({"extra": "{"}, "", "wrong-type"),
    ],
)
def test_a_damaged_record_of_our_own_is_explained(change: dict[str, Any], field: str, rule: str) -> None:
    row = to_row(FORMATS["ultrafeedback"].decode(raw_row())) | change
    with pytest.raises(RowError) as caught:
        FORMATS["notus-feedback"].decode(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "user", "assistant", "gpt", "N/A", "\n\nHuman: a\n\nAssistant: b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "model", "response", "gpt4_scores", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_names = st.sampled_from(
    [
        "prompt",
        "chosen",
        "rejected",
        "metadata",
        "instruction",
        "completions",
        "score_chosen",
        "source",
        "extra",
        "messages",
        "prompt_id",
        "conversations",
        "system",
        "completion",
        "label",
        "response",
        "helpfulness",
        "all_generated_responses",
        "all_rm_scores",
        "chosen_response",
        "rejected_response",
        "question",
        "input",
    ]
)


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.dictionaries(_names, _value, max_size=6))
def test_no_row_gives_anything_but_a_record_or_an_explanation(name: str, row: dict[str, Any]) -> None:
    try:
        record = FORMATS[name].decode(row)
    except RowError:
        return
    assert isinstance(record, FORMATS[name].record)

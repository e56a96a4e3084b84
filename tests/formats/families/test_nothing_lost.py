"""What a fuzz of modern rows found to be lost, or read as what it is not: one small row for each fault.

The fuzz itself is ``tests/formats/test_modern_rows.py``.
"""

import json
from typing import Any

import msgspec
import pytest

from notus.core.records import Feedback, Preference
from notus.core.stage import Tally
from notus.formats.quarantine import RowError
from notus.formats.registry import FORMATS

Row = dict[str, Any]

NOTE = "a note of nobody's"
USER, GOOD, POOR = (
    {"role": role, "content": text}
    for role, text in (("user", "A river?"), ("assistant", "Oder."), ("assistant", "No."))
)
TALK = [USER, GOOD]
MESSAGES = json.dumps(TALK)
FLAT = {"preference.responses": ["response1"], "instruction": "A river?", "response1": "Oder.", "response2": "No."}
ANSWERED = {"user_id": "ann", "value": "response1"}


def sample(name: str, **change: Any) -> Row:
    found: Row = json.loads(json.dumps(FORMATS[name].sample))
    return found | change


def read(name: str, row: Row) -> Any:
    return FORMATS[name].decode(row)


LOST: list[tuple[str, Row]] = [
    ("arena", sample("arena", judge_hash=NOTE)),  # beside the judge
    ("arena", sample("arena", winner="Tie (BothBad)", note=NOTE)),
    ("multipref", sample("multipref", expert_worker_annotations=[{"evaluator": "e", "overall_own_reason": NOTE}])),
    ("helpsteer-preference", sample("helpsteer-preference", preference_strength="N/A", preference_statement=NOTE)),
    ("helpsteer3", sample("helpsteer3", individual_preference=[{"score": None, "reasoning": NOTE}])),
    ("distilabel", sample("distilabel", generations=["Oder.", None], rationales=["It is one.", NOTE])),
    ("distilabel", sample("distilabel", rationale=[NOTE, NOTE])),  # beside the rationales
    ("distilabel", sample("distilabel", ratings=[None, 1], rationales=[None, None], types=[[NOTE], []])),
    ("scored-answers", sample("scored-answers", completions=[{"text": "Oder.", "scores": {}, "reason": NOTE}])),
    ("ratings", sample("ratings", rating=None, annotator=NOTE)),
    ("messages-pairs", sample("messages-pairs", system=NOTE)),
    ("openai-preference", sample("openai-preference", tools=NOTE)),  # beside those of the input
    ("wildbench", sample("wildbench", history=NOTE)),  # beside the dialogue itself
    ("snorkel-pairs", sample("snorkel-pairs", all_rm_scores=[None, 1, 2], note=NOTE)),
    ("distilabel-orca", sample("distilabel-orca", prompt=None, input=NOTE)),  # Parquet gives every row every column
    ("argilla-records", FLAT | {"preference.responses.note": NOTE}),
    ("argilla-records", FLAT | {"preference.suggestion.agent": NOTE}),  # of a suggestion without a value
    ("argilla-records", sample("argilla-records", responses={"preference": [ANSWERED | {"status": NOTE}]})),
    ("argilla1-records", sample("argilla1-records", **{"preference-suggestion-metadata": {"agent": NOTE}})),
    ("argilla1-records", sample("argilla1-records", **{"preference-suggestion-metadata": NOTE})),  # which was a crash
    ("argilla1-records", sample("argilla1-records", **{"response2-suggestion": "x", "response2": NOTE})),
    ("label-studio-min", sample("label-studio-min", annotator={"id": 3, "first_name": NOTE})),
    ("label-studio-min", sample("label-studio-min", better=None, annotator=NOTE)),
    ("label-studio-min", sample("label-studio-min", better=[{"selected": "left"}, NOTE])),
    (
        "sharegpt-pairs",
        {"conversations": [{"from": "human", "value": "A river?", "note": NOTE}]}
        | {"chosen": TALK, "rejected": [USER, POOR]},
    ),
]


@pytest.mark.parametrize(("name", "row"), LOST)
def test_what_was_lost_is_in_the_record(name: str, row: Row) -> None:
    assert NOTE in msgspec.json.encode(read(name, row)).decode()


ASIDE: list[tuple[str, Row, str, str]] = [
    # JSON text of messages is never an answer by itself.
    ("alpaca", sample("alpaca", output=MESSAGES), "output", "wrong-type"),
    ("query-response", sample("query-response", query=MESSAGES), "query", "wrong-type"),
    ("query-response", sample("query-response", history=[["Hi.", MESSAGES]]), "history[0][1]", "wrong-type"),
    ("magpie", sample("magpie", instruction=MESSAGES), "instruction", "wrong-type"),
    ("helpsteer", sample("helpsteer", response=MESSAGES), "response", "wrong-type"),
    ("distilabel", sample("distilabel", generations=["Oder.", MESSAGES]), "generations[1]", "wrong-type"),
    ("rewardbench-2", sample("rewardbench-2", rejected=[MESSAGES]), "rejected[0]", "wrong-type"),
    (
        "hh",
        {"prompt": "\n\nHuman: A river?\n\nAssistant:", "chosen": MESSAGES, "rejected": " No."},
        "chosen",
        "wrong-type",
    ),
    ("trl", sample("trl", chosen=json.dumps([USER, {"role": "assistant"}])), "chosen", "broken-messages"),
    ("arena-kaggle", sample("arena-kaggle", response_b="No."), "response_b", "wrong-type"),
    ("arena-kaggle", sample("arena-kaggle", prompt="[]", response_a="[]", response_b="[]"), "prompt", "empty-list"),
    ("trl-prompt-completion", sample("trl-prompt-completion", completion=TALK), "completion", "prompt-mismatch"),
    # One rating as a text is not that of every answer.
    ("distilabel", sample("distilabel", ratings="5"), "ratings", "wrong-type"),
    # Two columns say what the prompt is.
    ("messages-pairs", sample("messages-pairs", prompt="A lake?"), "prompt", "prompt-mismatch"),
    ("distilabel-orca", sample("distilabel-orca", prompt="A lake?"), "prompt", "prompt-mismatch"),
    # What stands among the answers of users, or under the name that a reader needs.
    (
        "argilla-records",
        sample("argilla-records", responses={"preference": [ANSWERED, NOTE]}),
        "responses.preference[1]",
        "wrong-type",
    ),
    (
        "conversation",
        {"conversation": [{"human": "A river?", "assistant": "Oder.", "n": 1}], "conversation_as_read": NOTE},
        "conversation_as_read",
        "taken-name",
    ),
    ("prometheus-feedback", sample("prometheus-feedback", orig_instruction=None), "orig_instruction", "missing-field"),
    ("ranked", sample("ranked", question=None), "prompt", "missing-field"),
]


@pytest.mark.parametrize(("name", "row", "field", "rule"), ASIDE)
def test_what_was_misread_is_put_aside(name: str, row: Row, field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        read(name, row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


@pytest.mark.parametrize(
    "value",
    [
        [{"rank": 1, "value": "response1"}, {"rank": 2, "value": "response2"}, {"rank": 2, "value": "response1"}],
        ["response1", "response2", "response1"],
    ],
)
def test_an_answer_with_two_ranks_has_none(value: Any) -> None:
    found = read("argilla-records", sample("argilla-records", responses={"preference": [ANSWERED | {"value": value}]}))
    assert found.rankings == ()
    assert found.extra["responses"]["preference"][0]["value"] == value


def test_a_skipped_annotation_may_say_so_in_a_text() -> None:
    row = sample("label-studio")
    for said, votes in (("true", 0), ("false", 1), (None, 1)):
        row["annotations"][0]["was_cancelled"] = said
        assert len(read("label-studio", row).rankings) == votes


def test_a_score_of_its_own_beside_the_ratings_is_kept() -> None:
    pair = read("distilabel-orca", sample("distilabel-orca", chosen_score=7, rejected_score=2))
    assert isinstance(pair, Preference)
    assert (pair.score_chosen, pair.score_rejected) == (9.0, 2.0)
    assert pair.extra["chosen_score"] == 7
    pair = read("snorkel-pairs", sample("snorkel-pairs", score_chosen=3))
    assert (pair.score_chosen, pair.score_rejected) == (1.5, -7.5)
    assert pair.extra["score_chosen"] == 3


def test_a_column_without_a_name_is_no_score() -> None:
    row = {"": 17, "prompt": "A river?", "chosen": "Oder.", "rejected": "No.", "chosen_score": 5}  # an index of pandas
    pair = read("trl", row)
    assert isinstance(pair, Preference)
    assert (pair.score_chosen, pair.score_rejected, pair.extra) == (5.0, None, {"": 17})


def test_a_score_that_is_missing_is_no_other_score() -> None:
    found = read("wildbench", sample("wildbench", score=None))
    assert isinstance(found, Feedback)
    assert found.completions[0].overall_score == 8
    silent = read("wildbench", sample("wildbench", score=None, parsed_result={"note": 1}))
    assert silent.completions[0].critique is None


def test_both_names_of_a_system_prompt_are_known() -> None:
    for name in ("system", "system_prompt"):
        found = read("alpaca", sample("alpaca", **{name: "Be brief."}))
        assert [turn.role for turn in found.messages] == ["system", "user", "assistant"]


def test_a_prompt_without_replies_is_counted() -> None:
    row = sample("oasst-trees")
    further = {"text": "And a lake?", "role": "prompter", "replies": []}
    row["prompt"]["replies"][0]["replies"] = [further, further]
    tally = Tally("read")
    own = FORMATS["oasst-trees"]
    assert own.expand is not None
    assert len(own.expand(row, tally)) == 1
    assert tally.counts["no-reply"] == 2

"""Rows as trainers take them: what each becomes, and that no unwanted answer becomes one to imitate."""

import json
from pathlib import Path
from typing import Any

import pytest

from notus.core.records import Dialogue, Feedback, Message, Preference, Rating, Unpaired
from notus.core.stage import Tally
from notus.formats.families.trainers import FORMATS as TRAINERS
from notus.formats.quarantine import Quarantine, RowError
from notus.formats.registry import FORMATS, detect
from notus.formats.source import open_source

Row = dict[str, Any]

USER = {"role": "user", "content": "A river?"}
GOOD = {"role": "assistant", "content": "The Oder."}
POOR = {"role": "assistant", "content": "No."}
SYSTEM = {"role": "system", "content": "Be brief."}
SAID = [{"from": "human", "value": "A river?"}, {"from": "gpt", "value": "The Oder."}]
ALPACA = {"instruction": "A river?", "output": "The Oder."}
QUERY = {"query": "A river?", "response": "The Oder."}
TALK = {"conversation": [{"human": "A river?", "assistant": "The Oder."}]}
DIALOGUES: dict[str, Row] = {
    "alpaca": ALPACA,
    "query-response": QUERY,
    "conversation": TALK,
    "prompt-completion": {"prompt": "A river?", "completion": "The Oder."},
    "messages": {"messages": [USER, GOOD]},
    "conversations": {"conversations": SAID},
}
"""The same dialogue in every form."""


def read(row: Row) -> Any:
    """The row by the format that is found for it."""
    name = detect(row)
    assert name is not None
    return FORMATS[name].decode(json.loads(json.dumps(row)))


def said(*turns: tuple[Message, ...]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for part in turns for turn in part]


@pytest.mark.parametrize("row", DIALOGUES.values(), ids=DIALOGUES)
def test_each_form_of_a_dialogue_is_the_same_dialogue(row: Row) -> None:
    found = read(row | {"source": "flan", "n": 7})
    assert isinstance(found, Dialogue)
    assert said(found.messages) == [("user", "A river?"), ("assistant", "The Oder.")]
    assert (found.source, found.extra) == ("flan", {"n": 7})


@pytest.mark.parametrize("form", DIALOGUES)
@pytest.mark.parametrize("verdict", [{"kto_tag": False}, {"label": False}, {"label": 0}, {"label": "false"}])
def test_a_label_makes_an_answer_that_is_not_wanted(form: str, verdict: Row) -> None:
    found = read(DIALOGUES[form] | verdict | {"model": "alder"})
    assert isinstance(found, Unpaired)
    assert said(found.prompt, found.answer) == [("user", "A river?"), ("assistant", "The Oder.")]
    assert (found.desirable, found.model, found.extra) == (False, "alder", {})


@pytest.mark.parametrize("form", DIALOGUES)
def test_a_score_makes_a_rated_answer(form: str) -> None:
    found = read(DIALOGUES[form] | {"score": "2.5", "reward": None, "model": "alder", "judge": "birch", "n": 7})
    assert isinstance(found, Feedback)
    (answer,) = found.completions
    assert said(found.prompt) == [("user", "A river?")]
    assert (answer.text, answer.model, answer.turns, answer.extra) == ("The Oder.", "alder", (), {"n": 7})
    assert answer.ratings == (
        Rating(aspect="score", value=2.5, rater="birch"),
        Rating(aspect="reward", value=None, rater="birch"),
    )


@pytest.mark.parametrize("score", [None, "N/A", ""])
def test_a_missing_score_costs_the_score_and_not_the_row(score: object) -> None:
    found = read({"messages": [USER, GOOD], "score": score})
    assert found.completions[0].ratings == (Rating(aspect="score", value=None),)


@pytest.mark.parametrize("form", ["query-response", "conversation", "messages", "conversations"])
@pytest.mark.parametrize(
    "rejected",
    [{"rejected_response": "No."}, {"rejected_response": [POOR]}, {"rejected_messages": [USER, POOR]}],
)
def test_a_rejected_answer_makes_a_pair(form: str, rejected: Row) -> None:
    found = read(DIALOGUES[form] | rejected | {"n": 7})
    assert isinstance(found, Preference)
    assert [said(part) for part in (found.prompt, found.chosen, found.rejected)] == [
        [("user", "A river?")],
        [("assistant", "The Oder.")],
        [("assistant", "No.")],
    ]
    assert found.extra == {"n": 7}


def test_a_pair_stands_only_against_the_last_of_several_answers() -> None:
    found = read({"messages": [USER, GOOD, USER, POOR], "rejected_response": "Never."})
    assert [turn.content for turn in found.prompt] == ["A river?", "The Oder.", "A river?"]
    assert (found.chosen[0].content, found.rejected[0].content) == ("No.", "Never.")


def test_rows_of_one_prompt_with_a_score_are_one_record(tmp_path: Path) -> None:
    other = {"messages": [SYSTEM, USER, GOOD], "score": 1}
    rows = [{"messages": [USER, GOOD], "score": 4}, other, {"messages": [USER, POOR], "score": 2}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = open_source(str(tmp_path / "rows.jsonl")).records(Tally("read"), Quarantine())
    assert isinstance(first, Feedback)
    assert isinstance(second, Feedback)
    assert [(item.text, item.mean_rating) for item in first.completions] == [("The Oder.", 4), ("No.", 2)]
    assert said(second.prompt) == [("system", "Be brief."), ("user", "A river?")]


def test_what_stands_before_an_exchange_comes_before_it() -> None:
    before = {"system": "Be brief.", "history": [["Hi.", "Hello."], ["A lake?", "Müritz."]]}
    want = [("system", "Be brief."), ("user", "Hi."), ("assistant", "Hello."), ("user", "A lake?")]
    want += [("assistant", "Müritz."), ("user", "A river?"), ("assistant", "The Oder.")]
    for row in (ALPACA, QUERY):
        found = read(row | before)
        assert (said(found.messages), found.extra) == (want, {})
    empty = read(ALPACA | {"system": "", "history": [], "input": "In Europe."})
    assert said(empty.messages)[0] == ("user", "A river?\n\nIn Europe.")
    assert empty.extra == {"system": "", "input": "In Europe."}
    capybara = read({"conversation": [{"input": "A river?", "output": "The Oder."}], "system": "Be brief."})
    assert said(capybara.messages) == [want[0], *want[-2:]]


def test_a_completion_may_repeat_its_prompt_and_a_system_prompt_may_stand_beside_it() -> None:
    row = {"prompt": "A river?", "completion": [USER, GOOD], "label": False, "rating": 1, "model": "alder"}
    found = read(row)
    assert isinstance(found, Unpaired)
    assert said(found.prompt, found.answer) == [("user", "A river?"), ("assistant", "The Oder.")]
    assert (found.desirable, found.score, found.model, found.extra) == (False, 1.0, "alder", {})
    beside = read({"system": "Be brief.", "prompt": "A river?", "completion": "The Oder.", "label": True})
    assert said(beside.prompt) == [("system", "Be brief."), ("user", "A river?")]
    assert beside.desirable
    with pytest.raises(RowError, match="prompt-mismatch"):
        read(row | {"prompt": "A lake?"})


@pytest.mark.parametrize("form", ["alpaca", "query-response", "conversation", "prompt-completion"])
@pytest.mark.parametrize(
    "verdict",
    [
        {"label": False},
        {"label": "bad"},
        {"label": -1},
        {"kto_tag": 0},
        {"score": 1.5},
        {"rating": "2"},
        {"reward": -3},
        {"rejected_response": "No."},
        {"rejected": "No."},
    ],
)
def test_a_dialogue_with_a_verdict_is_refused_where_plain_ones_are_read(form: str, verdict: Row) -> None:
    with pytest.raises(RowError) as caught:
        FORMATS[form].decode(DIALOGUES[form] | verdict)
    assert (caught.value.field, caught.value.rule) == (next(iter(verdict)), "has-verdict")
    name = detect(DIALOGUES[form] | verdict)
    assert name is None or name == form or FORMATS[name].record is not Dialogue
    kept = FORMATS[form].decode(DIALOGUES[form] | dict.fromkeys(verdict) | {"label": "geography"})
    assert isinstance(kept, Dialogue)
    assert kept.extra["label"] == "geography"


@pytest.mark.parametrize(("form", "name"), [("messages", "ultrachat"), ("conversations", "sharegpt")])
def test_an_unwanted_answer_in_a_file_of_dialogues_is_put_aside(tmp_path: Path, form: str, name: str) -> None:
    verdicts: list[Row] = [
        {},
        {"label": False},
        {"label": "geography"},
        {"score": 1},
        {"score": None},
        {"rejected": "No."},
    ]
    rows = [DIALOGUES[form] | verdict for verdict in verdicts]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source, quarantine = open_source(str(tmp_path / "rows.jsonl")), Quarantine()
    assert source.format == name
    assert [record.line for record in source.records(Tally("read"), quarantine)] == [1, 3, 5]
    assert quarantine.counts == {"has-verdict": 3}


def test_a_verdict_that_is_not_used_is_kept() -> None:
    found = read({"messages": [USER, GOOD], "label": False, "score": 2, "rating": 5})
    assert isinstance(found, Unpaired)
    assert (found.desirable, found.score, found.extra) == (False, 2.0, {"rating": 5})
    pair = read({"messages": [USER, GOOD], "rejected_response": "No.", "score": 2, "label": "geography"})
    assert pair.extra == {"score": 2, "label": "geography"}


def test_dialogues_are_tried_after_everything_else() -> None:
    others = [name for name in FORMATS if not name.startswith("notus-")]
    plain = [FORMATS[name].record is Dialogue for name in others]
    assert plain == sorted(plain)
    assert sum(plain) > 4


@pytest.mark.parametrize(
    "answers",
    [
        {"chosen": GOOD, "rejected": POOR},
        {"chosen": [GOOD], "rejected": [POOR]},
        {"chosen": "The Oder.", "rejected": "No."},
        {"messages": [SYSTEM, USER, GOOD], "chosen": GOOD, "rejected": POOR},
    ],
)
def test_messages_beside_two_answers_are_their_prompt(answers: Row) -> None:
    found = read({"messages": [SYSTEM, USER], "n": 7} | answers)
    assert isinstance(found, Preference)
    assert [said(part) for part in (found.prompt, found.chosen, found.rejected)] == [
        [("system", "Be brief."), ("user", "A river?")],
        [("assistant", "The Oder.")],
        [("assistant", "No.")],
    ]
    assert found.extra == {"n": 7}
    with pytest.raises(RowError, match="prompt-mismatch"):
        read({"messages": [USER, {"role": "assistant", "content": "Another."}], "chosen": GOOD, "rejected": POOR})


@pytest.mark.parametrize("repeated", [False, True])
def test_a_system_prompt_beside_a_pair_comes_first(repeated: bool) -> None:
    pair = (
        {"chosen": [USER, GOOD], "rejected": [USER, POOR]} if repeated else {"chosen": "The Oder.", "rejected": "No."}
    )
    found = read(pair | {"prompt": "A river?", "system": "Be brief."})
    assert said(found.prompt) == [("system", "Be brief."), ("user", "A river?")]
    assert (found.chosen[0].content, found.rejected[0].content, found.extra) == ("The Oder.", "No.", {})


def test_openai_preferences_keep_their_tools() -> None:
    tool = {"type": "function", "function": {"name": "rivers"}}
    row = {"input": {"messages": [SYSTEM, USER], "tools": [tool], "parallel_tool_calls": True}, "n": 7}
    found = read(row | {"preferred_output": [GOOD], "non_preferred_output": [POOR]})
    assert isinstance(found, Preference)
    assert said(found.prompt) == [("system", "Be brief."), ("user", "A river?")]
    assert (found.chosen[0].content, found.rejected[0].content) == ("The Oder.", "No.")
    assert found.extra == {"tools": [tool], "input": {"parallel_tool_calls": True}, "n": 7}
    for change, field in (({"input": {}}, "input.messages"), ({"non_preferred_output": None}, "non_preferred_output")):
        with pytest.raises(RowError, match="missing-field") as caught:
            FORMATS["openai-preference"].decode(
                row | {"preferred_output": [GOOD]} | {"non_preferred_output": []} | change
            )
        assert caught.value.field == field


def orca(**change: Any) -> Row:
    row = {"system": "Be brief.", "input": "A river?", "chosen": "The Oder.", "rejected": "No.", "status": "swapped"}
    return row | {"generations": ["No.", "The Oder."], "rating": [4.0, 9.0], "chosen_score": 9.0} | change


def test_distilabel_orca_finds_the_rating_of_each_answer() -> None:
    found = read(orca())
    assert isinstance(found, Preference)
    assert said(found.prompt) == [("system", "Be brief."), ("user", "A river?")]
    assert (found.chosen[0].content, found.rejected[0].content) == ("The Oder.", "No.")
    assert (found.score_chosen, found.score_rejected) == (9.0, 4.0)
    assert found.extra == {"status": "swapped", "generations": ["No.", "The Oder."]}


@pytest.mark.parametrize(
    ("change", "scores"),
    [
        ({"rating": [9.0, 9.0], "status": "tie"}, (9.0, 9.0)),
        ({"rating": [None, 9.0]}, (9.0, None)),
        ({"rating": None}, (None, None)),
        ({"rating": [9.0]}, (None, None)),
        ({"generations": ["No.", "Another."]}, (None, None)),
        ({"generations": None}, (None, None)),
        ({"rejected": "The Oder.", "generations": ["The Oder.", "The Oder."]}, (4.0, 9.0)),
    ],
)
def test_a_rating_that_names_no_answer_costs_the_scores_and_not_the_row(change: Row, scores: tuple[Any, Any]) -> None:
    row = {name: value for name, value in orca(**change).items() if name != "chosen_score"}
    found = read(row)
    assert (found.score_chosen, found.score_rejected) == scores
    assert ("rating" in found.extra) == (scores == (None, None))


def test_the_pairs_of_other_trainers_are_read() -> None:
    intel = read({"system": "Be brief.", "question": "A river?", "chosen": "The Oder.", "rejected": "No."})
    assert said(intel.prompt) == [("system", "Be brief."), ("user", "A river?")]
    skywork = read({"chosen": [USER, GOOD], "rejected": [USER, POOR], "source": "magpie_ultra"})
    assert (said(skywork.prompt), skywork.source) == ([("user", "A river?")], "magpie_ultra")
    factory = read({"conversations": SAID[:1], "chosen": SAID[1], "rejected": {"from": "gpt", "value": "No."}})
    assert said(factory.prompt, factory.chosen) == [("user", "A river?"), ("assistant", "The Oder.")]
    alpaca = read({"instruction": "A river?", "input": "", "chosen": "The Oder.", "rejected": "No."})
    assert said(alpaca.prompt, alpaca.rejected) == [("user", "A river?"), ("assistant", "No.")]


@pytest.mark.parametrize(
    ("name", "row", "field", "rule"),
    [
        ("alpaca", ALPACA | {"output": None}, "output", "missing-field"),
        ("alpaca", ALPACA | {"history": [["Hi."]]}, "history[0]", "wrong-type"),
        ("conversation", {"conversation": [{"human": "Hi."}]}, "conversation[0].assistant", "missing-field"),
        ("alpaca-kto", ALPACA, "kto_tag", "missing-field"),
        ("alpaca-kto", ALPACA | {"label": None}, "label", "missing-field"),
        ("alpaca-kto", ALPACA | {"label": "perhaps"}, "label", "wrong-type"),
        ("alpaca-score", ALPACA, "score", "missing-field"),
        ("messages-score", {"messages": [USER, GOOD], "score": "high"}, "score", "not-a-number"),
        ("messages-kto", {"messages": [USER], "label": True}, "messages", "no-answer"),
        ("messages-kto", {"messages": [GOOD], "label": True}, "messages", "prompt-mismatch"),
        ("messages-rejected", {"messages": [USER, GOOD]}, "rejected_response", "missing-field"),
        ("distilabel-orca", orca(input=None), "input", "missing-field"),
    ],
)
def test_a_bad_row_names_the_field_and_the_rule(name: str, row: Row, field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        FORMATS[name].decode(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


@pytest.mark.parametrize("name", [each.name for each in TRAINERS if each.matches is not None])
def test_each_sample_is_found_to_be_what_it_is(name: str) -> None:
    sample = FORMATS[name].sample
    assert sample is not None
    assert detect(sample) == name
    assert type(FORMATS[name].decode(sample)) is FORMATS[name].record

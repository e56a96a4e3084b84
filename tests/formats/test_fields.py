"""Messages in every form that rows have: what they become, what is kept beside them, and that it is written back."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from notus.core.records import Dialogue, Message, Preference, ToolCall, Unpaired
from notus.core.stage import Tally
from notus.formats.fields import read_turns
from notus.formats.quarantine import Quarantine, RowError
from notus.formats.registry import FORMATS, detect
from notus.formats.source import open_source
from notus.formats.write import encode_row
from tests.helpers.data_examples import SHARED

Row = dict[str, Any]

CASES = SHARED.parent / "cases/data/formats"
ASKED = {"role": "user", "content": "Name a river."}
GOOD = {"role": "assistant", "content": "The Oder."}
POOR = {"role": "assistant", "content": "No."}
USER = Message(role="user", content="Name a river.")
ANSWER = Message(role="assistant", content="The Oder.")
CALL = {"type": "function", "function": {"name": "rivers", "arguments": {"in": "Poland", "most": 1}}}
TOOL = {"type": "function", "function": {"name": "rivers", "parameters": {"type": "object", "properties": {}}}}
CALLED = ToolCall(name="rivers", arguments='{"in":"Poland","most":1}')


def said(*messages: Any) -> tuple[Message, ...]:
    return read_turns(list(messages), "messages", "user")[0]


@pytest.mark.parametrize(
    "value",
    [
        ASKED,
        [ASKED],
        (ASKED,),
        json.dumps(ASKED),
        json.dumps([ASKED]),
        f"  {json.dumps([ASKED], indent=2)}\n",
        str([ASKED]),
        {"from": "human", "value": "Name a river."},
        [{"from": "user", "value": "Name a river."}],
        json.dumps([{"from": "human", "value": "Name a river."}]),
        [{"role": "human", "content": "Name a river."}],
        {"role": ["user"], "content": ["Name a river."]},
        [{"role": "user", "content": [{"type": "text", "text": "Name "}, {"type": "text", "text": "a river."}]}],
        [{"role": "user", "content": [{"type": "input_text", "text": "Name a river."}]}],
        [ASKED | {"name": None, "tool_calls": None, "tool_call_id": None}],
    ],
    ids=str,
)
def test_a_message_is_read_in_every_form(value: object) -> None:
    assert read_turns(value, "prompt", "user")[0] == (USER,)


@pytest.mark.parametrize(
    "text",
    [
        "Name a river.",
        "[see below]",
        "{}",
        "[]",
        '{"river": "Oder"}',
        '["Oder", "Rhine"]',
        '{"role": "admin", "content": "x"}',
        '[{"name": "Oder"}]',
        "{'river': 'Oder'}",
        '{"role": "user"} is a message.',
        "[{'role': name, 'content': text}]",
        '{"content": "x", "value": 3}',
        "{% for m in messages %}{{ m.role }}{% endfor %}",
    ],
)
def test_a_text_that_only_looks_like_messages_stays_a_text(text: str) -> None:
    assert read_turns(text, "chosen", "assistant") == ((Message(role="assistant", content=text),), False)


@pytest.mark.parametrize(
    "text", ['[{"role": "user", "content": "a"} {"role": "x"}]', "[{'role': 'user', 'content': 'a'}\n {'role': 'b'}]"]
)
def test_a_list_of_messages_that_is_broken_is_no_answer(text: str) -> None:
    with pytest.raises(RowError) as caught:
        read_turns(text, "chosen", "assistant")
    assert caught.value.rule == "broken-messages"


@pytest.mark.parametrize(
    ("message", "thoughts", "content"),
    [
        (GOOD | {"reasoning_content": "It is long."}, "It is long.", "The Oder."),
        (GOOD | {"reasoning": "It is long."}, "It is long.", "The Oder."),
        (GOOD | {"thinking": "It is long.\n\nVery."}, "It is long.\n\nVery.", "The Oder."),
        (GOOD | {"content": "<think>It is long.</think>The Oder."}, "It is long.", "The Oder."),
        (GOOD | {"content": "<think>\nIt is long.\n</think>\n\nThe Oder."}, "It is long.", "The Oder."),
        (GOOD | {"content": "\n<think>\n\nIt  is\nlong. \n</think>\nThe Oder.\n"}, "It  is\nlong. ", "The Oder.\n"),
        (GOOD | {"content": "<think>a</think>b</think>c"}, "a", "b</think>c"),
        (GOOD | {"content": "<think>It is long, and"}, "It is long, and", ""),
        (GOOD | {"content": "<think>\n\n</think>\n\nThe Oder."}, "", "The Oder."),
        (GOOD | {"content": "Use <think>…</think> tags."}, "", "Use <think>…</think> tags."),
        (GOOD | {"content": "x</think>The Oder."}, "", "x</think>The Oder."),
        (
            GOOD | {"content": [{"type": "thinking", "thinking": "Long?"}, {"type": "text", "text": "The Oder."}]},
            "Long?",
            "The Oder.",
        ),
    ],
    ids=str,
)
def test_thoughts_stand_apart_from_the_answer_and_are_written_back(message: Row, thoughts: str, content: str) -> None:
    assert said(message) == (Message(role="assistant", content=content, reasoning=thoughts),)
    comes_back({"prompt": [ASKED], "chosen": [message], "rejected": [POOR]})
    comes_back({"messages": [ASKED, message]})
    if isinstance(message["content"], str) and len(message) == 2:
        found = FORMATS["trl"].decode({"prompt": "Name a river.", "chosen": message["content"], "rejected": "No."})
        assert isinstance(found, Preference)
        assert found.chosen[0] == Message(role="assistant", content=content, reasoning=thoughts)
        assert encode_row(found, "trl")["chosen"] == [message]


def comes_back(row: Row) -> None:
    """Each list of messages of a row is written as it was read, and nothing is put beside it."""
    name = detect(row)
    assert name is not None
    found = FORMATS[name].decode(json.loads(json.dumps(row)))
    written = encode_row(found, name)
    assert {column: written[column] for column in row} == row
    assert not [column for column in written if column.endswith("_as_read") or column == "reasoning_as"]


@pytest.mark.parametrize(
    ("message", "turn"),
    [
        ({"role": "assistant", "tool_calls": [CALL]}, Message(role="assistant", content="", tool_calls=(CALLED,))),
        (
            GOOD | {"tool_calls": [CALL | {"id": "c1"}]},
            Message(
                role="assistant",
                content="The Oder.",
                tool_calls=(ToolCall(name="rivers", arguments='{"in":"Poland","most":1}', id="c1"),),
            ),
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{"type": "function", "function": {"name": "a", "arguments": '{"b": 1}'}}],
            },
            Message(role="assistant", content="", tool_calls=(ToolCall(name="a", arguments='"{\\"b\\": 1}"'),)),
        ),
        (
            {"role": "assistant", "content": "", "tool_calls": [{"name": "a", "arguments": {}}]},
            Message(role="assistant", content="", tool_calls=(ToolCall(name="a", arguments="{}"),)),
        ),
        (
            {"role": "assistant", "function_call": {"name": "a", "arguments": "{}"}},
            Message(role="assistant", content="", tool_calls=(ToolCall(name="a", arguments='"{}"'),)),
        ),
        (
            {"role": "tool", "name": "rivers", "tool_call_id": "c1", "content": "Oder"},
            Message(role="tool", content="Oder", name="rivers", tool_call_id="c1"),
        ),
        ({"role": "function", "name": "a", "content": "b"}, Message(role="tool", content="b", name="a")),
        ({"role": "tool", "content": {"river": "Oder"}}, Message(role="tool", content='{"river":"Oder"}')),
        ({"role": "developer", "content": "Be brief."}, Message(role="developer", content="Be brief.")),
        (ASKED | {"name": "ann"}, Message(role="user", content="Name a river.", name="ann")),
        (GOOD | {"weight": 0}, ANSWER),
        (GOOD | {"refusal": None, "annotations": []}, ANSWER),
    ],
    ids=str,
)
def test_tools_and_names_are_read_and_written_back(message: Row, turn: Message) -> None:
    assert said(message) == (turn,)
    stated = {name: value for name, value in message.items() if value not in (None, [])}
    held = read_turns([message], "messages", "user")[1]
    assert held or stated.keys() <= {"role", "content", "tool_calls", "tool_call_id", "name"}
    if message["role"] in ("user", "assistant", "developer", "tool") and stated == message:
        comes_back({"prompt": [ASKED], "chosen": [GOOD, message, GOOD], "rejected": [POOR], "tools": [TOOL]})
        comes_back({"messages": [ASKED, message, GOOD], "tools": [TOOL]})


def test_sharegpts_calls_and_observations_are_turns() -> None:
    row = {
        "conversations": [
            {"from": "human", "value": "Name a river."},
            {"from": "function_call", "value": '{"name": "rivers", "arguments": {"in": "Poland", "most": 1}}'},
            {"from": "observation", "value": "Oder"},
            {"from": "gpt", "value": "The Oder."},
        ],
        "tools": json.dumps([TOOL]),
    }
    found = FORMATS["sharegpt"].decode(row)
    assert isinstance(found, Dialogue)
    assert found.messages == (
        USER,
        Message(role="assistant", content="", tool_calls=(CALLED,)),
        Message(role="tool", content="Oder"),
        ANSWER,
    )
    assert found.extra == {"tools": row["tools"]}


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        ([{"role": "user", "content": [{"type": "image"}]}], "messages[0].content[0].type", "media"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "messages[0].content[0].type",
            "media",
        ),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0].type", "media"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "video"}]}], "", "media"),
        ([GOOD | {"audio": {"id": "x"}}], "messages[0].audio", "media"),
        ([{"role": "user", "content": [{"type": "tool_use"}]}], "messages[0].content[0].type", "unknown-part"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text", "missing-field"),
        ([{"role": "user", "content": ["a"]}], "messages[0].content", "wrong-type"),
        ([{"role": "user"}], "messages[0].content", "missing-field"),
        ([{"role": "assistant", "tool_calls": "x"}], "messages[0].tool_calls", "wrong-type"),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "messages[0].tool_calls[0].name", "missing-field"),
        ([{"role": "narrator", "content": "a"}], "messages[0].role", "unknown-role"),
    ],
    ids=str,
)
def test_what_is_no_text_is_refused_by_name(row: list[Row], field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        read_turns(row, "messages", "user")
    assert caught.value.rule == rule
    assert not field or caught.value.field == field


@pytest.mark.parametrize("column", ["image", "images", "audio", "audios", "video", "videos"])
def test_a_row_with_images_beside_its_messages_is_refused(column: str) -> None:
    rows: list[Row] = [
        {"prompt": "Name a river.", "chosen": "The Oder.", "rejected": "No."},
        {"prompt": "Name a river.", "completion": "The Oder.", "label": True},
        {"messages": [ASKED, GOOD]},
        {"conversations": [{"from": "human", "value": "Name a river."}, {"from": "gpt", "value": "The Oder."}]},
    ]
    for row in rows:
        layout = FORMATS[detect(row) or ""]
        with pytest.raises(RowError) as caught:
            layout.decode(row | {column: ["a.png"]})
        assert (caught.value.field, caught.value.rule) == (column, "media")
        assert layout.decode(row | {column: []}).extra == {column: []}


def test_both_sides_may_have_thoughts_in_different_forms() -> None:
    field, block = GOOD | {"reasoning": "Long."}, POOR | {"content": "<think>Short?</think>No."}
    row = {"prompt": [ASKED], "chosen": [field], "rejected": [block]}
    found = FORMATS["trl"].decode(row)
    assert isinstance(found, Preference)
    assert (found.chosen[0].reasoning, found.rejected[0].reasoning) == ("Long.", "Short?")
    comes_back(row)
    comes_back({"chosen": [ASKED, field], "rejected": [ASKED, block]})


def test_what_shared_turns_hold_is_kept_with_the_prompt() -> None:
    row = {"chosen": [ASKED | {"weight": 0}, GOOD | {"n": 1}], "rejected": [ASKED | {"weight": 0}, POOR]}
    comes_back(row)
    found = FORMATS["trl-implicit"].decode(row)
    assert found.extra == {"prompt_as_read": [ASKED | {"weight": 0}], "chosen_as_read": [GOOD | {"n": 1}]}
    other = row | {"rejected": [ASKED | {"weight": 1}, POOR]}
    held = FORMATS["trl-implicit"].decode(other).extra
    assert [ASKED | {"weight": 1}] in held.values()


def test_an_edited_answer_is_written_as_it_is_now() -> None:
    row = {"prompt": [ASKED], "completion": [GOOD | {"weight": 1}], "label": True}
    found = FORMATS["trl-unpaired"].decode(row)
    assert isinstance(found, Unpaired)
    edited = Unpaired(
        prompt=found.prompt, answer=(Message(role="assistant", content="Oder"),), desirable=True, extra=found.extra
    )
    assert encode_row(edited, "trl-unpaired")["completion"] == [{"role": "assistant", "content": "Oder"}]


def rows_of(name: str) -> Iterator[tuple[Row, Any]]:
    path = CASES / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    source = open_source(str(path), strict=True)
    records = source.records(Tally("read"), Quarantine())
    yield from zip(map(json.loads, path.read_text().splitlines()), records, strict=True)


@pytest.mark.parametrize(("name", "count"), [("tools_pair", 5), ("thinking_sft", 2), ("hh", 30)])
def test_the_cases_are_read_whole_and_written_back(name: str, count: int) -> None:
    found = list(rows_of(name))
    assert len(found) == count
    for row, record in found:
        if name == "hh":
            assert row["chosen"].endswith(record.chosen[-1].content)
            continue
        written = encode_row(record, "trl" if name == "tools_pair" else "ultrachat")
        assert {column: written[column] for column in row} == row


@pytest.mark.parametrize(
    ("name", "count"), [("v_chosen_rating", 120), ("v_chosen_score", 120), ("v_score_chosen", 120)]
)
def test_the_cases_of_scores_have_them_all(name: str, count: int) -> None:
    scores = [score for _, pair in rows_of(name) for score in (pair.score_chosen, pair.score_rejected)]
    assert len([score for score in scores if score is not None]) == count


def test_the_case_of_margins_has_them_all() -> None:
    assert [pair.margin for _, pair in rows_of("v_margin")] == [2.0] * 60

"""What is written in somebody else's layout reads back as the same record, is named as that layout, or is refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import ConfigError, DataError
from notus.core.records import Dialogue, Feedback, Message, Preference, ToolCall, Unpaired
from notus.core.stage import Tally, apply
from notus.formats.families.ultrafeedback import decode
from notus.formats.format import Data
from notus.formats.quarantine import Quarantine
from notus.formats.registry import FORMATS, detect
from notus.formats.source import open_source, write_jsonl
from notus.formats.write import NO_PLACE, encode_row, encode_rows, write_parquet, writer_named
from tests.helpers.data_examples import SHARED, raw_row
from tests.helpers.places import unplaced

PAIRS = ("trl", "trl-implicit", "h4", "argilla", "argilla-cleaned")

texts = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.none() | st.floats(-1e9, 1e9)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
columns = st.sampled_from(
    ["prompt", "messages", "prompt_id", "metadata", "source", "score", "id", "x", "chosen_as_read"]
)
extras = st.dictionaries(columns, values, max_size=2)
calls = st.builds(
    ToolCall, name=texts, arguments=values.map(lambda value: msgspec.json.encode(value).decode()), id=texts
)
plain = st.builds(Message, role=st.sampled_from(["user", "assistant", "system"]), content=texts)
rich = st.builds(
    Message,
    role=st.sampled_from(["user", "assistant", "system", "developer", "tool"]),
    content=texts,
    reasoning=texts,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    tool_call_id=texts,
    name=texts,
)
turns = plain | rich
conversations = st.lists(turns, min_size=1, max_size=3).map(tuple)
answers = st.builds(
    lambda text, rest: (Message(role="assistant", content=text), *rest), texts, st.just(()) | st.tuples(turns)
)
asked = texts.map(lambda text: (Message(role="user", content=text),)) | conversations
pairs = st.builds(
    Preference,
    prompt=asked,
    chosen=answers | conversations,
    rejected=answers | conversations,
    score_chosen=numbers,
    score_rejected=numbers,
    source=texts,
    model_chosen=texts,
    model_rejected=texts,
    feedback_id=texts,
    extra=extras,
)
unpaired = st.builds(
    Unpaired,
    prompt=asked,
    answer=answers,
    desirable=st.booleans(),
    score=numbers,
    source=texts,
    model=texts,
    feedback_id=texts,
    extra=extras,
)
dialogues = st.builds(Dialogue, messages=conversations, source=texts, extra=extras)


def message(content: str, role: Any = "assistant") -> Message:
    return Message(role=role, content=content)


def simple(**change: Any) -> Preference:
    record = {"prompt": (message("Name a river.", "user"),), "chosen": (message("The Oder."),)}
    return Preference(**(record | {"rejected": (message("No."),), "score_chosen": 8.5} | change))


def again(row: dict[str, Any], layout: str) -> Data:
    return FORMATS[layout].decode(json.loads(json.dumps(row)))


@pytest.mark.parametrize("layout", PAIRS)
@settings(max_examples=150, deadline=None)
@given(record=pairs)
def test_a_pair_is_written_so_that_it_reads_the_same_or_is_refused(layout: str, record: Preference) -> None:
    try:
        row = encode_row(record, layout)
    except DataError:
        assert _refusable(record, layout)
        return
    assert again(row, layout) == record


def _refusable(record: Preference, layout: str) -> bool:
    """The reasons of the table in ``formats.write``, written out."""
    begins = [answer[0].role == "assistant" for answer in (record.chosen, record.rejected)]
    if not all(begins) or record.extra:
        return True  # which columns clash is tried below, one by one
    one_turn = len(record.prompt) == 1 and record.prompt[0].role == "user"
    if layout == "argilla":
        told = (*record.prompt, *record.chosen, *record.rejected)
        more = any(turn != message(turn.content, turn.role) for turn in told)
        return not one_turn or more or len(record.chosen) > 1 or len(record.rejected) > 1
    if layout == "trl":
        return False
    border_lost = record.chosen[0] == record.rejected[0] and min(len(record.chosen), len(record.rejected)) > 1
    led = record.prompt[0].role == "assistant"  # then the answers seem to stand apart from a prompt
    no_user = all(turn.role != "user" for turn in record.prompt)
    return border_lost or led or (no_user and layout != "trl-implicit")


@settings(max_examples=150, deadline=None)
@given(record=unpaired | dialogues)
def test_a_labelled_answer_and_a_dialogue_are_written_so_that_they_read_the_same(record: Data) -> None:
    layout = "trl-unpaired" if isinstance(record, Unpaired) else "ultrachat"
    try:
        row = encode_row(record, layout)
    except DataError:
        assert record.extra
        return
    assert again(row, layout) == record


@pytest.mark.parametrize("layout", ["trl-sft", "trl-prompt-completion"])
@settings(max_examples=150, deadline=None)
@given(record=dialogues)
def test_a_dialogue_for_trl_reads_the_same_and_has_no_column_that_trl_reads_otherwise(
    layout: str, record: Dialogue
) -> None:
    try:
        row = encode_row(record, layout)
    except DataError:
        theirs = [turn.role in ("assistant", "tool") for turn in record.messages]
        answered = theirs[-1] and not all(theirs)
        assert record.extra or (layout == "trl-prompt-completion" and not answered)
        return
    assert again(row, layout) == record
    assert ("prompt" in row) == ("completion" in row) == ("messages" not in row) == (layout != "trl-sft")


def test_a_prompt_beside_messages_keeps_its_text_under_another_name() -> None:
    asked = Dialogue(messages=(message("River?", "user"), message("Oder.")), extra={"prompt": "Name one.", "n": 1})
    row = encode_row(asked, "trl-sft")
    assert (row["prompt_beside"], row["n"]) == ("Name one.", 1)
    assert again(row, "trl-sft") == asked


def test_fields_without_a_place_are_counted() -> None:
    several = (message("a", "user"), message("b"), message("c", "user"))
    clash = [simple(extra={"chosen_response": n}) for n in range(2)]
    records = [simple(), *clash, simple(prompt=several), simple(prompt=several, rejected=several)]
    tally = Tally("write")
    assert len(list(apply(encode_rows("argilla"), records, tally))) == 1
    assert {name: n for name, n in tally.counts.items() if name.startswith(NO_PLACE)} == {
        f"{NO_PLACE}extra.chosen_response": 2,
        f"{NO_PLACE}prompt": 2,
        f"{NO_PLACE}rejected": 1,
    }


@pytest.mark.parametrize("layout", PAIRS)
def test_what_is_written_is_found_to_be_of_that_layout(layout: str) -> None:
    for record in (simple(), simple(extra={"n": 1}), simple(prompt=(message("Hi.", "system"), message("a", "user")))):
        if layout == "argilla" and len(record.prompt) > 1:
            continue
        row = encode_row(record, layout)
        assert detect(row) == layout
        assert detect(json.loads(json.dumps(row))) == layout


def test_the_other_layouts_are_found_again_too() -> None:
    record = simple()
    labelled = Unpaired(prompt=record.prompt, answer=record.chosen, desirable=False)
    dialogue = Dialogue(messages=(*record.prompt, *record.chosen))
    feedback = decode(raw_row())
    for layout, item in (("trl-unpaired", labelled), ("ultrachat", dialogue), ("ultrafeedback", feedback)):
        assert detect(encode_row(item, layout)) == layout
        assert again(encode_row(item, layout), layout) == item


def test_h4s_row_is_spelled_as_published() -> None:
    user, good = {"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "The Oder."}
    row = encode_row(simple(score_rejected=3.0), "h4")
    assert list(row)[:5] == ["prompt", "prompt_id", "chosen", "rejected", "messages"]
    assert row["prompt_id"] == hashlib.sha256(b"Name a river.").hexdigest()
    assert row["chosen"] == row["messages"] == [user, good]
    assert (row["score_chosen"], row["score_rejected"]) == (8.5, 3.0)


def test_argillas_rows_are_spelled_as_published() -> None:
    record = simple(score_rejected=3.0, source="flan", model_chosen="alder", model_rejected="birch")
    row = encode_row(record, "argilla")
    published = {"source": "flan", "instruction": "Name a river.", "chosen_response": "The Oder."}
    published |= {"rejected_response": "No.", "chosen_avg_rating": 8.5, "rejected_avg_rating": 3.0}
    published |= {"chosen_model": "alder"}
    assert row == published | {"rejected_model": "birch", "feedback_id": ""}
    cleaned = encode_row(record, "argilla-cleaned")
    names = "prompt chosen rejected chosen-rating rejected-rating source chosen-model rejected-model feedback_id"
    assert list(cleaned) == names.split()


@pytest.mark.parametrize(
    ("record", "layout", "says"),
    [
        (simple(extra={"source": 1}), "trl", "the further column 'source'"),
        (simple(extra={"prompt": 1}), "trl-implicit", "the further column 'prompt'"),
        (simple(extra={"chosen-rating": 1}), "argilla-cleaned", "the further column 'chosen-rating'"),
        (simple(extra={"x": float("inf")}), "h4", "does not hold the record's extra"),
        (simple(source="\ud800"), "h4", "is JSON, and this is none"),
        (simple(chosen=(message("a", "user"),), rejected=(message("a", "user"),)), "trl", "prompt-mismatch"),
        (simple(chosen=(message("a"), message("b")), rejected=(message("a"), message("c"))), "h4", "prompt, chosen, r"),
        (simple(prompt=(message("a", "system"),)), "h4", "no user's turn"),
        (simple(prompt=(message("a", "system"), message("b", "user"))), "argilla", "one user's turn"),
        (simple(), "trl-unpaired", "is written from Unpaired, and this is a Preference"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused_in_words(record: Preference, layout: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        encode_row(record, layout)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_record_is_dropped_with_its_reason() -> None:
    two = simple(prompt=(message("a", "system"), message("b", "user")))
    tally = Tally("write")
    rows = list(apply(encode_rows("argilla"), [simple(), two], tally))
    assert len(rows) == 1
    assert [(item.id, item.reason) for item in tally.dropped] == [(two.id, "no-place")]
    assert "one user's turn" in tally.dropped[0].detail
    with pytest.raises(DataError, match="written from Preference"):
        list(apply(encode_rows("h4"), [decode(raw_row())], Tally("write")))


def test_an_unknown_layout_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'trl-unpaired'"):
        writer_named("trl-unpair")
    with pytest.raises(ConfigError, match="no writer"):
        encode_rows("helpsteer")


@pytest.mark.parametrize("layout", [name for name, each in FORMATS.items() if each.encode is not None])
def test_a_file_of_either_kind_reads_back_under_its_layout(tmp_path: Path, layout: str) -> None:
    kind = writer_named(layout).record
    many: dict[type[Data], list[Data]] = {
        Preference: [simple(score_rejected=float(n), extra={"n": n}) for n in range(2100)],
        Unpaired: [Unpaired(prompt=simple().prompt, answer=simple().chosen, desirable=n > 3) for n in range(5)],
        Dialogue: [Dialogue(messages=(*simple().prompt, message(str(n)))) for n in range(5)],
        Feedback: [decode(raw_row())],
    }
    if layout == "trl-grpo":  # prompts alone, with their checks
        checked = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}], "key": 1}
        many[Dialogue] = [Dialogue(messages=(message(f"Question {n}?", "user"),), extra=checked) for n in range(5)]
    rows = [encode_row(record, layout) for record in many[kind]]
    assert write_jsonl(tmp_path / "rows.jsonl", rows) == write_parquet(tmp_path / "rows.parquet", rows) == len(rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "rows.parquet"]
    for name in ("rows.jsonl", "rows.parquet"):
        source = open_source(str(tmp_path / name), strict=True)
        assert source.format == {"trl-sft": "ultrachat", "trl-prompt-completion": "prompt-completion"}.get(
            layout, layout
        )
        assert unplaced(source.records(Tally("read"), Quarantine())) == many[kind]


def test_parquet_columns_are_those_of_all_rows_and_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"a": None}] * 1100 + [{"b": 2, "a": 1}, {"a": 1.5}]
    for name in ("one.parquet", "two.parquet"):
        assert write_parquet(tmp_path / name, rows) == 1102
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "one.parquet")
    assert table.column_names == ["a", "b"]
    assert table.slice(1099).to_pylist() == [{"a": None, "b": None}, {"a": 1.0, "b": 2}, {"a": 1.5, "b": None}]


@pytest.mark.parametrize("rows", [[{"a": 1}, {"a": "x"}], [{"a": 2**70}], [{"a": {}}], []])
def test_rows_that_have_no_columns_are_refused_and_leave_nothing(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(DataError, match=r"Parquet|no row") as caught:
        write_parquet(tmp_path / "rows.parquet", rows)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["ultrafeedback/binarized_1000", "preferences/tulu3_pairs_100", "preferences/sharegpt_pairs_300"]
)
def test_real_pairs_come_back_out_of_every_layout(name: str) -> None:
    path = SHARED / f"{name}.jsonl"
    if not path.exists():
        pytest.skip("the real data are not here")
    records = list(open_source(str(path), strict=True).records(Tally("read"), Quarantine()))
    refused: dict[str, int] = {}
    for layout in PAIRS:
        tally = Tally("write")
        rows = list(apply(encode_rows(layout), records, tally))
        lost = {item.id for item in tally.dropped}
        refused[layout] = len(tally.dropped)
        assert [again(row, layout) for row in rows] == unplaced(item for item in records if item.id not in lost)
    several = sum(len(item.prompt) > 1 for item in records if isinstance(item, Preference))
    assert refused == dict.fromkeys(PAIRS, 0) | {"argilla": several}

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.core.records import (
    Completion,
    Critique,
    Decision,
    Feedback,
    Message,
    Preference,
    Rating,
)
from notus.core.stage import Dropped
from notus.core.tables import (
    count_rows,
    from_row,
    part_path,
    read_at,
    read_records,
    read_table,
    record_kind,
    schema_of,
    to_row,
    write_records,
    write_table,
)

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_text, inner, max_size=2),
    max_leaves=5,
)
_extra = st.dictionaries(_text, _json, max_size=2)
_grade = st.none() | st.floats(0, 100)
_messages = st.lists(
    st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=_text), min_size=1, max_size=2
).map(tuple)
_completions = st.builds(
    Completion,
    text=_text,
    ratings=st.lists(
        st.builds(Rating, aspect=st.just("honesty"), value=_grade, types=st.lists(_text, max_size=2).map(tuple)),
        max_size=2,
    ).map(tuple),
    critique=st.none() | st.builds(Critique, text=_text, score=_grade),
    extra=_extra,
)
_feedback = st.builds(
    Feedback,
    prompt=_messages,
    completions=st.lists(_completions, min_size=1, max_size=2).map(tuple),
    source=_text,
    extra=_extra,
)

PAIR = Preference(
    prompt=(Message(role="user", content="Name a river."),),
    chosen=(Message(role="assistant", content="The Oder."),),
    rejected=(Message(role="assistant", content="No."),),
    score_chosen=4.5,
    extra={"index": 3},
)


@settings(max_examples=60, deadline=None)
@given(_feedback)
def test_a_record_is_the_same_after_its_row(record: Feedback) -> None:
    assert from_row(to_row(record), Feedback) == record


@settings(max_examples=20, deadline=None)
@given(st.lists(_feedback, max_size=4))
def test_records_are_the_same_after_the_file(tmp_path_factory: pytest.TempPathFactory, records: list[Feedback]) -> None:
    path = tmp_path_factory.mktemp("tables") / "feedback.parquet"
    assert write_records(path, records, Feedback) == len(records)
    assert list(read_records(path, Feedback)) == records


def test_records_at_some_places_are_those_of_the_whole(tmp_path: Path) -> None:
    records = [Message(role="user", content=str(number)) for number in range(5000)]
    path = tmp_path / "messages.parquet"
    write_records(part_path(path, 0, 2), records[:4500], Message)
    write_records(part_path(path, 1, 2), records[4500:], Message)
    for places in ([], [4999, 0, 2047, 2048, 4500, 4499, 0], [3000]):
        assert read_at(path, Message, places) == [records[place] for place in places]
    with pytest.raises(DataError, match="has 5,000 rows; there is none at place 5,000"):
        read_at(path, Message, [1, 5000])
    with pytest.raises(DataError, match=r"00001.parquet, row 3: no Critique"):
        read_at(path, Critique, [4502])
    empty = tmp_path / "empty.parquet"
    write_records(empty, [], Message)
    assert read_at(empty, Message, []) == []
    with pytest.raises(DataError, match="there is none at place 0"):
        read_at(empty, Message, [0])


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_records(tmp_path / name, iter([PAIR] * 5000), Preference)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_preferences_lie_in_the_explicit_prompt_layout(tmp_path: Path) -> None:
    write_records(tmp_path / "p.parquet", [PAIR], Preference)
    schema = pq.read_schema(tmp_path / "p.parquet")
    for name in ("prompt", "chosen", "rejected"):
        turn = schema.field(name).type.value_type
        assert [(field.name, field.type) for field in turn][:2] == [("role", pa.string()), ("content", pa.string())]
    assert schema.field("score_chosen").type == pa.float64()
    row = read_table(tmp_path / "p.parquet")[0]
    assert [(turn["role"], turn["content"]) for turn in row["prompt"]] == [("user", "Name a river.")]
    assert row["score_rejected"] is None
    assert row["extra"] == '{"index":3}'
    assert record_kind(tmp_path / "p.parquet") == "Preference"


def test_no_record_still_gives_a_file_with_all_columns(tmp_path: Path) -> None:
    assert write_records(tmp_path / "p.parquet", [], Preference) == 0
    assert list(read_records(tmp_path / "p.parquet", Preference)) == []
    assert pq.read_schema(tmp_path / "p.parquet").names == ["id", "prompt_id", *Preference.__struct_fields__]


@pytest.mark.parametrize("value", [None, 10.0, 3, "ten", [1, {"a": None}]])
def test_any_value_survives(tmp_path: Path, value: object) -> None:
    decision = Decision(target="t", field="f", before=value, after=None, rule="r", by="rule")
    write_records(tmp_path / "d.parquet", [decision], Decision)
    assert list(read_records(tmp_path / "d.parquet", Decision)) == [decision]


def test_dataclasses_have_columns_too(tmp_path: Path) -> None:
    dropped = [Dropped("id", "binarize", "all-tied", "all 4 scores are 5")]
    write_records(tmp_path / "dropped.parquet", dropped, Dropped)
    assert list(read_records(tmp_path / "dropped.parquet", Dropped)) == dropped


def test_a_renamed_record_keeps_its_files(tmp_path: Path) -> None:
    class Renamed(Dropped):
        STORED_AS: ClassVar[str] = "Dropped"

    for kind in (Renamed, Dropped):
        write_records(tmp_path / f"{kind.__name__}.parquet", [kind("id", "s", "r", "d")], kind)
    assert record_kind(tmp_path / "Renamed.parquet") == "Dropped"
    assert (tmp_path / "Renamed.parquet").read_bytes() == (tmp_path / "Dropped.parquet").read_bytes()


def test_a_failing_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_records(path, [PAIR], Preference)
    before = path.read_bytes()

    def breaking() -> object:
        yield PAIR
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_records(path, breaking(), Preference)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.parquet"]


def test_what_no_column_holds_is_an_error_in_one_line(tmp_path: Path) -> None:
    lone = Message(role="user", content="\ud800")
    with pytest.raises(DataError, match="cannot be written as Parquet") as caught:
        write_records(tmp_path / "m.parquet", [lone], Message)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="cannot be written as Parquet"):
        write_records(tmp_path / "p.parquet", [Completion(text="a", extra={"a": "\ud800"})], Completion)

    @dataclass
    class Odd:
        value: int | str

    with pytest.raises(TypeError, match="no column"):
        schema_of(Odd)
    with pytest.raises(TypeError, match="neither a record"):
        schema_of(int)
    assert not list(tmp_path.iterdir())


def test_reading_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_records(tmp_path / "missing.parquet", Feedback)
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(DataError, match="no Parquet file"):
        read_table(tmp_path / "text.parquet")
    write_table(tmp_path / "other.parquet", [{"text": 3}])
    with pytest.raises(DataError, match="row 1: no Completion: Expected `str`, got `int`"):
        list(read_records(tmp_path / "other.parquet", Completion))
    write_table(tmp_path / "broken.parquet", [{"text": "a", "extra": "{"}])
    with pytest.raises(DataError, match="a column of JSON"):
        list(read_records(tmp_path / "broken.parquet", Completion))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_table(tmp_path / "missing" / "t.parquet", [{"a": 1}])
    with pytest.raises(DataError, match="cannot write"):
        write_records(tmp_path / "file" / "t.parquet", [PAIR], Preference)


def test_plain_rows_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    assert write_table(path, [{"a": 1}, {"b": "x", "a": None}]) == 2
    assert read_table(path) == [{"a": 1, "b": None}, {"a": None, "b": "x"}]
    assert record_kind(path) is None
    assert write_table(path, {"n": np.arange(3), "x": [0.5, None, 1.0]}) == 3
    assert read_table(path) == [{"n": 0, "x": 0.5}, {"n": 1, "x": None}, {"n": 2, "x": 1.0}]
    assert write_table(path, []) == 0
    assert read_table(path) == []
    with pytest.raises(DataError, match="cannot be written"):
        write_table(path, [{"a": 1}, {"a": "one"}])


def test_rows_are_counted_over_all_parts(tmp_path):
    for number, rows in enumerate((3, 0, 4)):
        pq.write_table(pa.table({"a": list(range(rows))}), part_path(tmp_path / "a.parquet", number, 3))
    assert count_rows(tmp_path / "a.parquet") == 7
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"b\.parquet is no Parquet file"):
        count_rows(tmp_path / "b.parquet")

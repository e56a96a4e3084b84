import subprocess
import sys
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core import columns
from notus.core.columns import from_columns, leaves, to_columns
from notus.core.errors import DataError
from notus.core.records import (
    Completion,
    Critique,
    Feedback,
    Message,
    Output,
    Preference,
    Rating,
)
from notus.core.stage import Dropped
from notus.core.tables import (
    part_path,
    parts_of,
    read_columns,
    read_records,
    record_kind,
    schema_of,
    table_exists,
    to_row,
    write_columns,
    write_records,
    write_table,
)
from tests.core.test_tables import PAIR
from tests.core.test_tables import _feedback as any_feedback

RATING = Rating(aspect="honesty", value=4.0, rationale="Because.", types=("1",))
RECORD = Feedback(
    prompt=(Message(role="user", content="Name a river."),),
    completions=(
        Completion(
            text="The Oder.", ratings=(RATING,), critique=Critique(text="Well.", score=8.0), principle="honesty"
        ),
        Completion(text="No.", extra={"note": 1}),
    ),
)


@settings(max_examples=60, deadline=None)
@given(any_feedback, any_feedback)
def test_columns_are_those_of_rows(first: Feedback, second: Feedback) -> None:
    """The plain way: a dict for each row, which pyarrow takes apart."""
    records = [first, second, first]
    schema = schema_of(Feedback)
    plain = pa.Table.from_pylist([to_row(record) for record in records], schema=schema)
    ours = pa.Table.from_arrays(to_columns(records, Feedback), schema=schema)
    ours.validate(full=True)
    assert ours.equals(plain)
    for batch in ours.to_batches():
        assert from_columns(batch, Feedback) == records
        assert from_columns(batch.slice(1, 2), Feedback) == records[1:]


def test_a_dataclass_and_no_record() -> None:
    dropped = [Dropped("id", "clean", "duplicate", "as x")]
    table = pa.Table.from_arrays(to_columns(dropped, Dropped), schema=schema_of(Dropped))
    assert from_columns(table.to_batches()[0], Dropped) == dropped
    empty = pa.RecordBatch.from_arrays(to_columns([], Feedback), schema=schema_of(Feedback))
    assert from_columns(empty, Feedback) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"completions": []}, "length >= 1"),
        ({"prompt": [{"role": "boss", "content": "x"}]}, "Invalid enum value"),
        ({"prompt": [{"role": "user", "content": None}]}, "got `null`"),
        ({"completions": [to_row(Completion(text="a", ratings=(Rating(aspect="", value=1.0),)))]}, "length >= 1"),
        ({"completions": [to_row(Completion(text="a", ratings=(Rating(aspect="h", value=1e301),)))]}, "<= 1e"),
        ({"completions": [to_row(Completion(text="a", critique=Critique(text="b", score=-1e301)))]}, ">= -1e"),
        ({"extra": "[1]"}, "Expected `object`"),
        ({"source": None}, "got `null`"),
    ],
)
def test_what_breaks_a_rule_is_not_proven_and_then_named(tmp_path: Path, change: dict, why: str) -> None:
    rows = [to_row(RECORD), to_row(RECORD) | change]
    table = pa.Table.from_pylist(rows, schema=schema_of(Feedback))
    assert from_columns(table.to_batches()[0], Feedback) is None
    assert from_columns(table.to_batches()[0].slice(0, 1), Feedback) == [RECORD]
    pq.write_table(table, tmp_path / "f.parquet")
    with pytest.raises(DataError, match=f"row 2: no Feedback: .*{why}"):
        list(read_records(tmp_path / "f.parquet", Feedback))


def test_bounds_of_whole_numbers_and_not_a_number() -> None:
    output = Output(prompt=RECORD.prompt, text="a", model="m", sample=2)
    table = pa.Table.from_arrays(to_columns([output], Output), schema=schema_of(Output))
    assert from_columns(table.to_batches()[0], Output) == [output]
    below = table.set_column(table.column_names.index("sample"), "sample", pa.array([-1]))
    assert from_columns(below.to_batches()[0], Output) is None
    odd = pa.Table.from_pylist([to_row(Critique(text="", score=float("nan")))], schema=schema_of(Critique))
    assert from_columns(odd.to_batches()[0], Critique) is None


def test_other_columns_are_left_to_the_careful_reader(tmp_path: Path) -> None:
    """A file of an older version lacks a column; the field takes its default."""
    rows = [{key: value for key, value in to_row(RECORD).items() if key != "source"}]
    table = pa.Table.from_pylist(rows)
    assert from_columns(table.to_batches()[0], Feedback) is None
    pq.write_table(table, tmp_path / "f.parquet")
    assert list(read_records(tmp_path / "f.parquet", Feedback)) == [RECORD]


def test_fields_can_be_left_out(tmp_path: Path) -> None:
    write_records(tmp_path / "f.parquet", [RECORD], Feedback)
    without = {"completions.ratings.rationale", "completions.ratings.types", "completions.principle", "extra"}
    (found,) = read_records(tmp_path / "f.parquet", Feedback, without=without)
    first, second = RECORD.completions
    plain = msgspec.structs.replace(first, ratings=(Rating(aspect="honesty", value=4.0),), principle="")
    assert found == msgspec.structs.replace(RECORD, completions=(plain, second))
    columns = leaves(Feedback, frozenset(without))
    assert "completions.list.element.ratings.list.element.value" in columns
    inside = [name for name in columns if name.startswith("completions")]
    assert not [name for name in inside if "rationale" in name and "types" not in name]
    (bare,) = read_records(tmp_path / "f.parquet", Feedback, without={"completions.text"})
    assert [item.text for item in bare.completions] == ["", ""]
    assert [item.ratings for item in bare.completions] == [first.ratings, second.ratings]
    for field in ("completions", "completions.ratings.aspect", "nothing"):
        with pytest.raises(TypeError, match="cannot be left out"):
            read_records(tmp_path / "f.parquet", Feedback, without=[field])


def test_a_table_in_parts_reads_like_one(tmp_path: Path) -> None:
    records = [msgspec.structs.replace(PAIR, source=str(number)) for number in range(5)]
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    assert part_path(whole, 0, 1) == whole
    assert not table_exists(whole)
    assert not table_exists(parts)
    write_records(whole, records, Preference)
    for number, few in enumerate((records[:2], records[2:])):
        write_records(part_path(parts, number, 2), few, Preference)
    assert [path.name for path in parts_of(parts)] == ["00000.parquet", "00001.parquet"]
    for path in (whole, parts):
        assert table_exists(path)
        assert list(read_records(path, Preference)) == records
        assert record_kind(path) == "Preference"
    assert read_columns(parts).equals(read_columns(whole))
    (tmp_path / "empty").mkdir()
    assert not table_exists(tmp_path / "empty")
    with pytest.raises(DataError, match="without a part"):
        read_records(tmp_path / "empty", Preference)


def test_columns_are_written_as_records_are(tmp_path: Path) -> None:
    records = [msgspec.structs.replace(PAIR, source=str(number)) for number in range(5000)]
    write_records(tmp_path / "a.parquet", records, Preference)
    table = read_columns(tmp_path / "a.parquet")
    pieces = [table.slice(0, 1500), table.slice(1500, 0), table.slice(1500, 3000), table.slice(4500)]
    assert write_columns(tmp_path / "b.parquet", pieces, Preference) == 5000
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()
    write_table(tmp_path / "other.parquet", [{"a": 1}])
    with pytest.raises(DataError, match="not the columns of Preference"):
        write_columns(tmp_path / "c.parquet", [read_columns(tmp_path / "other.parquet")], Preference)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.string(), st.text()),
        (pa.float64(), st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)),
        (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
        (pa.bool_(), st.booleans()),
    ],
)
@given(st.data())
def test_a_few_values_are_laid_out_as_pyarrow_does(column, values, data):
    drawn = data.draw(st.lists(st.none() | values, max_size=40))
    laid = columns._column(drawn, column)
    laid.validate(full=True)
    assert laid.equals(pa.array(drawn, column))
    assert laid.to_pylist() == pa.array(drawn, column).to_pylist()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (pa.string(), 5),
        (pa.string(), "\ud800"),
        (pa.float64(), "1.5"),
        (pa.int64(), 2**63),
        (pa.int64(), 1.5),
        (pa.bool_(), 1),
    ],
)
def test_what_has_no_place_in_a_column_is_refused(column, value):
    with pytest.raises((TypeError, UnicodeError, OverflowError)):
        columns._column([value], column)


def test_writing_a_small_table_does_not_import_pandas(tmp_path):
    code = """
import sys
from pathlib import Path
from notus.core.records import Completion, Critique, Feedback, Message, Rating
from notus.core.tables import read_records, write_records
path = Path(sys.argv[1])
ratings = (Rating(aspect="honesty", value=None), Rating(aspect="helpfulness", value=4))
answers = Completion(text="b", ratings=ratings, critique=Critique(text="c", score=9)), Completion(text="d")
record = Feedback(prompt=(Message(role="user", content="a"),), completions=answers)
write_records(path, [record], Feedback)
assert list(read_records(path, Feedback)) == [record]
print("pandas" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "t.parquet"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"

"""JSON in all its shapes gives the rows that the standard library gives."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from notus.core.errors import DataError
from notus.formats.files import json_text
from notus.formats.rows import cut_file, kind_of, members_of, parse_row, read_rows

ROWS = [
    {"prompt": "a", "n": 1.50, "long": 2**63 - 1},
    {"prompt": "line\u2028end", "list": [{"x": None}, []]},
    {"prompt": "😀", "deep": {"a": {"b": {"c": True}}}},
    {"prompt": "", "text": '{"a": 1}'},
    {"prompt": "a,b;c\td"},
    {"prompt": "\ufeffmark"},
    {"data": [{"a": 1}], "prompt": "a key that holds lists of others"},
    {"prompt": "tab\tand\\n"},
    {"prompt": None, "empty": {}},
    {"prompt": "last", "exponent": 1e-300},
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
LIST = json.dumps(ROWS, indent=1)


def rows_in(path: Path, member: str = "") -> list[dict[str, Any]]:
    return [parse_row(payload) for _, payload in read_rows(path, member=member)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.jsonl", LINES.encode()),
        ("rows.json", LINES.encode()),
        ("rows.csv", LINES.encode()),
        ("rows.jsonl", LINES.replace("\n", "\r\n").encode("utf-8-sig")),
        ("rows.jsonl", LINES.encode("utf-16")),
        ("rows.json", LIST.encode("utf-16")),
        ("rows.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("rows.jsonl.gz", gzip.compress(LINES[:100].encode(), mtime=0) + gzip.compress(LINES[100:].encode(), mtime=0)),
        ("rows.json.gz", gzip.compress(LIST.encode(), mtime=0)),
        ("rows.jsonl.zst", pa.compress(LINES.encode(), "zstd", asbytes=True)),
        ("rows", pa.compress(LIST.encode(), "zstd", asbytes=True)),
        ("rows.txt", LIST.encode()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rows_are_those_of_the_standard_library(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert kind_of(path) == "json"
    assert rows_in(path) == ROWS
    assert members_of(path) == {}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_an_object_of_lists_holds_several_tables(tmp_path: Path, indent: int | None, packed: bool) -> None:
    holder = {"version": 1, "train": ROWS, "test_prefs": ROWS[:3], "names": ["a", "b"], "about": {"x": [1]}}
    path = tmp_path / "set.json"
    data = json.dumps(holder, indent=indent).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    assert members_of(path) == {"train": 10, "test_prefs": 3}
    assert (rows_in(path, "train"), rows_in(path, "test_prefs")) == (ROWS, ROWS[:3])


@pytest.mark.parametrize("name", ["data", "rows", "examples", "records", "instances"])
def test_rows_below_one_name_are_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / "set.json"
    path.write_text(json.dumps({name: ROWS, "total": len(ROWS)}))
    assert members_of(path) == {name: 10}
    assert rows_in(path, name) == ROWS


def test_a_table_of_pandas_is_one_of_those(tmp_path: Path) -> None:
    frame = pd.DataFrame({"prompt": ["a", "b"], "chosen": ["c", "d"]})
    frame.to_json(tmp_path / "table.json", orient="table", index=False)
    frame.to_json(tmp_path / "records.json", orient="records")
    frame.to_json(tmp_path / "lines.json", orient="records", lines=True)
    assert members_of(tmp_path / "table.json") == {"data": 2}
    for name, member in (("table", "data"), ("records", ""), ("lines", "")):
        assert rows_in(tmp_path / f"{name}.json", member) == frame.to_dict("records")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [{"role": "user", "content": "a"}], "chosen": [{"role": "assistant", "content": "b"}]},
        {"instruction": "a", "completions": [{"response": "b"}]},
        {"data": "text", "train": 3},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_one_row_with_lists_is_a_row(tmp_path: Path, row: dict[str, Any], indent: int | None) -> None:
    path = tmp_path / "row.json"
    path.write_text(json.dumps(row, indent=indent))
    assert members_of(path) == {}
    assert rows_in(path) == [row]


def test_several_lines_are_rows_whatever_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"data": [{"a": 1}]}\n{"data": [{"a": 2}]}\n')
    assert members_of(path) == {}
    assert len(rows_in(path)) == 2


def test_what_is_packed_or_utf16_is_not_cut(tmp_path: Path) -> None:
    for data in (pa.compress((LINES * 99).encode(), "zstd", asbytes=True), (LINES * 99).encode("utf-16")):
        (tmp_path / "rows.jsonl").write_bytes(data)
        assert cut_file(tmp_path / "rows.jsonl", 100) == [None]


@pytest.mark.parametrize(("size", "lines"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (6, 3), (9, 3)])
def test_lines_are_counted_up_to_a_place_and_no_further(size: int, lines: int) -> None:
    assert json_text._count_lines(io.BytesIO(b"a\nb\nc\n"), size) == lines


TABLE = [{"prompt": f"Question {n}?", "chosen": f"Ä {n}", "rejected": None, "scores": [n, {"a": n}]} for n in range(4)]


def _rows(path):
    return [json.loads(row) for _, row in read_rows(path)]


@pytest.mark.parametrize("orient", ["columns", "index", "split", "records"])
@pytest.mark.parametrize("indent", [None, 2])
def test_every_way_in_which_pandas_writes_a_table_gives_its_rows(tmp_path, orient, indent):
    path = tmp_path / "pairs.json"
    pd.DataFrame(TABLE).to_json(path, orient=orient, indent=indent)
    given = [{"id": str(n)} if orient == "index" else {} for n in range(4)]
    assert _rows(path) == [more | row for more, row in zip(given, TABLE, strict=True)]
    assert [number for number, _ in read_rows(path)] == [1, 2, 3, 4]
    assert cut_file(path, 10) == [None]  # one long line is no row


@pytest.mark.parametrize("indent", [None, 1])
def test_rows_that_an_object_holds_by_their_ids_get_them(tmp_path, indent):
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps({f"q-{n}": row for n, row in enumerate(TABLE)}, indent=indent))
    assert _rows(path) == [{"id": f"q-{n}"} | row for n, row in enumerate(TABLE)]
    path.write_text(json.dumps({f"q-{n}": {"id": n} | row for n, row in enumerate(TABLE)}, indent=indent))
    assert _rows(path) == [{"key": f"q-{n}", "id": n} | row for n, row in enumerate(TABLE)]


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": {"role": "assistant", "content": "a"}, "rejected": {"role": "assistant", "content": "b"}},
        {f"response_{n}": {"text": "a", "score": n} for n in range(4)},
        {"q1": {"text": "a", "score": 1}, "q2": {"text": "b", "score": 2}},
        {"m1": {"a": 1, "b": 2}, "m2": {"c": 1, "d": 2}, "m3": {"e": 1, "f": 2}},
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
    ],
)
def test_one_row_of_objects_stays_one_row(tmp_path, row):
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(row))
    assert _rows(path) == [row]


BROKEN = """{"version": 2, "data": [
 {"prompt": "a", "n": 1},
 {"prompt": "b" "n": 2},
 {"prompt": "c", "n": 3}
]}
"""


@pytest.mark.parametrize("text", [BROKEN, BROKEN.replace("\n", ""), BROKEN.replace('"data"', '"train"')])
def test_of_a_broken_list_in_an_object_the_whole_rows_are_rows(tmp_path, text):
    path = tmp_path / "pairs.json"
    path.write_text(text)
    rows = [row for _, row in read_rows(path)]
    assert [json.loads(row)["prompt"] for row in rows if isinstance(row, bytes)] == ["a", "c"]
    assert rows[1].rule == "broken-json"
    assert f"line {3 if chr(10) in text else 1} of the file" in str(rows[1])


def test_a_broken_list_before_other_members_is_told_and_not_guessed(tmp_path):
    path = tmp_path / "pairs.json"
    path.write_text(BROKEN.rstrip()[:-1] + ', "n": 3}')
    with pytest.raises(DataError, match="broken"):
        list(read_rows(path))


@pytest.mark.parametrize("orient", ["columns", "split"])
def test_what_a_table_calls_its_rows_stays(tmp_path, orient):
    path = tmp_path / "pairs.json"
    pd.DataFrame(TABLE, index=[7, 9, 11, 13]).to_json(path, orient=orient)
    assert _rows(path) == [{"index": name} | row for name, row in zip([7, 9, 11, 13], TABLE, strict=True)]


@pytest.mark.parametrize(
    "text",
    [
        '{"q-1": {"a": 1, "b": 2}, "q-2": {"a": 3, "b": 4}, "q-3": {"a": 5, "b": 6}, "q-1": {"a": 7, "b": 8}}',
        '{"q-1": {"a": 1, "b": 2}, "q-2": {"a": 3, "b": 4}, "q-3": {"a": 5, "b": 6, "b": 7}}',
        '{"a": {"0": 1, "1": 2, "1": 3}, "b": {"0": 1, "1": 2}}',
    ],
)
def test_a_name_that_stands_twice_in_an_object_of_rows_is_no_silent_loss(tmp_path, text):
    path = tmp_path / "pairs.json"
    path.write_text(text)
    with pytest.raises(DataError, match="a name stands twice; one of the two would be lost"):
        _rows(path)

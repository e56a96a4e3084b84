"""Tables in text: what other writers write is read as the standard library and pandas read it, cell by cell."""

import csv
import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest

from notus.core.errors import DataError
from notus.formats.quarantine import RULES, RowError
from notus.formats.rows import cut_file, kind_of, members_of, parse_row, read_rows

NAMES = ["prompt", "chosen", "rejected", "score"]
CELLS = [
    ["Name a river.", "The Oder.", "No.", "4.50"],
    ["Two\nlines?", "a\r\nb", "one, two; three\tfour|five", "0.1"],
    ['He said "no".', '""', "'", "007"],
    ["Größe in ½ m? 大きさ", "😀 ok", "\u2028line\u2029", "12345678901234567890"],
    ["[1, 2]", '{"a": 1}', "null", "NaN"],
    ["  spaced  ", "x" * 200_000, "=1+1", "1e-7"],
    ["a", "b", "c", "True"],
    ["\\n", "\\", "#", "N/A"],
    ["p", "", "r", ""],
    ["last", "row", "\ufeffmark", "-3"],
]


def rows_in(path: Path) -> list[dict[str, Any]]:
    return [parse_row(payload) for _, payload in read_rows(path)]


def expected() -> list[dict[str, str | None]]:
    return [dict(zip(NAMES, [cell or None for cell in cells], strict=True)) for cells in CELLS]


def written(delimiter: str = ",", line_end: str = "\r\n", quoting: Any = csv.QUOTE_MINIMAL) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=line_end, quoting=quoting).writerows([NAMES, *CELLS])
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.csv", written().encode()),
        ("rows.csv", written(line_end="\n").encode()),
        ("rows.csv", written(quoting=csv.QUOTE_ALL).encode()),
        ("rows.csv", written().encode("utf-8-sig")),
        ("rows.csv", written(";").encode()),
        ("rows.csv", b"sep=;\r\n" + written(";").encode()),
        ("rows.csv", written("|").encode()),
        ("rows.tsv", written("\t").encode()),
        ("rows.txt", written("\t").encode("utf-16")),
        ("rows.csv", written().encode("utf-16")),
        ("rows.csv.gz", gzip.compress(written().encode(), mtime=0)),
        ("rows.csv.zst", pa.compress(written().encode(), "zstd", asbytes=True)),
        ("rows.jsonl", written().encode()),
        ("rows.data", written(";", quoting=csv.QUOTE_ALL).encode()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_way_of_writing_gives_the_same_cells(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert kind_of(path) == "delimited"
    assert rows_in(path) == expected()
    assert members_of(path) == {}
    assert cut_file(path, 10) == [None]


def test_what_pandas_and_arrow_write_is_read_as_they_read_it(tmp_path: Path) -> None:
    frame = pd.DataFrame(CELLS, columns=NAMES)
    frame.to_csv(tmp_path / "pandas.csv")
    pyarrow.csv.write_csv(pa.Table.from_pandas(frame), tmp_path / "arrow.csv")
    theirs = pd.read_csv(tmp_path / "pandas.csv", dtype=str, keep_default_na=False, na_values=[""])
    plain = [
        {str(name): None if pd.isna(cell) else cell for name, cell in row.items()} for row in theirs.to_dict("records")
    ]
    assert rows_in(tmp_path / "pandas.csv") == plain
    assert list(plain[0]) == ["Unnamed: 0", *NAMES]
    assert rows_in(tmp_path / "arrow.csv") == expected()


def test_a_row_is_known_by_the_line_on_which_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a,b\n\n1,"x\n\ny"\n2,z\n')
    assert [(line, parse_row(row)) for line, row in read_rows(path)] == [
        (3, {"a": "1", "b": "x\n\ny"}),
        (6, {"a": "2", "b": "z"}),
    ]


def test_bad_rows_are_told_and_the_others_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'a,b\n1,2\n1,2,3\n1\n"x"y,2\n\xff,2\n3,4\n5,"open\n6,7\n')
    found = list(read_rows(path))
    errors = {line: row.rule for line, row in found if isinstance(row, RowError)}
    assert errors == {3: "other-columns", 4: "other-columns", 5: "broken-row", 6: "wrong-encoding", 8: "broken-row"}
    assert set(errors.values()) <= RULES.keys()
    assert [parse_row(row) for _, row in found if not isinstance(row, RowError)] == [
        {"a": "1", "b": "2"},
        {"a": "3", "b": "4"},
    ]
    assert "lines 8 to 9" in str(found[-1][1])  # what stands in the open cell is not lost in silence


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("rows.csv", "a,b,a\n1,2,3\n", "two columns named 'a'"),
        ("rows.csv", "a,b\n", "is empty; a header and at least one row"),
        ("rows.csv", "", "is empty"),
        ("notes.txt", "Dear all,\nplease read this.\nYours, X, Y\n", "neither JSON nor a table"),
    ],
)
def test_what_is_no_table_is_said_in_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        list(read_rows(path))
    assert "\n" not in str(caught.value)


def test_one_column_is_a_table_by_its_name_and_json_is_json_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text('prompt\n"Why, then?"\n3\n')
    assert rows_in(tmp_path / "one.csv") == [{"prompt": "Why, then?"}, {"prompt": "3"}]
    (tmp_path / "json.csv").write_text('{"a": 1, "b": 2}\n{"a": 3, "b": 4}\n')
    assert rows_in(tmp_path / "json.csv") == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


def test_a_space_behind_each_delimiter_of_the_header_is_no_part_of_names_and_cells(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('a, b\n1, "x, y"\n')
    assert rows_in(tmp_path / "rows.csv") == [{"a": "1", "b": "x, y"}]
    (tmp_path / "rows.csv").write_text("a,b\n1, x\n")
    assert rows_in(tmp_path / "rows.csv") == [{"a": "1", "b": " x"}]


def test_200_tables_of_any_text_read_as_the_library_reads_them(tmp_path: Path) -> None:
    rng = random.Random(0)
    path = tmp_path / "rows.csv"
    for _ in range(200):
        delimiter = rng.choice(",;\t|")
        cells = [
            ["".join(rng.choices("ab \"\n\r,;\t|é😀'\\[{", k=rng.randrange(9))) for _ in range(3)]
            for _ in range(rng.randrange(1, 8))
        ]
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=delimiter, quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])).writerows(
            [["one", "two", "three"], *cells]
        )
        path.write_bytes(out.getvalue().encode())
        with path.open(newline="", encoding="utf-8") as file:
            theirs = [
                {name: cell or None for name, cell in row.items()} for row in csv.DictReader(file, delimiter=delimiter)
            ]
        assert rows_in(path) == theirs, json.dumps(out.getvalue())


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_title_above_the_names_of_columns_is_none(tmp_path: Path, ends: str) -> None:
    for title in ("Ratings of May", "Ratings of May;;", "Ratings of May;;\n\n;page 1;"):
        text = f"{title}\nAsked;Said;Grade\nWhy?;So.;3\nHow?;Thus.;4\n".replace("\n", ends)
        (tmp_path / "rows.csv").write_bytes(text.encode())
        found = [parse_row(row) for _, row in read_rows(tmp_path / "rows.csv")]
        assert found == [
            {"Asked": "Why?", "Said": "So.", "Grade": "3"},
            {"Asked": "How?", "Said": "Thus.", "Grade": "4"},
        ]
    lines = [line for line, _ in read_rows(tmp_path / "rows.csv")]
    assert lines == [5, 6]


def test_two_rows_of_names_are_one(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        ";Answer A;;Answer B;;\nAsked;Text;Grade;Text;Grade;Rater\nWhy?;So.;4;No.;2;Ann\nHow?;Thus.;3;Dunno.;;Bo\n"
    )
    rows = [parse_row(row) for _, row in read_rows(tmp_path / "rows.csv")]
    assert rows[0] == {
        "Asked": "Why?",
        "Answer A Text": "So.",
        "Answer A Grade": "4",
        "Answer B Text": "No.",
        "Answer B Grade": "2",
        "Rater": "Ann",
    }
    assert rows[1]["Answer B Grade"] is None


@pytest.mark.parametrize(
    "text",
    [
        ";prompt;chosen;rejected\na;Why?;So.;No.\nb;How?;Thus.;Nope\n",  # an index without a name
        "a;;;\nx;1;2;3\ny;4;5;6\n",  # numbers are no names
        "a;;;\nx;y;z;w\nq;y;z;w\n",  # what stands below again is a value
        "a;;;\nx;y;z;\nq;r;s;t\n",  # a row with a gap is a row
    ],
)
def test_a_row_that_may_be_one_stays_a_row(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    assert len(list(read_rows(tmp_path / "rows.csv"))) == 2

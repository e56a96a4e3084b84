import gzip
import json
from pathlib import Path

import pytest

from notus.core.errors import DataError
from notus.core.tables import write_table
from notus.formats.quarantine import RowError
from notus.formats.rows import cut_file, excerpt, parse_row, read_rows

ROWS = [{"a": 1}, {"a": "é\n"}, {"a": [None]}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def read(path: Path) -> list[dict[str, object]]:
    return [parse_row(payload) for _, payload in read_rows(path)]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.data"])
@pytest.mark.parametrize(
    "text",
    [
        LINES,
        LINES.replace("\n", "\r\n"),
        "\ufeff" + LINES,
        "\n\n" + LINES.replace("\n", "\n  \n"),
        LINES.rstrip("\n"),
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2, ensure_ascii=False),
        "\ufeff \n" + json.dumps(ROWS, indent=2),
    ],
    ids=["lines", "crlf", "bom", "empty lines", "no last newline", "list", "indented list", "list with bom"],
)
def test_every_shape_of_json_gives_the_same_rows(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert read(path) == ROWS
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(text.encode(), mtime=0))
    assert read(packed) == ROWS
    assert [number for number, _ in read_rows(packed)] == [number for number, _ in read_rows(path)]


def test_what_is_packed_is_read_whole_and_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress((LINES * 4000).encode()))
    assert cut_file(path, 100) == [None]
    assert read(path) == ROWS * 4000


def test_one_object_over_several_lines_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    path.write_text(json.dumps({"a": {"b": 1}}, indent=4))
    assert read(path) == [{"a": {"b": 1}}]


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"a": 1}\n\n{"a": 2}\n')
    assert [number for number, _ in read_rows(path)] == [2, 4]


def test_parquet_gives_rows(tmp_path: Path) -> None:
    write_table(tmp_path / "rows.parquet", [{"a": index} for index in range(600)])
    assert [(number, parse_row(payload)) for number, payload in read_rows(tmp_path / "rows.parquet")] == [
        (index + 1, {"a": index}) for index in range(600)
    ]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (b'{"a": 1', "broken-json"),
        (b"{'a': 1}", "broken-json"),
        (b'{"a": NaN}', "broken-json"),
        (b"[" * 100_000, "too-deep"),
        (b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}", "too-deep"),
        (b'{"a": "\xff"}', "wrong-encoding"),
        (b'{"a": "\xc3("}', "wrong-encoding"),
        (b"3", "not-an-object"),
        (b"null", "not-an-object"),
        (b'[{"a": 1}]', "not-an-object"),
    ],
)
def test_a_row_that_cannot_be_parsed_is_explained(row: bytes, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_row(row)
    assert caught.value.rule == rule
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_a_broken_first_line_does_not_hide_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('{"a": \n' + LINES)
    assert len(list(read_rows(path))) == 4


def test_a_text_in_parquet_that_is_no_utf8_is_one_bad_row(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    bad = pa.array([b"fine", b"\xff\xfe", b"too"], pa.binary())
    column = pa.StringArray.from_buffers(len(bad), *bad.buffers()[1:])
    pq.write_table(pa.table({"text": column}), tmp_path / "rows.parquet")
    found = [payload for _, payload in read_rows(tmp_path / "rows.parquet")]
    assert [found[0], found[2]] == [{"text": "fine"}, {"text": "too"}]
    assert isinstance(found[1], RowError)
    assert found[1].rule == "wrong-encoding"


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("empty.jsonl", b"", "is empty"),
        ("blank.jsonl", b"\xef\xbb\xbf \n\n", "is empty"),
        ("blank.json", b" \n" * 5000, "is empty"),
        ("list.json", b"[]", "empty list"),
        ("list.json", b'[{"a": 1}, {"a"]', "begins as a JSON list but is broken"),
        ("notes.txt", b"hello there\nyou", "neither JSON nor a table"),
        ("cut.jsonl", b"\xff\xfe{", "begins as UTF-16 but is none"),
        ("cut.jsonl.gz", b"\x1f\x8b\x08", "damaged: Truncated compressed stream"),
        ("cut.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-12], "damaged: Truncated compressed stream"),
        ("bad.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-8] + bytes(8), r"damaged: .*incorrect data check"),
        ("empty.jsonl.gz", gzip.compress(b" \n", mtime=0), "is empty"),
        ("packed.parquet.gz", gzip.compress(b"PAR1 and more", mtime=0), "packed file of Parquet: unpack"),
        ("packed.zip", b"PK\x03\x04", "zip and no workbook.*unpack it"),
        ("cut.parquet", b"PAR1 and no more", "damaged"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=says) as caught:
        list(read_rows(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_without_rows_is_empty(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", {"a": []})
    with pytest.raises(DataError, match="is empty"):
        read_rows(tmp_path / "t.parquet")


def test_an_excerpt_is_short_text() -> None:
    assert excerpt(b'{"a": "' + b"\xc3\xa9" * 500) == '{"a": "' + "é" * 193
    assert excerpt(b"\xff{") == "\ufffd{"
    assert len(excerpt({"a": "b" * 1000})) == 200

"""Files that are not in UTF-8: the encoding that is named, and how a file that is in another one is told."""

import json
from pathlib import Path

import pytest

from notus.core.errors import ConfigError, DataError
from notus.formats.files.encoding import check_encoding, refuse_not_utf8
from notus.formats.rows import parse_row, read_rows
from notus.formats.source import open_source

GERMAN = "Frage;Antwort;Note\nWie heißt die Hauptstadt von Österreich?;„Wien“ – natürlich;4\nWarum?;Weil.;2\n"
POLISH = (
    "pytanie;odpowiedź\n" + "Gdzie leży Łódź?;W środkowej Polsce, na pewno.\nJak się masz?;Dziękuję, świetnie!\n" * 3
)


def rows_of(path: Path, encoding: str | None = None) -> list[dict[str, object]]:
    return [parse_row(row) for _, row in read_rows(path, encoding=encoding)]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-8", "utf-8-sig", "mac-roman"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_table_reads_the_same_in_every_encoding_that_is_named(tmp_path: Path, encoding: str, ends: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(GERMAN.replace("\n", ends).encode(encoding))
    named = check_encoding(encoding)
    refuse_not_utf8(path, named)
    assert rows_of(path, named) == [
        {"Frage": "Wie heißt die Hauptstadt von Österreich?", "Antwort": "„Wien“ – natürlich", "Note": "4"},
        {"Frage": "Warum?", "Antwort": "Weil.", "Note": "2"},
    ]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-be"])
def test_json_reads_the_same_too(tmp_path: Path, encoding: str, indent: int | None) -> None:
    import json

    rows = [{"prompt": "Wo lebt José?", "chosen": "Là.", "rejected": "Nö."}] * 3
    whole = json.dumps(rows, ensure_ascii=False, indent=indent)
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    for name, text in (("rows.json", whole), ("rows.jsonl", lines), ("held.json", f'{{"data": {whole}}}')):
        (tmp_path / name).write_bytes(text.encode(encoding))
        source = open_source(str(tmp_path / name), encoding=encoding)
        assert [record.prompt[0].content for _, _, record in source.located()] == ["Wo lebt José?"] * 3


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (GERMAN.encode("cp1252"), ("line 2", "0xdf at place 8", "--encoding cp1252", "Wie heißt die Haup")),
        (GERMAN.encode("utf-16-le"), ("0x00", "--encoding utf-16-le")),
        (GERMAN.encode("utf-16-be"), ("--encoding utf-16-be",)),
        (POLISH.encode("cp1250"), ("line 1", "cp1250", "cp1251")),
        ("a,b\nDéjà,vu\n".encode("latin-1"), ("line 2", "0xe9", "--encoding cp1252")),
    ],
)
def test_a_file_that_is_not_utf8_is_refused_with_the_place_and_the_way_out(
    tmp_path: Path, data: bytes, says: tuple[str, ...]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    with pytest.raises(DataError) as told:
        open_source(str(path))
    assert "\n" not in str(told.value)
    assert all(each in str(told.value) for each in says), told.value


def test_damaged_rows_of_a_utf8_file_are_put_aside_one_by_one(tmp_path: Path) -> None:
    good = [f'{{"prompt": "Größe {n}?", "chosen": "a", "rejected": "b"}}'.encode() for n in range(20)]
    for bad in (b"\xff", "ü".encode("latin-1")):
        (tmp_path / "rows.jsonl").write_bytes(b"\n".join([*good, b'{"prompt": "x' + bad + b'y"}', good[0]]))
        assert len(list(open_source(str(tmp_path / "rows.jsonl")).located())) == 21


def test_one_of_two_rows_of_json_in_another_encoding_is_put_aside(tmp_path: Path) -> None:
    one, other = (json.dumps({"prompt": each, "chosen": "ok", "rejected": "no"}, ensure_ascii=False) for each in "éa")
    path = tmp_path / "rows.jsonl"
    path.write_bytes(f"{one}\n{other}\n".encode("cp1252"))
    assert [record.prompt[0].content for _, _, record in open_source(str(path)).located()] == ["a"]
    path.write_bytes(f"{one}\n".encode("cp1252"))
    with pytest.raises(DataError, match="--encoding cp1252"):
        open_source(str(path))


def test_a_byte_that_the_encoding_does_not_have_costs_its_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("prompt,chosen,rejected\nä,b,c\n".encode("cp1252") + b"x\x81,b,c\ny,b,c\n")
    (line, _), (other, bad), _ = read_rows(path, encoding="cp1252")
    assert (line, other) == (2, 3)
    assert getattr(bad, "rule", "") == "wrong-encoding"


def test_an_encoding_that_cannot_be_is_told(tmp_path: Path) -> None:
    for name in ("cp1253x", "rot13", "idna", "a" * 200, "with\0null"):
        with pytest.raises(ConfigError, match="encoding"):
            check_encoding(name)
    path = tmp_path / "rows.csv"
    path.write_bytes(GERMAN.encode("utf-16"))
    with pytest.raises(DataError, match=r"byte-order mark.*UTF-16.*leave --encoding out"):
        open_source(str(path), encoding="cp1252")
    path.write_bytes(GERMAN.encode("utf-8-sig"))
    with pytest.raises(DataError, match=r"UTF-8; leave --encoding out"):
        open_source(str(path), encoding="cp1252")


def test_what_is_no_text_has_no_encoding(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]}), tmp_path / "rows.parquet")
    with pytest.raises(ConfigError, match="leave --encoding out"):
        open_source(str(tmp_path / "rows.parquet"), encoding="cp1252")

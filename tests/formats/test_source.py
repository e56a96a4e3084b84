import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.records import Decision, Feedback, Preference
from notus.core.stage import Dropped, Tally
from notus.core.tables import write_records, write_table
from notus.formats.families.ultrafeedback import decode
from notus.formats.quarantine import RULES, Entry, Quarantine
from notus.formats.source import Source, open_source, write_jsonl
from tests.helpers.data_examples import SHARED, raw_row, without_place

PAIR = {"prompt": "Name a river.", "chosen": "The Oder.", "rejected": "No."}


def read(source: Source, quarantine: Quarantine | None = None) -> tuple[list[Feedback | Preference], Tally]:
    tally = Tally("read")
    return [without_place(record) for record in source.records(tally, quarantine or Quarantine())], tally


def lines(path: Path, *rows: object) -> Path:
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else msgspec.json.encode(row) for row in rows) + b"\n")
    return path


@pytest.mark.parametrize("form", ["lines", "object", "list", "parquet"])
def test_raw_ultrafeedback_reads_the_same_in_every_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / ("rows.parquet" if form == "parquet" else "rows.json")
    row = raw_row()
    if form == "parquet":
        write_table(path, [row])
    else:
        path.write_text(json.dumps([row] if form == "list" else row, indent=None if form == "lines" else 2))
    source = open_source(str(path))
    records, tally = read(source)
    assert (source.format, source.record) == ("ultrafeedback", Feedback)
    assert records == [decode(raw_row())]
    assert tally.summary() == {"stage": "read", "in": 1, "out": 1, "dropped": {}, "counts": {}}


def test_our_own_records_read_back(tmp_path: Path) -> None:
    feedback = decode(raw_row())
    (preference,), _ = read(open_source(str(lines(tmp_path / "pairs.jsonl", PAIR))))
    write_records(tmp_path / "f.parquet", [feedback], Feedback)
    write_records(tmp_path / "p.parquet", [preference], Preference)
    for name, layout, record in (("f", "notus-feedback", feedback), ("p", "notus-preferences", preference)):
        source = open_source(str(tmp_path / f"{name}.parquet"))
        assert source.format == layout
        assert read(source)[0] == [record]


BAD_ROWS: list[tuple[Any, str, str]] = [
    (b'{"instruction": "a", ', "", "broken-json"),
    (b'{"instruction": "\xff"}', "", "wrong-encoding"),
    (b"17", "", "not-an-object"),
    ({"source": "x"}, "completions", "missing-field"),
    (raw_row() | {"completions": []}, "completions", "no-completion"),
    (raw_row() | {"instruction": ["a"]}, "instruction", "wrong-type"),
]


def _with_rating(rating: str) -> dict[str, Any]:
    row = raw_row()
    row["completions"][2]["annotations"]["honesty"]["Rating"] = rating
    return row


BAD_ROWS += [
    (_with_rating("good"), "completions[2].annotations.honesty.Rating", "not-a-number"),
    (_with_rating("777"), "completions[2].annotations.honesty.Rating", "out-of-range"),
]


def test_each_bad_row_goes_to_the_quarantine_with_file_line_field_and_rule(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", raw_row(), *(row for row, _, _ in BAD_ROWS), raw_row())
    with Quarantine(tmp_path / "quarantine.jsonl") as quarantine:
        records, tally = read(open_source(str(path)), quarantine)
    assert len(records) == 2
    kept = [msgspec.json.decode(line, type=Entry) for line in (tmp_path / "quarantine.jsonl").read_bytes().splitlines()]
    assert [(entry.line, entry.field, entry.rule) for entry in kept] == [
        (number, field, rule) for number, (_, field, rule) in enumerate(BAD_ROWS, 2)
    ]
    assert {entry.file for entry in kept} == {path.name}
    assert kept[-2].value == "'good'"
    assert kept[0].row == '{"instruction": "a",'
    assert all(len(entry.row) <= 200 for entry in kept)
    assert (tally.taken, tally.given, len(tally.dropped)) == (10, 2, 8)
    assert tally.dropped[0] == Dropped("", "read", "broken-json", tally.dropped[0].detail, path.name, 2)
    assert quarantine.total == 8


@pytest.mark.parametrize(("row", "field", "rule"), BAD_ROWS)
def test_strict_makes_the_first_bad_row_an_error(tmp_path: Path, row: object, field: str, rule: str) -> None:
    path = lines(tmp_path / "rows.jsonl", raw_row(), row)
    with Quarantine(tmp_path / "quarantine.jsonl") as quarantine, pytest.raises(DataError) as caught:
        read(open_source(str(path), strict=True), quarantine)
    message = str(caught.value)
    assert message.startswith(f"{path}:2: ")
    assert f"[{rule}]" in message
    assert field in message
    assert "\n" not in message
    assert caught.value.exit_code == 2
    assert not (tmp_path / "quarantine.jsonl").exists()


def test_legacy_zeros_are_kept(tmp_path: Path) -> None:
    row = raw_row()
    row["completions"][0]["annotations"]["instruction_following"]["Rating"] = "0"
    (record,), tally = read(open_source(str(lines(tmp_path / "rows.jsonl", row))))
    assert isinstance(record, Feedback)
    assert record.completions[0].ratings[2].value == 0
    assert not tally.dropped


def test_a_limit_reads_so_many_rows_and_no_more(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", PAIR, PAIR, b"broken")
    records, tally = read(open_source(str(path), limit=2))
    assert (len(records), tally.taken) == (2, 2)
    with pytest.raises(ConfigError, match="limit is 0"):
        open_source(str(path), limit=0)


def test_a_forced_layout_is_taken_at_its_word(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", PAIR)
    quarantine = Quarantine()
    records, _ = read(open_source(str(path), format="ultrafeedback"), quarantine)
    assert records == []
    assert quarantine.counts == {"missing-field": 1}
    with pytest.raises(ConfigError, match="did you mean 'pairs'"):
        open_source(str(path), format="pair")


def test_the_layout_is_found_behind_bad_rows(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", b"broken", {"a": 1}, PAIR)
    quarantine = Quarantine()
    assert len(read(open_source(str(path)), quarantine)[0]) == 1
    assert quarantine.counts == {"broken-json": 1, "missing-field": 1}


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lines(tmp_path / "data" / "b.jsonl", PAIR | {"n": 2})
    lines(tmp_path / "data" / "a.jsonl", PAIR | {"n": 1})
    lines(tmp_path / "dataset_infos.json", {"x": 1})
    lines(tmp_path / ".hidden.jsonl", b"broken")
    (tmp_path / "README.md").write_text("about")
    source = open_source(str(tmp_path))
    assert [path.name for path in source.paths] == ["a.jsonl", "b.jsonl"]
    assert [record.extra["n"] for record in read(source)[0]] == [1, 2]


def test_of_a_run_directory_the_records_are_read(tmp_path: Path) -> None:
    write_records(tmp_path / "feedback.parquet", [decode(raw_row())], Feedback)
    write_table(tmp_path / "dropped.parquet", [{"record": "x"}])
    lines(tmp_path / "more.json", {"x": 1})
    assert [path.name for path in open_source(str(tmp_path)).paths] == ["feedback.parquet"]


def test_tables_of_other_records_are_no_data(tmp_path: Path) -> None:
    lines(tmp_path / "feedback.jsonl", raw_row())
    write_records(tmp_path / "changes.parquet", [], Decision)
    write_table(tmp_path / "dropped.parquet", [{"record": "x"}])
    assert [path.name for path in open_source(str(tmp_path)).paths] == ["feedback.jsonl"]


def test_a_folder_of_two_layouts_is_refused(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", PAIR)
    lines(tmp_path / "b.jsonl", raw_row())
    with pytest.raises(DataError, match=r"a\.jsonl is trl, b\.jsonl is ultrafeedback"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("rows.jsonl", b"", "is empty"),
        ("rows.jsonl", b'{"a": 1}\n', "no known format: its rows hold a;"),
        ("rows.jsonl", b"{broken\n", "holds no row that can be read"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=says) as caught:
        open_source(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_records_say_where_they_stood(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lines(tmp_path / "data" / "a.jsonl", b"", PAIR, b"broken", PAIR)
    write_table(tmp_path / "b.parquet", [PAIR, PAIR])
    found = list(open_source(str(tmp_path)).records(Tally("read"), Quarantine()))
    places = [("b.parquet", 1), ("b.parquet", 2), ("data/a.jsonl", 2), ("data/a.jsonl", 4)]
    assert [(record.file, record.line) for record in found] == places
    (single, *_) = open_source(str(tmp_path / "data" / "a.jsonl")).records(Tally("read"), Quarantine())
    assert (single.file, single.line) == ("a.jsonl", 2)


def test_an_empty_folder_holds_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no data file"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("name", ["owner/rows.jsonl", "owner/rows.parquet", "rows.json", "nothing-here", "a/b/c", ""])
def test_a_missing_path_is_not_taken_for_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        open_source(name)
    assert f"'{name}' does not exist as a file or folder, and it is no hub id" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_write_jsonl_is_atomic(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert write_jsonl(path, [raw_row(), raw_row()]) == 2
    before = path.read_bytes()
    assert read(open_source(str(path)))[0] == [decode(raw_row())] * 2

    def breaking() -> Any:
        yield {"a": 1}
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_jsonl(path, breaking())
    assert path.read_bytes() == before
    with pytest.raises(DataError, match="cannot write"):
        write_jsonl(tmp_path / "missing" / "rows.jsonl", [])


def test_500_damaged_lines_are_each_read_or_quarantined(tmp_path: Path) -> None:
    rng = random.Random(5)
    good = msgspec.json.encode(raw_row())
    rows = [good]
    for _ in range(500):
        row = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(row))
            match rng.randrange(3):
                case 0:
                    row[place] = rng.choice(b'0"{}[],:\\x9\xff\x00 ')
                case 1:
                    del row[place : place + rng.randrange(1, 40)]
                case _:
                    row[place:place] = rng.choice([b'"', b"null", b"1e999", b"\xc3", b"\\ud800", b'{"a":', b"]"])
        rows.append(bytes(row).replace(b"\n", b" ").replace(b"\r", b" "))
    quarantine = Quarantine()
    records, tally = read(open_source(str(lines(tmp_path / "rows.jsonl", *rows))), quarantine)
    assert tally.taken == 501
    assert len(records) + quarantine.total == 501
    assert len(records) > 20
    assert quarantine.total > 100
    assert quarantine.counts.keys() <= RULES.keys()
    assert {"broken-json", "wrong-encoding"} <= quarantine.counts.keys()


@pytest.mark.parametrize(
    ("name", "layout", "count"),
    [
        ("ultrafeedback/raw_row0.json", "ultrafeedback", 1),
        ("ultrafeedback/binarized_1000.jsonl", "trl", 1000),
        ("feedback/four_models_80.jsonl", "feedback", 80),
        ("preferences/tulu3_pairs_100.jsonl", "pairs", 100),
        ("preferences/polite_pairs_1100.jsonl", "pairs", 1100),
        ("preferences/sharegpt_pairs_300.jsonl", "sharegpt-pairs", 300),
        ("chat/dialogues_4000.jsonl.gz", "ultrachat", 4000),
    ],
)
def test_the_real_files_are_read_whole(name: str, layout: str, count: int) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip("the real data are not here")
    source = open_source(str(path), strict=True)
    records, _ = read(source)
    assert (source.format, len(records)) == (layout, count)

"""Files that were made to harm: each is bounded in time and memory, and what is wrong is said in one line."""

import gzip
import json
import os
import resource
import time
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from notus.core.errors import DataError
from notus.core.stage import Tally
from notus.formats.files import json_text, packed, sheets
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.formats.splits import Table, choose_tables

PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}
MIB = 1 << 20


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def bounded():
    """Read a file; its records, its tally, and the entries of the quarantine."""

    def read(path, **more):
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        quarantine, tally, entries = Quarantine(), Tally("read", "rows"), []
        quarantine.add = entries.append
        try:
            return list(open_source(str(path), **more).records(tally, quarantine)), tally, entries
        finally:
            assert time.process_time() - start < 10
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1500 << 10

    return read


@pytest.fixture
def small_limits(monkeypatch):
    """The same limits a thousand times as small, so that the tests are fast: 256 KiB, 64 KiB for a row, 4 MiB."""
    for module in (packed,):
        monkeypatch.setattr(module, "_EXPANDED", 256 << 10)
        monkeypatch.setattr(module, "_WHOLE", 4 << 20)
    monkeypatch.setattr(json_text, "LONGEST_ROW", 64 << 10)
    monkeypatch.setattr("notus.formats.files.delimited.LONGEST_ROW", 64 << 10)
    monkeypatch.setattr("notus.formats.files.delimited._LONGEST", 64 << 10)


def zstd(data):
    return pa.compress(data, codec="zstd", asbytes=True)


@pytest.mark.parametrize("pack", [lambda data: gzip.compress(data, 9), zstd], ids=["gzip", "zstd"])
@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.json", "pairs.csv"])
@pytest.mark.usefixtures("small_limits")
def test_what_unpacks_to_more_than_texts_do_is_refused(tmp_path, bounded, pack, name):
    data = {
        "pairs.jsonl": lines(PAIR) * 50_000,
        "pairs.json": b"[" + b",".join([json.dumps(PAIR).encode()] * 50_000) + b"]",
        "pairs.csv": b"prompt,chosen,rejected\n" + b"a,b,c\n" * 400_000,
    }[name]
    path = tmp_path / f"{name}.packed"
    path.write_bytes(pack(data))
    assert len(data) > 100 * path.stat().st_size
    with pytest.raises(DataError, match="more than 100 times") as error:
        bounded(path)
    assert "\n" not in str(error.value)
    assert path.name in str(error.value)
    assert "unpack it" in str(error.value)


def test_what_is_packed_as_texts_are_is_read(tmp_path, bounded):
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(lines({**PAIR, "prompt": f"question {n}"}) for n in range(2000))))
    assert len(bounded(path)[0]) == 2000


@pytest.mark.usefixtures("small_limits")
def test_what_must_be_held_whole_has_a_limit(tmp_path, bounded):
    path = tmp_path / "pairs.json.gz"
    rows = [{**PAIR, "prompt": os.urandom(300).hex()} for n in range(9000)]
    path.write_bytes(gzip.compress(json.dumps(rows).encode(), 1))
    with pytest.raises(DataError, match="must be held whole"):
        bounded(path)


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("end", [b"\n", b""])
@pytest.mark.usefixtures("small_limits")
def test_one_giant_line_is_put_aside_and_the_others_are_read(tmp_path, bounded, before, end):
    path = tmp_path / "pairs.jsonl"
    giant = json.dumps({**PAIR, "prompt": "x" * 300_000}).encode()
    after = lines(PAIR, PAIR) if end else b""
    path.write_bytes(lines(PAIR) * (before + 1) + giant + end + after)
    records, tally, entries = bounded(path)
    assert len(records) == before + 1 + (2 if end else 0)
    (entry,) = entries
    assert (entry.rule, entry.line) == ("too-large", before + 2)
    assert tally.taken == len(records) + 1


@pytest.mark.usefixtures("small_limits")
def test_a_giant_line_is_in_one_shard(tmp_path):
    path = tmp_path / "pairs.jsonl"
    giant = json.dumps({**PAIR, "prompt": "x" * 300_000}).encode() + b"\n"
    few = [lines({**PAIR, "prompt": f"{n}" * 500}) for n in range(10, 60)]
    path.write_bytes(b"".join(few[:25]) + giant + b"".join(few[25:]) + giant)
    shards = open_source(str(path)).shards(20_000)
    assert len(shards) > 2
    found, quarantine = [], Quarantine()
    for shard in shards:
        found += [(record.line, record.prompt[0].content[:2]) for record in shard.records(Tally("read"), quarantine)]
    places = [n - 9 if n < 35 else n - 8 for n in range(10, 60)]
    assert found == [(place, f"{n}") for place, n in zip(places, range(10, 60), strict=True)]
    assert quarantine.counts == {"too-large": 2}


@pytest.mark.usefixtures("small_limits")
def test_a_giant_row_of_a_list_is_put_aside(tmp_path, bounded):
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([PAIR, {**PAIR, "prompt": "x" * 100_000}, PAIR]))
    records, _, entries = bounded(path)
    assert len(records) == 2
    assert [(entry.rule, entry.line) for entry in entries] == [("too-large", 2)]


@pytest.mark.usefixtures("small_limits")
def test_lists_under_names_in_one_giant_line_are_read(tmp_path, bounded):
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps({"train": [{**PAIR, "prompt": "x" * 500}] * 500}))
    assert len(bounded(path)[0]) == 500


@pytest.mark.usefixtures("small_limits")
def test_a_giant_line_of_a_table_is_refused(tmp_path, bounded):
    path = tmp_path / "pairs.csv"
    path.write_text("prompt,chosen,rejected\na,b,c\n" + "x" * 300_000 + ",b,c\n")
    with pytest.raises(DataError, match="has a line of more than"):
        bounded(path)


@pytest.mark.parametrize(
    "row",
    [
        '{"prompt": ' + "[" * 50_000,
        '{"prompt": "a", "chosen": "b", "rejected": "c", "x": ' + "[" * 600 + "]" * 600 + "}",
        '{"prompt": "a", "chosen": "b", "rejected": "c", "x": ' + '{"a": ' * 200 + "1" + "}" * 201,
        '{"prompt": "a", "chosen": "b", "rejected": "c", "x": ' + "[" * 101 + "]" * 101 + "}",
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_a_row_that_is_nested_too_deeply_is_put_aside(tmp_path, bounded, row, many):
    good = json.dumps(PAIR)
    path = tmp_path / "pairs.json"
    path.write_text(f"[\n{good},\n{row},\n{good}\n]" if many else f"{good}\n{row}\n{good}\n")
    records, _, entries = bounded(path)
    assert len(records) == 2
    assert [entry.rule in ("too-deep", "broken-json") for entry in entries] == [True]


def test_a_row_of_many_brackets_that_is_not_deep_is_read(tmp_path, bounded):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines({**PAIR, "prompt": "[{" * 500, "x": [[n] for n in range(300)]}))
    assert len(bounded(path)[0]) == 1


@pytest.mark.parametrize("number", ["9" * 30, "9" * 5000, "-" + "9" * 400, "1e400", "1" * 310 + ".5", "1e-999999"])
@pytest.mark.parametrize("key", ["score_chosen", "further"])
def test_a_number_beyond_all_bounds_ends_in_its_row(tmp_path, bounded, number, key):
    path = tmp_path / "pairs.jsonl"
    row = json.dumps({**PAIR, key: 5})[:-2] + number + "}"
    path.write_text(f"{json.dumps(PAIR)}\n{row}\n")
    records, tally, entries = bounded(path)
    assert len(records) + len(entries) == tally.taken == 2


def repeated_value(path, value, rows, **more):
    """A Parquet file of a few bytes: one value in each of many rows."""
    table = pa.table({name: pa.array([value] * 1000, pa.string()) for name in ("prompt", "chosen", "rejected")})
    with pq.ParquetWriter(path, table.schema, compression="zstd", **more) as writer:
        for _ in range(rows // 1000):
            writer.write_table(table)


@pytest.mark.usefixtures("small_limits")
def test_columns_that_hold_more_than_their_size_says_are_refused(tmp_path, bounded):
    path = tmp_path / "pairs.parquet"
    repeated_value(path, "x" * 5_000, 1000)
    assert path.stat().st_size < 100_000
    start = time.process_time()
    with pytest.raises(DataError, match="more than 100 times"):
        bounded(path)
    assert time.process_time() - start < 5


@pytest.mark.usefixtures("small_limits")
def test_columns_without_a_dictionary_are_refused_before_they_are_unpacked(tmp_path, bounded):
    path = tmp_path / "pairs.parquet"
    repeated_value(path, "x" * 10_000, 2000, use_dictionary=False)
    with pytest.raises(DataError, match="more than 100 times"):
        bounded(path)


def test_columns_of_equal_short_texts_are_read(tmp_path, bounded):
    path = tmp_path / "pairs.parquet"
    repeated_value(path, "a", 5000)
    assert len(bounded(path)[0]) == 5000


@pytest.mark.usefixtures("small_limits")
def test_arrow_that_is_packed_too_densely_is_refused(tmp_path, bounded):
    path = tmp_path / "pairs.arrow"
    table = pa.table({name: ["x" * 5000] * 100 for name in ("prompt", "chosen", "rejected")})
    with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match="more than 100 times"):
        bounded(path)


def workbook(path, cells):
    """A workbook of one sheet with cells by their names."""
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rels = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    by_row = {}
    for name, value in cells.items():
        by_row.setdefault(int("".join(filter(str.isdigit, name))), []).append((name, value))
    rows = "".join(
        f'<row r="{number}">'
        + "".join(f'<c r="{name}" t="inlineStr"><is><t>{value}</t></is></c>' for name, value in row)
        + "</row>"
        for number, row in by_row.items()
    )
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'{head}<Types xmlns="{package}/content-types">'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'{head}<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="a" Type="{rels}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'{head}<workbook xmlns="{main}" xmlns:r="{rels}"><sheets>'
        '<sheet name="One" sheetId="1" r:id="a"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'{head}<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="a" Type="{rels}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'{head}<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in parts.items():
            file.writestr(name, text)


GOOD_CELLS = dict(zip(("A1", "B1", "C1", "A2", "B2", "C2"), (*PAIR, *PAIR.values()), strict=True))


def test_a_workbook_is_read(tmp_path, bounded):
    pytest.importorskip("python_calamine")
    workbook(tmp_path / "pairs.xlsx", GOOD_CELLS)
    assert [record.chosen[0].content for record in bounded(tmp_path / "pairs.xlsx")[0]] == ["b"]


@pytest.mark.parametrize("far", ["XFD1048576", "ZZ900000", "C99999999", "XFD5000"])
def test_a_cell_far_away_does_not_fill_the_memory(tmp_path, bounded, far):
    pytest.importorskip("python_calamine")
    workbook(tmp_path / "pairs.xlsx", {**GOOD_CELLS, far: "x"})
    with pytest.raises(DataError, match="more than 50,000,000 cells"):
        bounded(tmp_path / "pairs.xlsx")


@pytest.mark.usefixtures("small_limits")
def test_a_workbook_that_unpacks_to_more_than_texts_do_is_refused(tmp_path, bounded):
    pytest.importorskip("python_calamine")
    workbook(tmp_path / "pairs.xlsx", {**GOOD_CELLS, "D2": "x" * 2_000_000})
    with pytest.raises(DataError, match="more than 100 times"):
        bounded(tmp_path / "pairs.xlsx")


def test_a_column_has_its_number():
    assert [sheets._column(name) for name in (b"A", b"Z", b"AA", b"XFD")] == [1, 26, 27, 16384]


def test_choosing_among_many_files_is_linear():
    tables = [Table(f"{n:05}.jsonl") for n in range(40_000)]
    start = time.process_time()
    assert len(choose_tables(tables, "many", None, None).tables) == len(tables)
    assert len(choose_tables(tables, "many", "all", None).tables) == len(tables)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("name", ["-", "/dev/stdin", "fifo", "/dev/zero", "/dev/null", "/dev/urandom"])
def test_what_is_no_file_is_refused_before_it_is_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DataError, match="save it to a file") as error:
        open_source(name)
    assert "\n" not in str(error.value)


def test_a_name_that_is_no_text_is_refused(tmp_path):
    name = os.fsdecode(b"caf\xe9.jsonl")
    (tmp_path / name).write_bytes(lines(PAIR))
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(DataError, match="is not UTF-8; rename it") as error:
            open_source(str(source))
        assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('{"prompt":"x","prompt":"a","chosen":"b","rejected":"c"}', 1),
        ('{"prompt" : "x", "prompt"\t: "a", "chosen": "b", "rejected": "c"}', 1),
        ('{"prompt":"a","chosen":"b","rejected":"c","meta":{"n":1,"n":2}}', 1),
        ('{"prompt":"a","chosen":"b","rejected":"c","meta":[{"n":1},{"n":2}]}', 0),
        ('{"prompt":"a\\":b","chosen":"\\"a\\":","rejected":"c"}', 0),
        ('{"prompt":"a","chosen":"b","rejected":"c","\\u0070rompt":"z"}', 1),
        ('{"prompt":"a","chosen":"b","rejected":"c","a":1,"a":1,"a":1}', 1),
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_a_key_that_stands_twice_is_counted(tmp_path, bounded, text, count, many):
    path = tmp_path / "pairs.json"
    good = json.dumps(PAIR)
    path.write_text(f"[{good}, {text}]" if many else f"{good}\n{text}\n")
    records, tally, _ = bounded(path)
    assert len(records) == 2
    assert tally.counts == ({"repeated-key": count} if count else {})


def test_the_name_of_a_column_that_is_no_text_is_refused(tmp_path, bounded):
    path = tmp_path / "pairs.csv"
    good = b"".join(f"ä{n},b,c\n".encode() for n in range(9))
    path.write_bytes(b"prompt,chosen,reject\x92d\n" + good)
    with pytest.raises(DataError, match="the name of column 3 is not UTF-8"):
        bounded(path)


@pytest.mark.parametrize("cut", range(8, 1200, 90))
def test_an_arrow_file_that_is_cut_or_has_wrong_places_is_damaged(tmp_path, bounded, cut):
    path = tmp_path / "pairs.arrow"
    table = pa.table({name: [f"{name} {n}" for n in range(40)] for name in PAIR})
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)
    data = path.read_bytes()
    path.write_bytes(data[:cut] + b"\xff\x81" + data[cut + 2 :])
    try:
        records, tally, entries = bounded(path)
        assert len(records) + len(entries) == tally.taken
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017  either end is right, a crash is not
    path.write_bytes(data[:cut])
    with pytest.raises(DataError):
        bounded(path)

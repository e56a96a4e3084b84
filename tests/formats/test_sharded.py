import json
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest

from notus.core.disk.hashes import hash_file
from notus.core.errors import ConfigError, DataError
from notus.core.records import Feedback
from notus.core.run import Run, read_json
from notus.core.stage import Tally
from notus.core.tables import read_records, read_table, write_records
from notus.formats.families.ultrafeedback import decode
from notus.formats.quarantine import Quarantine
from notus.formats.rows import Part, cut_file, read_rows
from notus.formats.source import Shard, Source, Work, open_source, sharded
from tests.helpers.data_examples import raw_row


def rows(count: int) -> list[str]:
    return [
        json.dumps(raw_row() | {"instruction": f"Name river {number}. " + "é" * (number % 7)})
        for number in range(count)
    ]


def write(path: Path, lines: list[str], end: str = "\n") -> Path:
    path.write_bytes(end.join(lines).encode() + end.encode())
    return path


def keep(path: Path, records: Iterator[Feedback], shard: Shard) -> list[str]:
    tally = shard.tally("keep")
    kept = []
    for record in records:
        tally.taken += 1
        if record.prompt[0].content.startswith("Name river 1"):
            tally.drop(record.id, "one")
        else:
            kept.append(record)
            tally.given += 1
    shard.write(path, kept, Feedback)
    return [record.prompt[0].content for record in kept]


def breaks(records: Iterator[Feedback], shard: Shard) -> None:
    list(records)
    if shard.number:
        raise ConfigError(f"shard {shard.number} of {shard.of}")


def work(folder: Path, source: Source, workers: int, size: int, what: Work | None = None) -> list[list[str]]:
    """The results of a work on shards of so many bytes, in a run of its own."""
    with Run(folder, stage="keep", config={}, inputs={}) as run, pytest.MonkeyPatch.context() as patch:
        patch.setattr("notus.formats.source.SHARD", size)
        return list(sharded(run, source, what or partial(keep, folder / "feedback.parquet"), workers))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 700, 5000, 20_000, 10**9])
def test_the_parts_of_lines_are_the_lines(tmp_path: Path, size: int, end: str) -> None:
    rng = random.Random(size)
    lines = ["\ufeff" + rows(1)[0]]
    lines += [rng.choice(["", "  ", "{broken", *rows(2), "{}"]) for _ in range(40)]
    path = write(tmp_path / "f.jsonl", lines, end)
    path.write_bytes(path.read_bytes() + b'{"last": "without an end"}')
    parts = cut_file(path, size)
    assert [row for part in parts for row in read_rows(path, part)] == list(read_rows(path))
    if size < 10**9:
        found = [part for part in parts if part]
        assert len(found) == len(parts) > 1
        assert [part.start for part in found[1:]] == [part.stop for part in found[:-1]]
        assert found[-1].stop == path.stat().st_size
    else:
        assert parts == [None]


def test_what_cannot_be_cut_is_one_part(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(f"[{','.join(rows(3))}]")
    (tmp_path / "one.json").write_text(json.dumps(raw_row(), indent=1))
    assert cut_file(tmp_path / "list.json", 10) == [None]
    assert cut_file(tmp_path / "one.json", 10) == [None]
    with pytest.raises(DataError, match="cannot read"):
        cut_file(tmp_path / "missing.jsonl", 10)


def test_parquet_is_cut_between_row_groups(tmp_path: Path) -> None:
    records = [decode(json.loads(row)) for row in rows(5000)]
    path = tmp_path / "f.parquet"
    write_records(path, records, Feedback)
    parts = cut_file(path, 1)
    assert parts == [Part(0, 1, 1), Part(1, 2, 2049), Part(2, 3, 4097)]
    plain = list(read_rows(path))
    assert [row for part in parts for row in read_rows(path, part)] == plain
    assert [number for number, _ in plain] == list(range(1, 5001))
    own = [record for part in parts for _, record in read_rows(path, part, Feedback)]
    assert own == records
    assert all(isinstance(row, dict) for _, row in plain)


def test_shards_hold_the_same_records_whatever_their_size(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.jsonl", rows(4 + number))
    source = open_source(str(tmp_path))
    whole = [shard.paths for shard in source.shards()]
    assert whole == [source.paths]
    for size in (1, 3000, 9000, 20_000):
        shards = source.shards(size)
        assert len(shards) > 1
        found = [r for shard in shards for r in shard.records(_tally(), Quarantine())]
        assert found == list(source.records(_tally(), Quarantine()))
    limited = open_source(str(tmp_path), limit=2)
    assert limited.shards(1) == [limited]


def _tally() -> Tally:
    return Tally("read")


def test_the_number_of_workers_changes_no_byte_and_loses_no_bad_row(tmp_path: Path) -> None:
    lines = rows(60)
    lines[7], lines[31], lines[59] = "{broken", json.dumps({**raw_row(), "completions": []}), "[]"
    lines.insert(20, "")
    path = write(tmp_path / "f.jsonl", lines)
    for workers in (1, 2):
        results = work(tmp_path / str(workers), open_source(str(path)), workers, 12_000)
        assert len(results) > 4
    one, two = tmp_path / "1", tmp_path / "2"
    names = {file.relative_to(one) for file in one.rglob("*") if file.is_file()}
    assert names == {file.relative_to(two) for file in two.rglob("*") if file.is_file()}
    assert len([name for name in names if name.parent.name == "feedback.parquet"]) == len([r for r in results if r])
    for name in names - {Path("manifest.json"), Path("log.txt")}:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    entries = [json.loads(line) for line in (two / "quarantine.jsonl").read_text().splitlines()]
    assert [(entry["line"], entry["rule"]) for entry in entries] == [
        (8, "broken-json"),
        (33, "no-completion"),
        (61, "not-an-object"),
    ]
    read, kept = read_json(two / "tally.json")
    assert (read["in"], read["out"]) == (60, 57)
    assert (kept["in"], kept["out"], kept["dropped"]) == (57, 57 - 11, {"one": 11})
    assert read_json(two / "manifest.json")["summary"]["quarantined"] == 3
    assert len(read_table(two / "dropped.parquet")) == 14
    # A small source is one shard, and its table one file; the records are the same.
    (single,) = work(tmp_path / "single", open_source(str(path)), 2, 10**9)
    assert single == [text for texts in results for text in texts]
    assert (tmp_path / "single" / "feedback.parquet").is_file()
    assert list(read_records(tmp_path / "single" / "feedback.parquet", Feedback)) == list(
        read_records(two / "feedback.parquet", Feedback)
    )
    # And what was left in parts is read like any source.
    again = open_source(str(two / "feedback.parquet"))
    assert again.format == "notus-feedback"
    assert [r.prompt[0].content for r in again.records(_tally(), Quarantine())] == single


def test_errors_name_the_line_and_the_first_in_order_counts(tmp_path: Path) -> None:
    lines = rows(40)
    lines[25] = lines[33] = "{broken"
    path = write(tmp_path / "f.jsonl", lines)
    with pytest.raises(DataError, match=r"f\.jsonl:26: "):
        work(tmp_path / "strict", open_source(str(path), strict=True), 2, 12_000)
    with pytest.raises(ConfigError, match=r"shard 1 of \d+"):
        work(tmp_path / "breaks", open_source(str(path)), 1, 12_000, breaks)


def test_a_source_without_a_row_that_fits_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", ["{broken"] * 3)
    with pytest.raises(DataError, match="none of the 3 rows"):
        work(tmp_path / "run", open_source(str(path), format="ultrafeedback"), 1, 10)


def test_the_rows_at_some_places_are_found_in_whichever_parts_they_stand(tmp_path: Path) -> None:
    source = open_source(str(write(tmp_path / "f.jsonl", [*rows(40), "{", *rows(3)])))
    every = list(source.records(_tally(), Quarantine()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("notus.formats.source.SHARD", 9000)
        cut = open_source(str(tmp_path / "f.jsonl"))
        assert len(cut.shards()) > 5
        for lines in ({1}, {44}, {7, 8, 31, 41}, set()):
            found = list(cut.standing_at({("f.jsonl", line) for line in lines} | {("other.jsonl", 3)}))
            assert found == [record for record in every if record.line in lines]


def test_what_a_run_has_written_is_read_without_some_fields_and_other_files_whole(tmp_path: Path) -> None:
    path = tmp_path / "feedback.parquet"
    records = [decode(json.loads(row)) for row in rows(5)]
    write_records(path, records, Feedback)
    plain = open_source(str(path))
    ours = replace(plain, written={path: hash_file(path)})
    without = {"completions.ratings.rationale", "completions.critique.text", "extra"}
    assert list(plain.lean(without).records(_tally(), Quarantine())) == list(plain.records(_tally(), Quarantine()))
    for record, lean in zip(records, ours.lean(without).records(_tally(), Quarantine()), strict=True):
        assert lean.id == record.id
        assert lean.prompt == record.prompt
        for one, other in zip(record.completions, lean.completions, strict=True):
            assert (one.text, one.mean_rating, one.overall_score) == (
                other.text,
                other.mean_rating,
                other.overall_score,
            )
            assert [rating.rationale for rating in other.ratings] == [""] * 4
            assert [rating.types for rating in other.ratings] == [rating.types for rating in one.ratings]
            assert other.critique == msgspec.structs.replace(one.critique, text="")


def test_a_file_that_is_not_read_whole_is_compared_with_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "feedback.parquet"
    write_records(path, [decode(json.loads(row)) for row in rows(5)], Feedback)
    lean = replace(open_source(str(path)), written={path: hash_file(path)}).lean({"completions.critique.text"})
    data = bytearray(path.read_bytes())
    place = data.index(b"critique")  # in what is said of columns that are not read
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"feedback\.parquet is damaged"):
        list(lean.records(_tally(), Quarantine()))


def test_what_columns_do_not_prove_is_read_again_as_a_whole(tmp_path: Path) -> None:
    """A prompt without a turn is no record: the row is put aside under its rule, and the others keep all they hold."""
    path = tmp_path / "feedback.parquet"
    records = [decode(json.loads(row)) for row in rows(1500)]
    records[1200] = msgspec.structs.replace(records[1200], prompt=())
    write_records(path, records, Feedback)
    lean = replace(open_source(str(path)), written={path: hash_file(path)}).lean({"completions.critique.text"})
    tally = _tally()
    found = list(lean.records(tally, Quarantine()))
    assert [record.line for record in found] == [line for line in range(1, 1501) if line != 1201]
    assert [item.line for item in tally.dropped] == [1201]
    assert found[-1].completions[0].critique == records[-1].completions[0].critique

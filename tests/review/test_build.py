"""The tables: built once, found again, built anew when the bytes change, and never in the way of the data beside."""

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from notus.core.disk.hashes import hash_folder
from notus.core.disk.withdrawn import read_sieve, withdraw
from notus.core.errors import DataError, InputError, RunError
from notus.core.records import Feedback
from notus.formats import source as sources
from notus.formats.source import open_source
from notus.review.filter import Filter
from notus.review.open import open_review
from notus.review.tables import build as building
from notus.review.tables.build import build, cache_of
from notus.review.tables.columns import load
from tests.helpers.review_rows import frame, raw_rows, write_rows


@pytest.fixture
def feedback(tmp_path):
    return (
        write_rows(tmp_path / "data" / "feedback.jsonl", raw_rows(40)) if (tmp_path / "data").mkdir() is None else None
    )


def built(path: Path, **how):
    return build(open_source(str(path), **how), cache_of(path), 1)


def test_tables_are_built_once_and_found_again(feedback):
    first = built(feedback)
    assert first.fresh
    assert first.folder.parent == feedback.parent / ".notus" / "review"
    before = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    again = built(feedback)
    assert not again.fresh
    assert (again.folder, again.rows, again.of, again.format) == (
        first.folder,
        first.rows,
        "completion",
        "ultrafeedback",
    )
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before


def test_a_file_that_was_only_touched_is_hashed_and_its_tables_stay(feedback):
    first = built(feedback)
    os.utime(feedback, (1, 1))
    assert (built(feedback).fresh, built(feedback).folder) == (False, first.folder)


def test_changed_bytes_are_read_anew_and_the_older_tables_go(feedback):
    first = built(feedback)
    write_rows(feedback, raw_rows(41))
    second = built(feedback)
    assert second.fresh
    assert second.rows == len(frame(raw_rows(41)))
    assert not first.folder.exists()
    assert [path.name for path in second.folder.parent.iterdir()] == [second.folder.name]


def test_tables_of_an_older_notus_are_built_anew(feedback, monkeypatch):
    built(feedback)
    monkeypatch.setattr(building, "_VERSION", 999)
    assert built(feedback).fresh
    assert not built(feedback).fresh


def test_a_damaged_build_is_built_anew(feedback):
    (built(feedback).folder / ".tables.json").write_text("{")
    assert built(feedback).fresh


def test_how_a_file_is_read_is_part_of_what_the_tables_are_of(feedback):
    whole, head = built(feedback), built(feedback, limit=3)
    assert head.rows == len(frame(raw_rows(40)[:3]))
    assert {whole.fresh, head.fresh} == {True}
    assert not built(feedback).fresh
    assert not built(feedback, limit=3).fresh


def test_what_lies_beside_the_data_is_no_part_of_them(feedback):
    folder = feedback.parent
    before = hash_folder(folder)
    built(feedback)
    assert hash_folder(folder) == before
    assert open_source(str(folder)).paths == (feedback,)
    assert (folder / ".notus" / ".gitignore").read_text() == "*\n"


def test_the_tables_of_a_folder_lie_beside_it(feedback):
    with open_review(feedback.parent) as review:
        assert review.facts.rows == len(frame(raw_rows(40)))
        assert {row.file for row in review.page(Filter(), 0, 999).rows} == {"feedback.jsonl"}
    assert (feedback.parent.parent / ".notus" / "review").is_dir()
    assert not (feedback.parent / ".notus").exists()


def test_where_nothing_can_be_written_the_users_cache_is_taken(feedback, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_of("owner/name") == tmp_path / "cache" / "notus" / "review"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert cache_of(feedback) == tmp_path / "cache" / "notus" / "review"


def test_a_place_that_cannot_be_written_is_told(feedback, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the tables"):
        open_review(feedback, cache=tmp_path / "file" / "cache")


def test_many_shards_give_the_same_tables_as_one(feedback, monkeypatch, tmp_path):
    with open_review(feedback) as one:
        expected = one.page(Filter(), 0, 999).rows
        records = [one.record(row.key) for row in expected]
        texts = [row.number for row in one.page(Filter(text="river"), 0, 999).rows]
        near = [each.row.id for each in one.neighbours(expected[5].key)]
    monkeypatch.setattr(sources, "SHARD", 20_000)
    with open_review(feedback, cache=tmp_path / "other", workers=1) as many:
        assert len(many.columns.built.parts) > 3
        assert many.page(Filter(), 0, 999).rows == expected
        assert [many.record(row.key) for row in expected] == records
        assert [row.number for row in many.page(Filter(text="river"), 0, 999).rows] == texts
        assert [each.row.id for each in many.neighbours(expected[5].key)] == near


@pytest.mark.slow
def test_processes_give_the_same_tables(feedback, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "SHARD", 20_000)
    alone = build(open_source(str(feedback)), tmp_path / "one", 1)
    both = build(open_source(str(feedback)), tmp_path / "two", 2)
    names = sorted(path.name for path in alone.folder.glob(".*.parquet"))
    assert len(names) == 3 * len(alone.parts) > 9
    for name in names:
        assert (alone.folder / name).read_bytes() == (both.folder / name).read_bytes()


def test_bad_rows_are_counted_and_said(feedback):
    text = feedback.read_text(encoding="utf-8")
    feedback.write_text(text + "no json\n" + '{"instruction": "x"}\n', encoding="utf-8")
    with open_review(feedback) as review:
        assert review.facts.rows == len(frame(raw_rows(40)))
        assert any("2 rows of the source could not be read" in each for each in review.facts.said)


def test_a_file_without_a_row_is_told(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", raw_rows(120))
    lines = path.read_text(encoding="utf-8").splitlines()
    # The first row says the format; then nothing of it can be read.
    path.write_text(lines[0] + "\n", encoding="utf-8")
    source = open_source(str(path))
    path.write_text("x\n" * 3, encoding="utf-8")
    with pytest.raises(DataError, match="nothing to review"):
        build(source, tmp_path / "cache", 1)
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_is_withdrawn_is_in_no_table_and_the_older_tables_go(feedback, tmp_path):
    first = built(feedback)
    gone = list(open_source(str(feedback)).located())[7][2]
    assert isinstance(gone, Feedback)
    file = tmp_path / "forgotten.jsonl"
    _forget(file, gone)

    def opened(place):
        source = open_source(place)
        return sources.replace(source, withdrawn=read_sieve(file))

    with open_review(feedback, opened=opened) as review:
        assert review.facts.rows == len(frame(raw_rows(40))) - len(gone.completions)
        assert review.count(Filter(id=(gone.id,))) == 0
        assert review.count(Filter(text=raw_rows(40)[7]["instruction"])) == 0
        assert any("withdrawn" in each for each in review.facts.said)
    assert not first.folder.exists()


def _forget(file, record):
    from notus.core.disk.withdrawn import Withdrawn, answer_digest

    withdraw(
        file,
        [
            Withdrawn(
                id=record.id,
                kind="feedback",
                prompt=record.prompt_id,
                answers=tuple(answer_digest(each.text) for each in record.completions),
            )
        ],
        "asked to",
    )


def test_a_second_review_waits_for_the_first_and_takes_its_tables(feedback):
    cache = cache_of(feedback)
    cache.mkdir(parents=True)
    handle = os.open(cache, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    found = []
    thread = threading.Thread(target=lambda: found.append(built(feedback)))
    thread.start()
    time.sleep(0.3)
    assert not found
    os.close(handle)
    thread.join()
    assert found[0].fresh


def test_whoever_waits_too_long_is_told(feedback, monkeypatch):
    monkeypatch.setattr(building, "_PATIENCE_S", 0)
    cache = cache_of(feedback)
    cache.mkdir(parents=True)
    handle = os.open(cache, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(RunError, match="another review"):
            built(feedback)
    finally:
        os.close(handle)


def test_columns_hold_what_the_parts_hold(feedback):
    columns = load(built(feedback))
    known = frame(raw_rows(40))
    assert len(columns) == len(known)
    assert columns.first_rows.tolist() == [0, *known.groupby("line").size().cumsum()]
    assert columns.group.tolist() == (known["line"] - 1).tolist()

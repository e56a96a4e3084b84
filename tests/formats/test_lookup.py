"""Formats by name: ours, and a reader in a file of the user's."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.records import Preference
from notus.core.run import Run, read_json
from notus.core.stage import Tally
from notus.core.tables import read_records, read_table, write_records
from notus.formats.format import Data, Format
from notus.formats.lookup import format_digest, format_named
from notus.formats.quarantine import Entry, Quarantine
from notus.formats.registry import FORMATS, in_order
from notus.formats.source import Source, open_source, sharded, write_jsonl
from notus.formats.write import encode_row

MINE = '''
def read_row(row):
    """Votes of our own, as pairs."""
    if row["votes"] < 2:
        raise ValueError("fewer than two votes")
    return {"prompt": row["q"], "chosen": row["good"], "rejected": row["bad"], "votes": row["votes"]}
'''
"""What the documentation shows: a reader in ten lines."""
ROW = {"q": "Name a river.", "good": "The Oder.", "bad": "No.", "votes": 3}


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path / "mine.py"


def read(source: Source) -> tuple[list[Data], Quarantine, Tally]:
    tally, quarantine = Tally("read"), Quarantine(Path("quarantine.jsonl"))
    with quarantine:
        records = list(source.records(tally, quarantine))
    return records, quarantine, tally


def entries() -> list[Entry]:
    return [msgspec.json.decode(line, type=Entry) for line in Path("quarantine.jsonl").read_bytes().splitlines()]


def opened(rows: list[Any], name: str = "python:mine.py:read_row", **options: Any) -> Source:
    write_jsonl(Path("rows.jsonl"), rows)
    return open_source("rows.jsonl", format=name, **options)


def test_an_unknown_format_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ultrafeedback'"):
        format_named("ultrafeedbak")


@pytest.mark.usefixtures("mine")
def test_a_reader_of_the_users_is_a_format() -> None:
    source = opened([ROW])
    (record,), quarantine, _ = read(source)
    assert (source.format, source.record) == ("python:mine.py:read_row", Preference)
    assert isinstance(record, Preference)
    assert [turns[0].content for turns in (record.prompt, record.chosen, record.rejected)] == list(ROW.values())[:3]
    assert record.extra == {"votes": 3}
    assert quarantine.total == 0


def test_what_it_refuses_and_what_it_fails_on_goes_to_the_quarantine(mine: Path) -> None:
    rows = [ROW, ROW | {"votes": 1}, {"votes": 2}, ROW | {"bad": None}, 7]
    records, quarantine, tally = read(opened(rows))
    assert len(records) == 1
    assert quarantine.counts == {"reader-refused": 1, "reader-failed": 1, "no-format": 1, "not-an-object": 1}
    refused, failed, *_ = entries()
    assert (refused.line, refused.detail) == (2, "fewer than two votes")
    assert f"{mine}:6: KeyError: 'q'" in failed.detail
    assert "\n" not in failed.detail
    assert [item.reason for item in tally.dropped][:2] == ["reader-refused", "reader-failed"]
    assert tally.dropped[0].detail == "fewer than two votes"
    with pytest.raises(DataError, match=r"rows\.jsonl:2: .*fewer than two votes"):
        read(opened(rows, strict=True))


@pytest.mark.parametrize(
    ("result", "rule"),
    [
        ("None", "no-format"),
        ("[1]", "no-format"),
        ("{'a': 1}", "no-format"),
        ("{'prompt': 'a', 'chosen': 'b', 'rejected': 3}", "no-format"),
        ("Preference(prompt='a', chosen='b', rejected='c')", "wrong-type"),
        ("Preference(prompt=A, chosen=A, rejected=A, extra={'x': object})", "wrong-type"),
        ("Dialogue(messages=A)", "other-record"),
    ],
)
def test_what_is_no_record_is_put_aside(mine: Path, result: str, rule: str) -> None:
    mine.write_text(
        "from notus.core.records import Dialogue, Message, Preference\n"
        "A = (Message(role='user', content='a'),)\n"
        f"def read_row(row):\n    return {result} if row else Preference(prompt=A, chosen=A, rejected=A)\n"
    )
    records, quarantine, _ = read(opened([{}, {"n": 1}]))
    assert (len(records), quarantine.counts) == (1, {rule: 1})


def test_the_kind_of_its_records_is_told_by_the_annotation(mine: Path) -> None:
    mine.write_text(f"from notus.core.records import Preference\n{MINE.replace('(row):', '(row) -> Preference:')}")
    assert opened([{"votes": 0}]).record is Preference


@pytest.mark.usefixtures("mine")
def test_a_reader_that_reads_no_row_says_so_at_once() -> None:
    with pytest.raises(DataError, match=r"none of the first rows .*fewer than two votes") as caught:
        opened([ROW | {"votes": 0}])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "name", "says"),
    [
        ("", "python:gone.py:read_row", "there is no file gone.py"),
        ("", "python:mine.py:read", "did you mean 'read_row'"),
        ("1/0\n", "python:mine.py:read_row", "mine.py:1: ZeroDivisionError"),
        ("def (\n", "python:mine.py:read_row", "mine.py:1: SyntaxError"),
        ("class read: ...\n", "python:mine.py:read", "is the class read"),
        ("", "python:mine", "is not of the form"),
        ("", "python:notus.nothing:read", "there is no module"),
    ],
)
def test_code_that_cannot_be_loaded_is_an_error_in_one_line(mine: Path, code: str, name: str, says: str) -> None:
    mine.write_text(code + MINE)
    with pytest.raises(ConfigError, match=says) as caught:
        opened([ROW], name)
    assert "\n" not in str(caught.value)


def test_another_content_of_the_file_is_another_format(mine: Path) -> None:
    assert format_digest("python:mine.py:read_row") == hashlib.sha256(mine.read_bytes()).hexdigest()
    assert format_digest("python:notus.formats.rows:parse_row") is not None
    assert format_digest("trl") is format_digest("python:gone.py:read_row") is None
    before = format_named("python:mine.py:read_row")
    assert format_named("python:mine.py:read_row") is before
    mine.write_text(MINE.replace("< 2", "< 9"))
    assert format_named("python:mine.py:read_row") is not before
    with pytest.raises(DataError, match="fewer than two votes"):
        opened([ROW])


def test_a_format_of_the_users_is_read_and_written(mine: Path) -> None:
    mine.write_text(
        "from notus.core.records import Message, Preference\n"
        "from notus.formats.format import Format\n"
        "def turns(role, text): return (Message(role=role, content=text),)\n"
        "def decode(row):\n"
        "    answers = [turns('assistant', row[name]) for name in ('good', 'bad')]\n"
        "    return Preference(prompt=turns('user', row['q']), chosen=answers[0], rejected=answers[1])\n"
        "def encode(pair):\n"
        "    return dict(q=pair.prompt[0].content, good=pair.chosen[0].content, bad=pair.rejected[0].content)\n"
        "VOTES = Format(name='votes', record=Preference, decode=decode, encode=encode)\n"
    )
    row = {name: value for name, value in ROW.items() if name != "votes"}
    (record,), *_ = read(opened([row], "python:mine.py:VOTES"))
    assert encode_row(record, "python:mine.py:VOTES") == row


@pytest.mark.usefixtures("mine")
def test_shards_in_processes_read_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notus.formats.source.SHARD", 500)
    source = opened([ROW | {"q": str(n), "votes": n} for n in range(2, 60)] + [ROW | {"votes": 1}])
    assert len(source.shards()) > 4
    with Run(tmp_path / "run", stage="read", config={}, inputs={}) as run:
        parts = list(sharded(run, source, _write, 2))
    assert sum(parts) == 58
    assert [row["reason"] for row in read_table(tmp_path / "run" / "dropped.parquet")] == ["reader-refused"]
    assert read_json(tmp_path / "run" / "tally.json")[0]["out"] == 58


def _write(records: Any, shard: Any) -> int:
    del shard
    return sum(isinstance(record, Preference) for record in records)


def test_an_installed_package_adds_a_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "formats_of_theirs.py").write_text(MINE)
    info = tmp_path / "formats_of_theirs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: formats_of_theirs\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[notus.formats]\nour-votes = formats_of_theirs:read_row\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert format_digest("our-votes") == hashlib.sha256(MINE.encode()).hexdigest()
    assert len(read(opened([ROW], "our-votes"))[0]) == 1
    with pytest.raises(ConfigError, match="did you mean 'our-votes'"):
        format_named("our-vote")


def test_wishes_for_places_are_heeded() -> None:
    def named(name: str, *before: str) -> Format:
        return Format(name=name, record=None, decode=FORMATS["trl"].decode, before=before)

    given = [named("general"), named("middle", "general"), named("particular", "middle", "general"), named("new")]
    assert [each.name for each in in_order(given)] == ["new", "particular", "middle", "general"]
    with pytest.raises(ValueError, match="a, b"):
        in_order([named("a", "b"), named("b", "a")])


def test_every_wish_names_a_format() -> None:
    assert {name for each in FORMATS.values() for name in each.before} <= FORMATS.keys()
    assert all(name == each.name for name, each in FORMATS.items())
    assert list(FORMATS)[:4] == ["notus-feedback", "notus-preferences", "notus-unpaired", "notus-dialogues"]


@pytest.mark.usefixtures("mine")
def test_records_of_a_reader_are_written_as_ours(tmp_path: Path) -> None:
    records, *_ = read(opened([ROW]))
    write_records(
        tmp_path / "preferences.parquet", [item for item in records if isinstance(item, Preference)], Preference
    )
    assert list(read_records(tmp_path / "preferences.parquet", Preference)) == records

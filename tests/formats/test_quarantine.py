from pathlib import Path

import pytest

from notus.core.errors import DataError
from notus.formats.quarantine import RULES, Entry, Quarantine, RowError, repeats_key, shorten


def entry(rule: str = "broken-json", line: int = 1) -> Entry:
    return Entry(file="rows.jsonl", line=line, field="", rule=rule, value="'x'", detail="", row="x")


def test_there_is_no_file_without_a_bad_row(tmp_path: Path) -> None:
    with Quarantine(tmp_path / "q.jsonl") as quarantine:
        assert quarantine.summary() == "0 rows in quarantine"
    assert not list(tmp_path.iterdir())


def test_the_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    with Quarantine(tmp_path / "q.jsonl") as quarantine:
        quarantine.add(entry())
        quarantine.add(entry("not-a-number", 2))
        assert not (tmp_path / "q.jsonl").exists()
    assert len((tmp_path / "q.jsonl").read_text().splitlines()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["q.jsonl"]
    assert quarantine.summary() == "2 rows in quarantine: 1 broken-json, 1 not-a-number"


def test_what_was_found_is_kept_when_the_work_fails(tmp_path: Path) -> None:
    def work() -> None:
        with Quarantine(tmp_path / "q.jsonl") as quarantine:
            quarantine.add(entry())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        work()
    assert (tmp_path / "q.jsonl").exists()


def test_a_clean_run_removes_the_file_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text("old\n")
    Quarantine(tmp_path / "q.jsonl").close()
    assert not (tmp_path / "q.jsonl").exists()


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot write"):
        Quarantine(tmp_path / "missing" / "q.jsonl").add(entry())


def test_an_error_names_field_value_and_rule_in_one_line() -> None:
    error = RowError("a.b", "not-a-number", "good\nmore")
    assert str(error) == f"field 'a.b' is 'good\\nmore': {RULES['not-a-number']} [not-a-number]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "missing"),
        ("a", "'a'"),
        (1.5, "1.5"),
        ([], "a list of 0"),
        ({"a": 1}, "an object of 1"),
        ("x" * 99, "'" + "x" * 56 + "…"),
    ],
)
def test_a_value_is_shown_short(value: object, text: str) -> None:
    assert shorten(value) == text


@pytest.mark.parametrize(
    ("row", "repeats"),
    [
        (b'{"a":1,"b":2}', False),
        (b'{"a":1,"a":2}', True),
        (b'{"a" : 1, "a" : 2}', True),
        (b'{"a" : 1, "b" : 2}', False),
        (b'[{"a":1},{"a":1}]', False),
        (b'{"a":{"b":1,"b":{"c":1}}}', True),
        (b'{"text":"it says \\":\\": twice","x":1}', False),
        # Each quote that is written so stands for one more in what is written anew; two hide those of a lost key.
        (b'{"a":"\\u0022:","b":1,"b":2}', True),
        (b'{"a":"\\u0022\\u0022","b":1,"b":2}', True),
        (b'{"a":"\\u0022\\u0022","b":2}', False),
        (b'{"a":1,"b":"x"} \n', False),
        (b'{"a":1}{"a":1}', False),
        (b'{"a":NaN,"a":1}', True),
        (b'{"a":1,"\\u0061":2}', True),
        (b'{"a":1', False),
    ],
)
def test_a_key_that_stands_twice_is_seen_however_it_is_written(row: bytes, repeats: bool) -> None:
    assert repeats_key(row) is repeats

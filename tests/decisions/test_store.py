"""The store: added to and never changed, whole or not at all, by several at once; the same in both databases."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from notus.core.errors import ConfigError, InputError, RunError
from notus.decisions.database import is_url, without_password
from notus.decisions.ruling import Ruling, in_force
from notus.decisions.store import open_store


def on(target, what="drop", who="ana", **more):
    return Ruling(target=target, of="pair", what=what, who=who, **more)


def test_what_is_added_is_there_whole_in_order_and_with_its_time(place):
    with open_store(place, create=True) as store:
        first = store.add(
            [on("a", why="no answer\0'); DROP TABLE rulings; --"), on("b", "swap", reasons=("reversed",))]
        )
        second = store.add([on("a", "keep", "ben", when="2026-01-02T03:04:05+00:00")])
        assert store.add([]) == []
        assert [each.number for each in (*first, *second)] == [1, 2, 3]
        assert first[0].when.startswith("20")
        assert first[0].when.endswith("+00:00")
        assert second[0].when == "2026-01-02T03:04:05+00:00"
    with open_store(place) as store:
        assert list(store.rulings()) == [*first, *second]
        assert list(store.rulings(after=2)) == second
        assert store.on("a") == [first[0], second[0]]
        assert store.last == 3
    with open_store(place, read_only=True) as store:
        assert list(store.rulings()) == [*first, *second]


def test_undo_and_redo(place):
    with open_store(place, create=True) as store:
        store.add([on("a", "keep"), on("a", "drop"), on("b", "swap")])
        (undo,) = store.undo([2], "ben")
        assert (undo.number, undo.undoes, undo.target, undo.who) == (4, 2, "a", "ben")
        assert [(each.target, each.what) for each in in_force(store.rulings())] == [("a", "keep"), ("b", "swap")]
        with pytest.raises(InputError, match="decision 2 was taken back already, by 4"):
            store.undo([2], "ana")
        store.undo([4], "ana")  # redo: it counts again, at its own place
        assert [(each.number, each.what) for each in in_force(store.rulings())] == [(2, "drop"), (3, "swap")]
        assert [each.undoes for each in store.undo([1, 2, 3], "ana")] == [3, 2, 1]
        assert in_force(store.rulings()) == []
        assert [each.undoes for each in store.undo([6, 7, 8], "ana")] == [8, 7, 6]
        assert [each.number for each in in_force(store.rulings())] == [2, 3]
        with pytest.raises(InputError, match="has no decision 99; 'notus decide list'"):
            store.undo([1, 99], "ana")
        assert store.last == 11


def test_what_can_be_done_to_no_record_is_refused_whole(place):
    bad = {
        "only the two answers of a pair": Ruling(target="x", of="row", what="swap", who="ana"),
        "decide on the completion": Ruling(target="x", of="pair", what="set-score", who="ana", field="a", value=1.0),
        "'field' is empty": Ruling(target="x", of="completion", what="set-score", who="ana", value=1.0),
        "is no score": Ruling(target="x", of="completion", what="set-score", who="a", field="h", value=float("nan")),
        "is no text of a pair; one of: prompt, chosen, rejected": on("x", "edit", field="answer", value="t"),
        "must be the new text": on("x", "edit", field="chosen", value=""),
        "'who' is empty": on("x", who=" "),
        "'undoes' must be the number": on("x", "undo"),
        "there is no decision 7 before this one": on("x", "undo", undoes=7),
        "not UTF-8": on("x", why="\ud800"),
        "NUL": on("x", who="a\0b"),
    }
    with open_store(place, create=True) as store:
        store.add([on("before")])
        for told, each in bad.items():
            with pytest.raises(InputError, match=told):
                store.add([on("fine"), each])
        assert [each.target for each in store.rulings()] == ["before"]


def test_rulings_of_another_store_are_numbered_anew_with_their_undos(place, tmp_path):
    with open_store(tmp_path / "other.sqlite", create=True) as other:
        other.add([on("a"), on("b")])
        other.undo([1], "ana")
        moved = list(other.rulings())
    with open_store(place, create=True) as store:
        store.add([on("z"), on("y")])
        assert [(each.number, each.undoes) for each in store.add(moved)] == [(3, 0), (4, 0), (5, 3)]
        assert [each.target for each in in_force(store.rulings())] == ["z", "y", "b"]
        with pytest.raises(InputError, match="no decision 1 before"):
            store.add(moved[2:])  # an undo without what it takes back


def test_several_writers_leave_no_gap_and_no_number_twice(place):
    """Eight threads over two connections: what is numbered next is decided under the database's own lock."""
    stores = [open_store(place, create=True) for _ in range(2)]
    given: dict[str, list[int]] = {}

    def write(number):
        name = f"w{number}"
        for batch in range(5):
            added = stores[number % 2].add(
                [on(f"{name}-{batch}-{each}", who=name, batch=f"{batch}") for each in range(4)]
            )
            given.setdefault(name, []).extend(each.number for each in added)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    held = list(stores[0].rulings())
    assert [each.number for each in held] == list(range(1, 161))
    for name, numbers in given.items():
        assert [each.number for each in held if each.who == name] == numbers
        for first in range(0, 20, 4):  # a batch stands together
            assert numbers[first : first + 4] == list(range(numbers[first], numbers[first] + 4))
    for each in stores:
        each.close()


_PROCESS = """
import sys
from notus.decisions.ruling import Ruling
from notus.decisions.store import open_store
with open_store(sys.argv[1], create=True) as store:
    print("open", flush=True)
    sys.stdin.readline()
    for each in range(25):
        store.add([Ruling(target=f"{sys.argv[2]}-{each}", of="pair", what="drop", who=sys.argv[2])])
"""


def start(code, *arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )


def test_several_processes_make_it_and_write_at_once(place):
    processes = [start(_PROCESS, place, f"p{number}") for number in range(3)]  # all of them make it
    for each in processes:
        assert each.stdout.readline() == "open\n"
    for each in processes:
        each.stdin.write("go\n")
        each.stdin.flush()
    assert [each.wait(120) for each in processes] == [0, 0, 0]
    for each in processes:
        each.stdin.close()
        each.stdout.close()
    with open_store(place) as store:
        held = list(store.rulings())
    assert [each.number for each in held] == list(range(1, 76))
    assert {each.target for each in held} == {f"p{number}-{each}" for number in range(3) for each in range(25)}


_BULK = """
import sys, time
from notus.decisions.ruling import Ruling
from notus.decisions.store import open_store
with open_store(sys.argv[1]) as store:
    print("open", flush=True)
    store.add([Ruling(target=f"t{each}", of="pair", what="drop", who="bulk", batch="b", why="w" * 300)
               for each in range(10_000)])
    print("added", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
def test_a_bulk_that_is_killed_is_there_whole_or_not_at_all(place):
    """SIGKILL at moments all through a bulk of 10,000, and right behind it; what was there before is untouched."""
    with open_store(place, create=True) as store:
        before = store.add([on(f"old{each}") for each in range(100)])
    whole, seen = 100, []
    for moment in (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, None):
        process = start(_BULK, place)
        assert process.stdout.readline() == "open\n"
        if moment is None:
            assert process.stdout.readline() == "added\n"
        else:
            threading.Event().wait(moment)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        process.stdin.close()
        process.stdout.close()
        with open_store(place) as store:
            held = list(store.rulings())
        seen.append(len(held) - whole)
        assert seen[-1] in (0, 10_000)
        assert held[:100] == before
        assert [each.number for each in held] == list(range(1, len(held) + 1))
        whole = len(held)
    assert seen[0] == 0
    assert seen[-1] == 10_000
    with open_store(place) as store:
        assert store.add([on("after")])[0].number == whole + 1


def test_no_line_can_be_changed_or_deleted_in_sqlite(tmp_path):
    path = tmp_path / "d.sqlite"
    with open_store(path, create=True) as store:
        store.add([on("a")])
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    for statement in (
        "UPDATE rulings SET who = 'eve'",
        "DELETE FROM rulings",
        "REPLACE INTO rulings SELECT * FROM rulings",
    ):
        with pytest.raises(sqlite3.Error):
            raw.execute(statement)
    raw.close()


def test_no_line_can_be_changed_or_deleted_in_postgresql(new_database):
    import psycopg

    url = new_database()
    with open_store(url, create=True) as store:
        store.add([on("a")])
    with psycopg.connect(url, autocommit=True) as raw:
        for statement in ("UPDATE rulings SET who = 'eve'", "DELETE FROM rulings", "TRUNCATE rulings"):
            with pytest.raises(psycopg.Error, match="decisions are only added"):
                raw.execute(statement)


def test_what_is_no_store_is_told(tmp_path):
    missing = tmp_path / "none" / "d.sqlite"
    with pytest.raises(InputError, match="there is no store of decisions"):
        open_store(missing)
    assert not missing.parent.exists()
    with pytest.raises(InputError, match="is a folder; name the file"):
        open_store(tmp_path, create=True)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as raw:
        raw.execute("CREATE TABLE t(a)")
    raw.close()
    with pytest.raises(InputError, match="is a database, and no store of decisions"):
        open_store(other, create=True)
    text = tmp_path / "rows.jsonl"
    text.write_text('{"a": 1}\n' * 100)
    with pytest.raises(InputError, match=r"cannot open .*; is it a store of decisions"):
        open_store(text, create=True)
    assert text.read_text() == '{"a": 1}\n' * 100
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot open"):
        open_store(tmp_path / "file" / "d.sqlite", create=True)
    newer = tmp_path / "newer.sqlite"
    open_store(newer, create=True).close()
    with sqlite3.connect(newer) as raw:
        raw.execute("PRAGMA user_version = 9")
    raw.close()
    with pytest.raises(InputError, match="written by a newer Notus"):
        open_store(newer)


def test_a_damaged_file_is_told_and_not_added_to(tmp_path):
    path = tmp_path / "d.sqlite"
    with open_store(path, create=True) as store:
        store.add([on(f"t{each}", why="w" * 200) for each in range(500)])
    data = bytearray(path.read_bytes())
    for page in range(4096, len(data) - 4096, 4096):
        data[page : page + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"cannot (open|read) "), open_store(path) as store:
        list(store.rulings())
    half = tmp_path / "half.sqlite"
    half.write_bytes(bytes(data[: len(data) // 2]))
    with pytest.raises((InputError, RunError)), open_store(half) as store:
        list(store.rulings())


def test_a_file_that_is_removed_while_it_is_open_takes_no_decision(tmp_path):
    path = tmp_path / "d.sqlite"
    with open_store(path, create=True) as store:
        store.add([on("a")])
        for each in tmp_path.iterdir():
            each.unlink()
        with pytest.raises(RunError, match="was removed or replaced since it was opened"):
            store.add([on("b")])
        open_store(path, create=True).close()
        with pytest.raises(RunError, match="removed or replaced"):
            store.add([on("b")])


def test_a_store_is_read_where_nothing_can_be_written(tmp_path):
    folder = tmp_path / "shelf"
    with open_store(folder / "d.sqlite", create=True) as store:
        store.add([on("a")])
    left = {each.name for each in folder.iterdir()}
    with open_store(folder / "d.sqlite", read_only=True) as store:
        assert [each.target for each in store.rulings()] == ["a"]
        with pytest.raises(RunError, match="nothing was added"):
            store.add([on("b")])
    assert {each.name for each in folder.iterdir()} == left


def test_a_store_is_read_where_no_file_can_be_made_beside_it(tmp_path, monkeypatch):
    """As on a medium that is read-only: there is no WAL, and none can be made."""
    path = tmp_path / "d.sqlite"
    with open_store(path, create=True) as store:
        store.add([on("a")])
    monkeypatch.setattr(os, "access", lambda *_: False)
    with open_store(path, read_only=True) as store:
        assert [each.target for each in store.rulings()] == ["a"]
        with pytest.raises(RunError, match="nothing was added"):
            store.add([on("b")])


def test_readers_see_what_is_added_while_a_store_is_open(place):
    with open_store(place, create=True) as page, open_store(place) as other:
        page.add([on("a")])
        assert other.last == 1
        other.add([on("b")])
        assert [each.target for each in page.rulings(after=1)] == ["b"]


def test_a_ruling_of_a_newer_version_is_not_passed_over(tmp_path):
    path = tmp_path / "d.sqlite"
    with open_store(path, create=True) as store:
        store.add([on("a")])
    row = msgspec.json.encode(msgspec.to_builtins(on("b")) | {"number": 2, "mood": "fine"}).decode()
    raw = sqlite3.connect(path)
    with raw:
        raw.execute("INSERT INTO rulings VALUES (2, 'b', 'pair', 'drop', 'ana', '', '', 0, ?)", (row,))
    raw.close()
    with pytest.raises(InputError, match=r"cannot be read .*mood.*update Notus"), open_store(path) as store:
        list(store.rulings())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ana:secret@db/labels", "postgresql://ana:***@db/labels"),
        ("postgresql://ana:se@cr:et@db/labels?sslmode=require", "postgresql://ana:***@db/labels?sslmode=require"),
        ("postgresql:///labels?password=secret&host=db", "postgresql:///labels?host=db"),
        ("postgresql://ana@db/labels", "postgresql://ana@db/labels"),
        ("runs/decisions.sqlite", "runs/decisions.sqlite"),
    ],
)
def test_a_password_is_never_shown(url, shown):
    assert without_password(url) == shown


def test_urls(monkeypatch):
    assert is_url("postgresql://db/x")
    assert not is_url(str(Path("runs") / "x.sqlite"))
    with pytest.raises(ConfigError, match=r"mysql://ana:\*\*\*@db/x: a store of decisions is a file, or a database at"):
        open_store("mysql://ana:secret@db/x")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(InputError, match=r"pip install 'notus\[postgres\]'"):
        open_store("postgresql://db/x")


def test_a_server_that_is_not_there_and_a_database_without_decisions(new_database):
    with pytest.raises(InputError, match=r"cannot open postgresql://ana:\*\*\*@localhost:1/x.*: connection"):
        open_store("postgresql://ana:secret@localhost:1/x?connect_timeout=2")
    url = new_database()
    with pytest.raises(InputError, match="there is no store of decisions in postgresql://"):
        open_store(url)
    import psycopg

    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("CREATE TABLE rulings(a int)")
    with pytest.raises(InputError, match="has a table 'rulings' that is no store"):
        open_store(url, create=True)


def test_a_copy_of_the_file_alone_has_what_was_added_while_it_is_open(tmp_path):
    path, copy = tmp_path / "d.sqlite", tmp_path / "copy" / "d.sqlite"
    copy.parent.mkdir()
    with open_store(path, create=True) as store, open_store(path, read_only=True) as reader:
        for number in range(1, 31):
            store.add([on(f"t{number}")])
            assert reader.last == number
            copy.write_bytes(path.read_bytes())
            with open_store(copy, read_only=True) as copied:
                assert copied.last == number
        store.undo([30], "ana")
        copy.write_bytes(path.read_bytes())
        with open_store(copy) as copied:
            assert copied.last == 31


def test_a_copy_that_lacks_its_log_is_told_and_not_made_a_store(tmp_path):
    path, copy = tmp_path / "d.sqlite", tmp_path / "copy.sqlite"
    with sqlite3.connect(path, isolation_level=None) as raw:  # as a store that has put nothing into its file yet
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA application_id = 1315927108")
        raw.execute("CREATE TABLE rulings(number)")
        copy.write_bytes(path.read_bytes())
    raw.close()
    for read_only in (False, True):
        with pytest.raises(InputError, match=r"it is empty: .* what stands in copy\.sqlite-wal beside the original"):
            open_store(copy, read_only=read_only)
    with sqlite3.connect(copy) as raw:
        assert raw.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    raw.close()

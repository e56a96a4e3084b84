"""The store of decisions: append-only, one SQLite file (WAL), or a team's PostgreSQL.

    with open_store("decisions.sqlite", create=True) as store:
        store.add([Ruling(target=pair.id, of="pair", what="swap", who="ana")])
        store.undo([3], who="ana")
        in_force(store.rulings())

What ``add`` is given is in the store whole when it returns, or not at all; triggers refuse to change or delete a line.
It is then put from SQLite's log (the file ``…-wal`` beside it) into the file, so that a copy of that alone has it.
The same statements serve both databases. SQLite needs nothing but Python; a URL such as ``postgresql://…`` is opened
through SQLAlchemy (``decisions.postgres``). Several processes may write at once: numbers have no gaps, and whoever
reads up to a number misses nothing before it. Owns the table; which rulings count is owned by ``ruling``.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from notus.core.errors import InputError, RunError
from notus.decisions.database import CREATE, INDEX, Backend, Rows, Writing, is_url, without_password
from notus.decisions.ruling import Ruling, check_ruling, with_numbers

__all__ = ["Store", "is_store", "open_store"]

_APPLICATION = 0x4E6F7444
"""Tells a store of decisions from any other SQLite file (``PRAGMA application_id``)."""
_MAGIC = b"SQLite format 3\0"
_VERSION = 1
_BUSY_S = 60.0
_COLUMNS = ("number", "target", "of", "what", "who", "at", "batch", "undoes", "ruling")
_ADD = f"INSERT INTO rulings({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"  # noqa: S608
_LAST = "SELECT coalesce(max(number), 0) AS last FROM rulings"
_SINCE = "SELECT ruling FROM rulings WHERE number > :after ORDER BY number"
_ON = "SELECT ruling FROM rulings WHERE target = :target ORDER BY number"
_UNDOS = "SELECT number, undoes FROM rulings WHERE what = 'undo' ORDER BY number"


class Store:
    """An open store of decisions. Use it as a context manager; it may be used from several threads."""

    def __init__(self, place: str, backend: Backend) -> None:
        self.place = place
        """Its path or URL, without a password."""
        self._backend = backend

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; all that was added is in it."""
        self._backend.close()

    def add(self, rulings: Sequence[Ruling]) -> list[Ruling]:
        """Add rulings, all of them or none; they are on the disk when this returns, as they come back: numbered.

        Those that bring a number are numbered anew, and their ``undo`` with them.

        Raises:
            InputError: if one can be done to no record (``check_ruling``), or takes back what is not there.
            RunError: if it cannot be written.
        """
        if not rulings:
            return []
        for each in rulings:
            check_ruling(each)
        with self._backend.write() as writing:
            return self._add(writing, rulings)

    def undo(self, numbers: Iterable[int], who: str) -> list[Ruling]:
        """Take rulings back by their numbers; to take an undo back is to redo. The last is taken back first.

        What is taken back already is left so, and is not among what is returned.

        Raises:
            InputError: if there is no such ruling, or all of them are taken back already.
        """
        wanted = set(numbers)
        with self._backend.write() as writing:
            found = [each for each in self._decoded(writing.rows(_SINCE, {"after": 0})) if each.number in wanted]
            if missing := wanted - {each.number for each in found}:
                raise InputError(f"{self.place} has no decision {min(missing)}; 'notus decide list' shows them")
            gone = _undone(writing.rows(_UNDOS, {}))
            open_ = [each for each in reversed(found) if each.number not in gone]
            if found and not open_:
                first = found[0].number
                raise InputError(f"decision {first} was taken back already, by {gone[first]}; undo that to redo it")
            undos = [
                Ruling(target=each.target, of=each.of, what="undo", who=who, undoes=each.number, batch=each.batch)
                for each in open_
            ]
            for each in undos:
                check_ruling(each)
            return self._add(writing, undos) if undos else []

    def rulings(self, after: int = 0) -> Iterator[Ruling]:
        """All rulings with a number above ``after``, in their order, with what is undone."""
        yield from self._decoded(self._backend.rows(_SINCE, {"after": after}))

    def on(self, target: str) -> list[Ruling]:
        """All rulings on a target, in their order."""
        return list(self._decoded(self._backend.rows(_ON, {"target": target})))

    @property
    def last(self) -> int:
        """The number of the last ruling; 0 without one. What has changed since is ``rulings(after=…)``."""
        return int(self._backend.rows(_LAST, {})[0][0])

    def _add(self, writing: Writing, rulings: Sequence[Ruling]) -> list[Ruling]:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        numbered = with_numbers(rulings, int(writing.rows(_LAST, {})[0][0]) + 1, now)
        writing.add(_ADD, [_row(each) for each in numbered])
        return numbered

    def _decoded(self, rows: Iterable[Any]) -> Iterator[Ruling]:
        for (text,) in rows:
            try:
                yield msgspec.json.decode(text, type=Ruling)
            except (msgspec.DecodeError, ValueError) as error:
                raise InputError(f"{self.place} holds a decision that cannot be read ({error}); update Notus") from None


def open_store(place: str | Path, *, create: bool = False, read_only: bool = False) -> Store:
    """Open a store.

    Args:
        place: path of a SQLite file, or the URL of a database.
        create: whether to make it where it is missing.
        read_only: whether it is only read; a file then may lie where nothing can be written.

    Raises:
        InputError: if it is missing, damaged, or something else.
        ConfigError: if the URL is of a database that is not known.
        MissingExtraError: if a URL's library is not installed.
    """
    if is_url(str(place)):
        from notus.decisions.postgres import Postgres  # most stores are files

        return Store(without_password(str(place)), Postgres(str(place), create=create))
    return Store(str(place), _Sqlite(Path(place), create=create, read_only=read_only))


def is_store(path: Path) -> bool:
    """Whether a file is a SQLite file, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _undone(undos: Iterable[Any]) -> dict[int, int]:
    """Number of each ruling that is taken back → the number of the undo."""
    gone: dict[int, int] = {}
    for number, undoes in reversed(list(undos)):  # the last counts for sure, and decides on those before it
        if number not in gone:
            gone[undoes] = number
    return gone


def _row(ruling: Ruling) -> dict[str, Any]:
    values = (
        *(ruling.number, ruling.target, ruling.of, ruling.what, ruling.who, ruling.when, ruling.batch, ruling.undoes),
        msgspec.json.encode(ruling).decode(),
    )
    return dict(zip(_COLUMNS, values, strict=True))


class _Sqlite:
    """One file, and one connection that threads take in turn: enough for people's pace."""

    def __init__(self, path: Path, *, create: bool, read_only: bool) -> None:
        self._path, self._lock = path, threading.RLock()
        if path.is_dir():
            raise InputError(f"{path} is a folder; name the file of decisions in it")
        if not path.is_file() and (read_only or not create):
            raise InputError(f"there is no store of decisions {path}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _open_to_read(path) if read_only else _connect(path)
            try:
                self._prepare(path, create=create, read_only=read_only)
            except BaseException:
                self._connection.close()
                raise
            self._file = _identity(path)
        except sqlite3.Error as error:
            raise InputError(f"cannot open {path}: {error}; is it a store of decisions?") from None
        except OSError as error:
            raise InputError(f"cannot open {path}: {error.strerror or error}") from None

    def _prepare(self, path: Path, *, create: bool, read_only: bool) -> None:
        ask = self._ask
        if not read_only:
            _patiently(lambda: ask("PRAGMA journal_mode = WAL"))
            self._connection.execute("PRAGMA synchronous = FULL")
            with self.write():  # whoever opens it at the same time waits here, and then finds it made
                if create and not ask("SELECT count(*) FROM sqlite_master") and not ask("PRAGMA application_id"):
                    self._make()
        if ask("PRAGMA application_id") != _APPLICATION:
            way = "name another file"
            if not ask("SELECT count(*) FROM sqlite_master"):
                way = (
                    f"it is empty: a copy of an open store lacks what stands in {path.name}-wal beside the original; "
                    "copy both, or copy it when it is closed"
                )
            raise InputError(f"{path} is a database, and no store of decisions; {way}")
        if (version := ask("PRAGMA user_version")) > _VERSION:
            raise InputError(f"{path} was written by a newer Notus (version {version}); update to read it")

    def _make(self) -> None:
        self._connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        self._connection.execute(f"PRAGMA user_version = {_VERSION}")
        self._connection.execute(CREATE)
        self._connection.execute(INDEX)
        replaced = "WHEN EXISTS(SELECT 1 FROM rulings WHERE number = NEW.number)"  # REPLACE asks no trigger of DELETE
        for verb, when in (("UPDATE", ""), ("DELETE", ""), ("INSERT", replaced)):
            self._connection.execute(
                f"CREATE TRIGGER no_{verb.lower()} BEFORE {verb} ON rulings {when} "
                "BEGIN SELECT RAISE(ABORT, 'decisions are only added'); END"
            )

    def _ask(self, statement: str) -> Any:
        return self._connection.execute(statement).fetchone()[0]

    @contextmanager
    def write(self) -> Iterator["_Writing"]:
        """A transaction that nobody else writes in."""
        with self._lock:
            self._refuse_replaced()
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield _Writing(self._connection)
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise RunError(f"nothing was added to {self._path}: {error}") from None
                raise
            self._fold()

    def _fold(self) -> None:
        """Put what stands in the log into the file, as far as no reader needs it there; nobody is waited for."""
        with suppress(sqlite3.Error):  # it is on the disk already, and the next one that writes or closes tries again
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _refuse_replaced(self) -> None:
        """What is written to a file that was removed is lost with it."""
        if hasattr(self, "_file") and _identity(self._path) != self._file:
            raise RunError(f"{self._path} was removed or replaced since it was opened; open it again")

    def rows(self, statement: str, values: Mapping[str, Any]) -> Rows:
        """The rows of a query."""
        with self._lock:
            try:
                return self._connection.execute(statement, dict(values)).fetchall()
            except sqlite3.Error as error:
                raise InputError(f"cannot read {self._path}: {error}; take a copy that is whole") from None

    def close(self) -> None:
        """Close it."""
        with self._lock:
            with suppress(sqlite3.ProgrammingError):  # closed before
                if not self._connection.execute("PRAGMA query_only").fetchone()[0]:
                    self._fold()
            self._connection.close()


class _Writing:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, values: Mapping[str, Any]) -> Rows:
        return self._connection.execute(statement, dict(values)).fetchall()

    def add(self, statement: str, values: Sequence[Mapping[str, Any]]) -> None:
        self._connection.executemany(statement, [dict(each) for each in values])


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connect(place: str | Path, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(place, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, uri=uri)


def _open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that writes no decision; where nothing can be written, not even the files that readers share."""
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        connection = _connect(path)  # it takes those files away again, which one that only reads leaves behind
        connection.execute("PRAGMA query_only = ON")
        return connection
    address = path.resolve().as_uri()
    connection = _connect(f"{address}?mode=ro", uri=True)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(f"{path.name}-wal").exists():
            raise
        connection = _connect(f"{address}?immutable=1", uri=True)  # nothing is beside it, and nothing can be
    return connection


def _patiently(work: Callable[[], Any]) -> Any:
    """Do what SQLite may refuse at once while somebody else does the same, instead of waiting."""
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)

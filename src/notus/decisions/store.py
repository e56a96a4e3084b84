"""The store of decisions: append-only, one SQLite file (WAL), or a team's PostgreSQL.

    with open_store("decisions.sqlite", create=True) as store:
        store.add([Ruling(target=pair.id, of="pair", what="swap", who="ana")])
        store.undo([3], who="ana")
        in_force(store.rulings())

What ``add`` is given is in the store whole when it returns, or not at all; triggers refuse to change or delete a line.
The same statements serve both databases. SQLite needs nothing but Python; a URL such as ``postgresql://…`` is opened
through SQLAlchemy. Several processes may write at once. Owns the table; which rulings count is owned by ``ruling``.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from notus.core.errors import ConfigError, InputError
from notus.decisions.ruling import Ruling, with_numbers

__all__ = ["Store", "open_store"]

_APPLICATION = 0x4E6F7444
"""Tells a store of decisions from any other SQLite file (``PRAGMA application_id``)."""
_VERSION = 1
_BUSY_S = 60.0
_COLUMNS = ("number", "target", "of", "what", "who", "at", "batch", "undoes", "ruling")
_CREATE = """
CREATE TABLE IF NOT EXISTS rulings(
    number BIGINT PRIMARY KEY, target TEXT NOT NULL, of TEXT NOT NULL, what TEXT NOT NULL, who TEXT NOT NULL,
    at TEXT NOT NULL, batch TEXT NOT NULL, undoes BIGINT NOT NULL, ruling TEXT NOT NULL
)
"""
_INDEX = "CREATE INDEX IF NOT EXISTS rulings_by_target ON rulings(target)"
_ADD = f"INSERT INTO rulings({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"  # noqa: S608
_LAST = "SELECT coalesce(max(number), 0) AS last FROM rulings"
_SINCE = "SELECT ruling FROM rulings WHERE number > :after ORDER BY number"
_ON = "SELECT ruling FROM rulings WHERE target = :target ORDER BY number"


class _Backend(Protocol):
    """A database: one transaction for writing at a time, and rows of what is asked."""

    def write(self) -> Any:
        """A context manager that gives ``execute`` and ``executemany``, commits at its end, and rolls back."""
        ...

    def rows(self, statement: str, values: dict[str, Any]) -> list[Any]:
        """The rows of a query."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Store:
    """An open store of decisions. Use it as a context manager; it may be used from several threads."""

    def __init__(self, place: str, backend: _Backend) -> None:
        self.place = place
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
        """Add rulings, all of them or none; they are on the disk when this returns, as they come back: numbered."""
        if not rulings:
            return []
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._backend.write() as connection:
            last = next(iter(connection.execute(_LAST, {})))[0]
            numbered = with_numbers(rulings, int(last) + 1, now)
            connection.executemany(_ADD, [_row(each) for each in numbered])
        return numbered

    def undo(self, numbers: Iterable[int], who: str) -> list[Ruling]:
        """Take rulings back by their numbers; to take an undo back is to redo.

        Raises:
            InputError: if there is no such ruling.
        """
        wanted = set(numbers)
        found = [each for each in self.rulings() if each.number in wanted]
        if missing := wanted - {each.number for each in found}:
            raise InputError(f"{self.place} has no decision {min(missing)}; 'notus decide list' shows them")
        return self.add(
            [
                Ruling(target=each.target, of=each.of, what="undo", who=who, undoes=each.number, batch=each.batch)
                for each in reversed(found)
            ]
        )

    def rulings(self, after: int = 0) -> Iterator[Ruling]:
        """All rulings with a number above ``after``, in their order, with what is undone."""
        for (text,) in self._backend.rows(_SINCE, {"after": after}):
            yield msgspec.json.decode(text, type=Ruling)

    def on(self, target: str) -> list[Ruling]:
        """All rulings on a target, in their order."""
        return [msgspec.json.decode(text, type=Ruling) for (text,) in self._backend.rows(_ON, {"target": target})]


def open_store(place: str | Path, *, create: bool = False) -> Store:
    """Open a store.

    Args:
        place: path of a SQLite file, or the URL of a database.
        create: whether to make it where it is missing.

    Raises:
        InputError: if it is missing, damaged, or something else.
        ConfigError: if a URL's library is not installed.
    """
    if "://" in str(place):
        raise ConfigError(f"{place}: databases by URL come with decisions.postgres")  # replaced by its builder
    return Store(str(place), _Sqlite(Path(place), create=create))


def _row(ruling: Ruling) -> dict[str, Any]:
    values = (
        *(ruling.number, ruling.target, ruling.of, ruling.what, ruling.who, ruling.when, ruling.batch, ruling.undoes),
        msgspec.json.encode(ruling).decode(),
    )
    return dict(zip(_COLUMNS, values, strict=True))


class _Sqlite:
    """One file; a connection for each thread would be possible, but one that is locked is enough for people's pace."""

    def __init__(self, path: Path, *, create: bool) -> None:
        if not create and not path.is_file():
            raise InputError(f"there is no store of decisions {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._prepare(path)
        except sqlite3.Error as error:
            raise InputError(f"cannot open {path}: {error}; is it a store of decisions?") from None

    def _prepare(self, path: Path) -> None:
        def ask(pragma: str) -> Any:
            return self._connection.execute(f"PRAGMA {pragma}").fetchone()[0]

        application, version = ask("application_id"), ask("user_version")
        empty = not self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not empty and application != _APPLICATION:
            self._connection.close()
            raise InputError(f"{path} is a database, and no store of decisions; name another file")
        if version > _VERSION:
            self._connection.close()
            raise InputError(f"{path} was written by a newer Notus; update to read it")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        if empty:
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")
            self._connection.execute(_CREATE)
            self._connection.execute(_INDEX)
            for verb in ("UPDATE", "DELETE"):
                self._connection.execute(
                    f"CREATE TRIGGER IF NOT EXISTS no_{verb.lower()} BEFORE {verb} ON rulings "
                    "BEGIN SELECT RAISE(ABORT, 'decisions are only added'); END"
                )

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def rows(self, statement: str, values: dict[str, Any]) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        self._connection.close()

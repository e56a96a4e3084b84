"""A team's store: PostgreSQL, through SQLAlchemy and psycopg (``pip install 'notus[postgres]'``).

    open_store("postgresql://ana@db.example.org/labels")

Passwords belong into ``~/.pgpass`` or ``PGPASSWORD``, which psycopg reads; one in the URL is never shown or kept. Who
writes holds a lock on the table, so that numbers have no gaps and come in the order of the commits; who reads is never
held up. Owns the connection and the table's making; the statements are those of ``decisions.store``.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from notus.core.errors import ConfigError, InputError, RunError, require
from notus.decisions.database import CREATE, INDEX, without_password

__all__ = ["Postgres"]

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_MARK = "notus decisions, version 1"
"""Tells our table from another of the same name: its comment."""
_MAKING = 0x4E6F7444
"""Number of the advisory lock under which the table is made."""
_THERE = "SELECT obj_description(to_regclass('rulings'), 'pg_class'), to_regclass('rulings') IS NOT NULL"
_REFUSE = """
CREATE OR REPLACE FUNCTION rulings_are_only_added() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'decisions are only added'; END $$
"""
_TRIGGER = """
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON rulings
FOR EACH STATEMENT EXECUTE FUNCTION rulings_are_only_added()
"""


class Postgres:
    """A database on a server.

    Raises:
        ConfigError: if the URL is of another database.
        InputError: if the server cannot be reached, or holds no decisions and none are to be made there.
        MissingExtraError: if SQLAlchemy or psycopg is not installed.
    """

    def __init__(self, url: str, *, create: bool) -> None:
        self._place = without_password(url)
        scheme, _, rest = url.partition("://")
        if scheme not in _SCHEMES:
            raise ConfigError(f"{self._place}: a store of decisions is a file, or a database at postgresql://…")
        sqlalchemy = require("sqlalchemy", extra="postgres")
        require("psycopg", extra="postgres")
        self._text, self._error = sqlalchemy.text, sqlalchemy.exc.SQLAlchemyError
        try:
            self._engine = sqlalchemy.create_engine(f"postgresql+psycopg://{rest}", pool_pre_ping=True)
            try:
                self._prepare(create=create)
            except BaseException:
                self._engine.dispose()
                raise
        except self._error as error:
            raise InputError(f"cannot open {self._place}: {_first_line(error)}") from None

    def _prepare(self, *, create: bool) -> None:
        with self._engine.begin() as connection:
            connection.execute(self._text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MAKING})
            mark, there = connection.execute(self._text(_THERE)).one()
            if there and mark != _MARK:
                raise InputError(
                    f"{self._place} has a table 'rulings' that is no store of decisions of this version; name another "
                    "database"
                )
            if not there:
                if not create:
                    raise InputError(f"there is no store of decisions in {self._place}")
                for statement in (CREATE, INDEX, f"COMMENT ON TABLE rulings IS '{_MARK}'", _REFUSE, _TRIGGER):
                    connection.execute(self._text(statement))

    @contextmanager
    def write(self) -> Iterator["_Writing"]:
        """A transaction that nobody else writes in."""
        try:
            with self._engine.begin() as connection:
                connection.execute(self._text("LOCK TABLE rulings IN EXCLUSIVE MODE"))  # others may read meanwhile
                yield _Writing(connection, self._text)
        except self._error as error:
            raise RunError(f"nothing was added to {self._place}: {_first_line(error)}") from None

    def rows(self, statement: str, values: Mapping[str, Any]) -> list[Any]:
        """The rows of a query."""
        try:
            with self._engine.connect() as connection:
                return list(connection.execute(self._text(statement), dict(values)).all())
        except self._error as error:
            raise InputError(f"cannot read {self._place}: {_first_line(error)}") from None

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()


class _Writing:
    def __init__(self, connection: Any, text: Any) -> None:
        self._connection, self._text = connection, text

    def rows(self, statement: str, values: Mapping[str, Any]) -> list[Any]:
        return list(self._connection.execute(self._text(statement), dict(values)).all())

    def add(self, statement: str, values: Sequence[Mapping[str, Any]]) -> None:
        self._connection.execute(self._text(statement), [dict(each) for each in values])


def _first_line(error: Exception) -> str:
    """What the server said; what SQLAlchemy adds are statements and links."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__

"""What the databases of decisions have in common: the table, what is asked of a database, and how its place is shown.

Owns the statements that make the table, and nothing that opens one: see ``decisions.store`` for a file, and
``decisions.postgres`` for a server.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

__all__ = ["CREATE", "INDEX", "Backend", "Rows", "Writing", "is_url", "without_password"]

CREATE = """
CREATE TABLE IF NOT EXISTS rulings(
    number BIGINT PRIMARY KEY, target TEXT NOT NULL, of TEXT NOT NULL, what TEXT NOT NULL, who TEXT NOT NULL,
    at TEXT NOT NULL, batch TEXT NOT NULL, undoes BIGINT NOT NULL, ruling TEXT NOT NULL
)
"""
INDEX = "CREATE INDEX IF NOT EXISTS rulings_by_target ON rulings(target)"
Rows = list[Any]


class Writing(Protocol):
    """An open transaction: nobody else writes meanwhile."""

    def rows(self, statement: str, values: Mapping[str, Any]) -> Rows:
        """The rows of a query."""
        ...

    def add(self, statement: str, values: Sequence[Mapping[str, Any]]) -> None:
        """Add rows."""
        ...


class Backend(Protocol):
    """A database: one transaction for writing at a time, and rows of what is asked."""

    def write(self) -> AbstractContextManager[Writing]:
        """A transaction: it commits at its end, and takes all back at an error."""
        ...

    def rows(self, statement: str, values: Mapping[str, Any]) -> Rows:
        """The rows of a query."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


def is_url(place: str) -> bool:
    """Whether a place is the URL of a database, and no path."""
    return "://" in place


def without_password(place: str) -> str:
    """A URL as it may be shown and kept: without the password; a path as it is."""
    scheme, mark, rest = place.partition("://")
    if not mark:
        return place
    before, at, host = rest.rpartition("@")
    user, colon, _ = before.partition(":")
    shown = f"{scheme}://{user}{':***' if colon else ''}{at}{host}"
    address, question, query = shown.partition("?")
    kept = "&".join(each for each in query.split("&") if each and not each.lower().startswith("password="))
    return address + (f"{question}{kept}" if kept else "")

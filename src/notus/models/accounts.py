"""The accounts of a ledger: what was asked and paid, by model and step; its export; and its pruning.

Owns the questions that people put to a ledger. What is in it is the business of ``ledger``.
"""

import json
from pathlib import Path
from typing import Any

from notus.core.errors import InputError, nearest
from notus.core.records import Record
from notus.core.run import atomic
from notus.models.ledger import Ledger

__all__ = ["Account", "Accounts", "Pruned", "export", "prune", "read_accounts"]


class Account(Record, frozen=True):
    """What one model did for one step."""

    model: str
    step: str
    replies: int
    failures: int
    estimated: int
    """Replies whose tokens the server did not count."""
    tokens_in: int
    tokens_out: int
    price: float | None
    """None when no entry has one."""
    attempts: int


class Accounts(Record, frozen=True):
    """The accounts of a ledger."""

    accounts: tuple[Account, ...]
    failures: dict[str, int]
    """Kind → entries that have no reply."""
    price: float | None
    unpriced: int
    """Entries that came from an endpoint without prices; the price does not hold them."""


class Pruned(Record, frozen=True):
    """What a pruning has removed, or would remove."""

    entries: int
    replies: int
    price: float | None
    """What the replies had cost, and would cost again."""
    done: bool


def read_accounts(ledger: Ledger) -> Accounts:
    """Sum up a ledger."""
    rows = ledger.query(
        "SELECT model, step, sum(kind = ''), sum(kind != ''), sum(estimated), sum(tokens_in), sum(tokens_out), "
        "sum(price), sum(attempts) FROM entries GROUP BY model, step ORDER BY model, step"
    )
    kinds = ledger.query("SELECT kind, count(*) FROM entries WHERE kind != '' GROUP BY kind ORDER BY 2 DESC, 1")
    price, unpriced = ledger.query("SELECT sum(price), coalesce(sum(price IS NULL), 0) FROM entries")[0]
    return Accounts(
        accounts=tuple(Account(**dict(zip(Account.__struct_fields__, row, strict=True))) for row in rows),
        failures=dict(kinds),
        price=price,
        unpriced=unpriced,
    )


def export(ledger: Ledger, path: Path) -> int:
    """Write all entries as JSON lines, in the order in which they came; say how many."""
    names = "key, model, step, kind, final, detail, request, answer, raw, estimated, latency, at"
    sql = f"SELECT {names}, tokens_in, tokens_out, attempts, price FROM entries ORDER BY id"  # noqa: S608
    fields = [name.strip() for name in f"{names}, tokens_in, tokens_out, attempts, price".split(",")]
    count = 0
    try:
        with atomic(path) as file:
            for row in ledger.rows(sql):
                entry: dict[str, Any] = dict(zip(fields, row, strict=True))
                entry |= {"key": row[0].hex(), "final": bool(entry["final"]), "estimated": bool(entry["estimated"])}
                entry["request"] = json.loads(entry["request"])
                entry["answer"] = json.loads(entry["answer"]) if entry["answer"] else None
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                count += 1
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    return count


def prune(ledger: Ledger, what: str, *, yes: bool = False) -> Pruned:
    """Remove entries, so that they are asked again; without ``yes`` only say what would go.

    Args:
        ledger: the ledger.
        what: ``failures``, ``kind=…`` (a kind of failure), ``model=…``, ``step=…`` or ``key=…``.
        yes: do it.

    Raises:
        InputError: if it is none of these, or names nothing that is there.
    """
    name, _, value = what.partition("=")
    known = {"failures": "kind != ''", "kind": "kind = ?", "model": "model = ?", "step": "step = ?", "key": "key = ?"}
    if name not in known or bool(value) == (name == "failures"):
        raise InputError(
            f"--prune {what!r} is none of failures, kind=KIND, model=MODEL, step=STEP, key=KEY; {nearest(name, known)}"
        )
    where, parameters = known[name], ([_value(ledger, name, value)] if value else [])
    sql = f"SELECT count(*), coalesce(sum(kind = ''), 0), sum(price) FROM entries WHERE {where}"  # noqa: S608
    entries, replies, price = ledger.query(sql, parameters)[0]
    if yes:
        ledger.delete(where, parameters)
    return Pruned(entries=entries, replies=replies, price=price, done=yes)


def _value(ledger: Ledger, name: str, value: str) -> str | bytes:
    if name == "key":
        try:
            return bytes.fromhex(value)
        except ValueError:
            raise InputError(f"--prune key={value}: a key has 32 hexadecimal digits") from None
    there = {row[0] for row in ledger.query(f"SELECT DISTINCT {name} FROM entries")}  # noqa: S608
    if value not in there:
        raise InputError(f"the ledger has no {name} '{value}'; {nearest(value, there - {''})}")
    return value

"""The ledger: what was asked of models, what they answered, what it cost. What is in it is never asked again.

Owns one SQLite file (WAL) with an entry for each request key, the claims of those who are about to ask, the usage that
it sums up to by model and step, its export and its pruning. An entry is in the file as soon as ``put`` returns, and is
found again after the process was killed; only a loss of power may take the last commits with it, and then leaves the
file whole (``synchronous=NORMAL``, https://www.sqlite.org/pragma.html#pragma_synchronous). SQLite keeps no checksum of
what it holds, so each entry has one of its own: an answer in which a bit has changed is named, and not read.

Several processes of one machine may use a ledger at once; a network file system cannot hold one. Who is about to ask a
request claims its key, and whoever finds a claim waits for the answer. What is asked twice is therefore at most what
was under way when a process was killed: nobody can know whether it was answered.

Does not own the key of a request (``llm.protocol``).
"""

import fcntl
import json
import os
import queue
import secrets
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from notus.core.disk.named import check_named_file
from notus.core.errors import InputError, NotusError, RunError, nearest, system_error
from notus.core.records import Record
from notus.core.run import atomic
from notus.core.text import one_line
from notus.llm.errors import RULES
from notus.llm.protocol import Failure, Outcome, Reply, Request, Token

__all__ = ["Entry", "Ledger", "ModelUsage", "Pruned", "Usage", "Writer", "export", "prune", "read_usage"]

Entry = tuple[Request, Outcome]
"""A request with its outcome."""
_APPLICATION = 0x4E6F7475
"""Tells a ledger from any other SQLite file (``PRAGMA application_id``)."""
_VERSION = 1
_SCHEMA = """
CREATE TABLE entries(
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, model TEXT NOT NULL, step TEXT NOT NULL,
    kind TEXT NOT NULL, final INTEGER NOT NULL, detail TEXT NOT NULL, request TEXT NOT NULL, answer TEXT NOT NULL,
    raw TEXT NOT NULL, estimated INTEGER NOT NULL, latency REAL NOT NULL, at REAL NOT NULL,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, attempts INTEGER NOT NULL, price REAL, crc INTEGER
) STRICT
"""
_COLUMNS = (
    *("key", "model", "step", "kind", "final", "detail", "request", "answer", "raw", "estimated", "latency", "at"),
    *("tokens_in", "tokens_out", "attempts", "price", "crc"),
)
_CLAIMS = "CREATE TABLE IF NOT EXISTS claims(key BLOB PRIMARY KEY, owner TEXT NOT NULL) STRICT, WITHOUT ROWID"
_KEPT, _SUMMED = (*_COLUMNS[1:12], "crc"), _COLUMNS[12:15]
# A reply stays as it is; a failure gives way to what came later; what was paid adds up in either case.
_PUT = f"""
INSERT INTO entries({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))})
ON CONFLICT(key) DO UPDATE SET
{", ".join(f"{name} = iif(entries.kind = '', entries.{name}, excluded.{name})" for name in _KEPT)},
{", ".join(f"{name} = entries.{name} + excluded.{name}" for name in _SUMMED)},
price = iif(entries.price IS NULL, excluded.price, entries.price + coalesce(excluded.price, 0))
"""  # noqa: S608  names of columns, all of them above
_READ = (
    "key",
    "kind",
    "detail",
    "answer",
    "raw",
    "estimated",
    "latency",
    "tokens_in",
    "tokens_out",
    "attempts",
    "price",
    "crc",
)
_ENDINGS = ("", "-wal", "-shm", "-journal")
"""What stands behind a ledger's name in those of its files."""
_CHUNK = 1000
"""Keys of one query, and entries of one commit."""
_BUSY_S = 60.0
_SHOWN = 200
"""Characters of an error of SQLite's, which may quote what is damaged."""


class Ledger:
    """An open ledger. Use it as a context manager; it may be used from several threads.

    Args:
        path: the file; it is made if it is missing.
        must_exist: refuse to make one, where there is something to be read.

    Raises:
        InputError: if it cannot be opened, is damaged, or is something else.
    """

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self.path = path
        if must_exist and not path.is_file():
            raise InputError(f"there is no ledger {path}")
        self._lock = threading.Lock()
        self._read_lock = threading.Lock()
        with self.reading(), ExitStack() as opened:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One connection writes and one reads, so that a long look-up does not hold up what was answered.
            self._write = opened.enter_context(closing(self._connect()))
            self._read = opened.enter_context(closing(self._connect()))
            self._prepare()
            self._claims = _Claims(path.resolve(), self._write)
            opened.pop_all()  # from here on ``close`` closes them

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; all that was put in is there already. What was claimed and not answered is free again."""
        with self._lock, self._read_lock:
            if self._claims.any:
                with suppress(sqlite3.Error), self._transaction():  # others see by the lock that these are void
                    self._claims.give_up_all()
                self._claims.leave()
            self._read.close()
            self._write.close()

    def put(self, entries: Iterable[Entry]) -> None:
        """Write entries; they are in the file when this returns.

        A request that has a reply keeps it; tokens, price and attempts of a further one are added to its own.

        Raises:
            RunError: if the file cannot be written.
        """
        rows = [_row(request, outcome) for request, outcome in entries]
        with self._lock, self.reading(RunError), self._transaction():
            self._write.executemany(_PUT, rows)
            # In the same commit: who waits for a claim finds the answer, or may ask where there is none.
            self._claims.give_up(row[0] for row in rows)

    def find(self, keys: Iterable[str]) -> dict[str, Outcome]:
        """What is known for good of some keys: replies, and failures that are final. The others are left out."""
        found: dict[str, Outcome] = {}
        with self.reading():
            for row in self._select(_READ, keys):
                outcome = _outcome(row)
                found[outcome.key] = outcome
        return found

    def claim(self, keys: Sequence[str]) -> tuple[dict[str, Outcome], set[str]]:
        """Look keys up, and claim those that are to be asked: nobody else asks them until they are answered.

        A claim ends with ``put``, ``release``, or the end of this process.

        Returns:
            What is known for good, as ``find`` gives it, and the keys that another process is asking. All others are
            claimed.

        Raises:
            RunError: if the file cannot be written.
        """
        known, asked = self.find(keys), set[str]()
        new = (bytes.fromhex(key) for key in keys if key not in known)
        while chunk := list(islice(new, _CHUNK)):
            marks = ", ".join("?" * len(chunk))
            sql = f"SELECT {', '.join(_READ)} FROM entries WHERE final AND key IN ({marks})"  # noqa: S608
            with self._lock, self.reading(RunError), self._transaction():
                # Once more, behind the lock: an answer may have come since, and its claim gone.
                late = {row[0]: _outcome(row) for row in self._write.execute(sql, chunk)}
                asked |= {key.hex() for key in self._claims.take([key for key in chunk if key not in late])}
            known |= {key.hex(): outcome for key, outcome in late.items()}
        return known, asked

    def release(self, keys: Iterable[str]) -> None:
        """Give claims up: the keys will not be asked.

        Raises:
            RunError: if the file cannot be written.
        """
        with self._lock, self.reading(RunError), self._transaction():
            self._claims.give_up(bytes.fromhex(key) for key in keys)

    def missing(self, keys: Iterable[str]) -> Iterator[str]:
        """Those of the keys that are still to be asked, in their order."""
        keys = iter(keys)
        while chunk := list(islice(keys, _CHUNK)):
            known = {row[0].hex() for row in self._select(("key",), chunk)}
            yield from (key for key in chunk if key not in known)

    def request(self, key: str) -> Request | None:
        """The request that was asked under a key, without its tag, or None."""
        with self._read_lock, self.reading():
            row = self._read.execute("SELECT request FROM entries WHERE key = ?", (bytes.fromhex(key),)).fetchone()
            if row is None:
                return None
            request = _REQUEST.decode(msgspec.convert(row[0], str))
            if request.key != key:
                raise _DamagedEntryError(key)
            return request

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query on the table ``entries``."""
        with self._read_lock, self.reading():
            return self._read.execute(sql, parameters).fetchall()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The same, one by one, on a connection of its own: for what may not fit into memory."""
        with self.reading(), closing(self._connect()) as connection:
            yield from connection.execute(sql, parameters)

    def delete(self, where: str, parameters: Sequence[Any] = ()) -> int:
        """Remove the entries that a condition names, and say how many."""
        with self._lock, self.reading(RunError), self._transaction():
            return self._write.execute(f"DELETE FROM entries WHERE {where}", parameters).rowcount  # noqa: S608

    def _select(self, columns: Sequence[str], keys: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        keys = iter(keys)
        while chunk := [bytes.fromhex(key) for key in islice(keys, _CHUNK)]:
            marks = ", ".join("?" * len(chunk))
            sql = f"SELECT {', '.join(columns)} FROM entries WHERE final AND key IN ({marks})"  # noqa: S608
            yield from self.query(sql, chunk)

    def _connect(self) -> sqlite3.Connection:
        with ExitStack() as opened:
            connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            opened.callback(connection.close)
            connection.execute("PRAGMA busy_timeout = 60000")
            connection.execute("PRAGMA synchronous = NORMAL")
            opened.pop_all()
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._write.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._write.execute("ROLLBACK")
            raise
        self._write.execute("COMMIT")

    def _prepare(self) -> None:
        """Make the table in a new file, or check that the file is a ledger of this version."""
        if not self._read.execute("PRAGMA application_id").fetchone()[0]:
            with self._transaction():  # two processes may be here at once
                if not self._write.execute("PRAGMA application_id").fetchone()[0] and not self._tables():
                    self._write.execute(_SCHEMA)
                    self._write.execute(f"PRAGMA user_version = {_VERSION}")
                    self._write.execute(f"PRAGMA application_id = {_APPLICATION}")
        application = self._write.execute("PRAGMA application_id").fetchone()[0]
        version = self._write.execute("PRAGMA user_version").fetchone()[0]
        if application != _APPLICATION or "entries" not in self._tables():
            raise InputError(f"{self.path} is a SQLite file, and no ledger; name another file")
        if version != _VERSION:
            raise InputError(f"{self.path} is a ledger of version {version}, and this Notus reads version {_VERSION}")
        if "crc" not in self._columns():  # made before entries had checksums; those that it holds are read without
            with self._transaction():
                if "crc" not in self._columns():
                    self._write.execute("ALTER TABLE entries ADD COLUMN crc INTEGER")
        mode = self._write.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise InputError(f"{self.path}: its file system cannot hold a write-ahead log; put the ledger elsewhere")

    def _tables(self) -> set[str]:
        return {row[0] for row in self._write.execute("SELECT name FROM sqlite_master")}

    def _columns(self) -> set[str]:
        return {row[1] for row in self._write.execute("PRAGMA table_info(entries)")}

    @contextmanager
    def reading(self, kind: type[NotusError] = InputError) -> Iterator[None]:
        """Tell of a file that cannot be used, or is damaged, in one line.

        Args:
            kind: of the error, where the file cannot be used; one that is damaged is an ``InputError``.
        """
        try:
            yield
        except _DamagedEntryError as error:
            raise InputError(
                f"the ledger {self.path} is damaged: entry {error} is not what was written; "
                f"'notus ledger {self.path} --prune key={error} --yes' removes it, and it is asked again"
            ) from None
        except sqlite3.OperationalError as error:
            text = f"the ledger {self.path} cannot be used"
            raise system_error(error, text, self.path) or kind(f"{text}: {one_line(str(error), _SHOWN)}") from None
        except (sqlite3.DatabaseError, ValueError, msgspec.MsgspecError) as error:
            why = one_line(str(error), _SHOWN)
            raise InputError(
                f"{self.path} is damaged, or no ledger ({why}); keep it aside, and name another file"
            ) from None
        except OSError as error:
            text = f"the ledger {self.path} cannot be used"
            raise system_error(error, text, self.path) or kind(f"{text}: {error.strerror}") from None


class _DamagedEntryError(Exception):
    """An entry does not match its checksum; the text is its key."""


class _Claims:
    """The keys that processes are about to ask. All methods but ``leave`` are called within a transaction that writes.

    Whoever claims holds a lock on a file of its own beside the ledger, which the system releases when the process
    ends, however it ends: so a claim needs no clock, and a process number that was given out again misleads nobody.
    What a dead process had claimed is taken over.

    Args:
        path: the ledger's file, without links in it: all must look for the locks in one place.
        connection: the one that writes.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._owner = ""
        self._held: int | None = None

    @property
    def any(self) -> bool:
        """Whether anything was claimed here."""
        return self._held is not None

    def take(self, keys: Sequence[bytes]) -> set[bytes]:
        """Claim keys, and give those that another living process has claimed."""
        if not keys:
            return set()
        self._connection.execute(_CLAIMS)
        self._enter()
        insert = "INSERT OR IGNORE INTO claims(key, owner) VALUES (?, ?)"
        self._connection.executemany(insert, [(key, self._owner) for key in keys])
        marks = ", ".join("?" * len(keys))
        sql = f"SELECT key, owner FROM claims WHERE owner != ? AND key IN ({marks})"  # noqa: S608
        others = dict(self._connection.execute(sql, (self._owner, *keys)).fetchall())
        alive = {owner for owner in set(others.values()) if self._lives_or_is_buried(owner)}
        free = [key for key, owner in others.items() if owner not in alive]
        self._connection.executemany(insert, [(key, self._owner) for key in free])
        return others.keys() - free

    def give_up(self, keys: Iterable[bytes]) -> None:
        """Release claims that were made here."""
        if self._held is not None:
            rows = ((key, self._owner) for key in keys)
            self._connection.executemany("DELETE FROM claims WHERE key = ? AND owner = ?", rows)

    def give_up_all(self) -> None:
        """Release all claims that were made here."""
        self._connection.execute("DELETE FROM claims WHERE owner = ?", (self._owner,))

    def leave(self) -> None:
        """Give the lock back: what is still claimed here counts no longer."""
        if self._held is not None:
            self._file(self._owner).unlink(missing_ok=True)
            os.close(self._held)
            self._held = None

    def _enter(self) -> None:
        """Take a lock of one's own, and clear what killed processes left.

        All who make, try or remove such a file write to the ledger at that moment, so none is seen half made.
        """
        if self._held is not None:
            return
        begins = self._file("").name
        for file in [each for each in self._path.parent.iterdir() if each.name.startswith(begins)]:
            self._lives_or_is_buried(file.name.removeprefix(begins))
        self._owner = f"{os.getpid()}-{secrets.token_hex(4)}"
        held = os.open(self._file(self._owner), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
        self._held = held

    def _file(self, owner: str) -> Path:
        return self._path.with_name(f"{self._path.name}-asking-{owner}")

    def _lives_or_is_buried(self, owner: str) -> bool:
        """Whether an owner lives; if not, its claims and its file are removed."""
        with suppress(FileNotFoundError):
            tried = os.open(self._file(owner), os.O_RDWR)
            try:
                fcntl.flock(tried, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(tried)
        self._connection.execute("DELETE FROM claims WHERE owner = ?", (owner,))
        self._file(owner).unlink(missing_ok=True)
        return False


class Writer:
    """A thread that puts entries into a ledger, those that have come meanwhile in one commit.

    Args:
        ledger: where to.
        done: is called, in the thread, with the entries of each commit; or with an error, after which none is written.
    """

    def __init__(self, ledger: Ledger, done: Callable[[list[Entry], NotusError | None], None]) -> None:
        self._ledger = ledger
        self._done = done
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="notus-ledger", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Hand an entry over; it is written when ``done`` has been called with it."""
        self._queue.put(entry)

    def close(self) -> None:
        """Write what was handed over, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        failed: NotusError | None = None
        going_on = True
        while going_on:
            batch = [self._queue.get()]
            while len(batch) < _CHUNK and not self._queue.empty():
                batch.append(self._queue.get())
            going_on = None not in batch
            entries = [entry for entry in batch if entry is not None]
            if entries and failed is None:
                try:
                    self._ledger.put(entries)
                except NotusError as error:
                    failed = error
            if entries:
                self._done(entries, failed)


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was read of a raw reply."""

    texts: tuple[str, ...]
    finish: tuple[str, ...]
    logprobs: tuple[tuple[Token, ...], ...] | None = None


_ENCODER = msgspec.json.Encoder()
_STORED = msgspec.json.Decoder(_Stored)
_REQUEST = msgspec.json.Decoder(Request)


def _row(request: Request, outcome: Outcome) -> tuple[Any, ...]:
    if isinstance(outcome, Reply):
        answer = _ENCODER.encode(_Stored(outcome.texts, outcome.finish, outcome.logprobs)).decode()
        about = ("", 1, "", request.to_json(), answer, outcome.raw, int(outcome.estimated), outcome.latency_s)
    else:
        final = int(RULES[outcome.kind].then == "refuse") if outcome.kind in RULES else 0
        about = (outcome.kind, final, outcome.detail, request.to_json(), "", outcome.raw, 0, 0.0)
    paid = (outcome.tokens_in, outcome.tokens_out, outcome.attempts, outcome.price)
    key, (kind, _, detail, _, answer, raw, *_) = bytes.fromhex(outcome.key), about
    return (key, request.model.name, request.step, *about, time.time(), *paid, _crc(key, kind, detail, answer, raw))


def _crc(key: bytes, *texts: str) -> int:
    """Checksum of what an entry says: its key, kind, detail, answer and raw reply. What is summed up later is not in
    it, and the request is told by the key."""
    return zlib.crc32("\0".join(texts).encode("utf-8", "surrogatepass"), zlib.crc32(key))


def _check(crc: int | None, key: bytes, *texts: str) -> None:
    if crc is not None and crc != _crc(key, *texts):
        raise _DamagedEntryError(key.hex())


_ROW = tuple[bytes, str, str, str, str, int, float, int, int, int, float | None, int | None]
"""Types of ``_READ``: in a damaged file a value may have another."""
_WHOLE_ROW = tuple[
    bytes, str, str, str, int, str, str, str, str, int, float, float, int, int, int, float | None, int | None
]
"""Those of ``_COLUMNS``."""


def _outcome(row: Sequence[Any]) -> Outcome:
    key, kind, detail, answer, raw, estimated, latency, tokens_in, tokens_out, attempts, price, crc = msgspec.convert(
        row, _ROW
    )
    _check(crc, key, kind, detail, answer, raw)
    paid = {"tokens_in": tokens_in, "tokens_out": tokens_out, "attempts": attempts, "price": price, "stored": True}
    if kind:
        return Failure(key=key.hex(), kind=kind, detail=detail, raw=raw, **paid)
    try:
        read = _STORED.decode(answer)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise sqlite3.DatabaseError(f"an entry holds no reply: {error}") from None
    return Reply(
        key=key.hex(),
        texts=read.texts,
        finish=read.finish,
        logprobs=read.logprobs,
        raw=raw,
        estimated=bool(estimated),
        latency_s=latency,
        **paid,
    )


class ModelUsage(Record, frozen=True):
    """What one model was asked for one step, and what it cost."""

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


class Usage(Record, frozen=True, rename={"rows": "accounts"}):
    """What a ledger sums up to. In JSON ``rows`` is called ``accounts``, as it always was."""

    rows: tuple[ModelUsage, ...]
    """One for each model and step."""
    failures: dict[str, int]
    """Kind → entries that have no reply."""
    price: float | None
    unpriced: int
    """Entries that came from an endpoint without prices; the price does not include them."""


class Pruned(Record, frozen=True):
    """What was removed from a ledger, or would be."""

    entries: int
    replies: int
    price: float | None
    """What the replies had cost, and would cost again."""
    done: bool


def read_usage(ledger: Ledger) -> Usage:
    """Sum up a ledger by model and step."""
    rows = ledger.query(
        "SELECT model, step, sum(kind = ''), sum(kind != ''), sum(estimated), sum(tokens_in), sum(tokens_out), "
        "sum(price), sum(attempts) FROM entries GROUP BY model, step ORDER BY model, step"
    )
    kinds = ledger.query("SELECT kind, count(*) FROM entries WHERE kind != '' GROUP BY kind ORDER BY 2 DESC, 1")
    price, unpriced = ledger.query("SELECT sum(price), coalesce(sum(price IS NULL), 0) FROM entries")[0]
    return Usage(
        rows=tuple(ModelUsage(**dict(zip(ModelUsage.__struct_fields__, row, strict=True))) for row in rows),
        failures=dict(kinds),
        price=price,
        unpriced=unpriced,
    )


def export(ledger: Ledger, path: Path, *, force: bool = False) -> int:
    """Write all entries as JSON lines, in the order in which they came; say how many.

    Raises:
        InputError: if the file cannot be written, is there already (``force`` overwrites it), or belongs to the ledger
            itself, which is never overwritten.
    """
    places = (ledger.path, ledger.path.resolve())
    own = [place.with_name(f"{place.name}{ending}") for place in places for ending in _ENDINGS]
    check_named_file(path, force=force, never=own)
    sql = f"SELECT {', '.join(_COLUMNS)} FROM entries ORDER BY id"  # noqa: S608
    count = 0
    try:
        with atomic(path) as file:
            for row in ledger.rows(sql):
                with ledger.reading():
                    entry = _exported(row)
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                count += 1
    except OSError as error:
        text = f"cannot write {path}"
        raise system_error(error, text, path) or InputError(f"{text}: {error.strerror}") from None
    except UnicodeEncodeError as error:  # half a surrogate pair, which no server may send
        what = f"entry {count + 1:,} is no text: {error.reason}"
        raise InputError(f"the ledger {ledger.path} is damaged ({what}); keep it aside, and name another") from None
    return count


def _exported(row: Sequence[Any]) -> dict[str, Any]:
    entry: dict[str, Any] = dict(zip(_COLUMNS, msgspec.convert(row, _WHOLE_ROW), strict=True))
    _check(entry.pop("crc"), *(entry[name] for name in ("key", "kind", "detail", "answer", "raw")))
    entry |= {"key": entry["key"].hex(), "final": bool(entry["final"]), "estimated": bool(entry["estimated"])}
    entry["request"] = json.loads(entry["request"])
    entry["answer"] = json.loads(entry["answer"]) if entry["answer"] else None
    return entry


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

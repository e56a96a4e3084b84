"""Run directories: what a piece of work read, decided, made and dropped, so that it can be traced and repeated.

    config.json    the resolved config, nulls kept       inputs.json      path and hash of all that was read
    …              the outputs                           dropped.parquet  record, stage, reason, detail
    tally.json     what each stage took and gave         metrics.jsonl    numbers on the way
    log.txt        what happened, with times             manifest.json    last: digest, versions, machine, duration

A directory is re-entered knowingly. With the same config and inputs a finished run is left as it is and a broken one is
done again; with others it is refused, and the differing keys are named, unless nothing was made in it yet. The
manifest is written last, so a directory without one is never taken for a result. One process at a time works in a
directory: ``locked``.
"""

import fcntl
import hashlib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from notus.core.config import difference, digest_of
from notus.core.errors import InputError, RunError
from notus.core.stage import Tally
from notus.core.tables import write_table

__all__ = ["MANIFEST", "Run", "atomic", "hash_file", "locked", "read_json", "read_manifest", "write_json"]

MANIFEST = "manifest.json"
"""The file that makes a directory a finished run."""
_BEGUN = frozenset(["config.json", "inputs.json", "log.txt"])
_NOTHING_MADE = _BEGUN | {"quarantine.jsonl"}
"""All that a run leaves which was stopped before it made anything: another run may take its directory."""
_DIGITS = 16
"""Of a hash, which are compared and shown."""
_NOTED_VERSIONS = ("notus", "torch", "transformers", "tokenizers", "accelerate", "numpy", "pyarrow", "msgspec")


class Run:
    """One run directory, open for work. Use it as a context manager; the manifest is written when the block ends well.

    Args:
        path: the directory. It is made if it is missing.
        stage: what kind of work this is, for example ``audit``.
        config: the resolved config, as plain JSON values.
        inputs: name → hash of each thing that is read. What is listed here decides whether a result still holds.
        sources: name → where it lies, for the reader; the place does not count when inputs are compared.

    Raises:
        InputError: if the directory cannot be written, holds something else, or a run of another config or input.
    """

    def __init__(
        self,
        path: Path,
        *,
        stage: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.stage = stage
        self.config = {"stage": stage, **config}
        self.inputs = dict(inputs)
        self.sources = dict(sources or {})
        self.tallies: list[Tally] = []
        self.summary: dict[str, Any] = {}
        self._enter_directory()
        self.reused = self.finished

    @property
    def finished(self) -> bool:
        """True when the work of this directory is done, and nothing is left to do."""
        return (self.path / MANIFEST).is_file()

    @property
    def digest(self) -> str:
        """Hash of config and inputs: what the result depends on."""
        return digest_of({"config": self.config, "inputs": self.inputs})

    def tally(self, stage: str) -> Tally:
        """A new tally, whose counts and dropped records are written with the run."""
        tally = Tally(stage)
        self.tallies.append(tally)
        return tally

    def log(self, text: str) -> None:
        """Add a line to ``log.txt``."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}\n")

    def metric(self, **values: float | int | str | None) -> None:
        """Add a line to ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            # A loss that broke is NaN, which JSON does not have.
            finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}
            file.write(json.dumps(finite) + "\n")

    def note(self, **values: Any) -> None:
        """Keep figures that sum up the run; they are written into the manifest."""
        self.summary |= values

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        self.log(f"{self.stage}: started")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.log(f"{self.stage}: stopped by {type(error).__name__}: {error}")
            return
        dropped = [vars(item) for tally in self.tallies for item in tally.dropped]
        if dropped:
            write_table(self.path / "dropped.parquet", dropped)
        write_json(self.path / "tally.json", [tally.summary() for tally in self.tallies])
        self.log(f"{self.stage}: done")
        write_json(self.path / MANIFEST, self._manifest())

    def _manifest(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "digest": self.digest,
            "seed": self.config.get("seed"),
            "summary": self.summary,
            "duration_s": round(time.perf_counter() - self._started, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": _versions(),
            "machine": {"system": platform.platform(), "cpus": os.cpu_count()},
        }

    def _enter_directory(self) -> None:
        """Make the directory, or check that it belongs to this very run, and clear what a broken one left."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # What begins with a dot is a file that a kill left half-written, or the system's own.
            entries = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")}
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"{self.path} is a file; a run needs a directory, choose another with --out") from None
        except OSError as error:
            raise _unwritable(self.path, error) from None
        if entries and not _BEGUN <= entries <= _NOTHING_MADE:
            self._refuse_others(entries)
        if self.finished:
            return
        try:
            write_json(self.path / "config.json", self.config)
            write_json(self.path / "inputs.json", self._inputs())
            for name in ("log.txt", "metrics.jsonl", "dropped.parquet", "quarantine.jsonl"):
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def _inputs(self) -> dict[str, Any]:
        return {name: {"hash": value, "path": self.sources.get(name)} for name, value in self.inputs.items()}

    def _refuse_others(self, entries: set[str]) -> None:
        if not {"config.json", "inputs.json"} & entries:
            raise InputError(f"{self.path} holds something that is no run; choose another directory with --out")
        # A kill between the two files leaves only the config: the inputs are then compared as empty, and written.
        config = read_json(self.path / "config.json") if "config.json" in entries else self.config
        changed = difference(config, self.config)
        if "inputs.json" in entries:
            hashes = {name: entry["hash"][:_DIGITS] for name, entry in read_json(self.path / "inputs.json").items()}
            changed |= difference(hashes, {name: value[:_DIGITS] for name, value in self.inputs.items()}, "input")
        if changed:
            keys = ", ".join(f"{key} ({old!r} there, {new!r} now)" for key, (old, new) in list(changed.items())[:4])
            raise InputError(f"{self.path} holds another run; it differs in {keys}; choose another --out or remove it")


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing that appears under its name only when it is complete."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    """Write plain values as indented JSON, atomically."""
    with atomic(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that Notus wrote.

    Raises:
        InputError: if it is missing or damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); remove its directory and run again") from None


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a finished run.

    Raises:
        InputError: if the directory is no finished run.
    """
    if not (path / MANIFEST).is_file():
        state = "is not finished" if (path / "config.json").is_file() else "is no run directory"
        raise InputError(f"{path} {state}: it has no {MANIFEST}")
    manifest: dict[str, Any] = read_json(path / MANIFEST)
    return manifest


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a directory for this process, so that two never write into the same one.

    Raises:
        RunError: if another process holds it.
        InputError: if the directory cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        directory = os.open(path, os.O_RDONLY)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{path} is a file; a run needs a directory, choose another with --out") from None
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        # The directory itself is locked: no file is left in it, and the lock ends with the process, however it ends.
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RunError(f"another process is at work in {path}; wait for it, or choose another --out") from None
    finally:
        os.close(directory)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write in {path}: {error.strerror}; choose another directory with --out")


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in _NOTED_VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

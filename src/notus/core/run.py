"""Run directories: what a piece of work read, decided, made and dropped, so that it can be traced and repeated.

    config.json    the resolved config, nulls kept       inputs.json      path and hash of all that was read
    …              the outputs                           dropped.parquet  what was not kept: id, reason, place …
    tally.json     what each stage took and gave         metrics.jsonl    numbers on the way
    log.txt        what happened, with times             manifest.json    last: digest, versions, machine, duration
    checkpoints/   of a training, while it goes on

A directory is re-entered knowingly. With the same config and inputs a finished run is left as it is and a broken one is
done again; with others it is refused, and the differing keys are named, unless nothing was made in it yet. The
manifest is written last, so a directory without one is never taken for a result. One process at a time works in a
directory: ``locked``.
"""

import fcntl
import json
import math
import os
import platform
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Protocol, Self

from notus.core.config import difference, digest_of
from notus.core.disk.outputs import check_outputs, check_seal, list_outputs, seal, sync_folder
from notus.core.errors import InputError, LossError, NotusError, RunError, cannot_write, system_error
from notus.core.stage import REMEDIES, Dropped, Tally, count_rows, describe_lost, find_losses, share_lost
from notus.core.tables import write_records
from notus.core.text import one_line

__all__ = [
    "CHECKPOINTS",
    "MANIFEST",
    "Moment",
    "Run",
    "atomic",
    "check_run",
    "locked",
    "observed_by",
    "read_json",
    "read_manifest",
    "write_json",
]

MANIFEST = "manifest.json"
"""The file that makes a directory a finished run."""
CHECKPOINTS = "checkpoints"
"""The folder of what a training that is stopped goes on from; the log of a run that has one is carried on."""
_BEGUN = frozenset(["config.json", "inputs.json", "log.txt"])
_WITHDRAWN = "input.forget"
"""What differs where rows were withdrawn since."""
_DECIDED = "input.decisions"
"""What differs where persons decided more since."""
_LEFT_BEFORE = frozenset(["dropped.parquet", "metrics.jsonl", "quarantine.jsonl", "tally.json"])
_NOTHING_MADE = _BEGUN | _LEFT_BEFORE
"""All that a run leaves which was stopped before it made anything: another run may take its directory."""
_REASONS_SHOWN = 3
_EVIDENCE = 200
"""Characters of evidence that an error shows of a row; a bad value is cut before, so that the way out still fits."""
_DIGITS = 16
"""Of a hash, which are compared and shown."""
_NOTED_VERSIONS = ("notus", "torch", "transformers", "tokenizers", "accelerate", "numpy", "pyarrow", "msgspec")


class Moment(Protocol):
    """Where a piece of work stands."""

    def describe(self, width: int | None = None) -> str:
        """One line, of at most so many characters where that can be done."""
        ...


_OBSERVER: ContextVar[Callable[[Moment], None] | None] = ContextVar("observer", default=None)


@contextmanager
def observed_by(observer: Callable[[Moment], None]) -> Iterator[None]:
    """Let somebody see where the work of this block stands; what is not worth a line of metrics is told too."""
    token = _OBSERVER.set(observer)
    try:
        yield
    finally:
        _OBSERVER.reset(token)


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
        self.allow_losses = False
        """Whether the work goes on where more than half of the rows are lost."""
        self.artifacts: dict[str, str] = {}
        """Name of each artifact that the work left → its file."""
        self.of_no_use: list[Path] = []
        """Folders that nobody needs once the run is finished: they are removed behind the manifest."""
        self.closing = ExitStack()
        """What is to be closed when the work ends, well or not."""
        self._listeners: list[Callable[[Mapping[str, Any]], None]] = []
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

    def tally(self, stage: str, of: Literal["rows", "records", "parts"] = "records") -> Tally:
        """A new tally of rows, records or parts, whose counts and dropped records are written with the run."""
        tally = Tally(stage, of)
        self.tallies.append(tally)
        return tally

    def check_losses(self, name: str = "", tallies: Sequence[Tally] | None = None) -> None:
        """Stop where more than half of the rows are lost for reasons that no setting asked for.

        Args:
            name: what was read; without it the error begins with the rows.
            tallies: those that count; None takes all of the run.

        Raises:
            LossError: with the three commonest reasons, a row of each, where they all are, and what to try. Where
                ``allow_losses`` is set it is logged instead, and kept in the manifest.
        """
        counted = self.tallies if tallies is None else tallies
        if share_lost(counted) <= 0.5:
            return
        text = _describe_losses(self.path, counted, name)
        if not self.allow_losses:
            raise LossError(f"{text}\nto go on with the rest: --allow-losses (allow_losses: true)")
        self.note(losses=text.partition("\n")[0].removesuffix(":"))

    def refuse_losses(self, what: str) -> LossError:
        """The error for work that nothing is left for: ``what`` says it, the reasons follow."""
        return LossError(what + _describe_losses(self.path, self.tallies))

    def log(self, text: str) -> None:
        """Add a line to ``log.txt``."""
        _add_line(self.path / "log.txt", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}")

    def metric(self, **values: float | int | str | None) -> None:
        """Add a line to ``metrics.jsonl``."""
        # A loss that broke is NaN, which JSON does not have.
        finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}
        _add_line(self.path / "metrics.jsonl", json.dumps(finite))
        for listener in self._listeners:
            listener(finite)

    def listen(self, listener: Callable[[Mapping[str, Any]], None]) -> None:
        """Tell somebody each line of metrics, those first that are there already."""
        path = self.path / "metrics.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            listener(json.loads(line))
        self._listeners.append(listener)

    def restore_metrics(self, text: str) -> None:
        """Take up the lines of metrics that a run which goes on had written, and tell them to those who listen."""
        with atomic(self.path / "metrics.jsonl") as file:
            file.write(text)
        for line in text.splitlines():
            for listener in self._listeners:
                listener(json.loads(line))

    def tell(self, moment: Moment) -> None:
        """Say where the work stands, to whoever looks."""
        if (observer := _OBSERVER.get()) is not None:
            observer(moment)

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
        self.closing.close()
        if error is not None:
            with suppress(OSError, NotusError):  # no room may be the reason
                self.log(f"{self.stage}: stopped by {type(error).__name__}: {' '.join(str(error).split())}")
            if isinstance(error, LossError):
                self._write_tallies()
            what = "cannot write in" if isinstance(error, OSError) else f"{self.stage} stopped in"
            refused = system_error(error, f"{what} {self.path}", self.path)
            if refused is not None and getattr(error, "filename", None) is None:  # it would not be known where
                raise refused from error
            return
        self._write_tallies()
        self.log(f"{self.stage}: done")
        # The outputs are on the disk before the manifest says that they are.
        outputs = list_outputs(self.path, but=frozenset([CHECKPOINTS]))
        write_json(self.path / MANIFEST, seal({**self._manifest(), "outputs": outputs}))
        for folder in self.of_no_use:
            shutil.rmtree(folder, ignore_errors=True)

    def _write_tallies(self) -> None:
        dropped = [item for tally in self.tallies for item in tally.dropped]
        if dropped:
            write_records(self.path / "dropped.parquet", dropped, Dropped)
        write_json(self.path / "tally.json", [tally.summary() for tally in self.tallies])

    def _manifest(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "digest": self.digest,
            "seed": self.config.get("seed"),
            "summary": self.summary,
            "rows": count_rows(self.tallies),
            "artifacts": self.artifacts,
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
        if entries:
            _check_own(self.path, entries)
        if entries and not _BEGUN <= entries <= _NOTHING_MADE:
            self._refuse_others(entries)
        if self.finished:
            return
        try:
            write_json(self.path / "config.json", self.config)
            write_json(self.path / "inputs.json", self._inputs())
            carried_on = (self.path / CHECKPOINTS).is_dir()
            for name in _LEFT_BEFORE if carried_on else ("log.txt", *_LEFT_BEFORE):
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def _inputs(self) -> dict[str, Any]:
        return {name: {"hash": value, "path": self.sources.get(name)} for name, value in self.inputs.items()}

    def _refuse_others(self, entries: set[str]) -> None:
        changed = difference(read_json(self.path / "config.json"), self.config)
        # A kill between the two files leaves only the config: the inputs are then not compared, and written.
        if "inputs.json" in entries:
            hashes = {name: entry["hash"][:_DIGITS] for name, entry in read_json(self.path / "inputs.json").items()}
            changed |= difference(hashes, {name: value[:_DIGITS] for name, value in self.inputs.items()}, "input")
        if changed:
            if changed.keys() == {_WITHDRAWN} and changed[_WITHDRAWN][1] is not None:
                raise InputError(
                    f"{self.path} holds a run made before rows were withdrawn ({self.sources.get('forget')}); choose "
                    "another --out, or remove it and do it again without them"
                )
            if changed.keys() == {_DECIDED} and changed[_DECIDED][1] is not None:
                raise InputError(
                    f"{self.path} holds a run made of other decisions than stand in {self.sources.get('decisions')} "
                    "now; choose another --out, or remove it and do it again"
                )
            keys = ", ".join(f"{key} ({old!r} there, {new!r} now)" for key, (old, new) in list(changed.items())[:4])
            raise InputError(f"{self.path} holds another run; it differs in {keys}; choose another --out or remove it")


def _check_own(path: Path, entries: set[str]) -> None:
    """Refuse a directory that a run did not make, though its files may be called as a run's are."""
    config = read_json(path / "config.json") if "config.json" in entries else None
    inputs = read_json(path / "inputs.json") if "inputs.json" in entries else {}
    own = isinstance(config, dict) and isinstance(config.get("stage"), str)
    hashed = isinstance(inputs, dict) and all(
        isinstance(each, dict) and isinstance(each.get("hash"), str) for each in inputs.values()
    )
    if not (own and hashed):
        named = next((name for name in ("config.json", "inputs.json") if name in entries), None)
        why = f"its {named} is not that of a run" if named else "it holds something that is no run"
        raise InputError(f"{path} belongs to something else: {why}; choose another directory with --out")


def _describe_losses(folder: Path, tallies: Sequence[Tally], name: str | None = None) -> str:
    """What was lost: how much of it, the commonest reasons with a row each, where it lies, what to try.

    Without a name it is what follows a sentence that says that nothing is left: what was asked for counts too.
    """
    lost = find_losses(tallies)
    if name is None:
        lost = [item for tally in tallies if tally.of != "parts" for item in tally.dropped]
    reasons = Counter(item.reason for item in lost).most_common()
    shown = [next(item for item in lost if item.reason == reason) for reason, _ in reasons[:_REASONS_SHOWN]]
    lines = [
        f"{name}: " * bool(name) + f"{describe_lost(tallies)} would be lost, more than half:"
        if name is not None
        else ""
    ]
    width = max((len(f"{count:,}") for _, count in reasons[:_REASONS_SHOWN]), default=0)
    for item, (reason, count) in zip(shown, reasons, strict=False):
        evidence = f" ({one_line(item.detail, _EVIDENCE)})" if item.detail else ""
        lines.append(f"  {count:>{width},} {reason}, as {item.place}{evidence}")
    if more := len(reasons) - len(shown):
        lines.append(f"  and for {more} more reason{'s' if more > 1 else ''}")
    if lost:
        quarantines = sorted(f", {path.name}" for path in folder.glob("quarantine*.jsonl"))
        lines.append(f"all of them: {folder / 'dropped.parquet'}{''.join(quarantines)}")
    lines += [f"try: {each}" for each in dict.fromkeys(map(_remedy, shown))]
    return "\n".join(lines)


def _remedy(item: Dropped) -> str:
    if item.asked_by:
        return f"another value of '{item.asked_by}', which asks for {item.reason}"
    if item.reason in REMEDIES:
        return REMEDIES[item.reason]
    unread = "notus formats FILE, which shows what the rows look like; then --layout NAME, or --map"
    return f"look at {item.reason} in dropped.parquet" if item.id else unread


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
        sync_folder(path.parent)
    except OSError as error:
        _discard(part)
        raise cannot_write(path, error) from None
    except BaseException:
        _discard(part)
        raise


def _discard(part: Path) -> None:
    with suppress(OSError):  # a disk that is read-only by now
        part.unlink(missing_ok=True)


def _add_line(path: Path, line: str) -> None:
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise cannot_write(path, error) from None


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
    manifest = read_json(path / MANIFEST)
    if not isinstance(manifest, dict) or "stage" not in manifest:
        raise InputError(f"{path / MANIFEST} is no manifest of a run; remove {path} and run again")
    check_seal(path, manifest)
    return manifest


def check_run(path: Path, *, whole: bool = False, weights: bool = True) -> None:
    """Make sure that what a finished run left is there as it was written, the manifest first.

    Args:
        path: the run directory.
        whole: hash large files too, and not only look at their size.
        weights: look at the weights of models too; who reads tables alone does without them.

    Raises:
        InputError: if the directory is no finished run, or that names the file which is missing or damaged.
    """
    check_outputs(path, read_manifest(path), whole=whole, weights=weights)


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


def _unwritable(path: Path, error: OSError) -> NotusError:
    return system_error(error, f"cannot write in {path}", path) or InputError(
        f"cannot write in {path}: {error.strerror}; choose another directory with --out"
    )


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in _NOTED_VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

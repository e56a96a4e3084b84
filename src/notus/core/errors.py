"""The exceptions of Notus, and the check for optional parts.

    NotusError
    ├── InputError        what the user gave cannot be used          exit code 2
    │   ├── ConfigError   a config, a recipe or a ``--set``
    │   ├── DataError     a file, a row, a layout
    │   │   ├── LossError  more rows are lost than may be
    │   │   └── UnseenError  an id that was named is in no row
    │   └── MissingExtraError  a library that an optional part needs
    ├── RunError          what was given is fine, the work failed    exit code 1
    │   └── ChangedInputError  somebody wrote to what was being read
    └── InterruptedRunError  a signal ended the work, which was kept  exit code 128 + signal

A message is one line that names the thing, its value, the rule and the way out; that of a ``LossError`` has a line for
each of the reasons.

What the system refuses (no space on the disk, a read-only place, no memory, too many open files) is a ``RunError``,
wherever it shows: whoever stands at the top of a process asks ``as_told`` what an exception is.
"""

import difflib
import errno
import importlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

__all__ = [
    "ChangedInputError",
    "ConfigError",
    "DataError",
    "InputError",
    "InterruptedRunError",
    "LossError",
    "MissingExtraError",
    "NotusError",
    "RunError",
    "UnseenError",
    "as_told",
    "cannot_write",
    "check_space",
    "format_bytes",
    "nearest",
    "require",
    "system_error",
]


class NotusError(Exception):
    """What every error raised on purpose by Notus is. ``exit_code`` is what the process ends with."""

    exit_code = 1


class InputError(NotusError):
    """Something that the user gave breaks a rule."""

    exit_code = 2


class ConfigError(InputError):
    """A config, a recipe or an override breaks a rule."""


class DataError(InputError):
    """A file or a row breaks a rule."""


class LossError(DataError):
    """So many rows cannot be used, for reasons that no setting asked for, that the result would be another set."""


class UnseenError(DataError):
    """An id that was named is in nothing that was read."""


class MissingExtraError(InputError):
    """A library of an optional part is not installed."""


class RunError(NotusError):
    """A run could not be finished although its input is fine."""


class ChangedInputError(RunError):
    """What was read changed while it was read, so that nobody can say of which bytes the result would be."""


class InterruptedRunError(NotusError):
    """Somebody stopped a run by a signal (Ctrl-C, a cluster's SIGTERM), and what was done is kept."""

    def __init__(self, message: str, signal: int = 2) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal


def nearest(name: str, known: Iterable[str], meanings: Mapping[str, str] | None = None) -> str:
    """Say which known name was meant: the one of that meaning, then the nearest by spelling, then all there are.

    Args:
        name: the wrong name.
        known: the right ones.
        meanings: other names of the field → the known name that means the same, or a sentence that says what there is
            instead.
    """
    names = sorted(known)
    others = {other: meant for other, meant in (meanings or {}).items() if other not in names}
    found = {_plain(each): each for each in (*others, *names)}.get(_plain(name))
    if found is None:
        spelled = [*names, *(other for other, meant in others.items() if " " not in meant)]
        if len(name) <= 3:
            # An acronym: what is two letters longer is another thing, as SimPO is not IPO.
            spelled = [each for each in spelled if abs(len(each) - len(name)) < 2]
        found = next(iter(difflib.get_close_matches(name, spelled, n=1, cutoff=0.6)), None)
    if found is None:
        return f"known: {', '.join(names)}"
    meant = others.get(found, found)
    return meant if found in others and " " in meant else f"did you mean '{meant}'?"


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def require(module: str, *, extra: str) -> ModuleType:
    """Import a module of an optional part.

    Raises:
        MissingExtraError: if it is not installed, with the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        line = f"pip install 'notus[{extra}]'"
        raise MissingExtraError(f"'{error.name}' is not installed and this needs it: {line}") from None


_AGAIN = "then give the same command again: what is done is kept"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "the file would be larger than may be",
    errno.EROFS: "the file system is read-only",
    errno.EMFILE: "too many files are open at once",
    errno.ENFILE: "too many files are open at once on this machine",
    errno.ENOMEM: "there is not enough memory",
}
"""Error numbers that say something of the machine, and nothing of what the user gave."""
_SAID = {
    "os error 28": errno.ENOSPC,
    "no space left on device": errno.ENOSPC,
    "disk is full": errno.ENOSPC,
    "file write failed": errno.ENOSPC,
    "os error 122": errno.EDQUOT,
    "disk quota exceeded": errno.EDQUOT,
    "os error 27": errno.EFBIG,
    "os error 30": errno.EROFS,
    "read-only file system": errno.EROFS,
    "readonly database": errno.EROFS,
    "os error 24": errno.EMFILE,
    "too many open files": errno.EMFILE,
    "os error 12": errno.ENOMEM,
    "not enough memory: you tried to allocate": errno.ENOMEM,
    "cannot allocate memory": errno.ENOMEM,
    "out of memory": errno.ENOMEM,
}
"""What libraries say that keep no error number: those in Rust, PyTorch, SQLite."""


def system_error(error: BaseException, what: str = "", place: Path | None = None) -> RunError | None:
    """What the system refuses, as one line with the way out; None where it is something else.

    Args:
        error: that was raised.
        what: could not be done, for example ``cannot write runs/a``; without it the file that the error names.
        place: where it was to be written, for what is free there.
    """
    number = _number(error)
    if number is None:
        return None
    named = getattr(error, "filename", None)
    what = what or (f"cannot use {os.fsdecode(named)}" if isinstance(named, str | bytes) else "cannot go on")
    place = place or (Path(os.fsdecode(named)) if isinstance(named, str | bytes) else Path())
    if number in _FULL:
        return RunError(f"{what}: {_REFUSED[number]} ({format_bytes(_free(place))} are free); make room, {_AGAIN}")
    if number == errno.EROFS:
        return RunError(f"{what}: {_REFUSED[number]}; name a place that can be written to (--out)")
    if number in (errno.EMFILE, errno.ENFILE):
        return RunError(f"{what}: {_REFUSED[number]}; raise the limit (ulimit -n 4096), {_AGAIN}")
    return RunError(f"{what}: {_REFUSED[number]}; free some, or take less at once (fewer workers, a smaller model)")


def as_told(error: BaseException) -> NotusError | None:
    """An exception as the user is told it: itself where it is Notus's, or what the system refused; None for a bug.

    An ``InputError`` that was made of what the system refused is none: what the user gave is fine.
    """
    if isinstance(error, NotusError) and not isinstance(error, InputError):
        return error
    for each in _chain(error):
        if _number(each) is not None:
            return system_error(each, str(error) if isinstance(error, InputError) else "")
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return InputError(f"no file has the name {str(error.filename)[:60]!r}…: {os.strerror(error.errno)}")
    return error if isinstance(error, NotusError) else None


def cannot_write(path: Path, error: OSError) -> NotusError:
    """The error of a file or folder that cannot be written."""
    reason = os.strerror(error.errno) if error.errno else str(error).strip().partition("\n")[0]
    return system_error(error, f"cannot write {path}", path) or DataError(f"cannot write {path}: {reason}")


def check_space(folder: Path, needed: float, what: str) -> None:
    """Make sure, before the work, that what will be written has room.

    Args:
        folder: where it will be written; it need not be there yet.
        needed: bytes, as an estimate.
        what: will be written.

    Raises:
        RunError: if less is free.
    """
    free = _free(folder)
    if free < needed:
        raise RunError(
            f"no space for {what}: about {format_bytes(needed)} will be written in {folder}, and {format_bytes(free)} "
            "are free; make room and give the same command again, or name an --out on another disk"
        )


def format_bytes(count: float) -> str:
    """A number of bytes in the unit that suits it: ``512 bytes``, ``3.4 MB``."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def _number(error: BaseException) -> int | None:
    """The error number of what the system refuses; None where it is something else."""
    if isinstance(error, NotusError):
        return None
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno in _REFUSED:
        return error.errno
    if isinstance(error, ValueError | TypeError | LookupError) or not isinstance(error, Exception):
        return None
    text = str(error).lower()
    return next((number for said, number in _SAID.items() if said in text), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those that it was raised in handling of."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _free(path: Path) -> int:
    """Bytes that are free where a path lies or would lie."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free

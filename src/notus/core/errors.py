"""The exceptions of Notus, and the check for optional parts.

    NotusError
    ├── InputError        what the user gave cannot be used          exit code 2
    │   ├── ConfigError   a config, a recipe or a ``--set``
    │   ├── DataError     a file, a row, a layout
    │   │   └── LossError  more rows are lost than may be
    │   └── MissingExtraError  a library that an optional part needs
    ├── RunError          what was given is fine, the work failed    exit code 1
    │   └── ChangedInputError  somebody wrote to what was being read
    └── InterruptedRunError  a signal ended the work, which was kept  exit code 128 + signal

A message is one line that names the thing, its value, the rule and the way out; that of a ``LossError`` has a line for
each of the reasons.
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
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
    "nearest",
    "require",
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

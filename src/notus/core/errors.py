"""The exceptions of Notus, and the check for optional parts.

    NotusError
    ├── InputError        what the user gave cannot be used          exit code 2
    │   ├── ConfigError   a config, a recipe or a ``--set``
    │   ├── DataError     a file, a row, a layout
    │   └── MissingExtraError  a library that an optional part needs
    └── RunError          what was given is fine, the work failed    exit code 1

A message is one line that names the thing, its value, the rule and the way out.
"""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

__all__ = [
    "ConfigError",
    "DataError",
    "InputError",
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


class MissingExtraError(InputError):
    """A library of an optional part is not installed."""


class RunError(NotusError):
    """A run could not be finished although its input is fine."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, and otherwise which names there are."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"


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

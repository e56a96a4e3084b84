"""Things that are named in a recipe or a command, and may be the user's own: found when they are needed, not before.

    STEPS = Registry("step", {"audit": "notus.steps.data.audit:Audit", …}, group="notus.steps")
    STEPS.load("audit")                      # imports that module alone
    STEPS.load("python:mine.py:MyStep")      # a class or function in a file of the user's, or in a module
    STEPS.load("other-package-step")         # registered by an installed package under the entry point ``notus.steps``

Owns finding and loading, and telling in one line where foreign code failed. What a loaded object must be is owned by
the room that has the registry. No torch.
"""

import ast
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from notus.core.config import digest_of
from notus.core.disk.hashes import hash_file
from notus.core.errors import ConfigError, InputError, NotusError, nearest

__all__ = [
    "PYTHON",
    "Registry",
    "foreign_code",
    "hash_code",
    "is_python",
    "load_python",
    "python_file",
    "reference_to",
    "source_file",
    "source_of",
    "without_code",
]

PYTHON = "python:"
"""What the name of an object of the user's begins with: ``python:FILE.py:NAME`` or ``python:MODULE:NAME``."""


_HELD: dict[str, Any] = {}
"""``PLACE:NAME`` → what was at hand in this process under that name, see ``reference_to``."""


_RUNS: ContextVar[bool] = ContextVar("notus_runs_code", default=True)


@contextmanager
def without_code() -> Iterator[None]:
    """Load nothing of the user's in a block, because to load it is to run it: a recipe may be somebody else's."""
    token = _RUNS.set(False)
    try:
        yield
    finally:
        _RUNS.reset(token)


@dataclass(frozen=True)
class Registry:
    """Names of one kind of thing, each with the place that it is loaded from."""

    what: str
    """What is named, in messages: ``step``."""
    names: Mapping[str, str]
    """Name → ``module:Name``."""
    group: str | None = None
    """Entry point under which installed packages may add names of their own."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of the field for the same thing → ours. They are read, never written."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """Names that are not read → what a wrong name is answered with by meaning, see ``nearest``."""

    def resolve(self, name: str) -> str:
        """Our name for a thing that may be called by an alias; a ``python:`` name stays as it is."""
        return self.aliases.get(name, name)

    def knows(self, name: str) -> bool:
        """Whether the name can be loaded, as far as can be told without importing anything."""
        name = self.resolve(name)
        return is_python(name) or name in self.names or name in self._entry_points()

    def known(self) -> list[str]:
        """All names, those of installed packages behind ours."""
        return [*self.names, *(name for name in self._entry_points() if name not in self.names)]

    def load(self, name: str) -> Any:
        """The object of that name.

        Raises:
            ConfigError: for an unknown name, with the nearest, or a file or package that cannot be read.
        """
        name = self.resolve(name)
        if is_python(name):
            return load_python(name, self.what)
        if name in self.names:
            module, _, attribute = self.names[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        point = self._entry_points().get(name)
        if point is None:
            meanings = {**self.aliases, **self.meanings}
            raise ConfigError(f"there is no {self.what} '{name}'; {nearest(name, self.known(), meanings)}")
        remedy = "correct the package, or take it away"
        with foreign_code(f"cannot load {self.what} '{name}' of {point.value}", None, point.value, remedy, ConfigError):
            return point.load()

    def _entry_points(self) -> dict[str, Any]:
        if self.group is None:
            return {}
        from importlib import metadata  # slow to import, and needed for foreign names alone

        return {point.name: point for point in metadata.entry_points(group=self.group)}


def is_python(name: str) -> bool:
    """Whether a name means an object of the user's."""
    return name.startswith(PYTHON)


def python_file(name: str) -> Path | None:
    """The file that ``python:FILE.py:NAME`` names; None for a module, or another name."""
    place = name.removeprefix(PYTHON).rpartition(":")[0]
    return Path(place) if is_python(name) and place.endswith(".py") else None


def source_file(name: str, group: str | None = None) -> Path | None:
    """The file that a foreign name is read from, found without importing it; None where there is no such file.

    Args:
        name: ``python:FILE.py:NAME``, ``python:MODULE:NAME``, or what a package registers.
        group: entry point under which packages register such names.
    """
    if (file := python_file(name)) is not None:
        return file if file.is_file() else None
    if is_python(name):
        module = name.removeprefix(PYTHON).rpartition(":")[0]
    elif group is not None:
        from importlib import metadata

        module = next((point.module for point in metadata.entry_points(group=group, name=name)), "")
    else:
        return None
    try:
        spec = importlib.util.find_spec(module) if module else None
    except (ImportError, ValueError):  # a package above it is missing, or the module was made by hand
        return None
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None


def hash_code(file: Path) -> str:
    """Hash of a file of the user's code with all files of theirs that it imports, from wherever; not of libraries."""
    found = {file.resolve(): hash_file(file)}
    waiting = [file.resolve()]
    while waiting:
        for other in _imported_by(waiting.pop()):
            if other not in found:
                found[other] = hash_file(other)
                waiting.append(other)
    # The names that are imported stand in the files; where these lie does not count.
    first, *others = found.values()
    return digest_of([first, *sorted(others)]) if others else first


def load_python(name: str, what: str) -> Any:
    """The object that ``python:FILE.py:NAME`` or ``python:MODULE:NAME`` means.

    Args:
        name: with or without the ``python:`` before it.
        what: what it is to be, for errors: ``ranker``.

    Raises:
        ConfigError: if there is no such file, module or object, or its code fails while it is read; in a block of
            ``without_code``.
    """
    place, _, attribute = name.removeprefix(PYTHON).rpartition(":")
    if not place or not attribute:
        raise ConfigError(f"{what} '{name}' is not of the form python:FILE.py:NAME or python:MODULE:NAME")
    if (held := _HELD.get(f"{place}:{attribute}")) is not None:
        return held
    if not _RUNS.get():
        raise ConfigError(
            f"the {what} '{name}' is code, and a dry run runs none: read {place}, then leave --dry-run out"
        )
    module = _from_file(Path(place), what) if place.endswith(".py") else _import(place, what)
    found = getattr(module, attribute, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"{place} has no function or class '{attribute}'; {nearest(attribute, known)}")
    return found


def reference_to(found: Any) -> str:
    """A ``python:`` name for a function or class at hand, by which this process finds it again.

    One that a file defines at its top is named by that file, whose content counts. The object itself is kept: to read
    the file again would run a script that trains a second time.
    """
    file, name = _file_of(found), getattr(found, "__qualname__", "")
    if file is not None and name.isidentifier():
        body = f"{file}:{name}"
    else:
        # What a function closes over makes it another one, and so do its defaults.
        cells = [repr(cell.cell_contents) for cell in getattr(found, "__closure__", None) or ()]
        defaults = repr((getattr(found, "__defaults__", None), getattr(found, "__kwdefaults__", None)))
        key = digest_of([name, _code_of(found), cells, defaults])
        body = f"held_{key}:{name.rpartition('.')[2].strip('<>') or 'function'}"
    _HELD[body] = found
    return PYTHON + body


def source_of(found: Any) -> str:
    """File and line where a foreign function or class is defined, or its module."""
    code = getattr(found, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    return str(getattr(found, "__module__", found))


@contextmanager
def foreign_code(what: str, file: str | None, otherwise: str, remedy: str, kind: type[InputError]) -> Iterator[None]:
    """Turn what foreign code raises into one line with the last place in ``file`` that the error went through.

    Args:
        what: what was tried, the beginning of the line.
        file: the user's file; None takes the last place of all.
        otherwise: the place to name where the error never came through the file.
        remedy: the way out.
        kind: of the error that is raised.
    """
    try:
        yield
    except NotusError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
        raise kind(f"{what}, at {_last_place(error, file) or otherwise}: {text:.200}; {remedy}") from error


def _last_place(error: Exception, file: str | None) -> str | None:
    """File and line of the last frame in ``file``, or in any; None where the error never came there."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    lines = [f"{frame.filename}:{frame.lineno}" for frame in frames if file in (None, frame.filename)]
    return lines[-1] if lines else None


def _imported_by(file: Path) -> Iterator[Path]:
    """The files of the user's that a file of Python imports by name, at its top or inside of functions."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # whoever loads it says so
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                yield from _files_of(each.name, file.parent)
        elif isinstance(node, ast.ImportFrom):
            above = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else file.parent
            for name in [node.module] if node.module else [each.name for each in node.names]:
                yield from _files_of(name, above, relative=bool(node.level))


def _files_of(name: str, folder: Path, *, relative: bool = False) -> Iterator[Path]:
    """The files of a module of the user's, of a package all; nothing for what is installed or comes with Python."""
    places = [str(folder)] if relative else [str(folder), *sys.path]
    try:
        spec = PathFinder.find_spec(name.partition(".")[0], places)
    except (ImportError, ValueError):
        return
    if spec is None or (spec.origin or "").startswith(_installed_in()):
        return
    if spec.submodule_search_locations:
        for place in spec.submodule_search_locations:
            if not place.startswith(_installed_in()):
                yield from (path.resolve() for path in sorted(Path(place).rglob("*.py")))
    elif spec.origin and spec.origin.endswith(".py"):
        yield Path(spec.origin).resolve()


@cache
def _installed_in() -> tuple[str, ...]:
    """Folders of what is no code of the user's: Python's own library, installed packages, and Notus."""
    import sysconfig

    own = str(Path(__file__).parents[1])
    return (own, *{path for key, path in sysconfig.get_paths().items() if "lib" in key})


def _file_of(found: Any) -> str | None:
    try:
        file = inspect.getsourcefile(found)
    except TypeError:
        return None
    return file if file is not None and file.endswith(".py") and Path(file).is_file() else None


def _code_of(found: Any) -> str:
    """What tells two functions of one name apart: the source, or else the code."""
    try:
        return inspect.getsource(found)
    except (OSError, TypeError):
        return repr(getattr(getattr(found, "__code__", None), "co_code", found))


def _from_file(path: Path, what: str) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"there is no file {path}, which was to hold a {what}; check the path")
    # A name of its own: two files called rank.py are two modules.
    spec = importlib.util.spec_from_file_location(f"notus_user_{digest_of(str(path.absolute()))}", path)
    assert spec is not None
    assert spec.loader is not None
    module, remedy = importlib.util.module_from_spec(spec), "correct the file, or install what it needs"
    with foreign_code(f"cannot read {path}, which was to hold a {what}", spec.origin, str(path), remedy, ConfigError):
        # Where classes look for the module that they are from; read anew each time, as the file may have changed.
        sys.modules[spec.name] = module
        # As Python does for a script: what lies beside the file can be imported by it, also later, inside of functions.
        if (beside := str(path.absolute().parent)) not in sys.path:
            sys.path.append(beside)
        spec.loader.exec_module(module)
    return module


def _import(name: str, what: str) -> ModuleType:
    remedy = "install what is missing, or name a file: python:FILE.py:NAME"
    with foreign_code(f"cannot import '{name}', which was to hold a {what}", None, name, remedy, ConfigError):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Only where it is this module, or a package above it, that is missing.
            if not f"{name}.".startswith(f"{error.name}."):
                raise
            raise ConfigError(f"there is no module '{error.name}', which was to hold a {what}; {remedy}") from None

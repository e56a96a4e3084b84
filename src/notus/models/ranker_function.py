"""A ranker that is a function of the user's: finding it, calling it, and telling where it failed.

Whatever a foreign function raises or returns ends in one line that names the function, the prompt and the place in
the user's file. Errors of Notus' own pass through as they are. No torch.
"""

import importlib
import importlib.util
import inspect
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

from notus.core.config import digest_of
from notus.core.errors import ConfigError, DataError, InputError, NotusError, nearest
from notus.core.records import Message

__all__ = ["FunctionRanker"]

_DUTY = "it takes (prompt, answers) and returns a list of as many numbers, None where it cannot tell"


class FunctionRanker:
    """Scores answers by a function of the user's, for what a program can tell: tests that pass, a sum that is right.

    The function is called once for each prompt, as ``function(prompt, answers)``, with the prompt's messages and the
    list of its answers' texts, and returns as many numbers, None where it cannot tell.

    Args:
        target: ``module:function`` or ``file.py:function``.

    Raises:
        ConfigError: if there is no such module, file or function, or it fails when it is read.
    """

    def __init__(self, target: str) -> None:
        self.name = f"python:{Path(target).name}"
        self._function, self._file = _found(target)

    def rank(self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]) -> list[list[Any]]:
        """Score the candidates of each prompt, as ``Ranker`` says.

        Raises:
            InputError: if the function raises anything.
            DataError: if it returns anything but a list of a finite number or None for each answer.
        """
        if len(prompts) != len(candidates):
            raise InputError(f"{len(prompts)} prompts and candidates of {len(candidates)}: give a list for each prompt")
        return [self._scored(prompt, list(own)) for prompt, own in zip(prompts, candidates, strict=True)]

    def _scored(self, prompt: tuple[Message, ...], answers: list[str]) -> list[float | None]:
        where = f"for the prompt {prompt[-1].content if prompt else ''!r:.60}"
        failed, remedy = f"ranker {self.name} failed {where}", f"correct the function: {_DUTY}"
        with _told(failed, self._file, self._place, remedy, InputError):
            scores = self._function(prompt, list(answers))
        if not isinstance(scores, Sequence) or isinstance(scores, str) or len(scores) != len(answers):
            raise DataError(
                f"ranker {self.name} ({self._place}) gave {scores!r:.80} for {len(answers)} answers {where}; {_DUTY}"
            )
        for score in scores:
            # A NaN would sort anywhere.
            if score is not None and not (isinstance(score, Real) and math.isfinite(score)):
                raise DataError(
                    f"ranker {self.name} ({self._place}) gave {score!r:.80} {where}; a finite number or None is needed"
                )
        return [None if score is None else float(score) for score in scores]

    @property
    def _place(self) -> str:
        """Where the function is defined."""
        code = getattr(inspect.unwrap(self._function), "__code__", None)
        return self._file if code is None else f"{code.co_filename}:{code.co_firstlineno}"


@contextmanager
def _told(what: str, file: str | None, otherwise: str, remedy: str, kind: type[InputError]) -> Iterator[None]:
    """Turn what foreign code raises into one line with the last place in ``file`` that the error went through."""
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


def _found(target: str) -> tuple[Callable[..., Any], str]:
    """The function, and the file of its module."""
    place, _, name = target.rpartition(":")
    module = _from_file(Path(place)) if place.endswith(".py") else _imported(place)
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"{place} has no function '{name}'; {nearest(name, known)}")
    return found, module.__file__ or place


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"there is no file {path}, which was to rank; check the path")
    # A name of its own: two files called rank.py are two modules.
    spec = importlib.util.spec_from_file_location(f"ranker_{digest_of(str(path.absolute()))}", path)
    assert spec is not None
    assert spec.loader is not None
    module, remedy = importlib.util.module_from_spec(spec), "correct the file, or install what it needs"
    with _told(f"cannot read {path}, which was to rank", spec.origin, str(path), remedy, ConfigError):
        spec.loader.exec_module(module)
    return module


def _imported(name: str) -> ModuleType:
    remedy = "install what is missing, or name a file: python:FILE.py:FUNCTION"
    with _told(f"cannot import '{name}', which was to rank", None, name, remedy, ConfigError):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Only where it is this module, or a package above it, that is missing.
            if not f"{name}.".startswith(f"{error.name}."):
                raise
            raise ConfigError(f"there is no module '{error.name}', which was to rank; {remedy}") from None

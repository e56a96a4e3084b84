"""``python:FILE.py:NAME``: a ranker of the user's, for what a program can tell: tests that pass, a sum that is right.

NAME is a function or a class. A function takes the messages of a prompt and the texts of its answers, and gives as many
numbers, None where it cannot tell::

    def shortest(prompt, answers):
        return [-len(text) for text in answers]

A class is made without arguments, and its ``rank(prompts, answers)`` takes all prompts at once and gives such a list
for each, for what is faster together. Whatever foreign code raises or returns ends in one line that names it, the
prompt and the place in the user's file. Errors of Notus' own pass through as they are. No torch.
"""

import inspect
import math
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from types import CodeType
from typing import Any

from notus.core.errors import ConfigError, DataError, InputError
from notus.core.plugins import foreign_code, load_python
from notus.core.records import Message
from notus.llm.protocol import Ranker
from notus.rankers.ref import RankerContext, RankerKind, RankerRef, Scores, check_lengths

__all__ = ["KIND", "OwnRanker"]

_DUTY = "it takes (prompt, answers) and returns a list of as many numbers, None where it cannot tell"


class OwnRanker:
    """Scores answers by a function or a class of the user's.

    Args:
        found: the function or class.
        name: what it is called.

    Raises:
        ConfigError: if a class has no ``rank``, or fails when it is made.
    """

    def __init__(self, found: Any, name: str) -> None:
        self.name = name
        code = _code(found)
        self._file = name if code is None else code.co_filename
        self._place = name if code is None else f"{code.co_filename}:{code.co_firstlineno}"
        self._foreign = found
        self._ranker = self._make() if inspect.isclass(found) else None

    def rank(self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates of each prompt, as ``Ranker`` says.

        Raises:
            InputError: if the user's code raises anything.
            DataError: if it returns anything but a list of a finite number or None for each answer.
        """
        check_lengths(prompts, candidates)
        if self._ranker is None:
            pairs = zip(prompts, candidates, strict=True)
            return [self._check_scores(prompt, own, self._call(prompt, list(own))) for prompt, own in pairs]
        with foreign_code(f"ranker {self.name} failed", self._file, self._place, "correct its 'rank'", InputError):
            found = self._ranker.rank(list(prompts), [list(own) for own in candidates])
        if not _is_list(found, len(prompts)):
            raise DataError(
                f"ranker {self.name} ({self._place}) gave {found!r:.80} for {len(prompts)} prompts; its 'rank' returns "
                "a list of scores for each"
            )
        return [self._check_scores(*each) for each in zip(prompts, candidates, found, strict=True)]

    def _make(self) -> Ranker:
        if not callable(getattr(self._foreign, "rank", None)):
            raise ConfigError(f"ranker {self.name} ({self._place}) has no method 'rank'; {_DUTY}, for each prompt")
        failed, remedy = f"cannot make ranker {self.name}", "a class is made without arguments"
        with foreign_code(failed, self._file, self._place, remedy, ConfigError):
            made: Ranker = self._foreign()
            return made

    def _call(self, prompt: tuple[Message, ...], answers: list[str]) -> Any:
        failed, remedy = f"ranker {self.name} failed {_where(prompt)}", f"correct the function: {_DUTY}"
        with foreign_code(failed, self._file, self._place, remedy, InputError):
            return self._foreign(prompt, answers)

    def _check_scores(self, prompt: tuple[Message, ...], answers: Sequence[str], scores: Any) -> list[float | None]:
        if not _is_list(scores, len(answers)):
            raise DataError(
                f"ranker {self.name} ({self._place}) gave {scores!r:.80} for {len(answers)} answers {_where(prompt)}; "
                f"{_DUTY}"
            )
        for score in scores:
            # A NaN would sort anywhere.
            if score is not None and not (isinstance(score, Real) and math.isfinite(score)):
                raise DataError(
                    f"ranker {self.name} ({self._place}) gave {score!r:.80} {_where(prompt)}; a finite number or None "
                    "is needed"
                )
        return [None if score is None else float(score) for score in scores]


def _code(found: Any) -> CodeType | None:
    """Of a function, or of what a class ranks by."""
    function = getattr(found, "rank", None) if inspect.isclass(found) else inspect.unwrap(found)
    return getattr(function, "__code__", None)


def _is_list(value: Any, length: int) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == length


def _where(prompt: tuple[Message, ...]) -> str:
    return f"for the prompt {prompt[-1].content if prompt else ''!r:.60}"


def _make_own(ref: RankerRef, context: RankerContext) -> Ranker:
    del context
    return OwnRanker(load_python(str(ref.model), "ranker"), f"python:{Path(str(ref.model)).name}")


KIND = RankerKind("python:file.py:NAME", _make_own)

"""Rankers: whatever says which answers to a prompt are better, behind one protocol, ``protocols.Ranker``.

Owns the making of a ranker from its text form, and the two that need no model: length, and a function of the user's.
PairRM is in ``ranker_pairs``, reward models are in ``ranker_models``, judges in ``ranker_judge``. No torch, until a
ranker is made that needs it.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from notus.core.config import digest_of
from notus.core.errors import ConfigError, DataError, InputError, nearest, require
from notus.core.records import Message
from notus.core.stage import Tally
from notus.models.protocols import Generator, Ranker
from notus.models.ranker_settings import RankerSpec, Ranking

__all__ = ["FunctionRanker", "LengthRanker", "Progress", "best_of", "make_ranker"]

Progress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""
Scores = list[list[float | None]]


def make_ranker(
    spec: str | RankerSpec,
    settings: Ranking | None = None,
    *,
    generator: Generator | None = None,
    progress: Progress | None = None,
    tally: Tally | None = None,
) -> Ranker:
    """Make a ranker.

    Args:
        spec: which one, or its text form; see ``ranker_settings``.
        settings: how it works.
        generator: who is asked, for ``judge``.
        progress: told how the work goes on, by the rankers that compute.
        tally: receives the counts of cut texts and of judgements that could not be read.

    Raises:
        ConfigError: for an unknown ranker, a function or a model that is not there, a judge without a generator.
        MissingExtraError: if it needs a library that is not installed.
    """
    spec = RankerSpec.read(spec) if isinstance(spec, str) else spec
    settings, tally = settings or Ranking(), tally or Tally("rank")
    if spec.kind == "length":
        return LengthRanker()
    if spec.kind == "python":
        return FunctionRanker(str(spec.model))
    if spec.kind == "judge":
        from notus.models.ranker_judge import JudgeRanker

        if generator is None:
            raise ConfigError(f"ranker '{spec}' needs somebody to ask: name endpoints, or a model with 'serve'")
        return JudgeRanker(generator, str(spec.model), settings, tally)
    for library in ("torch", "transformers"):
        require(library, extra="train")
    if spec.kind == "pairrm":
        from notus.models.ranker_pairs import load_pair_ranker

        return load_pair_ranker(str(spec.model), settings, progress, tally)
    from notus.models.ranker_models import ImplicitRanker, RewardRanker

    if spec.kind == "reward-model":
        return RewardRanker(str(spec.model), settings, progress, tally)
    return ImplicitRanker(str(spec.model), str(spec.reference), settings, tally)


def best_of(scores: Sequence[float | None]) -> int | None:
    """Index of the best answer, the first of equals; None where no answer has a score."""
    scored = [(score, -index) for index, score in enumerate(scores) if score is not None]
    return -max(scored)[1] if scored else None


class LengthRanker:
    """Scores an answer by its number of characters. A control: what beats nothing but this has learnt nothing."""

    name = "length"

    def rank(self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates of each prompt, as ``Ranker`` says."""
        _check_alike(prompts, candidates)
        return [[float(len(text)) for text in answers] for answers in candidates]


class FunctionRanker:
    """Scores answers by a function of the user's, for what a program can tell: tests that pass, a sum that is right.

    The function is called once for each prompt, as ``function(prompt, answers)``, with the prompt's messages and the
    list of its answers' texts, and returns as many numbers, None where it cannot tell.

    Args:
        target: ``module:function`` or ``file.py:function``.

    Raises:
        ConfigError: if there is no such module, file or function.
    """

    def __init__(self, target: str) -> None:
        self.name = f"python:{Path(target).name}"
        self._function = _function(target)

    def rank(self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates of each prompt, as ``Ranker`` says.

        Raises:
            DataError: if the function returns anything but a finite number or None for each answer.
        """
        _check_alike(prompts, candidates)
        pairs = zip(prompts, candidates, strict=True)
        return [self._checked(self._function(prompt, list(answers)), len(answers)) for prompt, answers in pairs]

    def _checked(self, scores: Any, count: int) -> list[float | None]:
        if not isinstance(scores, Sequence) or isinstance(scores, str) or len(scores) != count:
            raise DataError(f"ranker {self.name} gave {scores!r:.80} for {count} answers; a number for each is needed")
        for score in scores:
            # A NaN would sort anywhere.
            if score is not None and not (isinstance(score, int | float) and math.isfinite(score)):
                raise DataError(f"ranker {self.name} gave {score!r:.80}; a finite number or None is needed")
        return [None if score is None else float(score) for score in scores]


def _check_alike(prompts: Sequence[object], candidates: Sequence[object]) -> None:
    if len(prompts) != len(candidates):
        raise InputError(f"{len(prompts)} prompts and candidates of {len(candidates)}: give a list for each prompt")


def _function(target: str) -> Callable[..., Any]:
    place, _, name = target.rpartition(":")
    module = _from_file(Path(place)) if place.endswith(".py") else _imported(place)
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"{place} has no function '{name}'; {nearest(name, known)}")
    return found  # type: ignore[no-any-return]


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"there is no file {path}, which was to rank; check the path")
    # A name of its own: two files called rank.py are two modules.
    spec = importlib.util.spec_from_file_location(f"ranker_{digest_of(str(path.absolute()))}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    return module


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"there is no module '{error.name}', which was to rank; install it, or name a file: python:FILE.py:FUNCTION"
        ) from None

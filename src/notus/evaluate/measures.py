'''Measures of answers: what each answer is worth by a rule, one of ours or a function of the user's.

    def short(output: Output) -> bool | None:
        """Whether an answer keeps to ten words; an empty one is not scored."""
        words = output.text.split()
        return len(words) <= 10 if words else None

In ``mine.py`` this is the evaluation ``python:mine.py:short``. An installed package may register one under the entry
point ``notus.evaluations``. A measure takes a ``core.records.Output`` and returns a number (the higher the better), a
bool, None for an answer that it cannot score, or a ``core.records.Verdict`` where it has a reason to give.

Owns the names of measures, the calling of a foreign function, and the counting of verdicts. Where outputs come from and
what is written of them is the business of the step. No torch.
'''

import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from notus.core.errors import DataError, InputError
from notus.core.plugins import PYTHON, Registry, foreign_code, is_python, source_of
from notus.core.records import Output, Verdict
from notus.stats.intervals import Estimate, clustered_mean

__all__ = ["EVALUATIONS", "Measure", "Measured", "count_verdicts", "length", "measure_outputs"]

EVALUATIONS = Registry(
    "evaluation",
    {"toy": "notus.toy.checker:verdict", "length": "notus.evaluate.measures:length"}
    | {
        name: f"notus.evaluate.symptoms:{name.replace('-', '_')}"
        for name in ("symptoms", "wrong-capitals", "disclaimer", "refusal", "repetition", "truncated")
    },
    group="notus.evaluations",
    aliases={"miniature": "toy"},
)
"""Measures by name. ``toy`` is the exact checker of the toy world, ``length`` a control, which knows nothing of
quality; the others are symptoms, see ``evaluate.symptoms``: the lower the better."""
_DUTY = "it takes an Output and returns a number, True, False, a Verdict, or None where it cannot tell"
_UNSCORED = "no-score"
"""The reason of an answer that a measure gave None."""


@dataclass(frozen=True)
class Measured:
    """How answers did by one measure."""

    asked: int
    """Answers: scored and unscored."""
    scored: int
    unscored: dict[str, int]
    """Reason → answers without a score, the most frequent first."""
    mean: Estimate | None
    """Over all scored answers, prompts as clusters; None with fewer than two prompts."""


def measure_outputs(name: str, outputs: Iterable[Output]) -> list[Verdict]:
    """A verdict on each output, in their order; an answer that cannot be scored has one without a score.

    Args:
        name: one of ``EVALUATIONS``, or ``python:FILE.py:NAME`` or ``python:MODULE:NAME``.
        outputs: the answers.

    Raises:
        ConfigError: if there is no such measure, or its file cannot be read.
        InputError: if a foreign measure raises anything.
        DataError: if it returns anything but what a measure may, or a number that is not finite.
    """
    measure = Measure(name)
    return [measure(output) for output in outputs]


class Measure:
    """A measure that makes a checked verdict of whatever its function returns; errors name the prompt and the place.

    Args:
        name: as for ``measure_outputs``.

    Raises:
        ConfigError: if there is no such measure, with the nearest, or its file cannot be read.
    """

    def __init__(self, name: str) -> None:
        name = EVALUATIONS.resolve(name)
        self.name = PYTHON + Path(name.removeprefix(PYTHON)).name if is_python(name) else name
        """What its verdicts are recorded under, where they name no judge themselves."""
        self._function: Callable[[Output], Any] = EVALUATIONS.load(name)
        self._foreign = name not in EVALUATIONS.names

    def __call__(self, output: Output) -> Verdict:
        """The verdict on an output.

        Raises:
            InputError: if a foreign measure raises anything.
            DataError: if it returns anything but what a measure may, or a number that is not finite.
        """
        with self._one_line_errors(output) if self._foreign else nullcontext():
            value = self._function(output)
        judge, score, reason = self.name, value, ""
        if isinstance(value, Verdict):
            judge, score, reason = value.judge, value.score, value.reason
        if isinstance(score, bool | np.bool_):
            score = float(score)
        if score is not None and not (isinstance(score, Real) and math.isfinite(score)):
            needed = "a finite number is needed, or None" if isinstance(score, Real) else _DUTY
            raise DataError(f"evaluation {self.name} ({self._place}) gave {score!r:.80} {_where(output)}; {needed}")
        return Verdict(
            prompt_id=output.prompt_id,
            model=output.model,
            judge=judge,
            score=None if score is None else float(score),
            sample=output.sample,
            seed=output.seed,
            reason=str(reason) or (_UNSCORED if score is None else ""),
            id=output.id,
            file=output.file,
            line=output.line,
        )

    def _one_line_errors(self, output: Output) -> AbstractContextManager[None]:
        what = f"evaluation {self.name} failed {_where(output)}"
        return foreign_code(what, self._file, self._place, f"correct the function: {_DUTY}", InputError)

    @property
    def _file(self) -> str | None:
        """The file that the function is defined in, where it is one."""
        try:
            return inspect.getsourcefile(inspect.unwrap(self._function))
        except TypeError:  # an object that is called, or one that was compiled
            return None

    @property
    def _place(self) -> str:
        return source_of(inspect.unwrap(self._function))


def count_verdicts(verdicts: Sequence[Verdict]) -> Measured:
    """Count verdicts: asked, scored and unscored with the reasons, and the mean with its interval."""
    scored = [(verdict.score, verdict.prompt_id) for verdict in verdicts if verdict.score is not None]
    reasons = Counter(verdict.reason or _UNSCORED for verdict in verdicts if verdict.score is None)
    mean = clustered_mean([score for score, _ in scored], [prompt for _, prompt in scored]) if scored else None
    return Measured(len(verdicts), len(scored), dict(reasons.most_common()), mean)


def length(output: Output) -> float:
    """Characters of an answer."""
    return float(len(output.text))


def _where(output: Output) -> str:
    return f"for the prompt {output.prompt[-1].content!r:.60}"

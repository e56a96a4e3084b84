"""The suspicion by context of a whole set: from what was held of its answers to a place for each, and the figures.

Beside the suspicion of ``audit.signals``, which looks at a record and finds what was recorded falsely, this one looks
at a judgement and finds scores that a judge would hardly give again. The two find different faults, and each has its
own columns and its own place. Of overall scores where there are any, otherwise of mean ratings.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from notus.audit.context.answers import Answers, SecondScores
from notus.audit.context.expected import OVERALL, Context, Setting, expect_scores
from notus.audit.context.second import Second, learn_second
from notus.audit.health import Columns
from notus.core.splits import FOLDS

__all__ = ["ByContext", "judge_by_context"]

_RATING = "mean rating"


@dataclass(frozen=True)
class ByContext:
    """What the context of each answer says of its score, in columns."""

    context: Context
    places: NDArray[np.uint32]
    """Place of each answer, 1 for the one whose score a fresh one would most likely be far from; 0 without one."""
    second: Second | None = None

    def columns(self, start: int, stop: int) -> dict[str, pa.Array]:
        """The columns of the rows from ``start`` to before ``stop``; NaN is null."""
        context, places = self.context, self.places[start:stop]
        second = np.full(len(places), np.nan) if self.second is None else self.second.scores[start:stop]
        floats = {
            "expected_by_context": context.expected[start:stop],
            "spread_by_context": context.spread[start:stop],
            "chance_far": context.far[start:stop],
            "second_score": second,
        }
        found = {name: pa.array(values, from_pandas=True) for name, values in floats.items()}
        return found | {"place_by_context": pa.array(places, mask=places == 0)}

    def order(self, limit: int) -> list[int]:
        """Numbers of the most suspicious answers by their place; equals in the order of the set."""
        found = np.flatnonzero((self.places > 0) & (self.places <= limit))
        numbers: list[int] = found[np.argsort(self.places[found], kind="stable")][:limit].tolist()
        return numbers

    def evidence(self, number: int) -> str:
        """What the context of an answer speaks for, in words."""
        siblings = int(self.context.siblings[number])
        told = f"{self.context.expected[number]:.1f} ± {self.context.spread[number]:.1f}"
        return f"its context speaks for {told} ({siblings} sibling{'s' if siblings > 1 else ''})"

    def sentences(self) -> list[str]:
        """What it was applied to, how much it knows, and what second scores taught, in words."""
        return self.context.sentences() + (self.second.sentences() if self.second else [])


def judge_by_context(columns: Columns, answers: Answers, second: SecondScores | None = None) -> ByContext:
    """Judge each score of a set by its context, and, where there are any, by what second scores teach."""
    means, scores = columns.scored()
    of_mean, of_score = columns.scales_of_most()
    what = _RATING if np.isnan(scores).all() else OVERALL
    folds = (np.asarray(columns.prompts) % np.uint64(FOLDS)).astype(np.int64)
    setting = Setting(
        scores=means if what == _RATING else scores,
        features=answers.features(),
        models=columns.by_model(),
        prompts=columns.by_prompt(),
        folds=np.repeat(folds, columns.sizes),
        scale=of_mean if what == _RATING else of_score,
    )
    context, learned = expect_scores(setting, what), None
    if second is not None:
        context, learned = learn_second(context, setting, second, answers.matches())
    return ByContext(context, _places(context.far), learned)


def _places(far: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Place of each chance by its size; equals share the better place, and NaN has 0."""
    known = np.flatnonzero(~np.isnan(far))
    sizes = np.round(far[known], 12)  # so that equal chances stay equal whatever the last bit of their sums is
    places = np.zeros(len(far), np.uint32)
    places[known] = 1 + len(known) - np.searchsorted(np.sort(sizes), sizes, "right")
    return places

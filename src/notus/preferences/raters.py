"""Leaving raters out: what a set looks like without what some of them said.

Owns the stage. How raters agree, and what changes without each of them, is owned by ``audit.raters``.
"""

from collections.abc import Iterable, Iterator
from functools import partial

import msgspec

from notus.core.records import Completion, Feedback
from notus.core.stage import Stage, Tally

__all__ = ["counted_as", "without_raters"]


def without_raters(names: Iterable[str]) -> Stage[Feedback, Feedback]:
    """A stage that takes out the ratings, critiques and rankings of some raters, and drops no prompt.

    What is taken out is counted for each rater under ``counted_as``. A critique loses its text too.
    """
    return partial(_leave_out, frozenset(names))


def counted_as(name: str) -> str:
    """What the tally calls the ratings, critiques and rankings of a rater that were left out."""
    return f"by {name}"


def _leave_out(names: frozenset[str], records: Iterable[Feedback], tally: Tally) -> Iterator[Feedback]:
    for feedback in records:
        said = [each.rater for item in feedback.completions for each in item.ratings]
        said += [item.critique.rater for item in feedback.completions if item.critique]
        found = [name for name in (*said, *(each.rater for each in feedback.rankings)) if name in names]
        if not found:
            yield feedback
            continue
        for name in found:
            tally.count(counted_as(name))
        yield msgspec.structs.replace(
            feedback,
            completions=tuple([_without(item, names) for item in feedback.completions]),
            rankings=tuple([each for each in feedback.rankings if each.rater not in names]),
        )


def _without(completion: Completion, names: frozenset[str]) -> Completion:
    return msgspec.structs.replace(
        completion,
        ratings=tuple([each for each in completion.ratings if each.rater not in names]),
        critique=None if completion.critique and completion.critique.rater in names else completion.critique,
    )

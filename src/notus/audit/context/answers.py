"""What an answer looks like from outside, in a few counts, while rows are read; and whether a second score is known.

Words are split in the end of an answer alone: some ten microseconds and six bytes for each. The counts tell short
from long, a paragraph from a list, and an answer that repeats itself. Where scores by a second judge are given
(``SecondScores``), an answer is looked up there by prompt, model and text, and where that fails by prompt and text.

Owns the counts, the columns that are made of them, and the matching of second scores. What is expected of them is the
business of ``audit.context.expected`` and ``audit.context.second``.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from notus.audit.health import Columns
from notus.core.records import Completion, Feedback, digest

__all__ = ["Answers", "Matches", "SecondScores", "different_words"]

Floats = NDArray[np.float64]

_TAIL = 600
"""Characters at the end of an answer in which different words are counted."""
_MOST = 65_535
_COUNTS = 3


class SecondScores:
    """Scores of the same answers by a second judge, or by the same judge a second time."""

    def __init__(self, records: Iterable[Feedback]) -> None:
        self.columns = Columns()
        self._places: dict[int, list[int]] = {}
        for feedback in records:
            first = len(self.columns.scores)
            self.columns.add(feedback, [item.mean_rating for item in feedback.completions])
            for place, item in enumerate(feedback.completions, first):
                for model in {item.model, ""}:
                    self._places.setdefault(_key(feedback, item, model), []).append(place)

    def __len__(self) -> int:
        """Number of answers."""
        return len(self.columns.scores)

    def find(self, feedback: Feedback, item: Completion) -> list[int]:
        """Numbers of the answers with the prompt, the model and the text; where none has the model, with any other."""
        return self._places.get(_key(feedback, item, item.model)) or self._places.get(_key(feedback, item, ""), [])


@dataclass(frozen=True)
class Matches:
    """Which answers of a set have which second scores; one may have several."""

    own: NDArray[np.uint32]
    """Number of a completion of the set."""
    second: NDArray[np.uint32]
    """Number of an answer of the second scores, to each."""


class Answers:
    """Counts of each answer, in the order of the set, and the second scores that are known of it.

    Those of the parts of a set are put together with ``merge``.
    """

    def __init__(self, second: SecondScores | None = None) -> None:
        self._counts = array("H")
        self._second = second
        self._own, self._matched = array("I"), array("I")

    def __len__(self) -> int:
        return len(self._counts) // _COUNTS

    def add(self, feedback: Feedback) -> None:
        """Take one row in."""
        number = len(self)
        for item in feedback.completions:
            self._counts.extend(_counts_of(item.text))
            if self._second is not None:
                found = self._second.find(feedback, item)
                self._own.extend([number] * len(found))
                self._matched.extend(found)
            number += 1

    def finish(self) -> None:
        """Let go of the second scores: what is left are numbers."""
        self._second = None

    def merge(self, other: "Answers") -> None:
        """Take in what another holds of the rows that follow."""
        self._own.frombytes((np.asarray(other._own) + np.uint32(len(self))).astype(np.uint32).tobytes())
        self._matched.extend(other._matched)
        self._counts.extend(other._counts)

    def matches(self) -> Matches:
        """The second scores that were found."""
        return Matches(np.array(self._own, np.uint32), np.array(self._matched, np.uint32))

    def features(self) -> Floats:
        """Columns of what the answers look like, of shape (answers, 3): the logarithms of their length and of their
        lines, and the share of different words at the end."""
        counts = np.asarray(self._counts, dtype=np.float64).reshape(-1, _COUNTS)
        return np.column_stack((np.log1p(counts[:, 0]), np.log1p(counts[:, 1]), counts[:, 2] / _MOST))


def different_words(texts: Sequence[str]) -> Floats:
    """The share of different words at the end of each text; 0 without a word."""
    return np.array([_different(text) for text in texts], np.float64) / _MOST


def _counts_of(text: str) -> tuple[int, int, int]:
    """Characters, line ends, and the share of different words at the end, in 65,535ths."""
    return min(len(text), _MOST), min(text.count("\n"), _MOST), _different(text)


def _different(text: str) -> int:
    words = text[-_TAIL:].split()
    return _MOST * len(set(words)) // len(words) if words else 0


def _key(feedback: Feedback, item: Completion, model: str) -> int:
    turns = (part for turn in item.answer for part in (turn.role, turn.content.strip()))
    return int(digest(feedback.prompt_id, model, *turns), 16)

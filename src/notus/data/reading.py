"""What the wording of critiques and rationales says of a feedback set: learned from a sample, then read row by row.

    reader = learn_reader(sample)             # models of the critiques and of the rationales of each aspect
    readings = Readings(reader)
    readings.add(feedback) …                  # numbers only are held: no text beyond a block of rows

Owns which text is learned against which number. How texts are learned from is the business of ``data.critique_text``,
what the numbers mean that of ``data.signals``.
"""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from notus.core.records import Feedback
from notus.core.stage import Tally
from notus.data.critique_text import TextModel, fold_of, learn
from notus.data.quarantine import Quarantine
from notus.data.sources import Source

__all__ = ["PROMPTS", "Reader", "Readings", "learn_reader", "sample_of"]

Floats = NDArray[np.float64]

PROMPTS = 2048
"""Prompts to learn from. With four answers to each their texts take a model's size; more would teach little."""

_BLOCK = 512
_PARTS = 64
_LEAST_PART = 1 << 20
_TEN = 10.0
_DISTRUSTED = 0.5
"""10s teach nothing, for they are often misread 1s; unless most scores are 10s, and there is nothing else to learn."""


@dataclass(frozen=True)
class Reader:
    """The models of a set; a critique without one, or an aspect that is missing, is not read."""

    critique: TextModel | None = None
    aspects: dict[str, TextModel] = field(default_factory=dict)


def sample_of(source: Source) -> Iterator[Feedback]:
    """About ``PROMPTS`` prompts from the beginnings of parts all over a source; bad rows are passed over.

    Raises:
        DataError: if a file cannot be read, or, in strict mode, at a bad row.
    """
    size = sum(path.stat().st_size for path in source.paths)
    shards = source.shards(max(size // _PARTS, _LEAST_PART))
    for shard in shards:
        for record in islice(shard.records(Tally("sample"), Quarantine()), -(-PROMPTS // len(shards))):
            assert isinstance(record, Feedback)
            yield record


def learn_reader(sample: Iterable[Feedback]) -> Reader:
    """Learn what critiques say of overall scores, and rationales of ratings, from prompts of all parts of the set.

    Args:
        sample: all of it is learned from: see ``PROMPTS`` and ``sample_of``.
    """
    critiques: list[tuple[str, float, int]] = []
    by_aspect: defaultdict[str, list[tuple[str, float, int]]] = defaultdict(list)
    for feedback in sample:
        fold = fold_of(feedback.prompt_id)
        for item in feedback.completions:
            if item.critique and item.critique.score is not None and item.critique.text:
                critiques.append((item.critique.text, item.critique.score, fold))
            for rating in item.ratings:
                if rating.value is not None and rating.rationale:
                    by_aspect[rating.aspect].append((rating.rationale, rating.value, fold))
    tens = sum(score == _TEN for _, score, _ in critiques)
    trusting = tens > _DISTRUSTED * len(critiques)
    models = {aspect: _learned(rows, True) for aspect, rows in sorted(by_aspect.items())}
    found = {aspect: model for aspect, model in models.items() if model is not None}
    return Reader(_learned(critiques, trusting), found)


class Readings:
    """Numbers of each completion: the score that its critique speaks for, its ratings and those of its rationales."""

    def __init__(self, reader: Reader) -> None:
        self._reader: Reader | None = reader
        self._pending: list[Feedback] = []
        self.expected, self.repeated = array("d"), array("b")
        self._rationales = {name: _Rationales() for name in sorted(reader.aspects)}

    def add(self, feedback: Feedback) -> None:
        """Take a row in; it is read with others."""
        self._pending.append(feedback)
        if len(self._pending) >= _BLOCK:
            self._flush()

    def finish(self) -> None:
        """Read what waits, and let go of the models: what is left are numbers."""
        self._flush()
        self._reader = None

    def merge(self, other: "Readings") -> None:
        """Take in what another holds of the rows that follow."""
        self._flush()
        other._flush()
        before = len(self.expected)
        self.expected.extend(other.expected)
        self.repeated.extend(other.repeated)
        for name, theirs in other._rationales.items():
            self._rationales.setdefault(name, _Rationales()).merge(theirs, before)

    def rationales(self) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.float32]]]:
        """Aspect by aspect: number of the completion, its rating, and the rating that the rationale speaks for.

        Of a completion with four rated aspects these are most of what is held: they are given once, and let go of.
        """
        while self._rationales:
            columns = self._rationales.pop(min(self._rationales))
            if len(columns.owners):
                yield np.asarray(columns.owners), np.asarray(columns.values), np.asarray(columns.spoken)
            del columns

    def _flush(self) -> None:
        rows, self._pending = self._pending, []
        if not rows or self._reader is None:
            return
        folds = [fold_of(feedback.prompt_id) for feedback in rows for _ in feedback.completions]
        items = [item for feedback in rows for item in feedback.completions]
        first = len(self.expected)
        if (model := self._reader.critique) is not None:
            texts = [item.critique.text if item.critique else "" for item in items]
            self.expected.frombytes(model.predict(texts, folds).tobytes())
        else:
            self.expected.extend([math.nan] * len(items))
        self.repeated.extend(mark for feedback in rows for mark in _repeated(feedback))
        for name, columns in self._rationales.items():
            found = [
                (index, rating.value, rating.rationale)
                for index, item in enumerate(items)
                for rating in item.ratings
                if rating.aspect == name and rating.value is not None and rating.rationale
            ]
            columns.owners.extend([first + index for index, _, _ in found])
            columns.values.extend([value for _, value, _ in found])
            texts, of = [text for _, _, text in found], [folds[index] for index, _, _ in found]
            columns.spoken.frombytes(self._reader.aspects[name].predict(texts, of).astype(np.float32).tobytes())


class _Rationales:
    """The rated rationales of one aspect, twelve bytes of each."""

    def __init__(self) -> None:
        self.owners, self.values, self.spoken = array("I"), array("f"), array("f")

    def merge(self, other: "_Rationales", before: int) -> None:
        """Take in those of the rows that follow ``before`` completions."""
        self.owners.frombytes((np.asarray(other.owners) + np.uint32(before)).tobytes())
        self.values.extend(other.values)
        self.spoken.extend(other.spoken)


def _repeated(feedback: Feedback) -> list[int]:
    """1 for each completion whose text another has too, with another overall score or mean rating."""
    texts = Counter([item.text for item in feedback.completions])
    if len(texts) == len(feedback.completions):
        return [0] * len(texts)
    marks = []
    for item in feedback.completions:
        twins = [other for other in feedback.completions if other.text == item.text] if texts[item.text] > 1 else []
        marks.append(int(len({(other.overall_score, other.mean_rating) for other in twins}) > 1))
    return marks


def _learned(rows: list[tuple[str, float, int]], trusting: bool) -> TextModel | None:
    texts, scores, folds = ([row[part] for row in rows] for part in range(3))
    return learn(texts, scores, folds, None if trusting else [score != _TEN for score in scores])  # type: ignore[arg-type]

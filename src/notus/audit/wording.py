"""What score does the wording of a critique, or of a rationale, speak for? Learned on a sample of the set itself.

    models = learn_models(sample_prompts(source))       # of the critiques, and of the rationales of each aspect
    scores = TextScores(models)
    scores.add(feedback) …                              # numbers only are held: no text beyond a block of rows

A text is its words and pairs of neighbouring words; a word is a run of ASCII letters (without case), digits,
underscores and of what is not ASCII. Words are hashed in whole arrays: with b the bytes of a block of texts and p odd,

    H[i] = Σ_{k<i} b[k]·p^k  (mod 2^64)          hash of bytes s … e−1 = (H[e] − H[s]) · p^{−s}

which does not depend on where the word stands. The most frequent words and pairs of the sample are the features:
x = number of occurrences / √(words of the text). The score is predicted by ridge regression, for each fold of the
prompts with the texts of the other folds; only λ, one number, is chosen by the error on all of them.

Faulty scores teach too. So each model is fitted twice, the second time without the twentieth of the texts that the
first fits worst (least trimmed squares in one step: Rousseeuw 1984, J. American Statistical Association 79, pages
871–880), and scores that are known to be often wrong can be left out from the beginning. Where wording does not bring
the error on unseen prompts below that of a constant, there is no model.

Owns which text is learned against which number, the features and the models. What a difference between text and score
means is the business of ``audit.signals``, the folds of prompts are those of ``core.splits``.
"""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError
from notus.core.parallel import map_shards
from notus.core.records import Feedback
from notus.core.splits import FOLDS, fold_of
from notus.core.stage import Tally
from notus.core.text import counted
from notus.formats.format import Data
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source
from notus.stats.ridge import cross_fit, moments

__all__ = [
    "LEAST",
    "PROMPTS",
    "TextModel",
    "TextModels",
    "TextScores",
    "learn",
    "learn_models",
    "matrix_of",
    "sample_prompts",
    "sample_records",
    "vocabulary_of",
]

LEAST = 100
"""Texts with a score below which nothing is learned."""
PROMPTS = 2048
"""Prompts to learn from. With four answers to each their texts take a model's size; more would teach little."""

_TEXTS_AT_ONCE = 512
_PARTS = 64
_LEAST_PART = 1 << 20
_TEN = 10.0
_DISTRUSTED = 0.5
"""10s teach nothing, for they are often misread 1s; unless most scores are 10s, and there is nothing else to learn."""
_FEATURES = 512
_LEAST_COUNT = 3
_BITS = 20
_BLOCK = 1 << 16
"""Characters of texts that are hashed at once: their arrays, eight times as large, stay in the processor's cache."""
_ODD = 0x9E3779B97F4A7C15
_MIX = np.uint64(0xD6E8FEB86659FD93)
_PENALTIES = (0.125, 0.5, 2.0, 8.0)
_TRIM = 0.05
_SKILL = 0.99
_KNOWN = 0.1
"""Share of the words that a text must share with those that a model learned from; below it is in other words, most
often in another language, and is not read."""
_CRITIQUES = "critiques"

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]

_LOWER = bytes((byte + 32 if 65 <= byte <= 90 else byte) + 1 & 255 for byte in range(256))
"""Byte → what is hashed of it: 1 + the byte without case. 255, for which there is no room, stands in no UTF-8."""
_IN_WORD = bytes(byte >= 128 or byte == 95 or chr(byte).isalnum() for byte in range(256))


@dataclass(frozen=True)
class TextModel:
    """A model for each fold of the prompts, which has seen no text of that fold."""

    buckets: NDArray[np.int32]
    """Hash bucket of each feature."""
    weights: Floats
    """Of shape (folds, features)."""
    intercepts: Floats
    penalty: float
    """λ of the ridge."""
    texts: int
    """Number of texts that it was learned from."""

    @cached_property
    def _column(self) -> NDArray[np.int16]:
        """Bucket → feature, −1 for none."""
        column = np.full(1 << _BITS, -1, np.int16)
        column[self.buckets] = np.arange(len(self.buckets), dtype=np.int16)
        return column

    def predict(self, texts: Sequence[str], folds: Sequence[int] | NDArray[np.intp], *, least: float = 0.0) -> Floats:
        """The score that each text speaks for, from the model that has not seen its prompt; NaN without a word.

        Args:
            texts: of critiques or rationales.
            folds: the fold of each text's prompt.
            least: share of its words that a text must share with those that were learned from; NaN below it.
        """
        of = np.asarray(folds, dtype=np.intp)
        found = np.empty(len(texts))
        for start, stop in _blocks(texts):
            columns, owners, lengths = _features(texts[start:stop], self._column)
            here = of[start:stop]
            weights = self.weights.ravel()[(here * self.weights.shape[1])[owners] + columns]
            sums = np.bincount(owners, weights, minlength=stop - start)
            with np.errstate(invalid="ignore"):
                found[start:stop] = self.intercepts[here] + sums / np.sqrt(lengths)  # 0/0, NaN, of no word
            if least:
                known = np.bincount(owners, minlength=stop - start)
                found[start:stop][(known == 0) | (known < least * lengths)] = np.nan
        return found


def learn(
    texts: Sequence[str], scores: Sequence[float], folds: Sequence[int], trusted: Sequence[bool] | None = None
) -> TextModel | None:
    """Learn what texts say of their scores.

    Args:
        texts: of critiques or rationales.
        scores: one for each text, finite.
        folds: the fold of each text's prompt, from ``core.splits.fold_of``.
        trusted: which scores may teach; by default all.

    Returns:
        None where there is too little to learn from: fewer than ``LEAST`` texts, a single score, a single prompt's
        fold, no word that stands three times, or wording that says nothing of the score on unseen prompts.

    Raises:
        DataError: if the three differ in length.
    """
    if not len(texts) == len(scores) == len(folds):
        raise DataError(f"{len(texts)} texts came with {len(scores)} scores and {len(folds)} folds; each needs its own")
    kept = [index for index in range(len(texts)) if trusted is None or trusted[index]]
    target = np.array([scores[index] for index in kept])
    of = np.array([folds[index] for index in kept], dtype=np.intp)
    if len(kept) < LEAST or np.ptp(target) == 0 or len(np.unique(of)) < 2:
        return None
    chosen = [texts[index] for index in kept]
    buckets = vocabulary_of(chosen)
    if not len(buckets):
        return None
    model = TextModel(buckets, np.empty((0, 0)), np.empty(0), 0.0, len(kept))
    matrix = matrix_of(chosen, model)
    parts = [moments(matrix[of == fold], target[of == fold]) for fold in range(FOLDS)]
    errors = {one: np.abs(target - _out_of_fold(matrix, of, *cross_fit(parts, one))) for one in _PENALTIES}
    fits = len(target) - int(len(target) * _TRIM)
    # Without the worst errors: faulty scores are missed by every model alike, and by the best one most of all.
    penalty = min(_PENALTIES, key=lambda one: float(np.sort(errors[one])[:fits].mean()))
    constant = np.abs(target - float(np.median(target)))
    if np.sort(errors[penalty])[:fits].mean() > _SKILL * min(
        np.sort(constant)[:fits].mean(), np.sort(np.abs(target - target.mean()))[:fits].mean()
    ):
        return None
    bad = np.zeros(len(target), bool)
    bad[np.argsort(errors[penalty], kind="stable")[fits:]] = True
    worst = [moments(matrix[bad & (of == fold)], target[bad & (of == fold)]) for fold in range(FOLDS)]
    weights, intercepts = cross_fit([part.minus(other) for part, other in zip(parts, worst, strict=True)], penalty)
    return replace(model, weights=weights, intercepts=intercepts, penalty=penalty)


@dataclass(frozen=True)
class TextModels:
    """The models of a set; a critique without one, or an aspect that is missing, is not read."""

    critique: TextModel | None = None
    aspects: dict[str, TextModel] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    """``critiques``, or an aspect → texts with a score in the sample that could teach."""


def sample_prompts(source: Source) -> Iterator[Feedback]:
    """The prompts of ``sample_records``."""
    for record in sample_records(source):
        assert isinstance(record, Feedback)
        yield record


def sample_records(source: Source) -> Iterator[Data]:
    """About ``PROMPTS`` records from the beginnings of parts all over a source; bad rows are passed over.

    Raises:
        DataError: if a file cannot be read, or, in strict mode, at a bad row.
    """
    size = sum(path.stat().st_size for path in source.paths)
    shards = source.shards(max(size // _PARTS, _LEAST_PART))
    for shard in shards:
        yield from islice(shard.records(Tally("sample"), Quarantine()), -(-PROMPTS // len(shards)))


def learn_models(sample: Iterable[Feedback], workers: int | None = 1, *, aspects: bool = True) -> TextModels:
    """Learn what critiques say of overall scores, and rationales of ratings, from prompts of all parts of the set.

    Args:
        sample: all of it is learned from: see ``PROMPTS`` and ``sample_prompts``.
        workers: processes that learn side by side, as for ``core.parallel.map_shards``; each model is the same in any.
        aspects: whether rationales are learned from too.
    """
    critiques: list[_Scored] = []
    by_aspect: defaultdict[str, list[_Scored]] = defaultdict(list)
    for feedback in sample:
        fold = fold_of(feedback.prompt_id)
        for item in feedback.completions:
            if item.critique and item.critique.score is not None and item.critique.text:
                critiques.append((item.critique.text, item.critique.score, fold))
            for rating in item.ratings if aspects else ():
                if rating.value is not None and rating.rationale:
                    by_aspect[rating.aspect].append((rating.rationale, rating.value, fold))
    tens = sum(score == _TEN for _, score, _ in critiques)
    trusting = tens > _DISTRUSTED * len(critiques)
    of_all = [(critiques, trusting), *((rows, True) for _, rows in sorted(by_aspect.items()))]
    critique, *models = map_shards(_learn_from, of_all, workers)
    found = {aspect: model for aspect, model in zip(sorted(by_aspect), models, strict=True) if model is not None}
    trusted = sum(trusting or score != _TEN for _, score, _ in critiques)
    seen = {_CRITIQUES: trusted} | {aspect: len(rows) for aspect, rows in by_aspect.items()}
    return TextModels(critique, found, {name: count for name, count in seen.items() if count})


class TextScores:
    """Numbers of each completion: the score that its critique speaks for, its ratings and those of its rationales."""

    def __init__(self, models: TextModels) -> None:
        self._models: TextModels | None = models
        self._pending: list[Feedback] = []
        self.expected, self.repeated = array("d"), array("b")
        self._rationales = {name: _Rationales() for name in sorted(models.aspects)}
        self._seen = dict(models.seen)
        self._learned = {_CRITIQUES: models.critique is not None} | dict.fromkeys(models.aspects, True)
        self._read: Counter[tuple[str, str]] = Counter()

    def add(self, feedback: Feedback) -> None:
        """Take a row in; it is read with others."""
        self._pending.append(feedback)
        if len(self._pending) >= _TEXTS_AT_ONCE:
            self._flush()

    def finish(self) -> None:
        """Read what waits, and let go of the models: what is left are numbers."""
        self._flush()
        self._models = None

    def merge(self, other: "TextScores") -> None:
        """Take in what another holds of the rows that follow."""
        self._flush()
        other._flush()
        self._seen = self._seen or other._seen
        self._learned |= other._learned
        self._read.update(other._read)
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
                yield np.asarray(columns.owners), np.asarray(columns.values), np.asarray(columns.predicted)
            del columns

    def _flush(self) -> None:
        rows, self._pending = self._pending, []
        if not rows or self._models is None:
            return
        by_row = [fold_of(feedback.prompt_id) for feedback in rows]
        folds = [fold for fold, feedback in zip(by_row, rows, strict=True) for _ in feedback.completions]
        items = [item for feedback in rows for item in feedback.completions]
        first = len(self.expected)
        if (model := self._models.critique) is not None:
            texts = [item.critique.text if item.critique else "" for item in items]
            self.expected.frombytes(self._count(_CRITIQUES, texts, model.predict(texts, folds, least=_KNOWN)).tobytes())
        else:
            self.expected.extend([math.nan] * len(items))
        self.repeated.extend(mark for feedback in rows for mark in _mark_repeated(feedback))
        found: dict[str, list[tuple[int, float, str]]] = {name: [] for name in self._rationales}
        for index, item in enumerate(items):
            for rating in item.ratings:
                if rating.rationale and rating.value is not None and rating.aspect in found:
                    found[rating.aspect].append((index, rating.value, rating.rationale))
        for name, columns in self._rationales.items():
            columns.owners.extend([first + index for index, _, _ in found[name]])
            columns.values.extend([value for _, value, _ in found[name]])
            texts, of = [text for _, _, text in found[name]], [folds[index] for index, _, _ in found[name]]
            scores = self._count(name, texts, self._models.aspects[name].predict(texts, of, least=_KNOWN))
            columns.predicted.frombytes(scores.astype(np.float32).tobytes())

    def unread(self) -> list[str]:
        """What no wording was read of, why, and what it would need; in sentences."""
        said = []
        for name in sorted(self._seen.keys() | {key for key, _ in self._read}):
            what = "of critiques" if name == _CRITIQUES else f"of rationales of {name}"
            read, other, none = (self._read[name, kind] for kind in ("read", "other words", "no text"))
            if not self._learned.get(name):
                seen = self._seen[name]
                why = f"the sample has {seen:,} with a score that can teach, and it takes {LEAST}"
                if seen >= LEAST:
                    why = f"on {seen:,} of the sample it told no more of unseen scores than a constant does"
                said.append(f"The wording {what} was not read: {why}.")
            elif other or none:
                parts = [f"{other:,} are in other words than those it was learned from"] if other else []
                parts += [f"{counted(none, 'completion has', 'completions have')} none"] if none else []
                needs = f" In another language it takes {LEAST} scored texts of it, audited alone." if other else ""
                said.append(
                    f"The wording {what} was read in {read:,} completions, and not in all: {', '.join(parts)}.{needs}"
                )
        return said

    def _count(self, name: str, texts: Sequence[str], found: Floats) -> Floats:
        """Count what was read; the scores come back."""
        unknown = np.isnan(found)
        empty = sum(not text for text in texts)
        self._read[name, "read"] += int((~unknown).sum())
        self._read[name, "no text"] += empty
        self._read[name, "other words"] += int(unknown.sum()) - empty
        return found


class _Rationales:
    """The rated rationales of one aspect, twelve bytes of each."""

    def __init__(self) -> None:
        self.owners, self.values, self.predicted = array("I"), array("f"), array("f")

    def merge(self, other: "_Rationales", before: int) -> None:
        """Take in those of the rows that follow ``before`` completions."""
        self.owners.frombytes((np.asarray(other.owners) + np.uint32(before)).tobytes())
        self.values.extend(other.values)
        self.predicted.extend(other.predicted)


def _mark_repeated(feedback: Feedback) -> list[int]:
    """1 for each completion whose text another has too, with another overall score or mean rating."""
    if len({item.text for item in feedback.completions}) == len(feedback.completions):
        return [0] * len(feedback.completions)
    texts = Counter([item.text for item in feedback.completions])
    marks = []
    for item in feedback.completions:
        twins = [other for other in feedback.completions if other.text == item.text] if texts[item.text] > 1 else []
        marks.append(int(len({(other.overall_score, other.mean_rating) for other in twins}) > 1))
    return marks


_Scored = tuple[str, float, int]
"""A text, its score, and the fold of its prompt."""


def _learn_from(given: tuple[list[_Scored], bool]) -> TextModel | None:
    """A model of texts; the other part says whether 10s may teach."""
    rows, trusting = given
    texts, scores, folds = [text for text, _, _ in rows], [score for _, score, _ in rows], [fold for *_, fold in rows]
    return learn(texts, scores, folds, None if trusting else [score != _TEN for score in scores])


def _out_of_fold(matrix: NDArray[np.float32], folds: NDArray[np.intp], weights: Floats, intercepts: Floats) -> Floats:
    found = np.empty(len(folds))
    for fold in range(FOLDS):
        found[folds == fold] = matrix[folds == fold] @ weights[fold] + intercepts[fold]
    return found


def vocabulary_of(texts: Sequence[str]) -> NDArray[np.int32]:
    """The most frequent buckets, which get a feature each."""
    buckets = np.concatenate([_occurrences(texts[start:stop])[0] for start, stop in _blocks(texts)])
    counts = np.bincount(buckets, minlength=1 << _BITS)
    chosen = np.argsort(-counts, kind="stable")[:_FEATURES]
    return chosen[counts[chosen] >= _LEAST_COUNT].astype(np.int32)


def matrix_of(texts: Sequence[str], model: TextModel) -> NDArray[np.float32]:
    """The features of a model, text by text."""
    column, size = model._column, len(model.buckets)
    matrix = np.zeros((len(texts), size), np.float32)
    for start, stop in _blocks(texts):
        columns, owners, lengths = _features(texts[start:stop], column)
        counts = np.bincount(owners * size + columns, minlength=(stop - start) * size).reshape(stop - start, size)
        matrix[start:stop] = counts / np.sqrt(np.maximum(lengths, 1))[:, None]
    return matrix


def _features(
    texts: Sequence[str], column: NDArray[np.int16]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The feature of each occurrence that has one, its text, and the number of words of each text."""
    buckets, owners, lengths = _occurrences(texts)
    columns = column[buckets]
    known = np.flatnonzero(columns >= 0)
    return columns[known].astype(np.int64), owners[known], lengths


def _occurrences(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Bucket of each word and each pair of neighbours, the text that it stands in, and the words of each text."""
    words, owners = _words(texts)
    same = owners[1:] == owners[:-1]
    pairs = (words[:-1] * _MIX + words[1:])[same]
    buckets = ((np.concatenate((words, pairs)) * _MIX) >> np.uint64(64 - _BITS)).astype(np.int64)
    return buckets, np.concatenate((owners, owners[1:][same])), np.bincount(owners, minlength=len(texts))


def _words(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
    """Hash of each word of a block of texts, in order, and the text that it stands in."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    joined = b"\n".join(encoded)
    inside = np.frombuffer(b"\0" + joined.translate(_IN_WORD) + b"\0", np.bool_)
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = edges[::2], edges[1::2]
    up, down = _powers(1 << max(len(joined).bit_length(), _BLOCK.bit_length() + 1))
    sums = np.zeros(len(joined) + 1, np.uint64)
    np.cumsum(np.frombuffer(joined.translate(_LOWER), np.uint8) * up[: len(joined)], out=sums[1:])
    hashes = (sums[ends] - sums[starts]) * down[starts]
    before = np.searchsorted(starts, np.cumsum([len(text) + 1 for text in encoded]))
    return hashes, np.repeat(np.arange(len(texts)), np.diff(before, prepend=0))


@lru_cache(maxsize=2)
def _powers(count: int) -> tuple[Hashes, Hashes]:
    """p^k and p^−k modulo 2^64, for k from 0."""
    up, down = np.full(count, _ODD, np.uint64), np.full(count, pow(_ODD, -1, 1 << 64), np.uint64)
    up[0] = down[0] = 1
    return np.multiply.accumulate(up), np.multiply.accumulate(down)


def _blocks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Borders of blocks of texts of about ``_BLOCK`` characters."""
    start, size = 0, 0
    for index, text in enumerate(texts):
        size += len(text) + 1
        if size >= _BLOCK or index - start >= 4095:
            yield start, index + 1
            start, size = index + 1, 0
    if start < len(texts):
        yield start, len(texts)

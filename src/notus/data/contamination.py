"""Contamination: prompts that hold a question of a benchmark, with the evidence, and the curve behind the thresholds.

A prompt is matched by a question in one of three kinds, looked for in this order:

- ``exact``: the same words in the same order, and no others;
- ``contained``: at least half of the question's words lie in 8-grams that the prompt holds too. Eight words and half of
  the question are what Tülu 3 was decontaminated with (Lambert et al. 2024, https://arxiv.org/abs/2411.15124);
- ``near``: at least the similarity .8 by weight of aligned words, typing errors allowed for. See ``data.overlap``.

Both thresholds can be judged by the *controls*: each question with every second content word replaced by one of like
frequency in the benchmarks. What a control matches is no contamination, so the number of prompts that controls match at
a threshold says how many false matches are to be expected there, and somewhat overstates it: a control is nearer to its
question than most other questions are.

Owns kinds, thresholds, controls and the curve. Reading questions is the business of ``data.benchmarks``.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np
import pydantic
from numpy.typing import NDArray

from notus.core.config import Config
from notus.data.benchmarks import Item
from notus.data.duplicates import prompt_id
from notus.data.layouts import Data
from notus.data.overlap import Alignment, Seeds, align, common_starts, weight_of
from notus.data.words import Block, normal_form, prompt_text, words_of

__all__ = ["CURVE", "CurvePoint", "Match", "Matching", "Overlaps", "Questions", "contamination_curve", "controls"]

Words = Sequence[bytes]
Kind = Literal["exact", "contained", "near"]

CURVE = tuple(round(0.3 + 0.05 * step, 2) for step in range(15))
"""Thresholds of the curve."""
_AT_ONCE = 512
_SPAN = 400
_BLOCK = 32
"""Words of like frequency among which a control's word is drawn."""


class Matching(Config):
    """From when on a prompt holds a question."""

    ngram: int = pydantic.Field(default=8, ge=3)
    """Words of an n-gram, for what is contained."""
    coverage: float = pydantic.Field(default=0.5, gt=0, le=1)
    """Least share of a question's words that lie in shared n-grams."""
    similarity: float = pydantic.Field(default=0.8, gt=0, le=1)
    """Least similarity of a near match."""


@dataclass(frozen=True)
class Match:
    """A prompt that holds a question of a benchmark."""

    row: int
    """Number of the prompt's row, from 0."""
    prompt: str
    """Id of the prompt."""
    benchmark: str
    item: str
    question: str
    kind: Kind
    similarity: float
    """1 for an exact match, the coverage of one that is contained, the similarity of a near one."""
    span: str
    """The words of the prompt that match, normalised."""


@dataclass(frozen=True)
class Overlaps:
    """What was found in a shard; small, and can be sent to another process."""

    matches: tuple[Match, ...]
    scores: NDArray[np.float32]
    """Of shape (prompts, 4): best coverage and best similarity, by a question and by a control."""

    @classmethod
    def joined(cls, parts: Sequence["Overlaps"]) -> "Overlaps":
        """What was found in several shards, the rows counted on."""
        matches: list[Match] = []
        start = 0
        for part in parts:
            matches += [Match(**(vars(match) | {"row": match.row + start})) for match in part.matches]
            start += len(part.scores)
        return cls(tuple(matches), np.concatenate([np.zeros((0, 4), np.float32), *(part.scores for part in parts)]))


@dataclass(frozen=True)
class CurvePoint:
    """How many prompts are matched at a threshold, by questions and by controls."""

    measure: Literal["coverage", "similarity"]
    threshold: float
    questions: int
    controls: int


class Questions:
    """The questions of benchmarks, ready to be looked for in prompts. It can be sent to another process.

    Args:
        items: of ``read_benchmarks``.
        matching: from when on a prompt holds one.
        with_controls: whether controls are looked for too; that takes about as long again.
    """

    def __init__(self, items: Sequence[Item], matching: Matching | None = None, *, with_controls: bool = True) -> None:
        self.items = tuple(items)
        self.matching = matching or Matching()
        self._words = [words_of(item.text) for item in items]
        self._forms = {normal_form(words): index for index, words in reversed(list(enumerate(self._words)))}
        self._common = common_starts(self._words, self.matching.ngram)
        self._controls = controls(self._words) if with_controls else []
        self._seeds = Seeds(Block.of(self._words))
        self._control_seeds = Seeds(Block.of(self._controls))

    def search(self, records: Iterable[Data]) -> Overlaps:
        """Look for the questions in the prompts of a shard."""
        parts: list[Overlaps] = []
        waiting: list[tuple[str, Words]] = []
        for record in records:
            waiting.append((prompt_id(record), words_of(prompt_text(record))))
            if len(waiting) == _AT_ONCE:
                parts.append(self.search_words(waiting))
                waiting = []
        return Overlaps.joined([*parts, self.search_words(waiting)])

    def search_words(self, prompts: Sequence[tuple[str, Words]], block: Block | None = None) -> Overlaps:
        """Look for the questions in prompts that are given as (prompt id, words), and as numbers if there are any."""
        texts = [words for _, words in prompts]
        block = block or Block.of(texts)
        scores = np.zeros((len(texts), 4), np.float32)
        best: dict[int, tuple[tuple[int, float], Match]] = {}
        for text, question, found in self._aligned(self._seeds, self._words, texts, block):
            _raise_to(scores[text, :2], found)
            kind = self._kind(found)
            similarity = found.coverage if kind == "contained" else found.similarity
            rank = (kind == "contained", similarity)
            if kind and (text not in best or rank > best[text][0]):
                span = b" ".join(texts[text][found.start : found.end])
                best[text] = rank, self._match(text, prompts[text][0], question, kind, similarity, span)
        for text, _, found in self._aligned(self._control_seeds, self._controls, texts, block):
            _raise_to(scores[text, 2:], found)
        matches = {text: match for text, (_, match) in best.items()}
        for text, words in enumerate(texts):
            if words and (same := self._forms.get(normal_form(words))) is not None:
                scores[text, :2] = 1
                matches[text] = self._match(text, prompts[text][0], same, "exact", 1.0, b" ".join(words))
        return Overlaps(tuple(matches[text] for text in sorted(matches)), scores)

    def _aligned(
        self, seeds: Seeds, questions: Sequence[Words], texts: Sequence[Words], block: Block
    ) -> Iterable[tuple[int, int, Alignment]]:
        for text, question, shifts in seeds.candidates(block):
            common = self._common[question]  # a control counts as its question does
            yield text, question, align(questions[question], texts[text], shifts, self.matching.ngram, common)

    def _kind(self, found: Alignment) -> Kind | None:
        if found.coverage >= self.matching.coverage:
            return "contained"
        return "near" if found.similarity >= self.matching.similarity else None

    def _match(
        self,
        row: int,
        prompt: str,
        question: int,
        kind: Literal["exact", "contained", "near"],
        found: float,
        span: bytes,
    ) -> Match:
        item = self.items[question]
        shown = span.decode("utf-8", "replace")[:_SPAN]
        return Match(row, prompt, item.benchmark, item.name, item.text, kind, round(found, 4), shown)


def contamination_curve(scores: NDArray[np.float32]) -> list[CurvePoint]:
    """How many prompts questions and controls match, at each threshold of ``CURVE`` and by each of the two measures."""
    return [
        CurvePoint(measure, level, *(int((scores[:, side + column] >= level - 1e-6).sum()) for side in (0, 2)))
        for column, measure in enumerate[Literal["coverage", "similarity"]](("coverage", "similarity"))
        for level in CURVE
    ]


def controls(questions: Sequence[Words]) -> list[list[bytes]]:
    """The questions with every second content word replaced by another of like frequency among the questions.

    Words are ordered by their number of occurrences, and each is exchanged inside blocks of 32 in that order, in a way
    that depends on the words alone.
    """
    counts = Counter(word for words in questions for word in words if weight_of(word) > 1)
    ordered = sorted(counts, key=lambda word: (counts[word], crc32(word)))
    other: dict[bytes, bytes] = {}
    for start in range(0, len(ordered), _BLOCK):
        block = ordered[start : start + _BLOCK]
        other |= dict(zip(block, block[len(block) // 2 :] + block[: len(block) // 2], strict=True))
    made = []
    for words in questions:
        content = [place for place, word in enumerate(words) if word in other]
        replaced = set(content[::2])
        made.append([other[word] if place in replaced else word for place, word in enumerate(words)])
    return made


def _raise_to(best: NDArray[np.float32], found: Alignment) -> None:
    best[0], best[1] = max(best[0], found.coverage), max(best[1], found.similarity)

"""Contamination: prompts that hold an item of a benchmark, with the evidence, and the curve behind the thresholds.

A prompt is matched by an item in one of three kinds, looked for in this order:

- ``exact``: the same words in the same order, and no others;
- ``contained``: at least half of the item's words lie in 8-grams that the prompt holds too. Eight words and half of the
  item are what Tülu 3 was decontaminated with (Lambert et al. 2024, https://arxiv.org/abs/2411.15124);
- ``near``: at least the similarity .8 by weight of aligned words, typing errors allowed for.

A pair of neighbouring words, or of words with one between them, is an *anchor*. A text and an item that share a fifth
of the item's anchors are aligned, around the place where most of them lie. Two numbers come out, both from 0 to 1:

- *coverage*: the share of the item's words that lie in an n-gram of it that the text holds too. Short of the whole
  item, an n-gram of three or more items does not count, as "which of the following best describes the relationship",
  nor do n-grams in a row that weigh less than ``LEAST_NGRAM_WEIGHT``, as "how would you do that if it";
- *similarity*: the weight of the words that can be aligned, in order, over the weight of the item or of the aligned
  span of the text, whichever is larger. Content words weigh 3, function words 1. A word that is a typing error away
  (one edit from 4 letters on, two from 8, not at both ends; never a number) counts nine tenths.

An item of fewer than n words has coverage 1 or 0; its similarity is taken over the whole text, because so few words
stand by chance in a long one. An item of fewer than ``LEAST_WORDS`` words, or lighter than ``LEAST_WEIGHT``, has
neither: it can only equal a text.

Both thresholds can be judged by the *controls*: each item with every second content word replaced by one of like
frequency in the benchmarks. What a control matches is no contamination, so the number of prompts that controls match at
a threshold says how many false matches are to be expected there, and somewhat overstates it: a control is nearer to its
item than most other items are.

Owns kinds, numbers, thresholds, controls and the curve. Reading items is the business of ``clean.benchmarks``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import Match as MatchingBlock
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal
from zlib import crc32

import numpy as np
import pydantic
from numpy.typing import NDArray

from notus.clean.benchmarks import BenchmarkItem
from notus.clean.words import FUNCTION_WORDS, Block, edits, normal_form, words_of
from notus.core.config import Config

__all__ = [
    "CURVE",
    "LEAST_NGRAM_WEIGHT",
    "LEAST_WEIGHT",
    "LEAST_WORDS",
    "Alignment",
    "Anchors",
    "CurvePoint",
    "ItemIndex",
    "Match",
    "Matching",
    "Overlaps",
    "align",
    "common_starts",
    "contamination_curve",
    "controls",
    "weight_of",
]

CURVE = tuple(round(0.3 + 0.05 * step, 2) for step in range(15))
"""Thresholds of the curve."""
LEAST_WORDS = 5
LEAST_WEIGHT = 9.0
LEAST_NGRAM_WEIGHT = 14.0
_CONTENT, _FUNCTION, _TYPO = 3.0, 1.0, 0.9
_SHORTEST = 4
"""Letters of a word that may hold a typing error."""
_COMMON = 32
"""Items that share an anchor from which on it says nothing."""
_SHARE = 0.2
_SHARED = 3
"""Items that share an n-gram from which on it says nothing."""
_BITS = 23
_SPAN = 400
_LIKE_FREQUENCY = 32
"""Words of like frequency among which a control's word is drawn."""
_PAIR = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
_GENERIC = ("s", "t", "re", "m", "one", "following")
_FUNCTION_WORDS = frozenset(word.encode() for word in (*FUNCTION_WORDS["en"].split(), *_GENERIC))

Longs = NDArray[np.int64]
Words = Sequence[bytes]
Kind = Literal["exact", "contained", "near"]


@dataclass(frozen=True)
class Alignment:
    """An item found in a text."""

    coverage: float
    similarity: float
    start: int
    """First word of the text that was aligned …"""
    end: int
    """… and the one after the last."""


class Anchors:
    """The anchors of items, ready to be looked for in texts.

    Args:
        questions: the words of each, as numbers.
    """

    def __init__(self, questions: Block) -> None:
        anchors, owner, place = _anchors(questions)
        names, which, count = np.unique(anchors, return_inverse=True, return_counts=True)
        rare = (count <= _COMMON)[which]
        order = np.argsort(which[rare], kind="stable")
        self._owner, self._place = owner[rare][order], place[rare][order]
        self._names = names[count <= _COMMON]
        self._from = np.concatenate((np.zeros(1, np.int64), np.cumsum(count[count <= _COMMON])))
        self._needed = np.maximum(1, _SHARE * np.bincount(self._owner, minlength=len(questions.ends)))
        self._bitmap = np.zeros(1 << _BITS, bool)
        self._bitmap[self._names >> np.uint64(64 - _BITS)] = True

    def candidates(self, texts: Block) -> Iterator[tuple[int, int, Longs]]:
        """Text, item, and where the shared anchors lie: place in the text minus place in the item, sorted."""
        anchors, owner, place = _anchors(texts)
        maybe = np.flatnonzero(self._bitmap[anchors >> np.uint64(64 - _BITS)])
        at = np.searchsorted(self._names, anchors[maybe])
        at[at == len(self._names)] = 0
        hit = self._names[at] == anchors[maybe] if len(self._names) else np.zeros(len(maybe), bool)
        maybe, at = maybe[hit], at[hit]
        sizes = self._from[at + 1] - self._from[at]
        total = np.cumsum(sizes)
        posting = np.repeat(self._from[at] - (total - sizes), sizes) + np.arange(int(total[-1]) if len(total) else 0)
        pair = np.repeat(owner[maybe], sizes) * len(self._needed) + self._owner[posting]
        often = np.bincount(pair)[pair] >= self._needed[self._owner[posting]] if len(pair) else pair > 0
        pair, posting = pair[often], posting[often]
        shift = np.repeat(place[maybe], sizes)[often] - self._place[posting]
        order = np.lexsort((shift, pair))
        pair, posting, shift = pair[order], posting[order], shift[order]
        new = np.concatenate((np.ones(1, bool), pair[1:] != pair[:-1]))[: len(pair)]
        starts = np.flatnonzero(new)
        stops = np.append(starts[1:], len(pair))[: len(starts)]
        of, question = np.divmod(pair[starts], len(self._needed))
        postings = max(len(self._owner), 1)
        distinct = np.unique((np.cumsum(new) - 1) * postings + posting) // postings
        enough = np.flatnonzero(np.bincount(distinct, minlength=len(starts)) >= self._needed[question])
        for text, item, start, stop in zip(
            *(each[enough].tolist() for each in (of, question, starts, stops)), strict=True
        ):
            yield text, item, shift[start:stop]


def common_starts(questions: Sequence[Sequence[bytes]], n: int) -> list[frozenset[int]]:
    """Of each item, the places at which an n-gram begins that three or more items hold."""
    grams = [[tuple(words[at : at + n]) for at in range(len(words) - n + 1)] for words in questions]
    held = Counter(gram for each in grams for gram in set(each))
    return [frozenset(at for at, gram in enumerate(each) if held[gram] >= _SHARED) for each in grams]


def align(
    question: Sequence[bytes], text: Sequence[bytes], shifts: Longs, n: int, common: frozenset[int] = frozenset()
) -> Alignment:
    """How much of an item stands in a text, around the place where most shared anchors lie.

    Args:
        question: its words.
        text: its words.
        shifts: of ``Anchors.candidates``.
        n: words of an n-gram.
        common: of ``common_starts``.
    """
    slack = 2 + len(question) // 4
    first = shifts[np.argmax(np.searchsorted(shifts, shifts + slack, side="right") - np.arange(len(shifts)))]
    start = max(0, int(first) - slack)
    window = text[start : int(first) + len(question) + 2 * slack]
    blocks = [
        block for block in SequenceMatcher(None, question, window, autojunk=False).get_matching_blocks() if block.size
    ]
    weights, there = _weights(question), _weights(window)
    found = [
        (block.b, block.b + block.size, sum(weights[block.a : block.a + block.size])) for block in blocks
    ] + _typos(question, window, blocks)
    short = len(question) < n
    whole = sum(map(weight_of, text)) if short else 0.0
    matched, low, high = _best_span(sorted(found), there, max(sum(weights), whole))
    heavy = len(question) >= LEAST_WORDS and sum(weights) >= LEAST_WEIGHT
    coverage = _coverage(weights, [(block.a, block.a + block.size) for block in blocks], n, common)
    return Alignment(
        coverage if heavy or not short else 0.0,
        matched if heavy else 0.0,
        start + low,
        start + high,
    )


def weight_of(word: bytes) -> float:
    """1 for a function word of English, 3 for any other word."""
    return _FUNCTION if word in _FUNCTION_WORDS else _CONTENT


def _weights(words: Sequence[bytes]) -> list[float]:
    """``weight_of`` each word; written out, because it is done for each of some hundred thousand words."""
    return [_FUNCTION if word in _FUNCTION_WORDS else _CONTENT for word in words]


def _anchors(block: Block) -> tuple[NDArray[np.uint64], Longs, Longs]:
    """Each anchor with the text that it stands in, and its place there."""
    numbers = block.numbers.astype(np.uint64)
    owner = np.repeat(np.arange(len(block.ends)), np.diff(block.ends, prepend=0))
    place = np.arange(len(numbers)) - block.starts[owner] if len(numbers) else np.zeros(0, np.int64)
    anchors, owners, places = [], [], []
    for step in (1, 2):
        same = np.flatnonzero(owner[step:] == owner[:-step])
        mixed = (numbers[same] * _PAIR[0] ^ numbers[same + step] * _PAIR[step]) * _PAIR[2]
        anchors.append(mixed ^ (mixed >> np.uint64(31)) << np.uint64(7))
        owners.append(owner[same])
        places.append(place[same])
    return np.concatenate(anchors), np.concatenate(owners), np.concatenate(places)


def _best_span(found: list[tuple[int, int, float]], there: list[float], needed: float) -> tuple[float, int, int]:
    """The similarity of the best span of aligned pieces, and where it lies in the window."""
    best = (0.0, 0, 0)
    first, last = 0, len(found)
    while first < last:
        low, high = found[first][0], found[last - 1][1]
        similarity = sum(piece[2] for piece in found[first:last]) / max(needed, sum(there[low:high]))
        if similarity <= best[0]:
            break
        best = (similarity, low, high)
        # A stray word far off costs more than it brings: go on without the weaker end.
        if found[first][2] <= found[last - 1][2]:
            first += 1
        else:
            last -= 1
    return best


def _typos(
    question: Sequence[bytes], window: Sequence[bytes], blocks: list[MatchingBlock]
) -> list[tuple[int, int, float]]:
    """Words between the aligned blocks that are a typing error away from each other, in order."""
    found = []
    edges = [(0, 0), *((block.a + block.size, block.b + block.size) for block in blocks)]
    nexts = [*((block.a, block.b) for block in blocks), (len(question), len(window))]
    for (a, free), (to_a, to_b) in zip(edges, nexts, strict=True):
        start = free
        for word in question[a:to_a]:
            if len(word) < _SHORTEST:
                continue
            near = next((at for at in range(start, to_b) if _is_typo(word, window[at])), None)
            if near is not None:
                found.append((near, near + 1, _TYPO * weight_of(word)))
                start = near + 1
    return found


def _coverage(weights: list[float], blocks: list[tuple[int, int]], n: int, common: frozenset[int]) -> float:
    """Share of words in n-grams that count; an item of fewer than n words must be found as a whole."""
    if (0, len(weights)) in blocks:
        return 1.0
    covered = 0
    for start, stop in blocks:
        held = {at + step for at in range(start, stop - n + 1) if at not in common for step in range(n)}
        if sum(weights[at] for at in held) >= LEAST_NGRAM_WEIGHT:
            covered += len(held)
    return covered / len(weights)


@lru_cache(maxsize=65536)
def _is_typo(a: bytes, b: bytes) -> bool:
    """Whether two words are one edit apart (a swap of neighbours is one), or two where both have eight letters."""
    size = min(len(a), len(b))
    if size < _SHORTEST or abs(len(a) - len(b)) > 2 or (a[0] != b[0] and a[-1] != b[-1]):
        return False
    if any(byte in b"0123456789" for byte in a + b):
        return False
    return edits(a, b) <= (2 if size >= 8 else 1)


class Matching(Config):
    """From when on a prompt holds an item."""

    ngram: int = pydantic.Field(default=8, ge=3)
    """Words of an n-gram, for what is contained."""
    coverage: float = pydantic.Field(default=0.5, gt=0, le=1)
    """Least share of an item's words that lie in shared n-grams."""
    similarity: float = pydantic.Field(default=0.8, gt=0, le=1)
    """Least similarity of a near match."""


@dataclass(frozen=True)
class Match:
    """A prompt that holds an item of a benchmark."""

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
    """Of shape (prompts, 4): best coverage and best similarity, by an item and by a control."""

    @classmethod
    def concat(cls, parts: Sequence["Overlaps"]) -> "Overlaps":
        """What was found in several shards, the rows counted on."""
        matches: list[Match] = []
        start = 0
        for part in parts:
            matches += [Match(**(vars(match) | {"row": match.row + start})) for match in part.matches]
            start += len(part.scores)
        return cls(tuple(matches), np.concatenate([np.zeros((0, 4), np.float32), *(part.scores for part in parts)]))


@dataclass(frozen=True)
class CurvePoint:
    """How many prompts are matched at a threshold, by items and by controls."""

    measure: Literal["coverage", "similarity"]
    threshold: float
    questions: int
    controls: int


class ItemIndex:
    """The items of benchmarks, ready to be looked for in prompts. It can be sent to another process.

    Args:
        items: of ``read_benchmarks``.
        matching: from when on a prompt holds one.
        with_controls: whether controls are looked for too; that takes about as long again.
    """

    def __init__(
        self, items: Sequence[BenchmarkItem], matching: Matching | None = None, *, with_controls: bool = True
    ) -> None:
        self.items = tuple(items)
        self.matching = matching or Matching()
        self._words = [words_of(item.text) for item in items]
        self._forms = {normal_form(words): index for index, words in reversed(list(enumerate(self._words)))}
        self._common = common_starts(self._words, self.matching.ngram)
        self._controls = controls(self._words) if with_controls else []
        self._anchors = Anchors(Block.of(self._words))
        self._control_anchors = Anchors(Block.of(self._controls))

    def search(self, prompts: Sequence[tuple[str, Words]], block: Block | None = None) -> Overlaps:
        """Look for the items in prompts.

        Args:
            prompts: id and words of each.
            block: the words as numbers, where they are there already.
        """
        texts = [words for _, words in prompts]
        block = block or Block.of(texts)
        scores = np.zeros((len(texts), 4), np.float32)
        best: dict[int, tuple[tuple[int, float], Match]] = {}
        for text, question, found in self._align_all(self._anchors, self._words, texts, block):
            _raise_to(scores[text, :2], found)
            kind = self._kind(found)
            similarity = found.coverage if kind == "contained" else found.similarity
            rank = (kind == "contained", similarity)
            if kind and (text not in best or rank > best[text][0]):
                span = b" ".join(texts[text][found.start : found.end])
                best[text] = rank, self._match(text, prompts[text][0], question, kind, similarity, span)
        for text, _, found in self._align_all(self._control_anchors, self._controls, texts, block):
            _raise_to(scores[text, 2:], found)
        matches = {text: match for text, (_, match) in best.items()}
        for text, words in enumerate(texts):
            if words and (same := self._forms.get(normal_form(words))) is not None:
                scores[text, :2] = 1
                matches[text] = self._match(text, prompts[text][0], same, "exact", 1.0, b" ".join(words))
        return Overlaps(tuple(matches[text] for text in sorted(matches)), scores)

    def _align_all(
        self, anchors: Anchors, questions: Sequence[Words], texts: Sequence[Words], block: Block
    ) -> Iterable[tuple[int, int, Alignment]]:
        for text, question, shifts in anchors.candidates(block):
            common = self._common[question]  # a control counts as its item does
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
        kind: Kind,
        found: float,
        span: bytes,
    ) -> Match:
        item = self.items[question]
        shown = span.decode("utf-8", "replace")[:_SPAN]
        return Match(row, prompt, item.benchmark, item.name, item.text, kind, round(found, 4), shown)


def contamination_curve(scores: NDArray[np.float32]) -> list[CurvePoint]:
    """How many prompts items and controls match, at each threshold of ``CURVE`` and by each of the two measures."""
    return [
        CurvePoint(measure, level, *(int((scores[:, side + column] >= level - 1e-6).sum()) for side in (0, 2)))
        for column, measure in enumerate[Literal["coverage", "similarity"]](("coverage", "similarity"))
        for level in CURVE
    ]


def controls(questions: Sequence[Words]) -> list[list[bytes]]:
    """The items with every second content word replaced by another of like frequency among the items.

    Words are ordered by their number of occurrences, and each is exchanged inside blocks of 32 in that order, in a way
    that depends on the words alone.
    """
    counts = Counter(word for words in questions for word in words if weight_of(word) > 1)
    ordered = sorted(counts, key=lambda word: (counts[word], crc32(word)))
    other: dict[bytes, bytes] = {}
    for start in range(0, len(ordered), _LIKE_FREQUENCY):
        block = ordered[start : start + _LIKE_FREQUENCY]
        other |= dict(zip(block, block[len(block) // 2 :] + block[: len(block) // 2], strict=True))
    made = []
    for words in questions:
        content = [place for place, word in enumerate(words) if word in other]
        replaced = set(content[::2])
        made.append([other[word] if place in replaced else word for place, word in enumerate(words)])
    return made


def _raise_to(best: NDArray[np.float32], found: Alignment) -> None:
    best[0], best[1] = max(best[0], found.coverage), max(best[1], found.similarity)

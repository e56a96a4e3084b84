"""How much of a question stands in a text: seeds that propose, and an alignment of words that measures.

A pair of neighbouring words, or of words with one between them, is a *seed*. A text and a question that share a fifth
of the question's seeds are aligned, around the place where most of them lie. Two numbers come out, both from 0 to 1:

- *coverage*: the share of the question's words that lie in an n-gram of it that the text holds too. Short of the whole
  question, an n-gram of three or more questions does not count, as "which of the following best describes the
  relationship", nor does a run of words that weighs less than ``LEAST_RUN``, as "how would you do that if it";
- *similarity*: the weight of the words that can be aligned, in order, over the weight of the question or of the aligned
  stretch of the text, whichever is larger. Content words weigh 3, function words 1. A word that is a typing error away
  (one edit from 4 letters on, two from 8, not at both ends; never a number) counts nine tenths.

A question of fewer than n words has coverage 1 or 0; its similarity is taken over the whole text, because so few words
stand by chance in a long one. A question of fewer than ``LEAST_WORDS`` words, or lighter than ``LEAST_WEIGHT``, has
neither: it can only equal a text.

Owns seeds and numbers. From which number on a text is contaminated is owned by ``data.contamination``.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import Match, SequenceMatcher
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from notus.data.words import FUNCTION_WORDS, Block

__all__ = ["LEAST_RUN", "LEAST_WEIGHT", "LEAST_WORDS", "Alignment", "Seeds", "align", "common_starts", "weight_of"]

LEAST_WORDS = 5
LEAST_WEIGHT = 9.0
LEAST_RUN = 14.0
_CONTENT, _FUNCTION, _TYPO = 3.0, 1.0, 0.9
_COMMON = 32
"""Questions that share a seed from which on it says nothing."""
_SHARE = 0.2
_SHARED = 3
"""Questions that share an n-gram from which on it says nothing."""
_BITS = 23
_PAIR = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
_GENERIC = ("s", "t", "re", "m", "one", "following")
_FUNCTION_WORDS = frozenset(word.encode() for word in (*FUNCTION_WORDS["en"].split(), *_GENERIC))

Longs = NDArray[np.int64]


@dataclass(frozen=True)
class Alignment:
    """A question found in a text."""

    coverage: float
    similarity: float
    start: int
    """First word of the text that was aligned …"""
    end: int
    """… and the one after the last."""


class Seeds:
    """The seeds of questions, ready to be looked for in texts.

    Args:
        questions: the words of each, as numbers.
    """

    def __init__(self, questions: Block) -> None:
        seeds, owner, place = _seeds(questions)
        names, which, count = np.unique(seeds, return_inverse=True, return_counts=True)
        rare = (count <= _COMMON)[which]
        order = np.argsort(which[rare], kind="stable")
        self._owner, self._place = owner[rare][order], place[rare][order]
        self._names = names[count <= _COMMON]
        self._from = np.concatenate((np.zeros(1, np.int64), np.cumsum(count[count <= _COMMON])))
        self._needed = np.maximum(1, _SHARE * np.bincount(self._owner, minlength=len(questions.ends)))
        self._bitmap = np.zeros(1 << _BITS, bool)
        self._bitmap[self._names >> np.uint64(64 - _BITS)] = True

    def candidates(self, texts: Block) -> Iterator[tuple[int, int, Longs]]:
        """Text, question, and where the shared seeds lie: place in the text minus place in the question, sorted."""
        seeds, owner, place = _seeds(texts)
        maybe = np.flatnonzero(self._bitmap[seeds >> np.uint64(64 - _BITS)])
        at = np.searchsorted(self._names, seeds[maybe])
        at[at == len(self._names)] = 0
        hit = self._names[at] == seeds[maybe] if len(self._names) else np.zeros(len(maybe), bool)
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
        starts = np.flatnonzero(np.concatenate((np.ones(1, bool), pair[1:] != pair[:-1]))[: len(pair)])
        stops = np.append(starts[1:], len(pair))[: len(starts)]
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            of, question = divmod(int(pair[start]), len(self._needed))
            if len(set(posting[start:stop].tolist())) >= self._needed[question]:
                yield of, question, shift[start:stop]


def common_starts(questions: Sequence[Sequence[bytes]], n: int) -> list[frozenset[int]]:
    """Of each question, the places at which an n-gram begins that three or more questions hold."""
    grams = [[tuple(words[at : at + n]) for at in range(len(words) - n + 1)] for words in questions]
    held = Counter(gram for each in grams for gram in set(each))
    return [frozenset(at for at, gram in enumerate(each) if held[gram] >= _SHARED) for each in grams]


def align(
    question: Sequence[bytes], text: Sequence[bytes], shifts: Longs, n: int, common: frozenset[int] = frozenset()
) -> Alignment:
    """How much of a question stands in a text, around the place where most shared seeds lie.

    Args:
        question: its words.
        text: its words.
        shifts: of ``Seeds.candidates``.
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
    weights = [weight_of(word) for word in question]
    there = [weight_of(word) for word in window]
    found = [
        (block.b, block.b + block.size, sum(weights[block.a : block.a + block.size])) for block in blocks
    ] + _typos(question, window, blocks)
    short = len(question) < n
    whole = sum(map(weight_of, text)) if short else 0.0
    matched, low, high = _best_stretch(sorted(found), there, max(sum(weights), whole))
    heavy = len(question) >= LEAST_WORDS and sum(weights) >= LEAST_WEIGHT
    coverage = _covered(weights, [(block.a, block.a + block.size) for block in blocks], n, common)
    return Alignment(
        coverage if heavy or not short else 0.0,
        matched if heavy else 0.0,
        start + low,
        start + high,
    )


def weight_of(word: bytes) -> float:
    """1 for a function word of English, 3 for any other word."""
    return _FUNCTION if word in _FUNCTION_WORDS else _CONTENT


def _seeds(block: Block) -> tuple[NDArray[np.uint64], Longs, Longs]:
    """Each seed with the text that it stands in, and its place there."""
    numbers = block.numbers.astype(np.uint64)
    owner = np.repeat(np.arange(len(block.ends)), np.diff(block.ends, prepend=0))
    place = np.arange(len(numbers)) - block.starts[owner] if len(numbers) else np.zeros(0, np.int64)
    seeds, owners, places = [], [], []
    for step in (1, 2):
        same = np.flatnonzero(owner[step:] == owner[:-step])
        mixed = (numbers[same] * _PAIR[0] ^ numbers[same + step] * _PAIR[step]) * _PAIR[2]
        seeds.append(mixed ^ (mixed >> np.uint64(31)) << np.uint64(7))
        owners.append(owner[same])
        places.append(place[same])
    return np.concatenate(seeds), np.concatenate(owners), np.concatenate(places)


def _best_stretch(found: list[tuple[int, int, float]], there: list[float], needed: float) -> tuple[float, int, int]:
    """The similarity of the best run of aligned pieces, and where it lies in the window."""
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


def _typos(question: Sequence[bytes], window: Sequence[bytes], blocks: list[Match]) -> list[tuple[int, int, float]]:
    """Words between the aligned blocks that are a typing error away from each other, in order."""
    found = []
    edges = [(0, 0), *((block.a + block.size, block.b + block.size) for block in blocks)]
    nexts = [*((block.a, block.b) for block in blocks), (len(question), len(window))]
    for (a, free), (to_a, to_b) in zip(edges, nexts, strict=True):
        start = free
        for word in question[a:to_a]:
            near = next((at for at in range(start, to_b) if _is_typo(word, window[at])), None)
            if near is not None:
                found.append((near, near + 1, _TYPO * weight_of(word)))
                start = near + 1
    return found


def _covered(weights: list[float], runs: list[tuple[int, int]], n: int, common: frozenset[int]) -> float:
    """Share of words in n-grams that count; a question of fewer than n words must be found as a whole."""
    if (0, len(weights)) in runs:
        return 1.0
    covered = 0
    for start, stop in runs:
        held = {at + step for at in range(start, stop - n + 1) if at not in common for step in range(n)}
        if sum(weights[at] for at in held) >= LEAST_RUN:
            covered += len(held)
    return covered / len(weights)


@lru_cache(maxsize=65536)
def _is_typo(a: bytes, b: bytes) -> bool:
    """Whether two words are one edit apart (a swap of neighbours is one), or two where both have eight letters."""
    size = min(len(a), len(b))
    if size < 4 or abs(len(a) - len(b)) > 2 or (a[0] != b[0] and a[-1] != b[-1]):
        return False
    if any(byte in b"0123456789" for byte in a + b):
        return False
    return _edits(a, b) <= (2 if size >= 8 else 1)


def _edits(a: bytes, b: bytes) -> int:
    """Edits between two words, a swap of neighbours counting as one. Source: Damerau (1964), CACM 7(3)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]

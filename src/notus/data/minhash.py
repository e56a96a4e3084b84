"""MinHash signatures of word sets, and the pairs that they propose: a proposal, never a decision.

A set of words gets ``BANDS`` keys of ``ROWS`` minima each. Two sets of Jaccard similarity J share a key with the
chance 1 − (1 − J^ROWS)^BANDS: .9999 at .8, .99 at .7, .03 at .2. Function words take no part where a set has enough
other words, because they make all long texts alike; what counts below is therefore J of the content words.

Where many sets share a key, what they share is a template: there the keys are computed again without the words that at
least half of them hold, so that the work grows with the sets and not with their square.

Sources: Broder (1997), "On the resemblance and containment of documents"; banding: Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", section 3.4. Hash functions: multiply-shift, Dietzfelbinger et al. (1997).

Owns keys, proposals and the sizes of intersections. Which proposal is a duplicate is owned by ``data.duplicates``.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from notus.data.words import FUNCTION_WORDS, Block, Numbers, hash_words

__all__ = ["BANDS", "ROWS", "band_keys", "content_words", "proposals", "shared_words", "taken"]

Rows = NDArray[np.int64]

BANDS = 20
ROWS = 4
_FEW = 4
"""Content words under which function words take part."""
_MANY = 24
"""Sets with one key from which on they are looked at as a family."""
_CHAIN = 4
"""Neighbours in a family that each set is paired with."""
_DEPTH = 2
_TEXTS = 16_384
"""Texts that are taken out of a block at once."""
_AT_ONCE = 4_000_000
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _odd_numbers(count: int) -> NDArray[np.uint64]:
    """Fixed multipliers, the same in every version of NumPy: splitmix64."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31)) | np.uint64(1)


_FACTORS = _odd_numbers(2 * BANDS * ROWS)
# By the upper half of a word's number: one in a hundred other words counts as a function word too, always the same.
_FUNCTION = np.zeros(1 << 16, bool)
for _words in FUNCTION_WORDS.values():
    _FUNCTION[hash_words(word.encode() for word in _words.split()) >> np.uint32(16)] = True


def content_words(sets: Block) -> NDArray[np.bool_]:
    """Which of the words are content words. Where a set has fewer than four of them, all of its words are."""
    content: NDArray[np.bool_] = ~_FUNCTION[sets.numbers >> np.uint32(16)]
    content |= np.repeat(sets.count(content) < _FEW, np.diff(sets.ends, prepend=0))
    return content


def band_keys(sets: Block) -> Numbers:
    """The keys of each set, of shape (sets, BANDS). A set without words has keys too; it must not be compared."""
    sizes = np.diff(sets.ends, prepend=0)
    keys = np.zeros((len(sizes), BANDS), np.uint32)
    filled = np.flatnonzero(sizes)
    if not len(filled):
        return keys
    owner = np.repeat(np.arange(len(sizes)), sizes)
    content = content_words(sets)
    numbers = sets.numbers[content].astype(np.uint64)
    starts = np.searchsorted(owner[content], filled)
    for band in range(BANDS):
        key = np.zeros(len(filled), np.uint64)
        for row in range(ROWS):
            factor, shift = _FACTORS[2 * (band * ROWS + row) :][:2]
            minima = np.minimum.reduceat((numbers * factor + shift) >> np.uint64(32), starts)
            key = (key ^ minima) * _GOLDEN
            key ^= key >> np.uint64(29)
        keys[filled, band] = (key >> np.uint64(32)).astype(np.uint32)
    return keys


def proposals(keys: Numbers, sets: Block) -> Rows:
    """Pairs of sets that share a key, of shape (pairs, 2), the smaller row first, sorted and each once."""
    found = _pairs(keys, np.arange(len(keys)), sets, _DEPTH)
    unique = np.unique(found)
    return np.stack(np.divmod(unique, max(len(keys), 1)), axis=1)


def _pairs(keys: Numbers, rows: Rows, sets: Block, depth: int) -> Rows:
    """Pairs as ``row · n + other``, n the number of all sets; ``keys[i]`` belongs to the set ``rows[i]``."""
    n = len(sets.ends)
    codes = [np.zeros(0, np.int64)]
    seen: set[bytes] = set()
    for band in range(keys.shape[1]):
        order = np.argsort(keys[:, band], kind="stable")
        sorted_keys = keys[order, band]
        new = np.concatenate((np.ones(1, bool), sorted_keys[1:] != sorted_keys[:-1]))
        sizes = np.diff(np.append(np.flatnonzero(new), len(order)))
        size = np.repeat(sizes, sizes)
        for step in range(1, min(_MANY, int(sizes.max(initial=1)))):
            same = sorted_keys[step:] == sorted_keys[:-step]
            if step > _CHAIN:
                same &= size[step:] < _MANY
            codes.append(rows[order[:-step][same]] * n + rows[order[step:][same]])
        if depth:
            for start, length in zip(np.flatnonzero(new)[sizes >= _MANY], sizes[sizes >= _MANY], strict=True):
                family = rows[order[start : start + length]]
                if (name := family.tobytes()) not in seen:
                    seen.add(name)
                    codes.append(_family(family, sets, depth - 1))
    return np.unique(np.concatenate(codes))


def _family(rows: Rows, sets: Block, depth: int) -> Rows:
    """Pairs inside a family, by the words that fewer than half of its members hold."""
    members = taken(sets, rows)
    words, held = np.unique(members.numbers, return_counts=True)
    payload = members.where(np.isin(members.numbers, words[2 * held < len(rows)]))
    return _pairs(band_keys(payload), rows, sets, depth)


def taken(block: Block, rows: Rows) -> Block:
    """The block of some of the texts, in the order given."""
    starts = block.starts[rows]
    sizes = block.ends[rows] - starts
    ends = np.cumsum(sizes)
    numbers = np.empty(int(ends[-1]) if len(ends) else 0, block.numbers.dtype)
    for first in range(0, len(rows), _TEXTS):  # the places of all words at once would take four times their numbers
        part = slice(first, first + _TEXTS)
        before = int(ends[first] - sizes[first])
        index = np.repeat(starts[part] - (ends[part] - sizes[part]) + before, sizes[part])
        index += np.arange(len(index))
        numbers[before : before + len(index)] = block.numbers[index]
    return Block(numbers, ends.astype(np.int64))


def shared_words(sets: Block, pairs: Rows) -> Rows:
    """Number of words that both sets of each pair hold. The sets are those of ``Block.sets``."""
    shared = np.zeros(len(pairs), np.int64)
    for start, stop in _chunks(sets, pairs):
        left, right = (taken(sets, pairs[start:stop, side]) for side in (0, 1))
        keys = np.concatenate([_owned(left), _owned(right)])
        keys.sort()
        both = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)
        shared[start:stop] = np.bincount(both.astype(np.int64), minlength=stop - start)
    return shared


def _owned(block: Block) -> NDArray[np.uint64]:
    owner = np.repeat(np.arange(len(block.ends), dtype=np.uint64), np.diff(block.ends, prepend=0))
    return (owner << np.uint64(32)) | block.numbers


def _chunks(sets: Block, pairs: Rows) -> Iterator[tuple[int, int]]:
    """Ranges of pairs with a bounded number of words."""
    sizes = np.diff(sets.ends, prepend=0)
    total = np.cumsum(sizes[pairs].sum(axis=1)) if len(pairs) else np.zeros(0, np.int64)
    start = 0
    while start < len(pairs):
        before = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + _AT_ONCE, side="right")))
        yield start, stop
        start = stop

"""Which texts are like which: signatures that are compared all at once, and the likeness of two texts.

A signature is one-permutation MinHash: each distinct word falls into one of ``BINS`` bins by its hash, and of each bin
the smallest hash is kept; an empty bin takes the next one's. The share of bins in which two signatures agree estimates
the Jaccard similarity of their sets of words. A question is compared with every signature, which takes milliseconds for
hundreds of thousands, so there is no index and nothing is missed for want of a shared key. What comes out is a
proposal: ``likeness`` of the texts has the last word. What a word is, is said by ``clean.words``.

Sources: Li, Owen and Zhang (2012), "One permutation hashing"; Shrivastava and Li (2014), "Densifying one permutation
hashing via rotation".
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from notus.clean.words import Block, words_of

__all__ = ["BINS", "Signatures", "alike", "likeness", "sign"]

BINS = 32
_BITS = 5
_READ = 20_000
"""Characters of a text that are looked at: nobody calls two longer ones near neighbours for what follows."""
_MIX = np.uint64(0x9E3779B97F4A7C15)
_EMPTY = np.iinfo(np.uint16).max
_FEWEST = 6
"""Bins that must agree before two texts are compared: a fifth."""
Signatures = NDArray[np.uint16]
"""Of shape (texts, BINS); of a text without words all bins hold the largest number."""


def sign(texts: Sequence[str]) -> Signatures:
    """The signatures of texts."""
    block = Block.of([words_of(text[:_READ]) for text in texts])
    mixed = block.numbers.astype(np.uint64) * _MIX
    mixed ^= mixed >> np.uint64(29)
    mixed *= _MIX
    owner = np.repeat(np.arange(len(texts)), np.diff(block.ends, prepend=0))
    places = owner * BINS + (mixed >> np.uint64(64 - _BITS)).astype(np.int64)
    # The bits that choose the bin are not those that are kept of it.
    values = ((mixed >> np.uint64(32)) & np.uint64(0xFFFF)).astype(np.uint16)
    values[values == _EMPTY] -= 1
    found = np.full(len(texts) * BINS, _EMPTY, np.uint16)
    np.minimum.at(found, places, values)
    return _densified(found.reshape(-1, BINS))


def alike(columns: Signatures, one: Signatures, most: int) -> NDArray[np.int64]:
    """Places of the texts that agree with one in the most bins, the likest first.

    Args:
        columns: signatures, turned: of shape (BINS, texts).
        one: a signature.
        most: how many at most.
    """
    if one[0] == _EMPTY:
        return np.zeros(0, np.int64)
    same = np.zeros(columns.shape[1], np.uint8)
    for column, value in zip(columns, one, strict=True):
        same += column == value
    near = np.flatnonzero(same >= _FEWEST)
    if len(near) > most:
        least = np.partition(same[near], len(near) - most)[len(near) - most]
        near = near[same[near] >= least]
    return near[np.argsort(-same[near].astype(np.int16), kind="stable")][:most]


def likeness(one: str, other: str) -> float:
    """Jaccard similarity of the sets of words of two texts, 0 to 1."""
    a, b = set(words_of(one[:_READ])), set(words_of(other[:_READ]))
    return len(a & b) / len(a | b) if a or b else 0.0


def _densified(signatures: Signatures) -> Signatures:
    """Each empty bin filled from the next one that is not, round the end."""
    for step in (1 << each for each in range(_BITS)):
        empty = signatures == _EMPTY
        if not empty.any():
            break
        signatures = np.where(empty, np.roll(signatures, -step, axis=1), signatures)
    return signatures

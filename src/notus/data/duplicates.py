"""Duplicates among prompts: which row repeats an earlier one, exactly or nearly, and what tells it from a look-alike.

Two prompts are *exact* duplicates when their words are the same in the same order (``data.words`` says what a word is:
case, white space and punctuation do not count). They are *near* duplicates when

1. the Jaccard similarity of their sets of words is at least the threshold, .8 unless told, and
2. what they share is not a template. It is one if at least ``holders`` further prompts hold four fifths of the shared
   words too. The words that at least half of those hold are then the *core*. Two prompts that both keep the core and
   differ in words of their own are look-alikes: a common instruction over different material. They are duplicates all
   the same if their words outside the core are alike to the threshold, if one has no words outside the core, or if at
   least a quarter of the words in which they differ are core words: then it is the common text that was edited.
   Function words take no part in this.
3. Where nobody else holds what they share, they must not differ in one passage, of four content words or more in each,
   that stands in the place of another: it is different material again. Edits are short, or lie here and there.

The first row in the file stays. A later one goes if it duplicates a row that stays, so each that goes has a kept one
that it is like, without chains. MinHash proposes pairs (``data.minhash``); the comparison of the whole sets decides.

Signatures are made per shard and hold no text: about 100 bytes for each prompt and 4 for each distinct word of it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from notus.core.records import Dialogue, Preference, Unpaired, digest
from notus.data.layouts import Data
from notus.data.minhash import BANDS, band_keys, content_words, proposals, shared_words, taken
from notus.data.words import Block, Numbers, normal_form, prompt_text, words_of

__all__ = [
    "Duplicate",
    "Duplicates",
    "Signatures",
    "find_duplicates",
    "prompt_id",
    "record_id",
    "sign",
    "sign_records",
    "sign_words",
]

Rows = NDArray[np.int64]

_AT_ONCE = 512
_ASKED = 8
"""Further prompts that are looked at for one pair."""
_HOLDS = 0.8
"""Share of the shared words that a further prompt must hold."""
_EDITED = 0.25
"""Share of core words among the differing ones from which on the common text counts as edited."""


_PASSAGE = 4
"""Content words that make a passage …"""
_MOSTLY = 0.7
"""… if so many of them follow one another."""


@dataclass(frozen=True)
class Duplicate:
    """A row that repeats an earlier one."""

    row: int
    of: int
    """The row that stays; rows are counted from 0, through all shards."""
    kind: Literal["duplicate", "near-duplicate"]
    similarity: float
    """Jaccard similarity of the word sets, 0–1."""


@dataclass(frozen=True)
class Duplicates:
    """What was found: the rows that go, in the order of the file, and the pairs that only look alike."""

    found: tuple[Duplicate, ...]
    spared: tuple[Duplicate, ...]
    """Pairs over the threshold that share a template and no more; the kind says what they would have been."""
    proposed: int
    """Pairs that were compared."""


@dataclass(frozen=True)
class Signatures:
    """What the comparison needs of each prompt, in the order of the rows."""

    rows: NDArray[np.uint64]
    """Id of each record, where a prompt may stand in several rows; otherwise of its prompt."""
    prompts: NDArray[np.uint64]
    """Id of each prompt."""
    forms: NDArray[np.uint64]
    """Hash of each prompt's words in order."""
    keys: Numbers
    """Of ``band_keys``."""
    sets: Block
    """The distinct words of each prompt."""
    many: bool = False
    """Whether a prompt may rightly stand in several rows, as in pairs and unpaired rows."""

    @classmethod
    def joined(cls, parts: list["Signatures"]) -> "Signatures":
        """The signatures of several shards, one after the other.

        The list is emptied: what has been copied is let go of, column by column, and no more than one is held twice.
        """
        if not parts:
            return sign_words([])
        many = any(part.many for part in parts)
        offsets = np.cumsum([0, *(len(part.sets.numbers) for part in parts[:-1])])
        pieces = {
            **{name: [getattr(part, name) for part in parts] for name in ("rows", "prompts", "forms", "keys")},
            "numbers": [part.sets.numbers for part in parts],
            "ends": [part.sets.ends + offset for part, offset in zip(parts, offsets, strict=True)],
        }
        parts.clear()
        whole = {name: np.concatenate(pieces.pop(name)) for name in list(pieces)}
        return cls(sets=Block(whole.pop("numbers"), whole.pop("ends")), many=many, **whole)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes that the signatures take."""
        arrays = (self.rows, self.prompts, self.forms, self.keys, self.sets.numbers, self.sets.ends)
        return sum(array.nbytes for array in arrays)


def sign(records: Iterable[Data]) -> Signatures:
    """The signatures of a shard. What comes back is small and can be sent to another process."""
    parts = []
    rest = iter(records)
    while chunk := list(islice(rest, _AT_ONCE)):
        words = [words_of(prompt_text(record)) for record in chunk]
        parts.append(sign_records(chunk, [prompt_id(record) for record in chunk], words, Block.of(words)))
    return Signatures.joined(parts)


def sign_records(
    records: Sequence[Data], prompts: Sequence[str], words: Sequence[Sequence[bytes]], block: Block
) -> Signatures:
    """The signatures of records whose prompts have been taken apart already.

    Args:
        records: a few of one kind.
        prompts: of ``prompt_id``.
        words: of each prompt.
        block: of these words.
    """
    many = isinstance(records[0], Preference | Unpaired)
    # Only where rows of one prompt live together does it matter whether the whole rows are the same.
    rows = [record.id for record in records if isinstance(record, Preference | Unpaired)] if many else prompts
    # A text without words, such as "?!", is known by itself.
    known = [
        each or [prompt_text(record).strip().encode("utf-8", "surrogatepass")]
        for each, record in zip(words, records, strict=True)
    ]
    return _signed(rows, prompts, known, block, many)


def sign_words(words: Sequence[Sequence[bytes]]) -> Signatures:
    """The signatures of prompts of which there are only words; their ids are their numbers."""
    ids = [f"{number:016x}" for number in range(len(words))]
    return _signed(ids, ids, words, Block.of(words), many=False)


def _signed(
    rows: Sequence[str], prompts: Sequence[str], words: Sequence[Sequence[bytes]], block: Block, many: bool
) -> Signatures:
    sets = block.sets()
    forms = np.array([normal_form(each) for each in words], np.uint64)
    return Signatures(_numbers(rows), _numbers(prompts), forms, band_keys(sets), sets, many)


def find_duplicates(
    signatures: Signatures, *, threshold: float = 0.8, holders: int = 1, without: NDArray[np.bool_] | None = None
) -> Duplicates:
    """Which rows repeat an earlier one. See the module for what that means.

    Where a prompt may stand in several rows, those with the very same prompt belong together: they stay or go together,
    and only rows that are wholly the same are duplicates of each other.

    Args:
        signatures: of the whole set.
        threshold: least Jaccard similarity of near duplicates.
        holders: further prompts that make what two prompts share a template.
        without: rows that are gone for another reason, and keep no other row from staying.
    """
    here = np.flatnonzero(~without) if without is not None else np.arange(len(signatures))
    units = here[_first_of(signatures.rows[here])] if signatures.many else here
    found = _repeats(here, signatures.rows) if signatures.many else []
    heads = units[_first_of(signatures.prompts[units])] if signatures.many else units
    gone = _repeats(heads, signatures.forms)
    singles = heads[_first_of(signatures.forms[heads])]
    near, spared, proposed = _near(signatures, singles, threshold, holders)
    gone += near
    if signatures.many:
        gone = _with_all_rows(gone, signatures.prompts, units)
    return Duplicates(tuple(sorted(found + gone, key=lambda each: each.row)), tuple(spared), proposed)


def prompt_id(record: Data) -> str:
    """Id of a record's prompt; of a dialogue, of the user's turns."""
    return digest(prompt_text(record)) if isinstance(record, Dialogue) else record.prompt_id


def record_id(record: Data) -> str:
    """Id of a record; of a dialogue, the hash of all its turns."""
    if isinstance(record, Dialogue):
        return digest(*(part for turn in record.messages for part in (turn.role, turn.content)))
    return record.id


def _numbers(ids: Iterable[str]) -> NDArray[np.uint64]:
    return np.array([int(each, 16) for each in ids], np.uint64)


def _first_of(values: NDArray[np.uint64]) -> Rows:
    """Where each value stands first, in the order of the rows."""
    return np.sort(np.unique(values, return_index=True)[1])


def _repeats(rows: Rows, values: NDArray[np.uint64]) -> list[Duplicate]:
    """Each of the rows whose value stands in an earlier one of them."""
    _, first, which = np.unique(values[rows], return_index=True, return_inverse=True)
    kept = rows[first[which]]
    return [Duplicate(int(row), int(of), "duplicate", 1.0) for row, of in zip(rows, kept, strict=True) if row != of]


def _with_all_rows(gone: list[Duplicate], prompts: NDArray[np.uint64], units: Rows) -> list[Duplicate]:
    """The findings on prompts, for all rows that have such a prompt."""
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row in units.tolist():
        rows_of[int(prompts[row])].append(row)
    return [
        Duplicate(row, each.of, each.kind, each.similarity) for each in gone for row in rows_of[int(prompts[each.row])]
    ]


def _near(
    signatures: Signatures, rows: Rows, threshold: float, holders: int
) -> tuple[list[Duplicate], list[Duplicate], int]:
    """The near duplicates among the rows, the look-alikes that are spared, and how many pairs were compared."""
    all_sizes = np.diff(signatures.sets.ends, prepend=0)
    rows = rows[all_sizes[rows] > 0]
    sets = taken(signatures.sets, rows)
    sizes = np.diff(sets.ends, prepend=0)
    pairs = proposals(signatures.keys[rows].reshape(-1, BANDS), sets)
    smaller, larger = np.sort(sizes[pairs], axis=1).T
    likely = smaller >= 0.5 * threshold * larger  # a template may be shared with a much longer prompt
    pairs, proposed = pairs[likely], len(pairs)
    shared = shared_words(sets, pairs)
    union = sizes[pairs].sum(axis=1) - shared
    similarity = shared / np.maximum(union, 1)
    family = _Family(sets, pairs[2 * shared >= smaller[likely]], threshold, holders)
    alike = np.flatnonzero(similarity >= threshold - 1e-12)
    near, spared = [], []
    kept_of: dict[int, int] = {}
    for index in alike[np.argsort(pairs[alike, 1], kind="stable")].tolist():
        of, row = pairs[index].tolist()
        if of in kept_of or row in kept_of:
            continue
        pair = Duplicate(int(rows[row]), int(rows[of]), "near-duplicate", float(similarity[index]))
        if family.only_look_alike(of, row):
            spared.append(pair)
        else:
            kept_of[row] = of
            near.append(pair)
    return near, spared, proposed


class _Family:
    """What prompts share with further ones: tells a template from a common text."""

    def __init__(self, sets: Block, pairs: Rows, threshold: float, holders: int) -> None:
        self._threshold, self._holders = threshold, holders
        # Function words stand in every material, and say nothing about the template.
        self._sets = sets.where(content_words(sets))
        both = np.concatenate((pairs, pairs[:, ::-1]))
        both = both[np.lexsort((both[:, 1], both[:, 0]))]
        self._beside = both[:, 1]
        self._from = np.searchsorted(both[:, 0], np.arange(len(sets.ends) + 1))
        self._starts = self._sets.starts
        self._known: dict[int, frozenset[int]] = {}

    def only_look_alike(self, a: int, b: int) -> bool:
        """Whether two prompts, alike as wholes, share a template and differ in what it is laid over."""
        left, right = self._words(a), self._words(b)
        shared = left & right
        others = [words for words in self._others(a, b) if len(words & shared) >= _HOLDS * len(shared)]
        if len(others) < self._holders:
            return self._is_passage(a, left - right) and self._is_passage(b, right - left)
        core = {word for word in left | right if 2 * sum(word in words for words in others) >= len(others)}
        mine, yours, differing = left - core, right - core, left ^ right
        if not mine or not yours or len(differing & core) >= _EDITED * len(differing):
            return False
        return len(mine & yours) < self._threshold * len(mine | yours)

    def _others(self, a: int, b: int) -> list[frozenset[int]]:
        near = {int(c) for each in (a, b) for c in self._beside[self._from[each] : self._from[each + 1]]} - {a, b}
        by_nearness = sorted(near, key=lambda c: (min(abs(c - a), abs(c - b)), c))
        return [self._words(c) for c in by_nearness[:_ASKED]]

    def _is_passage(self, row: int, words: frozenset[int]) -> bool:
        """Whether words stand mostly in one place of a text."""
        order = self._sets.numbers[self._starts[row] : self._sets.ends[row]].tolist()
        places = [place for place, word in enumerate(order) if word in words]
        longest = run = 1
        for before, place in pairwise(places):
            run = run + 1 if place == before + 1 else 1
            longest = max(longest, run)
        return len(places) >= _PASSAGE and longest >= _MOSTLY * len(places)

    def _words(self, row: int) -> frozenset[int]:
        if row not in self._known:
            if len(self._known) > 4096:
                self._known.clear()
            self._known[row] = frozenset(self._sets.numbers[self._starts[row] : self._sets.ends[row]].tolist())
        return self._known[row]

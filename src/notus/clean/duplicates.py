"""Duplicates among prompts: which row repeats an earlier one, exactly or nearly, and what tells it from a look-alike.

Two prompts are *exact* duplicates when their words are the same in the same order (``clean.words`` says what a word is:
case, white space and punctuation do not count), and their marks too, where marks count. They are *near* duplicates when
they ask the same: when nothing that counts differs between them, as ``clean.difference`` says. Whatever else is alike
to the threshold (Jaccard similarity of the sets of words, .8 unless told) is a *look-alike*: it stays, and what tells
the two apart is named.

Where a set holds corrupted copies, as text from the web does, ``edited`` takes those look-alikes too that

1. are no two uses of a template. What two prompts share is one if at least ``holders`` further prompts hold four fifths
   of the shared words too. The words that at least half of those hold are then the *core*. Two prompts that both keep
   the core and differ in words of their own stay: a common instruction over different material. They are duplicates all
   the same if their words outside the core are alike to the threshold, if one has no words outside the core, or if at
   least a quarter of the words in which they differ are core words: then it is the common text that was edited.
   Function words take no part in this;
2. where nobody else holds what they share, do not differ in one passage, of four content words or more in each, that
   stands in the place of another: it is different material again. Edits are short, or lie here and there.

The first row in the file stays. A later one goes if it duplicates a row that stays, so each that goes has a kept one
that it is like, without chains.

Signatures are made per shard: for each prompt its words in order, 4 bytes for each distinct word and for each distinct
subject, and about 100 bytes more. By the *subjects* (``lexicon.subject_of``: words without frames, numbers and
spelling) MinHash proposes the pairs that are compared; a proposal is never a decision. A set gets ``BANDS`` keys of
``ROWS`` minima each. Two sets of Jaccard similarity J share a key with the chance 1 − (1 − J^ROWS)^BANDS: .9999 at .8,
.99 at .7, .03 at .2. Of short sets those are proposed too that are equal but for one subject of each. Where many sets
share a key, what they share is a template: there the keys are computed again without the subjects that at least half of
them hold, so that the work grows with the sets and not with their square.

Owns signatures, proposals and the decision. What becomes of a duplicate is owned by ``clean.clean``.

Sources: Broder (1997), "On the resemblance and containment of documents"; banding: Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", section 3.4. Hash functions: multiply-shift, Dietzfelbinger et al. (1997).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from notus.clean.difference import Reading, difference, read_prompt
from notus.clean.lexicon import subject_of
from notus.clean.words import FUNCTION_WORDS, Block, Numbers, hash_words, marks_of, normal_form, prompt_text, words_of
from notus.core.records import Dialogue, Preference, Unpaired, digest
from notus.formats.format import Data, record_id

__all__ = [
    "BANDS",
    "ROWS",
    "Duplicate",
    "Duplicates",
    "Signatures",
    "band_keys",
    "content_words",
    "find_alike",
    "find_duplicates",
    "prompt_id_of",
    "proposals",
    "shared_words",
    "sign_records",
    "sign_texts",
    "sign_words",
    "take",
]

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
"""Texts that are take out of a block at once."""
_AT_ONCE = 250_000
"""Words of pairs that are compared at once: they stay in the processor's cache."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ASKED = 8
"""Further prompts that are looked at for one pair."""
_EDITS = frozenset(("word", "number", "negation", "relation"))
_HELD = 8192
_VOCABULARY = 1 << 20
_BLOCKS = (("numbers", "ends"), ("of", "of_ends"))
_KERNEL = 0.5
_OWN = 8
_SHORT = 6
_HOLDS = 0.8
"""Share of the shared words that a further prompt must hold."""
_EDITED = 0.25
"""Share of core words among the differing ones from which on the common text counts as edited."""
_PASSAGE = 4
"""Content words that make a passage …"""
_MOSTLY = 0.7
"""… if so many of them follow one another."""


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


@dataclass(frozen=True)
class Duplicate:
    """A row that repeats an earlier one."""

    row: int
    of: int
    """The row that stays; rows are counted from 0, through all shards."""
    kind: Literal["duplicate", "near-duplicate"]
    similarity: float
    """Jaccard similarity of the word sets, 0–1."""
    differs: str = ""
    """Of look-alikes: what tells them apart, of ``clean.difference``, or ``marks``."""


@dataclass(frozen=True)
class Duplicates:
    """What was found: the rows that go, in the order of the file, and the pairs that only look alike."""

    found: tuple[Duplicate, ...]
    spared: tuple[Duplicate, ...]
    """Pairs over the threshold that share a template and no more; the kind says what they would have been."""
    proposed: int
    """Pairs that were compared."""
    without_lists: int = 0
    """Prompts in a language without word lists, in which each word counts."""


@dataclass(frozen=True)
class Signatures:
    """What the comparison needs of each prompt, in the order of the rows."""

    rows: NDArray[np.uint64]
    """Id of each record, where it is asked for or a prompt may stand in several; otherwise of its prompt."""
    prompts: NDArray[np.uint64]
    """Id of each prompt."""
    forms: NDArray[np.uint64]
    """Hash of each prompt's words in order."""
    keys: Numbers
    """Of ``band_keys``."""
    sets: Block
    """The distinct words of each prompt."""
    subjects: Block
    """The distinct subjects of each prompt, of ``lexicon.subject_of``: what pairs are proposed by."""
    marks: NDArray[np.uint64]
    """Hash of the marks of a prompt in which they count, as in code; 0 for others."""
    texts: NDArray[np.uint8]
    """The words of each prompt in order, joined by blanks, one prompt after the other."""
    text_ends: NDArray[np.int64]
    """Where the words of each prompt end in ``texts``."""
    many: bool = False
    """Whether a prompt may rightly stand in several rows, as in pairs and unpaired rows."""

    @classmethod
    def concat(cls, parts: list["Signatures"]) -> "Signatures":
        """The signatures of several shards, one after the other.

        The list is emptied: what has been copied is let go of, column by column, and no more than one is held twice.
        """
        if not parts:
            return sign_words([])
        many = any(part.many for part in parts)
        pieces = {
            **{
                name: [getattr(part, name) for part in parts]
                for name in ("rows", "prompts", "forms", "keys", "marks", "texts")
            },
            "numbers": [part.sets.numbers for part in parts],
            "ends": _counted_on([part.sets.ends for part in parts], [len(part.sets.numbers) for part in parts]),
            "of": [part.subjects.numbers for part in parts],
            "of_ends": _counted_on(
                [part.subjects.ends for part in parts], [len(part.subjects.numbers) for part in parts]
            ),
            "text_ends": _counted_on([part.text_ends for part in parts], [len(part.texts) for part in parts]),
        }
        parts.clear()
        whole = {name: np.concatenate(pieces.pop(name)) for name in list(pieces)}
        sets, subjects = (Block(whole.pop(numbers), whole.pop(ends)) for numbers, ends in _BLOCKS)
        return cls(sets=sets, subjects=subjects, many=many, **whole)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes that the signatures take."""
        arrays = (self.rows, self.prompts, self.forms, self.keys, self.marks, self.texts, self.text_ends)
        blocks = (self.sets.numbers, self.sets.ends, self.subjects.numbers, self.subjects.ends)
        return sum(array.nbytes for array in (*arrays, *blocks))

    def words(self, row: int) -> bytes:
        """The words of a prompt in order, joined by blanks."""
        start = self.text_ends[row - 1] if row else 0
        return self.texts[start : self.text_ends[row]].tobytes()


def sign_records(
    records: Sequence[Data],
    prompts: Sequence[str],
    words: Sequence[Sequence[bytes]],
    block: Block,
    *,
    own_ids: bool = False,
) -> Signatures:
    """The signatures of records whose prompts have been take apart already.

    Args:
        records: a few of one kind.
        prompts: of ``prompt_id_of``.
        words: of each prompt.
        block: of these words.
        own_ids: whether records are known by their own ids too where each has a prompt of its own.
    """
    many = isinstance(records[0], Preference | Unpaired)
    rows = [record_id(record) for record in records] if many or own_ids else prompts
    # A text without words, such as "?!", is known by itself.
    known = [
        each or [prompt_text(record).strip().encode("utf-8", "surrogatepass")]
        for each, record in zip(words, records, strict=True)
    ]
    marks = [marks_of(prompt_text(record), each) for each, record in zip(words, records, strict=True)]
    return _make_signatures(rows, prompts, known, block, many, marks)


def sign_texts(prompts: Sequence[str], texts: Sequence[str]) -> Signatures:
    """The signatures of prompts that are given by their ids and as texts."""
    found = [words_of(text) for text in texts]
    known = [words or [text.strip().encode("utf-8", "surrogatepass")] for words, text in zip(found, texts, strict=True)]
    marks = [marks_of(text, words) for text, words in zip(texts, found, strict=True)]
    return _make_signatures(prompts, prompts, known, Block.of(found), many=False, marks=marks)


def sign_words(words: Sequence[Sequence[bytes]]) -> Signatures:
    """The signatures of prompts of which there are only words; their ids are their numbers."""
    ids = [f"{number:016x}" for number in range(len(words))]
    return _make_signatures(ids, ids, words, Block.of(words), many=False, marks=[0] * len(words))


def _make_signatures(
    rows: Sequence[str],
    prompts: Sequence[str],
    words: Sequence[Sequence[bytes]],
    block: Block,
    many: bool,
    marks: Sequence[int],
) -> Signatures:
    sets = block.sets()
    subjects = _subjects(words, sets)
    texts = [b" ".join(each) for each in words]
    known = np.array(marks, np.uint64)
    forms = np.array([normal_form([each]) for each in texts], np.uint64) ^ known
    return Signatures(
        rows=_numbers(rows),
        prompts=_numbers(prompts),
        forms=forms,
        keys=band_keys(subjects),
        sets=sets,
        subjects=subjects,
        marks=known,
        texts=np.frombuffer(b"".join(texts), np.uint8),
        text_ends=np.cumsum([len(each) for each in texts], dtype=np.int64),
        many=many,
    )


_CODES: dict[int, int] = {}
"""Number of a word → number of its subject, 0 where it only frames; each worked out when it is first met."""


def _subjects(words: Sequence[Sequence[bytes]], sets: Block) -> Block:
    """The distinct subjects of each text; where it has none, all of its words."""
    numbers, first, which = np.unique(sets.numbers, return_index=True, return_inverse=True)
    if len(_CODES) > _VOCABULARY:
        _CODES.clear()
    texts = np.searchsorted(sets.ends, first, side="right")
    new: defaultdict[int, set[int]] = defaultdict(set)
    for number, text in zip(numbers.tolist(), texts.tolist(), strict=True):
        if number not in _CODES:
            new[text].add(number)
    for text, unknown in new.items():
        for word in words[text]:
            if (number := crc32(word)) in unknown:
                unknown.remove(number)
                subject = subject_of(word.decode("utf-8", "replace"))
                _CODES[number] = (crc32(subject.encode()) or 1) if subject else 0
    of_words = np.array([_CODES[number] for number in numbers.tolist()], np.uint32)[which]
    empty = np.repeat(sets.count(of_words > 0) == 0, np.diff(sets.ends, prepend=0))
    of_words[empty] = sets.numbers[empty]
    return Block(of_words, sets.ends).where((of_words > 0) | empty).sets()


def _counted_on(ends: Sequence[NDArray[np.int64]], sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    """Where texts end, counted on through all parts."""
    offsets = np.cumsum([0, *sizes[:-1]])
    return [each + offset for each, offset in zip(ends, offsets, strict=True)]


def find_duplicates(
    signatures: Signatures,
    *,
    threshold: float = 0.8,
    holders: int = 1,
    edited: bool = False,
    without: NDArray[np.bool_] | None = None,
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
    near, spared, proposed = _find_near(signatures, singles, threshold, holders, edited)
    gone += near
    if signatures.many:
        gone = _with_all_rows(gone, signatures.prompts, units)
    alone = _without_lists(signatures, singles)
    return Duplicates(tuple(sorted(found + gone, key=lambda each: each.row)), tuple(spared), proposed, alone)


def find_alike(signatures: Signatures, among: NDArray[np.bool_] | None = None) -> list[tuple[int, int]]:
    """Pairs of prompts of which one repeats the other, exactly or nearly: for groups, whose members hang together.

    Other than in ``find_duplicates``, a prompt that repeats one is compared with others too.

    Args:
        signatures: of distinct prompts.
        among: which prompts are asked about. With it those pairs alone are compared that may hang together with one of
            these, over others or not.

    Returns:
        The rows of each pair, the later one first.
    """
    rows = np.arange(len(signatures))
    found = [(each.row, each.of) for each in _repeats(rows, signatures.forms)]
    singles, subjects, pairs = _propose_pairs(signatures, rows[_first_of(signatures.forms)])
    reached = np.ones(len(singles), bool)
    if among is not None:  # a prompt stands for all with the same words
        reached = np.isin(signatures.forms[singles], signatures.forms[among])
    differ = _Differences(signatures, singles)
    while True:
        here = reached[pairs].any(axis=1)
        near, pairs = pairs[here], pairs[~here]
        alike = [(of, row) for of, row in near[_are_close(subjects, near)].tolist() if not differ(of, row)]
        found += [(int(singles[row]), int(singles[of])) for of, row in alike]
        before = int(reached.sum())
        reached[[each for pair in alike for each in pair]] = True
        if int(reached.sum()) == before:
            return found


def prompt_id_of(record: Data) -> str:
    """Id of a record's prompt; of a dialogue, of the user's turns."""
    return digest(prompt_text(record)) if isinstance(record, Dialogue) else record.prompt_id


def _numbers(ids: Iterable[str]) -> NDArray[np.uint64]:
    return np.array([int(each, 16) for each in ids], np.uint64)


def _first_of(values: NDArray[np.uint64]) -> Rows:
    """Where each value stands first, in the order of the rows."""
    return np.sort(np.unique(values, return_index=True)[1])


def _without_lists(signatures: Signatures, rows: Rows) -> int:
    """How many of the prompts are in a language without word lists: those of four words or more with none that frames.

    Where function words are known, they make up half of a text, so that one without any is in another language.
    """
    words = np.diff(signatures.sets.ends, prepend=0)[rows]
    likely = rows[(words >= _FEW) & (np.diff(signatures.subjects.ends, prepend=0)[rows] >= words)]
    return sum(not read_prompt(signatures.words(row)).language for row in likely.tolist())


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


def _find_near(
    signatures: Signatures, rows: Rows, threshold: float, holders: int, edited: bool
) -> tuple[list[Duplicate], list[Duplicate], int]:
    """The near duplicates among the rows, the look-alikes that are spared, and how many pairs were compared."""
    rows, subjects, pairs = _propose_pairs(signatures, rows)
    sets = take(signatures.sets, rows)
    similarity, smaller, larger, shared = _overlap(sets, pairs)
    alike = similarity >= threshold - 1e-12
    # A template may be shared with a much longer prompt.
    beside = (smaller >= 0.5 * threshold * larger) & (2 * shared >= smaller)
    family = _Family(sets, pairs[beside], threshold, holders) if edited else None
    close = _are_close(subjects, pairs)
    check = np.flatnonzero(alike | close)
    near, spared = [], []
    kept_of: dict[int, int] = {}
    differ = _Differences(signatures, rows)
    for index in check[np.argsort(pairs[check, 1], kind="stable")].tolist():
        of, row = pairs[index].tolist()
        if of in kept_of or row in kept_of:
            continue
        pair = Duplicate(int(rows[row]), int(rows[of]), "near-duplicate", float(similarity[index]))
        differs = differ(of, row, read=bool(close[index]))
        edit = family is not None and alike[index] and differs in _EDITS and not family.only_look_alike(of, row)
        if not differs or edit:
            kept_of[row] = of
            near.append(pair)
        elif alike[index]:
            spared.append(replace(pair, differs=differs))
    return near, spared, len(pairs)


def _propose_pairs(signatures: Signatures, rows: Rows) -> tuple[Rows, Block, Rows]:
    """Those of the rows that have words, their subjects, and the pairs of them that may be duplicates, sorted."""
    rows = rows[np.diff(signatures.sets.ends, prepend=0)[rows] > 0]
    subjects = take(signatures.subjects, rows)
    pairs = proposals(signatures.keys[rows].reshape(-1, BANDS), subjects)
    return rows, subjects, _united(pairs, _nearly_equal(subjects), len(rows))


def _are_close(subjects: Block, pairs: Rows) -> NDArray[np.bool_]:
    """Which pairs are to be read: many words of their own tell the others apart."""
    kernel, *_, common = _overlap(subjects, pairs)
    sizes = np.diff(subjects.ends, prepend=0)[pairs]
    close: NDArray[np.bool_] = (kernel >= _KERNEL) | (sizes.max(axis=1, initial=0) <= common + 1)
    close &= sizes.min(axis=1, initial=0) - common <= _OWN
    return close


class _Differences:
    """What tells two of the rows apart, by their numbers among them; nothing where they ask the same."""

    def __init__(self, signatures: Signatures, rows: Rows) -> None:
        self._readings, self._marks = _Readings(signatures, rows), signatures.marks[rows].tolist()

    def __call__(self, of: int, row: int, *, read: bool = True) -> str:
        """``read``: whether the texts are compared; otherwise words tell them apart."""
        differs: str = difference(self._readings[of], self._readings[row]) if read else "word"
        return "marks" if not differs and self._marks[of] != self._marks[row] else differs


class _Readings(dict[int, Reading]):
    """The prompts as they are compared, each read when it is first asked for."""

    def __init__(self, signatures: Signatures, rows: Rows) -> None:
        super().__init__()
        self._signatures, self._rows = signatures, rows

    def __missing__(self, row: int) -> Reading:
        if len(self) > _HELD:
            self.clear()
        self[row] = found = read_prompt(self._signatures.words(int(self._rows[row])))
        return found


def _overlap(sets: Block, pairs: Rows) -> tuple[NDArray[np.float64], Rows, Rows, Rows]:
    """Jaccard similarity of the sets of each pair, the size of the smaller and of the larger, and what they share."""
    sizes = np.sort(np.diff(sets.ends, prepend=0)[pairs], axis=1)
    shared = shared_words(sets, pairs)
    return shared / np.maximum(sizes.sum(axis=1) - shared, 1), sizes[:, 0], sizes[:, 1], shared


def _nearly_equal(sets: Block) -> Rows:
    """Pairs of short sets that are equal but for one member of each, by a key for each set without one of them."""
    sizes = np.diff(sets.ends, prepend=0)
    rows = np.flatnonzero((sizes > 0) & (sizes <= _SHORT))
    mixed = sets.numbers.astype(np.uint64) * _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(31))) * _FACTORS[0]
    running = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)))
    total = running[sets.ends] - running[sets.starts]
    owners, keys = [rows], [total[rows]]
    for place in range(_SHORT):
        here = rows[(sizes[rows] > place) & (sizes[rows] > 2)]
        owners.append(here)
        keys.append(total[here] - mixed[sets.starts[here] + place])
    every = (np.concatenate(keys) >> np.uint64(32)).astype(np.uint32)
    found = _propose(every[:, None], np.concatenate(owners), sets, 0)
    left, right = np.divmod(found, max(len(sets.ends), 1))
    pairs = np.sort(np.stack((left, right), axis=1), axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]]


def _united(one: Rows, other: Rows, count: int) -> Rows:
    """Pairs of both, each once, sorted."""
    both = np.concatenate((one, other))
    return np.stack(np.divmod(np.unique(both[:, 0] * count + both[:, 1]), max(count, 1)), axis=1)


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
    numbers = sets.numbers.astype(np.uint64)
    starts = sets.starts[filled]
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
    found = _propose(keys, np.arange(len(keys)), sets, _DEPTH)
    unique = np.unique(found)
    return np.stack(np.divmod(unique, max(len(keys), 1)), axis=1)


def _propose(keys: Numbers, rows: Rows, sets: Block, depth: int) -> Rows:
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
        small = int(sizes[sizes < _MANY].max(initial=1))
        for step in range(1, max(small, min(_CHAIN + 1, int(sizes.max(initial=1))))):
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
    members = take(sets, rows)
    words, held = np.unique(members.numbers, return_counts=True)
    payload = members.where(np.isin(members.numbers, words[2 * held < len(rows)]))
    own = np.flatnonzero(np.diff(payload.ends, prepend=0))
    return _propose(band_keys(take(payload, own)), rows[own], sets, depth)


def take(block: Block, rows: Rows) -> Block:
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
    ordered = _with_owner(sets)
    ordered.sort()
    sets = Block(ordered.astype(np.uint32), sets.ends)  # the lower half of each is the word
    for start, stop in _ranges(sets, pairs):
        left, right = (take(sets, pairs[start:stop, side]) for side in (0, 1))
        keys = np.concatenate([_with_owner(left), _with_owner(right)])
        keys.sort(kind="stable")  # both halves are in order already, and are only merged
        both = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)
        shared[start:stop] = np.bincount(both.astype(np.int64), minlength=stop - start)
    return shared


def _with_owner(block: Block) -> NDArray[np.uint64]:
    owner = np.repeat(np.arange(len(block.ends), dtype=np.uint64), np.diff(block.ends, prepend=0))
    return (owner << np.uint64(32)) | block.numbers


def _ranges(sets: Block, pairs: Rows) -> Iterator[tuple[int, int]]:
    """Ranges of pairs with a bounded number of words."""
    sizes = np.diff(sets.ends, prepend=0)
    total = np.cumsum(sizes[pairs].sum(axis=1)) if len(pairs) else np.zeros(0, np.int64)
    start = 0
    while start < len(pairs):
        before = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + _AT_ONCE, side="right")))
        yield start, stop
        start = stop

"""What stands on both sides of a division: the same prompt, a near duplicate, the same answer, the same user.

    sides = compare_sides(train, held, Division(share=0.1, seed=0))
    sides.leaks                        # nothing, or what leaks, in how many groups and held-out rows
    mend(sides.leaks, "prompt")        # by what to divide so that nothing does: near-duplicates+column:user

What is held out measures only what a model makes of the unseen. Four kinds of groups are looked at: prompts, prompts
that ``clean.duplicates`` calls duplicates, answers of some length, and columns whose names say that they group rows
(``core.splits.group_columns``) and which have more than one value. Sources are not: they stand on both sides of every
usual division.

Owns the search. How rows are divided is owned by ``core.splits``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from notus.clean.duplicates import Signatures, find_alike, sign_texts
from notus.clean.words import prompt_text
from notus.core.records import digest
from notus.core.splits import LONG, NEAR, PROMPT, Division, Row, answers_of, group_columns, join_groups
from notus.core.text import counted

__all__ = ["Leak", "SideRows", "Sides", "cluster_prompts", "compare_sides", "mend", "sign_prompts"]

_ANSWER = "answer"
_CHUNK = 4096
_WORDS = {
    PROMPT: ("prompt", "prompts"),
    NEAR: ("near-equal prompt", "near-equal prompts"),
    _ANSWER: ("answer", "answers"),
}


@dataclass(frozen=True)
class Leak:
    """Groups of one kind that stand on both sides."""

    by: str
    """The kind, as ``core.splits.HeldOutBy`` names it."""
    groups: int
    rows: int
    """Held-out rows that are in one of them."""

    def __str__(self) -> str:
        kind, _, path = self.by.partition(":")
        one, several = _WORDS.get(kind, (f"value of '{path}'", f"values of '{path}'"))
        return f"{counted(self.groups, one, several)} ({counted(self.rows, 'held-out row')})"


@dataclass(frozen=True)
class Sides:
    """A division as it came out."""

    rows: tuple[int, int]
    """To train on, and held out."""
    groups: tuple[int, int]
    """In all, and those of which a row is held out."""
    without: int
    """Rows that lack what the division goes by, and went by their prompt."""
    leaks: tuple[Leak, ...]


def sign_prompts(rows: Iterable[tuple[str, Row]]) -> Signatures:
    """The signatures of the distinct prompts of rows of one kind; each row comes with the id of its prompt."""
    parts: list[Signatures] = []
    new = _first_of_prompts(rows)
    while chunk := list(islice(new, _CHUNK)):
        parts.append(sign_texts([prompt for prompt, _ in chunk], [prompt_text(row) for _, row in chunk]))
    return Signatures.concat(parts)


def cluster_prompts(signatures: Signatures, among: NDArray[np.bool_] | None = None) -> dict[str, str]:
    """The prompts that have duplicates among the others, exact or near: id → least id of those that hang together.

    Args:
        signatures: of distinct prompts.
        among: with it, only those that hang together with one of these: see ``find_alike``.
    """
    ids = signatures.prompts
    return join_groups((f"{int(ids[row]):016x}", f"{int(ids[of]):016x}") for row, of in find_alike(signatures, among))


def compare_sides(train: Iterable[Row], held: Iterable[Row], division: Division) -> Sides:
    """Count what both sides have in common; each is read once.

    Args:
        train: the rows to train on, of one kind with the others.
        held: the rows that are held out.
        division: that was made, or the one to count groups by.
    """
    rows = SideRows(division)
    for side, of in ((False, train), (True, held)):
        for row in of:
            rows.add(row, held=side)
    return rows.sides()


def mend(leaks: Sequence[Leak], by: str) -> str:
    """By what to divide so that none of these leaks, besides what the division went by already."""
    parts = [part for part in by.split("+") if part != PROMPT and not part.startswith("time:")]
    parts = list(dict.fromkeys([*parts, *(leak.by for leak in leaks)]))
    if not {NEAR, _ANSWER}.isdisjoint(parts):
        parts = [part for part in parts if part != PROMPT]  # they keep equal prompts together anyway
    return "+".join(parts)


class SideRows:
    """Takes the rows of both sides in any order, and says what they have in common. Texts are held as their hashes.

    Those of the parts of a set are put together with ``merge``; before one is sent to another process, ``finish``.

    Args:
        division: that was made, or the one to count groups by.
    """

    def __init__(self, division: Division) -> None:
        self._division = division
        self._rows = [0, 0]
        self._groups: tuple[set[str], set[str]] = (set(), set())
        self._without = 0
        self._held: defaultdict[str, Counter[str | int]] = defaultdict(Counter)
        """Kind → group → rows that are held out."""
        self._trained: defaultdict[str, set[str | int]] = defaultdict(set)
        self._texts: dict[str, str] = {}
        """Prompts that wait to be signed."""
        self._signed: list[Signatures] = []

    def add(self, row: Row, *, held: bool) -> None:
        """Take one row in."""
        prompt = row.prompt_id
        self._rows[held] += 1
        self._groups[held].add(prompt if self._division.by == PROMPT else self._division.group_of(row))
        self._without += not self._division.has_group(row)
        known = prompt in self._trained[PROMPT] or prompt in self._held[PROMPT]
        for kind, groups in _groups_of(row, prompt):
            if held:
                self._held[kind].update(groups)
            else:
                self._trained[kind].update(groups)
        if not known and NEAR not in self._division.by.split("+"):
            self._texts[prompt] = prompt_text(row)
            if len(self._texts) == _CHUNK:
                self.finish()

    def finish(self) -> None:
        """Let go of the texts."""
        if self._texts:
            self._signed.append(sign_texts(list(self._texts), list(self._texts.values())))
            self._texts = {}

    def merge(self, other: "SideRows") -> None:
        """Take in what another holds of further rows."""
        for side in (0, 1):
            self._rows[side] += other._rows[side]
            self._groups[side].update(other._groups[side])
        self._without += other._without
        for kind, counts in other._held.items():
            self._held[kind].update(counts)
        for kind, groups in other._trained.items():
            self._trained[kind].update(groups)
        self.finish()
        other.finish()
        self._signed += other._signed

    def sides(self) -> Sides:
        """What was taken in, compared."""
        self.finish()
        by_near = NEAR in self._division.by.split("+")
        near = self._division.joined if by_near else self._cluster()
        trained, held = self._groups
        rows = (self._rows[0], self._rows[1])
        return Sides(rows, (len(trained | held), len(held)), self._without, tuple(self._leaks(near)))

    def _cluster(self) -> dict[str, str]:
        """The prompts that hang together with one of the smaller side: all that may hang together with both."""
        signatures = Signatures.concat(self._signed)
        sides = (self._trained[PROMPT], self._held[PROMPT])
        fewer = np.array([int(str(prompt), 16) for prompt in min(sides, key=len)], np.uint64)
        return cluster_prompts(signatures, np.isin(signatures.prompts, fewer))

    def _leaks(self, near: Mapping[str, str]) -> Iterator[Leak]:
        """What stands on both sides, of each kind that has some."""
        trained = {near[str(prompt)] for prompt in self._trained[PROMPT] if prompt in near}
        asked = self._held[PROMPT]
        alone = (str(prompt) for prompt in asked if prompt not in self._trained[PROMPT])
        close = [prompt for prompt in alone if near.get(prompt) in trained]
        for kind, held in self._held.items():
            met = held.keys() & self._trained[kind]
            if met and (kind in _WORDS or len(held.keys() | self._trained[kind]) > 1):
                yield Leak(kind, len(met), sum(held[group] for group in met))
            if kind == PROMPT and close:
                yield Leak(NEAR, len({near[prompt] for prompt in close}), sum(asked[prompt] for prompt in close))


def _groups_of(row: Row, prompt: str) -> Iterator[tuple[str, set[str | int]]]:
    """Each kind of group that the row is in, the prompt first, with the groups; texts by their hash."""
    yield PROMPT, {prompt}
    if texts := {_number(text) for text in answers_of(row) if len(text) >= LONG}:
        yield _ANSWER, {*texts}
    for path, value in group_columns(row.extra):
        yield f"column:{path}", {_number(value)}


def _number(text: str) -> int:
    """A hash that is the same in every process; two texts that share 64 bits are not to be expected."""
    return int(digest(text), 16)


def _first_of_prompts(rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
    seen: set[str] = set()
    for prompt, row in rows:
        if prompt not in seen:
            seen.add(prompt)
            yield prompt, row

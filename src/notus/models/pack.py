"""The packed form: each prompt once, its answers as branches behind it, several such groups in one row of tokens.

Owns which groups share a row and where each token of a row stands. It knows nothing of text (``models.tokens``), of
models, or of how attention keeps branches apart (``models.attention``).

One branch for each prompt is supervised fine-tuning, two are a preference, K are all pairs of K answers or a question
with K choices. A row of two groups looks like this, with position ids below::

    prompt₁ answer₁₁ answer₁₂ prompt₂ answer₂₁ answer₂₂
    0 1 2   3 4      3 4 5    0 1     2        2 3
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch

from notus.core.errors import DataError

__all__ = ["Group", "PackedRow", "Span", "pack", "rows"]


@dataclass(frozen=True)
class Group:
    """A prompt and the answers that hang from it, as token ids.

    Raises:
        DataError: if the prompt or an answer is empty, there is no answer, or ``trained`` does not fit the branches.
    """

    prompt: list[int]
    """At least one token: the first token of an answer is predicted from the last one of its prompt."""
    branches: tuple[list[int], ...]
    """The answers, each with its end-of-sequence token if it has one."""
    trained: tuple[list[bool], ...] | None = None
    """Which tokens of each branch count, for dialogues of several turns; None counts all."""

    def __post_init__(self) -> None:
        if not self.prompt or not self.branches or not all(self.branches):
            raise DataError(
                f"a group of {len(self.prompt)} prompt tokens and answers of {[len(b) for b in self.branches]} tokens "
                "cannot be packed: a prompt, at least one answer and a token in each are needed"
            )
        if self.trained is not None and list(map(len, self.trained)) != list(map(len, self.branches)):
            raise DataError(
                f"a group marks {[len(marks) for marks in self.trained]} tokens as trained or not, but its answers "
                f"have {[len(b) for b in self.branches]} tokens: give one mark for each token"
            )

    @property
    def tokens(self) -> int:
        """Tokens that the group takes in a row: the prompt once and every branch."""
        return len(self.prompt) + sum(map(len, self.branches))


@dataclass(frozen=True)
class Span:
    """Where a group lies in its row."""

    start: int
    prompt: int
    """Tokens of the prompt, from ``start`` on."""
    branches: tuple[int, ...]
    """Tokens of each branch, one behind the other after the prompt."""

    @property
    def tokens(self) -> int:
        """Tokens of the group."""
        return self.prompt + sum(self.branches)

    @property
    def longest(self) -> int:
        """Tokens of the prompt and its longest branch: the longest sequence that the model sees."""
        return self.prompt + max(self.branches)


@dataclass(frozen=True)
class PackedRow:
    """One row of T tokens with A answer tokens that count, as tensors on one device."""

    input_ids: torch.Tensor
    """[1, T]."""
    position_ids: torch.Tensor
    """[1, T]. Each branch goes on where its prompt ended."""
    spans: tuple[Span, ...]
    """The groups, in the order they were given."""
    sources: torch.Tensor
    """[A] Index in the row of the hidden state that predicts each answer token: for the first token of a branch the
    last one of its prompt, and otherwise the token before."""
    targets: torch.Tensor
    """[A] Ids of the answer tokens."""
    branch_of: torch.Tensor
    """[A] Number of each answer token's branch in the row, counted through all groups."""
    branches: int
    """Branches in the row."""

    @property
    def tokens(self) -> int:
        """T."""
        return int(self.input_ids.shape[1])

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with one answer."""
        return max(span.longest for span in self.spans)

    def to(self, device: torch.device | str) -> "PackedRow":
        """The same row with its tensors on ``device``."""
        return PackedRow(
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            spans=self.spans,
            sources=self.sources.to(device),
            targets=self.targets.to(device),
            branch_of=self.branch_of.to(device),
            branches=self.branches,
        )


def rows(groups: Sequence[Group], max_tokens: int) -> list[list[int]]:
    """Choose the groups of each row by first-fit decreasing (Johnson 1973).

    Groups are taken from the longest to the shortest, equal ones in their order, and each goes into the first row that
    has room. A group of more than ``max_tokens`` gets a row of its own. Takes O(n log n).

    Returns:
        For each row the indices of its groups, longest first.
    """
    sizes = [min(group.tokens, max_tokens) for group in groups]
    order = sorted(range(len(groups)), key=lambda index: (-groups[index].tokens, index))
    room = _Room(len(groups), max_tokens)
    packed: list[list[int]] = []
    for index in order:
        row = room.take(sizes[index])
        if row == len(packed):
            packed.append([])
        packed[row].append(index)
    return packed


def pack(groups: Sequence[Group]) -> PackedRow:
    """Lay groups out one behind the other in one row, on the CPU.

    Raises:
        DataError: if there is no group.
    """
    if not groups:
        raise DataError("a row of no groups cannot be packed: give at least one")
    spans = tuple(_spans(groups))
    answered = list(chain.from_iterable(_answered(group, span) for group, span in zip(groups, spans, strict=True)))
    numbers = range(sum(len(group.branches) for group in groups))
    counts = [len(sources) for sources, _ in answered]
    return PackedRow(
        input_ids=torch.tensor([[*chain.from_iterable(chain(g.prompt, *g.branches) for g in groups)]]),
        position_ids=torch.tensor([[*chain.from_iterable(_positions(span) for span in spans)]]),
        spans=spans,
        sources=_long(chain.from_iterable(sources for sources, _ in answered)),
        targets=_long(chain.from_iterable(targets for _, targets in answered)),
        branch_of=torch.repeat_interleave(_long(numbers), _long(counts)),
        branches=len(numbers),
    )


class _Room:
    """The room left in each of n rows, as a tree of maxima in which the first row with enough room is found."""

    def __init__(self, count: int, room: int) -> None:
        self._leaves = 1 << max(count - 1, 0).bit_length()
        self._tree = [room] * (2 * self._leaves)

    def take(self, size: int) -> int:
        """Take room in the first row that has it, and give its number."""
        node = 1
        while node < self._leaves:
            node *= 2
            if self._tree[node] < size:
                node += 1
        row = node - self._leaves
        self._tree[node] -= size
        while node > 1:
            node //= 2
            self._tree[node] = max(self._tree[2 * node], self._tree[2 * node + 1])
        return row


def _spans(groups: Sequence[Group]) -> Iterator[Span]:
    start = 0
    for group in groups:
        yield Span(start, len(group.prompt), tuple(map(len, group.branches)))
        start += group.tokens


def _positions(span: Span) -> Iterator[int]:
    return chain(range(span.prompt), *(range(span.prompt, span.prompt + length) for length in span.branches))


def _answered(group: Group, span: Span) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Sources and targets of each branch."""
    last, start = span.start + span.prompt - 1, span.start + span.prompt
    for number, branch in enumerate(group.branches):
        sources = [last, *range(start, start + len(branch) - 1)]
        start += len(branch)
        if group.trained is None:
            yield sources, branch
            continue
        kept = [i for i, counts in enumerate(group.trained[number]) if counts]
        yield [sources[i] for i in kept], [branch[i] for i in kept]


def _long(values: Iterator[int] | Sequence[int]) -> torch.Tensor:
    return torch.tensor(list(values), dtype=torch.long)

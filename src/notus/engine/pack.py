"""The packed form: each prompt once, its answers as completions behind it, several such groups in one row of tokens.

Owns which groups share a row, where each token of a row stands, and the sharing of prompts: the pairs or rows of one
prompt as one group, in which each different answer is one completion. It knows nothing of text (``engine.text``), of
models, or of how attention keeps completions apart (``engine.attention``).

One completion for each prompt is supervised fine-tuning, two are a preference, K are all pairs of K answers or a
question with K choices. A row of two groups looks like this, with position ids below::

    prompt₁ answer₁₁ answer₁₂ prompt₂ answer₂₁ answer₂₂
    0 1 2   3 4      3 4 5    0 1     2        2 3
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch

from notus.core.errors import DataError

__all__ = [
    "PackedRow",
    "Place",
    "PromptGroup",
    "Span",
    "choose_rows",
    "keep_groups",
    "merge_completions",
    "merge_groups",
    "pack",
    "prompt_numbers",
]


@dataclass(frozen=True)
class PromptGroup:
    """A prompt and the answers that hang from it, as token ids.

    Raises:
        DataError: if the prompt or an answer is empty, there is no answer, or ``trained`` does not fit the completions.
    """

    prompt: list[int]
    """At least one token: the first token of an answer is predicted from the last one of its prompt."""
    completions: tuple[list[int], ...]
    """The answers, each with its end-of-sequence token if it has one."""
    trained: tuple[list[bool], ...] | None = None
    """Which tokens of each completion count, for dialogues of several turns; None counts all."""

    def __post_init__(self) -> None:
        if not self.prompt or not self.completions or not all(self.completions):
            raise DataError(
                f"a group of {len(self.prompt)} prompt tokens and answers of {list(map(len, self.completions))} tokens "
                "cannot be packed: a prompt, at least one answer and a token in each are needed"
            )
        if self.trained is not None and list(map(len, self.trained)) != list(map(len, self.completions)):
            raise DataError(
                f"a group marks {[len(marks) for marks in self.trained]} tokens as trained or not, but its answers "
                f"have {[len(b) for b in self.completions]} tokens: give one mark for each token"
            )

    @property
    def tokens(self) -> int:
        """Tokens that the group takes in a row: the prompt once and every completion."""
        return len(self.prompt) + sum(map(len, self.completions))

    @property
    def longest(self) -> int:
        """Tokens of the prompt and its longest completion: the longest sequence that the model sees."""
        return len(self.prompt) + max(map(len, self.completions))


@dataclass(frozen=True)
class Span:
    """Where a group lies in its row."""

    start: int
    prompt: int
    """Tokens of the prompt, from ``start`` on."""
    completions: tuple[int, ...]
    """Tokens of each completion, one behind the other after the prompt."""

    @property
    def tokens(self) -> int:
        """Tokens of the group."""
        return self.prompt + sum(self.completions)

    @property
    def longest(self) -> int:
        """Tokens of the prompt and its longest completion: the longest sequence that the model sees."""
        return self.prompt + max(self.completions)


@dataclass(frozen=True)
class PackedRow:
    """One row of T tokens with A answer tokens that count, as tensors on one device."""

    input_ids: torch.Tensor
    """[1, T]."""
    position_ids: torch.Tensor
    """[1, T]. Each completion goes on where its prompt ended."""
    spans: tuple[Span, ...]
    """The groups, in the order they were given."""
    sources: torch.Tensor
    """[A] Index in the row of the hidden state that predicts each answer token: for the first token of a completion the
    last one of its prompt, and otherwise the token before."""
    targets: torch.Tensor
    """[A] Ids of the answer tokens."""
    completion_of: torch.Tensor
    """[A] Number of each answer token's completion in the row, counted through all groups."""
    completions: int
    """Completions in the row."""

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
            completion_of=self.completion_of.to(device),
            completions=self.completions,
        )


def choose_rows(groups: Sequence[PromptGroup], max_tokens: int) -> list[list[int]]:
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


def pack(groups: Sequence[PromptGroup]) -> PackedRow:
    """Lay groups out one behind the other in one row, on the CPU.

    Raises:
        DataError: if there is no group.
    """
    if not groups:
        raise DataError("a row of no groups cannot be packed: give at least one")
    spans = tuple(_spans(groups))
    answered = list(
        chain.from_iterable(_sources_and_targets(group, span) for group, span in zip(groups, spans, strict=True))
    )
    numbers = range(sum(len(group.completions) for group in groups))
    counts = [len(sources) for sources, _ in answered]
    return PackedRow(
        input_ids=torch.tensor([[*chain.from_iterable(chain(g.prompt, *g.completions) for g in groups)]]),
        position_ids=torch.tensor([[*chain.from_iterable(_positions(span) for span in spans)]]),
        spans=spans,
        sources=_long(chain.from_iterable(sources for sources, _ in answered)),
        targets=_long(chain.from_iterable(targets for _, targets in answered)),
        completion_of=torch.repeat_interleave(_long(numbers), _long(counts)),
        completions=len(numbers),
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


def _spans(groups: Sequence[PromptGroup]) -> Iterator[Span]:
    start = 0
    for group in groups:
        yield Span(start, len(group.prompt), tuple(map(len, group.completions)))
        start += group.tokens


def _positions(span: Span) -> Iterator[int]:
    return chain(range(span.prompt), *(range(span.prompt, span.prompt + length) for length in span.completions))


def _sources_and_targets(group: PromptGroup, span: Span) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Sources and targets of each completion."""
    last, start = span.start + span.prompt - 1, span.start + span.prompt
    for number, completion in enumerate(group.completions):
        sources = [last, *range(start, start + len(completion) - 1)]
        start += len(completion)
        if group.trained is None:
            yield sources, completion
            continue
        kept = [i for i, counts in enumerate(group.trained[number]) if counts]
        yield [sources[i] for i in kept], [completion[i] for i in kept]


def _long(values: Iterator[int] | Sequence[int]) -> torch.Tensor:
    return torch.tensor(list(values), dtype=torch.long)


Place = tuple[int, tuple[int, ...]]
"""Where a group's completions went: the number of the merged group, and the number of each completion in it."""

_Completion = tuple[tuple[int, ...], tuple[bool, ...] | None]


@dataclass
class _Part:
    """A merged group while it grows."""

    number: int
    tokens: int
    completions: dict[_Completion, int] = field(default_factory=dict)

    def added(self, completions: Sequence[_Completion]) -> int:
        """Tokens that these completions would add."""
        return sum(len(completion[0]) for completion in set(completions) if completion not in self.completions)

    def take(self, completions: Sequence[_Completion]) -> tuple[int, ...]:
        """Add what is not there yet, and give the completions' numbers."""
        self.tokens += self.added(completions)
        return tuple(self.completions.setdefault(completion, len(self.completions)) for completion in completions)


def merge_groups(groups: Sequence[PromptGroup], max_tokens: int) -> tuple[list[PromptGroup], list[Place]]:
    """Merge groups of the same prompt, answers of the same token ids becoming one completion.

    Completions of a group stay together. A merged group has at most ``max_tokens`` where that can be: a group goes to
    where it adds fewest tokens and has room, and otherwise begins another merged group of its prompt.

    Args:
        groups: for example one for each pair of answers.
        max_tokens: tokens of a merged group; a longer single group stays as it is.

    Returns:
        The merged groups in the order of their first members, and for each group given its place among them.
    """
    parts: dict[tuple[int, ...], list[_Part]] = {}
    prompts: list[list[int]] = []
    grown: list[_Part] = []
    places = []
    for group in groups:
        completions = _marked_completions(group)
        of_prompt = parts.setdefault(tuple(group.prompt), [])
        fitting = [(part.added(completions), part.number) for part in of_prompt]
        fitting = [
            (added, number) for added, number in fitting if not added or grown[number].tokens + added <= max_tokens
        ]
        if fitting:
            part = grown[min(fitting)[1]]
        else:
            part = _Part(len(grown), len(group.prompt))
            grown.append(part)
            prompts.append(group.prompt)
            of_prompt.append(part)
        places.append((part.number, part.take(completions)))
    return [_group(prompt, part) for prompt, part in zip(prompts, grown, strict=True)], places


def merge_completions(
    groups: Sequence[PromptGroup], max_tokens: int
) -> tuple[list[PromptGroup], list[list[tuple[int, int]]]]:
    """Merge as ``merge_groups`` does, where a group's completions may part: each answer of a prompt occurs just once.

    Returns:
        The merged groups, and for each completion of each group given the number of its merged group and its own in it.
    """
    alone = [
        PromptGroup(group.prompt, (completion,), None if group.trained is None else (group.trained[number],))
        for group in groups
        for number, completion in enumerate(group.completions)
    ]
    merged, found = merge_groups(alone, max_tokens)
    places = iter(found)
    return merged, [[(number, at[0]) for number, at in (next(places) for _ in group.completions)] for group in groups]


def keep_groups(groups: Sequence[PromptGroup]) -> tuple[list[PromptGroup], list[Place]]:
    """What ``merge_groups`` gives, with nothing merged."""
    return list(groups), [(number, tuple(range(len(group.completions)))) for number, group in enumerate(groups)]


def prompt_numbers(groups: Sequence[PromptGroup]) -> list[int]:
    """A number for each group, the same where prompts have the same token ids."""
    numbers: dict[tuple[int, ...], int] = {}
    return [numbers.setdefault(tuple(group.prompt), len(numbers)) for group in groups]


def _marked_completions(group: PromptGroup) -> list[_Completion]:
    marks = [None] * len(group.completions) if group.trained is None else [tuple(marks) for marks in group.trained]
    return [(tuple(completion), of) for completion, of in zip(group.completions, marks, strict=True)]


def _group(prompt: list[int], part: _Part) -> PromptGroup:
    completions = tuple(list(ids) for ids, _ in part.completions)
    if all(marks is None for _, marks in part.completions):
        return PromptGroup(prompt, completions)
    return PromptGroup(
        prompt, completions, tuple([True] * len(ids) if m is None else list(m) for ids, m in part.completions)
    )

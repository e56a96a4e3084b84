"""Log-probabilities of answers that share their beginnings, and whether each is what the model would say itself.

For multiple choice under a model that is not being trained: the tokens that answers have in common are computed once,
however many answers begin with them, and the last token of an answer, which predicts nothing, never. Owns the row of a
tree of tokens, how it is divided into calls of ``engine.attention``, and what is made of its hidden states. Training
and references use ``engine.pack`` and ``engine.logps``: a prompt and its answers, two levels. Here there are as many
levels as the sequences have: the shots of a few-shot prompt that all questions of a subject share, a question, and the
beginning that some of its choices share.

The tokens stand in depth-first order, so those below token j stand from j to end(j). A row of "a b c", "a b d" and
"a e", with position ids and ends below::

    a b c d e
    0 1 2 2 1
    5 4 3 4 5

On CUDA this is a FlexAttention block mask. Elsewhere scaled dot-product attention is called on blocks: a run of
neighbouring small subtrees under one mask, or the unbranched beginning of a large one, each with the keys above it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from notus.core.errors import DataError, RunError
from notus.engine.attention import LAYOUT, NAME, FlexLayout, Layout, additive, attend, check_supported, packed, sees

__all__ = [
    "Choice",
    "TreeRow",
    "choices",
    "hidden_states",
    "tree_rows",
]

_SHORT = 256
"""Tokens of a block under one mask. A call costs about 0.1 ms, and a token's linear layers more than 256 keys."""


@dataclass(frozen=True)
class TreeRow:
    """One row of T tokens, each shared beginning once."""

    tokens: tuple[int, ...]
    """[T] in depth-first order."""
    depths: tuple[int, ...]
    """[T] Tokens before each in its sequence: the position ids."""
    ends: tuple[int, ...]
    """[T] Where the tokens that stand below each token stop."""
    sequences: tuple[int, ...]
    """Numbers of the sequences in this row, among those given."""
    paths: tuple[list[int], ...]
    """For each of them the places of its tokens in the row."""


@dataclass(frozen=True)
class _Placed:
    """A sequence in a row that is being filled."""

    number: int
    tokens: int
    shared: int
    """Tokens that it has in common with the one before it in the row."""

    @property
    def new(self) -> int:
        return self.tokens - self.shared


def tree_rows(sequences: Sequence[list[int]], max_tokens: int) -> Iterator[TreeRow]:
    """Lay sequences out in rows of at most ``max_tokens`` tokens, or of twice the longest one where that is more.

    The sequences are taken in the order of their tokens, which brings those together that begin alike. A row that is
    full ends where the next one shares least with it, in its second half: there least is computed again.

    Raises:
        DataError: if a sequence is empty.
    """
    if not all(sequences):
        raise DataError("an empty sequence of tokens has no place in a row; give each at least one token")
    room = max(max_tokens, 2 * max(map(len, sequences), default=0))  # long ones share their beginnings too
    row: list[_Placed] = []
    size = 0
    before: list[int] = []
    for number in sorted(range(len(sequences)), key=lambda number: sequences[number]):
        here = sequences[number]
        row.append(_Placed(number, len(here), _common_start(before, here)))
        size += row[-1].new
        before = here
        while size > room:
            border = _border(row)
            size += row[border].shared - sum(item.new for item in row[:border])
            yield _row(sequences, [item.number for item in row[:border]])
            row = [replace(row[border], shared=0), *row[border + 1 :]]
    if row:
        yield _row(sequences, [item.number for item in row])


def hidden_states(model: PreTrainedModel, row: TreeRow) -> torch.Tensor:
    """The decoder's last hidden states [T, width] of a row, on the model's device.

    Raises:
        ConfigError: if this attention does not compute what the model's own would.
        RunError: if the model has not been switched to packed attention.
    """
    check_supported(model, max(row.depths) + 1)
    if model.config._attn_implementation != NAME:
        raise RunError("hidden states of a tree need packed attention: call this inside 'packed(model)'")
    device = model.device
    states: torch.Tensor = model.get_decoder()(
        input_ids=torch.tensor([row.tokens], device=device),
        position_ids=torch.tensor([row.depths], device=device),
        use_cache=False,
        **{LAYOUT: _layout(row, device)},
    ).last_hidden_state
    return states[0]


def _border(row: Sequence[_Placed]) -> int:
    """Where a row that is too long by its last sequence ends: the index of the first sequence of the next one."""
    sizes = [0, *accumulate(item.new for item in row)]
    late = [index for index in range(1, len(row)) if 2 * sizes[index] >= sizes[-2]]
    return min(late, key=lambda index: (row[index].shared, -index))


def _row(sequences: Sequence[list[int]], numbers: Sequence[int]) -> TreeRow:
    tokens: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    paths: list[list[int]] = []
    before: list[int] = []
    path: list[int] = []
    for number in numbers:
        here = sequences[number]
        shared = _common_start(before, here)
        for place in path[shared:]:
            ends[place] = len(tokens)
        path = [*path[:shared], *range(len(tokens), len(tokens) + len(here) - shared)]
        tokens += here[shared:]
        depths += range(shared, len(here))
        ends += [0] * (len(here) - shared)
        paths.append(path)
        before = here
    for place in path:
        ends[place] = len(tokens)
    return TreeRow(tuple(tokens), tuple(depths), tuple(ends), tuple(numbers), tuple(paths))


def _common_start(a: Sequence[int], b: Sequence[int]) -> int:
    """Tokens that two sequences have in common at their beginning."""
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@dataclass(frozen=True)
class _Block:
    """Queries that one call of scaled dot-product attention works out."""

    start: int
    stop: int
    keys: torch.Tensor | None
    """Places of the keys above; None where there are none."""
    mask: torch.Tensor | None
    """[queries, keys above + queries], 0 or −∞; None where it is plain causal."""

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """[1, queries, heads, size], of the states of the whole row."""
        here = slice(self.start, self.stop)
        keys, values = key[:, :, here], value[:, :, here]
        if self.keys is not None:
            keys = torch.cat([key.index_select(2, self.keys), keys], 2)
            values = torch.cat([value.index_select(2, self.keys), values], 2)
        return attend(query[:, :, here], keys, values, self.mask, scaling)


@dataclass(frozen=True)
class _Blocks:
    """Blocks in the row's order."""

    blocks: tuple[_Block, ...]

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """As ``Layout`` says."""
        return torch.cat([block.attend(query, key, value, scaling) for block in self.blocks], 1)


def _layout(row: TreeRow, device: torch.device) -> Layout:
    if device.type == "cuda":
        return FlexLayout.of(torch.tensor(row.ends, device=device))
    return _Blocks(tuple(_blocks(row, device)))


def _blocks(row: TreeRow, device: torch.device) -> Iterator[_Block]:
    """Blocks in the row's order. Each waiting entry is a run of neighbouring subtrees and the places above them."""
    ends = row.ends
    waiting: list[tuple[int, int, list[int]]] = [(0, len(row.tokens), [])]
    while waiting:
        start, stop, above = waiting.pop()
        keys = torch.tensor(above, device=device) if above else None
        at = start
        while at < stop and ends[at] - start <= _SHORT:
            at = ends[at]
        if at > start:
            yield _Block(start, at, keys, _small_mask(ends[start:at], start, len(above)).to(device))
            if at < stop:
                waiting.append((at, stop, above))
            continue
        end, last = ends[start], start + 1
        while last < end and ends[last] == end:
            last += 1
        mask = torch.ones(last - start, len(above) + last - start, dtype=torch.bool).tril(len(above))
        yield _Block(start, last, keys, additive(mask).to(device) if above else None)
        if end < stop:
            waiting.append((end, stop, above))
        if last < end:
            waiting.append((last, end, [*above, *range(start, last)]))


def _small_mask(ends: Sequence[int], start: int, above: int) -> torch.Tensor:
    """All that is above is seen; of the run itself, what the ends say."""
    size = len(ends)
    index = torch.arange(size)
    own = sees(index.unsqueeze(1), index, torch.tensor(ends) - start)
    return additive(torch.cat([torch.ones(size, above, dtype=torch.bool), own], 1))


Example = tuple[Sequence[int], Sequence[int]]
"""Prompt ids and answer ids, at least one of each."""

_CHUNK = 512
"""Positions whose logits live at once."""


class Choice(NamedTuple):
    """What a model makes of one answer."""

    logp: float
    """Σ_t log π(y_t | x, y_<t), natural logarithm; each term in fp32, the sum in fp64."""
    greedy: bool
    """Whether each token of the answer is the likeliest one at its place."""


def choices(
    model: PreTrainedModel,
    examples: Sequence[Example],
    max_tokens: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Choice], int]:
    """Score answers; whatever several of them begin with is computed once.

    The model is put into evaluation mode, and its attention is left as it was.

    Args:
        model: a causal language model.
        examples: prompts with one answer each; equal ones cost nothing.
        max_tokens: tokens of a forward pass; a longer example makes a longer one.
        progress: called after each forward pass with the number of examples that are scored, and of all.

    Returns:
        A choice for each example, in their order, and the number of tokens that the decoder ran over.

    Raises:
        ConfigError: if this attention does not compute what the model's own would.
        DataError: if a prompt is empty and its answer has one token.
    """
    found = [Choice(0.0, True)] * len(examples)
    computed = done = 0
    model.eval()
    with packed(model), torch.inference_mode():
        for row in tree_rows([[*prompt, *answer][:-1] for prompt, answer in examples], max_tokens):
            computed += len(row.tokens)
            for number, choice in zip(row.sequences, _row_choices(model, row, examples), strict=True):
                found[number] = choice
            done += len(row.sequences)
            if progress is not None:
                progress(done, len(examples))
    return found, computed


def _row_choices(model: PreTrainedModel, row: TreeRow, examples: Sequence[Example]) -> list[Choice]:
    answers = [examples[number][1] for number in row.sequences]
    # The hidden state that predicts a token stands one place before it, and is needed once for all that follow it.
    before = [path[len(path) - len(answer) :] for path, answer in zip(row.paths, answers, strict=True)]
    places = torch.tensor([place for of in before for place in of])
    targets = torch.tensor([token for answer in answers for token in answer])
    sources, which = places.unique(return_inverse=True)
    logps, likeliest = _predictions(model, row, sources, which, targets)
    numbers = torch.repeat_interleave(torch.arange(len(answers)), torch.tensor([len(answer) for answer in answers]))
    sums = torch.zeros(len(answers), dtype=torch.float64).index_add_(0, numbers, logps.double())
    missed = torch.zeros(len(answers), dtype=torch.long).index_add_(0, numbers, (~likeliest).long())
    return [Choice(logp, not count) for logp, count in zip(sums.tolist(), missed.tolist(), strict=True)]


def _predictions(
    model: PreTrainedModel, row: TreeRow, sources: torch.Tensor, which: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each target its log-probability and whether it is the likeliest, on the CPU.

    Args:
        sources: [S] places of hidden states in the row.
        which: [A] for each target the index of its hidden state in ``sources``.
        targets: [A] token ids.
    """
    head = model.get_output_embeddings()
    device = model.device
    states = hidden_states(model, row).index_select(0, sources.to(device))
    logps = torch.empty(len(targets))
    likeliest = torch.empty(len(targets), dtype=torch.bool)
    order = which.argsort()
    ordered = which[order]
    for start in range(0, len(sources), _CHUNK):
        first, stop = torch.searchsorted(ordered, torch.tensor([start, start + _CHUNK])).tolist()
        mine = order[first:stop]
        at, wanted = (which[mine] - start).to(device), targets[mine].to(device)
        logits = head(states[start : start + _CHUNK]).float()
        logps[mine] = (logits[at, wanted] - logits.logsumexp(1)[at]).cpu()
        likeliest[mine] = (logits.argmax(1)[at] == wanted).cpu()
    return logps, likeliest

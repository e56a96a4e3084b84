"""Log-probabilities of answers that share their beginnings, and whether each is what the model would say itself.

For multiple choice under a model that is not being trained: the tokens that answers have in common are computed once,
however many answers begin with them, and the last token of an answer, which predicts nothing, never. Training and
references use ``models.logps``.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from notus.models.tree import TreeRow, hidden_states, tree_attention, tree_rows

__all__ = ["Choice", "choices"]

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
    with tree_attention(model), torch.inference_mode():
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

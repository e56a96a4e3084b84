"""Padded batches, and the log-probabilities of answers computed on them.

The plain way: one row for each answer, its prompt in front, padding behind. It is what the numbers of every faster way
are checked against, so it stays simple.
"""

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel

__all__ = [
    "IGNORED",
    "Example",
    "all_logps",
    "answer_logps",
    "answer_token_logps",
    "answer_token_scores",
    "pad",
    "passes_within",
]

Example = tuple[list[int], list[int]]
"""Prompt ids and answer ids."""

IGNORED = -100
"""Label of a position that is not part of an answer."""


def pad(
    examples: Sequence[Example], pad_id: int, trained: Sequence[list[bool] | None] | None = None
) -> dict[str, torch.Tensor]:
    """Pad (prompt ids, answer ids) on the right to the longest.

    Args:
        examples: one for each row.
        pad_id: what is put behind them.
        trained: which tokens of each answer count; None, or None for a row, counts all.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels``, each [rows, longest]; labels are ``IGNORED`` off the answers,
        and on answer tokens that do not count.
    """
    longest = max(len(prompt) + len(answer) for prompt, answer in examples)
    shape = (len(examples), longest)
    input_ids = torch.full(shape, pad_id, dtype=torch.long)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED, dtype=torch.long)
    for row, (prompt, answer) in enumerate(examples):
        start, end = len(prompt), len(prompt) + len(answer)
        input_ids[row, :end] = torch.tensor([*prompt, *answer])
        attention_mask[row, :end] = 1
        labels[row, start:end] = input_ids[row, start:end]
        if trained is not None and (marks := trained[row]) is not None:
            labels[row, start:end][~torch.tensor(marks)] = IGNORED
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def answer_token_logps(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each answer token, log π(y_t | x, y_<t), EOS included.

    Arguments and precision are those of ``answer_token_scores``.

    Returns:
        [A] in fp32, natural logarithm, row after row, and the row of each token [A].
    """
    scores, targets, rows = answer_token_scores(model, batch)
    return scores.gather(1, targets.unsqueeze(1)).squeeze(1), rows


def answer_token_scores(
    model: PreTrainedModel, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probability of each entry v of the vocabulary before each answer token, log π(v | x, y_<t).

    The model is called as transformers has it, so that whatever wraps its forward (precision, distribution) is kept.
    The log-softmax is taken in fp32, on the positions before answer tokens only.

    Args:
        model: a causal language model.
        batch: what ``pad`` gives, on the model's device.

    Returns:
        [A, V] in fp32, natural logarithm, row after row; the answer tokens [A]; the row of each [A].
    """
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    targets = batch["labels"][:, 1:]
    answered = targets != IGNORED
    scores = torch.log_softmax(logits[:, :-1][answered].float(), dim=-1)
    rows = torch.arange(targets.shape[0], device=targets.device).unsqueeze(1).expand_as(targets)[answered]
    return scores, targets[answered], rows


def answer_logps(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each answer: Σ_t log π(y_t | x, y_<t) over its tokens.

    The sum is taken in fp64, because a sum of −2,400 is spaced 2.4e-4 apart in fp32.

    Returns:
        Sums [rows] in fp64 and numbers of answer tokens [rows].
    """
    logps, rows = answer_token_logps(model, batch)
    count = batch["labels"].shape[0]
    sums = torch.zeros(count, dtype=torch.float64, device=logps.device)
    return sums.index_add(0, rows, logps.double()), torch.bincount(rows, minlength=count)


def all_logps(
    model: PreTrainedModel,
    examples: Sequence[Example],
    pad_id: int,
    batch_size: int | None = None,
    trained: Sequence[list[bool] | None] | None = None,
    *,
    max_tokens: int | None = None,
) -> list[float]:
    """Log-probabilities of many answers under a model that is not being trained, in the order of the examples.

    Args:
        model: is put into evaluation mode.
        examples: those of like length share a batch.
        pad_id: what is put behind them.
        batch_size: rows of a batch; None: as many as ``max_tokens`` allows.
        trained: that of ``pad``.
        max_tokens: tokens of a batch, padding included.
    """
    order = sorted(range(len(examples)), key=lambda row: sum(map(len, examples[row])))
    logps = [0.0] * len(examples)
    model.eval()
    with torch.inference_mode():
        lengths = [sum(map(len, examples[row])) for row in order]
        for start, stop in passes_within(lengths, batch_size, max_tokens):
            rows = order[start:stop]
            marks = None if trained is None else [trained[i] for i in rows]
            padded = pad([examples[i] for i in rows], pad_id, marks)
            batch = {key: value.to(model.device) for key, value in padded.items()}
            for row, value in zip(rows, answer_logps(model, batch)[0].tolist(), strict=True):
                logps[row] = value
    return logps


def passes_within(lengths: Sequence[int], rows: int | None, max_tokens: int | None) -> Iterator[tuple[int, int]]:
    """Cut rows, in their order, into passes: first row and the one behind the last.

    Args:
        lengths: tokens of each row.
        rows: at most so many in a pass; None: any number.
        max_tokens: of a pass, padding included; None: any number. A longer row is a pass of its own.
    """
    start, longest = 0, 0
    for row, length in enumerate(lengths):
        longest = max(longest, length)
        full = rows is not None and row - start >= rows
        if row > start and (full or (max_tokens is not None and (row + 1 - start) * longest > max_tokens)):
            yield start, row
            start, longest = row, length
    if lengths:
        yield start, len(lengths)

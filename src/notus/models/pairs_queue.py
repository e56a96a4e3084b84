"""All pairs of all prompts in one queue: batches of like length within a budget of tokens, and the scores in order.

Owns the choice of batches and the progress. It knows nothing of text (``pairrm_text``) or of what is made of the scores
(``ranker``). Disentangled attention has no kernel for several pairs in one row, and with like lengths side by side
hardly anything is padded, so a pair is a row.
"""

from collections.abc import Callable, Sequence

import torch

from notus.models.pairrm import PairRM
from notus.models.pairrm_text import EncodedPair, collate

__all__ = ["Progress", "batches", "padding", "score_pairs", "suited"]

Progress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""
_MOST_PADDING = 0.05


def batches(lengths: Sequence[int], max_tokens: int, *, most_padding: float = _MOST_PADDING) -> list[list[int]]:
    """Choose what is computed together: from the longest to the shortest, as long as it fits and hardly pads.

    Args:
        lengths: tokens of each example.
        max_tokens: tokens of a batch, padding included; a longer example is a batch of its own.
        most_padding: greatest share of padding in any batch.

    Returns:
        Indices of the examples of each batch. The longest batch is the first: what does not fit fails at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    found: list[list[int]] = []
    longest = tokens = 0
    for index in order:
        taken = len(found[-1]) + 1 if found else 0
        fits = taken * longest <= max_tokens and tokens + lengths[index] >= (1 - most_padding) * taken * longest
        if not found or not fits:
            found.append([])
            longest, tokens = lengths[index], 0
        found[-1].append(index)
        tokens += lengths[index]
    return found


def suited(device: torch.device) -> int:
    """Tokens of a forward pass: on a CPU so few that a layer's attention stays near its caches."""
    return 2048 if device.type == "cpu" else 32_768


def padding(lengths: Sequence[int], chosen: Sequence[Sequence[int]]) -> float:
    """Share of the computed tokens that is padding, where each batch is padded to its longest."""
    computed = sum(len(batch) * max(lengths[index] for index in batch) for batch in chosen)
    return 1 - sum(lengths[index] for batch in chosen for index in batch) / computed if computed else 0.0


def score_pairs(
    model: PairRM,
    pairs: Sequence[EncodedPair],
    *,
    pad_id: int,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> list[float]:
    """Logit of each pair, in their order: above 0 where the first answer is better.

    The model is put into evaluation mode, and left as it was.

    Args:
        model: on any device.
        pairs: each is computed once, so leave out what repeats.
        pad_id: of the tokenizer.
        max_tokens: tokens of a forward pass; None takes what suits the device.
        progress: is told after each batch how many pairs are done.
    """
    scores = [0.0] * len(pairs)
    done, training = 0, model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches(list(map(len, pairs)), max_tokens or suited(model.device)):
                laid = {name: value.to(model.device) for name, value in _laid(pairs, batch, pad_id).items()}
                for index, score in zip(batch, model(**laid).tolist(), strict=True):
                    scores[index] = score
                done += len(batch)
                if progress is not None:
                    progress(done, len(pairs))
    finally:
        model.train(training)
    return scores


def _laid(pairs: Sequence[EncodedPair], batch: Sequence[int], pad_id: int) -> dict[str, torch.Tensor]:
    return collate([pairs[index] for index in batch], pad_id)

"""The real model of the benchmarks, SmolLM2-135M-Instruct, and pairs that are short enough for it on two cores."""

from collections.abc import Iterable
from typing import Any

from benchmarks.common import Interrupted
from benchmarks.ours_dpo import LIMITS, preference
from notus.engine.load import load_tokenizer
from notus.engine.text.encoder import Encoder
from notus.train.batches import Item, encode_pairs
from tests.helpers.smollm2 import AbsentError, smollm2_folder

__all__ = ["real_model", "short_pairs"]


def real_model() -> str:
    """Folder of SmolLM2-135M-Instruct.

    Raises:
        Interrupted: if it cannot be had.
    """
    try:
        return str(smollm2_folder())
    except AbsentError as why:
        raise Interrupted(f"the model of 135 million parameters cannot be had: {why}") from None


def short_pairs(
    model: str, rows: Iterable[dict[str, Any]], count: int, longest: int
) -> tuple[list[dict[str, Any]], list[Item]]:
    """The first pairs of at most ``longest`` tokens a row that differ and hold no control token; and their ids."""
    encoder = Encoder(load_tokenizer(model), LIMITS)
    typed = encoder.tokenizer.get_added_vocab()
    kept = []
    for row in rows:
        texts = [row[key] for key in ("prompt", "chosen", "rejected")]
        (item,) = encode_pairs(encoder, [preference(row)])
        fits = len(item.group.prompt) + max(map(len, item.group.completions)) <= longest
        if fits and texts[1] != texts[2] and not any(token in text for token in typed for text in texts):
            kept.append((row, item))
        if len(kept) == count:
            break
    return [row for row, _ in kept], [item for _, item in kept]

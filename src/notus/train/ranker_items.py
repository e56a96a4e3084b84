"""From preferences to what a ranker is trained on: token ids, and forward passes of like length.

Owns the examples and their batches. How a text is laid out is owned by ``models.ranker_models`` and
``models.pairrm_text``, so that a ranker is trained on what it will read.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from notus.core.records import Preference
from notus.core.stage import Tally
from notus.models.pairrm_text import EncodedPair, PairEncoder, collate
from notus.models.pairs_queue import batches
from notus.models.ranker_models import RewardEncoder
from notus.models.tokens import answer_text
from notus.train.ranker_settings import RankerTraining

__all__ = ["Compared", "ComparedBatch", "ComparedCollator", "ComparedItems", "ComparedRows", "encode_compared"]


@dataclass(frozen=True)
class Compared:
    """A chosen and a rejected answer as a ranker reads them."""

    rows: tuple[list[int], list[int]] | EncodedPair
    """Token ids of both conversations, the chosen one first; or the joint text of a pair."""
    sign: float = 1.0
    """−1 where the rejected answer stands first in a joint text."""
    score_margin: float = 0.0
    """Score of chosen less that of rejected, in the units of the data; 0 where one is not known."""

    @property
    def tokens(self) -> int:
        """Tokens of the longer row."""
        return len(self.rows) if isinstance(self.rows, EncodedPair) else max(map(len, self.rows))


@dataclass(frozen=True)
class ComparedRows:
    """What one forward pass takes."""

    row: dict[str, torch.Tensor]
    """``input_ids`` and ``attention_mask`` [B, T], and ``marks`` [B, 3] where the rows are joint texts."""
    items: tuple[Compared, ...]


@dataclass(frozen=True)
class ComparedBatch:
    """What one update takes."""

    forwards: tuple[ComparedRows, ...]

    @property
    def items(self) -> list[Compared]:
        """All items of the update."""
        return [item for forward in self.forwards for item in forward.items]


class ComparedItems(Dataset[Compared]):
    """Items as a dataset, with what ``LengthSampler`` wants to know of them."""

    def __init__(self, items: Sequence[Compared]) -> None:
        self.items = items
        self.lengths = [item.tokens for item in items]
        self.prompts = list(range(len(items)))
        self.kept = False

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Compared:
        return self.items[index]


class ComparedCollator:
    """Splits the items of an update into forward passes of like length, within a budget of tokens."""

    def __init__(self, max_tokens: int, pad_id: int) -> None:
        self.max_tokens = max_tokens
        self.pad_id = pad_id

    def __call__(self, items: Sequence[Compared]) -> dict[str, ComparedBatch]:
        """The batch under one key, as transformers' Trainer wants it."""
        wide = 1 if isinstance(items[0].rows, EncodedPair) else 2
        # Padding costs less than many small passes while weights are updated, so it is not limited here.
        chosen = batches([item.tokens for item in items], max(1, self.max_tokens // wide), most_padding=1.0)
        return {"batch": ComparedBatch(tuple(self._laid([items[index] for index in batch]) for batch in chosen))}

    def _laid(self, items: list[Compared]) -> ComparedRows:
        joint = [item.rows for item in items if isinstance(item.rows, EncodedPair)]
        if joint:
            return ComparedRows(collate(joint, self.pad_id), tuple(items))
        rows = [row for item in items if not isinstance(item.rows, EncodedPair) for row in item.rows]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [self.pad_id] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return ComparedRows({"input_ids": ids, "attention_mask": mask}, tuple(items))


def encode_compared(
    config: RankerTraining, tokenizer: PreTrainedTokenizerBase, tally: Tally, seed: int
) -> Callable[[Sequence[Preference], bool], list[Compared]]:
    """What encodes preferences for a form of ranker, in two arguments: the preferences, and whether to train on them.

    A joint text is learnt in both orders, or in one that the seed draws; it is held out in both, so that a position
    that the ranker prefers counts against it.
    """
    if config.form == "reward-model":
        reader = RewardEncoder(tokenizer, config.limits, tally)
        return lambda pairs, _: _apart(reader, pairs)
    together = PairEncoder(tokenizer, config.budget, tally)
    both = config.both_orders is not False
    return lambda pairs, training: _joint(together, pairs, both=both or not training, seed=seed)


def _apart(encoder: RewardEncoder, pairs: Sequence[Preference]) -> list[Compared]:
    texts = [(pair.prompt, answer_text(side)) for pair in pairs for side in (pair.chosen, pair.rejected)]
    ids = encoder.examples(texts) if texts else []
    rows = zip(ids[::2], ids[1::2], strict=True)
    return [Compared(row, score_margin=_margin(pair)) for pair, row in zip(pairs, rows, strict=True)]


def _joint(encoder: PairEncoder, pairs: Sequence[Preference], *, both: bool, seed: int) -> list[Compared]:
    drawn = random.Random(seed)
    orders = [(True, False) if both else (drawn.random() < 0.5,) for _ in pairs]
    placed = [(pair, first) for pair, firsts in zip(pairs, orders, strict=True) for first in firsts]
    triples = []
    for pair, first in placed:
        chosen, rejected = answer_text(pair.chosen), answer_text(pair.rejected)
        triples.append((pair.prompt, *((chosen, rejected) if first else (rejected, chosen))))
    encoded = encoder.encode(triples)
    return [
        Compared(text, 1.0 if first else -1.0, _margin(pair))
        for text, (pair, first) in zip(encoded, placed, strict=True)
    ]


def _margin(pair: Preference) -> float:
    if pair.score_chosen is None or pair.score_rejected is None:
        return 0.0
    return pair.score_chosen - pair.score_rejected

"""The order of items in an epoch: which share a batch, and which batch comes when."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset, Sampler

from notus.train.batches import Item
from notus.train.sharing import prompt_numbers

__all__ = ["Items", "LengthSampler", "batches_of"]


class Items(Dataset[Item]):
    """Items as a dataset.

    Args:
        items: in any order.
        shared: whether those of one prompt come one after the other.
        kept: whether a batch keeps its items in every epoch: as many neighbours as a batch has. The order of the
            batches changes all the same.
    """

    def __init__(self, items: Sequence[Item], *, shared: bool = False, kept: bool = False) -> None:
        self.items = items
        self.lengths = [item.group.tokens for item in items]
        self.prompts = prompt_numbers([item.group for item in items]) if shared else list(range(len(items)))
        self.kept = kept

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]


class LengthSampler(Sampler[int]):
    """Shuffles anew in each epoch, with rows of like length side by side, so that batches hold little padding.

    Prompts are shuffled with all their rows, cut into pools of about 32 batches, sorted by their longest row within a
    pool; the rows are cut into batches, and the batches are shuffled. A batch has exactly ``batch_size`` rows, so its
    border may divide a prompt's rows. The order depends on the seed and the epoch alone.

    Args:
        lengths: tokens of each row.
        batch_size: rows of a batch.
        seed: of the order.
        prompts: for each row the number of its prompt; None: each has one of its own.
        kept: whether batches are cut from the rows as they are.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        *,
        prompts: Sequence[int] | None = None,
        kept: bool = False,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.prompts = range(len(lengths)) if prompts is None else prompts
        self.kept = kept
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        if self.kept:
            batches = _cut(range(len(self.lengths)), self.batch_size)
        else:
            batches = batches_of(self.lengths, self.prompts, self.batch_size, generator)
        # A last, smaller batch stays last: elsewhere it would shift the borders of all that follow.
        whole = len(batches) if len(batches[-1]) == self.batch_size else len(batches) - 1
        shuffled = torch.randperm(whole, generator=generator).tolist()
        for index in [*shuffled, *range(whole, len(batches))]:
            yield from batches[index]


def batches_of(
    lengths: Sequence[int], prompts: Sequence[int], batch_size: int, generator: torch.Generator
) -> list[list[int]]:
    """Divide rows into batches of like length, the rows of a prompt one after the other."""
    rows: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompts):
        rows.setdefault(prompt, []).append(row)
    units = list(rows.values())
    longest = [max(lengths[row] for row in unit) for unit in units]
    order: list[int] = []
    pool: list[int] = []
    size = 0
    for unit in torch.randperm(len(units), generator=generator).tolist():
        pool.append(unit)
        size += len(units[unit])
        if size >= 32 * batch_size:
            order += sorted(pool, key=longest.__getitem__)
            pool, size = [], 0
    order += sorted(pool, key=longest.__getitem__)
    return _cut([row for unit in order for row in units[unit]], batch_size)


def _cut(rows: Sequence[int], size: int) -> list[list[int]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]

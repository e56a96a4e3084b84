from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.train.batches import LengthSampler, batches_of


@settings(max_examples=50)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=200), st.integers(1, 17), st.integers(0, 5))
def test_every_row_once_in_an_epoch(lengths, batch_size, seed):
    sampler = LengthSampler(lengths, batch_size, seed)
    first = list(sampler)
    assert sorted(first) == list(range(len(lengths)))
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert sorted(sampler) == list(range(len(lengths)))


def test_an_epoch_has_its_own_order_and_batches_of_like_length():
    lengths = [(7 * i) % 100 + 1 for i in range(640)]
    sampler = LengthSampler(lengths, 10, seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    padding = sum(max(lengths[i] for i in first[k : k + 10]) * 10 for k in range(0, 640, 10)) - sum(lengths)
    plain = sum(max(lengths[k : k + 10]) * 10 for k in range(0, 640, 10)) - sum(lengths)
    assert padding < plain / 4


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 60)), min_size=1, max_size=200), st.integers(1, 17))
def test_rows_of_a_prompt_stay_together_before_the_cut_into_batches(rows, batch_size):
    prompts, lengths = zip(*rows, strict=True)
    batches = batches_of(lengths, prompts, batch_size, torch.Generator().manual_seed(0))
    order = [row for batch in batches for row in batch]
    assert sorted(order) == list(range(len(rows)))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    changes = sum(prompts[a] != prompts[b] for a, b in pairwise(order))
    assert changes == len(set(prompts)) - 1
    assert all([i for i in order if prompts[i] == p] == [i for i, q in enumerate(prompts) if q == p] for p in prompts)


def test_the_order_of_rows_without_a_common_prompt_is_written_out():
    """Rows are shuffled, sorted by length in pools of 32 batches, and whole batches are shuffled."""
    lengths = [(13 * i) % 50 for i in range(205)]
    generator = torch.Generator().manual_seed(3 * 1_000_003)
    order = torch.randperm(205, generator=generator).tolist()
    rows = [row for i in range(0, 205, 64) for row in sorted(order[i : i + 64], key=lengths.__getitem__)]
    batches = [rows[i : i + 2] for i in range(0, 205, 2)]
    expected = [row for index in torch.randperm(102, generator=generator).tolist() for row in batches[index]]
    assert list(LengthSampler(lengths, 2, seed=3)) == [*expected, *batches[-1]]
    assert list(LengthSampler(lengths, 2, seed=3, prompts=list(range(205)))) == [*expected, *batches[-1]]


def test_kept_batches_keep_their_rows_and_change_their_order():
    sampler = LengthSampler([5] * 23, 4, seed=0, kept=True)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        rows = list(sampler)
        epochs.append([tuple(rows[i : i + 4]) for i in range(0, 23, 4)])
    assert set(epochs[0]) == set(epochs[1]) == {tuple(range(i, min(i + 4, 23))) for i in range(0, 23, 4)}
    assert epochs[0] != epochs[1]
    assert epochs[0][-1] == (20, 21, 22)

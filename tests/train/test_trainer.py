from hypothesis import given, settings
from hypothesis import strategies as st

from notus.train.trainer import LengthSampler


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

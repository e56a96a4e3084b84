"""Batches of like length: everything once, within the budget, hardly padded."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.rankers.pairrm import batches, padding
from tests.helpers.paths import ROOT

REAL = ROOT / ".." / "shared" / "data" / "feedback" / "four_models_80.jsonl"


@given(st.lists(st.integers(1, 2000), max_size=80), st.integers(1, 5000))
def test_every_example_once_within_the_budget_and_hardly_padded(lengths, max_tokens):
    chosen = batches(lengths, max_tokens)
    assert sorted(index for batch in chosen for index in batch) == list(range(len(lengths)))
    for batch in chosen:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * longest <= max_tokens
        assert padding(lengths, [batch]) <= 0.05 + 1e-12
    assert padding(lengths, chosen) <= 0.05 + 1e-12
    if chosen:
        assert max(lengths) in {lengths[index] for index in chosen[0]}


def test_like_lengths_share_a_batch():
    assert batches([10, 100, 10, 100, 10], 200) == [[1, 3], [0, 2, 4]]
    assert padding([10, 100, 10, 100, 10], [[0, 1], [2, 3], [4]]) == pytest.approx(1 - 230 / 410)


@pytest.mark.skipif(not REAL.is_file(), reason="there is no ../shared/data")
def test_batches_of_real_lengths_are_full_too():
    """Hardly any padding could be had with one pair in each batch; this is with many."""
    rows = [json.loads(line) for line in REAL.read_text(encoding="utf-8").splitlines()]
    words = [
        [len(row["instruction"].split()), *(len(c["response"].split()) for c in row["completions"])] for row in rows
    ]
    lengths = [prompt + a + b + 9 for prompt, *answers in words for a in answers for b in answers if a is not b]
    chosen = batches(lengths, 16_384)
    assert padding(lengths, chosen) <= 0.05
    assert sum(lengths) / len(chosen) > 8_000

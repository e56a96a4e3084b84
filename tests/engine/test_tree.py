import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention

from notus.core.errors import ConfigError, DataError, RunError
from notus.engine import attention, tree
from notus.engine.attention import FlexLayout, packed
from notus.engine.tree import hidden_states, tree_rows

SEQUENCES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=12)


def the_row(sequences):
    (row,) = tree_rows(sequences, 10_000)
    return row


def by_hand(row):
    """A token sees those that stand before it in its own sequence, and itself."""
    mask = torch.zeros(len(row.tokens), len(row.tokens), dtype=torch.bool)
    for path in row.paths:
        for number, place in enumerate(path):
            mask[place, path[: number + 1]] = True
    return mask


def test_the_row_of_the_docstring():
    row = the_row([[1, 2, 3], [1, 2, 4], [1, 5]])
    assert row.tokens == (1, 2, 3, 4, 5)
    assert row.depths == (0, 1, 2, 2, 1)
    assert row.ends == (5, 4, 3, 4, 5)
    assert row.paths == ([0, 1, 2], [0, 1, 3], [0, 4])


@settings(deadline=None)
@given(SEQUENCES, st.integers(1, 30))
def test_each_sequence_stands_in_one_row_and_each_beginning_once(sequences, room):
    rows = list(tree_rows(sequences, room))
    assert sorted(number for row in rows for number in row.sequences) == list(range(len(sequences)))
    for row in rows:
        mine = [sequences[number] for number in row.sequences]
        assert [[row.tokens[place] for place in path] for path in row.paths] == mine
        assert all([row.depths[place] for place in path] == list(range(len(path))) for path in row.paths)
        assert len(row.tokens) == len({tuple(of[: n + 1]) for of in mine for n in range(len(of))})
        assert len(row.tokens) <= max(room, 2 * max(map(len, sequences)))
        ends, index = torch.tensor(row.ends), torch.arange(len(row.tokens))
        assert torch.equal(attention.sees(index.unsqueeze(1), index, ends), by_hand(row))


def test_a_row_ends_where_the_next_shares_least():
    """Two questions of four choices, 8 + 4 tokens each: room for 20 is not filled with half of the second one."""
    questions = [[*range(start, start + 8), choice] for start in (10, 30) for choice in range(90, 94)]
    assert [row.sequences for row in tree_rows(questions, 20)] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert [len(row.tokens) for row in tree_rows(questions, 24)] == [24]
    # Longer than a row's room by itself: what hangs from it still shares it.
    assert [len(row.tokens) for row in tree_rows(questions, 1)] == [12, 12]


@settings(deadline=None, max_examples=50)
@given(SEQUENCES, st.integers(1, 12))
def test_blocks_are_the_plain_mask(sequences, short):
    """Blocks of every kind, small runs and unbranched beginnings, with and without keys above, give the same."""
    row = the_row(sequences)
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, heads, len(row.tokens), 8, generator=generator, dtype=torch.float64) for heads in (4, 2, 2)
    )
    before = tree._SHORT
    tree._SHORT = short
    try:
        layout = tree._layout(row, torch.device("cpu"))
    finally:
        tree._SHORT = before
    assert [block.start for block in layout.blocks] == [0, *(block.stop for block in layout.blocks[:-1])]
    options = {attention.LAYOUT: layout}
    out, _ = attention._attend(torch.nn.Identity(), query, key, value, None, scaling=0.3, **options)
    plain = scaled_dot_product_attention(query, key, value, attn_mask=by_hand(row), scale=0.3, enable_gqa=True)
    torch.testing.assert_close(out, plain.transpose(1, 2), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_mask_for_cuda_is_the_plain_mask():
    row = the_row([[1, 2, 3], [1, 2, 4, 5], [1, 6], [7, 8, 9]])
    states = torch.randn(3, 1, 2, len(row.tokens), 8, generator=torch.Generator().manual_seed(0))
    found = flex_attention(*states, block_mask=FlexLayout.of(torch.tensor(row.ends)).mask)
    torch.testing.assert_close(found, scaled_dot_product_attention(*states, attn_mask=by_hand(row)))


def test_hidden_states_are_those_of_each_sequence_alone(model):
    sequences = [[5, 6, 7, 8], [5, 6, 7, 9, 10], [5, 11], [12, 13, 14]]
    row = the_row(sequences)
    model.eval()
    with torch.inference_mode():
        with packed(model):
            shared = hidden_states(model, row)
        for number, path in zip(row.sequences, row.paths, strict=True):
            alone = model.get_decoder()(input_ids=torch.tensor([sequences[number]])).last_hidden_state[0]
            torch.testing.assert_close(shared[path], alone, rtol=1e-5, atol=1e-5)


def test_an_empty_sequence_is_refused():
    with pytest.raises(DataError, match="empty sequence"):
        list(tree_rows([[1], []], 8))


def test_outside_its_attention_it_is_refused_and_inside_nothing_else_runs(model):
    before = model.config._attn_implementation
    with pytest.raises(RunError, match="packed attention"):
        hidden_states(model, the_row([[1, 2]]))
    with packed(model), pytest.raises(RunError, match="leave 'packed'"):
        model(input_ids=torch.tensor([[1, 2]]))
    assert model.config._attn_implementation == before


def test_a_model_with_a_short_window_is_refused(model):
    model.config.sliding_window = 3
    try:
        with packed(model), pytest.raises(ConfigError, match="set 'engine: padded'"):
            hidden_states(model, the_row([[1, 2, 3, 4]]))
    finally:
        model.config.sliding_window = None

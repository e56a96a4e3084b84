import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.engine.pack import PackedRow, PromptGroup, Span, choose_rows, pack

FIRST = PromptGroup([5, 6, 7], ([8, 9], [10, 11, 2]))
SECOND = PromptGroup([12], ([13, 2],))


def sized(prompt, *completions):
    return PromptGroup([1] * prompt, tuple([1] * n for n in completions))


def test_a_row_written_out():
    row = pack([FIRST, SECOND])
    assert row.input_ids.tolist() == [[5, 6, 7, 8, 9, 10, 11, 2, 12, 13, 2]]
    assert row.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 4, 5, 0, 1, 2]]
    assert row.spans == (Span(0, 3, (2, 3)), Span(8, 1, (2,)))
    assert row.sources.tolist() == [2, 3, 2, 5, 6, 8, 9]
    assert row.targets.tolist() == [8, 9, 10, 11, 2, 13, 2]
    assert row.completion_of.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert (row.completions, row.tokens, row.longest) == (3, 11, 6)


def test_only_marked_tokens_count():
    marked = PromptGroup([5], ([6, 7, 8], [9]), trained=([True, False, True], [False]))
    row = pack([marked, SECOND])
    assert row.targets.tolist() == [6, 8, 13, 2]
    assert row.sources.tolist() == [0, 2, 5, 6]
    assert row.completion_of.tolist() == [0, 0, 2, 2]
    assert row.completions == 3


def test_all_marked_is_as_unmarked():
    marked = PromptGroup(FIRST.prompt, FIRST.completions, tuple([True] * len(b) for b in FIRST.completions))
    ours, plain = pack([marked]), pack([FIRST])
    assert torch.equal(ours.targets, plain.targets)
    assert torch.equal(ours.sources, plain.sources)


def test_a_row_moves_with_all_its_tensors():
    moved = pack([FIRST]).to("meta")
    assert isinstance(moved, PackedRow)
    assert all(value.is_meta for value in vars(moved).values() if isinstance(value, torch.Tensor))
    assert moved.spans == pack([FIRST]).spans


@pytest.mark.parametrize(
    "broken",
    [
        lambda: PromptGroup([], ([1],)),
        lambda: PromptGroup([1], ()),
        lambda: PromptGroup([1], ([1], [])),
        lambda: pack([]),
    ],
)
def test_what_is_empty_is_refused(broken):
    with pytest.raises(DataError, match="cannot be packed"):
        broken()


def test_marks_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="one mark for each token"):
        PromptGroup([1], ([2, 3],), trained=([True],))


def test_rows_are_filled_longest_first():
    # 6, 5, 4, 3, 2 into 10: 6+4, 5+3+2.
    groups = [sized(1, 1), sized(2, 4), sized(1, 2), sized(1, 4), sized(1, 3)]
    assert choose_rows(groups, 10) == [[1, 4], [3, 2, 0]]


def test_a_group_over_the_budget_gets_its_own_row():
    assert choose_rows([sized(1, 1), sized(5, 5, 5), sized(2, 2)], 10) == [[1], [2, 0]]


def first_fit_decreasing(sizes, budget):
    """The textbook's double loop."""
    packed, used = [], []
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        for row, taken in enumerate(used):
            if taken + sizes[index] <= budget:
                packed[row].append(index)
                used[row] += sizes[index]
                break
        else:
            packed.append([index])
            used.append(sizes[index])
    return packed


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.lists(st.integers(1, 20), min_size=1, max_size=4))), st.integers(2, 60)
)
def test_rows_hold_every_group_once_within_the_budget(shapes, budget):
    groups = [sized(prompt, *completions) for prompt, completions in shapes]
    packed = choose_rows(groups, budget)
    assert sorted(index for row in packed for index in row) == list(range(len(groups)))
    for row in packed:
        assert sum(groups[index].tokens for index in row) <= budget or len(row) == 1
    assert packed == first_fit_decreasing([group.tokens for group in groups], budget)
    total = sum(min(group.tokens, budget) for group in groups)
    assert len(packed) <= 2 * math.ceil(total / budget)


def test_marks_of_what_is_trained_fit_the_answers():
    assert PromptGroup([1], ([2, 3], [4]), trained=((True, False), (True,))).tokens == 4
    for marks in (((True,), (True,)), ((True, False),), ((True, False), (True, True))):
        with pytest.raises(DataError, match="give one mark for each token"):
            PromptGroup([1], ([2, 3], [4]), trained=marks)

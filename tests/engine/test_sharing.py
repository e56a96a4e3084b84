from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from notus.engine.pack import PromptGroup, keep_groups, merge_completions, merge_groups, prompt_numbers

ANSWERS = ([10, 11, 2], [12, 2], [13, 14, 15, 2], [16, 2])
PAIRS = [PromptGroup([5, 6, 7], (a, b)) for a, b in combinations(ANSWERS, 2)]

ids = st.lists(st.integers(1, 3), min_size=1, max_size=4)
group = st.builds(PromptGroup, ids, st.lists(ids, min_size=1, max_size=3).map(tuple))


def unmerged(merged, places):
    return [
        PromptGroup(merged[n].prompt, tuple(merged[n].completions[b] for b in completions)) for n, completions in places
    ]


def test_all_pairs_of_four_answers_are_one_group_of_four_completions():
    merged, places = merge_groups(PAIRS, 100)
    assert merged == [PromptGroup([5, 6, 7], ANSWERS)]
    assert places == [(0, pair) for pair in combinations(range(4), 2)]


def test_what_would_overflow_is_split_and_pairs_stay_together():
    merged, places = merge_groups(PAIRS, 12)  # the prompt takes 3, the answers 3, 2, 4 and 2
    assert [len(of.completions) for of in merged] == [3, 3, 2]
    assert all(of.tokens <= 12 for of in merged)
    assert unmerged(merged, places) == PAIRS


def test_a_pair_that_is_too_long_alone_is_a_group_of_its_own():
    merged, places = merge_groups(PAIRS, 1)
    assert merged == PAIRS
    assert places == [(n, (0, 1)) for n in range(6)]


def test_two_completions_of_the_same_tokens_are_one():
    assert merge_groups([PromptGroup([5], ([7, 2], [7, 2]))], 100) == ([PromptGroup([5], ([7, 2],))], [(0, (0, 0))])


def test_marks_tell_completions_apart():
    one = PromptGroup([5], ([7, 8, 2],), ([True, False, True],))
    merged, places = merge_groups([one, PromptGroup([5], ([7, 8, 2],)), one], 100)
    assert merged == [PromptGroup([5], ([7, 8, 2], [7, 8, 2]), ([True, False, True], [True, True, True]))]
    assert places == [(0, (0,)), (0, (1,)), (0, (0,))]


@settings(max_examples=200)
@given(st.lists(group, max_size=12), st.integers(1, 30))
def test_what_was_shared_comes_back(groups, max_tokens):
    merged, places = merge_groups(groups, max_tokens)
    assert unmerged(merged, places) == groups
    assert sum(of.tokens for of in merged) <= sum(of.tokens for of in groups)
    longest = max((of.tokens for of in groups), default=0)
    assert all(of.tokens <= max(max_tokens, longest) for of in merged)
    if max_tokens >= sum(of.tokens for of in groups):
        assert len(merged) == len({tuple(of.prompt) for of in groups})


@settings(max_examples=200)
@given(st.lists(group, max_size=12), st.integers(1, 30))
def test_completions_alone_occur_once(groups, max_tokens):
    merged, places = merge_completions(groups, max_tokens)
    found = [
        PromptGroup(of.prompt, tuple(merged[n].completions[b] for n, b in at))
        for of, at in zip(groups, places, strict=True)
    ]
    assert found == groups
    every = [(tuple(of.prompt), tuple(completion)) for of in merged for completion in of.completions]
    assert len(every) == len(set(every))


def test_apart_leaves_everything_as_it_is():
    assert keep_groups(PAIRS[:2]) == (PAIRS[:2], [(0, (0, 1)), (1, (0, 1))])


def test_prompts_are_numbered_by_their_tokens():
    assert prompt_numbers([PromptGroup([1, 2], ([3],)), PromptGroup([1], ([3],)), PromptGroup([1, 2], ([4],))]) == [
        0,
        1,
        0,
    ]

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from notus.models.pack import Group
from notus.train.sharing import apart, prompt_numbers, share, share_branches

ANSWERS = ([10, 11, 2], [12, 2], [13, 14, 15, 2], [16, 2])
PAIRS = [Group([5, 6, 7], (a, b)) for a, b in combinations(ANSWERS, 2)]

ids = st.lists(st.integers(1, 3), min_size=1, max_size=4)
group = st.builds(Group, ids, st.lists(ids, min_size=1, max_size=3).map(tuple))


def unmerged(merged, places):
    return [Group(merged[n].prompt, tuple(merged[n].branches[b] for b in branches)) for n, branches in places]


def test_all_pairs_of_four_answers_are_one_group_of_four_branches():
    merged, places = share(PAIRS, 100)
    assert merged == [Group([5, 6, 7], ANSWERS)]
    assert places == [(0, pair) for pair in combinations(range(4), 2)]


def test_what_would_overflow_is_split_and_pairs_stay_together():
    merged, places = share(PAIRS, 12)  # the prompt takes 3, the answers 3, 2, 4 and 2
    assert [len(of.branches) for of in merged] == [3, 3, 2]
    assert all(of.tokens <= 12 for of in merged)
    assert unmerged(merged, places) == PAIRS


def test_a_pair_that_is_too_long_alone_is_a_group_of_its_own():
    merged, places = share(PAIRS, 1)
    assert merged == PAIRS
    assert places == [(n, (0, 1)) for n in range(6)]


def test_two_branches_of_the_same_tokens_are_one():
    assert share([Group([5], ([7, 2], [7, 2]))], 100) == ([Group([5], ([7, 2],))], [(0, (0, 0))])


def test_marks_tell_branches_apart():
    one = Group([5], ([7, 8, 2],), ([True, False, True],))
    merged, places = share([one, Group([5], ([7, 8, 2],)), one], 100)
    assert merged == [Group([5], ([7, 8, 2], [7, 8, 2]), ([True, False, True], [True, True, True]))]
    assert places == [(0, (0,)), (0, (1,)), (0, (0,))]


@settings(max_examples=200)
@given(st.lists(group, max_size=12), st.integers(1, 30))
def test_what_was_shared_comes_back(groups, max_tokens):
    merged, places = share(groups, max_tokens)
    assert unmerged(merged, places) == groups
    assert sum(of.tokens for of in merged) <= sum(of.tokens for of in groups)
    longest = max((of.tokens for of in groups), default=0)
    assert all(of.tokens <= max(max_tokens, longest) for of in merged)
    if max_tokens >= sum(of.tokens for of in groups):
        assert len(merged) == len({tuple(of.prompt) for of in groups})


@settings(max_examples=200)
@given(st.lists(group, max_size=12), st.integers(1, 30))
def test_branches_alone_occur_once(groups, max_tokens):
    merged, places = share_branches(groups, max_tokens)
    found = [
        Group(of.prompt, tuple(merged[n].branches[b] for n, b in at)) for of, at in zip(groups, places, strict=True)
    ]
    assert found == groups
    every = [(tuple(of.prompt), tuple(branch)) for of in merged for branch in of.branches]
    assert len(every) == len(set(every))


def test_apart_leaves_everything_as_it_is():
    assert apart(PAIRS[:2]) == (PAIRS[:2], [(0, (0, 1)), (1, (0, 1))])


def test_prompts_are_numbered_by_their_tokens():
    assert prompt_numbers([Group([1, 2], ([3],)), Group([1], ([3],)), Group([1, 2], ([4],))]) == [0, 1, 0]

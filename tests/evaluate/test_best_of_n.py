"""Best of k from n answers: against every subset written out, and its invariants."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.evaluate.best_of_n import ScoredAnswers, best_of_n_curve, expected_best

NUMBERS = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=7)


def by_subsets(scores, values):
    """Mean over all k answers that can be drawn; of tied best ones, each is taken equally often."""
    found = []
    for k in range(1, len(scores) + 1):
        picks = []
        for subset in itertools.combinations(range(len(scores)), k):
            best = [i for i in subset if scores[i] == max(scores[j] for j in subset)]
            picks.append(sum(values[i] for i in best) / len(best))
        found.append(sum(picks) / len(picks))
    return found


@given(NUMBERS)
def test_it_is_the_mean_over_all_subsets(scores):
    assert expected_best(scores) == pytest.approx(by_subsets(scores, scores))


@given(st.lists(st.tuples(st.integers(-2, 2).map(float), st.integers(0, 1).map(float)), min_size=1, max_size=7))
def test_the_pick_is_worth_what_the_check_says_ties_included(pairs):
    scores, values = zip(*pairs, strict=True)
    assert expected_best(scores, values) == pytest.approx(by_subsets(scores, values))


@given(NUMBERS)
def test_its_ends_are_mean_and_maximum_and_it_never_falls(scores):
    found = expected_best(scores)
    assert found[0] == pytest.approx(sum(scores) / len(scores))
    assert found[-1] == max(scores)
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(found))


def test_with_success_it_is_pass_at_k():
    n, c = 10, 3
    expected = [1 - math.comb(n - c, k) / math.comb(n, k) for k in range(1, n + 1)]
    assert expected_best([1.0] * c + [0.0] * (n - c)) == pytest.approx(expected)


def test_many_answers_keep_their_digits():
    found = expected_best(list(map(float, range(1000))))
    # The expected maximum of k drawn from 0 … n−1 without replacement is k(n+1)/(k+1) − 1.
    assert found == pytest.approx([k * 1001 / (k + 1) - 1 for k in range(1, 1001)])


def test_the_curve_leaves_out_prompts_with_too_few_answers_and_counts_them():
    prompts = [ScoredAnswers(f"p{i}", (1.0, 2.0 + i, 3.0), (0.0, 1.0, 0.0)) for i in range(5)] + [
        ScoredAnswers("q", (9.0,))
    ]
    found = best_of_n_curve(prompts)
    assert [point.k for point in found.points] == [1, 2, 3]
    assert (found.prompts, found.fewer, found.checked) == (5, 1, 5)
    assert found.points[0].score_gain.mean == 0
    assert found.points[2].score.mean == pytest.approx((3 + 3 + 4 + 5 + 6) / 5)
    # With i ≥ 2 the middle answer wins, which is the one that passes; at i = 1 the two tie.
    assert found.points[2].check.mean == pytest.approx((0 + 0.5 + 1 + 1 + 1) / 5)
    assert found.points[2].check.groups == 5
    assert best_of_n_curve(prompts, 1).prompts == 6


def test_the_bound_on_how_far_the_best_of_k_moves_a_policy():
    """log k − (k − 1)/k nats (Beirami et al. 2024, theorem 1), by hand: ln 2 = .693147, ln 4 = 1.386294."""
    points = best_of_n_curve([ScoredAnswers(f"p{i}", (1.0, 2.0, 3.0, 4.0)) for i in range(2)]).points
    assert [point.kl_bound for point in points] == pytest.approx(
        [0.0, 0.693147 - 0.5, 1.098612 - 2 / 3, 1.386294 - 0.75], abs=1e-6
    )


def test_a_prompt_with_an_answer_that_was_not_checked_has_no_check():
    found = best_of_n_curve(
        [
            ScoredAnswers("a", (1.0, 2.0), (None, 1.0)),
            *(ScoredAnswers(f"p{i}", (1.0, 2.0), (0.0, 1.0)) for i in range(3)),
        ]
    )
    assert (found.prompts, found.checked) == (4, 3)
    assert found.points[1].check.mean == 1


def test_nothing_to_choose_from_is_an_error():
    with pytest.raises(DataError, match="no answer has a score"):
        best_of_n_curve([])
    with pytest.raises(DataError, match="no prompt has 3 scored answers; the most is 2"):
        best_of_n_curve([ScoredAnswers("a", (1.0, 2.0))], 3)
    with pytest.raises(DataError, match="0 scores"):
        expected_best([])

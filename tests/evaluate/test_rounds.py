"""Measures of a round: each formula written out on small examples."""

import pytest

from notus.core.errors import DataError
from notus.evaluate.rounds import (
    PromptAnswers,
    distinct_ngrams,
    gains,
    mean_win_rate,
    measure_answers,
)


def answers(prompt, texts, ranked, checked=None, **more):
    return PromptAnswers(prompt_id=prompt, texts=tuple(texts), ranked=tuple(ranked), checked=checked, **more)


def test_the_win_rate_is_over_all_pairs_of_answers_and_a_tie_counts_half():
    after = [answers("a", "xy", (2.0, 1.0)), answers("b", "xy", (0.0, None))]
    before = [answers("a", "uv", (1.0, 0.0)), answers("b", "uv", (5.0, 0.0))]
    found = gains(after, before, checked=False)
    # a: 2>1, 2>0, 1=1, 1>0 → 3.5 of 4; b: 0<5, 0=0 → ½ of 2, its unscored answer counts for nothing.
    assert found.win_rate.mean == pytest.approx((3.5 / 4 + 0.5 / 2) / 2)
    assert found.score.mean == pytest.approx(((1.5 - 0.5) + (0.0 - 2.5)) / 2)
    assert found.win_rate.groups == 2


def test_a_prompt_weighs_one_however_many_pairs_it_has():
    assert mean_win_rate([1, 1, 1, 1, 0], ["a", "a", "a", "a", "b"]).mean == 0.5


def test_distinct_is_the_share_of_runs_of_words():
    assert distinct_ngrams(["a b a", "A b"], 1) == [2 / 5]
    assert distinct_ngrams(["a b a", "A, b"], 2) == [2 / 3]
    assert distinct_ngrams(["a"], 2) == []


def test_a_round_beside_the_start_and_the_round_before():
    start = [answers(f"p{i}", ("x y", "x"), (0.0, 1.0), (0.0, 0.0)) for i in range(6)]
    last = [answers(f"p{i}", ("x y", "x z"), (1.0, 2.0), (0.0, 1.0)) for i in range(6)]
    now = [answers(f"p{i}", ("x", "y z"), (2.0, 2.0 + i), (1.0, 1.0), truncated=1, kl=(1.0, 2.0)) for i in range(6)]
    found = measure_answers(2, now, start, last, ranker="r", check="c")
    assert (found.round, found.prompts, found.answers) == (2, 6, 12)
    assert found.checked.win_rate.mean == 1
    assert found.checked_since.score.mean == 0.5
    assert found.ranked_since.score.mean == pytest.approx(sum(2 + i / 2 for i in range(6)) / 6 - 1.5)
    assert (found.check_mean.mean, found.check_start.mean) == (1, 0)
    assert (found.length.mean, found.length_gain.mean) == (2, 0)
    assert (found.kl.mean, found.truncated.mean, found.distinct_1.mean) == (1.5, 0.5, 1)
    assert found.deciding is found.checked
    alone = measure_answers(1, now, start, None, ranker="r", check=None)
    assert (alone.checked, alone.ranked_since, alone.checked_since) == (None, None, None)
    assert alone.deciding is alone.ranked


def test_other_prompts_cannot_be_compared():
    with pytest.raises(DataError, match="on the same prompts only"):
        measure_answers(1, [answers("a", "x", (1.0,))], [answers("b", "x", (1.0,))], None, ranker="r", check=None)

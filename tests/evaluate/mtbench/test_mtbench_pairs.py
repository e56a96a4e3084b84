"""Pairs in both orders: outcomes, win rates, the judge's leaning to what it sees first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.evaluate.mtbench.files import read_judgments
from notus.evaluate.mtbench.score import OUTCOMES, count_repeated_matches, describe_win_rates, pair_rates, read_outcomes
from tests.helpers.mtbench_examples import matched, stored


@pytest.mark.parametrize(
    ("first", "second", "outcome", "score"),
    [
        ("[[A]]", "[[B]]", "model_1", 1.0),
        ("[[B]]", "[[A]]", "model_2", 0.0),
        ("[[C]]", "[[C]]", "tie", 0.5),
        ("[[A]]", "[[A]]", "inconsistent", 0.5),  # whoever stood first
        ("[[B]]", "[[B]]", "inconsistent", 0.5),
        ("[[A]]", "[[C]]", "inconsistent", 0.5),
        ("[[A]]", "$ERROR$", "unread", None),
        ("[[A]] or [[B]]", "[[B]]", "unread", None),
    ],
)
def test_an_answer_wins_when_both_orders_say_so(first, second, outcome, score):
    (found,) = read_outcomes([matched(first, second)], "strict")
    assert (found.outcome, found.score) == (outcome, score)
    assert bool(found.reason) == (outcome == "unread")


@given(st.lists(st.tuples(*[st.sampled_from(["[[A]]", "[[B]]", "[[C]]", "nothing"])] * 2), min_size=1, max_size=80))
def test_the_outcomes_add_up_and_exchanged_models_mirror_them(verdicts):
    rows = [matched(a, b, question=81 + n) for n, (a, b) in enumerate(verdicts)]
    whole = pair_rates(read_outcomes(rows, "strict"))[0]
    assert sum(whole.counts[name] for name in OUTCOMES) == whole.asked == len(rows)
    other = pair_rates(read_outcomes([matched(b, a, question=81 + n) for n, (a, b) in enumerate(verdicts)], "strict"))[
        0
    ]
    assert (whole.win_rate is None) == (other.win_rate is None)
    if whole.win_rate and other.win_rate:
        assert whole.win_rate.mean == pytest.approx(1 - other.win_rate.mean)
    if whole.first_shown and other.first_shown:
        assert whole.first_shown.mean == pytest.approx(other.first_shown.mean)


def test_a_judge_that_takes_what_it_sees_first_decides_nothing():
    whole = pair_rates(read_outcomes([matched("[[A]]", "[[A]]", question=81 + n) for n in range(20)], "strict"))[0]
    assert whole.counts["inconsistent"] == 20
    assert whole.first_shown is not None
    assert (whole.first_shown.mean, whole.first_shown.n) == (1.0, 40)
    assert "not distinguishable" in describe_win_rates([whole])[0]


def test_a_clear_winner_is_told_whichever_place_it_has():
    for wins, better in ((18, "a is better than b"), (2, "b is better than a")):
        verdicts = [("[[A]]", "[[B]]")] * wins + [("[[B]]", "[[A]]")] * (20 - wins)
        rows = [matched(*pair, question=81 + n) for n, pair in enumerate(verdicts)]
        assert describe_win_rates(pair_rates(read_outcomes(rows, "strict"))[:1])[0].startswith(better)
    (alone, *_) = pair_rates(read_outcomes([matched("[[A]]", "[[B]]")], "strict"))
    assert "cannot be compared" in describe_win_rates([alone])[0]


def test_holm_counts_the_pairs_of_models():
    verdicts = [("[[A]]", "[[B]]")] * 15 + [("[[B]]", "[[A]]")] * 5  # 0.75 of 20, p = .02
    rows = [matched(*pair, question=81 + n) for n, pair in enumerate(verdicts)]
    (alone,) = [figure for figure in pair_rates(read_outcomes(rows, "strict")) if figure.part == "all"]
    assert "Holm" not in describe_win_rates([alone])[0]
    assert "does not survive Holm's correction for 4 pairs" in describe_win_rates([alone] * 4)[0]


def test_pairs_that_were_judged_twice_are_found_exchanged_or_not():
    rows = [matched("[[A]]", "[[B]]"), matched("[[A]]", "[[B]]", models=("b", "a")), matched("", "", question=82)]
    assert count_repeated_matches(rows) == {("a", "b", "j", 81, 1): 2}


def test_the_stored_pairs():
    (path,) = stored("judgements_pairwise*")
    _, rows = read_judgments(path)
    strict = pair_rates(read_outcomes(rows, "strict"))[0]
    assert strict.counts == {"model_1": 18, "model_2": 20, "tie": 3, "inconsistent": 27, "unread": 7}
    loose = pair_rates(read_outcomes(rows, "fastchat"))[0]
    assert loose.counts == {"model_1": 18, "model_2": 20, "tie": 8, "inconsistent": 27, "unread": 2}
    assert "not distinguishable" in describe_win_rates([strict])[0]

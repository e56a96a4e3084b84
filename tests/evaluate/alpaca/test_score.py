"""AlpacaEval's win rates: the published ones to the last digit, what is missing, two models in pairs."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.evaluate.alpaca.files import read_annotations
from notus.evaluate.alpaca.score import compare_models, describe_difference, read_preference, win_rate
from notus.stats.intervals import Estimate
from tests.helpers.alpaca_examples import (
    GEMMA,
    NULL,
    ZEPHYR,
    judgement,
    judgements_of,
    leaderboard,
    needs_data,
    stored,
)


@needs_data
@pytest.mark.parametrize(("version", "models"), [(1, 25), (2, 24)])
def test_published_rows_come_out(version, models):
    board = leaderboard(version)
    found = 0
    for model in stored(version):
        if model not in board:  # text_davinci_003 was never put on the second board
            continue
        row, rates = board[model], win_rate(judgements_of(version, model))
        found += 1
        for key in ("win_rate", "standard_error", "discrete_win_rate"):
            assert rates.row()[key] == pytest.approx(float(row[key]), abs=1e-6), (model, key)
        for key in ("n_wins", "n_wins_base", "n_draws", "n_total"):
            assert rates.row()[key] == float(row[key]), (model, key)
        # The board has the mean over all outputs, of which two models have some that were never judged.
        assert abs(rates.length - float(row["avg_length"])) <= (rates.asked < 805), model
        assert rates.asked == rates.scored + rates.refused + rates.failed
    assert found == models


@needs_data
@pytest.mark.parametrize(
    ("path", "version", "model"), [(NULL, 2, "NullModel"), (GEMMA, 2, "gemma-2b-it"), (ZEPHYR, 1, "zephyr-7b-alpha")]
)
def test_upstreams_own_files_are_scored(path, version, model):
    rates, row = win_rate(read_annotations(path)), leaderboard(version)[model]
    assert rates.mean == pytest.approx(float(row["win_rate"]), abs=1e-6)
    assert rates.error == pytest.approx(float(row["standard_error"]), abs=1e-6)
    assert rates.length == int(row["avg_length"])
    assert rates.distinct == (1 if model == "NullModel" else rates.distinct)


@needs_data
def test_a_model_that_lacks_verdicts_is_bounded():
    rates = win_rate(judgements_of(1, "claude2-alpaca-13b"))
    assert (rates.asked, rates.scored, rates.failed) == (805, 802, 3)
    assert rates.worst < rates.mean < rates.best
    assert rates.best - rates.worst == pytest.approx(100 * 3 / 805)


@needs_data
def test_notus_and_zephyr_cannot_be_told_apart_by_what_is_published():
    """Their rows alone, as if unpaired: 91.42 ± 0.99 of 804 against Zephyr's row on the board."""
    row = leaderboard(1)["zephyr-7b-beta"]
    difference = 91.4179 - float(row["win_rate"])
    half = 1.96 * math.hypot(0.9884, float(row["standard_error"]))
    estimate = Estimate(difference, difference - half, difference + half, 803, 803, "clustered t")
    assert "not distinguishable: +0.82 points [-1.98, 3.62]" in describe_difference(estimate, "Notus", "Zephyr")


@needs_data
def test_pairs_of_real_models():
    near = compare_models(judgements_of(1, "gpt4"), judgements_of(1, "gpt4_0314"))
    assert near.shared == 805
    assert "not distinguishable" in describe_difference(near.by_prompts, "gpt4", "gpt4_0314")
    far = compare_models(judgements_of(1, "gpt4"), judgements_of(1, "alpaca-7b"))
    assert describe_difference(far.by_prompts, "gpt4", "alpaca-7b").startswith("gpt4 is better than alpaca-7b")
    # What both share is compared, and the rest is said.
    cut = compare_models(judgements_of(1, "claude-2"), judgements_of(1, "minichat-1.5-3b"))
    assert (cut.shared + cut.only_a, cut.shared + cut.only_b) == (804, 802)


def test_the_formulas_written_out():
    preferences = [1.0, 2.0, 2.0, 1.5, 1.9]
    rates = win_rate([judgement(n, p) for n, p in enumerate([*preferences, None])])
    values = [100 * (p - 1) for p in preferences]
    assert rates.mean == pytest.approx(statistics.mean(values))
    assert rates.error == pytest.approx(statistics.stdev(values) / math.sqrt(5))
    assert rates.discrete == pytest.approx(100 * (3 + 0.5) / 5)
    assert (rates.wins, rates.losses, rates.draws) == (3, 1, 1)
    assert rates.worst == pytest.approx(sum(values) / 6)
    assert rates.best == pytest.approx((sum(values) + 100) / 6)
    assert rates.reasons == (("no-ranking", 1),)
    assert rates.length == len("Yes, and more of it.")
    told = rates.sentences()
    assert told[0] == "6 asked = 5 scored + 0 refused + 1 failed."
    assert "1 × no-ranking" in told[1]


outcomes = st.one_of(st.floats(1, 2), st.sampled_from(["refused", "failed"]))


@given(st.lists(outcomes, min_size=1, max_size=30))
def test_nothing_is_lost(found):
    items = [
        judgement(n, None, unscored=p, reason=p) if isinstance(p, str) else judgement(n, p) for n, p in enumerate(found)
    ]
    rates = win_rate(items)
    assert rates.asked == len(found) == rates.scored + rates.refused + rates.failed
    assert rates.scored == rates.wins + rates.losses + rates.draws
    assert rates.refused == found.count("refused")
    assert 0 <= rates.worst <= rates.best <= 100 + 1e-9
    if rates.mean is not None:
        assert rates.worst - 1e-9 <= rates.mean <= rates.best + 1e-9


def test_nothing_scored_is_no_number():
    rates = win_rate([judgement(0, None), judgement(1, None)])
    assert rates.mean is rates.error is rates.discrete is rates.interval is None
    assert (rates.worst, rates.best) == (0, 100)


def test_an_instruction_that_is_judged_twice_is_told_and_is_one_cluster():
    rates = win_rate([judgement(0, 1.0), judgement(0, 1.0), judgement(1, 2.0)])
    assert rates.repeated == 1
    assert rates.interval.groups == 2
    assert any("had one already" in sentence for sentence in rates.sentences())


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (1, (1.0, "")),
        (2.0, (2.0, "")),
        (0, (1.5, "")),
        (1.5, (1.5, "")),
        (None, (None, "no-preference")),
        (math.nan, (None, "no-preference")),
        (3, (None, "off-scale")),
        (0.5, (None, "off-scale")),
        (-1, (None, "off-scale")),
        (math.inf, (None, "off-scale")),
        ("2", (None, "no-number")),
        (True, (None, "no-number")),
    ],
)
def test_what_a_stored_preference_means(value, read):
    assert read_preference(value) == read


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(DataError, match="no judgement"):
        win_rate([])
    with pytest.raises(DataError, match="of 2 models"):
        win_rate([judgement(0, 1.0), judgement(1, 1.0, model="other")])
    with pytest.raises(DataError, match="the annotator of one is 'judge'"):
        compare_models([judgement(0, 1.0)], [judgement(0, 1.0, annotator="another")])
    with pytest.raises(DataError, match="share no scored instruction"):
        compare_models([judgement(0, 1.0)], [judgement(1, 1.0, model="b")])


def test_equal_differences_prove_nothing():
    """Two instructions that both fall to one model have an interval without width, and leave 0 out of it."""
    paired = compare_models([judgement(n, 2.0) for n in range(2)], [judgement(n, 1.0) for n in range(2)])
    assert (paired.by_prompts.mean, paired.by_prompts.width) == (100.0, 0.0)
    assert "not distinguishable" in describe_difference(paired.by_prompts, "A", "B")
    six = compare_models([judgement(n, 2.0) for n in range(6)], [judgement(n, 1.0) for n in range(6)])
    assert describe_difference(six.by_prompts, "A", "B").startswith("A is better")  # the sign test: 2/2⁶ = .03


def test_a_win_rate_of_all_is_not_certain():
    rates = win_rate([judgement(n, 2.0) for n in range(10)])
    assert (rates.mean, rates.error) == (100.0, 0.0)
    assert (rates.interval.low, rates.interval.high) == (pytest.approx(100 * 10 / (10 + 1.959964**2), abs=1e-4), 100.0)


def test_a_single_judgement_has_a_mean_and_no_error():
    rates = win_rate([judgement(1, 1.75), judgement(2, None)])
    assert (rates.mean, rates.error, rates.scored, rates.asked) == (75.0, None, 1, 2)
    assert win_rate([judgement(1, 2.0), judgement(2, 1.0)]).error == pytest.approx(100 * math.sqrt(0.5) / math.sqrt(2))

"""Bins, calibration error and Brier score, written out, and near 0 where statements are as good as their word."""

import numpy as np
import pytest

from notus.core.errors import DataError
from notus.stats.calibration import brier, calibration_error, reliability_bins
from notus.stats.intervals import clustered_mean, proportion

STATED = [0.05, 0.0, 0.3, 0.35, 0.95, 1.0]
OUTCOME = [0, 0, 1, 0, 1, 1]


def test_bins_hold_every_case_once() -> None:
    found = reliability_bins(STATED, OUTCOME, range(6))
    assert [(item.low, item.high) for item in found] == [(0.0, 0.1), (0.3, 0.4), (0.9, 1.0)]
    assert [item.stated for item in found] == pytest.approx([0.025, 0.325, 0.975])
    assert [(item.came_true.mean, item.came_true.n) for item in found] == [(0, 2), (0.5, 2), (1, 2)]
    # Without spread the clustered interval has no width, and Wilson's says how little two cases prove.
    assert found[2].came_true == proportion(2, 2)


def test_the_wider_interval_is_taken() -> None:
    outcomes, clusters = [1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1]
    found = reliability_bins([0.5] * 8, outcomes, clusters, 1)[0].came_true
    assert found == clustered_mean(outcomes, clusters)


def test_errors_written_out() -> None:
    found = calibration_error(STATED, OUTCOME, range(6))
    assert found is not None
    # In bins: |0 + 0 − .05|, |1 + 0 − .65|, |2 − 1.95|, over six cases.
    assert found.mean == pytest.approx((0.05 + 0.35 + 0.05) / 6)
    score = brier(STATED, OUTCOME, range(6))
    assert score is not None
    assert score.mean == pytest.approx((0.05**2 + 0 + 0.7**2 + 0.35**2 + 0.05**2 + 0) / 6)


def noise_floor(stated: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    """Mean and 95 % point of the calibration error where outcomes are drawn with the very probabilities stated."""
    random, place = np.random.default_rng(seed), np.minimum((stated * 10).astype(int), 9)
    drawn = (random.random((draws, len(stated))) < stated) - stated
    off = [np.abs(np.bincount(place, weights=row, minlength=10)).sum() / len(stated) for row in drawn]
    return float(np.mean(off)), float(np.quantile(off, 0.95))


def test_true_statements_stay_under_the_floor_and_boasts_do_not() -> None:
    """Of 200 sets of true statements about 5 % lie above the floor's 95 % point; of boasts all, near the truth."""
    random = np.random.default_rng(0)
    above = covered = 0
    for draw in range(200):
        stated = random.random(400)
        good = calibration_error(stated, random.random(400) < stated, range(400), draws=400, seed=draw)  # type: ignore[arg-type]
        shy = 0.5 + (stated - 0.5) / 2  # what comes true is nearer to even odds than it is stated
        boast = calibration_error(stated, random.random(400) < shy, range(400), draws=400, seed=draw)  # type: ignore[arg-type]
        assert good is not None
        assert boast is not None
        floor, most = noise_floor(stated, draws=200, seed=draw)
        assert 0 < floor < most
        above += good.mean > most
        covered += boast.low <= 0.125 <= boast.high
        assert boast.mean > most
    assert 2 <= above <= 20
    assert covered >= 175


@pytest.mark.parametrize(
    ("stated", "outcome", "words"),
    [([1.2], [1], "between 0 and 1"), ([0.5], [0.5], "neither 0 nor 1"), ([0.5, 0.5], [1], "1 values came with 2")],
)
def test_bad_input(stated: list[float], outcome: list[float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        brier(stated, outcome, range(len(stated)))
    with pytest.raises(DataError, match="0 bins"):
        reliability_bins([0.5], [1], [0], 0)


def test_nothing_is_no_estimate() -> None:
    assert (brier([], [], []), calibration_error([], [], []), reliability_bins([], [], [])) == (None, None, [])

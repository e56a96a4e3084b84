import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.evaluate.compare import Score, SweepPoint, compare, describe_slope, slope

DOSES = (0.0, 0.1, 0.2)


def dosed(value, seeds=(1, 2, 3), doses=DOSES):
    """Arms whose prompts score ``value(dose, seed)``, a little apart from prompt to prompt."""
    scores = [
        Score(f"{dose:g}", seed, f"p{prompt}", 0, value(dose, seed) + (prompt - 1) / 100)
        for dose in doses
        for seed in seeds
        for prompt in range(3)
    ]
    arms = {arm.name: arm for arm in compare(scores).arms}
    return [SweepPoint(dose, arms[f"{dose:g}"]) for dose in doses]


def test_the_slope_is_that_of_the_least_squares_line_of_each_seed():
    noise = {(dose, seed): np.sin(100 * dose + 7 * seed) / 50 for dose in DOSES for seed in (1, 2, 3)}
    found = slope(dosed(lambda dose, seed: 0.7 - 0.9 * dose + noise[dose, seed]))
    slopes = [np.polyfit(DOSES, [0.7 - 0.9 * dose + noise[dose, seed] for dose in DOSES], 1)[0] for seed in (1, 2, 3)]
    assert found.mean == pytest.approx(np.mean(slopes))
    assert found.high - found.mean == pytest.approx(4.30265 * np.std(slopes, ddof=1) / np.sqrt(3), rel=1e-4)
    assert found.groups == 3


@given(st.floats(-3, 3), st.floats(0, 1))
def test_what_seeds_have_in_common_does_not_count(steep, level):
    found = slope(dosed(lambda dose, seed: level * seed + steep * dose))
    assert found.mean == pytest.approx(steep, abs=1e-9)
    assert found.width == pytest.approx(0, abs=1e-6)


def test_a_slope_is_said_only_where_there_is_one():
    down = slope(dosed(lambda dose, seed: 0.7 - 2 * dose + seed * dose / 100))
    assert describe_slope("critique", down).startswith("critique: each percentage point changes the score by -0.020 [")
    flat = slope(dosed(lambda dose, seed: 0.7 + (seed - 2) * dose))
    assert "not distinguishable from none" in describe_slope("critique", flat)
    assert slope(dosed(lambda dose, _: dose, seeds=(1,))) is None
    assert "two seeds" in describe_slope("critique", None)


def test_one_dose_has_no_slope():
    with pytest.raises(DataError, match="two different levels; there are 1"):
        slope(dosed(lambda dose, _: dose, doses=(0.1,)))

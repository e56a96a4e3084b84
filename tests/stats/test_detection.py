import numpy as np
import pytest

from notus.core.errors import DataError
from notus.stats.detection import auroc


def test_the_area_by_hand() -> None:
    # Faulty 3 and 1, sound 2, 1 and 0: 3 is above all three, 1 above one and level with one → (3 + 1.5) / 6.
    found = auroc([3, 1, 2, 1, 0], [True, True, False, False, False], list("abcde"))
    assert found is not None
    assert found.mean == pytest.approx(4.5 / 6)
    v, w = [1 - 0.75, 0.5 - 0.75], [0.5 - 0.75, 0.75 - 0.75, 1 - 0.75]
    variance = 5 / 4 * (sum(x * x for x in v) / 4 + sum(x * x for x in w) / 9)
    assert (found.high - found.low) / 2 == pytest.approx(2.7764451 * variance**0.5)


def test_items_that_stand_together_are_one_observation() -> None:
    rng = np.random.default_rng(0)
    values, bad = rng.normal(size=200), rng.random(200) < 0.3
    alone = auroc(values, bad, range(200))
    twice = auroc([*values, *values], [*bad, *bad], [*range(200), *range(200)])
    assert alone is not None
    assert twice is not None
    assert (twice.low, twice.high) == pytest.approx((alone.low, alone.high))


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hit = 0
    for _ in range(300):
        bad = np.repeat([True, False], 60)
        found = auroc(rng.normal(size=120) + bad, bad, range(120))
        assert found is not None
        hit += found.low < 0.7602 < found.high  # Φ(1/√2)
    assert 0.92 <= hit / 300 <= 0.98


@pytest.mark.parametrize(("values", "bad"), [([1.0], [True, False]), ([float("nan"), 1], [True, False]), ([1], [True])])
def test_what_cannot_be_measured_is_refused(values, bad) -> None:
    with pytest.raises(DataError):
        auroc(values, bad, ["a"] * len(values))

import numpy as np
import pytest

from notus.core.errors import DataError
from notus.stats.detection import auroc, auroc_gain


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


def test_a_gain_over_nothing_is_the_area_less_one_half() -> None:
    rng = np.random.default_rng(4)
    bad = rng.random(120) < 0.3
    values = rng.normal(size=120) + bad
    alone, gain = auroc(values, bad, range(120)), auroc_gain(values, [np.zeros(120)], bad, range(120))
    assert alone is not None
    assert gain is not None
    assert gain.mean == pytest.approx(alone.mean - 0.5)
    assert gain.width == pytest.approx(alone.width)


def test_a_gain_over_itself_is_nothing_and_over_several_over_their_mean() -> None:
    rng = np.random.default_rng(5)
    bad = rng.random(150) < 0.3
    first, second, third = (rng.normal(size=150) + bad * by for by in (1.5, 1.0, 0.2))
    none = auroc_gain(first, [first, first], bad, range(150))
    assert none is not None
    assert (none.mean, none.width) == (pytest.approx(0), pytest.approx(0))
    areas = [found.mean for each in (first, second, third) if (found := auroc(each, bad, range(150))) is not None]
    gain = auroc_gain(first, [second, third], bad, range(150))
    assert gain is not None
    assert gain.mean == pytest.approx(areas[0] - (areas[1] + areas[2]) / 2)
    assert gain.low < gain.mean < gain.high

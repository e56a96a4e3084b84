"""What a training says of its speed, on a clock of the test's own."""

import pytest

from notus.train.run.progress import Meter, Moment, Rates


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def update(meter, clock, seconds, rows=4, tokens=100, flops=1e9):
    meter.begin()
    clock.now += seconds
    meter.end(rows, tokens, flops)


def test_rates_are_those_of_the_time_that_updates_take():
    clock = Clock()
    meter = Meter(clock)
    assert meter.take() is None
    assert meter.to_go(10) is None
    update(meter, clock, 2.0)
    clock.now += 50.0  # an evaluation
    update(meter, clock, 2.0)
    assert meter.recent() == Rates(rows=2.0, tokens=50.0, flops=5e8)
    assert meter.take() == Rates(rows=2.0, tokens=50.0, flops=5e8)
    assert meter.take() is None
    update(meter, clock, 0.5)
    assert meter.take() == Rates(rows=8.0, tokens=200.0, flops=2e9)
    # What is to go counts everything: 54.5 seconds for three updates.
    assert meter.to_go(6) == pytest.approx(109.0)


def test_the_line_follows_the_last_updates():
    clock = Clock()
    meter = Meter(clock)
    for _ in range(30):
        update(meter, clock, 10.0)
    for _ in range(20):
        update(meter, clock, 1.0)
    assert meter.recent().rows == pytest.approx(4.0)


WHOLE = Moment(
    done=12,
    of=3400,
    unit="pairs",
    loss=0.69314,
    rates=Rates(rows=3.21, tokens=1234.5, flops=4e11),
    peak=1e12,
    memory=3 * 2**30,
    seconds=754,
)


def test_the_line_has_all_that_is_known():
    text = (
        "12 of 3,400 updates · loss 0.6931 · 3.21 pairs/s · 1,234 tokens/s · 40% of peak · 3.0 GiB · 12 min 34 s to go"
    )
    assert WHOLE.describe() == text
    assert Moment(1, 2, "dialogues").describe() == "1 of 2 updates"
    accelerator = Moment(1, 2, "rows", memory=2**30, highest=2**31, seconds=7_500)
    assert accelerator.describe() == "1 of 2 updates · 1.0 of at most 2.0 GiB · 2 h 05 min to go"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100])
def test_a_narrow_terminal_loses_the_least_important(width):
    line = WHOLE.describe(width)
    assert len(line) <= width
    assert line.startswith("12 of 3,400 updates")
    assert ("to go" in line) == (width > 40)
    assert ("peak" in line) == (width > 100)

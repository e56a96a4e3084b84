"""What is counted of a run of requests, and what is made of it."""

import pytest

from notus.llm import progress as module
from notus.llm.progress import Progress
from notus.llm.protocol import Failure, Reply


def reply(price=None):
    return Reply(key="k", texts=("a",), finish=("stop",), tokens_in=3, tokens_out=2, price=price)


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_the_rate_is_that_of_the_last_half_minute(clock):
    progress = Progress()
    assert progress.snapshot().rate == 0
    for second, rate in [(100, 0), (102, 0.5), (104, 0.5), (105, 0.6)]:
        clock[0] = float(second)
        progress.ended(reply())
        assert progress.snapshot().rate == pytest.approx(rate)
    clock[0] = 140.0
    progress.ended(reply())
    # Those of more than half a minute ago are gone but for the last two: one outcome in 35 seconds.
    assert progress.snapshot().rate == pytest.approx(1 / 35)


def test_what_stored_answers_had_cost_is_told_apart_and_carried_over_to_the_rest():
    progress = Progress(total=8)
    for price in (0.5, None, 0.25):
        progress.known(reply(price))
    progress.ended(reply(1.25))
    found = progress.snapshot()
    assert (found.stored, found.answered, found.done) == (3, 1, 4)
    assert (found.cost_before, found.cost) == (0.75, 1.25)
    assert found.cost_to_come == pytest.approx(2.0 / 4 * 4)


def test_failures_are_counted_by_their_kinds():
    progress = Progress()
    progress.asked = 3
    progress.ended(Failure(key="k", kind="refused", detail="no"))
    progress.ended(reply())
    found = progress.snapshot()
    assert (found.failed, found.answered, found.under_way) == ({"refused": 1}, 1, 1)

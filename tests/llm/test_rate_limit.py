"""The limiter of an endpoint against servers with a limit, on a clock of its own."""

import heapq
import math
import random
from itertools import pairwise

import pytest

from notus.llm.client import Replicas
from notus.llm.rate_limit import RateLimiter


def simulate(limiter, *, per_minute, burst, latency=0.05, seconds=600, retry_after=None, seed=0):
    """Requests as fast as the limiter allows; the server has a bucket. The time of each, and whether it passed."""
    draw = random.Random(seed)
    now, level, filled_at, came, under_way = 0.0, float(burst), 0.0, [], []
    while now < seconds:
        wait = limiter.wait(now)
        if wait <= 0:
            level, filled_at = min(burst, level + (now - filled_at) * per_minute / 60), now
            passes = level >= 1
            level -= passes
            came.append((now, passes))
            limiter.take(100, now)
            heapq.heappush(under_way, (now + latency * draw.uniform(0.5, 1.5), now, passes))
            continue
        until = min(now + wait, under_way[0][0] if under_way else math.inf)
        while under_way and under_way[0][0] <= until:
            now, sent_at, passes = heapq.heappop(under_way)
            limiter.release()
            if passes:
                limiter.answered(100, 100, now)
            else:
                limiter.refused(sent_at, retry_after, now)
            break
        else:
            now = until
    return came


def after(came, warm_up, seconds=600):
    window = [passes for at, passes in came if at >= warm_up]
    return sum(window) / (seconds - warm_up), window.count(False) / len(window)


@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize("burst", [1, 5, 60, 600])
@pytest.mark.parametrize("per_minute", [60, 600, 6000])
def test_a_limit_that_is_set_is_used_and_hardly_ever_met(per_minute, burst, retry_after):
    limiter = RateLimiter(32, requests_per_minute=per_minute)
    rate, refused = after(simulate(limiter, per_minute=per_minute, burst=burst, retry_after=retry_after), 10)
    assert rate >= 0.95 * per_minute / 60
    assert refused < 0.01


@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize("burst", [5, 60, 600])
@pytest.mark.parametrize("per_minute", [600, 3000])
def test_a_limit_that_nobody_set_is_found(per_minute, burst, retry_after):
    came = simulate(RateLimiter(32), per_minute=per_minute, burst=burst, retry_after=retry_after)
    rate, refused = after(came, 60)
    assert rate >= 0.95 * per_minute / 60
    assert refused < 0.01


def test_a_server_without_limit_is_not_slowed():
    limiter = RateLimiter(10)
    came = simulate(limiter, per_minute=10**9, burst=10**6, latency=0.1, seconds=20)
    assert len(came) / 20 > 90
    assert limiter.rate == math.inf


def test_tokens_are_spaced_and_corrected():
    limiter = RateLimiter(100, tokens_per_minute=6000)  # 100 a second, of which 99 are used
    limiter.take(495, 0.0)
    assert limiter.wait(0.0) == pytest.approx(4.95, abs=0.06)
    limiter.answered(495, 99, 0.1)
    assert limiter.wait(0.1) == pytest.approx(0.85, abs=0.06)


def test_what_left_before_a_pause_tells_nothing_new():
    limiter = RateLimiter(8, backoff=1.0)
    for _ in range(8):
        limiter.take(1, 0.0)
    for _ in range(8):
        limiter.refused(0.0, None, 0.5)
    assert limiter.wait(0.5) == math.inf
    for _ in range(8):
        limiter.release()
    assert limiter.wait(0.5) == pytest.approx(1.0)


def test_retry_after_is_honoured_and_zero_does_not_lead_to_hammering():
    limiter = RateLimiter(1, backoff=1.0)
    limiter.refused(0.0, 7.0, 1.0)
    assert limiter.wait(1.0) == pytest.approx(7.0)
    waits, now = [], 10.0
    for _ in range(5):
        limiter.refused(now, 0.0, now)
        waits.append(limiter.wait(now))
        now += waits[-1]
    assert waits == sorted(waits)
    assert waits[-1] > 8


def test_errors_lower_the_number_at_once_and_answers_raise_it_again():
    limiter = RateLimiter(100)
    limiter.failed(sent_at=0.0, now=1.0)
    limiter.failed(sent_at=0.5, now=1.1)  # of the same moment
    assert limiter.concurrency == 70
    for number in range(20):
        limiter.failed(sent_at=2.0 + number, now=2.0 + number)
    assert limiter.concurrency == 1
    for _ in range(20_000):
        limiter.answered(1, 1, 30.0)
    assert limiter.concurrency == 100


def test_the_replica_with_the_fewest_tokens_is_next():
    replicas = Replicas(["a", "b", "c"])
    for tokens, expected in ((100, "a"), (10, "b"), (50, "c"), (5, "b"), (5, "b")):
        chosen = replicas.choose(0.0)
        assert chosen.url == expected
        replicas.sent(chosen, tokens)


def test_a_dead_replica_is_tried_by_one_request_at_a_time_and_ever_less_often():
    replicas = Replicas(["dead", "alive"])
    dead, alive = replicas.all
    now, tried = 0.0, []
    while now < 300:
        chosen = replicas.choose(now)
        replicas.sent(chosen, 1)
        if chosen is dead:
            tried.append(now)
            assert len(tried) == 1 or replicas.choose(now) is alive  # while one request finds out
            replicas.ended(chosen, 1)
            replicas.failed(chosen, now, refused=True)
        else:
            replicas.ended(chosen, 1)
            replicas.answered(chosen)
        now += 0.1
    gaps = [round(later - earlier, 3) for earlier, later in pairwise(tried)]
    assert 5 <= len(tried) <= 15
    assert gaps == sorted(gaps)
    replicas.answered(dead)
    assert replicas.choose(now) is dead


def test_a_replica_that_stays_silent_is_paused_after_three_failures():
    replicas = Replicas(["deaf", "alive"])
    deaf = replicas.all[0]
    for _ in range(3):
        assert deaf.paused_until <= 0.0
        replicas.failed(deaf, 0.0, refused=False)
    assert replicas.choose(0.1).url == "alive"


def test_waits_double_while_a_server_refuses_and_begin_anew_behind_an_answer():
    """By hand: half a second, one, two, four; a server that names a time is believed once."""
    limiter, now = RateLimiter(4, backoff=0.5), 0.0
    for wait in (0.5, 1.0, 2.0, 4.0):
        limiter.refused(now, None, now)
        assert limiter.wait(now) == pytest.approx(wait)
        now += wait
    limiter.take(1, now)
    limiter.release()
    limiter.answered(1, 1, now)
    limiter.refused(now, 0.1, now)
    assert limiter.wait(now) == pytest.approx(0.1)
    limiter.refused(now + 0.1, 0.1, now + 0.1)
    assert limiter.wait(now + 0.1) == pytest.approx(1.0)


def test_a_limit_that_was_found_is_tried_again_above_it_and_never_below_what_was_refused():
    """Once a good and a refused rate are within a hundredth, after a minute a twentieth above the good one is tried; a
    refused rate that lies higher still stays the border."""
    for bad, border in ((10.05, 10.5), (10.09, 10.5)):
        limiter = RateLimiter(4)
        limiter._learned, limiter._good, limiter._bad, limiter._accepted = 10.0, 10.0, bad, 10_000
        limiter._raise(61.0)
        assert limiter._bad == pytest.approx(border)
        assert limiter.rate == pytest.approx((10.0 + border) / 2)

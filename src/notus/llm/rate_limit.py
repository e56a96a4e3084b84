"""How fast an endpoint may be asked: by the limits that are set, and by those that its refusals show.

Owns the arithmetic of one endpoint's limits, on a clock that is passed in. Requests are evenly spaced, because a
server's bucket is seldom as large as its limit.
"""

import math

__all__ = ["RateLimiter"]

_SLACK_S = 0.05
"""How much lateness may be made up for: the clock of an event loop is coarse where requests are many."""
_MARGIN = 0.99
"""Share of a set limit that is used: two clocks never agree."""
_CLIMB_S, _CLIMB = 2.0, 1.5
"""Seconds for which a learned rate must hold before it is raised, and by how much, until it is once refused."""
_NARROW_S, _NARROW = 10.0, 1.01
"""Seconds for which a rate between a good and a refused one must hold, and how near the two may come."""
_RENEW_S, _RENEW = 60.0, 1.05
"""Seconds after which a limit that has been found is tried again, and how far above it: servers change their minds."""
_DROP = 0.03
"""Share of a rate that is given up when even the best that held is refused; doubled while refusals go on."""
_CUT = 0.7
"""Share of the requests at once that is left after an error that shows an overloaded server."""
_LONGEST_S = 60.0


class RateLimiter:
    """The rate limiter of one endpoint: when the next request may be sent.

    A limit that nobody set is found from the refusals: first the rate that was let through between two of them, from
    there upwards until a steady rate is refused, then by halves between that one and the best that held. A rate counts
    as held only if so much was really sent.

    Args:
        concurrency: most requests under way.
        requests_per_minute, tokens_per_minute: limits that are known, or None.
        backoff: seconds of the first wait where the server names none.
    """

    def __init__(
        self,
        concurrency: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        backoff: float = 0.5,
    ) -> None:
        self._most = concurrency
        self._allowed = float(concurrency)
        self._set_rate = requests_per_minute * _MARGIN / 60 if requests_per_minute else math.inf
        self._token_rate = tokens_per_minute * _MARGIN / 60 if tokens_per_minute else math.inf
        self._backoff = backoff
        self._learned = math.inf
        self._next_request = self._next_token = self._pause_until = -math.inf
        self._refused_at: float | None = None
        self._slowed_at = -math.inf
        self._good, self._bad, self._drop = 0.0, math.inf, _DROP
        self._since = 0.0
        self._accepted = 0
        self._streak = 0
        self.in_flight = 0

    @property
    def rate(self) -> float:
        """Requests per second that are allowed, as far as is known; infinite when nothing is."""
        return min(self._set_rate, self._learned)

    @property
    def concurrency(self) -> int:
        """Requests that may be under way now."""
        return max(1, int(self._allowed))

    def wait(self, now: float) -> float:
        """Seconds until the next request may go; infinite when one that is under way must end first."""
        if self.in_flight >= self.concurrency:
            return math.inf
        return max(0.0, self._pause_until - now, self._next_request - now, self._next_token - now)

    def take(self, tokens: int, now: float) -> None:
        """A request of so many tokens, estimated, goes out."""
        self.in_flight += 1
        self._next_request = max(self._next_request, now - _SLACK_S) + 1 / self.rate
        self._next_token = max(self._next_token, now - _SLACK_S) + tokens / self._token_rate

    def release(self) -> None:
        """A request has come to its end, one way or the other."""
        self.in_flight -= 1

    def answered(self, estimated: int, counted: int, now: float) -> None:
        """A request was answered; ``counted`` is what the server counted in place of the estimate."""
        self._next_token += (counted - estimated) / self._token_rate
        self._accepted += 1
        self._streak = 0
        self._allowed = min(self._most, self._allowed + 1 / self._allowed)
        if self._learned < math.inf:
            self._raise(now)

    def refused(self, sent_at: float, wait_s: float | None, now: float) -> None:
        """The server has had too many requests: all wait, for ``wait_s`` or for a time that doubles."""
        is_new = self._refused_at is None or sent_at >= self._pause_until
        if wait_s is not None:
            self._pause_until = max(self._pause_until, now + wait_s)
        if not is_new:  # it left before the last pause ended and shows nothing new
            return
        self._streak += 1
        # A server that names a time is believed once; where that was not enough, more is waited than it says.
        if wait_s is None or self._streak > 1:
            own = min(_LONGEST_S, self._backoff * 2 ** min(self._streak - 1, 16))
            self._pause_until = max(self._pause_until, now + own)
        if self._learned < math.inf:
            self._lower()
        elif self._refused_at is None:
            self._refused_at = now
            self._accepted = 0
        elif self._accepted >= 5 and now - self._refused_at >= 1:
            self._learned = self._accepted / (now - self._refused_at)
        self._start_over(max(now, self._pause_until))

    def failed(self, sent_at: float, now: float) -> None:
        """The server has failed in a way that shows overload: fewer requests at once, for a while."""
        if sent_at >= self._slowed_at:
            self._allowed = max(1.0, _CUT * self._allowed)
            self._slowed_at = now

    def _raise(self, now: float) -> None:
        """Raise the learned rate, if it has held for long enough."""
        held = now - self._since
        narrow = self._bad <= self._good * _NARROW
        needed = _CLIMB_S if self._bad == math.inf else _RENEW_S if narrow else _NARROW_S
        if held < needed or self._accepted < 0.7 * self.rate * held:
            if held >= needed:  # too little was sent to tell
                self._start_over(now)
            return
        self._good, self._drop = self._learned, _DROP
        if self._bad == math.inf:
            self._learned = min(_CLIMB * self._learned, _CLIMB * self._set_rate)
        else:
            self._bad = max(self._bad, self._good * _RENEW) if narrow else self._bad
            self._learned = (self._good + self._bad) / 2
        self._start_over(now)

    def _lower(self) -> None:
        """A steady rate was refused: back to one that held, or below it where that one is refused now."""
        self._bad = self._learned
        if self._good >= self._bad or self._good == 0.0:
            self._good = (1 - self._drop) * self._bad
            self._drop = min(0.5, 2 * self._drop)
        self._learned = self._good

    def _start_over(self, now: float) -> None:
        self._since = now
        if self._learned < math.inf:
            self._accepted = 0

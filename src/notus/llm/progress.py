"""The progress of a run of requests: counts, rate, cost so far and to come.

Owns the counting; showing it is left to others. One thread counts; any thread may take a ``Snapshot``.
"""

import time
from collections import Counter, deque

from notus.core.records import Record
from notus.llm.protocol import Outcome, Reply

__all__ = ["Progress", "Snapshot"]

_WINDOW_S = 30.0


class Snapshot(Record, frozen=True):
    """The state of a run at one moment. ``asked`` = ``answered`` + the sum of ``failed`` + ``under_way``."""

    total: int | None
    """Requests in all, where that is known."""
    stored: int
    """Requests that the ledger answered; nothing was sent for them."""
    asked: int
    """Requests that were sent, each counted once however often it was sent."""
    answered: int
    failed: dict[str, int]
    """Kind → requests that ended without an answer."""
    under_way: int
    """Requests that were sent and have no outcome yet."""
    elsewhere: int
    """Requests that another process is asking through the same ledger: its answers are waited for."""
    errors: dict[str, int]
    """Kind → errors of single attempts, those that a retry made good too."""
    truncated: int
    """Answers of which a text was cut at the token limit."""
    estimated: int
    """Answers whose tokens the server did not count."""
    tokens_in: int
    tokens_out: int
    cost: float
    """What was paid since the start."""
    cost_before: float
    """What the stored answers had cost when they were paid."""
    cost_to_come: float | None
    """What the rest will cost, if it costs as much as what is done; None where nothing is known."""
    rate: float
    """Outcomes per second, over the last half minute."""
    seconds: float
    """Since the start."""

    @property
    def done(self) -> int:
        """Requests that have an outcome."""
        return self.stored + self.answered + sum(self.failed.values())


class Progress:
    """Counts what happens to requests.

    Args:
        total: requests in all, where that is known; it may be set later.
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = total
        self.asked = self.answered = self.stored = self.truncated = self.estimated = 0
        self.failed: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.elsewhere = 0
        self.tokens_in = self.tokens_out = 0
        self.cost = self.cost_before = 0.0
        self._started = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque()

    def ended(self, outcome: Outcome) -> None:
        """A request that was sent has an outcome."""
        if isinstance(outcome, Reply):
            self.answered += 1
            self.truncated += "length" in outcome.finish
            self.estimated += outcome.estimated
        else:
            self.failed[outcome.kind] += 1
        self.tokens_in += outcome.tokens_in
        self.tokens_out += outcome.tokens_out
        self.cost += outcome.price or 0.0
        now = time.monotonic()
        self._recent.append((now, self.answered + self.failed.total()))
        while len(self._recent) > 2 and self._recent[0][0] < now - _WINDOW_S:
            self._recent.popleft()

    def known(self, outcome: Outcome) -> None:
        """The ledger answered a request."""
        self.stored += 1
        self.cost_before += outcome.price or 0.0

    def snapshot(self) -> Snapshot:
        """The state now."""
        done = self.stored + self.answered + self.failed.total()
        spent = self.cost + self.cost_before
        return Snapshot(
            total=self.total,
            stored=self.stored,
            asked=self.asked,
            answered=self.answered,
            failed=dict(self.failed),
            under_way=self.asked - self.answered - self.failed.total(),
            elsewhere=self.elsewhere,
            errors=dict(self.errors),
            truncated=self.truncated,
            estimated=self.estimated,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            cost=self.cost,
            cost_before=self.cost_before,
            cost_to_come=None if self.total is None or not done else spent / done * max(0, self.total - done),
            rate=self._rate(),
            seconds=time.monotonic() - self._started,
        )

    def _rate(self) -> float:
        recent = list(self._recent)
        if len(recent) < 2 or recent[-1][0] == recent[0][0]:
            return 0.0
        return (recent[-1][1] - recent[0][1]) / (max(time.monotonic(), recent[-1][0]) - recent[0][0])

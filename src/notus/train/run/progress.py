"""How fast a training goes: rates, share of the machine's peak, memory, time to go; and the one line that says it.

Owns the counting and the words. Who shows the line is not known here (``core.run.observed_by``), what is counted is
told by ``train.run.watch``. No torch.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Meter", "Moment", "Rates"]

_WINDOW = 20
"""Updates over which the rates of the line are taken."""


@dataclass(frozen=True)
class Rates:
    """What was done in the time that updates took; evaluation, saving and the wait for data are not in it."""

    rows: float
    """Pairs, rows or dialogues a second."""
    tokens: float
    """Tokens that went through the model a second; a prompt that answers share is one."""
    flops: float
    """Multiplications and additions a second."""


@dataclass(frozen=True)
class Moment:
    """Where a training stands."""

    done: int
    of: int
    """Updates."""
    unit: str
    """What an update takes: pairs, rows or dialogues."""
    loss: float | None = None
    rates: Rates | None = None
    peak: float | None = None
    """FLOP a second that the device reaches in a plain product of matrices; None where that was not measured."""
    memory: int | None = None
    """Bytes that are held now."""
    highest: int | None = None
    """Bytes that were held at most, where the device counts them."""
    seconds: float | None = None
    """Seconds to go."""

    def describe(self, width: int | None = None) -> str:
        """One line; where it is too long for the width, the least important parts are left out."""
        parts = [(0, f"{self.done:,} of {self.of:,} updates")]
        if self.loss is not None:
            parts.append((1, f"loss {self.loss:.4g}"))
        if self.rates is not None:
            parts.append((3, f"{_count(self.rates.rows)} {self.unit}/s"))
            parts.append((4, f"{_count(self.rates.tokens)} tokens/s"))
            if self.peak:
                parts.append((6, f"{self.rates.flops / self.peak:.0%} of peak"))
        if self.memory is not None:
            most = f" of at most {self.highest / 2**30:.1f}" if self.highest else ""
            parts.append((5, f"{self.memory / 2**30:.1f}{most} GiB"))
        if self.seconds is not None:
            parts.append((2, f"{_duration(self.seconds)} to go"))
        while width is not None and len(parts) > 1 and len(" · ".join(text for _, text in parts)) > width:
            parts.remove(max(parts))
        return " · ".join(text for _, text in parts)


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


class Meter:
    """Counts updates and the time they take.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begun = self._first = 0.0
        self._updates = 0
        self._recent: deque[tuple[float, int, int, float]] = deque(maxlen=_WINDOW)
        self._untold: list[tuple[float, int, int, float]] = []

    def begin(self) -> None:
        """An update begins."""
        self._begun = self._clock()
        if not self._updates:
            self._first = self._begun

    def end(self, rows: int, tokens: int, flops: float) -> None:
        """The update is done."""
        done = (self._clock() - self._begun, rows, tokens, flops)
        self._updates += 1
        self._recent.append(done)
        self._untold.append(done)

    @property
    def seconds(self) -> float:
        """Seconds since the first update began; 0 before."""
        return self._clock() - self._first if self._updates else 0.0

    def recent(self) -> Rates | None:
        """The rates of the last updates."""
        return _rates(self._recent)

    def take(self) -> Rates | None:
        """The rates since this was last asked for; None without an update."""
        found, self._untold = _rates(self._untold), []
        return found

    def to_go(self, left: int) -> float | None:
        """Seconds that so many further updates will take, at the pace up to here, with all that is between."""
        return None if self._updates < 2 else self.seconds / self._updates * left


def _rates(updates: "deque[tuple[float, int, int, float]] | list[tuple[float, int, int, float]]") -> Rates | None:
    seconds = sum(update[0] for update in updates)
    if not seconds:
        return None
    rows, tokens, flops = (sum(update[place] for update in updates) for place in (1, 2, 3))
    return Rates(rows / seconds, tokens / seconds, flops / seconds)

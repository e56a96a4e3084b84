"""Which replica of an endpoint takes the next request: the one with the fewest tokens to do, of those that live.

Owns the load and the health of replicas, on a clock that is passed in. A replica that refuses connections is set aside,
and from time to time one request tries it again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Replica", "Replicas"]

_FIRST_REST_S = 0.5
_LONGEST_REST_S = 60.0
_PATIENCE = 3
"""Faults in a row, without an answer between, after which a replica that takes connections is set aside too."""


@dataclass
class Replica:
    """One server of an endpoint."""

    url: str
    outstanding: int = 0
    """Tokens, estimated, of the requests that it is at work on."""
    faults: int = 0
    """Faults since its last answer."""
    rests: int = 0
    """How often it was set aside since its last answer."""
    aside_until: float = -math.inf
    trying: bool = False
    """Whether a request is finding out if it is back."""


class Replicas:
    """The replicas of one endpoint."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.all = [Replica(url) for url in urls]

    def choose(self, now: float, avoid: Replica | None = None) -> Replica | None:
        """The replica with the least to do, or None when all are set aside.

        Args:
            now: seconds.
            avoid: the one that has just failed the request; it is taken only when no other can be.
        """
        ready = [r for r in self.all if r.aside_until <= now and not r.trying]
        return min(ready, key=lambda r: (r is avoid, r.outstanding), default=None)

    def ready_at(self) -> float:
        """When the next replica that was set aside may be tried; infinite when each is being tried."""
        return min((r.aside_until for r in self.all if not r.trying), default=math.inf)

    def sent(self, replica: Replica, tokens: int) -> None:
        """A request went to a replica."""
        replica.outstanding += tokens
        replica.trying = replica.rests > 0

    def ended(self, replica: Replica, tokens: int) -> None:
        """A request to a replica has come to its end."""
        replica.outstanding -= tokens
        replica.trying = False

    def answered(self, replica: Replica) -> None:
        """It has spoken, if only to refuse: it lives."""
        replica.faults = replica.rests = 0
        replica.aside_until = -math.inf

    def failed(self, replica: Replica, now: float, *, refused: bool) -> None:
        """It refused the connection, or broke it, or kept silent."""
        replica.faults += 1
        if (refused or replica.faults >= _PATIENCE) and replica.aside_until <= now:
            replica.aside_until = now + min(_LONGEST_REST_S, _FIRST_REST_S * 2 ** min(replica.rests, 16))
            replica.rests += 1

"""Whether a judge's replies can be read, watched while they come: a judge that cannot be read is said aloud, and early.

Owns the counting, and when a run is stopped for it. What reads a reply is owned by ``llm.parse``.
"""

import threading
from collections import Counter

from notus.core.errors import RunError
from notus.core.text import one_line

__all__ = ["FIRST", "ReadingWatch"]

FIRST = 20
"""Replies after which it is decided whether the judge can be read."""
_SHOWN, _WIDTH = 3, 300
"""Replies that are shown, and the most characters of each."""


class ReadingWatch:
    """Counts the replies of a judge, and stops the run where most of the first ``FIRST`` cannot be read.

    It may be told from several threads; each is stopped that asks on.

    Args:
        judge: what it is called, for the error.
        stops: whether it stops the run; otherwise it only counts.
    """

    def __init__(self, judge: str, *, stops: bool = True) -> None:
        self._judge, self._stops = judge, stops
        self._lock = threading.Lock()
        self._shown: list[str] = []
        self._why = ""
        self.replies = self.replies_read = 0
        self.reasons: Counter[str] = Counter()
        """Why replies were not read, as slugs."""

    def read(self) -> None:
        """A reply was read.

        Raises:
            RunError: if the judge was found to be unreadable before.
        """
        with self._lock:
            self.replies_read += 1
            self._count()

    def unread(self, reason: str, text: str) -> None:
        """A reply was not read.

        Raises:
            RunError: if it is the one that shows that the judge cannot be read, or one after it.
        """
        with self._lock:
            self.reasons[reason] += 1
            if len(self._shown) < _SHOWN:
                self._shown.append(f"[{reason}] {one_line(text, _WIDTH) or '(an empty reply)'}")
            self._count()

    def why(self) -> dict[str, int]:
        """Reason → replies, the most frequent first; in an order that does not depend on which reply came first."""
        return dict(sorted(self.reasons.items(), key=lambda item: (-item[1], item[0])))

    def _count(self) -> None:
        self.replies += 1
        if self.replies == FIRST and self._stops and 2 * self.replies_read < FIRST:
            told = ", ".join(f"{count} {reason}" for reason, count in self.why().items())
            self._why = (
                f"the judge '{self._judge}' cannot be read: of its first {FIRST} replies {self.replies_read} were read "
                f"({told}). Three of the others: {' | '.join(self._shown)} -- nothing further is asked; correct the "
                "judge's prompt, parser, rubric or max_tokens, or take another; 'unread: go-on' in its settings goes on"
            )
        if self._why:
            raise RunError(self._why)

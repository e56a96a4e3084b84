"""The note that a decision leaves on what it protects, and who reads it.

``extra["decided"]`` of a record or a completion: ``{"what": "keep", "who": …, "score": …}``. It stands in what a step
writes, so that later rules leave it alone too. Like a repair's own note it is worth something only as long as the
overall score is the one that was decided on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from notus.core.records import Completion, Dialogue, Feedback, Preference, Unpaired

__all__ = ["KEY", "decided_score", "is_kept", "kept_by", "noted"]

KEY = "decided"
Noted = Completion | Feedback | Preference | Unpaired | Dialogue


def noted(
    extra: Mapping[str, Any], what: str, who: Sequence[str], score: float | None, *, scored: bool
) -> dict[str, Any]:
    """Further columns with the note.

    Args:
        extra: without it.
        what: ``keep`` or ``set-score``.
        who: decided.
        score: the overall score that stands.
        scored: whether that score is decided on.
    """
    note: dict[str, Any] = {"what": what, "who": ", ".join(who)}
    return {**extra, KEY: note | ({"score": score} if scored else {})}


def is_kept(record: Noted) -> bool:
    """Whether somebody decided to keep it: rules of quality leave it in."""
    note = record.extra.get(KEY) if record.extra else None
    return isinstance(note, dict) and note.get("what") == "keep"


def kept_by(record: Noted) -> str:
    """Who decided to keep it; empty where nobody did."""
    return str(record.extra[KEY].get("who", "")) if is_kept(record) else ""


def decided_score(completion: Completion) -> bool:
    """Whether somebody confirmed or set the overall score that stands."""
    note = completion.extra.get(KEY) if completion.extra else None
    return isinstance(note, dict) and "score" in note and note["score"] == completion.overall_score

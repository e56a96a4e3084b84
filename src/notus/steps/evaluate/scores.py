"""The table that arms are compared by: one row for each answer or pair."""

from typing import Any

from notus.core.artifacts import SCORES
from notus.core.records import Verdict
from notus.stats.intervals import Estimate
from notus.steps.base import Context

__all__ = ["note_estimate", "write_scores"]


def note_estimate(estimate: Estimate | None, unit: str = "share") -> dict[str, Any] | None:
    """An estimate as it stands in a manifest: mean, low, high, n, unit."""
    return None if estimate is None else estimate.as_json(unit)


def write_scores(context: Context, verdicts: list[Verdict]) -> None:
    """The table that arms are compared by: one row for each answer or pair."""
    context.write_rows(
        SCORES,
        [
            {
                "id": verdict.id,
                "prompt_id": verdict.prompt_id,
                "sample": verdict.sample,
                "value": verdict.score,
                "reason": verdict.reason,
                "file": verdict.file,
                "line": verdict.line,
            }
            for verdict in verdicts
        ],
    )
    scored = [verdict.score for verdict in verdicts if verdict.score is not None]
    context.note(asked=len(verdicts), scored=len(scored), mean=sum(scored) / len(scored) if scored else None)

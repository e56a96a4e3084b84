"""The table that runs are compared by, of judgements that somebody stored."""

from collections.abc import Sequence

from notus.core.artifacts import SCORES
from notus.core.records import digest
from notus.core.stage import Placed
from notus.steps.base import Context

__all__ = ["write_stored_scores"]


def write_stored_scores(
    context: Context, rows: Sequence[tuple[str, float | None, str]], places: Sequence[Placed]
) -> None:
    """A row for each judgement of the one model that is scored: the question stands for its prompt.

    Args:
        context: of the step.
        rows: question, value, reason.
        places: where each stood.
    """
    seen: dict[str, int] = {}
    written = []
    for (question, value, reason), place in zip(rows, places, strict=True):
        number = seen[question] = seen.get(question, -1) + 1
        prompt = digest(question)
        row = {"id": prompt, "prompt_id": prompt, "sample": number, "value": value, "reason": reason}
        written.append(row | {"file": place.file, "line": place.line})
    context.write_rows(SCORES, written)

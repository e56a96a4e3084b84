"""The evidence of a cleaning, as tables: which prompt repeats which, and which holds what question of a benchmark.

Owns the rows. What was found is owned by ``data.clean``.
"""

from collections.abc import Mapping

from notus.core.records import Record
from notus.data.clean import SHOWN, Plans

__all__ = ["Contaminated", "Repeated", "contaminated_rows", "repeated_rows"]


class Repeated(Record, frozen=True):
    """Evidence: a prompt that repeats an earlier one, or only looks like it."""

    row: int
    prompt_id: str
    text: str
    kept_row: int
    kept_prompt_id: str
    kept_text: str
    kind: str
    """``duplicate``, ``near-duplicate``, or ``look-alike`` where both stay: they share a template and no more."""
    similarity: float


class Contaminated(Record, frozen=True):
    """Evidence: a prompt that holds a question of a benchmark."""

    row: int
    prompt_id: str
    text: str
    benchmark: str
    item: str
    question: str
    kind: str
    similarity: float
    span: str


def repeated_rows(plans: Plans, texts: Mapping[int, str]) -> list[Repeated]:
    """The evidence of duplicates: what goes, and up to a hundred look-alikes that stay. ``texts``: row → prompt."""
    kinds = [(each, each.kind) for each in plans.repeated] + [(each, "look-alike") for each in plans.spared[:SHOWN]]
    return [
        Repeated(
            row=each.row,
            prompt_id=plans.prompts[each.row],
            text=texts[each.row],
            kept_row=each.of,
            kept_prompt_id=plans.prompts[each.of],
            kept_text=texts[each.of],
            kind=kind,
            similarity=round(each.similarity, 4),
        )
        for each, kind in kinds
    ]


def contaminated_rows(plans: Plans, texts: Mapping[int, str]) -> list[Contaminated]:
    """The evidence of contamination. ``texts``: row → prompt."""
    return [
        Contaminated(
            row=match.row,
            prompt_id=match.prompt,
            text=texts[match.row],
            benchmark=match.benchmark,
            item=match.item,
            question=match.question,
            kind=match.kind,
            similarity=match.similarity,
            span=match.span,
        )
        for match in plans.matches
    ]

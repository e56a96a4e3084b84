"""What an audit shows of scores that the context of their answers contradicts.

Owns what is shown and how it is put. The figures are those of ``audit.context``; what wording and ratings contradict is
the business of ``report.health``.
"""

from collections.abc import Mapping

import numpy as np

from notus.audit.context.expected import FAR
from notus.audit.feedback import Audit, StoredRows
from notus.core.records import Completion
from notus.report.section import ReportSection, excerpt
from notus.report.table import Cell, Table

__all__ = ["context_sections"]

_SIBLINGS = 8


def context_sections(audit: Audit, texts: Mapping[int, Completion]) -> list[ReportSection]:
    """Scores that a fresh one would most likely be far from, and what second scores taught.

    Args:
        audit: of the set.
        texts: number of a row → its completion, for those that are to be shown.
    """
    found = audit.by_context
    if not found.context.scored:
        return []
    sections = [ReportSection("Suspicious by context", tuple(found.context.sentences()), _table(audit, texts))]
    if found.second is not None:
        sections.append(ReportSection("Second scores", tuple(found.second.sentences())))
    return sections


def _table(audit: Audit, texts: Mapping[int, Completion]) -> Table | None:
    found = audit.by_context
    shown = [number for number in found.order(len(texts)) if number in texts]
    if not shown:
        return None
    stored = audit.rows
    rows = stored.at(shown) if isinstance(stored, StoredRows) else [stored[number] for number in shown]
    means, scores = audit.columns.scored()
    of = scores if found.context.what == "overall score" else means
    prompts = audit.columns.by_prompt()
    cells: list[tuple[Cell, ...]] = []
    for number, row in zip(shown, rows, strict=True):
        siblings = np.flatnonzero(prompts == prompts[number])
        theirs = [f"{of[each]:.3g}" for each in siblings if each != number and not np.isnan(of[each])]
        more = f" and {len(theirs) - _SIBLINGS} more" if len(theirs) > _SIBLINGS else ""
        cells.append(
            (
                row.place_by_context,
                row.model or None,
                f"{of[number]:.3g}",
                f"{found.context.expected[number]:.1f} ± {found.context.spread[number]:.1f}",
                " ".join(theirs[:_SIBLINGS]) + more,
                None if row.second_score is None else f"{row.second_score:.3g}",
                f"{found.context.far[number]:.2f}",
                f"{row.file}:{row.line}" if row.line else None,
                row.id[:8],
                excerpt(texts[number].text),
            )
        )
    names = ("Place", "Model", "Score", "Expected", "Siblings", "Second", "Chance", "Where", "Id", "Answer")
    kept = [index for index in range(len(names)) if any(each[index] is not None for each in cells)]
    note = (
        f"Score is the {found.context.what}, Expected what siblings, model and form of the answer speak for, with its "
        f"standard deviation, Siblings the scores of the other answers. Chance: that a fresh score would be {FAR:g} "
        "points or more away, on a scale from 1 to 10. Equals share a place."
    )
    columns = tuple(names[index] for index in kept)
    return Table(columns, tuple(tuple(each[index] for index in kept) for each in cells), note)

"""What an audit shows of labels that the texts of a preference set contradict.

Owns what is shown and how it is put. The figures are those of ``audit.labels``; what trained rewards contradict is the
business of ``report.finders``.
"""

from collections.abc import Iterator, Mapping

from notus.audit.labels import AGAINST, TextVerdict
from notus.audit.pairs import PairAudit
from notus.core.records import Preference
from notus.report.section import ReportSection, excerpt
from notus.report.table import Cell, Table

__all__ = ["label_sections", "places_by_text"]


def places_by_text(audit: PairAudit) -> Iterator[tuple[int, int]]:
    """Place by text and number of each row that has one."""
    return ((row.place_by_text, number) for number, row in enumerate(audit.rows) if row.place_by_text is not None)


def label_sections(audit: PairAudit, said: TextVerdict, texts: Mapping[int, Preference]) -> list[ReportSection]:
    """What the texts say of the labels, the most suspicious pairs first.

    Args:
        audit: with chances and places in its rows.
        said: the figures.
        texts: number of a row → its pair, for those that are to be shown.
    """
    rows: list[tuple[Cell, ...]] = []
    for number in sorted(texts, key=lambda each: (audit.rows[each].place_by_text or 0, each)):
        row, pair = audit.rows[number], texts[number]
        a, b = row.score_chosen, row.score_rejected
        rows.append(
            (
                row.place_by_text,
                f"{row.text_chance:.2f}",
                None if a is None or b is None else f"{a:.3g}, {b:.3g}",
                ", ".join(flag for flag in row.flags if flag != AGAINST) or None,
                f"{row.file}:{row.line}" if row.line else None,
                row.id[:8],
                *(excerpt(turns[-1].content) for turns in (pair.prompt, pair.chosen, pair.rejected)),
            )
        )
    names = ("Place", "Chance", "Scores", "Flags", "Where", "Id", "Prompt", "Chosen", "Rejected")
    kept = [index for index in range(len(names)) if any(row[index] is not None for row in rows)]
    note = (
        "Chance: of the label, by the texts alone; below ½ they speak for the rejected answer. Scores: of chosen and "
    )
    note += "rejected. Equals share a place."
    table = Table(
        tuple(names[index] for index in kept), tuple(tuple(row[index] for index in kept) for row in rows), note
    )
    return [ReportSection("Labels against the texts", tuple(said.sentences()), table if rows else None)]

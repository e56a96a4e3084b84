"""What is shown of labelling functions: how far each covers, overlaps, conflicts and is right, and all together.

Owns how it is put. The figures are those of ``preferences.labelling``.
"""

from collections.abc import Sequence

from notus.core.text import counted
from notus.preferences.annotators import Annotators
from notus.preferences.labelling import Accuracy, FunctionFigures, VoteTable
from notus.report.audits.annotators import annotator_sections
from notus.report.section import ReportSection, share_cell
from notus.report.table import Cell, Table

__all__ = ["label_sections"]


def label_sections(
    table: VoteTable,
    figures: Sequence[FunctionFigures],
    together: Annotators | None,
    majority: Accuracy | None,
    joint: Accuracy | None,
) -> list[ReportSection]:
    """The functions one by one, then what they say together.

    Args:
        table: of all votes.
        figures: of each function.
        together: their votes made one; None where no two vote on the same answers.
        majority: how often most of them are right, where a labelled sample is given.
        joint: how often the votes made one are right.
    """
    voted = sum(any(item in own for own in table.votes.values()) for item in table.items)
    sentences = [
        f"{counted(len(figures), 'function')} on {counted(len(table.items), 'pair')} of answers; on {voted:,} of them "
        "at least one votes.",
    ]
    if table.known is not None:
        sentences.append(f"{counted(len(table.truth), 'pair')} of answers have a known label.")
        sentences += [_told("Most of those that vote", majority), _told("Their votes made one", joint)]
    columns = ("Function", "Votes", "Coverage", "Overlaps", "Conflicts", "Labelled, voted on", "Right")
    rows: list[tuple[Cell, ...]] = [
        (
            each.name,
            each.votes,
            *(share_cell(of) for of in (each.coverage, each.overlaps, each.conflicts)),
            None if each.accuracy is None else each.accuracy.voted,
            None if each.accuracy is None else share_cell(each.accuracy.right),
        )
        for each in figures
    ]
    note = (
        f"Shares of all {len(table.items):,} pairs of answers, with 95 % intervals, prompts as clusters. Overlaps: "
        "another function votes too; conflicts: another one votes otherwise. Right: of the labelled pairs that it "
        "votes on."
    )
    first = ReportSection(
        "Labelling functions", tuple(each for each in sentences if each), Table(columns, tuple(rows), note)
    )
    return [first, *(annotator_sections(together) if together is not None else [])]


def _told(who: str, found: Accuracy | None) -> str:
    if found is None:
        return ""
    right = share_cell(found.right) or "–"
    return f"{who} are right in {right} of {found.voted:,} labelled pairs on which they say something."

"""What is shown of a judge that people's labels correct: each arm as people would have it.

Owns how it is put. The figures are those of ``evaluate.people.correct``.
"""

from collections.abc import Mapping

from notus.evaluate.people.correct import ByPeople, CorrectedArm, sentences_of
from notus.report.section import ReportSection, estimate_cell, share_cell
from notus.report.table import Cell, Table
from notus.stats.intervals import proportion

__all__ = ["corrected_sections"]

_NOTE = (
    "95 % intervals, prompts as clusters. Corrected: the judge's mean of all answers, moved by what the labels show "
    "(prediction-powered inference). Width: of the corrected interval, as a share of that of the labels alone."
)


def corrected_sections(found: Mapping[str, ByPeople]) -> list[ReportSection]:
    """A section for each evaluation, and one for its categories."""
    sections = []
    for name, by in found.items():
        table = Table(_columns("Arm"), tuple(_row(arm.name, arm) for arm in by.arms), _NOTE)
        said = tuple(f"{sentence}." for sentence in sentences_of(by))
        sections.append(ReportSection(f"{name.capitalize()}, corrected by people", said, table))
        if by.categories:
            rows = tuple(_row(f"{arm.category} · {arm.name}", arm) for arm in by.categories)
            sections.append(ReportSection(f"{name.capitalize()} by category", (), Table(_columns("Category"), rows)))
        if any(arm.errors for arm in by.arms):
            sections.append(_errors(name, by))
    return sections


def _columns(first: str) -> tuple[str, ...]:
    return (first, "Corrected", "Labels alone", "Judge", "Judge − people", "Labels", "Judged", "Width")


def _row(name: str, arm: CorrectedArm) -> tuple[Cell, ...]:
    found = arm.found
    width = None if found.ratio is None else f"{found.ratio:.0%}" + (" (wider)" if found.ratio > 1 else "")
    cells = (estimate_cell(arm.interval), estimate_cell(found.alone), found.judge)
    return (name, *cells, estimate_cell(found.offset, sign=True), found.labels, found.judged, width)


def _errors(name: str, by: ByPeople) -> ReportSection:
    """Rogan and Gladen's shares."""
    rows: list[tuple[Cell, ...]] = []
    said = []
    for arm in by.arms:
        if arm.errors is None:
            continue
        found = arm.errors
        rows.append((arm.name, *map(share_cell, (found.estimate, found.judge, found.right_yes, found.right_no))))
        if found.estimate is None:
            said.append(f"{arm.name}: the judge is right no more often than a coin, so that its share says nothing.")
            continue
        alone = found.right_yes.n + found.right_no.n
        if found.estimate.width > proportion(round(found.estimate.mean * alone), alone).width:
            said.append(f"{arm.name}: wider than {alone:,} labels of its own answers by themselves would be.")
    columns = ("Arm", "Share", "As the judge says", "Right on good ones", "Right on bad ones")
    note = "Rogan and Gladen: the judge's error rates are from labels of other answers; 95 % intervals."
    return ReportSection(f"{name.capitalize()} by error rates", tuple(said), Table(columns, tuple(rows), note))

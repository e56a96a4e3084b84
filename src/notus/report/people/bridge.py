"""What is shown of a bridge between two judges: each model on the old judge's scale.

Owns how it is put. The figures are those of ``stats.corrected.bridge``.
"""

from collections.abc import Mapping

from notus.core.text import counted
from notus.report.section import ReportSection, estimate_cell
from notus.report.table import Cell, Table
from notus.stats.corrected.bridge import Bridged

__all__ = ["bridge_sections"]


def bridge_sections(
    found: Mapping[str, Bridged], slope: float, repeated: int, unscored: int, unnamed: int
) -> list[ReportSection]:
    """The models, and what was left out."""
    rows: list[tuple[Cell, ...]] = []
    for model, each in found.items():
        seen = "its own" if each.shared else "old scores alone"
        by = "other models" if each.unseen else seen if each.estimate else None
        cells = (estimate_cell(each.estimate), estimate_cell(each.shared_alone), each.new)
        rows.append((model, *cells, each.shared, each.old_only, each.new_only, by))
    columns = (
        "Model",
        "On the old scale",
        "Shared answers alone",
        "New judge",
        "Both",
        "Old only",
        "New only",
        "Offset by",
    )
    note = (
        "95 % intervals. On the old scale: what the old judge would give these answers. Shared answers alone: without "
        "the new judge's scores of the others."
    )
    said = list(_sentences(found, slope))
    for count, what in (
        (repeated, "further scores of the same answers went into their means"),
        (unscored, "answers without such a score were left out"),
        (unnamed, "answers name no model, and are one together"),
    ):
        if count:
            said.append(f"{count:,} {what}.")
    return [ReportSection("Bridge", tuple(said), Table(columns, tuple(rows), note))]


def _sentences(found: Mapping[str, Bridged], slope: float) -> list[str]:
    shared = sum(each.shared for each in found.values())
    said = [
        f"{counted(shared, 'answer')} of {counted(len(found), 'model')} have both scores. A point of the new judge is "
        f"worth {slope:.2f} of the old one's; the offset is each model's own."
    ]
    if unseen := [model for model, each in found.items() if each.unseen]:
        said.append(
            f"The old judge knows too little of {', '.join(unseen)}: the offset is that of the other models, and the "
            "interval allows for how much theirs differ. It is right for a model like them, and for no other."
        )
    wider = [
        model
        for model, each in found.items()
        if each.estimate and each.shared_alone and not each.unseen and each.estimate.width > each.shared_alone.width
    ]
    if wider:
        said.append(f"Wider than the shared answers alone: {', '.join(wider)}; the new judge adds nothing there.")
    said += [f"{model}: no score: {each.note}." for model, each in found.items() if each.estimate is None]
    said.append(
        "The shared answers must be a random part of each model's: what somebody picked tells of what was picked."
    )
    return said

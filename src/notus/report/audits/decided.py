"""What is shown of decisions: how people agree, how often a reason was right, what a random sample shows.

Owns how it is put. The figures are those of ``decisions.figures``.
"""

from notus.core.text import counted, format_list
from notus.decisions.figures import Figures, People
from notus.report.section import ReportSection, estimate_cell, share_cell
from notus.report.table import Cell, Table
from notus.stats.intervals import Share

__all__ = ["decided_sections"]

_SHOWN = 12
_MEANING = (
    "A flag was right where the record was dropped, swapped, edited or given another score, and wrong where it was "
    "kept. What nobody could tell, and what people differ on, stands apart."
)


def decided_sections(found: Figures) -> list[ReportSection]:
    """The figures of decisions as sections, the most important first."""
    sections = [_people(found)]
    if found.reasons or found.no_reason.of:
        sections.append(_reasons(found))
    if found.depths:
        sections.append(_depths(found))
    sections.append(_sample(found))
    if found.pairs:
        sections.append(_agreement(found))
    return sections


def _people(found: Figures) -> ReportSection:
    said = [
        f"{counted(found.decisions, 'decision')} on {counted(found.targets, 'record')} by "
        f"{counted(len(found.people), 'person', 'people')} count; besides, {found.taken_back:,} were taken back, "
        f"{found.replaced:,} decided anew."
    ]
    if found.conflicts:
        few = format_list(found.conflicts, 3)
        said.append(
            f"People differ on {counted(len(found.conflicts), 'record')}, on which nothing is done: {few}. A "
            "ruling of the queue 'conflicts' settles one."
        )
    if found.settled:
        said.append(f"{counted(found.settled, 'record')} were settled after people had differed.")
    kinds = sorted({what for each in found.people for what in each.what})
    rows: list[tuple[Cell, ...]] = [
        (each.name, each.decided, *(each.what.get(kind, 0) for kind in kinds)) for each in found.people[:_SHOWN]
    ]
    note = f"{len(found.people) - _SHOWN:,} further people." if len(found.people) > _SHOWN else ""
    return ReportSection("Decisions", tuple(said), Table(("Who", "Records", *kinds), tuple(rows), note))


def _figures(share: Share) -> tuple[Cell, ...]:
    return share.count, share.of, share_cell(share.interval)


def _reasons(found: Figures) -> ReportSection:
    rows: list[tuple[Cell, ...]] = [
        (each.reason, *_figures(each.right), each.cannot_tell, each.conflict) for each in found.reasons
    ]
    rows.append(("without a flag, yet faulty", *_figures(found.no_reason), None, None))
    note = f"{_MEANING} The last row: records without a flag that were looked at, and how many of them were faulty. "
    note += "Of records that were looked at, which are mostly the most suspicious; a record with several flags counts "
    note += "for each. 95 % intervals, with prompts as clusters where one stands more than once."
    columns = ("Flag", "Right", "Of", "Share", "Cannot tell", "Conflicts")
    return ReportSection("How often a flag was right", table=Table(columns, tuple(rows), note))


def _depths(found: Figures) -> ReportSection:
    said = [
        f"Places {each.first:,} to {each.last:,}: of {counted(each.right.of, 'record')} decided on, "
        f"{each.right.count:,} had a fault, {each.right.of - each.right.count:,} had none."
        for each in found.depths
    ]
    rows: list[tuple[Cell, ...]] = [
        (f"{each.first:,} to {each.last:,}", *_figures(each.right), each.apart) for each in found.depths
    ]
    note = (
        "Place: the order in which its queue was decided, 'suspicion' or 'flags'."
        if found.by_order
        else "Place: by suspicion in the audit, or by flags where it ranks none by suspicion."
    )
    if found.no_place:
        note += f" {counted(found.no_place, 'record')} of the queue have no place there, and are left out."
    note += (
        " Faulty: dropped, swapped, edited or given another score; Of: these, and those that were kept; Apart: what "
    )
    note += "nobody could tell, and what people differ on."
    columns = ("Place in the queue", "Faulty", "Of", "Share", "Apart")
    return ReportSection("Faults by depth", tuple(said), Table(columns, tuple(rows), note))


def _sample(found: Figures) -> ReportSection:
    sample = found.sample
    if sample is None:
        told = "None was decided (queue 'random'), so that no rate of the whole set can be told: the queue holds what "
        return ReportSection(
            "Random sample", (f"{told}is most suspicious. 'notus decide export --random 100' draws one.",)
        )
    said = [f"Faulty: {sample.faults}: a fair rate of what the sample was drawn from, which no order has picked."]
    if sample.without_reason.of:
        said.append(f"Of those without a flag: {sample.without_reason}: what the flags miss.")
    if sample.with_reason.of:
        said.append(f"Of those with a flag: {sample.with_reason}.")
    if apart := sample.cannot_tell + sample.conflict:
        said.append(f"{counted(apart, 'record')} stand apart: nobody could tell, or people differ.")
    return ReportSection("Random sample", tuple(said))


def _agreement(found: Figures) -> ReportSection:
    def row(each: People) -> tuple[Cell, ...]:
        on = each.found
        return (
            f"{each.a} and {each.b}",
            each.both,
            on.n,
            share_cell(on.raw),
            estimate_cell(on.kappa, digits=2),
            estimate_cell(on.ac1, digits=2),
            share_cell(each.what.raw),
        )

    shown = sorted(found.pairs, key=lambda each: (-each.both, each.a, each.b))[:_SHOWN]
    said: tuple[str, ...] = ()
    if found.alpha is not None:
        alpha = estimate_cell(found.alpha, digits=2)
        said = (f"Krippendorff's α of all people, on fault or sound: {alpha}, n = {found.alpha.n:,} decisions.",)
    note = (
        "Both: records that both decided on. Told: of which both could tell. Same finding: both fault or both sound; "
    )
    note += (
        "κ (Cohen) and AC1 (Gwet) of that. Same act: keep, drop, swap, change. 95 % intervals, prompts as clusters. "
    )
    note += "What settles a conflict is no part of it."
    columns = ("People", "Both", "Told", "Same finding", "κ", "AC1", "Same act")
    return ReportSection("How people agree", said, Table(columns, tuple(row(each) for each in shown), note))

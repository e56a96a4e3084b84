"""How well faults and wrong labels are found, and the labels of a set that rewards contradict.

Owns what is shown and how it is put. The figures are those of ``evaluate.finders`` and ``audit.rewards``.
"""

from collections.abc import Iterable, Mapping

from notus.audit.pairs import PairAudit
from notus.audit.rewards import Contradictions
from notus.core.records import Preference
from notus.core.text import counted
from notus.evaluate.finders import Detection, LabelDetection
from notus.report.charts import histogram
from notus.report.section import ReportSection, estimate_cell, excerpt
from notus.report.table import Cell, Table

__all__ = ["contradiction_sections", "detection_table", "label_table"]


def contradiction_sections(
    audit: PairAudit,
    found: Contradictions,
    texts: Mapping[int, Preference],
    measured: LabelDetection | None = None,
) -> list[ReportSection]:
    """What rewards say of the labels of a set, the most suspicious pairs first.

    Args:
        audit: with the margins in its rows.
        found: the figures.
        texts: number of a row → its pair, for those that are to be shown.
        measured: against the truth, where it is known.
    """
    margins = [row.reward_margin for row in audit.rows if row.reward_margin is not None]
    picture = histogram(
        margins,
        title="Margins of the reward",
        x_label="reward of chosen minus reward of rejected, in the unit of the ranker",
    )
    heading = "Labels that a reward contradicts"
    sections = [
        ReportSection(heading, tuple(found.sentences()), _contradicted_pairs(audit, texts), picture, "reward-margins")
    ]
    if measured is not None:
        sections.append(ReportSection("Wrong labels against the truth", table=label_table({"this set": measured})))
    return sections


def detection_table(detections: Iterable[Detection]) -> Table:
    """The fault finders as a table."""
    rows: list[tuple[Cell, ...]] = [
        (
            item.finder,
            item.planted,
            item.found,
            item.hits,
            estimate_cell(item.precision),
            estimate_cell(item.recall),
        )
        for item in detections
    ]
    columns = ("Finder", "Planted", "Found", "Both", "Precision", "Recall")
    return Table(columns, tuple(rows), "Over all seeds; 95 % intervals, the wider of prompts and seeds.")


def label_table(detections: Mapping[str, LabelDetection]) -> Table:
    """How well wrong labels were found, by what they were found with."""
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            item.pairs,
            item.worse,
            estimate_cell(item.area),
            estimate_cell(item.first),
            item.flagged,
            estimate_cell(item.precision),
            estimate_cell(item.recall),
        )
        for name, item in detections.items()
    ]
    columns = ("Audit", "Pairs", "Wrong", "AUROC", "Of the first", "Flagged", "Precision", "Recall")
    sets = counted(max((item.sets for item in detections.values()), default=0), "set")
    note = (
        "Wrong: chosen is truly the worse answer. Of the first: share of wrong ones among as many of the most "
        f"suspicious as there are wrong ones. Over {sets}; 95 % intervals, the wider of prompts and sets."
    )
    return Table(columns, tuple(rows), note)


def _contradicted_pairs(audit: PairAudit, texts: Mapping[int, Preference]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for number in sorted(texts, key=lambda each: (audit.rows[each].suspicion or 0, each)):
        row, pair = audit.rows[number], texts[number]
        p = None if row.reward_p is None else "< .0001" if row.reward_p < 1e-4 else f"{row.reward_p:.4f}"[1:]
        a, b = row.score_chosen, row.score_rejected
        scores = None if a is None or b is None else f"{a:.3g}, {b:.3g}"
        texts_of = (excerpt(turns[-1].content) for turns in (pair.prompt, pair.chosen, pair.rejected))
        rows.append((row.suspicion, f"{row.reward_margin:+.2f}", p, scores, *texts_of))
    columns = ("Place", "Margin", "p", "Scores", "Prompt", "Chosen", "Rejected")
    note = "Margin: reward of chosen minus reward of rejected; their scores in this order. Equals share a place."
    return Table(columns, tuple(rows), note)

"""What JudgeBench shows of judges: accuracy against an objective label, by part, and consistency in both orders.

Owns what is shown and how it is put. The figures are those of ``evaluate.judges.judgebench``.
"""

from collections.abc import Sequence

from notus.evaluate.judges.judgebench import BenchAccuracy, JudgeBench
from notus.report.charts import BarRow, bars
from notus.report.section import ReportSection, share_cell
from notus.report.table import Cell, Table

__all__ = ["judgebench_section"]


def judgebench_section(judges: Sequence[JudgeBench]) -> ReportSection:
    """The accuracies of judges by JudgeBench's rule, and how far the order of the answers counts."""
    rows: list[tuple[Cell, ...]] = []
    for judge in judges:
        for part in (judge.total, *judge.parts):
            last: tuple[Cell, ...] = (None, None)
            if part is judge.total:
                order = "by construction" if judge.one_order else share_cell(judge.consistent)
                last = (judge.read, order)
            rows.append((judge.judge, part.part, part.pairs, *_counts(part), _percent(part), *last))
    columns = ("Judge", "Part", "Pairs", "Right", "Wrong", "Neither", "Accuracy, %", "Both read", "Same in both orders")
    note = "Right: of both orders more verdicts name the right answer than the wrong one. Neither counts as not right. "
    note += "95 % intervals, prompts as clusters."
    picture = bars(
        [
            BarRow(part.part, part.accuracy.mean, judge.judge, part.accuracy, f"n = {part.pairs:,}")
            for judge in judges
            for part in (judge.total, *judge.parts)
            if part.accuracy
        ],
        title="JudgeBench",
        subtitle="both orders together; 95 % intervals, prompts as clusters; a coin that knows nothing has 0.5 at most",
        x_label="share of the pairs that are judged right",
    )
    return ReportSection("JudgeBench", table=Table(columns, tuple(rows), note), picture=picture, slug="judgebench")


def _counts(part: BenchAccuracy) -> tuple[int, int, int]:
    return part.right, part.wrong, part.neither


def _percent(part: BenchAccuracy) -> Cell:
    if part.accuracy is None:
        return f"{100 * part.right / part.pairs:.2f} (no interval: it takes two prompts)"
    scaled = part.accuracy
    return f"{100 * scaled.mean:.2f} [{100 * scaled.low:.2f}, {100 * scaled.high:.2f}]"

"""What judges before checks show: how often each prefers an answer that a program refutes, then order and length."""

from collections.abc import Sequence

from notus.core.text import counted
from notus.evaluate.compare import Comparison, format_estimate
from notus.evaluate.judges.checked import CheckedFigures
from notus.evaluate.judges.figures import JudgeFigures
from notus.report.section import ReportSection, share_cell
from notus.report.table import Cell, Table

__all__ = ["checked_judge_sections"]


def checked_judge_sections(
    against: Sequence[CheckedFigures], figures: Sequence[JudgeFigures], comparison: Comparison | None = None
) -> list[ReportSection]:
    """What the verdicts say of each judge, where checks tell the better answer.

    Args:
        against: how often each goes against the checks.
        figures: of the same judges: the order and the length.
        comparison: of the share in which they prefer what follows, where there are several.
    """
    verdicts = tuple(pair.verdict for pair in comparison.pairs) if comparison else ()
    return [
        ReportSection("Preferred though refuted", (*map(_say, against), *verdicts), table=_refuted(against)),
        ReportSection("Order and length", table=_habits(figures)),
    ]


def _say(judge: CheckedFigures) -> str:
    if judge.refuted is None:
        return f"{judge.name} gave no verdict that counts on {counted(judge.asked, 'pair')}."
    return (
        f"{judge.name} prefers an answer that the checks refute in {format_estimate(judge.refuted)} of "
        f"{counted(judge.scored, 'pair')}."
    )


def _refuted(judges: Sequence[CheckedFigures]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (each.name, each.asked, each.scored, share_cell(each.refuted), share_cell(each.neither)) for each in judges
    ]
    note = (
        "Of two answers to a prompt one follows all its checks and the other does not. Neither: the judge prefers "
        "none, or its verdict turns with the order. Prompts are clusters."
    )
    return Table(("Judge", "Pairs", "Scored", "Prefers the refuted", "Neither"), tuple(rows), note=note)


def _habits(judges: Sequence[JudgeFigures]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (each.name, share_cell(each.consistent), share_cell(each.first), share_cell(each.longer)) for each in judges
    ]
    return Table(("Judge", "Same in both orders", "For the first", "For the longer"), tuple(rows))

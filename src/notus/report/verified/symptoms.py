"""What a measure of symptoms shows: the rate of each, with n and its interval."""

from collections.abc import Sequence

from notus.evaluate.compare import format_estimate
from notus.evaluate.symptoms import SymptomRate
from notus.report.section import ReportSection, share_cell
from notus.report.table import Cell, Table

__all__ = ["symptom_section"]


def symptom_section(rates: Sequence[SymptomRate]) -> ReportSection:
    """The symptoms of answers as a table.

    Args:
        rates: of ``symptom_rates``.
    """
    rows = tuple((each.name, each.what, each.scored, _cell(each)) for each in rates)
    empty = max((each.asked for each in rates), default=0) - min((each.scored for each in rates), default=0)
    note = "Found by rule, in English; prompts are clusters. n is without answers that a symptom cannot be told of"
    note += f" (at most {empty:,}: empty, or under four words)." if empty else "."
    return ReportSection("Symptoms", table=Table(("Symptom", "What it is", "n", "Rate"), rows, note))


def _cell(found: SymptomRate) -> Cell:
    if found.name == "length":
        return None if found.rate is None else format_estimate(found.rate)
    return share_cell(found.rate)

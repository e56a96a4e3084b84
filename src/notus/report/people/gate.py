"""What is shown of requirements: one line each, and whether it is held.

Owns how it is put. What is held is decided by ``evaluate.gate.requirement``.
"""

from collections.abc import Sequence

from notus.evaluate.gate.requirement import Outcome
from notus.report.section import ReportSection

__all__ = ["required_section"]


def required_section(outcomes: Sequence[Outcome]) -> ReportSection:
    """The requirements of a recipe or a command."""
    held = sum(each.outcome == "held" for each in outcomes)
    said = [f"{held} of {len(outcomes)} held."]
    if len(outcomes) > 1:
        said.append("Each is held only where it is with all of them tested at once (Holm).")
    return ReportSection("What was required", (*map(str, outcomes), " ".join(said)))

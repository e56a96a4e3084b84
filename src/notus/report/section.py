"""A section of a report: what a step found, as it is stored, shown in a terminal and put on a page.

Owns the form of a section and of the cells that its tables share. What is found, and how it is put, is the business of
the module named after the thing that is reported.
"""

from dataclasses import dataclass

from notus.core.text import one_line
from notus.evaluate.compare import format_estimate
from notus.report.page import Block, FlaggedRow, Picture, Points
from notus.report.table import Cell, Table
from notus.stats.intervals import Estimate, wilson_if_unanimous

__all__ = ["ReportSection", "estimate_cell", "excerpt", "share_cell"]

_WIDTH = 96


@dataclass(frozen=True)
class ReportSection:
    """One thing that a step found: a heading, sentences, a table, a picture; each but the heading may be missing."""

    heading: str
    sentences: tuple[str, ...] = ()
    table: Table | None = None
    picture: str = ""
    """SVG."""
    slug: str = ""
    """Name of the picture's file."""
    rows: tuple[FlaggedRow, ...] = ()
    """Rows of the data that are shown whole, on pages."""

    def blocks(self, heading: str = "") -> list[Block]:
        """The section as blocks of a page: its sentences, under a small heading where one is given, table, picture."""
        found: list[Block] = [Points(heading, self.sentences)] if heading or self.sentences else []
        found += [] if self.table is None else [self.table]
        return [*found, *([Picture(self.picture)] if self.picture else []), *self.rows]


def estimate_cell(estimate: Estimate | None, *, sign: bool = False, digits: int = 3) -> Cell:
    """An estimate as a cell of a table, as ``format_estimate`` puts it."""
    return None if estimate is None else format_estimate(estimate, sign=sign, digits=digits)


def share_cell(share: Estimate | None) -> Cell:
    """A share as a cell: one of none or of all is not without error."""
    return None if share is None else format_estimate(wilson_if_unanimous(share))


def excerpt(text: str) -> str:
    """A text as a cell: on one line, and cut where it is long."""
    return one_line(text, _WIDTH)

"""Tables of results, as they are stored, printed and put on a page.

Owns their form and how a cell reads. It imports nothing heavy, since every command prints tables.
"""

import math
import re
from dataclasses import dataclass
from typing import ClassVar

from notus.core.errors import DataError

__all__ = ["Cell", "Table", "cell_text", "numeric_columns"]

Cell = str | int | float | None
"""A cell of a table. None is shown as a dash: there is no value."""

_NUMERIC = re.compile(r"[+\-−<]?\d[\d.,]*(\s?%|\s\[[^\]]*\])?")


@dataclass(frozen=True)
class Table:
    """Rows under named columns. Columns of numbers are set flush right."""

    kind: ClassVar[str] = "table"
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    """What stands small under the table: n, units, how it was counted."""

    def __post_init__(self) -> None:
        """Refuse rows that do not fit the columns."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise DataError(f"a row of {len(row)} cells does not fit {len(self.columns)} columns: {row!r:.80}")


def cell_text(value: Cell) -> str:
    """A cell as a reader sees it: floats with three digits, thousands with commas, a dash for no value."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else "not finite"
    return f"{value:,}" if isinstance(value, int) else value


def numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers: at least one value, and nothing that does not begin like a number."""

    def is_number(value: Cell) -> bool:
        return isinstance(value, int | float) or (
            isinstance(value, str) and bool(_NUMERIC.fullmatch(value) or re.fullmatch(r"\[[-\d., ]+\]", value))
        )

    columns = [[row[i] for row in table.rows if row[i] is not None] for i in range(len(table.columns))]
    return [bool(values) and all(map(is_number, values)) for values in columns]

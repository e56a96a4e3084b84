"""The sources of a mixture as a table: rows and tokens of each in an epoch, what was left out, and how it is held out.

Owns the table. What is counted and measured is owned by ``train.mixture``.
"""

from collections.abc import Mapping
from typing import Any

from notus.report.table import Cell, Table

__all__ = ["sources_table"]

_COLUMNS = {
    "rows": "Rows",
    "share": "Share",
    "repeated": "Repeated",
    "not_drawn": "Not drawn",
    "over_cap": "Over cap",
    "tokens": "Tokens",
    "trained_tokens": "Trained on",
    "held_out_rows": "Held out",
    "loss": "Loss there",
    "accuracy": "Accuracy there",
}
"""What a run notes of a source → the column."""


def sources_table(sources: Mapping[str, Mapping[str, Any]]) -> Table:
    """The table of what a training run notes under ``sources``; a column without news is left out."""
    shown = [key for key in _COLUMNS if any(each.get(key) for each in sources.values())]
    rows = tuple((name, *(_cell(key, each.get(key)) for key in shown)) for name, each in sources.items())
    note = "Rows and tokens of one epoch. Intervals are 95 %, over prompts."
    return Table(("Source", *(_COLUMNS[key] for key in shown)), rows, note)


def _cell(key: str, value: Any) -> Cell:
    if isinstance(value, Mapping):
        return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    return f"{value:.1%}".replace("%", " %") if key == "share" and value is not None else value

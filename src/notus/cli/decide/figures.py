"""The command that tells what decisions show: agreement, how often a reason was right, the rate of a random sample."""

from pathlib import Path
from typing import Annotated

import typer

from notus.cli.options import AsJson

__all__ = ["figures"]


def figures(
    decisions: Annotated[
        str, typer.Argument(metavar="STORE", help="A store of decisions, its folder, JSON lines, or a database's URL.")
    ],
    audit: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="An audit: depth is then its place by suspicion, and not the order of deciding."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how people agree, how often each reason was right, by depth in the queue, and what a random sample shows."""
    from notus.cli import terminal
    from notus.decisions.figures import figures as figures_of
    from notus.decisions.read import read_rulings
    from notus.report.audits.decided import decided_sections

    found = figures_of(read_rulings(decisions), None if audit is None else _places(audit))
    if as_json:
        terminal.print_json(found.as_json())
    else:
        terminal.show_findings(decided_sections(found), as_json=False)


def _places(run: Path) -> dict[str, int]:
    """Id of each record of an audit → its place by suspicion.

    Raises:
        InputError: if it is no audit.
    """
    from notus.core.errors import InputError
    from notus.core.tables import read_columns, table_exists

    for name in ("completions.parquet", "pairs.parquet"):
        if table_exists(run / name):
            table = read_columns(run / name, ["id", "suspicion"])
            ids, places = (table.column(column).to_pylist() for column in ("id", "suspicion"))
            return {id_: place for id_, place in zip(ids, places, strict=True) if place is not None}
    raise InputError(f"{run} is no run of the audit; name one (notus audit FILE --out {run})")

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

    places = None
    if audit is not None:
        from notus.api.queue import places_of

        places = places_of(audit)
    found = figures_of(read_rulings(decisions), places)
    if as_json:
        terminal.print_json(found.as_json())
    else:
        terminal.show_findings(decided_sections(found), as_json=False)

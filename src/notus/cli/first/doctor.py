"""``notus doctor``: what works here, what is missing for what, and what the machine has."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from notus.cli.options import AsJson

if TYPE_CHECKING:  # gathering is slow to import, and help asks for none of it
    from notus.cli.first.checkup import Checkup

__all__ = ["doctor"]


def doctor(
    needed: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="EXTRA", help="End with exit code 1 where this part lacks something: train."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what is installed, what is missing for what, and what the machine has. Nothing goes over the network."""
    from notus.cli import terminal
    from notus.cli.first.checkup import EXTRAS, check_up
    from notus.core.errors import ConfigError, nearest

    for name in needed or ():
        if name not in EXTRAS or not name:
            raise ConfigError(f"'--for {name}' is no part of Notus; {nearest(name, [each for each in EXTRAS if each])}")
    found = check_up(Path.cwd())
    if as_json:
        terminal.print_json(found.as_json())
    else:
        _show(found)
    if any(part.missing and part.extra in (needed or ()) for part in found.parts):
        raise typer.Exit(1)


def _show(found: "Checkup") -> None:
    from rich.markup import escape

    from notus import __version__
    from notus.cli import terminal
    from notus.report.table import Table

    terminal.OUT.print(f"Notus {__version__}")
    rows = tuple((part.work, "ready" if part.ready else f"{len(part.missing)} missing") for part in found.parts)
    terminal.print_table("What works here", Table(("For", "State"), rows), cut=False)
    for part in found.parts:
        if part.missing:
            terminal.OUT.print(escape(f"{part.remedy} brings {', '.join(part.missing)}"), soft_wrap=True)
    for title, facts in (("This machine", found.machine), ("Logins and variables", found.access)):
        shown = tuple((fact.name, ("! " if fact.warning else "") + fact.value) for fact in facts)
        terminal.print_table(title, Table(("What", "How it is"), shown), cut=False)
    warned = sum(fact.warning for fact in (*found.machine, *found.access))
    if warned:
        terminal.OUT.print(f"{warned} marked with ! want a look.")

"""``notus audit``: look for scores and labels that are wrong, and at the health of a set."""

from typing import Annotated

import typer

from notus.commands.options import AsJson, Layout, Limit, Out, Source, Strict, Workers

__all__ = ["audit"]


def audit(
    source: Source,
    rewards: Annotated[
        list[str] | None,
        typer.Option(help="Reward check of these pairs (notus eval rewards); may be given again, for other prompts."),
    ] = None,
    out: Out = None,
    layout: Layout = None,
    limit: Limit = None,
    strict: Strict = False,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Look for scores and labels that are wrong, and at the health of a set."""
    from notus import terminal
    from notus.flow.experiment import run_step
    from notus.flow.kinds import Audit

    settings = {"data": source, "rewards": rewards or [], "layout": layout, "limit": limit}
    config = Audit.parse(settings | {"strict": strict, "workers": workers}, where="notus audit")
    terminal.show_step(run_step("audit", config, out), as_json=as_json)

"""``notus eval judges``: rankers on trial as judges. Judges that are asked stand in a recipe, with their endpoints."""

from typing import Annotated

import typer

from notus.commands.options import AsJson, Layout, Limit, Out, Source, Strict

__all__ = ["judges"]


def judges(
    source: Source,
    ranker: Annotated[list[str], typer.Option(help="length, pairrm:PATH, reward-model:PATH …; may be given again.")],
    canaries: Annotated[int, typer.Option(min=0, help="Pairs on which each kind of trap is set.")] = 100,
    outputs: Annotated[
        list[str] | None, typer.Option(help="Outputs of models, to count distinct answers; may be given again.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the pairs for the traps.")] = 0,
    out: Out = None,
    layout: Layout = None,
    limit: Limit = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Put judges on trial: agreement with people, the order, the length, and answers they must not fall for."""
    from notus import terminal
    from notus.flow.experiment import run_step
    from notus.flow.trialkinds import JudgeTrial

    settings = {"data": source, "rankers": ranker, "canaries": canaries, "outputs": outputs or [], "seed": seed}
    reading = {"layout": layout, "limit": limit, "strict": strict}
    config = JudgeTrial.parse(settings | reading, where="notus eval judges")
    terminal.show_step(run_step("judges", config, out), as_json=as_json)

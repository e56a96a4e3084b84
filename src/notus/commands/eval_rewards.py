"""``notus eval rewards``: how often a ranker prefers the chosen answer of preference pairs."""

from typing import Annotated

import typer

from notus.commands.options import AsJson, Layout, Limit, Out, Source, Strict

__all__ = ["rewards"]


def rewards(
    ranker: Annotated[str, typer.Argument(help="length, pairrm:PATH, reward-model:PATH, implicit:POLICY@REFERENCE …")],
    source: Source,
    tie: Annotated[float, typer.Option(min=0, max=0.5, help="What two equal scores count; RewardBench: 0.")] = 0.0,
    subset: Annotated[str, typer.Option(help="Column that names the part of the set.")] = "subset",
    scale: Annotated[
        float | None, typer.Option(min=1e-9, help="Makes a logit of a margin (1, or β), for the calibration.")
    ] = None,
    out: Out = None,
    layout: Layout = None,
    limit: Limit = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Measure how often a ranker prefers the chosen answer, by subset, with its bias to length."""
    from notus import terminal
    from notus.flow.experiment import run_step
    from notus.flow.trialkinds import RewardCheck

    settings = {"ranker": ranker, "data": source, "tie": tie, "subset": subset, "scale": scale}
    reading = {"layout": layout, "limit": limit, "strict": strict}
    config = RewardCheck.parse(settings | reading, where="notus eval rewards")
    terminal.show_step(run_step("reward-check", config, out), as_json=as_json)

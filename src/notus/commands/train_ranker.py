"""``notus train ranker``: a ranker from preference pairs."""

from typing import Annotated

import typer

from notus.commands.options import AsJson, Layout, Limit, Out, Sets, Source

__all__ = ["ranker"]


def ranker(
    pairs: Source,
    start: Annotated[
        str | None, typer.Option(help="Language model, encoder or ranker to start from; without one, small and random.")
    ] = None,
    form: Annotated[str, typer.Option(help="reward-model (a score for each answer) or pairrm (two at a time).")] = (
        "reward-model"
    ),
    held_out: Annotated[float, typer.Option(min=0, max=0.99, help="Share of the prompts to measure on.")] = 0.1,
    sets: Sets = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the new weights and the order of the pairs.")] = 0,
    out: Out = None,
    layout: Layout = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Train a ranker on preference pairs: accuracy, calibration and length bias on prompts that are held out."""
    from notus import terminal
    from notus.commands.training_settings import with_sets
    from notus.flow.experiment import run_step
    from notus.flow.rankertrainkinds import TrainRanker

    given = {"pairs": pairs, "start": start, "form": form, "held_out": held_out, "layout": layout, "limit": limit}
    config = TrainRanker.parse(with_sets(given, sets), where="notus train ranker")
    terminal.show_step(run_step("train-ranker", config, out, seed), as_json=as_json)

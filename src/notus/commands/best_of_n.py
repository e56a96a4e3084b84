"""``notus best-of-n``: what picking the best of k answers is worth."""

from typing import Annotated

import typer

from notus.commands.options import AsJson, Out

__all__ = ["best_of_n"]


def best_of_n(
    ranker: Annotated[str, typer.Argument(help="length, pairrm:MODEL, reward-model:MODEL, python:module:function …")],
    outputs: Annotated[str, typer.Argument(help="Run directory of notus generate, or its outputs.parquet.")],
    check: Annotated[str | None, typer.Option(help="An independent check of the ranker's picks, of the same form.")] = (
        None
    ),
    n: Annotated[int | None, typer.Option("-n", min=1, help="Largest k; by default what half of the prompts have.")] = (
        None
    ),
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Tell what the ranker's pick among k answers is worth, for all k up to n, from the same answers."""
    from notus import terminal
    from notus.flow.experiment import run_step
    from notus.flow.roundskinds import BestOfN

    values = {"ranker": ranker, "outputs": outputs, "check": check, "n": n}
    terminal.show_step(run_step("best-of-n", BestOfN.parse(values, where="notus best-of-n"), out), as_json=as_json)

"""``notus eval alpaca``: AlpacaEval."""

from pathlib import Path
from typing import Annotated

import typer

from notus.commands.options import AsJson, Out

__all__ = ["alpaca"]


def alpaca(
    annotations: Annotated[
        str | None, typer.Option(help="Stored judgements: annotations.json, packed or not, or a run directory.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="YAML with settings of a judging: endpoints, judge, outputs, reference …")
    ] = None,
    against: Annotated[str | None, typer.Option(help="Judgements of another model, for the paired difference.")] = None,
    difficulty: Annotated[str | None, typer.Option(help="Upstream's instruction_difficulty.csv: gives LC.")] = None,
    instructions: Annotated[
        str | None, typer.Option(help="A complete model_outputs.json, whose order the difficulties follow.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Upstream's table of published weights.")] = None,
    gamed: Annotated[str | None, typer.Option(help="Upstream's df_gamed.csv; a stand-in without it.")] = None,
    leaderboard: Annotated[str | None, typer.Option(help="A leaderboard to be placed in.")] = None,
    model: Annotated[str | None, typer.Option(help="Which model's judgements, where there are several.")] = None,
    salvage: Annotated[bool, typer.Option("--salvage", help="Take the whole rows of a file that is cut off.")] = False,
    replicates: Annotated[int, typer.Option(min=0, help="Draws behind the error of LC.")] = 1000,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Score AlpacaEval's judgements, or have them made: win rates, controlled for length too, with their errors."""
    from notus import terminal
    from notus.core.config import load_yaml
    from notus.core.errors import ConfigError
    from notus.flow.alpacakinds import Alpaca, AlpacaJudge
    from notus.flow.experiment import run_step

    figures = {"against": against, "difficulty": difficulty, "instructions": instructions, "weights": weights}
    figures |= {"gamed": gamed, "leaderboard": leaderboard, "annotations": annotations, "model": model}
    base = {"replicates": replicates, **({"salvage": True} if salvage else {})} | (
        load_yaml(settings) if settings else {}
    )
    if not (annotations or settings):
        raise ConfigError("nothing to score: give stored judgements (--annotations), or have them made (--settings)")
    kind = AlpacaJudge if settings else Alpaca
    config = kind.parse(base | {k: v for k, v in figures.items() if v}, where="notus eval alpaca")
    terminal.show_step(run_step(config.do, config, out), as_json=as_json)

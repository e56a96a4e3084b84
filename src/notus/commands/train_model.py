"""``notus train sft`` and ``notus train dpo``: a training by hand, without a recipe."""

from typing import Annotated

import typer

from notus.commands.options import AsJson, Out, Sets, Source

__all__ = ["dpo", "sft"]

_Start = Annotated[str, typer.Option(help="Model to start from: a folder, a run directory or a hub id.")]
_HeldOut = Annotated[
    float, typer.Option(min=0, max=0.99, help="Share of the prompts to keep aside, where DATA are pairs in a file.")
]
_Seed = Annotated[int, typer.Option(min=0, help="Of the order of the rows and of all that is drawn.")]


def sft(
    data: Source,
    start: _Start,
    sets: Sets = None,
    held_out: _HeldOut = 0.0,
    seed: _Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a model on dialogues, or on the chosen answers of pairs."""
    from notus import terminal
    from notus.commands.training_settings import data_run, with_sets
    from notus.flow.experiment import run_step
    from notus.flow.kinds import Sft

    settings = with_sets({"data": data, "start": start}, sets)
    Sft.parse(settings, where="notus train sft")  # a mistake is told before anything is read
    config = Sft.parse(settings | {"data": data_run(data, held_out, out)}, where="notus train sft")
    terminal.show_step(run_step("sft", config, out, seed), as_json=as_json)


def dpo(
    pairs: Source,
    start: _Start,
    sets: Sets = None,
    held_out: _HeldOut = 0.0,
    seed: _Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Train a policy on pairs (or single rows) against the model that it starts from."""
    from notus import terminal
    from notus.commands.training_settings import data_run, with_sets
    from notus.flow.experiment import run_step
    from notus.flow.kinds import Dpo

    settings = with_sets({"pairs": pairs, "start": start}, sets)
    Dpo.parse(settings, where="notus train dpo")  # a mistake is told before anything is read
    config = Dpo.parse(settings | {"pairs": data_run(pairs, held_out, out)}, where="notus train dpo")
    terminal.show_step(run_step("dpo", config, out, seed), as_json=as_json)

"""``notus generate``: several answers of a model to each prompt."""

from typing import Annotated

import typer

from notus.commands.options import AsJson, Layout, Limit, Out

__all__ = ["generate"]


def generate(
    model: Annotated[str, typer.Argument(help="A model's folder, a run directory, an adapter folder or a hub id.")],
    prompts: Annotated[str, typer.Argument(help="Where the prompts are from: a file, a run directory, a hub id.")],
    samples: Annotated[int, typer.Option(min=1, help="Answers to each prompt.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token at each step.")] = 1.0,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="Smallest set of tokens of this probability.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Only so many likeliest tokens; 0 takes all.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Answers that are drawn at once.")] = 64,
    held_out: Annotated[bool, typer.Option(help="Take the prompts that a step left for evaluation.")] = False,
    drop_truncated: Annotated[bool, typer.Option(help="Leave out answers cut at the token limit.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Draws the answers.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A further setting: limits.max_length=2048.")
    ] = None,
    out: Out = None,
    layout: Layout = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Draw answers to prompts, the prompt computed once for all of them; answers cut at the limit are marked."""
    from notus import terminal
    from notus.core.config import parse_override, set_path
    from notus.flow.experiment import run_step
    from notus.flow.samplekinds import Sample

    drawing = {"samples": samples, "temperature": temperature, "top_p": top_p, "top_k": top_k}
    drawing |= {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    reading = {"data": prompts, "prompts": "held-out" if held_out else "records", "layout": layout, "limit": limit}
    values = {"model": model, "sampling": drawing, "drop_truncated": drop_truncated, "seed": seed} | reading
    for text in settings or []:
        values = set_path(values, *parse_override(text))
    terminal.show_step(run_step("generate", Sample.parse(values, where="notus generate"), out), as_json=as_json)

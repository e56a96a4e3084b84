"""``notus eval mtbench``: score stored judgements of MT-Bench, or ask for answers and judgements."""

from pathlib import Path
from typing import Annotated

import typer

from notus.commands.options import AsJson, Out

__all__ = ["mtbench"]


def mtbench(
    judgments: Annotated[
        list[str] | None, typer.Option(help="Stored judgements, single or pairwise; may be given again.")
    ] = None,
    questions: Annotated[str | None, typer.Option(help="FastChat's question.jsonl.")] = None,
    mode: Annotated[
        str | None,
        typer.Option(help="How judgements are read: strict (the usual one), or fastchat, mistakes included."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Score this model alone; may be given again.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Model that the others are compared with.")] = None,
    settings: Annotated[
        Path | None, typer.Option(help="YAML with settings of the step: endpoints, model, judge, answers …")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of answers that are drawn.")] = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Score MT-Bench: two turns, eight categories, single grades and pairs, with intervals over questions."""
    from notus import terminal
    from notus.core.config import load_yaml
    from notus.flow.experiment import run_step
    from notus.flow.mtbenchkinds import MtBench

    given = {"judgments": judgments, "questions": questions, "mode": mode, "only": only, "baseline": baseline}
    base = load_yaml(settings) if settings else {}
    over = {key: value for key, value in given.items() if value}
    config = MtBench.parse(base | over, where="notus eval mtbench")
    terminal.show_step(run_step("mtbench", config, out, seed), as_json=as_json)

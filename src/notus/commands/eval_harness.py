"""``notus eval harness``: ask a model the questions of an academic benchmark."""

from typing import Annotated

import typer

from notus.commands.options import AsJson, Out

__all__ = ["harness"]


def harness(
    model: Annotated[str, typer.Argument(help="A run directory, a folder, an adapter folder, or a hub id.")],
    task: Annotated[
        str, typer.Option(help="A task by name, such as arc_challenge or mmlu, or a task file in lm-eval's format.")
    ],
    data: Annotated[
        str | None, typer.Option(help="File with the questions; without it they come from the hub.")
    ] = None,
    shots: Annotated[int | None, typer.Option(min=0, help="Examples; by default the leaderboard's.")] = None,
    metric: Annotated[str | None, typer.Option(help="The metric to compare by; by default the leaderboard's.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many questions, of each subject.")] = None,
    engine: Annotated[str, typer.Option(help="packed computes once what requests share; padded does not.")] = "packed",
    max_length: Annotated[int | None, typer.Option(min=2, help="Tokens of the longest sequence.")] = None,
    precision: Annotated[str, typer.Option(help="Of the weights: float32 or bfloat16.")] = "float32",
    contaminated: Annotated[bool | None, typer.Option(help="Say whether these questions were trained on.")] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Score a model on an academic benchmark by lm-eval, with n and interval; its version is part of the score."""
    from notus import terminal
    from notus.flow.experiment import run_step
    from notus.flow.harnesskinds import Harness

    which = {"task_file": task} if task.endswith((".yaml", ".yml")) else {"task": task}
    asking = {"model": model, "data": data, "shots": shots, "metric": metric, "limit": limit}
    running = {"engine": engine, "max_length": max_length, "precision": precision, "contaminated": contaminated}
    config = Harness.parse(which | asking | running, where="notus eval harness")
    terminal.show_step(run_step("harness", config, out), as_json=as_json)

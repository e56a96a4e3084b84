"""``notus eval``: the evaluations, each a command of its own module."""

import typer

__all__ = ["app"]

app = typer.Typer(help="Evaluate: published benchmarks, rewards, judges.", no_args_is_help=True)

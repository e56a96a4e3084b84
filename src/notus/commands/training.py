"""``notus train``: training by hand, each kind a command of its own module."""

import typer

__all__ = ["app"]

app = typer.Typer(help="Train a model or a ranker.", no_args_is_help=True)

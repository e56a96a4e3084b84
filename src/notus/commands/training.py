"""``notus train``: training by hand, each kind a command of its own module."""

import typer

from notus.commands.train_model import dpo, sft
from notus.commands.train_ranker import ranker

__all__ = ["app"]

app = typer.Typer(help="Train a model or a ranker.", no_args_is_help=True)
app.command("sft", epilog="Example: notus train sft dialogues.jsonl --start runs/base --out runs/sft")(sft)
app.command("dpo", epilog="Example: notus train dpo new_pairs.jsonl --start runs/base --out runs/dpo")(dpo)
app.command("ranker", epilog="Example: notus train ranker new_pairs.jsonl --start runs/base --out runs/ranker")(ranker)

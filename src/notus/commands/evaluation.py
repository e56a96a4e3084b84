"""``notus eval``: the evaluations, each a command of its own module."""

import typer

from notus.commands.eval_alpaca import alpaca
from notus.commands.eval_harness import harness
from notus.commands.eval_judges import judges
from notus.commands.eval_mtbench import mtbench
from notus.commands.eval_rewards import rewards

__all__ = ["app"]

app = typer.Typer(help="Evaluate: published benchmarks, rewards, judges.", no_args_is_help=True)
app.command("harness", epilog="Example: notus eval harness runs/base --task arc_easy --data arc.jsonl")(harness)
app.command("alpaca", epilog="Example: notus eval alpaca --annotations annotations.json --out runs/alpaca")(alpaca)
app.command("mtbench", epilog="Example: notus eval mtbench --judgments judgments.jsonl --out runs/mtbench")(mtbench)
app.command("judges", epilog="Example: notus eval judges new_pairs.jsonl --ranker length --out runs/judges")(judges)
app.command("rewards", epilog="Example: notus eval rewards length new_pairs.jsonl --out runs/rewards")(rewards)

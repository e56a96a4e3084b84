"""The command that draws answers for people to label: a sheet with chances kept."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from notus.cli.options import AsJson

__all__ = ["labels"]


def labels(
    runs: Annotated[list[Path], typer.Argument(help="What is to be compared: as for notus compare.")],
    out: Annotated[Path, typer.Option("--out", help="The sheet: a file that ends in .csv or .jsonl.")],
    n: Annotated[
        int, typer.Option("-n", "--prompts", min=1, help="Prompts to label; of each an answer of every arm.")
    ] = 200,
    by: Annotated[
        Literal["random", "uncertainty"],
        typer.Option(help="Draw at random, or prompts that the judge is unsure of more often; chances are kept."),
    ] = "random",
    only: Annotated[str | None, typer.Option(metavar="EVALUATION", help="Where runs hold several evaluations.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is drawn.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw answers for people to label, so that notus compare --labels corrects the judge by them."""
    from notus.cli import terminal
    from notus.core.errors import ConfigError, nearest
    from notus.evaluate.people.labels import draw_sheet, write_sheet
    from notus.recipes.answers import texts_of
    from notus.recipes.experiment import gather_runs

    gathered = gather_runs(runs)
    if only is not None and only not in gathered.scores:
        raise ConfigError(f"--only '{only}' is no evaluation of these runs; {nearest(only, gathered.scores)}")
    scores = {only: gathered.scores[only]} if only is not None else gathered.scores
    drawn = draw_sheet(scores, n, by=by, seed=seed, texts=texts_of(gathered))
    write_sheet(out, drawn.rows, force=force)
    told = {"file": str(out), "rows": len(drawn.rows), "prompts": drawn.prompts, "of": drawn.of, "by": by, "seed": seed}
    told |= {"left_out": drawn.left_out, "without_text": drawn.without_text, "even": drawn.even}
    if as_json:
        terminal.print_json(told)
        return
    drawn_of = f"{len(drawn.rows):,} answers to {drawn.prompts:,} of {drawn.of:,} prompts"
    print(f"Written: {out}: {drawn_of}, by {by}, seed {seed}.")
    if drawn.even:
        print("The judge is as unsure of one prompt as of another: this is a draw at random.")
    if drawn.left_out:
        print(f"{drawn.left_out:,} prompts were not drawn from: not all arms have a score for them.")
    if drawn.without_text:
        print(f"{drawn.without_text:,} rows have no text, as the runs hold none; prompt_id says what they are.")
    print("Fill in the column 'label' (a number, yes or no); rows that are left empty are counted and left out.")
    print(f"Next: notus compare {' '.join(map(str, runs))} --labels {out}")

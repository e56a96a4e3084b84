"""The command line: reads what was typed, calls the floor below, prints.

Nothing heavy is imported before it is needed, so that ``notus --help`` answers at once.
"""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from notus.core.errors import NotusError, require

__all__ = ["app", "audit", "binarize", "compare", "demo", "main", "merge", "report", "run"]

app = typer.Typer(
    name="notus",
    help="From AI feedback to an aligned model, data first.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[Path | None, typer.Option("--out", help="Run directory; by default a folder below runs/.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Layout = Annotated[str | None, typer.Option(help="Name of the layout, where it is not to be detected.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Read only so many rows.")]
Strict = Annotated[bool, typer.Option("--strict", help="Make a bad row an error, instead of putting it aside.")]
Source = Annotated[str, typer.Argument(help="A file, a folder, a run directory, or a hub id (owner/name).")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Lay a setting over the recipe: dpo.loss.beta=0.05.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from notus import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _notus(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command(epilog="Example: notus demo --seeds 1 --out runs/demo")
def demo(
    seeds: Annotated[int, typer.Option(min=1, max=20, help="How many replicates.")] = 3,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """The whole way in the miniature world, to a report with error bars."""
    # Seeds on which nothing was tuned; LOG.md says which were.
    run("demo", [f"seeds={list(range(20, 20 + seeds))}"], out, as_json=as_json)


@app.command(epilog="Example: notus run demo --dry-run")
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a built-in recipe.")],
    sets: Sets = None,
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe, print the plan, do nothing.")] = False,
    until: Annotated[str | None, typer.Option(help="Stop after the steps of this name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a recipe: its steps, arms and seeds. What is done already is not done again."""
    from notus import terminal
    from notus.flow.experiment import dry_plan, run_recipe
    from notus.flow.recipe import find_recipe, load_recipe
    from notus.flow.reporting import write_report

    loaded = load_recipe(find_recipe(recipe), sets or [])
    if dry_run:
        terminal.show_plan(dry_plan(loaded, until), as_json=as_json)
        return
    folder = out or Path("runs") / loaded.head.name
    try:
        with terminal.Progress(quiet=as_json) as progress:
            experiment = run_recipe(loaded, folder, progress, until=until)
    except KeyboardInterrupt:
        _leave()
    if experiment is None:
        terminal.show_stop(folder, str(until), as_json=as_json)
        return
    write_report(experiment)
    terminal.show_experiment(experiment, as_json=as_json)


@app.command(epilog="Example: notus audit feedback.jsonl --out runs/audit")
def audit(
    source: Source,
    out: Out = None,
    layout: Layout = None,
    limit: Limit = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Look for scores that are wrong, and at the health of a set."""
    from notus import terminal
    from notus.flow.experiment import run_step
    from notus.flow.kinds import Audit

    settings = {"data": source, "layout": layout, "limit": limit, "strict": strict}
    config = Audit.parse(settings, where="notus audit")
    terminal.show_step(run_step("audit", config, out), as_json=as_json)


@app.command(epilog="Example: notus binarize feedback.jsonl --strategy mean-rating --out runs/binarize")
def binarize(
    source: Source,
    strategy: Annotated[str, typer.Option(help="mean-rating, critique or repaired-critique.")] = "mean-rating",
    seed: Annotated[int, typer.Option(help="Draws the rejected answers.")] = 0,
    held_out: Annotated[float, typer.Option(min=0, max=0.99, help="Share of the prompts to keep aside.")] = 0.0,
    out: Out = None,
    layout: Layout = None,
    limit: Limit = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Turn feedback into preferences: a chosen and a rejected answer for each prompt."""
    from notus import terminal
    from notus.flow.experiment import run_step
    from notus.flow.kinds import Binarize

    settings = {"strategy": strategy, "seed": seed, "held_out": held_out, "layout": layout, "limit": limit}
    config = Binarize.parse({"data": source, "strict": strict, **settings}, where="notus binarize")
    terminal.show_step(run_step("binarize", config, out), as_json=as_json)


@app.command(epilog="Example: notus compare runs/demo")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Directories of recipes that were run.")],
    baseline: Annotated[str | None, typer.Option(help="Arm that the others are placed beside.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare arms, of one run or of several: means with intervals, and what can be told apart."""
    from notus import terminal
    from notus.flow.experiment import compare_runs

    terminal.show_comparisons(compare_runs(runs, baseline), as_json=as_json)


@app.command(epilog="Example: notus merge runs/lora/model --out runs/merged")
def merge(
    adapter: Annotated[Path, typer.Argument(help="An adapter folder, or the run directory that holds one.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the plain model: a new or an empty one.")],
) -> None:
    """Merge an adapter into its base: a plain model, with its tokenizer."""
    for library in ("torch", "transformers", "peft"):
        require(library, extra="train")
    from notus.flow.steps import find_model
    from notus.models import adapters

    print(adapters.merge(Path(find_model(str(adapter))), out))


@app.command(epilog="Example: notus report runs/demo")
def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a recipe that was run.")],
    out: Annotated[Path | None, typer.Option("--out", help="The HTML file; by default report.html in the run.")] = None,
) -> None:
    """Write the report of a run again, as one HTML file that needs no network."""
    from notus.flow.experiment import Experiment
    from notus.flow.reporting import write_report

    print(write_report(Experiment.read(run_dir), out))


def main() -> None:
    """Run the command line; every error is one line on stderr and an exit code."""
    try:
        app()
    except NotusError as error:
        print(f"notus: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001  the top: nothing may end in a traceback
        print(f"notus: unexpected {type(error).__name__}: {error}; details in {_keep_trace()}", file=sys.stderr)
        sys.exit(1)


def _leave() -> NoReturn:
    import os

    print("\nnotus: stopped; the same command goes on from here", file=sys.stderr, flush=True)
    # Worker processes end by themselves as soon as this one has; waiting for them would wait for a training step.
    os._exit(130)


def _keep_trace() -> Path:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="notus-error-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(traceback.format_exc())
    return Path(file.name)

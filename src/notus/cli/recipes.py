"""The commands around recipes: demo, run, collect, report."""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from notus.cli.options import AsJson, Out, Preview, Sets

if TYPE_CHECKING:
    from notus.recipes.recipe import Recipe

__all__ = ["collect", "demo", "report", "run"]

_Recipe = Annotated[
    str, typer.Argument(help="A recipe file, or the name of a built-in recipe. A python:FILE in it is code that runs.")
]


def demo(
    seeds: Annotated[int, typer.Option(min=1, max=20, help="How many replicates.")] = 3,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """The whole way in the toy world, to a report with error bars."""
    # Seeds on which nothing was tuned; LOG.md says which were.
    run("demo", [f"seeds={list(range(20, 20 + seeds))}"], out, as_json=as_json)


def run(
    recipe: _Recipe,
    sets: Sets = None,
    out: Out = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the recipe, print the plan, do nothing; no python:FILE is run.")
    ] = False,
    until: Annotated[str | None, typer.Option(help="Stop after the steps of this name.")] = None,
    preview: Preview = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash all that was done before, large files too, before going on.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a recipe: its steps, arms and seeds. What is done already is not done again."""
    from notus.cli import experiments
    from notus.core.parallel import terminable
    from notus.core.plugins import without_code
    from notus.recipes.check import check_plan, refuse_faults
    from notus.recipes.experiment import dry_plan, run_recipe
    from notus.recipes.recipe import find_recipe, load_recipe, make_plan
    from notus.recipes.report import write_report

    if dry_run:
        with without_code():
            loaded = load_recipe(find_recipe(recipe), sets or [])
            experiments.show_plan(dry_plan(loaded, until), as_json=as_json)
            refuse_faults(check_plan(make_plan(loaded), until=until), loaded.head.name)
        return
    loaded = load_recipe(find_recipe(recipe), sets or [])
    folder = out or Path("runs") / loaded.head.name
    if preview is not None:
        from notus.cli.preview import show_recipe_preview

        show_recipe_preview(loaded, folder, preview, as_json=as_json)
        return
    try:
        with terminable(), experiments.Progress(quiet=as_json) as progress:
            experiment = run_recipe(loaded, folder, progress, until=until, verify=verify)
    except KeyboardInterrupt as stop:
        _leave(*stop.args)
    if experiment is None:
        experiments.show_stop(folder, str(until), as_json=as_json)
        return
    write_report(experiment)
    experiments.show_experiment(experiment, as_json=as_json)
    if any(each.outcome != "held" for each in experiment.outcomes()):
        raise typer.Exit(1)


def collect(
    recipe: _Recipe,
    sets: Sets = None,
    out: Out = None,
    again: Annotated[
        str | None,
        typer.Option(metavar="QUEUE", help="Ask the recipe's judge again for what a repair has queued: its directory."),
    ] = None,
    batch_out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Ask nobody; write what is to be asked as batch files of a provider."),
    ] = None,
    batch_in: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Enter the results of a batch in the ledger; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the recipe, print the plan, ask nobody; no python:FILE is run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Collect AI feedback by a recipe. What was answered is in the ledger, and is never asked or paid for again."""
    from notus.cli import experiments, terminal
    from notus.core.plugins import without_code
    from notus.recipes.collect import run_collection
    from notus.recipes.experiment import dry_plan
    from notus.recipes.recipe import find_recipe, load_recipe

    if again is not None:
        _ask_again(recipe, sets, again, out, dry_run=dry_run, as_json=as_json)
        return

    if dry_run:
        with without_code():
            experiments.show_plan(dry_plan(load_recipe(find_recipe(recipe), sets or []), None), as_json=as_json)
        return
    loaded = load_recipe(find_recipe(recipe), sets or [])
    if batch_out is not None or batch_in:
        _batch(loaded, out or Path("runs") / loaded.head.name, batch_out, batch_in or [], as_json=as_json)
        return
    try:
        with experiments.Progress(quiet=as_json) as progress:
            runs = run_collection(loaded, out or Path("runs") / loaded.head.name, progress)
    except KeyboardInterrupt:
        _leave()
    for each in runs:
        terminal.show_step(each, as_json=as_json)


def _batch(recipe: "Recipe", folder: Path, out: Path | None, results: list[Path], *, as_json: bool) -> None:
    """Enter results of batches, and write down what is still to be asked."""
    from notus.cli import experiments, terminal
    from notus.recipes.collect import batch_collection
    from notus.steps.collect.batch import Batch

    try:
        with experiments.Progress(quiet=as_json) as progress:
            found = batch_collection(recipe, folder, Batch(out, results), progress)
    except KeyboardInterrupt:
        _leave()
    terminal.show_batches(found, written=out is not None, as_json=as_json)


def _ask_again(
    recipe: str, sets: list[str] | None, queue: str, out: Path | None, *, dry_run: bool, as_json: bool
) -> None:
    """Ask the judge of a recipe again for a queue."""
    from notus.cli import terminal
    from notus.cli.live import LiveLine
    from notus.core.plugins import without_code
    from notus.recipes.collect import settings_again
    from notus.recipes.recipe import find_recipe, load_recipe
    from notus.steps.collect.again import queue_in
    from notus.steps.perform import run_step

    if dry_run:
        with without_code():
            config = settings_again(load_recipe(find_recipe(recipe), sets or []), queue)
        asked = len(queue_in(Path(config.data)))
        told = {"queue": config.data, "queued": asked, "judge": config.judge.endpoint, "tries": config.judge.tries}
        if as_json:
            terminal.print_json(told)
        else:
            print(f"A dry run: '{config.judge.endpoint}' would be asked for {asked:,} scores; nobody was asked.")
        return
    config = settings_again(load_recipe(find_recipe(recipe), sets or []), queue)
    try:
        with LiveLine(quiet=as_json):
            run = run_step("again", config, out)
    except KeyboardInterrupt:
        _leave()
    terminal.show_step(run, as_json=as_json)


def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a recipe that was run.")],
    out: Annotated[Path | None, typer.Option("--out", help="The HTML file; by default report.html in the run.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="People's labels of some answers (notus labels): the judge is corrected."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --out.")] = False,
) -> None:
    """Write the report of a run again, as one HTML file that needs no network."""
    from notus.recipes.experiment import Experiment
    from notus.recipes.report import pictures_of, write_report

    page = write_report(Experiment.read(run_dir), out, force=force, labels=labels)
    print(page)
    if pictures_of(page).is_dir():
        print(f"Its pictures: {pictures_of(page)}", file=sys.stderr)


def _leave(number: int = signal.SIGINT) -> NoReturn:
    print("\nnotus: stopped; the same command goes on from here", file=sys.stderr, flush=True)
    # Worker processes end by themselves as soon as this one has.
    os._exit(128 + number)

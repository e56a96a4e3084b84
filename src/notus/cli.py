"""The command line: reads what was typed, calls the floor below, prints.

Nothing heavy is imported before it is needed, so that ``notus --help`` answers at once.
"""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from notus.commands import evaluation, training
from notus.commands.audit import audit
from notus.commands.best_of_n import best_of_n
from notus.commands.generate import generate
from notus.commands.options import AsJson, Layout, Limit, Out, Sets, Source, Strict, Workers
from notus.commands.rank import rank
from notus.core.errors import NotusError, require

__all__ = [
    "app",
    "binarize",
    "clean",
    "collect",
    "compare",
    "demo",
    "diff",
    "explain",
    "export",
    "ledger",
    "main",
    "merge",
    "repair",
    "report",
    "run",
]

app = typer.Typer(
    name="notus",
    help="From AI feedback to an aligned model, data first.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(evaluation.app, name="eval")
app.add_typer(training.app, name="train")
app.command("audit", epilog="Example: notus audit feedback.jsonl --out runs/audit")(audit)
app.command("generate", epilog="Example: notus generate runs/base feedback.jsonl --samples 5 --out runs/answers")(
    generate
)
app.command("rank", epilog="Example: notus rank length feedback.jsonl --out runs/rank")(rank)
app.command("best-of-n", epilog="Example: notus best-of-n length feedback.jsonl --out runs/best-of-n")(best_of_n)


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


@app.command(epilog="Example: notus collect collect-local --out runs/collect-local")
def collect(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a built-in recipe.")],
    sets: Sets = None,
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe, print the plan, ask nobody.")] = False,
    as_json: AsJson = False,
) -> None:
    """Collect AI feedback by a recipe. What was answered is in the ledger, and is never asked or paid for again."""
    from notus import terminal
    from notus.flow.collection import run_collection
    from notus.flow.experiment import dry_plan
    from notus.flow.recipe import find_recipe, load_recipe

    loaded = load_recipe(find_recipe(recipe), sets or [])
    if dry_run:
        terminal.show_plan(dry_plan(loaded, None), as_json=as_json)
        return
    try:
        with terminal.Progress(quiet=as_json) as progress:
            runs = run_collection(loaded, out or Path("runs") / loaded.head.name, progress)
    except KeyboardInterrupt:
        _leave()
    for each in runs:
        terminal.show_step(each, as_json=as_json)


@app.command(epilog="Example: notus repair feedback.jsonl --out runs/repair")
def repair(
    source: Source,
    out: Out = None,
    layout: Layout = None,
    limit: Limit = None,
    strict: Strict = False,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Repair overall scores by the published rule: each change recorded, what is in doubt queued."""
    from notus import terminal
    from notus.flow.experiment import run_step
    from notus.flow.kinds import Repair

    settings = {"data": source, "layout": layout, "limit": limit, "strict": strict, "workers": workers}
    config = Repair.parse(settings, where="notus repair")
    terminal.show_step(run_step("repair", config, out), as_json=as_json)


@app.command(epilog="Example: notus binarize feedback.jsonl --strategy mean-rating --out runs/binarize")
def binarize(
    source: Source,
    preset: Annotated[
        str | None, typer.Option(help="h4-legacy, h4-fixed, argilla-mean, argilla-cleaned, tulu3 or snorkel.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="mean-rating (the usual one), critique, repaired-critique, weighted or ranker.")
    ] = None,
    rejected: Annotated[
        str | None, typer.Option(help="random-lower (the usual one), worst, all-lower, all-pairs or random-other.")
    ] = None,
    margin: Annotated[float | None, typer.Option(min=0, help="Least difference of the two scores.")] = None,
    weight: Annotated[list[str] | None, typer.Option(help="For the strategy weighted: truthfulness=2.")] = None,
    questions: Annotated[str | None, typer.Option(help="File of questions; prompts that equal one go.")] = None,
    test_size: Annotated[int | None, typer.Option(min=0, help="Pairs of a test part, drawn as published.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the rejected answers.")] = 0,
    held_out: Annotated[float, typer.Option(min=0, max=0.99, help="Share of the prompts to keep aside.")] = 0.0,
    out: Out = None,
    layout: Layout = None,
    limit: Limit = None,
    strict: Strict = False,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Turn feedback into preferences: a chosen and a rejected answer for each prompt."""
    from notus import terminal
    from notus.core.config import parse_override
    from notus.flow.experiment import run_step
    from notus.flow.kinds import Binarize

    weights = dict(parse_override(each, "--weight", "truthfulness=2") for each in weight) if weight else None
    making = {"preset": preset, "strategy": strategy, "rejected": rejected, "margin": margin, "weights": weights}
    parts = {"questions": questions, "test_size": test_size, "seed": seed, "held_out": held_out}
    reading = {"data": source, "layout": layout, "limit": limit, "strict": strict, "workers": workers}
    config = Binarize.parse(making | parts | reading, where="notus binarize")
    terminal.show_step(run_step("binarize", config, out), as_json=as_json)


@app.command(epilog="Example: notus clean feedback.jsonl --dry-run --out runs/clean")
def clean(
    source: Source,
    against: Annotated[
        list[str] | None, typer.Option(help="File or folder of questions of benchmarks; may be given again.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go; write no cleaned data.")] = False,
    similarity: Annotated[float, typer.Option(min=0.01, max=1, help="Least similarity of near duplicates.")] = 0.8,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", help="empty-answer, denies-feelings, truncated or other-language; may be given again."
        ),
    ] = None,
    truecase: Annotated[bool | None, typer.Option(help="Put missing capitals in, or leave them.")] = None,
    language: Annotated[str, typer.Option(help="The wanted language of answers.")] = "en",
    out: Out = None,
    layout: Layout = None,
    limit: Limit = None,
    strict: Strict = False,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Take out prompts that repeat others or hold questions of benchmarks, and answers nobody should learn."""
    from notus import terminal
    from notus.flow.experiment import run_step
    from notus.flow.kinds import Clean

    taking = {"against": against or [], "similarity": similarity, "dry_run": dry_run}
    answers = {"filters": filters, "truecase": truecase, "language": language}
    reading = {"data": source, "layout": layout, "limit": limit, "strict": strict, "workers": workers}
    config = Clean.parse(taking | answers | reading, where="notus clean")
    terminal.show_step(run_step("clean", config, out), as_json=as_json)


@app.command(epilog="Example: notus compare runs/demo")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Directories of recipes that were run, or of single evaluations.")],
    baseline: Annotated[str | None, typer.Option(help="Arm that the others are placed beside.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare arms, of one run or of several: means with intervals, and what can be told apart."""
    from notus import terminal
    from notus.flow.experiment import compare_runs

    terminal.show_comparisons(compare_runs(runs, baseline), as_json=as_json)


@app.command(epilog="Example: notus diff old_pairs.jsonl new_pairs.jsonl --out runs/diff")
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="Preference pairs: a file, a run directory, a hub id.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The pairs to compare them with.")],
    out: Out = None,
    layout: Layout = None,
    limit: Limit = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Compare two preference sets: what is chosen and rejected differently, by source, model and length."""
    from notus import terminal
    from notus.flow.experiment import run_step
    from notus.flow.kinds import Diff

    settings = {"a": a, "b": b, "layout": layout, "limit": limit, "strict": strict}
    terminal.show_step(run_step("diff", Diff.parse(settings, where="notus diff"), out), as_json=as_json)


@app.command(epilog="Example: notus explain 406ad529 --run feedback.jsonl")
def explain(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a pair, prompt or completion; its beginning will do.")],
    run_dir: Annotated[str, typer.Option("--run", help="A run directory, that of a recipe, or a file.")],
    as_json: AsJson = False,
) -> None:
    """Tell what became of a record: its source row, what touched it, why its rejected answer was taken."""
    from notus import terminal
    from notus.app.lineage import lineage_findings
    from notus.data.lineage import explain as explained

    terminal.show_findings(lineage_findings(explained(id_, run_dir)), as_json=as_json)


@app.command(epilog="Example: notus export feedback.jsonl --layout ultrachat --out runs/sft")
def export(
    source: Source,
    to: Annotated[str, typer.Option("--layout", help="trl, trl-implicit, trl-unpaired, h4, argilla …")] = "trl",
    form: Annotated[str, typer.Option("--format", help="jsonl or parquet.")] = "jsonl",
    strategy: Annotated[str, typer.Option(help="Ranks the answers of feedback, for trl-unpaired and ultrachat.")] = (
        "mean-rating"
    ),
    top: Annotated[int, typer.Option(min=1, help="So many best answers of a prompt, for ultrachat.")] = 1,
    threshold: Annotated[float | None, typer.Option(help="Score above which an answer is wanted.")] = None,
    out: Out = None,
    read_as: Annotated[str | None, typer.Option(help="Layout of the source, where it is not to be detected.")] = None,
    limit: Limit = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Write a source in somebody else's layout: pairs, unpaired rows for KTO, dialogues for SFT."""
    from notus import terminal
    from notus.flow.experiment import run_step
    from notus.flow.kinds import Export

    settings = {"to": to, "format": form, "strategy": strategy, "top": top, "threshold": threshold}
    reading = {"data": source, "layout": read_as, "limit": limit, "strict": strict}
    typed = {"to": "--layout", "layout": "--read-as"}
    config = Export.parse(settings | reading, where="notus export", typed=typed)
    terminal.show_step(run_step("export", config, out), as_json=as_json)


@app.command(epilog="Example: notus ledger runs/ledger.sqlite --export ledger.jsonl")
def ledger(
    path: Annotated[Path, typer.Argument(help="The ledger of a collection.")],
    export: Annotated[Path | None, typer.Option(help="Write all entries to this file, as JSON lines.")] = None,
    prune: Annotated[str | None, typer.Option(help="failures, kind=…, model=…, step=… or key=…: ask it again.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do prune; without it nothing is removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was asked and paid, by model and step, and what failed."""
    from notus import terminal
    from notus.models import accounts
    from notus.models.ledger import Ledger

    with Ledger(path, must_exist=True) as opened:
        pruned = accounts.prune(opened, prune, yes=yes) if prune else None
        exported = accounts.export(opened, export) if export else None
        terminal.show_accounts(accounts.read_accounts(opened), pruned, exported, as_json=as_json)


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

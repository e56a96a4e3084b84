"""The commands that look at single things: explain, forget, verify, ledger, merge."""

from pathlib import Path
from typing import Annotated

import typer

from notus.cli.options import AsJson
from notus.core.errors import require

__all__ = ["explain", "forget", "ledger", "merge", "verify"]


def explain(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a pair, prompt or completion; its beginning will do.")],
    run_dir: Annotated[str, typer.Option("--run", help="A run directory, that of a recipe, or a file.")],
    decisions: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="What persons decided; by default what the runs have read, or lies beside."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what became of a record: its source row, what touched it, what persons decided, why its rejected answer was
    taken."""
    from notus.cli import terminal
    from notus.provenance.lineage import explain as explain_record
    from notus.report.lineage import lineage_fields, lineage_sections

    found = explain_record(id_, run_dir, decisions)
    if as_json:
        terminal.print_json(lineage_fields(found))
    else:
        terminal.show_findings(lineage_sections(found), as_json=False)


def ledger(
    path: Annotated[Path, typer.Argument(help="The ledger of a collection.")],
    export: Annotated[Path | None, typer.Option(help="Write all entries to this file, as JSON lines.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --export; never the ledger.")] = False,
    prune: Annotated[str | None, typer.Option(help="failures, kind=…, model=…, step=… or key=…: ask it again.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do prune; without it nothing is removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was asked and paid, by model and step, and what failed."""
    from notus.cli import terminal
    from notus.llm import ledger as usage

    with usage.Ledger(path, must_exist=True) as opened:
        pruned = usage.prune(opened, prune, yes=yes) if prune else None
        exported = usage.export(opened, export, force=force) if export else None
        terminal.show_usage(usage.read_usage(opened), pruned, exported, as_json=as_json)


def verify(
    run_dir: Annotated[Path, typer.Argument(help="A run directory, or that of a recipe that was run.")],
    as_json: AsJson = False,
) -> None:
    """Check that what a run left is there as it was written: every file by its hash."""
    from notus.cli import terminal
    from notus.core.run import MANIFEST, check_run, read_manifest

    steps = sorted(path.parent for path in (run_dir / "steps").glob(f"*/{MANIFEST}"))
    outputs = 0
    for folder in steps or [run_dir]:
        check_run(folder, whole=True)
        outputs += len(read_manifest(folder).get("outputs", ()))
    if as_json:
        terminal.print_json({"run": str(run_dir), "runs": len(steps) or 1, "files": outputs, "whole": True})
    else:
        runs = f" of {len(steps):,} steps" if steps else ""
        print(f"{run_dir}: all {outputs:,} files{runs} are as they were written")


def merge(
    adapter: Annotated[Path, typer.Argument(help="An adapter folder, or the run directory that holds one.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the plain model: a new or an empty one.")],
) -> None:
    """Merge an adapter into its base: a plain model, with its tokenizer."""
    for library in ("torch", "transformers", "peft"):
        require(library, extra="train")
    from notus.core.artifacts import find_model
    from notus.engine import load

    print(load.merge(Path(find_model(str(adapter))), out))


def forget(
    ids: Annotated[
        list[str], typer.Argument(metavar="ID…", help="Of rows, completions, prompts or pairs; or FILE:LINE.")
    ],
    folder: Annotated[Path, typer.Option("--in", metavar="FOLDER", help="The folder that holds the runs.")],
    why: Annotated[str, typer.Option(help="The reason; it is kept with the ids.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what was touched, and withdraw nothing.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take withdrawals back: the rows come in again.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the pairs, runs and models that withdrawn rows have touched, and keep the rows out from now on."""
    if undo:
        _take_back(ids, folder, why, write=not dry_run, as_json=as_json)
        return
    from dataclasses import asdict

    from msgspec import to_builtins

    from notus.cli import terminal
    from notus.provenance.forget import forget as forget_rows
    from notus.report.lineage import forgotten_sections

    found = forget_rows(ids, folder, why=why, write=not dry_run)
    if as_json:
        terminal.print_json(asdict(found) | {"withdrawn": to_builtins(found.withdrawn)})
    else:
        terminal.show_findings(forgotten_sections(found, withdrawn=not dry_run), as_json=False)


def _take_back(ids: list[str], folder: Path, why: str, *, write: bool, as_json: bool) -> None:
    from msgspec import to_builtins

    from notus.cli import terminal
    from notus.core.disk.withdrawn import FORGOTTEN, take_back
    from notus.report.lineage import taken_back_section

    file = folder / FORGOTTEN
    back = take_back(file, ids, why, write=write)
    if as_json:
        terminal.print_json({"file": str(file), "taken_back": to_builtins(back), "written": write})
    else:
        terminal.show_findings([taken_back_section(back, file, written=write)], as_json=False)

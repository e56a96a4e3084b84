"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "Layout", "Limit", "Out", "Sets", "Source", "Strict", "Workers"]

Out = Annotated[Path | None, typer.Option("--out", help="Run directory; by default a folder below runs/.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Layout = Annotated[str | None, typer.Option(help="Name of the layout, where it is not to be detected.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Read only so many rows.")]
Strict = Annotated[bool, typer.Option("--strict", help="Make a bad row an error, instead of putting it aside.")]
Source = Annotated[str, typer.Argument(help="A file, a folder, a run directory, or a hub id (owner/name).")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes for a large source; by default one for each core.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Lay a setting over the recipe: dpo.loss.beta=0.05.")]

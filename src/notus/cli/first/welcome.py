"""``notus`` without a command: what to do next, by what lies in this folder."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["beginnings", "welcome"]

_DATA = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".xlsx", ".ods", ".jsonl.gz")
_MOST = 3
"""Files and runs that are named."""
_LOOKED_THROUGH = 2000
"""Entries of a folder after which no more are looked at."""


@dataclass(frozen=True)
class _Finished:
    stage: str
    path: Path
    config: Mapping[str, Any]
    sources: Mapping[str, str]


def welcome(place: Path) -> None:
    """Print what to try next, in a folder."""
    from notus import __version__
    from notus.core.text import visible

    lines = list(beginnings(place))
    width = max(len(command) for command, _ in lines)
    fits = 4 + width + max(len(told) for _, told in lines) <= shutil.get_terminal_size().columns
    print(f"Notus {__version__}: from AI feedback to an aligned model, data first.\n")
    for command, told in lines:
        print(visible(f"  {command:<{width}}  {told}" if fits else f"  {command}"))
        if not fits:
            print(visible(f"      {told}"))
    print("\n  notus -h lists all commands; notus COMMAND -h tells of one, with an example.")


def beginnings(place: Path) -> Iterator[tuple[str, str]]:
    """Commands to try in a folder, each with a few words: on the last run, on data files, and such as always work."""
    run = _last_run(place / "runs")
    if run is not None:
        yield from _after(run)
    files = _data_files(place)
    for file in files[:_MOST]:
        yield f"notus audit {_quoted(file.name)}", "what this file holds, and what is wrong with it"
    if len(files) > _MOST:
        yield "notus formats FILE", f"what one of the {len(files) - _MOST:,} other files is read as"
    if not files:
        yield "notus audit FILE", "what a file of feedback or pairs holds, and what is wrong with it"
    yield "notus demo", "the whole way in a toy world, to a report: some minutes on two cores"
    yield "notus doctor", "what is installed here, and what is missing for what"


def _after(path: Path) -> Iterator[tuple[str, str]]:
    from notus.cli.advice import look_command, next_command
    from notus.core.errors import NotusError
    from notus.core.run import check_run, read_json

    try:
        check_run(path, weights=False)
        config, inputs = read_json(path / "config.json"), read_json(path / "inputs.json")
        sources = {name: entry["path"] for name, entry in inputs.items() if entry["path"]}
        run = _Finished(config["stage"], path, config, sources)
        following, look = next_command(run), look_command(run)
    except (NotusError, KeyError, TypeError, AttributeError):  # damaged: the command that is named says how
        yield f"notus verify {_quoted(str(path))}", "the last run does not read well; this tells what is wrong"
        return
    if look:
        yield look, f"the records of the last run ({run.stage}), to look at and decide"
    if following:
        yield following, f"goes on from the last run ({run.stage})"


def _last_run(folder: Path) -> Path | None:
    """The run of a single step that was finished last below ``runs``, relative to where we are."""
    found = [(each / "manifest.json") for each in _entries(folder) if (each / "manifest.json").is_file()]
    last = max(found, key=lambda manifest: manifest.stat().st_mtime, default=None)
    if last is None:
        return None
    here = Path.cwd()
    return last.parent.relative_to(here) if last.parent.is_relative_to(here) else last.parent


def _data_files(place: Path) -> list[Path]:
    """Files that may be data, the youngest first."""
    found = [each for each in _entries(place) if each.name.lower().endswith(_DATA) and each.is_file()]
    return sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)


def _entries(folder: Path) -> list[Path]:
    from itertools import islice

    try:
        return [each for each in islice(folder.iterdir(), _LOOKED_THROUGH) if not each.name.startswith(".")]
    except OSError:
        return []


def _quoted(name: str) -> str:
    import shlex

    return shlex.quote(name)

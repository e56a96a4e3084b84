"""The outputs of a run directory: listed with size and hash, on the disk before the manifest is, and checked.

The manifest lists each file that a run leaves but its log and its report, which may be written anew. Whoever reads a
run checks that all of them are there and of their size, and the bytes of small ones, or of all. Parquet tables have
checksums of their pages besides, so that a large table is checked while it is read.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from notus.core.config import digest_of
from notus.core.disk.hashes import hash_file, hash_folder
from notus.core.errors import DataError

__all__ = ["check_outputs", "check_seal", "hash_run", "list_outputs", "seal", "sync", "sync_folder"]

Outputs = Mapping[str, Mapping[str, Any]]
"""File, seen from the run directory → ``bytes`` and ``sha256``."""
_SMALL = 8 * 1024**2
"""Bytes of a file that is always hashed."""
_WEIGHTS = (".safetensors", ".bin")
_RESULTS = (".parquet", ".jsonl", ".csv", ".json")
_OF_THE_RUN = frozenset(["config.json", "inputs.json", "manifest.json", "metrics.jsonl", "tally.json"])
"""What a run notes of itself. Config and inputs count by its digest."""
_SEAL = "seal"
_NOT_LISTED = frozenset(["log.txt", "manifest.json", "report.html"])


def list_outputs(folder: Path, *, but: frozenset[str] = frozenset()) -> dict[str, dict[str, Any]]:
    """Size and hash of each file in a folder and below it, each of them synced to the disk, and its folders too.

    Args:
        folder: the run directory.
        but: names in it that are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    folders = {folder}
    for path in _files(folder, but):
        sync(path)
        folders.add(path.parent)
        found[str(path.relative_to(folder))] = {"bytes": path.stat().st_size, "sha256": hash_file(path)}
    for each in sorted(folders, reverse=True):
        sync_folder(each)
    sync_folder(folder.parent)
    return found


def check_outputs(folder: Path, manifest: Mapping[str, Any], *, whole: bool = False, weights: bool = True) -> None:
    """Make sure that the outputs of a finished run are those that its manifest lists.

    Args:
        folder: the run directory.
        manifest: its manifest; one of before, which lists none, is taken as it is.
        whole: hash the large files too.
        weights: look at the weights of models too; who reads tables alone does without them.

    Raises:
        DataError: that names the first file which is missing, came or changed.
    """
    check_seal(folder, manifest)
    outputs: Outputs = manifest.get("outputs") or {}
    tables = {Path(name).parent for name in outputs if Path(name).parent.suffix == ".parquet"}
    present = {str(path.relative_to(folder)) for table in tables for path in (folder / table).glob("*.parquet")}
    for name in sorted({*outputs, *(name for name in present if not Path(name).name.startswith("."))}):
        if weights or not name.endswith(_WEIGHTS):
            _check_output(folder, name, outputs, whole)


def hash_run(folder: Path, manifest: Mapping[str, Any]) -> str:
    """What tells the result of a finished run from another's, all of its bytes checked on the way.

    It is the digest of the run (settings and inputs) and the bytes of its artifacts, what later steps may read: equal
    work has an equal hash, whoever did it, when and where.

    Raises:
        DataError: as ``check_outputs``, or where an artifact is gone that a manifest of before lists without its bytes.
    """
    check_outputs(folder, manifest, whole=True)
    files = sorted((manifest.get("artifacts") or {}).values())
    outputs: Outputs | None = manifest.get("outputs")
    found: dict[str, Any] = {}
    for file in files:
        if outputs is not None:
            below = {name: told["sha256"] for name, told in outputs.items() if Path(name).parts[0] == file}
            found |= below
        elif (folder / file).is_dir():
            found[file] = hash_folder(folder / file)
        elif (folder / file).is_file():
            found[file] = hash_file(folder / file)
    if not files:
        found = {name: hash_file(folder / name) for name in sorted(_results_in(folder))}
    return digest_of({"run": manifest.get("digest"), "artifacts": found})


def seal(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a digest of itself, by which a damaged one is found."""
    plain = json.loads(json.dumps(manifest))  # as it will be read
    return {**plain, _SEAL: digest_of(plain)}


def check_seal(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Make sure that a manifest is as it was written; one of before has no seal.

    Raises:
        DataError: if it is not.
    """
    told = manifest.get(_SEAL)
    if told is not None and told != digest_of({key: value for key, value in manifest.items() if key != _SEAL}):
        raise DataError(f"{folder / 'manifest.json'} is damaged; remove {folder} and run again")


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


sync_folder = sync
"""Wait until the names in a folder are on the disk: a file that was renamed is there only then."""


def _check_output(folder: Path, name: str, outputs: Outputs, whole: bool) -> None:
    path, told = folder / name, outputs.get(name)
    again = f"; remove {folder} and run again"
    if told is None:
        raise DataError(f"{path} is none of the parts that {folder} was made with; remove it")
    if not path.is_file():
        raise DataError(f"{path} is missing, which the manifest lists with {told['bytes']:,} bytes{again}")
    size = path.stat().st_size
    if size != told["bytes"]:
        raise DataError(f"{path} has {size:,} bytes and had {told['bytes']:,} when it was written{again}")
    if (whole or size <= _SMALL) and hash_file(path) != told["sha256"]:
        raise DataError(f"{path} is damaged: its bytes are not those that were written{again}")


def _results_in(folder: Path) -> Iterator[str]:
    """All tables and texts of a run that lists no artifacts."""
    for path in folder.iterdir():
        if path.is_file() and path.suffix in _RESULTS and path.name not in _OF_THE_RUN and path.name[0] != ".":
            yield path.name


def _files(folder: Path, but: frozenset[str]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in inside)
        if path.is_file() and not hidden and inside[0] not in but and str(path.relative_to(folder)) not in _NOT_LISTED:
            yield path

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

__all__ = ["check_outputs", "check_seal", "check_written", "hash_run", "list_outputs", "seal", "sync", "sync_folder"]

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
    for name in sorted({*outputs, *(_tables_in(folder) if outputs else ())}):
        if weights or not name.endswith(_WEIGHTS):
            _check_output(folder, name, outputs, whole)


def check_written(path: Path, sha256: str) -> None:
    """Make sure that a file of a run holds the bytes that were written.

    Raises:
        DataError: if it does not.
    """
    if hash_file(path) != sha256:
        raise DataError(f"{path} is damaged: its bytes are not those that its run wrote; remove the run and run again")


def hash_run(folder: Path, manifest: Mapping[str, Any]) -> str:
    """What tells the result of a finished run from another's, all of its bytes checked on the way.

    It is the digest of the run (settings and inputs) and the bytes of its artifacts, what later steps may read: equal
    work has an equal hash, whoever did it, when and where.

    Raises:
        DataError: as ``check_outputs``.
    """
    check_outputs(folder, manifest, whole=True)
    files = set((manifest.get("artifacts") or {}).values())
    outputs: Outputs | None = manifest.get("outputs")
    if outputs is not None:
        found = {name: told["sha256"] for name, told in outputs.items() if _is_result(Path(name).parts[0], files)}
    else:
        places = [path for path in folder.iterdir() if _is_result(path.name, files) and not path.name.startswith(".")]
        found = {path.name: hash_folder(path) if path.is_dir() else hash_file(path) for path in places}
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
    if told is None and "outputs" not in manifest:
        return
    if told != digest_of({key: value for key, value in manifest.items() if key != _SEAL}):
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
        raise DataError(f"{path} is none of the tables and parts that its run left; remove it")
    if not path.is_file():
        raise DataError(f"{path} is missing, which the manifest lists with {told['bytes']:,} bytes{again}")
    size = path.stat().st_size
    if size != told["bytes"]:
        raise DataError(f"{path} has {size:,} bytes and had {told['bytes']:,} when it was written{again}")
    if (whole or size <= _SMALL) and hash_file(path) != told["sha256"]:
        raise DataError(f"{path} is damaged: its bytes are not those that were written{again}")


def _is_result(name: str, artifacts: set[str]) -> bool:
    """Whether a file or folder of a run is an artifact; of a run that lists none, whether it is a table or a text."""
    if artifacts:
        return name in artifacts
    return Path(name).suffix in _RESULTS and name not in _OF_THE_RUN


def _tables_in(folder: Path) -> Iterator[str]:
    """The Parquet tables of a run, with the parts of those that are folders: one that came later would be read too."""
    for path in folder.glob("*.parquet"):
        for part in path.glob("*.parquet") if path.is_dir() else (path,):
            if not part.name.startswith("."):
                yield str(part.relative_to(folder))


def _files(folder: Path, but: frozenset[str]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in inside)
        if path.is_file() and not hidden and inside[0] not in but and str(path.relative_to(folder)) not in _NOT_LISTED:
            yield path

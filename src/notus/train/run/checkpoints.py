"""Checkpoints on the disk: written beside, hashed, renamed; the newest whole one is found again.

    checkpoints/step-00000120/
        weights.safetensors   what is trained, by the names of the parameters in the model
        training.pt           optimiser, schedule, random states, running means
        trainer_state.json    how far the loop of transformers is
        metrics.jsonl         the run's lines up to there
        manifest.json         last: of what it is, size and SHA-256 of each file above, and its own

A checkpoint has its name only when all of it is on the disk: a kill at any moment leaves the one before it. A folder
that begins with a dot is half of one, being written or removed. Owns the files and which of them stay. What is in them
is owned by ``resumable``, when one is written by ``keeping``.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notus.core.disk.hashes import hash_file
from notus.core.errors import ConfigError
from notus.core.run import CHECKPOINTS

__all__ = ["BYTES", "Checkpoint", "Checkpoints", "DamagedError", "check"]

BYTES = 12
"""Of a checkpoint for each number that is trained: itself and two moments, in fp32."""
_MANIFEST = "manifest.json"
_NAME = "step-{:08d}"
_AT_LEAST = 2
"""Checkpoints that are kept while a training goes on, so that one is there if the newest is damaged."""


class DamagedError(Exception):
    """A file of a checkpoint is not what was written; the message names it."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are all what was written."""

    path: Path
    about: Mapping[str, Any]
    """Of what it is: see ``keeping``."""

    @property
    def step(self) -> int:
        """Updates that were done."""
        return int(self.about["step"])


class Checkpoints:
    """The checkpoints of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """The updates behind which there is one, ascending."""
        return sorted(int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*") if path.is_dir())

    def at(self, step: int) -> Path:
        """The folder of the checkpoint behind an update."""
        return self.folder / _NAME.format(step)

    def write(self, about: Mapping[str, Any], write_files: Callable[[Path], None]) -> Path:
        """Write a checkpoint; it is there whole or not at all.

        Args:
            about: of what it is, with ``step``; plain JSON values.
            write_files: is given a folder, and leaves files in it.

        Raises:
            OSError: and whatever ``write_files`` raises; what was written of it is then removed.
        """
        place = self.at(int(about["step"]))
        part = place.with_name(f".{place.name}.part")
        _remove(part)
        part.mkdir(parents=True)
        try:
            write_files(part)
            _seal(part, about)
            for path in part.iterdir():
                _sync(path)
            _sync(part)
            self._replace(place, part)
        except BaseException:
            _remove(part)
            raise
        return place

    def _replace(self, place: Path, part: Path) -> None:
        if place.exists():  # a damaged one: training went on from one before it
            self._discard(place)
        part.rename(place)
        _sync(self.folder)

    def prune(self, keep: int, *, of: int, spared: Iterable[int] = (), at_least: int = _AT_LEAST) -> None:
        """Remove all but the newest ones.

        Args:
            keep: how many stay.
            of: updates that were done; what says more is of a course that was given up.
            spared: steps that stay in any case.
            at_least: how many stay whatever ``keep`` says.
        """
        for leftover in self.folder.glob(".step-*"):
            _remove(leftover)
        done = [step for step in self.steps() if step <= of]
        kept = {*done[-max(keep, at_least) :], *spared} if max(keep, at_least) else set(spared)
        for step in self.steps():
            if step not in kept:
                self._discard(self.at(step))

    def newest(self, say: Callable[[str], None]) -> Checkpoint | None:
        """The newest one that is whole; None if there is none. What is damaged is named to ``say``."""
        for step in reversed(self.steps()):
            try:
                return check(self.at(step))
            except DamagedError as error:
                say(f"{error}, so that this checkpoint cannot be used; the one before it is looked for")
        return None

    @staticmethod
    def found_at(place: Path, say: Callable[[str], None]) -> Checkpoint:
        """What a setting means by a place: a checkpoint, or the newest one of a run directory.

        Raises:
            ConfigError: if there is none, or the one that is named is damaged.
        """
        if (place / _MANIFEST).is_file() and place.name.startswith("step-"):
            try:
                return check(place)
            except DamagedError as error:
                raise ConfigError(f"resume_from: {error}; name another checkpoint, or the run it is of") from None
        folder = place if place.name == CHECKPOINTS else place / CHECKPOINTS
        found = Checkpoints(folder).newest(say)
        if found is None:
            raise ConfigError(
                f"resume_from: {place} holds no checkpoint that is whole; a training that is done keeps some where "
                "'keep' says so; to train on from its model alone, name it as the start"
            )
        return found

    def _discard(self, place: Path) -> None:
        gone = place.with_name(f".{place.name}.gone")
        _remove(gone)
        place.rename(gone)
        _remove(gone)


def check(path: Path) -> Checkpoint:
    """Read a checkpoint's manifest, and hold every file against it.

    Raises:
        DamagedError: with the file that is missing or is not what was written.
    """
    try:
        raw = (path / _MANIFEST).read_bytes()
        manifest = json.loads(raw)
        whole = raw == _render(manifest["about"], manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise DamagedError(f"{path / _MANIFEST} is damaged")
    for name, entry in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise DamagedError(f"{file} is missing")
        size = file.stat().st_size
        if size != entry["size"]:
            raise DamagedError(f"{file} is damaged: {size:,} bytes instead of {entry['size']:,}")
        if (found := hash_file(file)) != entry["sha256"]:
            raise DamagedError(f"{file} is damaged: SHA-256 {found[:12]}… instead of {entry['sha256'][:12]}…")
    return Checkpoint(path, manifest["about"])


def _seal(folder: Path, about: Mapping[str, Any]) -> None:
    """Write the manifest of the files in a folder."""
    files = {path.name: {"size": path.stat().st_size, "sha256": hash_file(path)} for path in sorted(folder.iterdir())}
    (folder / _MANIFEST).write_bytes(_render(about, files))


def _render(about: Mapping[str, Any], files: Mapping[str, Any]) -> bytes:
    """A manifest's bytes; with its own hash, as a flipped bit in it must not pass for another step or metric."""
    content = json.dumps({"about": about, "files": files}, sort_keys=True)
    own = hashlib.sha256(content.encode()).hexdigest()
    return json.dumps({"about": about, "files": files, "sha256": own}, indent=2, sort_keys=True).encode() + b"\n"


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _sync(path: Path) -> None:
    """Have a file or a folder on the disk, and not only on its way there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

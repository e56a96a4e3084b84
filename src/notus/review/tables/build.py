"""Where the tables of a review lie, whether those that lie there are still of what is read, and how they are built.

    .notus/review/<place>-<content>/    beside the file, the folder or the run that is read
        .rows-00000.parquet  .texts-00000.parquet  .records-00000.parquet  …     a part a shard
        .tables.json                                                             last: what they are of

The place is a hash of the paths and of how they are read, the content one of the bytes of the files. Where size, time
and inode of each file are those of the build, its bytes are taken for the same and are not read again. Of one place
only the newest build is kept: texts that were withdrawn, or are no longer in the file, do not stay behind in older
ones.

Owns the folder. What is in the tables is owned by ``tables.parts``.
"""

import fcntl
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from notus.core.config import digest_of
from notus.core.disk.hashes import Stamp, check_stamps, hash_file, stamps_of
from notus.core.errors import DataError, InputError, RunError, cannot_write
from notus.core.parallel import kept_workers, map_shards, start_workers, usable_cores
from notus.core.run import atomic
from notus.decisions.ruling import Of
from notus.formats.source import Source
from notus.review.tables.parts import OF, Part, Span, write_part

__all__ = ["Built", "build", "cache_of"]

_VERSION = 4
"""Raised whenever equal files give other tables than before."""
_MANIFEST = ".tables.json"
_WORTH_A_PROCESS = 4
_PATIENCE_S = 600


@dataclass(frozen=True)
class Built:
    """Tables that are there, whole."""

    folder: Path
    of: Of
    format: str
    parts: tuple[Part, ...]
    fresh: bool = False
    """Whether they were built just now."""

    @property
    def scales(self) -> dict[str, Span]:
        """Of feedback: aspect, or ``overall_score`` → between which values it lies."""
        found: dict[str, Span] = {}
        for name, span in (item for part in self.parts for item in part.scales.items()):
            found[name] = found[name].joined(span) if name in found else span
        return found

    @property
    def dropped(self) -> Counter[str]:
        """Rows of the source that became no record: why → how many."""
        counts: Counter[str] = Counter()
        for each in self.parts:
            counts.update(each.dropped)
        return counts

    @property
    def rows(self) -> int:
        """Rows of the list."""
        return sum(each.rows for each in self.parts)


class _Manifest(msgspec.Struct, frozen=True):
    version: int
    content: str
    files: dict[str, tuple[int, int, int]]
    """Path → size, time and inode."""
    of: Of
    format: str
    parts: list[Part]


def cache_of(given: str | Path) -> Path:
    """The folder for the tables of what is given: beside it, and for a hub id in the user's own cache."""
    place = Path(given).expanduser()
    if place.exists() and os.access(place.absolute().parent, os.W_OK):
        return place.absolute().parent / ".notus" / "review"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "notus" / "review"


def build(source: Source, cache: Path, workers: int | None = None) -> Built:
    """The tables of a source: those that are there, or new ones.

    Raises:
        DataError: if the source cannot be read, or none of its rows can.
        InputError: if the tables cannot be written.
        ChangedInputError: if somebody wrote to the source while it was read.
        RunError: if another process has been building there for ten minutes.
    """
    place = _place_of(source)
    stamps = {str(path): tuple(stamps_of(path)[str(path)]) for path in source.paths}
    if (found := _find(cache, place, stamps, None)) is not None:
        return found
    content = digest_of([_VERSION, [hash_file(path) for path in source.paths]])
    _make_cache(cache)
    with _alone(cache):
        if (found := _find(cache, place, stamps, content)) is not None:
            return found
        try:
            return _build(source, cache, f"{place}-{content}", stamps, workers)
        except OSError as error:
            raise cannot_write(cache, error) from None


def _place_of(source: Source) -> str:
    """Hash of which files are read, and how."""
    sieve = source.withdrawn
    withdrawn = None
    if sieve is not None:
        withdrawn = [sorted(sieve.ids), sorted(sieve.places), sorted(map(list, sieve.answers)), sorted(sieve.whole)]
    how = (source.format, source.limit, source.split, source.config, source.encoding, source.strict)
    paths = [str(path.absolute()) for path in source.paths]
    # What is withdrawn is part of the content: a place has one build, with or without it.
    return f"{digest_of([paths, list(source.members), *how])}-{digest_of(withdrawn)[:4]}"


def _find(cache: Path, place: str, stamps: dict[str, Any], content: str | None) -> Built | None:
    """The build of a place whose files have these stamps, or this content."""
    for folder in sorted(cache.glob(f"{place}-*")):
        path = folder / _MANIFEST
        try:
            known = msgspec.json.decode(path.read_bytes(), type=_Manifest)
        except (OSError, msgspec.DecodeError):
            continue
        if known.version != _VERSION:
            continue
        if content is not None and known.content == content:
            _write_manifest(folder, msgspec.structs.replace(known, files=stamps))
        elif known.files != stamps or content is not None or not folder.name.endswith(known.content):
            continue
        return Built(folder, known.of, known.format, tuple(known.parts))
    return None


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Hold the folder, behind whoever holds it now: what they build may be what is wanted here."""
    handle = os.open(cache, os.O_RDONLY)
    try:
        for _ in range(_PATIENCE_S * 10):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        else:
            raise RunError(
                f"another review has been at work in {cache} for {_PATIENCE_S} s; start again when it is done"
            )
        yield
    finally:
        os.close(handle)  # the lock ends with it


def _make_cache(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        ignored = cache.parent / ".gitignore"
        if not ignored.exists():
            ignored.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the tables of the review to {cache}: {error.strerror}") from None


def _build(source: Source, cache: Path, name: str, stamps: dict[str, Any], workers: int | None) -> Built:
    folder, part = cache / name, cache / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        parts = _write_parts(source, part, workers)
        for path in source.paths:
            check_stamps("data", path, {str(path): Stamp(*stamps[str(path)])})
        known = _Manifest(_VERSION, name.rpartition("-")[2], stamps, OF[source.record], source.format, list(parts))
        if not sum(each.rows for each in parts):
            dropped = sum(sum(each.dropped.values()) for each in parts)
            raise DataError(f"{source.name} holds nothing to review: none of its {dropped:,} rows can be read")
        _write_manifest(part, known)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for old in cache.glob(f"{name.partition('-')[0]}-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    return Built(folder, known.of, known.format, parts, fresh=True)


def _write_parts(source: Source, folder: Path, workers: int | None) -> tuple[Part, ...]:
    with kept_workers():
        count = min(workers or usable_cores(), source.fills_processes)
        if count > 1:  # they import while the source is cut
            start_workers(count, write_part.__module__)
        tasks = list(enumerate(source.shards()))
        return tuple(map_shards(partial(write_part, folder), tasks, workers if len(tasks) >= _WORTH_A_PROCESS else 1))


def _write_manifest(folder: Path, known: _Manifest) -> None:
    with atomic(folder / _MANIFEST, "wb") as file:
        file.write(msgspec.json.encode(known))

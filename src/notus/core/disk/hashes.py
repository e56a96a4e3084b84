"""What tells the content of files, folders and models apart, and whether a file changed meanwhile.

A stamp is what the system says of a file without reading it: taken before a file is hashed and looked at again behind
the work, it tells that the bytes which were read are those that were hashed.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from notus.core.config import digest_of
from notus.core.errors import ChangedInputError, InputError

__all__ = ["Stamp", "Stamps", "check_stamps", "hash_file", "hash_folder", "hash_model", "hash_prefix", "stamps_of"]

_EVERY = 1 << 24
"""Bytes between two states of a hash that are remembered of a large file, for the hash of its beginning."""
_READ = 1 << 18
_REMEMBERED_FILES = 16


class Stamp(NamedTuple):
    """Size in bytes, time of the last change in nanoseconds, and inode of a file."""

    size: int
    modified: int
    inode: int


Stamps = Mapping[str, Stamp]
"""Path of each file → its stamp."""


def stamps_of(path: Path, but: Collection[Path] = ()) -> dict[str, Stamp]:
    """The stamps of a file, or of all files in a folder and below it that are not hidden; nothing where nothing is.

    Args:
        path: file or folder.
        but: files and folders in it that are left out.
    """
    files = [path] if path.is_file() else (each for each in path.rglob("*") if each.is_file())
    found = {}
    for file in files:
        if path.is_dir() and (file.name.startswith(".") or any(file.is_relative_to(each) for each in but)):
            continue
        with suppress(FileNotFoundError):  # removed since it was listed: it has no stamp
            known = file.stat()
            found[str(file)] = Stamp(known.st_size, known.st_mtime_ns, known.st_ino)
    return found


def check_stamps(name: str, path: Path, before: Stamps, but: Collection[Path] = ()) -> None:
    """Make sure that an input is what it was when it was hashed.

    Args:
        name: of the input: the setting that names it.
        path: file or folder.
        before: its stamps, taken before it was hashed.
        but: files and folders in it that do not count, such as the run directory itself.

    Raises:
        ChangedInputError: that names the first file which changed.
    """
    now = stamps_of(path, but)
    for file in sorted(before.keys() | now.keys()):
        old, new = before.get(file), now.get(file)
        if old == new or any(Path(file).is_relative_to(each) for each in but):
            continue
        if old is None or new is None:
            what = "came" if old is None else "was removed"
        elif old.size != new.size:
            what = f"changed from {old.size:,} to {new.size:,} bytes"
        else:
            what = "was written anew"
        raise ChangedInputError(
            f"{file} ('{name}') {what} while it was read: what was made of it is no result; run again when nobody "
            "writes to it"
        )


_REMEMBERED: OrderedDict[str, tuple[Stamp, list[tuple[int, Any]]]] = OrderedDict()
"""Large file → its stamp, and how far the hash had come where."""


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes. Of a large one, states on the way are remembered for ``hash_prefix``."""
    if path.stat().st_size < _EVERY:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return hash_prefix(path, path.stat().st_size)


def hash_prefix(path: Path, size: int) -> str:
    """SHA-256 of the first bytes of a file; what of it was hashed in this process is not read again.

    Args:
        path: the file.
        size: bytes; where the file is shorter, all of it is hashed.
    """
    known = path.stat()
    stamp = Stamp(known.st_size, known.st_mtime_ns, known.st_ino)
    before, states = _REMEMBERED.get(str(path), (stamp, []))
    states = states if before == stamp else []
    at, begun = max((state for state in states if state[0] <= size), key=lambda state: state[0], default=(0, None))
    hasher = hashlib.sha256() if begun is None else begun.copy()
    block = memoryview(bytearray(_READ))
    with path.open("rb", buffering=0) as file:
        file.seek(at)
        while at < size and (count := file.readinto(block[: min(_READ, size - at)])):
            hasher.update(block[:count])
            at += count
            if at % _EVERY == 0 or at == size:
                states.append((at, hasher.copy()))
    if known.st_size >= _EVERY:
        _REMEMBERED[str(path)] = stamp, states
        while len(_REMEMBERED) > _REMEMBERED_FILES:
            _REMEMBERED.popitem(last=False)
    return hasher.hexdigest()


def hash_folder(folder: Path) -> str:
    """What tells one folder from another: names and bytes of all files but hidden ones."""
    return digest_of([[name, value] for name, value in _hashes(folder, hidden=False)])


def hash_model(source: str) -> str:
    """What tells one model from another: names and bytes of all files of its folder, or its hub id.

    Raises:
        InputError: if a folder holds no file.
    """
    folder = Path(source)
    if not folder.is_dir():
        return digest_of({"hub": source})
    if not (found := dict(_hashes(folder, hidden=True))):
        raise InputError(f"{folder} holds no model")
    return digest_of(found)


def _hashes(folder: Path, *, hidden: bool) -> Iterator[tuple[str, str]]:
    """Name and hash of each file in a folder and below it, sorted."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if hidden or not path.name.startswith("."):
            yield str(path.relative_to(folder)), hash_file(path)

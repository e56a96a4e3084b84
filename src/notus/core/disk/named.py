"""Files that a user names to be written: one that is there already is kept, unless the user says otherwise."""

import os
from collections.abc import Iterable
from pathlib import Path

from notus.core.errors import InputError

__all__ = ["check_named_file", "check_named_folder"]


def check_named_file(path: Path, *, force: bool = False, never: Iterable[Path] = ()) -> None:
    """Make sure that a file may be written where a user says.

    Args:
        path: the file.
        force: whether one that is there may be overwritten.
        never: files that may not be, under whatever name, link or hard link, though they need not be there.

    Raises:
        InputError: if it is there already, is no regular file, or one of those that may not be overwritten.
    """
    for kept in never:
        if _same(path, kept):
            raise InputError(f"{path} is {kept}, which is in use and is never overwritten; name another file")
    if path.is_dir():
        raise InputError(f"{path} is a directory; name a file in it")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file, and cannot be replaced; name another file")
    if os.path.lexists(path) and not force:
        raise InputError(f"{path} is there already; name another file, or overwrite it with --force (force=True)")


def check_named_folder(path: Path, *, force: bool = False) -> None:
    """Make sure that files may be written into a folder beside what a user named.

    Raises:
        InputError: if it holds something, or is no folder.
    """
    if path.is_dir():
        if not force and any(path.iterdir()):
            raise InputError(f"{path} is there already and not empty; name another file, or add --force (force=True)")
    elif os.path.lexists(path):
        raise InputError(f"{path} is no folder, and one is to be written there; name another file")


def _same(one: Path, other: Path) -> bool:
    if one.parent.resolve() / one.name == other.parent.resolve() / other.name or one.resolve() == other.resolve():
        return True
    return one.exists() and other.exists() and one.samefile(other)

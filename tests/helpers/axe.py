"""The file of axe-core, which looks for what a screen reader or a keyboard stumbles over; it is not ours."""

import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

__all__ = ["axe_file"]

_PINNED = "axe-core@4.14.1"


@lru_cache(maxsize=1)
def axe_file() -> Path | None:
    """Its path: named by NOTUS_AXE, kept from an earlier test, or fetched by npm; None where none of that works."""
    if named := os.environ.get("NOTUS_AXE"):
        return Path(named)
    kept = Path(tempfile.gettempdir()) / "notus-axe" / "package" / "axe.min.js"
    if kept.is_file():
        return kept
    npm = shutil.which("npm")
    if npm is None:
        return None
    folder = kept.parents[1]
    folder.mkdir(exist_ok=True)
    done = subprocess.run([npm, "pack", "--silent", _PINNED], cwd=folder, capture_output=True, text=True, timeout=90)
    if done.returncode:
        return None
    shutil.unpack_archive(folder / done.stdout.strip().splitlines()[-1], folder, filter="data")
    return kept if kept.is_file() else None

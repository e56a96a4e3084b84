"""How much memory a process may still take, and whether a model fits into it: asked before the model is read.

On Linux, what the machine has available and what the control group of a container or a cluster's job leaves; elsewhere
nothing is known, and nothing refused. Memory of an accelerator is owned by PyTorch, which says for itself when it is
used up.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from notus.core.errors import RunError, format_bytes

__all__ = ["available_memory", "check_memory"]

_MEMINFO = Path("/proc/meminfo")
_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def check_memory(needed: float, what: str, remedy: str) -> None:
    """Make sure that there is memory for what will be held.

    Args:
        needed: bytes.
        what: is held, for example ``the weights of runs/base``.
        remedy: what takes less.

    Raises:
        RunError: if less is available.
    """
    available = available_memory()
    if available is not None and needed > available:
        raise RunError(
            f"not enough memory for {what}: {format_bytes(needed)} are needed, and {format_bytes(available)} are "
            f"available; {remedy}"
        )


def available_memory() -> float | None:
    """Bytes that this process may still take, the least of what the machine and its control groups leave; None where
    nothing says so."""
    found = [*_of_the_machine(), *_of_groups()]
    return min(found) if found else None


def _of_the_machine() -> Iterable[float]:
    for line in _lines(_MEMINFO):
        if line.startswith("MemAvailable:"):
            yield float(line.split()[1]) * 1024


def _of_groups() -> Iterable[float]:
    """What each group from the process's own to the topmost leaves: its limit without what it holds and cannot give
    back, as cached files can be."""
    for line in _lines(_OWN):
        _, controllers, path = line.strip().split(":", 2)
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        version = 2 if not controllers else 1
        top = _GROUPS if version == 2 else _GROUPS / "memory"
        names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        folder = top / path.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(top):
                break
            limit, held = (_number(group / name) for name in names)
            if math.isfinite(limit) and math.isfinite(held):
                cached = sum(float(row.split()[1]) for row in _lines(group / "memory.stat") if row.startswith(_CACHED))
                yield max(0.0, limit - max(0.0, held - cached))


_CACHED = ("inactive_file ", "active_file ")


def _number(path: Path) -> float:
    text = "".join(_lines(path)).strip()
    return float(text) if text.isdigit() and int(text) < 1 << 60 else math.inf


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []

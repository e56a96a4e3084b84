"""Which labels a classifier has, from its settings alone, so that a wrong one is told before any weights are read.

Owns the reading of ``id2label`` and the refusal. No torch.
"""

import json
from pathlib import Path
from typing import Any

from notus.core.errors import ConfigError, nearest

__all__ = ["check_label", "read_labels"]


def read_labels(source: str) -> tuple[str, ...] | None:
    """The labels that a folder's ``config.json`` names, in their order; None where it is no folder or names none."""
    try:
        found: Any = json.loads((Path(source) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    named = found.get("id2label") if isinstance(found, dict) else None
    if not isinstance(named, dict) or not all(str(number).isdigit() for number in named):
        return None
    return tuple(str(named[number]) for number in sorted(named, key=int))


def check_label(source: str, label: str, labels: tuple[str, ...]) -> int:
    """The number of a label among those of a model.

    Raises:
        ConfigError: if it has no such label, or only one.
    """
    if len(labels) < 2:
        raise ConfigError(f"{source!r} has one label; a classifier has several: name it as reward-model:{source}")
    if label not in labels:
        raise ConfigError(f"{source!r} has no label '{label}'; {nearest(label, labels)}")
    return labels.index(label)

"""Marks on scores by the lineage of what was scored: whether a benchmark's questions were among the training data.

Owns the gathering of what a run was made from. What deserves a mark is owned by ``evaluate.contaminated``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from notus.core.run import read_json
from notus.data.lineage import links_of
from notus.evaluate.contaminated import contamination, is_truthfulqa

__all__ = ["STATED", "mark_of", "trained_on"]

STATED = "contaminated: the settings say that the model was trained on these questions"
"""The mark where the user knows."""


def mark_of(name: str, folder: Path) -> str:
    """The mark of the scores in a run directory; empty when they need none.

    What the settings state of contamination goes before what lineage tells.

    Args:
        name: of the benchmark or the step; what the settings of the run name counts too.
        folder: the run directory of the evaluation, whose lineage leads to the training data.
    """
    config = read_json(folder / "config.json")
    if config.get("contaminated") is not None:
        return STATED if config["contaminated"] else ""
    named = next((text for text in (name, *_texts(config)) if is_truthfulqa(text)), None)
    return contamination(named, trained_on(folder)) if named else ""


def trained_on(folder: Path) -> Iterator[str]:
    """What the model of an evaluation was made from, over all runs before it.

    Paths, hub ids, names in settings, and the sources of the rows of pairs. Neither what is evaluated on nor what data
    were cleaned against is training data.
    """
    links = {link.path: link for link in links_of(str(folder))}
    waiting, seen = [str(folder)], set[str]()
    while waiting:
        link = links[waiting.pop()]
        first = not seen
        seen.add(link.path)
        parents = zip(link.settings, link.parents, strict=True)
        used = [parent for setting, parent in parents if _trains(setting, first=first)]
        waiting += [parent for parent in used if parent not in seen]
        yield from (text for key, value in link.config.items() if _trains(key, first=first) for text in _texts(value))
        if not first:
            yield from (link.path, *_sources(Path(link.path) / "preferences.parquet"))


def _trains(setting: str, *, first: bool) -> bool:
    """Whether a setting names what a model is made from; that of the evaluation itself is its model alone."""
    return setting.startswith(("model", "base")) if first else not setting.startswith("against")


def _sources(pairs: Path) -> list[str]:
    if not pairs.is_file() or "source" not in pq.read_schema(pairs).names:
        return []
    return [str(source) for source in pq.read_table(pairs, columns=["source"]).column("source").unique().to_pylist()]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in _texts(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in _texts(item))

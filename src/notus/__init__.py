"""Notus turns AI feedback into an aligned model, data first.

import notus
data  = notus.read("mine.jsonl")
pairs = notus.binarize(notus.repair(data), strategy="mean-rating", seed=0)
run   = notus.dpo(pairs, start="owner/model", out="runs/dpo")

Everything is imported when it is first asked for.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notus.api.data import Audit, Data, Outputs, audit, binarize, bridge, clean, diff, export, forget, read, repair
    from notus.api.models import (
        Comparisons,
        Evaluation,
        Experiment,
        Trained,
        ask_again,
        collect,
        compare,
        dpo,
        draw_labels,
        evaluate,
        generate,
        kto,
        label,
        preview,
        rank,
        run,
        sft,
        train_ranker,
    )
    from notus.api.results import Result

__all__ = [
    "Audit",
    "Comparisons",
    "Data",
    "Evaluation",
    "Experiment",
    "Outputs",
    "Result",
    "Trained",
    "__version__",
    "ask_again",
    "audit",
    "binarize",
    "bridge",
    "clean",
    "collect",
    "compare",
    "diff",
    "dpo",
    "draw_labels",
    "evaluate",
    "export",
    "forget",
    "generate",
    "kto",
    "label",
    "preview",
    "rank",
    "read",
    "repair",
    "run",
    "sft",
    "train_ranker",
]

__version__ = "0.1.0"
_DATA = (
    "Audit",
    "Data",
    "Outputs",
    "audit",
    "binarize",
    "bridge",
    "clean",
    "diff",
    "export",
    "forget",
    "read",
    "repair",
)


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'notus' has no attribute '{name}'")
    module = "notus.api.data" if name in _DATA else "notus.api.results" if name == "Result" else "notus.api.models"
    return getattr(importlib.import_module(module), name)


class _Face(ModuleType):
    """The package as a module whose functions may be called as rooms are: ``notus.audit`` is the function.

    The import system writes each package below into its parent, ``notus.audit`` when ``notus.audit.feedback`` is first
    imported; without this, the function of that name would be gone from then on.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in __all__):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face


def __dir__() -> list[str]:
    """The public names, for completion."""
    return list(__all__)

"""The names of all steps: found where their classes stand, and imported when a recipe names them.

A class in a module below ``steps`` that says ``step_type: ClassVar[str] = "shorten"`` is the step ``shorten``: its line
is read, the module is not imported, and no list names it a second time. Open from outside: ``python:FILE.py:NAME`` or
``python:MODULE:NAME`` for a class of the user's, and packages may register steps under the entry point ``notus.steps``.
Owns the finding and nothing else. No torch.
"""

import inspect
import re
from pathlib import Path
from typing import Any

from notus.core.errors import ConfigError
from notus.core.plugins import Registry, is_python
from notus.steps.base import Step

__all__ = ["STEPS", "find_steps", "step_class"]

_STEPS = Path(__file__).parent
_CLASS = re.compile(r"^class (\w+)\(|^    step_type: ClassVar\[str\] = \"([\w-]+)\"", re.MULTILINE)


def find_steps(folder: Path = _STEPS) -> dict[str, str]:
    """Name of each step below a folder → ``module:Class``, in the order of the files; nothing is imported."""
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*/*.py")):
        cls = ""
        for match in _CLASS.finditer(file.read_text(encoding="utf-8")):
            cls = match[1] or cls
            if match[2]:
                found[match[2]] = f"notus.steps.{file.parent.name}.{file.stem}:{cls}"
    return found


STEPS = Registry("step", find_steps(), group="notus.steps", aliases={"miniature": "toy"})
"""Name of each step type, as ``step`` has it in a recipe → its class."""


def step_class(name: str) -> type[Step]:
    """The class of a step type.

    Raises:
        ConfigError: for an unknown name, with the nearest, or a class of the user's that is no step.
    """
    found: Any = STEPS.load(name)
    if not (inspect.isclass(found) and issubclass(found, Step)) or inspect.isabstract(found):
        raise ConfigError(f"'{name}' is no step; a step is a class of notus.steps.base.Step with a method run(context)")
    if is_python(name) and "step_type" not in vars(found):
        raise ConfigError(f"'{name}' has no step_type; give the class a name for its run directory: step_type = …")
    if is_python(name):
        found.loaded_from = name
    return found

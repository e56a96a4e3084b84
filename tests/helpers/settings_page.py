"""The page of all settings, out of the steps: run ``python -m tests.helpers.settings_page`` to write it anew.

A step's own settings stand at the step; what several steps share, and what a setting holds that has settings of its
own, is a group and stands once. The meaning is the docstring below the field, which is also the help of the option.
"""

import inspect
import json
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic_core import PydanticUndefined

from notus.core.config import Config, field_docs
from notus.steps.base import Reference, Step
from notus.steps.registry import STEPS, find_steps, step_class
from notus.train.losses.base import Loss, PairLoss
from notus.train.losses.registry import LOSSES, class_of

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = """# Settings

All settings of all steps. They are the same in a recipe (`dpo: {{learning_rate: 5e-7}}`), at the command line
(`--learning-rate 5e-7`, and `--set limits.max_length=512` for one below another), and from Python
(`notus.dpo(…, learning_rate=5e-7)`). A value that means nothing beside another one is refused. This page is written by
`python -m tests.helpers.settings_page` out of the steps themselves, and a test keeps it in step.

**Steps**: {steps}

**Shared by several steps**: {groups}

**[Losses](#losses)**: {losses}
"""
_ROOMS = {
    "data": "Data",
    "preferences": "Labels by program",
    "collect": "Collecting feedback",
    "train": "Training",
    "answers": "Answers and rankings",
    "evaluate": "Evaluation",
    "checks": "Checks by program",
    "scores": "Score files of others",
    "corrected": "Corrected judges",
}
_BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
_SEED = f" ≥ 0 and < {2**32:,}"
"""The bounds of every seed."""
_COMMON = {
    "seed": "Decides all that is drawn; null takes that of the replicate (`--seed`, `seeds` of a recipe).",
}
"""What a setting means that has no docstring because its type says it."""


def steps() -> dict[str, type[Step]]:
    """Steps by name, in the order of the rooms."""
    found = find_steps()
    rooms = [f"notus.steps.{room}." for room in _ROOMS]
    order = sorted(found, key=lambda name: next(n for n, room in enumerate(rooms) if found[name].startswith(room)))
    return {name: step_class(name) for name in order if STEPS.knows(name)}


def is_group(cls: Any) -> bool:
    """Whether a class stands on the page as a group of settings."""
    if not (inspect.isclass(cls) and issubclass(cls, Config)) or cls in (Config, Step) or issubclass(cls, Loss):
        return False
    return "step_type" not in vars(cls) and not cls.__name__.startswith("_") and bool(own_fields(cls))


def own_fields(cls: type[Config]) -> list[str]:
    """Settings that a class has or changes itself, those of a private base included."""
    names = [name for name in inspect.get_annotations(cls) if name in cls.model_fields]
    for base in cls.__bases__:
        if issubclass(base, Config) and base.__name__.startswith("_"):
            names += [name for name in own_fields(base) if name not in names]
    return names


def bases(cls: type[Config]) -> list[type[Config]]:
    """Groups and steps whose settings a class has too, from the nearest."""
    found = []
    for base in cls.__bases__:
        if not issubclass(base, Config) or base in (Config, Step):
            continue
        if base.__name__.startswith("_") or not own_fields(base):
            found += bases(base)
        else:
            found.append(base)
    return found


def inside(annotation: Any) -> Iterator[type[Config]]:
    """Groups that a setting's value may hold."""
    if is_group(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from inside(part)


def groups() -> list[type[Config]]:
    """All groups that steps and losses lead to, by title."""
    found: set[type[Config]] = set()
    waiting: list[type[Config]] = [*steps().values()]
    while waiting:
        cls = waiting.pop()
        below = {*bases(cls), *(one for name in own_fields(cls) for one in inside(annotation(cls, name)))}
        waiting += below - found
        found |= below
    return sorted((cls for cls in found if "step_type" not in vars(cls)), key=title)


def annotation(cls: type[Config], name: str) -> Any:
    info = cls.model_fields[name]
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def title(cls: type[Config]) -> str:
    """A group's heading: the words of its name, with its room where there are two of that name."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.__name__).capitalize()
    return f"{words} of {cls.__module__.split('.')[1]}" if cls.__name__ in _TWICE else words


_TWICE = {"Sampling"}


def link(cls: type[Config]) -> str:
    name = str(vars(cls).get("step_type", "")) or title(cls)
    return f"[{name}](#{re.sub(r'[^a-z0-9-]', '', name.lower().replace(' ', '-'))})"


def kind(of: Any, metadata: tuple[Any, ...] = ()) -> str:
    """A type in plain words."""
    origin, arguments = get_origin(of), get_args(of)
    if origin is Annotated:
        return kind(arguments[0], (*metadata, *arguments[1:]))
    if origin in (Union, types.UnionType):
        parts = [kind(part, metadata) for part in arguments if part is not type(None)]
        parts += ["null"] if type(None) in arguments else []
        return " or ".join(dict.fromkeys(parts))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (tuple, list):
        return f"list of: {kind(arguments[0], metadata)}"
    if origin is dict:
        return "mapping"
    if inspect.isclass(of) and issubclass(of, Loss):
        return "[a loss](#losses)"
    if is_group(of):
        return link(of)
    if of is str and any(isinstance(mark, Reference) for mark in metadata):
        return "step, path or hub id"
    names = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`"}
    return names.get(of, "value") + bounds(metadata)


def bounds(metadata: tuple[Any, ...]) -> str:
    found = []
    for mark in metadata:
        marks = mark.metadata if isinstance(mark, pydantic.fields.FieldInfo) else (mark,)
        for one in marks:
            values = [(sign, getattr(one, name, None)) for name, sign in _BOUNDS]
            found += [f"{sign} {limit:,}" for sign, limit in values if limit is not None]
    return " " + " and ".join(found) if found else ""


def default(info: Any) -> str:
    """The value that holds where nothing is said; a dash where there is none."""
    if info.default_factory_takes_validated_data:
        return "by the others"
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "–"
    if isinstance(value, Loss):
        return f"`{value.name}`"
    if isinstance(value, Config):
        return "its own"
    plain = pydantic.TypeAdapter(Any).dump_python(value, mode="json")
    text = (
        plain if isinstance(plain, str) and plain else f"{plain:g}" if isinstance(plain, float) else json.dumps(plain)
    )
    return f"`{text}`"


def meaning(name: str, docs: dict[str, str], of: Any) -> str:
    text = docs.get(name) or (_COMMON.get(name, ""))
    if not text and (below := next(inside(of), None)):
        text = first_paragraph(below)
    return cell(text)


def first_paragraph(cls: type[Any]) -> str:
    return inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0]


def cell(text: str) -> str:
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


def table(cls: type[Config], *, without: tuple[str, ...] = ()) -> list[str]:
    """The settings that a class has itself, a row each."""
    docs = field_docs(cls)
    rows = []
    for name in own_fields(cls):
        if name not in without:
            of, info = annotation(cls, name), cls.model_fields[name]
            value = cell(kind(of))
            if name == "seed":
                value = value.replace(_SEED, "")
            rows.append(f"| `{name}` | {value} | {cell(default(info))} | {meaning(name, docs, of)} |")
    return ["| setting | value | default | meaning |", "|---|---|---|---|", *rows, ""] if rows else []


def section(name: str, cls: type[Config]) -> str:
    lines = [f"### {name}", "", cell(first_paragraph(cls)), "", *table(cls)]
    if shared := bases(cls):
        lines += [f"Also those of {', '.join(map(link, shared))}.", ""]
    inherited = {key for base in cls.__mro__[1:] for key in getattr(base, "aliases", {})}
    others = {key: to for key, to in cls.aliases.items() if isinstance(to, str) and key not in inherited}
    if others:
        lines += ["Read too: " + ", ".join(f"`{key}` as `{to}`" for key, to in others.items()) + ".", ""]
    return "\n".join(lines)


def loss_rows() -> Iterator[str]:
    for name in LOSSES.known():
        cls = class_of(name)
        docs = field_docs(cls)
        options = [
            f"`{key}`: {cell(kind(annotation(cls, key)))}, {default(info)}"
            + (f": {text}" if (text := cell(docs.get(key, ""))) else "")
            for key, info in cls.model_fields.items()
            if key != "name"
        ]
        rows = "pairs" if issubclass(cls, PairLoss) else "single rows"
        about = cell(first_paragraph(cls)).partition("::")[0]
        yield f"| `{name}` | {rows} | {about} | {'<br>'.join(options) or '–'} |"


def page() -> str:
    """The whole page."""
    found, shared = steps(), groups()
    head = HEAD.format(
        steps=", ".join(map(link, found.values())),
        groups=", ".join(map(link, shared)),
        losses=", ".join(f"`{name}`" for name in LOSSES.known()),
    )
    parts = [head]
    for room, heading in _ROOMS.items():
        parts.append(f"## {heading}\n")
        parts += [
            section(name, cls) for name, cls in found.items() if cls.__module__.startswith(f"notus.steps.{room}.")
        ]
    parts.append("## Shared settings\n")
    parts += [section(title(cls), cls) for cls in shared]
    parts.append(
        "## Losses\n\n`loss: NAME`, `loss: {name: NAME, beta: 0.1}`, or a weighted sum of several: "
        "`loss: [{weight: 0.8, loss: sigmoid}, {loss: nll}]`.\n"
    )
    parts.append("\n".join(["| loss | of | what it is | options |", "|---|---|---|---|", *loss_rows(), ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

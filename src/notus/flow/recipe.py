"""Recipes: the steps of one experiment, the arms to be compared, the seeds that repeat it.

    name: demo
    seeds: [0, 1, 2]
    data:     {do: miniature, prompts: 1500}     # a step: its name, what it does, its settings
    binarize: {strategy: critique}               # `do` may be left out where the name says it
    dpo:      {start: sft, pairs: binarize}      # a setting of type Ref names another step, a path or a hub id
    arms:
      faulty: {}                                 # an arm lays settings over the steps; null removes a step
      repaired: {binarize: {strategy: repaired-critique}}

Owns reading a recipe and resolving it into a plan. A plan's steps are known by the digest of all that decides their
result, so arms share what they have in common. What the steps do is in ``flow.steps``, the work in ``flow.execute``.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from notus import __version__
from notus.core.config import Config, digest_of, load_yaml, merge, parse_override, set_path
from notus.core.errors import ConfigError, nearest
from notus.core.hub_id import HubId
from notus.core.run import hash_file
from notus.flow.curves import Curve
from notus.flow.kinds import KINDS
from notus.flow.rounds import ROUNDS, unrolled
from notus.flow.stepconfig import Seed, StepConfig, refs_of

__all__ = ["BUILT_IN", "Plan", "PlannedStep", "Recipe", "find_recipe", "given_hash", "load_recipe", "make_plan"]

BUILT_IN = Path(__file__).parent.parent / "recipes"
"""The folder of the recipes that come with Notus."""


class _Head(Config):
    """What a recipe says of itself, beside its steps."""

    name: str = pydantic.Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str = ""
    """Heading of the report."""
    description: str = ""
    """What the experiment asks, in a sentence or two."""
    notes: tuple[str, ...] = ()
    """What a reader of the report must know beside the numbers."""
    seeds: tuple[Seed, ...] = pydantic.Field(default=(0,), min_length=1)
    """Replicates: each seed runs every step that draws at random anew."""
    question: tuple[str, str] | None = None
    """Two arms whose difference answers what the title asks; the report begins with them."""
    baseline: str | None = None
    """Arm that the others are placed beside in the report."""
    curve: Curve | None = None
    """Arms that are doses of something, drawn as lines."""
    threads: int = pydantic.Field(default=1, ge=1)
    """Threads of each process. It is part of a result's bits."""
    workers: int | None = pydantic.Field(default=None, ge=1)
    """Processes that work at the same time; null takes as many as the CPUs hold. It changes no result."""

    @pydantic.field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands twice; a repeated seed is no replicate")
        return seeds


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. ``arms`` maps each arm to its steps, with the arm's settings laid over."""

    head: _Head
    arms: dict[str, dict[str, StepConfig]]
    raw: dict[str, Any]
    """The recipe as it was read, overrides included."""


@dataclass(frozen=True)
class PlannedStep:
    """One piece of work: a step of an arm under a seed, or of all arms that share it."""

    name: str
    config: StepConfig
    seed: int | None
    """None for a step whose result does not depend on chance."""
    needs: dict[str, str]
    """Setting → digest of the step that it refers to."""
    given: dict[str, str]
    """Setting → path or hub id outside of the recipe."""
    digest: str
    inputs: dict[str, str]
    """Name → hash of what is read, for the run directory."""

    @property
    def folder(self) -> str:
        """Name of the step's run directory."""
        return f"{self.name}-{self.digest}"


@dataclass
class Plan:
    """All work of a recipe. ``steps`` is in an order in which each comes after what it needs."""

    recipe: Recipe
    steps: dict[str, PlannedStep] = field(default_factory=dict)
    arms: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)
    """(arm, seed) → name of the step → its digest."""


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that comes with Notus.

    Raises:
        ConfigError: if there is neither.
    """
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        return path
    known = {file.stem: file for file in BUILT_IN.glob("*.yaml")}
    if name not in known:
        raise ConfigError(f"no recipe '{name}': it is no file and no built-in recipe; {nearest(name, known)}")
    return known[name]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and check all of it, each arm included.

    Args:
        path: a YAML file.
        overrides: settings of the form ``dpo.loss.beta=0.1``, laid over the file and under the arms.

    Raises:
        ConfigError: with one line that names the key, its value, the rule and the nearest right name.
    """
    where = path.name
    raw = load_yaml(path)
    for text in overrides:
        raw = set_path(raw, *parse_override(text))
    head_keys = set(_Head.model_fields)
    arms = raw.get("arms", {path.stem: {}})
    if not isinstance(arms, dict) or not arms:
        raise ConfigError(f"{where}: 'arms' is {arms!r}; it must map the name of each arm to its settings")
    steps = {key: value for key, value in raw.items() if key not in head_keys | {"arms"}}
    head = _Head.parse({key: value for key, value in raw.items() if key in head_keys}, where=where)
    if not steps:
        raise ConfigError(f"{where}: there is no step; known steps: {', '.join(sorted(KINDS))}")
    _check_names(steps, where)
    checked = {}
    for arm, over in arms.items():
        label = f"{where}: arm '{arm}'" if "arms" in raw else where
        checked[arm] = _check_arm(steps, {} if over is None else over, label)
    named = [("baseline", head.baseline), *(("question", arm) for arm in head.question or ())]
    named += [("curve", arm) for arm in (head.curve.arms if head.curve else ())]
    for key, arm in named:
        if arm is not None and arm not in checked:
            raise ConfigError(f"{where}: {key} '{arm}' is no arm; {nearest(arm, checked)}")
    return Recipe(head, checked, raw)


def make_plan(recipe: Recipe) -> Plan:
    """Resolve a recipe into the steps that must be done, each once.

    Raises:
        ConfigError: if steps refer to each other in a circle, or to a file that is not there.
    """
    plan = Plan(recipe)
    hashes: dict[str, str] = {}
    for arm, steps in recipe.arms.items():
        for seed in recipe.head.seeds:
            done: dict[str, str] = {}
            for name in _in_order(steps, arm):
                step = _resolve(name, steps, done, seed, recipe.head.threads, hashes)
                plan.steps.setdefault(step.digest, step)
                done[name] = step.digest
            plan.arms[arm, seed] = done
    return plan


def given_hash(who: str, target: str, steps: Iterable[str] = ()) -> str:
    """Hash of what a path names, a file or a folder; a hub id stands for itself.

    Args:
        who: who refers to it, for the error.
        target: a path or a hub id.
        steps: names that would have been possible too, for the error.

    Raises:
        ConfigError: if it is neither a path that exists nor of the form of a hub id.
    """
    path = Path(target)
    try:
        if path.is_file():
            return hash_file(path)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
            return digest_of([[os.fspath(file.relative_to(path)), hash_file(file)] for file in files])
    except OSError as error:
        raise ConfigError(f"{who}: cannot read '{target}': {error.strerror}") from None
    if HubId.parse(target):
        return target
    known = f"; among the steps of this recipe, {nearest(target, steps)}" if steps else "; check the path"
    raise ConfigError(f"{who}: '{target}' is no file, no folder and no hub id of the form owner/name{known}")


def _check_names(steps: Mapping[str, Any], where: str) -> None:
    for name, settings in steps.items():
        if settings is not None and not isinstance(settings, dict):
            raise ConfigError(
                f"{where}: '{name}' is {settings!r}; a step is a mapping of its settings, and may be {{}}"
            )
        kind = (settings or {}).get("do", name)
        if kind not in KINDS and name != ROUNDS:
            known = [*KINDS, *_Head.model_fields, "arms", ROUNDS] if kind == name else list(KINDS)
            raise ConfigError(f"{where}: '{kind}' is no step; {nearest(str(kind), known)}")


def _check_arm(steps: Mapping[str, Any], over: Any, where: str) -> dict[str, StepConfig]:
    if not isinstance(over, dict):
        raise ConfigError(f"{where} is {over!r}; it must be a mapping of steps to settings, and may be {{}}")
    unknown = next((name for name in over if name not in steps), None)
    if unknown is not None:
        raise ConfigError(f"{where}: '{unknown}' is no step of this recipe; {nearest(unknown, steps)}")
    laid = unrolled(merge(steps, over), where)
    checked = {}
    for name, settings in laid.items():
        if settings is None:
            continue
        kind = settings.get("do", name)
        values = {key: value for key, value in settings.items() if key != "do"}
        checked[name] = KINDS[kind].parse({"do": kind, **values}, where=f"{where}: step '{name}'")
    return checked


def _in_order(steps: Mapping[str, StepConfig], arm: str) -> Iterator[str]:
    """Names of steps, each after the steps that it refers to."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            raise ConfigError(f"arm '{arm}': steps refer to each other in a circle: {' → '.join([*path, name])}")
        if name in done:
            return
        for target in refs_of(steps[name]).values():
            if target in steps:
                yield from visit(target, (*path, name))
        done.add(name)
        yield name

    for name in steps:
        yield from visit(name, ())


def _resolve(
    name: str,
    steps: Mapping[str, StepConfig],
    done: Mapping[str, str],
    seed: int,
    threads: int,
    hashes: dict[str, str],
) -> PlannedStep:
    config = steps[name]
    refs = refs_of(config)
    needs = {key: done[target] for key, target in refs.items() if target in steps}
    given = {key: target for key, target in refs.items() if target not in steps}
    for key, target in given.items():
        if target not in hashes:
            hashes[target] = given_hash(f"step '{name}', '{key}'", target, steps)
    chance = config.pinned_seed(seed)
    inputs = needs | {key: hashes[target] for key, target in given.items()}
    settings = {key: value for key, value in config.resolved().items() if key not in refs}
    decides = {
        "notus": __version__,
        "step": name,
        "settings": settings,
        "seed": chance,
        "inputs": inputs,
        "threads": threads if config.computes else None,
    }
    return PlannedStep(name, config, chance, needs, given, digest_of(decides)[:10], inputs)

"""Recipes: the steps of one experiment, the arms to be compared, the seeds that repeat it.

    name: demo
    seeds: [0, 1, 2]
    data:     {step: toy, world: {prompts: 1500}} # a step: its name, its type, its settings
    binarize: {strategy: critique}               # `step` may be left out where the name says it
    dpo:      {start: sft, pairs: binarize}      # a setting of type Ref names another step, a path or a hub id
    arms:
      faulty: {}                                 # an arm lays settings over the steps; null removes a step
      repaired: {binarize: {strategy: repaired-critique}}

Owns reading a recipe and resolving it into a plan. A plan's steps are known by the digest of all that decides their
result, so arms share what they have in common. What the steps do is in ``steps.registry``, the work in
``recipes.execute``.

Rounds: sample → rank → binarize → DPO → measure, again and again, written once under ``rounds`` in a recipe.

    rounds:
      count: 3
      start: sft                       # a step, a path or a hub id
      prompts: data                    # its prompts are divided into disjoint parts, one for each round
      reference: previous              # or: initial
      sample: {sampling: {samples: 5}}
      rank: {ranker: "pairrm:llm-blender/PairRM"}
      binarize: {preset: snorkel}
      dpo: {learning_rate: 5e-7}
      measure: {data: data, check: null}

Owns that setting, and how it becomes ordinary steps of the recipe: ``sample-1``, ``rank-1``, ``binarize-1``, ``dpo-1``,
``answers-1``, ``round-1`` and so on, with ``answers-0`` for the start. They are digested, shared, seeded, resumed and
reported like all others, and other steps may name them. In the settings of these steps ``{policy}`` stands for the
model that a round begins with, and ``{start}`` for the first one: a model that ranks its own answers (Yuan et al. 2024,
https://arxiv.org/abs/2401.10020) is a ranker that names ``{policy}``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic

from notus.core.artifacts import SCORES
from notus.core.config import (
    Config,
    load_yaml,
    merge,
    parse_override,
    set_path,
)
from notus.core.errors import ConfigError, nearest
from notus.core.text import one_line
from notus.rankers.ref import RankerRef, RankerText
from notus.steps.base import Seed, Step, references_of, refs_of, with_forgotten
from notus.steps.perform import Given, PlannedStep, code_of, digest_of_step, read_given
from notus.steps.registry import STEPS, step_class

__all__ = [
    "BUILT_IN",
    "ROUNDS",
    "Curve",
    "Plan",
    "Recipe",
    "Rounds",
    "find_recipe",
    "load_recipe",
    "make_plan",
    "unrolled",
]

ROUNDS = "rounds"
"""The key in a recipe."""
_TYPE_KEYS = ("step", "do")
"""What names the type of a step; ``do`` is read for the recipes that have it."""
Settings = dict[str, Any]
Name = Annotated[str, pydantic.Field(min_length=1)]


class _Measuring(Config):
    """How each round is measured: on which prompts, how many answers, and by whom beside the ranker."""

    data: Name = "data"
    """Where the prompts are from, which no round should train on."""
    prompts: Literal["records", "held-out"] = "held-out"
    answers: Settings = pydantic.Field(default_factory=dict)
    """Settings of the step that answers them, ``sample``; those of the rounds are laid under."""
    check: RankerText | None = None
    """An independent check, written like a ranker; null leaves the ranker alone to judge, and the report says so."""
    kl: bool = True
    """Whether the divergence from the start is computed, by the log-probabilities of a round's own answers."""


class Curve(Config):
    """Arms as points of lines."""

    x_label: str
    """What a dose is, with its unit."""
    lines: dict[str, dict[str, float]] = pydantic.Field(min_length=1)
    """Name of each line → its arms, each with its dose. Doses are shares, from 0 to 1."""

    @property
    def arms(self) -> set[str]:
        """All arms that are named."""
        return {arm for line in self.lines.values() for arm in line}


class Rounds(Config):
    """What stands under ``rounds``."""

    count: int = pydantic.Field(default=3, ge=1, le=100)
    start: Name = "sft"
    """The model of round 0: a step, a path or a hub id."""
    prompts: Name = "data"
    """Where the prompts of all rounds are from."""
    splits: tuple[Name, ...] = ()
    """Names of files of the source, one for each round, as published sets have them; empty divides it by a hash."""
    parts: int | None = pydantic.Field(default=None, ge=1)
    """Into how many disjoint parts the prompts are divided; null takes as many as there are rounds."""
    reference: Literal["initial", "previous"] = "previous"
    """The reference of each round's DPO: the first model, or the one that the round begins with."""
    sample: Settings = pydantic.Field(default_factory=dict)
    rank: Settings
    binarize: Settings = pydantic.Field(default_factory=lambda: {"preset": "snorkel"})
    dpo: Settings = pydantic.Field(default_factory=dict)
    measure: _Measuring | None = _Measuring()
    """Null measures nothing."""

    @pydantic.model_validator(mode="after")
    def _enough_prompts(self) -> Self:
        if self.splits and (len(self.splits) < self.count or self.parts is not None):
            raise ValueError(f"'splits' names one file for each of the {self.count} rounds, and excludes 'parts'")
        if self.parts is not None and self.parts < self.count:
            raise ValueError(f"{self.count} rounds need as many disjoint parts of the prompts; 'parts' is {self.parts}")
        if self.measure is not None and "ranker" not in self.rank:
            raise ValueError("'rank' names no ranker; set rank.ranker, for example to length")
        if isinstance(given := self.rank.get("ranker"), str | Mapping):
            try:  # said here, where it was written, and not by a step that the rounds make
                RankerRef.read(given, self.rank.get("model"), self.rank.get("reference"))
            except ConfigError as error:
                raise ValueError(f"rank.ranker: {error}") from None
        return self


def unrolled(steps: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The steps of a recipe with ``rounds`` written out; without it they are returned as they are.

    Raises:
        ConfigError: if a setting of ``rounds`` is wrong, or a step has the name of one that it makes.
    """
    others = {name: settings for name, settings in steps.items() if name != ROUNDS}
    if steps.get(ROUNDS) is None:
        return others
    rounds = Rounds.parse(steps[ROUNDS], where=f"{where}: '{ROUNDS}'")
    made: dict[str, Any] = {}
    if rounds.measure is not None:
        made["answers-0"] = _answers(rounds, rounds.measure, rounds.start)
    for number in range(1, rounds.count + 1):
        made |= _round(rounds, number)
    if taken := next((name for name in made if name in others), None):
        raise ConfigError(f"{where}: '{taken}' is a step that '{ROUNDS}' makes; give yours another name")
    return others | made


def _round(rounds: Rounds, number: int) -> dict[str, Any]:
    policy = _policy(rounds, number - 1)
    part: Settings = {"part": number, "parts": rounds.parts or rounds.count}
    if rounds.splits:
        part = {"split": rounds.splits[number - 1]}
    reference = rounds.start if rounds.reference == "initial" and number > 1 else None
    made = {
        f"sample-{number}": {"step": "sample", "data": rounds.prompts, "model": policy} | part | rounds.sample,
        f"rank-{number}": {"step": "rank", "outputs": f"sample-{number}"} | rounds.rank,
        f"binarize-{number}": {"step": "binarize", "data": f"rank-{number}"} | rounds.binarize,
        f"dpo-{number}": {"step": "dpo", "start": policy, "reference": reference, "pairs": f"binarize-{number}"}
        | rounds.dpo,
    }
    if rounds.measure is not None:
        made[f"answers-{number}"] = _answers(rounds, rounds.measure, _policy(rounds, number))
        made[f"round-{number}"] = _measuring_step(rounds, rounds.measure, number)
    filled: dict[str, Any] = _fill_names(made, {"{policy}": policy, "{start}": rounds.start})
    return filled


def _measuring_step(rounds: Rounds, measure: _Measuring, number: int) -> Settings:
    last = number - 1
    before = {"before": f"round-{last}", "before_outputs": f"answers-{last}"} if last else {}
    kl = {"policy": _policy(rounds, number), "start": rounds.start} if measure.kl else {}
    limits = {"limits": rounds.sample["limits"]} if measure.kl and "limits" in rounds.sample else {}
    drawn = {"outputs": f"answers-{number}", "start_outputs": "answers-0"}
    return {"step": "round", "number": number, "check": measure.check} | rounds.rank | drawn | before | kl | limits


def _answers(rounds: Rounds, measure: _Measuring, model: str) -> Settings:
    asked = {"step": "sample", "data": measure.data, "prompts": measure.prompts, "model": model}
    # Cut answers count when a model is measured, whatever becomes of them in training.
    return merge(rounds.sample | {"drop_truncated": False}, measure.answers) | asked


def _policy(rounds: Rounds, number: int) -> str:
    """The model after so many rounds."""
    return f"dpo-{number}" if number else rounds.start


def _fill_names(value: Any, names: Mapping[str, str]) -> Any:
    """Put names in the place of ``{policy}`` and ``{start}``, in all texts of a setting."""
    if isinstance(value, dict):
        return {key: _fill_names(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_fill_names(item, names) for item in value]
    if isinstance(value, str):
        for mark, name in names.items():
            value = value.replace(mark, name)
    return value


_LONGEST_NAME = 100
_STEP_NAME = re.compile(r"\w([\w .+-]*[\w+])?")
"""It begins the name of the step's run directory."""
_ARM_NAME = re.compile(r"(?![/\\.~])(?!.*\.\.).+")
BUILT_IN = Path(__file__).parent / "builtin"
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
    require: tuple[str, ...] = ()
    """What the arms must show, a line each: ``dpo - sft > 0``. The run ends with exit code 1 where one is not held."""
    threads: int = pydantic.Field(default=1, ge=1)
    """Threads of each process. It is part of a result's bits."""
    workers: int | None = pydantic.Field(default=None, ge=1)
    """Processes that work at the same time; null takes as many as the CPUs hold. It changes no result."""

    @pydantic.field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands twice; a repeated seed is no replicate")
        return seeds


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. ``arms`` maps each arm to its steps, with the arm's settings laid over."""

    head: _Head
    arms: dict[str, dict[str, Step]]
    raw: dict[str, Any]
    """The recipe as it was read, overrides included."""


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


def load_recipe(path: Path, overrides: Sequence[str] = (), settings: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe and check all of it, each arm included.

    Args:
        path: a YAML file.
        overrides: settings of the form ``dpo.loss.beta=0.1``, laid over the file and under the arms.
        settings: the same as dotted key → value.

    Raises:
        ConfigError: with one line that names the key, its value, the rule and the nearest right name.
    """
    where = path.name
    raw = load_yaml(path)
    for key, value in [*map(parse_override, overrides), *(settings or {}).items()]:
        raw = _set(raw, key, value, where)
    head_keys = set(_Head.model_fields)
    arms = raw.get("arms", {path.stem: {}})
    if not isinstance(arms, dict) or not arms:
        raise ConfigError(f"{where}: 'arms' is {arms!r}; it must map the name of each arm to its settings")
    steps = {key: value for key, value in raw.items() if key not in head_keys | {"arms"}}
    head = _Head.parse({key: value for key, value in raw.items() if key in head_keys}, where=where)
    if not steps:
        raise ConfigError(f"{where}: there is no step; known steps: {', '.join(sorted(STEPS.known()))}")
    _check_names(steps, where)
    checked = {}
    for arm, over in arms.items():
        if "arms" in raw:
            _check_label("an arm", arm, where, _ARM_NAME, "it begins with no / \\ . or ~, and has no .. in it")
        label = f"{where}: arm '{arm}'" if "arms" in raw else where
        checked[arm] = _check_arm(steps, {} if over is None else over, label)
    named = [("baseline", head.baseline), *(("question", arm) for arm in head.question or ())]
    named += [("curve", arm) for arm in (head.curve.arms if head.curve else ())]
    for key, arm in named:
        if arm is not None and arm not in checked:
            raise ConfigError(f"{where}: {key} '{arm}' is no arm; {nearest(arm, checked)}")
    _check_requirements(head.require, checked, where)
    return Recipe(head, checked, raw)


def make_plan(recipe: Recipe, out: Path | None = None) -> Plan:
    """Resolve a recipe into the steps that must be done, each once.

    Args:
        recipe: checked.
        out: directory of the experiment: what is withdrawn in the folder that it lies in is dropped by the steps that
            read. None takes the default, ``runs``.

    Raises:
        ConfigError: if steps refer to each other in a circle, or to a file that is not there.
    """
    plan = Plan(recipe)
    folder = (out or Path("runs") / recipe.head.name) / "steps" / "step"
    read: dict[tuple[str, bool], Given] = {}
    for arm, steps in recipe.arms.items():
        for seed in recipe.head.seeds:
            done: dict[str, str] = {}
            for name in _in_order(steps, arm):
                step = _resolve(name, steps, done, seed, recipe.head.threads, read, folder)
                plan.steps.setdefault(step.digest, step)
                done[name] = step.digest
            plan.arms[arm, seed] = done
    return plan


def _check_requirements(lines: Sequence[str], arms: Mapping[str, Mapping[str, Step]], where: str) -> None:
    """Refuse a requirement that names no arm, or no step that leaves scores.

    Raises:
        ConfigError: if a line is wrong.
    """
    if not lines:
        return
    from notus.evaluate.gate.requirement import parse_requirement

    evaluations: dict[str, list[str]] = {}
    for arm, steps in arms.items():
        for name, step in steps.items():
            if SCORES in step.leaves:
                evaluations.setdefault(name, []).append(arm)
    for line in lines:
        try:
            parse_requirement(line, evaluations)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None


def _check_label(what: str, name: str, where: str, rule: re.Pattern[str], said: str) -> None:
    if not rule.fullmatch(name) or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"{where}: {what} is named {one_line(repr(name), 60)}; a name is no path: {said}, at most {_LONGEST_NAME} "
            "characters"
        )


def _check_names(steps: Mapping[str, Any], where: str) -> None:
    for name, settings in steps.items():
        _check_label("a step", name, where, _STEP_NAME, "letters, digits, spaces and . _ - + within")
        _check_mapping(name, settings, where)
        kind = _type_of(name, settings or {}, where)
        if not STEPS.knows(kind) and name != ROUNDS:
            known = [*STEPS.known(), *_Head.model_fields, "arms", ROUNDS] if kind == name else STEPS.known()
            raise ConfigError(f"{where}: '{kind}' is no step; {nearest(kind, known)}")


def _check_mapping(name: str, settings: Any, where: str) -> None:
    if settings is not None and not isinstance(settings, dict):
        raise ConfigError(f"{where}: '{name}' is {settings!r}; a step is a mapping of its settings, and may be {{}}")


def _check_arm(steps: Mapping[str, Any], over: Any, where: str) -> dict[str, Step]:
    if not isinstance(over, dict):
        raise ConfigError(f"{where} is {over!r}; it must be a mapping of steps to settings, and may be {{}}")
    unknown = next((name for name in over if name not in steps), None)
    if unknown is not None:
        raise ConfigError(f"{where}: '{unknown}' is no step of this recipe; {nearest(unknown, steps)}")
    laid = unrolled({**steps, **{name: _lay(name, steps[name], over[name], where) for name in over}}, where)
    checked = {}
    for name, settings in laid.items():
        if settings is None:
            continue
        _check_mapping(name, settings, where)
        kind = _type_of(name, settings, where)
        values = {key: value for key, value in settings.items() if key not in _TYPE_KEYS}
        checked[name] = step_class(kind).parse(values, where=f"{where}: step '{name}'")
    _check_references(checked, where)
    return checked


def _set(raw: Mapping[str, Any], key: str, value: object, where: str) -> dict[str, Any]:
    """A recipe in which a dotted key has a value, whatever name of its setting a step has already."""
    step, _, below = key.partition(".")
    if not below or step == "arms" or not isinstance(raw.get(step), dict):
        return set_path(raw, key, value)
    return {**raw, step: _lay(step, raw[step], set_path({}, below, value), where)}


def _lay(name: str, below: Any, over: Any, where: str) -> Any:
    """The settings of a step laid over others of it, each under any of their names."""
    both = isinstance(below, dict) and isinstance(over, dict)
    kind = over.get("step", below.get("step", below.get("do", name))) if both else name
    if not both or not STEPS.knows(str(kind)):
        return merge({name: below}, {name: over})[name]
    try:
        return step_class(kind).lay(below, over)
    except ValueError as error:
        raise ConfigError(f"{where}: step '{name}': {error}") from None


def _type_of(name: str, settings: Mapping[str, Any], where: str) -> str:
    """The step type that a recipe's step names, or its own name.

    Raises:
        ConfigError: if it is no text, or named twice.
    """
    given = [settings[key] for key in _TYPE_KEYS if key in settings]
    if len(given) > 1:
        raise ConfigError(f"{where}: step '{name}' has both 'step' and 'do'; they are the same, leave 'do' out")
    kind = given[0] if given else name
    if not isinstance(kind, str):
        raise ConfigError(f"{where}: step '{name}': 'step' is {kind!r}; it must name a step type, such as binarize")
    return kind


def _check_references(steps: Mapping[str, Step], where: str) -> None:
    """Refuse a setting that names a step which leaves nothing that is read of it."""
    for name, config in steps.items():
        for key, (target, reference) in references_of(config).items():
            left = steps[target].leaves if target in steps else ()
            if reference.reads and left and not set(reference.reads) & set(left):
                wanted = ", ".join(dict.fromkeys(artifact.name for artifact in reference.reads))
                raise ConfigError(
                    f"{where}: step '{name}': '{key}' is '{target}', which leaves "
                    f"{', '.join(artifact.name for artifact in left)}; it reads one of: {wanted}"
                )


def _in_order(steps: Mapping[str, Step], arm: str) -> Iterator[str]:
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
    steps: Mapping[str, Step],
    done: Mapping[str, str],
    seed: int,
    threads: int,
    read: dict[tuple[str, bool], Given],
    folder: Path,
) -> PlannedStep:
    config = with_forgotten(steps[name], folder)
    refs = references_of(config)
    needs = {key: done[target] for key, (target, _) in refs.items() if target in steps}
    given = {key: target for key, (target, _) in refs.items() if target not in steps}
    found: dict[str, Given] = {}
    for key, target in given.items():
        reference = refs[key][1]
        once = (target, reference.rulings)  # a file is hashed otherwise where it is read as decisions
        if once not in read:
            read[once] = read_given(f"step '{name}', '{key}'", target, steps, reference)
        found[key] = read[once]
    chance = config.pinned_seed(seed)
    inputs = needs | {key: each.hash for key, each in found.items()} | code_of(config)
    stamps = {key: each.stamps for key, each in found.items()}
    digest = digest_of_step(name, config, chance, inputs, threads=threads if config.computes else None)
    return PlannedStep(name, config, chance, needs, given, digest, inputs, stamps)

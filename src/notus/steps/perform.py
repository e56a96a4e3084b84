"""Doing a step: what is to be done, in which run directory, once.

Owns the planned step, its digest, and the way from settings to a finished run directory. Which steps there are to do is
decided by a recipe (``recipes.recipe``) or by a single command. No torch.
"""

import inspect
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from notus import __version__
from notus.core.artifacts import MODEL, QUARANTINE
from notus.core.config import digest_of
from notus.core.errors import ConfigError, LossError, nearest, require
from notus.core.plugins import source_file
from notus.core.run import Run, hash_file, hash_folder, locked, read_manifest
from notus.core.text import HubId
from notus.formats.lookup import format_digest
from notus.steps.base import Context, Step, refs_of, settings_of
from notus.train.run.trackers import check_trackers, start_trackers

__all__ = ["PlannedStep", "code_of", "do_step", "hash_given", "run_step"]


@dataclass(frozen=True)
class PlannedStep:
    """One piece of work: a step of an arm under a seed, or of all arms that share it."""

    name: str
    config: Step
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


def do_step(step: PlannedStep, path: Path, inputs: Mapping[str, str]) -> Run:
    """Do a step in its run directory, unless it is done there already.

    Args:
        step: what to do.
        path: the run directory.
        inputs: setting → run directory of the step that it refers to, or path or hub id.
    """
    config = step.config
    settings = settings_of(config) | {"seed": step.seed}
    with locked(path):
        run = Run(path, stage=config.step_type, config=settings, inputs=step.inputs, sources=dict(inputs))
        run.allow_losses = getattr(config, "allow_losses", False)
        if not run.finished:
            if config.computes:
                adapter = ("peft",) if getattr(config, "lora", None) else ()
                for library in ("torch", "transformers", "accelerate", *adapter):
                    require(library, extra="train")
                check_trackers(getattr(config, "report_to", ()))
            with run:
                start_trackers(run, getattr(config, "report_to", ()))
                _run(run, config, Context(run, config, inputs, step.seed))
                run.artifacts = {artifact.name: artifact.file for artifact in config.leaves if artifact.is_in(path)}
        elif not run.allow_losses and (losses := read_manifest(path)["summary"].get("losses")):
            raise LossError(f"{path} was made with --allow-losses: {losses} give it again, or another --out")
    return run


def _run(run: Run, config: Step, context: Context) -> None:
    """Do the work. What is made of less than half of the rows is no result: only what was put aside stays."""
    try:
        config.run(context)
        run.check_losses()
    except LossError:
        for artifact in config.leaves:
            place = artifact.at(run.path)
            if artifact is not QUARANTINE and artifact is not MODEL and place.exists():
                shutil.rmtree(place) if place.is_dir() else place.unlink()
        raise


def run_step(name: str, config: Step, out: Path | None, seed: int | None = None) -> Run:
    """Do a single step whose settings name files, in a run directory of its own.

    Args:
        name: of the step; the default directory is ``runs/<name>-<digest>``.
        config: its settings.
        out: the run directory; None takes the default.
        seed: where the step draws and names none itself.
    """
    given = refs_of(config)
    inputs = {key: hash_given(f"notus {name}", target) for key, target in given.items()} | code_of(config)
    seed = config.pinned_seed(seed or 0)
    settings = settings_of(config)
    digest = digest_of({"notus": __version__, "settings": settings, "seed": seed, "inputs": inputs})[:10]
    step = PlannedStep(name, config, seed, {}, given, digest, inputs)
    return do_step(step, out or Path("runs") / step.folder, given)


def hash_given(who: str, target: str, steps: Iterable[str] = ()) -> str:
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
            return hash_folder(path)
    except OSError as error:
        raise ConfigError(f"{who}: cannot read '{target}': {error.strerror}") from None
    if HubId.parse(target):
        return target
    known = f"; among the steps of this recipe, {nearest(target, steps)}" if steps else "; check the path"
    raise ConfigError(f"{who}: '{target}' is no file, no folder and no hub id of the form owner/name{known}")


def code_of(config: Step) -> dict[str, str]:
    """The hashes of the user's code that a step depends on: a changed file is another step. Usually nothing."""
    found: dict[str, str] = {}
    layout = getattr(config, "layout", None)
    if isinstance(layout, str) and (digest := format_digest(layout)):
        found["format"] = digest
    by = getattr(config, "by", None)
    if isinstance(by, str) and (file := source_file(by, "notus.evaluations")):
        found["measure"] = hash_file(file)
    loss = getattr(config, "loss", ())
    for number, each in enumerate(loss if isinstance(loss, tuple) else (loss,)):
        named = getattr(getattr(each, "loss", each), "name", "")
        if file := source_file(named, "notus.losses"):
            found[f"loss.{number}"] = hash_file(file)
    module = type(config).__module__
    if not module.startswith("notus."):
        source = inspect.getsourcefile(type(config))
        found["code"] = hash_file(Path(source)) if source else module
    return found

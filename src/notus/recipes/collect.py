"""A recipe that collects, with the asking in the foreground: so that Ctrl-C lets what is under way come home.

What the asking needs is done before it as ``notus run`` does it, and what is left of the recipe after it. A run that
was broken off goes on with the same command; so does ``notus run`` with the same recipe and directory.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from notus.core.artifacts import QUEUE
from notus.core.errors import ConfigError, InputError
from notus.core.run import Run, locked
from notus.recipes.execute import Observer, execute
from notus.recipes.experiment import check_folder, run_recipe
from notus.recipes.recipe import Recipe, make_plan
from notus.steps.collect.again import AskAgain
from notus.steps.collect.asking import LOCAL
from notus.steps.collect.batch import Batch, Batched, batch_step
from notus.steps.collect.feedback import Collect
from notus.steps.perform import PlannedStep, do_step

__all__ = ["batch_collection", "run_collection", "settings_again"]

_ASKING = ("endpoints", "toy_judge", "serve", "engine", "ledger", "max_cost")
"""Settings of a collection that say how its judge is asked."""


def run_collection(recipe: Recipe, out: Path, observer: Observer) -> list[Run]:
    """Run a recipe that asks models.

    Returns:
        The run directories of the steps that asked.

    Raises:
        ConfigError: if no step of the recipe asks anybody.
        InputError: if the directory holds something else.
    """
    runs = []
    for step, path, inputs in _asking_steps(recipe, out, observer):
        with locked(out), _watch_step(step, path, observer):
            runs.append(do_step(step, path, inputs))
    run_recipe(recipe, out, observer)
    return runs


def batch_collection(recipe: Recipe, out: Path, batch: Batch, observer: Observer) -> list[tuple[str, Batched]]:
    """Do a recipe up to its collections, enter results of batches in their ledgers, and write down what is still to be
    asked.

    Args:
        recipe: one with steps that collect feedback.
        out: its run directory.
        batch: what is done with batch files; of several collections each writes into a folder of its own.
        observer: of the steps before.

    Returns:
        For each collection its step, and what became of it.

    Raises:
        ConfigError: if no step asks anybody, or one that does cannot be asked by batch files.
        InputError: if the directory holds something else, or the folder for requests is not empty.
    """
    if (
        batch.folder is not None
        and batch.folder.exists()
        and (not batch.folder.is_dir() or any(batch.folder.iterdir()))
    ):
        raise InputError(f"{batch.folder} is there already, and no empty folder; name another for the batch files")
    found = []
    steps = list(_asking_steps(recipe, out, observer))
    for step, path, inputs in steps:
        own = batch.folder and (batch.folder / step.folder if len(steps) > 1 else batch.folder)
        if own is not None:
            own.mkdir(parents=True, exist_ok=True)
        with locked(out):
            found.append((step.name, batch_step(step, path, inputs, replace(batch, folder=own))))
    return found


def _asking_steps(recipe: Recipe, out: Path, observer: Observer) -> Iterator[tuple[PlannedStep, Path, dict[str, str]]]:
    """The steps that ask models, each with its run directory and what it reads, which is made before."""
    plan = make_plan(recipe, out)
    asking = [step for step in plan.steps.values() if step.config.collects]
    if not asking:
        raise ConfigError(f"the recipe '{recipe.head.name}' has no step that collects; give it to 'notus run'")
    check_folder(out)
    for step in asking:
        for name in dict.fromkeys(plan.steps[needed].name for needed in step.needs.values()):
            execute(plan, out, observer, until=name)
        folders = {key: str(out / "steps" / plan.steps[needed].folder) for key, needed in step.needs.items()}
        yield step, out / "steps" / step.folder, folders | step.given


def settings_again(recipe: Recipe, queue: str) -> AskAgain:
    """The step ``ask-again`` for a queue: the judge of a recipe, asked as its collection asks it.

    Args:
        recipe: one with a single step that collects feedback.
        queue: the run directory of a repair, or the queue in it.

    Raises:
        ConfigError: if no step collects feedback, several do, the one that does has no judge, or its judge is a model
            that another step would have to make.
    """
    found = {name: step for steps in recipe.arms.values() for name, step in steps.items() if isinstance(step, Collect)}
    if len(found) != 1:
        told = f"the steps {', '.join(sorted(found))} collect" if found else "no step collects"
        raise ConfigError(f"in the recipe '{recipe.head.name}' {told} feedback, and one is asked again; name another")
    ((name, step),) = found.items()
    if step.judge is None:
        raise ConfigError(f"the step '{name}' of the recipe '{recipe.head.name}' has no judge; give it one")
    place = Path(queue)
    asking = {key: getattr(step, key) for key in _ASKING}
    if step.judge.endpoint != LOCAL and (step.endpoints or step.toy_judge):
        asking["serve"] = None  # it answered; the judge is another, and needs no server of it
    elif step.serve in {each for steps in recipe.arms.values() for each in steps}:
        raise ConfigError(
            f"the judge of the recipe '{recipe.head.name}' is the model that its step '{step.serve}' makes, and no "
            f"step is done here; name the folder of that run: --set {name}.serve=FOLDER"
        )
    return AskAgain(data=str(place.parent if place.name == QUEUE.file else place), judge=step.judge, **asking)


@contextmanager
def _watch_step(step: PlannedStep, path: Path, observer: Observer) -> Iterator[None]:
    """Let the observer look at a step that runs in this process."""
    over, started = threading.Event(), time.perf_counter()

    def look() -> None:
        while not over.wait(0.3):
            observer.waiting()

    thread = threading.Thread(target=look, name="notus-observer", daemon=True)
    observer.begun(step, path)
    thread.start()
    try:
        yield
        observer.ended(step, time.perf_counter() - started, reused=False)
    finally:
        over.set()
        thread.join()

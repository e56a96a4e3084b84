"""A recipe that collects, with the asking in the foreground: so that Ctrl-C lets what is under way come home.

What the asking needs is done before it as ``notus run`` does it, and what is left of the recipe after it. A run that
was broken off goes on with the same command; so does ``notus run`` with the same recipe and directory.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from notus.core.errors import ConfigError
from notus.core.run import Run, locked
from notus.recipes.execute import Observer, execute
from notus.recipes.experiment import check_folder, run_recipe
from notus.recipes.recipe import Recipe, make_plan
from notus.steps.perform import PlannedStep, do_step

__all__ = ["run_collection"]


def run_collection(recipe: Recipe, out: Path, observer: Observer) -> list[Run]:
    """Run a recipe that asks models.

    Returns:
        The run directories of the steps that asked.

    Raises:
        ConfigError: if no step of the recipe asks anybody.
        InputError: if the directory holds something else.
    """
    plan = make_plan(recipe)
    asking = [step for step in plan.steps.values() if step.config.collects]
    if not asking:
        raise ConfigError(f"the recipe '{recipe.head.name}' has no step that collects; give it to 'notus run'")
    check_folder(out)
    runs = []
    for step in asking:
        for name in dict.fromkeys(plan.steps[needed].name for needed in step.needs.values()):
            execute(plan, out, observer, until=name)
        folders = {key: str(out / "steps" / plan.steps[needed].folder) for key, needed in step.needs.items()}
        path = out / "steps" / step.folder
        with locked(out), _watch_step(step, path, observer):
            runs.append(do_step(step, path, folders | step.given))
    run_recipe(recipe, out, observer)
    return runs


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

"""Doing the work of a plan: steps that are ready run side by side, each in its own process and run directory.

A finished step is never done again: its directory is named by the digest of all that decides its result. A killed run
goes on with the same command. Owns the order and the processes; what a step does is in ``steps.registry``.
"""

import importlib.util
import multiprocessing
import os
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from notus.core.errors import RunError
from notus.core.parallel import end_with
from notus.core.run import MANIFEST, check_run, locked, read_manifest
from notus.recipes.recipe import Plan
from notus.steps.perform import PlannedStep

__all__ = ["Observer", "Silent", "StepError", "execute", "steps_until"]


class Observer(Protocol):
    """Who wants to know how the work goes on."""

    def planned(self, steps: int) -> None:
        """There are so many steps in all, those that are done included."""

    def begun(self, step: PlannedStep, path: Path) -> None:
        """A step has been given to a process."""

    def ended(self, step: PlannedStep, seconds: float, *, reused: bool) -> None:
        """A step is done; ``reused`` when it had been done before."""

    def waiting(self) -> None:
        """Called a few times a second while steps are at work."""

    def saving(self) -> None:
        """The work was stopped, and steps that train are finishing and saving the update under way."""


class StepError(RunError):
    """A step stopped with an error of its own; ``exit_code`` is that of the error."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type["StepError"], tuple[str, int]]:
        """Keep the exit code on the way from a worker process."""
        return type(self), (str(self), self.exit_code)


@dataclass(frozen=True)
class _Order:
    """What a worker process is told: plain values, so that it need not know the plan."""

    step: PlannedStep
    path: Path
    inputs: Mapping[str, str]


class Silent:
    """An observer that says nothing."""

    def planned(self, steps: int) -> None:
        """There are so many steps in all."""

    def begun(self, step: PlannedStep, path: Path) -> None:
        """A step is given to a process."""

    def ended(self, step: PlannedStep, seconds: float, *, reused: bool) -> None:
        """A step is done."""

    def waiting(self) -> None:
        """Steps are at work."""

    def saving(self) -> None:
        """Steps are being saved."""


def execute(
    plan: Plan, out: Path, observer: Observer, *, until: str | None = None, inline: bool = False, verify: bool = False
) -> dict[str, Path]:
    """Do all steps of a plan that are not done yet.

    Args:
        out: directory of the experiment; steps lie in ``out/steps``.
        until: name of the last kind of step to do, with what it needs; None does all.
        inline: do one step after the other in this process, so that a script needs no guard for worker processes.
        verify: hash all files of the steps that were done before, and not only the small ones.

    Returns:
        Digest of each step → its run directory.

    Raises:
        StepError: if a step stopped; the others that were at work are finished first, and kept.
        InputError: if something that a step left which was done before is missing or damaged.
    """
    wanted = steps_until(plan, until)
    paths = {digest: out / "steps" / step.folder for digest, step in wanted.items()}
    observer.planned(len(wanted))
    with locked(out):
        finished = {digest for digest in wanted if (paths[digest] / MANIFEST).is_file()}
        for digest in finished:
            check_run(paths[digest], whole=verify)
            observer.ended(wanted[digest], read_manifest(paths[digest])["duration_s"], reused=True)
        if inline:
            _work_inline(plan, wanted, paths, finished, observer)
        else:
            _work(plan, wanted, paths, finished, observer)
    return paths


def steps_until(plan: Plan, until: str | None) -> dict[str, PlannedStep]:
    """The steps of a plan, or those named ``until`` and what they need.

    Raises:
        RunError: if no step has this name.
    """
    if until is None:
        return plan.steps
    wanted: set[str] = set()
    pending = [digest for digest, step in plan.steps.items() if step.name == until]
    if not pending:
        names = sorted({step.name for step in plan.steps.values()})
        raise StepError(f"--until '{until}' is no step of this recipe; its steps: {', '.join(names)}", 2)
    while pending:
        digest = pending.pop()
        if digest not in wanted:
            wanted.add(digest)
            pending.extend(plan.steps[digest].needs.values())
    return {digest: step for digest, step in plan.steps.items() if digest in wanted}


def _work_inline(
    plan: Plan, wanted: Mapping[str, PlannedStep], paths: Mapping[str, Path], finished: set[str], observer: Observer
) -> None:
    for digest, step in wanted.items():  # each comes after what it needs
        if digest in finished:
            continue
        order, started = _order(step, paths), time.perf_counter()
        observer.begun(step, order.path)
        with _threads(plan.recipe.head.threads if step.config.computes else None):
            _do_order(order)
        observer.ended(step, time.perf_counter() - started, reused=False)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Compute with so many threads, on which the last bits depend."""
    if number is None or importlib.util.find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _work(
    plan: Plan, wanted: Mapping[str, PlannedStep], paths: Mapping[str, Path], finished: set[str], observer: Observer
) -> None:
    head = plan.recipe.head
    todo = [digest for digest in wanted if digest not in finished]
    if not todo:
        return
    workers = min(len(todo), head.workers or max(1, _cpus() // head.threads))
    pool = _pool(workers, head.threads)
    try:
        _drain(pool, workers, todo, wanted, paths, finished, observer)
    except KeyboardInterrupt:
        _end_workers(observer)
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown(wait=True)


def _end_workers(observer: Observer) -> None:
    """End the workers: those that train behind the update under way, which they save, all others at once.

    A second interruption ends the waiting; the workers end as soon as this process has.
    """
    workers, told = multiprocessing.active_children(), False
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join(timeout=0.5)
        if worker.is_alive() and not told:
            observer.saving()
            told = True
        worker.join()


def _drain(
    pool: ProcessPoolExecutor,
    workers: int,
    todo: list[str],
    wanted: Mapping[str, PlannedStep],
    paths: Mapping[str, Path],
    finished: set[str],
    observer: Observer,
) -> None:
    """Give out what is ready until nothing is left."""
    running: dict[Future[None], tuple[str, float]] = {}
    while todo or running:
        ready = [digest for digest in todo if finished.issuperset(wanted[digest].needs.values())]
        for digest in ready[: workers - len(running)]:
            todo.remove(digest)
            order = _order(wanted[digest], paths)
            running[pool.submit(_do_order, order)] = digest, time.perf_counter()
            observer.begun(order.step, order.path)
        done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
        observer.waiting()
        for future in done:
            digest, started = running.pop(future)
            _check(future, wanted[digest], paths[digest])
            finished.add(digest)
            observer.ended(wanted[digest], time.perf_counter() - started, reused=False)


def _cpus() -> int:
    """CPUs that this process may use, where the system tells, and otherwise those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _pool(workers: int, threads: int) -> ProcessPoolExecutor:
    # The libraries read the variable when they are imported, so the workers must be started with it.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    # A tokenizer's own threads would compete with the workers, and change nothing.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=end_with, initargs=(os.getpid(),))


def _order(step: PlannedStep, paths: Mapping[str, Path]) -> _Order:
    inputs = {key: str(paths[digest]) for key, digest in step.needs.items()} | step.given
    return _Order(step, paths[step.digest], inputs)


def _check(future: Future[None], step: PlannedStep, path: Path) -> None:
    try:
        future.result()
    except BrokenProcessPool:
        raise StepError(
            f"the process of step '{step.name}' was killed, perhaps for want of memory; "
            f"the same command goes on from there ({path}/log.txt)",
            1,
        ) from None


def _do_order(order: _Order) -> None:
    """In the worker process: do one step."""
    from notus.core.errors import InterruptedRunError, as_told
    from notus.steps.perform import do_step

    try:
        do_step(order.step, order.path, order.inputs)
    except InterruptedRunError as error:
        if multiprocessing.parent_process() is not None:
            os._exit(error.exit_code)  # who started this process has stopped, and asks for no result
        raise StepError(f"step '{order.step.name}': {error}", error.exit_code) from None
    except Exception as error:  # noqa: BLE001  the top of this process: what cannot be pickled would be lost
        if (told := as_told(error)) is not None:
            raise StepError(f"step '{order.step.name}': {told}", told.exit_code) from None
        with (order.path / "log.txt").open("a", encoding="utf-8") as log:
            log.write(traceback.format_exc())
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise StepError(f"step '{order.step.name}': unexpected {what}; details in {order.path}/log.txt", 1) from None

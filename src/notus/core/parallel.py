"""Shards: one function over many parts of the work, in processes, with ordered results and bounded memory.

Owns the processes, and what a signal does to this one. What a part is, and what becomes of results, is known by who
calls: ``formats.source`` for records.
"""

import gc
import importlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

from notus.core import errors
from notus.core.errors import NotusError, RunError

__all__ = ["end_with", "kept_workers", "map_shards", "start_workers", "terminable", "usable_cores"]

A = TypeVar("A")
R = TypeVar("R")

_AHEAD = 2
"""Shards that are given out for each worker: one is worked on, one waits."""


def usable_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def terminable() -> Iterator[None]:
    """Let a SIGTERM, with which clusters end a job, do what Ctrl-C does, so that what is open is closed."""
    if threading.current_thread() is not threading.main_thread():  # only there signals are handled
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with(parent: int) -> None:
    """Let this worker process end with its parent, whatever ended it: nothing goes on behind the back of the next run.

    Ctrl-C, which reaches the whole group of processes, is left to the parent, who says what there is to say.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


def map_shards(function: Callable[[A], R], shards: Sequence[A], workers: int | None = None) -> Iterator[R]:
    """The results of a function over shards, in the order of the shards.

    With one worker or one shard all is done in this process, and no other is started. Otherwise processes are spawned,
    or those are taken that ``kept_workers`` keeps; function, shards and results must be picklable, and no more than
    twice as many results as workers are held. The processes end with this one, whatever ends it.

    Args:
        workers: number of processes; None takes the cores that this process may use.

    Raises:
        NotusError: what the function raised, of the first shard in order that failed.
        RunError: if a process was killed.
    """
    workers = min(workers or usable_cores(), len(shards))
    if workers <= 1:
        return map(function, shards)
    return _map_in_processes(function, shards, workers)


@dataclass(frozen=True)
class _Failure:
    """An error of ours on its way from a worker: its own class may need more than a message to be made again."""

    kind: str
    message: str

    def raised(self) -> NotusError:
        kind: type[NotusError] = getattr(errors, self.kind)
        return kind(self.message)


class _Workers:
    """Processes, started when they are first asked for."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._count = 0

    def pool(self, count: int) -> ProcessPoolExecutor:
        """So many of them, or those that there are, if they are more."""
        if self._pool is None or self._count < count:
            self.close()
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(count, context, initializer=_begin_worker, initargs=(os.getpid(),))
            self._count = count
        return self._pool

    def close(self, *, wait: bool = True) -> None:
        """End them; what is not begun is not done any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=True)
            self._pool = None


_KEPT: ContextVar[_Workers | None] = ContextVar("kept", default=None)


@contextmanager
def kept_workers() -> Iterator[None]:
    """Let all that is done in this block share its processes: to start them takes longer than some of the work."""
    workers = _Workers()
    token = _KEPT.set(workers)
    try:
        yield
    finally:
        _KEPT.reset(token)
        workers.close()


def start_workers(count: int, module: str) -> None:
    """Let the processes of this block be started, and import what they will need, while something else is done here.

    Args:
        count: number of processes. Of one, and outside of ``kept_workers``, there is none to be started.
        module: name of what is imported.
    """
    if (kept := _KEPT.get()) is not None and count > 1:
        pool = kept.pool(count)
        for _ in range(count):
            pool.submit(_import, module)


def _import(module: str) -> None:
    importlib.import_module(module)


def _map_in_processes(function: Callable[[A], R], shards: Sequence[A], workers: int) -> Iterator[R]:
    kept = _KEPT.get()
    processes = _Workers() if kept is None else kept
    pool = processes.pool(workers)
    waiting: deque[Future[R | _Failure]] = deque()
    done, wait = False, True
    try:
        for shard in shards:
            waiting.append(pool.submit(_call, function, shard))
            if len(waiting) >= workers * _AHEAD:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
        done = True
    except KeyboardInterrupt:
        wait = False  # the workers end as soon as this process has
        raise
    finally:
        if kept is None or not done:  # what was stopped leaves none that go on with its shards
            processes.close(wait=wait)


def _result(future: "Future[R | _Failure]") -> R:
    try:
        result = future.result()
    except BrokenProcessPool:
        raise RunError(
            "a worker process was killed, perhaps for want of memory; try again with fewer workers (--workers 1)"
        ) from None
    if isinstance(result, _Failure):
        raise result.raised()
    return result


def _call(function: Callable[[A], R], shard: A) -> R | _Failure:
    try:
        return function(shard)
    except (NotusError, OSError, MemoryError) as error:
        if (told := errors.as_told(error)) is None:
            raise
        kind = next(cls.__name__ for cls in type(told).__mro__ if cls.__module__ == errors.__name__)
        return _Failure(kind, str(told))


def _begin_worker(parent: int) -> None:
    from notus.core.columns import without_pandas  # Arrow is for those who work on records: the workers

    end_with(parent)
    without_pandas()
    gc.freeze()  # what was imported stays; a collection need not look at it again
    gc.set_threshold(50_000)  # records are many and hold no cycles: to look for some at every 700th is of no use

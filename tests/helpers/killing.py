"""Trainings in processes that end themselves by SIGKILL at a named point of a save, or are ended at any moment."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import torch

from notus.train.run import checkpoints, resumable
from notus.train.run.checkpoints import Checkpoints
from tests.helpers.going_on import train

POINTS = ("begin", "weights", "half-written", "sealed", "before-rename", "renamed", "removing")
_CONTEXT = multiprocessing.get_context("forkserver")


def start_training(*args, point: str | None = None, **changes):
    """A process that trains as ``train`` does, and ends itself at a point of its third save."""
    _CONTEXT.set_forkserver_preload(["tests.helpers.going_on"])
    process = _CONTEXT.Process(target=_train, args=(point, args, changes))
    process.start()
    return process


def kill_behind(process, seconds: float) -> int:
    """End a process at a moment, if it is still there, and tell how it ended."""
    time.sleep(seconds)
    process.kill()
    process.join()
    return process.exitcode


def _train(point, args, changes):
    torch.set_num_threads(1)
    if point is not None:
        _arm(point)
    train(*args, **changes)


def _arm(point):
    owner, name, when = {
        "begin": (Checkpoints, "write", "before"),
        "weights": (resumable, "save_file", "behind"),
        "half-written": (torch, "save", "half"),
        "sealed": (checkpoints, "_seal", "behind"),
        "before-rename": (Checkpoints, "_replace", "before"),
        "renamed": (Path, "rename", "behind"),
        "removing": (Checkpoints, "_discard", "half"),
    }[point]
    real, calls = getattr(owner, name), []
    third = 1 if point == "removing" else 3  # two are kept, so that the third save is the first to remove one

    def armed(*args, **kwargs):
        if name == "rename" and not str(args[0]).endswith(".part"):
            return real(*args, **kwargs)
        calls.append(args)
        if len(calls) < third:
            return real(*args, **kwargs)
        if when == "behind":
            real(*args, **kwargs)
        elif when == "half":
            _half(point, args)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    setattr(owner, name, armed)


def _half(point, args):
    if point == "half-written":
        args[1].write_bytes(b"PK" + bytes(500))
        return
    place = args[1]  # what is to go has its other name, and has lost one of its files
    gone = place.with_name(f".{place.name}.gone")
    place.rename(gone)
    (gone / "weights.safetensors").unlink()

"""Trackers: a run's numbers in TensorBoard, wandb, trackio, MLflow and others, by accelerate's classes.

Owns which there are, that a missing one is told before anything is loaded, and what goes to them: all that the run
writes into ``metrics.jsonl`` (as ``train/…`` and ``eval/…``, as transformers names them) and the whole config. One that
fails on the way is told and left; the training goes on. No torch where this is imported.
"""

import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from typing import Any

from notus.core.errors import ConfigError, MissingExtraError, nearest
from notus.core.run import Run

__all__ = ["TRACKERS", "check_trackers", "start_trackers"]

TRACKERS: Mapping[str, str] = {
    "aim": "pip install aim",
    "clearml": "pip install clearml",
    "comet_ml": "pip install comet_ml",
    "dvclive": "pip install dvclive",
    "mlflow": "pip install mlflow",
    "swanlab": "pip install swanlab",
    "tensorboard": "pip install 'notus[trackers]'",
    "trackio": "pip install 'notus[trackers]'",
    "wandb": "pip install 'notus[trackers]'",
}
"""Name of a tracker, which is its module's → what installs it."""
_PROJECT = "notus"
_OWN_ERRORS = {"wandb": "wandb.errors:Error", "mlflow": "mlflow.exceptions:MlflowException"}
_MEANINGS = {"wb": "wandb", "weights_and_biases": "wandb", "tb": "tensorboard", "comet": "comet_ml"}


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that there are not.

    Raises:
        ConfigError: if a name is none of a tracker.
        MissingExtraError: if one is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(f"report_to names '{name}', which is no tracker; {nearest(name, TRACKERS, _MEANINGS)}")
        if find_spec(name) is None:
            raise MissingExtraError(f"report_to names '{name}', which is not installed: {TRACKERS[name]}")


def start_trackers(run: Run, names: Sequence[str]) -> None:
    """Start the trackers, and tell them each line of the run's metrics until it ends.

    The files of TensorBoard and wandb lie in the run directory, in folders of their names; trackio and MLflow keep
    theirs where they always do. A run that goes on is told whole: a new one of the tracker's, with all numbers.

    Raises:
        ConfigError: if one cannot be started, for example because nobody is logged in.
        MissingExtraError: if one is not installed.
    """
    check_trackers(names)
    for name in names:
        _start(run, name)


def _start(run: Run, name: str) -> None:
    from accelerate.state import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # accelerate's trackers ask it which process this is
    errors = _errors_of(name)
    try:
        with redirect_stdout(sys.stderr):  # a command's own output is not a tracker's place
            tracker = LOGGER_TYPE_TO_CLASS[name](**_options(run, name))
            tracker.start()
            tracker.store_init_configuration(_flat({**run.config, "run_digest": run.digest}))
    except errors as error:
        offline = "; log in with it, or set WANDB_MODE=offline" if name == "wandb" else ""
        raise ConfigError(f"report_to: {name} cannot start: {_first_line(error)}{offline}") from None
    listener = _Listener(run, name, tracker, errors)
    run.closing.callback(listener.close)
    run.listen(listener)
    run.log(f"tracker {name}: started")


def _options(run: Run, name: str) -> dict[str, Any]:
    """What a tracker of accelerate's is made with."""
    label = run.path.resolve().name
    if name == "tensorboard":
        return {"run_name": name, "logging_dir": str(run.path)}
    if name == "wandb":
        project = os.environ.get("WANDB_PROJECT", _PROJECT)
        return {"run_name": project, "name": label, "group": run.stage, "dir": str(run.path)}
    if name == "trackio":
        return {"run_name": _PROJECT, "name": label, "embed": False}
    if name == "mlflow":
        return {"experiment_name": _PROJECT, "run_name": label}
    return {"run_name": label, **({"logging_dir": str(run.path)} if name == "aim" else {})}


class _Listener:
    """Hands each line of metrics to one tracker, until that fails."""

    def __init__(self, run: Run, name: str, tracker: Any, errors: tuple[type[BaseException], ...]) -> None:
        self._run, self._name, self._tracker, self._errors = run, name, tracker, errors

    def __call__(self, line: Mapping[str, Any]) -> None:
        values = {
            f"eval/{key.removeprefix('eval_')}" if key.startswith("eval_") else f"train/{key}": value
            for key, value in line.items()
            if isinstance(value, int | float) and key not in ("step", "steps")
        }
        self._attempt(lambda tracker: tracker.log(values, step=line.get("step")))

    def close(self) -> None:
        """End the tracker's run."""
        self._attempt(lambda tracker: tracker.finish())
        self._tracker = None

    def _attempt(self, action: Any) -> None:
        if self._tracker is None:
            return
        try:
            with redirect_stdout(sys.stderr):
                action(self._tracker)
        except self._errors as error:
            self._tracker = None
            self._run.log(f"tracker {self._name} failed and is left: {_first_line(error)}; see metrics.jsonl")
            self._run.note(trackers_left=[*self._run.summary.get("trackers_left", ()), self._name])


def _errors_of(name: str) -> tuple[type[BaseException], ...]:
    """What a tracker may fail with, on the network, the disk or by its own rules."""
    own: tuple[type[BaseException], ...] = ()
    if name in _OWN_ERRORS:
        module, _, attribute = _OWN_ERRORS[name].partition(":")
        own = (getattr(importlib.import_module(module), attribute),)
    return (OSError, RuntimeError, ValueError, *own)


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, str | int | float | bool]:
    """Settings below one another under one dotted name, lists as JSON: what every tracker takes."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{before}{key}.")
        elif isinstance(value, str | int | float | bool):
            found[f"{before}{key}"] = value
        else:
            found[f"{before}{key}"] = json.dumps(value, default=str)
    return found


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

"""What some commands do between what was typed and their step: read data first, choose between two steps.

Each function is given the command, the settings, the further options and the run directory, and returns the step type,
the settings, and the runs in which the data were read, if any. They are named in the table of ``cli.main``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from notus.core.artifacts import DIALOGUES, PREFERENCES, UNPAIRED
from notus.core.errors import ConfigError
from notus.core.run import Run
from notus.formats.mapping.targets import read_options
from notus.steps.perform import run_step
from notus.steps.registry import step_class

__all__ = ["judged_or_stored", "read_before_dpo", "read_before_sft", "task_or_file"]

Prepared = tuple[str, dict[str, Any], tuple[Run, ...]]


def read_before_sft(where: str, settings: dict[str, Any], also: Mapping[str, Any], out: Path | None) -> Prepared:
    """``notus train sft``: the data are read into a run directory of their own, unless they are one."""
    return _read_before("sft", "data", where, settings, also, out)


def read_before_dpo(where: str, settings: dict[str, Any], also: Mapping[str, Any], out: Path | None) -> Prepared:
    """``notus train dpo``: likewise."""
    return _read_before("dpo", "pairs", where, settings, also, out)


def judged_or_stored(where: str, settings: dict[str, Any], also: Mapping[str, Any], out: Path | None) -> Prepared:
    """``notus eval alpaca``: judgements are scored where some are given, and made where settings name a judge."""
    del where, also, out
    if "judge" in settings:
        return "alpaca-judge", settings, ()
    if "annotations" not in settings:
        raise ConfigError("nothing to score: give stored judgements (--annotations), or have them made (--settings)")
    return "alpaca", settings, ()


def task_or_file(where: str, settings: dict[str, Any], also: Mapping[str, Any], out: Path | None) -> Prepared:
    """``notus eval harness``: a task may be a name, or a task file; a suite is a step of its own.

    Raises:
        ConfigError: if a suite is asked for, and a setting that it does not have.
    """
    del where, out
    task = settings.get("task")
    if (suite := also.get("suite")) is not None:
        step_settings = step_class("harness-suite").model_fields
        if idle := next((key for key in settings if key not in step_settings), None):
            raise ConfigError(f"'--{idle}' is set, and a suite has its own; leave it out, or name one task")
        return "harness-suite", settings | {"suite": suite}, ()
    if isinstance(task, str) and task.endswith((".yaml", ".yml")):
        settings = {key: value for key, value in settings.items() if key != "task"} | {"task_file": task}
    return "harness", settings, ()


def _read_before(
    step: str, setting: str, where: str, settings: dict[str, Any], also: Mapping[str, Any], out: Path | None
) -> Prepared:
    step_class(step).parse(settings, where=where)  # a mistake is told before anything is read
    reading = {key: value for key, value in also.items() if value is not None}
    if mapping := read_options(also["map"] or ()):
        reading["map"] = mapping
    if settings.get("allow_losses"):
        reading["allow_losses"] = True
    if isinstance(given := settings[setting], str):
        run = _data_run(where, given, reading, out, "-data")
        return step, settings if run is None else settings | {setting: str(run.path)}, (run,) if run else ()
    runs = [
        _data_run(where, each["source"], reading, out, f"-data-{number}") for number, each in enumerate(given, start=1)
    ]
    found = [each | {"source": str(run.path)} if run else each for each, run in zip(given, runs, strict=True)]
    return step, settings | {setting: found}, tuple(run for run in runs if run)


def _data_run(where: str, source: str, reading: Mapping[str, Any], out: Path | None, ending: str) -> Run | None:
    """The run of a step 'read' that reads the data; None where the source is a run directory that holds them already.

    It lies beside the training's own directory, under its name with an ending behind it.

    Raises:
        ConfigError: if a run directory is to be read otherwise: what it holds was decided when it was made.
    """
    if any(artifact.is_in(Path(source)) for artifact in (DIALOGUES, PREFERENCES, UNPAIRED)):
        for key, value in reading.items():
            if value and key != "allow_losses":
                raise ConfigError(
                    f"'--{key.replace('_', '-')}' is {value}, but {source} is a run directory, and how its data are "
                    "read and divided was decided when it was made; leave the option out, or make that run anew"
                )
        return None
    config = step_class("read").parse({"path": source, **reading}, where=where)
    return run_step("read", config, out and out.with_name(f"{out.name}{ending}"))

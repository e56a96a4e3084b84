"""What the functions of the Python face give back: the outcome of a step, which shows itself in a notebook.

Nothing is written where no directory is asked for: a step works in a temporary directory, which lives as long as its
result, or as anything that was made from it. Owns the results; what is done is owned by the steps.
"""

import html
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from notus.core.artifacts import SCORES, Artifact
from notus.core.run import read_json, read_manifest
from notus.core.stage import Dropped
from notus.core.tables import read_columns, schema_of, table_exists
from notus.recipes.check import check_step, refuse_faults
from notus.steps.perform import run_step
from notus.steps.registry import step_class

__all__ = ["Result", "RunFolder", "Temporary", "run_in_folder"]


class Temporary:
    """A directory that goes with this object, or with the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="notus-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class RunFolder:
    """A run directory, and what keeps it: a temporary directory where none was asked for, and what it was made from."""

    def __init__(self, path: Path, keep: Sequence[object]) -> None:
        self.path = path
        self._keep = tuple(keep)


class Result:
    """The outcome of a step.

    Args:
        run: its run directory.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    @property
    def path(self) -> Path:
        """The run directory: temporary, and gone with this result, where none was asked for."""
        return self._run.path

    @property
    def summary(self) -> dict[str, Any]:
        """The figures that the step noted."""
        return dict(read_manifest(self.path)["summary"])

    @property
    def tally(self) -> list[dict[str, Any]]:
        """What each stage took, gave, dropped and counted: in = out + dropped."""
        return list(read_json(self.path / "tally.json"))

    @property
    def dropped(self) -> pa.Table:
        """What was dropped: id, stage, reason, detail, file, line and the setting that asked for it."""
        return _table(self.path / "dropped.parquet") or schema_of(Dropped).empty_table()

    @property
    def scores(self) -> pa.Table:
        """What runs are compared by: id, prompt_id, sample, value, reason, file, line.

        Raises:
            FileNotFoundError: if the step leaves no scores.
        """
        return self.artifact(SCORES)

    def artifact(self, artifact: Artifact) -> pa.Table:
        """A table that the step left."""
        table = _table(artifact.at(self.path))
        if table is None:
            raise FileNotFoundError(f"{self.path} holds no {artifact.file}")
        return table

    def __repr__(self) -> str:
        lines = [type(self).__name__, *(f"  {key}: {value}" for key, value in _format_summary(self.summary))]
        lines += [f"  {stage['stage']}: {_counts(stage)}" for stage in self.tally]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [*_format_summary(self.summary), *((stage["stage"], _counts(stage)) for stage in self.tally)]
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(str(key))}</th><td>{html.escape(str(value))}</td></tr>"
            for key, value in rows
        )
        return f"<table>{cells}</table>"


def run_in_folder(
    step: str,
    settings: Mapping[str, Any],
    *,
    where: str,
    out: str | Path | None = None,
    seed: int | None = None,
    keep: Sequence[object] = (),
    nulls: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Run a step with settings, in a directory of its own or a temporary one.

    Args:
        step: name of the step type.
        settings: those that are None are left to the step.
        where: the function that was called, for errors.
        out: the run directory.
        seed: decides all that is drawn.
        keep: what must live as long as the result.
        nulls: settings that count also where they are None.

    Raises:
        ConfigError: for a wrong setting, with the nearest right one, and for one that would do nothing.
    """
    kind = step_class(step)
    found = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    given = {key: value for key, value in found.items() if value is not None} | dict(nulls or {})
    config = kind.parse(given, where=where)
    refuse_faults(check_step(kind.step_type, config), where)
    if out is not None:
        return RunFolder(run_step(kind.step_type, config, Path(out), seed).path, keep)
    folder = Temporary()
    run = run_step(kind.step_type, config, folder.path / kind.step_type, seed)
    return RunFolder(run.path, (folder, *keep))


def _table(path: Path) -> pa.Table | None:
    return read_columns(path) if table_exists(path) else None


def _format_summary(summary: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(key.replace("_", " "), value) for key, value in summary.items() if value not in (None, [], {})]


def _counts(stage: Mapping[str, Any]) -> str:
    """A stage of a tally in words."""
    parts = [f"{stage['in']:,} in", f"{stage['out']:,} out"] if "in" in stage else []
    parts += [f"{count:,} {name}" for key in ("dropped", "counts") for name, count in (stage.get(key) or {}).items()]
    return ", ".join(parts)

"""A single evaluation as its run directory holds it, so that models can be compared that no recipe ties together.

Owns which runs may stand beside each other: those of one kind that were measured in the same way. The comparison itself
is that of ``evaluate.compare``; the arms of recipes are read by ``flow.experiment``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notus.core.errors import ConfigError, InputError
from notus.core.run import MANIFEST, read_manifest
from notus.core.tables import read_table, table_exists
from notus.evaluate.compare import Score
from notus.flow.marks import mark_of

__all__ = ["ScoredRun", "is_run", "refuse_unlike"]

_KINDS = {"alpaca-judge": "alpaca"}
"""Work that leaves the scores of another kind: judgements that were asked for are those that could have been stored."""
_ALIKE: dict[str, tuple[str, ...]] = {
    "alpaca": ("reference", "annotator"),
    "mtbench": ("judges", "mode"),
    "harness": ("metric", "shots", "lm_eval"),
    "reward-check": ("tie_counts",),
}
"""Work → what its runs noted that decides what a score means."""


def is_run(path: Path) -> bool:
    """Whether a directory is the finished run of a single step."""
    return (path / MANIFEST).is_file()


@dataclass(frozen=True)
class ScoredRun:
    """The finished run of one evaluation."""

    path: Path
    kind: str
    """What was done in it, for example ``alpaca``; of an academic benchmark the task."""
    measured: Mapping[str, Any]
    """What decides what a score means, as the run noted it."""

    @classmethod
    def read(cls, path: Path) -> "ScoredRun":
        """Open a run directory.

        Raises:
            InputError: if it is no finished run, or holds no scores.
        """
        manifest = read_manifest(path)
        stage = _KINDS.get(manifest["stage"], manifest["stage"])
        kind = Path(manifest["summary"]["task"]).stem if stage == "harness" else stage
        if not table_exists(path / "scores.parquet"):
            raise InputError(
                f"{path} is a run of '{kind}' and holds no scores.parquet; name an evaluation of one model "
                "(of MT-Bench with --only NAME, of judges with one --ranker)"
            )
        return cls(path, kind, {key: manifest["summary"].get(key) for key in _ALIKE.get(stage, ())})

    def scores(self, arm: str) -> list[Score]:
        """The scores, under the name of an arm. It is one model, so the seed is 0 throughout."""
        rows = read_table(self.path / "scores.parquet")
        return [Score(arm, 0, row["prompt_id"], row["sample"], row["value"]) for row in rows]

    def mark(self) -> str:
        """Why the scores are not to be trusted; empty when they may be."""
        return mark_of(self.kind, self.path)


def refuse_unlike(runs: Sequence[ScoredRun]) -> None:
    """Refuse runs of one kind whose scores do not mean the same.

    Raises:
        ConfigError: if two were measured in different ways.
    """
    first: dict[str, ScoredRun] = {}
    for run in runs:
        other = first.setdefault(run.kind, run)
        for key, value in run.measured.items():
            if value != other.measured[key]:
                raise ConfigError(
                    f"{other.path} and {run.path} cannot be compared: {key.replace('_', ' ')} is "
                    f"{other.measured[key]!r} there, {value!r} here; measure both in the same way"
                )

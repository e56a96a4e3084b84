"""What steps leave in their run directories, and what the files are called: the one place that knows.

A step declares what it leaves, its manifest lists what is there, and whoever reads a run directory asks for an artifact
and not for a file name. Directories of before the lists stood in manifests are read by the same names.

Owns names, files and record types. Reading and writing tables is the business of ``core.tables``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notus.core.errors import DataError
from notus.core.records import Decision, Dialogue, Feedback, Output, Preference, Unpaired, Verdict
from notus.core.run import MANIFEST, read_manifest
from notus.core.stage import Dropped
from notus.core.tables import table_exists

__all__ = [
    "DECISIONS",
    "DIALOGUES",
    "DROPPED",
    "FEEDBACK",
    "FINDINGS",
    "HELD_OUT",
    "LABEL_TRIALS",
    "MODEL",
    "OUTPUTS",
    "PAIR_SCORES",
    "PREFERENCES",
    "PROMPTS",
    "QUARANTINE",
    "QUEUE",
    "RAW_FEEDBACK",
    "RECORDS",
    "ROUNDS",
    "ROWS",
    "ROWS_TABLE",
    "RULINGS",
    "SCORES",
    "TRIALS",
    "TRUTH",
    "UNPAIRED",
    "VERDICTS",
    "Artifact",
    "artifacts_in",
    "find_model",
    "page_in",
    "records_in",
    "tables_in",
]


@dataclass(frozen=True)
class Artifact:
    """Something that a step leaves."""

    name: str
    file: str
    """Its file or folder in the run directory; a large table is a folder of parts under the same name."""
    record: type[Any] | None = None
    """What its rows are; None where they are plain rows, or it is no table."""

    def at(self, folder: Path) -> Path:
        """Where it lies in a run directory."""
        return folder / self.file

    def is_in(self, folder: Path) -> bool:
        """Whether a run directory holds it."""
        place = self.at(folder)
        return table_exists(place) if place.suffix == ".parquet" else place.exists()


RAW_FEEDBACK = Artifact("raw-feedback", "feedback.jsonl")
"""Feedback in UltraFeedback's raw format."""
FEEDBACK = Artifact("feedback", "feedback.parquet", Feedback)
PREFERENCES = Artifact("preferences", "preferences.parquet", Preference)
UNPAIRED = Artifact("unpaired", "unpaired.parquet", Unpaired)
DIALOGUES = Artifact("dialogues", "dialogues.parquet", Dialogue)
ROWS = Artifact("rows", "rows.jsonl")
"""Rows in somebody else's format."""
ROWS_TABLE = Artifact("rows", "rows.parquet")
HELD_OUT = Artifact("held-out", "held_out.parquet", Preference)
"""Pairs that are kept for evaluation."""
PROMPTS = Artifact("prompts", "prompts.parquet", Dialogue)
"""Prompts that are kept for evaluation."""
OUTPUTS = Artifact("outputs", "outputs.parquet", Output)
VERDICTS = Artifact("verdicts", "verdicts.parquet", Verdict)
DECISIONS = Artifact("decisions", "decisions.parquet", Decision)
RULINGS = Artifact("rulings", "decisions.jsonl")
"""What persons decided, a ``decisions.ruling.Ruling`` a line: what the setting ``decisions`` reads of a step."""
QUEUE = Artifact("queue", "queue.parquet")
"""Scores in doubt, for a judge or a person: ``preferences.repair.Doubt``."""
SCORES = Artifact("scores", "scores.parquet")
"""What arms and runs are compared by: prompt_id, sample, value, reason."""
PAIR_SCORES = Artifact("pair-scores", "pairs.parquet")
"""Each pair with the margin that a ranker gives it."""
MODEL = Artifact("model", "model")
FINDINGS = Artifact("findings", "health.json")
"""Sections for the report, with pictures beside them."""
TRUTH = Artifact("truth", "truth.parquet")
"""What is planted in the toy world."""
TRIALS = Artifact("trials", "trials.parquet")
"""Completions with their suspicion and the truth."""
LABEL_TRIALS = Artifact("label-trials", "label_trials.parquet")
"""Pairs with their suspicion and the truth."""
ROUNDS = Artifact("rounds", "rounds.json")
"""The measures of a round and of those before it."""
DROPPED = Artifact("dropped", "dropped.parquet", Dropped)
"""What was read and not kept, with the reason."""
QUARANTINE = Artifact("quarantine", "quarantine.jsonl")
"""Rows that could not be read."""
_PAGES = ("report.html", "health.html")
_TABLES = (".parquet", ".jsonl", ".csv")
_OF_THE_RUN = frozenset(["metrics.jsonl"])
"""Lines of the run itself, no table of its data."""
RECORDS = (RAW_FEEDBACK, FEEDBACK, PREFERENCES, UNPAIRED, DIALOGUES, ROWS, ROWS_TABLE)
"""What a later step reads of a run directory as its records: the first that is there."""


def artifacts_in(folder: Path, known: Iterable[Artifact] = RECORDS) -> list[Artifact]:
    """Those of the known artifacts that a run directory holds, in the order that they are asked for."""
    return [artifact for artifact in known if artifact.is_in(folder)]


def records_in(folder: Path) -> Path | None:
    """The records that a run directory was made for; None if it holds none. What its manifest lists goes first."""
    listed = set(read_manifest(folder).get("artifacts", ()))
    found = artifacts_in(folder)
    first = next((artifact for artifact in found if artifact.name in listed), found[0] if found else None)
    return None if first is None else first.at(folder)


def tables_in(folder: Path) -> list[str]:
    """Names of all tables that a run directory holds, as files or as folders of parts."""
    found = sorted(path.name for path in folder.iterdir() if path.suffix in _TABLES and not path.name.startswith("."))
    return [name for name in found if name not in _OF_THE_RUN]


def page_in(folder: Path) -> Path | None:
    """The page that a run directory holds; None if there is none."""
    return next((folder / name for name in _PAGES if (folder / name).is_file()), None)


def find_model(source: str) -> str:
    """The model that a setting means: that of a run directory, a folder as it is, or a hub id as it is.

    Raises:
        DataError: if it is a run directory without a model.
    """
    inside = MODEL.at(Path(source))
    if (Path(source) / MANIFEST).is_file() and not inside.is_dir():
        stage = read_manifest(Path(source))["stage"]
        raise DataError(f"{source} is a run of '{stage}', which leaves no model; name one that trains or makes a model")
    return str(inside) if inside.is_dir() else source

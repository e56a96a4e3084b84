"""What a command tells at its end: what became of the rows, where things lie, which command to try next.

Owns the words. How they look is owned by ``cli.terminal``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from notus.core.artifacts import (
    DIALOGUES,
    DROPPED,
    FEEDBACK,
    OUTPUTS,
    PREFERENCES,
    QUARANTINE,
    SCORES,
    UNPAIRED,
    Artifact,
    page_in,
    tables_in,
)
from notus.core.run import MANIFEST, Run, read_json

__all__ = ["EXPORTED", "NEXT", "Ran", "describe_rows", "find_places", "look_command", "next_command", "stopped_line"]


class Ran(Protocol):
    """What advice needs of a run: one of this process, or one that lies on the disk."""

    @property
    def stage(self) -> str:
        """What kind of work it was."""

    @property
    def path(self) -> Path:
        """Its directory."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Its resolved settings."""

    @property
    def sources(self) -> Mapping[str, str]:
        """Name of each input → where it lies."""


_TRAIN = (
    (PREFERENCES, "train dpo {run} --start MODEL"),
    (UNPAIRED, "train dpo {run} --start MODEL --set loss=kto"),
    (DIALOGUES, "train sft {run} --start MODEL"),
)
_COMPLETIONS = Artifact("completions", "completions.parquet")
NEXT: Mapping[str, tuple[tuple[Artifact | None, str], ...]] = {
    "read": ((FEEDBACK, "audit {run}"), *_TRAIN),
    "collect": ((FEEDBACK, "audit {run}"),),
    "audit": ((_COMPLETIONS, "repair {data}"), (None, "clean {data}")),
    "repair": ((FEEDBACK, "clean {run}"),),
    "ask-again": ((FEEDBACK, "binarize {run} --strategy repaired-critique"),),
    "clean": ((FEEDBACK, "binarize {run}"), *_TRAIN, (None, "clean {data}")),
    "binarize": ((PREFERENCES, "train dpo {run} --start MODEL"),),
    "create": ((None, "train sft DATA --start {run}"),),
    "sft": ((None, "train dpo PAIRS --start {run}"),),
    "dpo": ((None, "generate {run} PROMPTS"),),
    "train-ranker": ((None, "eval rewards reward-model:{run} PAIRS"),),
    "sample": ((OUTPUTS, "rank RANKER {run}"),),
    "rank": ((FEEDBACK, "binarize {run} --strategy ranker"),),
    "best-of-n": ((OUTPUTS, "eval answers length {run}"),),
    "alpaca": ((None, "compare {run} OTHER"),),
    "alpaca-judge": ((None, "compare {run} OTHER"),),
    "mtbench": ((None, "compare {run} OTHER"),),
    "harness": ((None, "compare {run} OTHER"),),
    "ifeval": ((SCORES, "compare {run} OTHER"),),
    "evaluate": ((None, "compare {run} OTHER"),),
    "reward-check": ((None, "compare {run} OTHER"),),
}
"""Step type → what it left, and the command to try where that is there; words in capitals are to be filled in."""
_RANKERS = {
    "reward-model": "reward-model:{run}",
    "pairrm": "pairrm:{run}",
    "classifier": "classifier:{run}#accepted",
}
"""Form of a ranker that was trained → how it is written."""
_LOOKED_AT = ("audit",)
"""Steps whose runs are worth a look before the next command changes anything."""


_GOES_ON = "the same command goes on from here"
_AGAIN = "the same command begins this step again, in the same directory"
_ASKED = f"{_AGAIN}; what was answered and stands in a ledger is not asked again"
_STOPPED: Mapping[str, str] = {
    **dict.fromkeys(("run", "demo"), f"{_GOES_ON}: finished steps are not done again"),
    "collect": f"{_GOES_ON}: what was answered is in the ledger, and is not asked again",
    "train": "the same command goes on from the last checkpoint; where there is none yet, it begins again",
    **dict.fromkeys(("rank", "eval", "best-of-n"), _ASKED),
    **dict.fromkeys(("read", "audit", "repair", "clean", "binarize", "diff", "export", "generate"), _AGAIN),
}
"""Command → how to go on after Ctrl-C; the others begin again, and leave nothing half-written."""


def stopped_line(command: str) -> str:
    """What is said when a command was stopped."""
    return f"stopped; {_STOPPED.get(command, 'nothing was left half-written, and the same command begins again')}"


EXPORTED: Mapping[str, str] = {
    "Feedback": "audit {run}",
    "Preference": "train dpo {run} --start MODEL",
    "Unpaired": "train dpo {run} --start MODEL --set loss=kto",
    "Dialogue": "train sft {run} --start MODEL",
}
"""What an export's rows are → the command to try with them; other trainers read the file."""
_OTHERS_ALONE = "trl-grpo"
"""A format that no training of ours reads."""


def next_command(run: Ran) -> str | None:
    """The command to try after a run; None where none follows.

    One that reads the same data again is given the decisions that the run had; in what a run has written they are done.
    """
    if run.stage == "export":
        from notus.formats.write import writer_named  # heavy, and loaded already where something was exported

        record = writer_named(run.config["to"]).record
        return (
            None
            if record is None or run.config["to"] == _OTHERS_ALONE
            else f"notus {EXPORTED[record.__name__].format(run=run.path)}"
        )
    for artifact, command in NEXT.get(run.stage, ()):
        if artifact is None or artifact.is_in(run.path):
            if artifact is _COMPLETIONS and not _has_scores(run):
                command = "binarize {data}"  # noqa: PLW2901
            data = run.sources.get("data", "DATA")
            again = "{data}" in command
            mapped = " --map …" if run.config.get("map") and again else ""
            if run.stage == "train-ranker":
                command = command.replace("reward-model:{run}", _RANKERS[run.config["form"]])  # noqa: PLW2901
            return f"notus {command.format(run=run.path, data=data)}{mapped}{_decisions(run) if again else ''}"
    return None


def look_command(run: Ran) -> str | None:
    """The command with which to look at a run, and decide, before the next one; None where there is little to see."""
    return f"notus review {run.path}{_decisions(run)}" if run.stage in _LOOKED_AT else None


def _decisions(run: Ran) -> str:
    place = run.sources.get("decisions")
    return f" --decisions {place}" if place else ""


def _has_scores(run: Ran) -> bool:
    """Whether an audit met an overall score: without one there is nothing to repair."""
    figures = read_json(run.path / MANIFEST)["summary"].get("figures", {})
    return bool(figures.get("scored", True))


def describe_rows(rows: Mapping[str, Any]) -> str:
    """What became of the rows: ``9 rows in = 6 kept + 3 quarantined (3 broken-json) + 0 dropped``."""
    parts = [f"{rows['kept']:,} kept"]
    parts += [f"{rows['joined']:,} joined"] if rows["joined"] else []
    for name in ("quarantined", "dropped"):
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in rows[name].items())
        parts.append(f"{sum(rows[name].values()):,} {name}{f' ({reasons})' if reasons else ''}")
    expanded = f" + {rows['expanded']:,} expanded" if rows["expanded"] else ""
    return f"{rows['in']:,} rows in{expanded} = {' + '.join(parts)}"


def find_places(run: Run) -> dict[str, Any]:
    """What a run wrote, as JSON: what was put aside (``quarantine``, ``dropped``), page, tables, and the commands to
    ``look`` at it and to try ``next``."""
    folder = run.path
    aside = sorted(folder.glob(f"{QUARANTINE.name}*.jsonl"))
    page = page_in(folder)
    return {
        "rows": read_json(folder / MANIFEST).get("rows"),
        "quarantine": [str(path) for path in aside],
        "dropped": str(DROPPED.at(folder)) if DROPPED.is_in(folder) else None,
        "page": None if page is None else str(page),
        "tables": [name for name in tables_in(folder) if folder / name not in aside and name != DROPPED.file],
        "look": look_command(run),
        "next": next_command(run),
    }

"""What rounds add to the report of an experiment: the last round of each arm, and the warnings of all of them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from notus.core.artifacts import ROUNDS
from notus.core.text import counted
from notus.evaluate.compare import format_estimate
from notus.evaluate.rounds import Measures
from notus.report.evaluations.rounds import KL_CAVEAT
from notus.report.page import Block, PageSection, Points
from notus.report.table import Cell, Table
from notus.stats.intervals import Estimate, mean_over_seeds
from notus.steps.base import read_findings

__all__ = ["round_sections", "round_warnings"]

_OVER_SEEDS: dict[str, Callable[[Measures], Estimate | None]] = {
    "Score of the check": lambda m: m.check_mean,
    "… more than at the start": lambda m: m.checked.score if m.checked else None,
    "Win rate": lambda m: m.deciding.win_rate,
    "… at equal length": lambda m: m.deciding.controlled,
    "Ranker's gain": lambda m: m.ranked.score,
    "Characters": lambda m: m.length,
    "KL in nats": lambda m: m.kl,
}
"""What is averaged over seeds."""
Arms = Mapping[str, Mapping[int, Mapping[str, Path]]]
"""Arm → seed → name of the step → its run directory."""


def round_warnings(arms: Arms) -> list[str]:
    """The warnings of all rounds, each with its seed, once."""
    found: dict[Path, list[str]] = {}
    for seeds in arms.values():
        for seed, steps in seeds.items():
            for folder in steps.values():
                if ROUNDS.is_in(folder) and folder not in found:
                    last = _rounds(folder)[-1]
                    head = f"Round {last.round}, seed {seed}, {counted(last.prompts, 'prompt')}"
                    found[folder] = [f"{head}: {warning}" for warning in last.warnings]
    return [text.removesuffix(".") for texts in found.values() for text in texts]


def round_sections(arms: Arms) -> Iterator[PageSection]:
    """For each arm its last round under the first seed, with all before; an arm that others go on from is left out."""
    firsts = {arm: next(iter(seeds.values())) for arm, seeds in arms.items()}
    rounds = {arm: _folders(steps) for arm, steps in firsts.items()}
    last = {arm: max(folders, key=lambda f: len(_rounds(f))) for arm, folders in rounds.items() if folders}
    shown: set[Path] = set()
    for arm, folder in last.items():
        gone_on = any(folder in rounds[other] and last[other] != folder for other in last)
        if gone_on or folder in shown:
            continue
        shown.add(folder)
        table = _over_seeds(arm, arms[arm])
        blocks: list[Block] = [] if table is None else [Points("Over the seeds", ()), table]
        for finding in read_findings(folder):
            blocks += finding.blocks(finding.heading)
        lead = "Under the first seed; what the others found is in their run directories."
        yield PageSection(f"Rounds: {arm}", lead, tuple(blocks))


def _over_seeds(arm: str, seeds: Mapping[int, Mapping[str, Path]]) -> Table | None:
    """Round by round the means over seeds, each a replicate; None with fewer than two."""
    runs = {seed: max(_folders(steps), key=lambda f: len(_rounds(f)), default=None) for seed, steps in seeds.items()}
    # With pinned seeds, replicates share a folder: it is one result, not two.
    found = {folder: seed for seed, folder in runs.items() if folder is not None}
    if len(found) < 2:
        return None
    rounds = {seed: _rounds(folder) for folder, seed in found.items()}
    places = range(max(map(len, rounds.values())))
    # Rounds as columns: there are few of them, and a page is not wide.
    rows: list[tuple[Cell, ...]] = []
    for name, value in _OVER_SEEDS.items():
        cells: list[Cell] = [name]
        for place in places:
            known = {s: e.mean for s, of in rounds.items() if place < len(of) and (e := value(of[place])) is not None}
            estimate = mean_over_seeds(list(known.values()), list(known)) if known else None
            cells.append(None if estimate is None else format_estimate(estimate))
        rows.append(tuple(cells))
    note = f"n = {len(found)} seeds, each a replicate; means with t intervals at 95 %. Arm: {arm}."
    if any(item.kl is not None for of in rounds.values() for item in of):
        note += f" {KL_CAVEAT}"
    return Table(("", *(f"Round {place + 1}" for place in places)), tuple(rows), note)


def _folders(steps: Mapping[str, Path]) -> list[Path]:
    return [folder for folder in steps.values() if ROUNDS.is_in(folder)]


def _rounds(folder: Path) -> list[Measures]:
    return msgspec.json.decode(ROUNDS.at(folder).read_bytes(), type=list[Measures])

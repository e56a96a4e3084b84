"""Fault finders on trial: what they find, against faults whose place is known.

Owns the measures. The finders are those of ``data.audit``; faults with a known place come from the miniature.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from notus.core.records import Record
from notus.core.statistics import Estimate, clustered_mean, mean_over_seeds, proportion, wider
from notus.data.repair import ASK_AGAIN, SET_TO_1

__all__ = ["FINDERS", "Detection", "Trial", "try_finders"]


class Trial(Record, frozen=True):
    """One completion: what the audit said of it, and whether it carries a planted fault."""

    feedback_id: str
    repair: str
    """What the published rule would do."""
    suspicion: int | None
    """Place by suspicion, 1 for the most suspicious."""
    planted: bool


Finder = Callable[[Trial, int], bool]
FINDERS: dict[str, Finder] = {
    "published rule: set to 1": lambda trial, _: trial.repair == SET_TO_1,
    "published rule: set to 1 or ask again": lambda trial, _: trial.repair in (SET_TO_1, ASK_AGAIN),
    "suspicion: as many as were planted": lambda trial, planted: (
        trial.suspicion is not None and trial.suspicion <= planted
    ),
}
"""Name → whether a completion counts as found, given how many faults were planted in its set."""


@dataclass(frozen=True)
class Detection:
    """How well one finder did over all seeds."""

    finder: str
    planted: int
    found: int
    hits: int
    """Planted and found."""
    precision: Estimate | None
    """Hits of what was found; None when nothing was. Prompts are clusters, seeds replicates, the wider decides."""
    recall: Estimate | None
    """Hits of what was planted; None when nothing was."""


def try_finders(trials: Mapping[str, Sequence[Trial]]) -> list[Detection]:
    """Measure every finder.

    Args:
        trials: name of each set, one for each replicate → its completions.
    """
    counts = {seed: sum(trial.planted for trial in rows) for seed, rows in trials.items()}
    rows = [(seed, trial) for seed, of_seed in trials.items() for trial in of_seed]
    return [_detection(name, finder, rows, counts) for name, finder in FINDERS.items()]


def _detection(name: str, finder: Finder, rows: Sequence[tuple[str, Trial]], counts: Mapping[str, int]) -> Detection:
    judged = [(seed, trial, finder(trial, counts[seed])) for seed, trial in rows]
    found = [(seed, trial.feedback_id, trial.planted) for seed, trial, is_found in judged if is_found]
    planted = [(seed, trial.feedback_id, is_found) for seed, trial, is_found in judged if trial.planted]
    return Detection(
        finder=name,
        planted=len(planted),
        found=len(found),
        hits=sum(hit for _, _, hit in found),
        precision=_share(found),
        recall=_share(planted),
    )


def _share(rows: Sequence[tuple[str, str, bool]]) -> Estimate | None:
    if not rows:
        return None
    values = [float(hit) for _, _, hit in rows]
    by_prompts = clustered_mean(values, [prompt for _, prompt, _ in rows])
    estimate = wider(by_prompts, mean_over_seeds(values, [seed for seed, _, _ in rows]))
    if estimate is None or estimate.width == 0:
        # All hit or all missed: the spread says nothing, and Wilson's interval over the prompts does.
        prompts = len({(seed, prompt) for seed, prompt, _ in rows})
        return proportion(round(values[0] * prompts), prompts)
    # A t interval knows nothing of the borders of a share; what lies beyond them holds no value that is possible.
    return replace(estimate, low=max(estimate.low, 0.0), high=min(estimate.high, 1.0))

"""How well an audit finds what is wrong, against a truth that the toy world knows: faulty scores, and wrong labels.

Owns the measures. The finders are those of ``audit.feedback`` (planted faults of completions) and ``audit.rewards``
(pairs whose chosen answer is truly worse). Prompts are clusters, seeds replicates, and the wider interval decides.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from notus.core.records import Record
from notus.preferences.repair import ASK_AGAIN, SET_TO_1
from notus.stats.detection import auroc
from notus.stats.intervals import Estimate, clustered_mean, mean_over_seeds, proportion, wider

__all__ = [
    "FINDERS",
    "AuditedCompletion",
    "AuditedPair",
    "Detection",
    "LabelDetection",
    "measure_finders",
    "measure_label_finder",
]


class AuditedCompletion(Record, frozen=True):
    """One completion: what the audit made of it, and whether it carries a planted fault."""

    STORED_AS: ClassVar[str] = "Trial"

    feedback_id: str
    repair: str
    """What the published rule would do."""
    suspicion: int | None
    """Place by suspicion, 1 for the most suspicious."""
    planted: bool


Finder = Callable[[AuditedCompletion, int], bool]
FINDERS: dict[str, Finder] = {
    "published rule: set to 1": lambda item, _: item.repair == SET_TO_1,
    "published rule: set to 1 or ask again": lambda item, _: item.repair in (SET_TO_1, ASK_AGAIN),
    "suspicion: as many as were planted": lambda item, planted: 0 < (item.suspicion or 0) <= planted,
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
    """Hits of what was found; None when nothing was."""
    recall: Estimate | None
    """Hits of what was planted; None when nothing was."""


class AuditedPair(Record, frozen=True):
    """One pair: its place by suspicion, and whether its label is wrong."""

    STORED_AS: ClassVar[str] = "LabelTrial"

    id: str
    prompt_id: str
    suspicion: int
    """1 for the most suspicious."""
    flagged: bool
    worse: bool
    """The chosen answer is of lower true quality than the rejected one."""


@dataclass(frozen=True)
class LabelDetection:
    """How well wrong labels were found."""

    sets: int
    """Replicates."""
    pairs: int
    worse: int
    flagged: int
    hits: int
    """Flagged and truly worse."""
    area: Estimate | None
    """Chance that a wrong pair is more suspicious than a right one (AUROC); None where a set lacks one kind."""
    first: Estimate | None
    """Share of wrong ones among as many of the most suspicious as there are wrong ones in their set."""
    precision: Estimate | None
    """Hits of the flagged; None where none is."""
    recall: Estimate | None
    """Hits of the wrong."""


def measure_finders(sets: Mapping[str, Sequence[AuditedCompletion]]) -> list[Detection]:
    """Measure every finder.

    Args:
        sets: name of each set, one for each replicate → its completions.
    """
    counts = {seed: sum(item.planted for item in rows) for seed, rows in sets.items()}
    rows = [(seed, item) for seed, of_seed in sets.items() for item in of_seed]
    return [_detection(name, finder, rows, counts) for name, finder in FINDERS.items()]


def measure_label_finder(sets: Mapping[str, Sequence[AuditedPair]]) -> LabelDetection:
    """Measure a finder of wrong labels.

    Args:
        sets: name of each set, one for each replicate → its pairs.
    """
    rows = [(name, row) for name, of_set in sets.items() for row in of_set]
    wrong = {name: sum(row.worse for row in of_set) for name, of_set in sets.items()}
    first = [(name, row.prompt_id, row.worse) for name, row in rows if row.suspicion <= wrong[name]]
    flagged = [(name, row.prompt_id, row.worse) for name, row in rows if row.flagged]
    worse = [(name, row.prompt_id, row.flagged) for name, row in rows if row.worse]
    return LabelDetection(
        sets=len(sets),
        pairs=len(rows),
        worse=len(worse),
        flagged=len(flagged),
        hits=sum(hit for *_, hit in flagged),
        area=_clip(_area(sets)),
        first=_label_share(first),
        precision=_label_share(flagged),
        recall=_label_share(worse),
    )


def _detection(
    name: str, finder: Finder, rows: Sequence[tuple[str, AuditedCompletion]], counts: Mapping[str, int]
) -> Detection:
    judged = [(seed, item, finder(item, counts[seed])) for seed, item in rows]
    found = [(seed, item.feedback_id, item.planted) for seed, item, is_found in judged if is_found]
    planted = [(seed, item.feedback_id, is_found) for seed, item, is_found in judged if item.planted]
    return Detection(
        finder=name,
        planted=len(planted),
        found=len(found),
        hits=sum(hit for _, _, hit in found),
        precision=_fault_share(found),
        recall=_fault_share(planted),
    )


def _area(sets: Mapping[str, Sequence[AuditedPair]]) -> Estimate | None:
    """The area over all sets, a place as a share of its own set, or the mean of theirs where its interval is wider."""
    if any(len({row.worse for row in rows}) < 2 for rows in sets.values()):
        return None
    places = {name: [-row.suspicion / len(rows) for row in rows] for name, rows in sets.items()}
    rows = [row for of_set in sets.values() for row in of_set]
    pooled = [place for of_set in places.values() for place in of_set]
    by_prompts = auroc(pooled, [row.worse for row in rows], [row.prompt_id for row in rows])
    areas = [auroc(places[name], [row.worse for row in of], range(len(of))) for name, of in sets.items()]
    return wider(by_prompts, mean_over_seeds([area.mean for area in areas if area], list(sets)))


def _fault_share(rows: Sequence[tuple[str, str, bool]]) -> Estimate | None:
    """Share of hits; each set has prompts of its own."""
    return _share(rows, {(name, prompt) for name, prompt, _ in rows})


def _label_share(rows: Sequence[tuple[str, str, bool]]) -> Estimate | None:
    """Share of hits; the sets may be of the same prompts."""
    found = _share(rows, {prompt for _, prompt, _ in rows})
    return found and replace(found, n=len(rows))


def _share(rows: Sequence[tuple[str, str, bool]], prompts: set[Hashable]) -> Estimate | None:
    """Share of hits among rows of set, prompt and hit; None without any."""
    if not rows:
        return None
    values = [float(hit) for _, _, hit in rows]
    by_prompts = clustered_mean(values, [prompt for _, prompt, _ in rows])
    found = wider(by_prompts, mean_over_seeds(values, [name for name, _, _ in rows]))
    if found is None or not found.width:
        # The spread says nothing, and Wilson's interval over the prompts does.
        mean = sum(values) / len(values)
        return replace(proportion(round(mean * len(prompts)), len(prompts)), mean=mean)
    return _clip(found)


def _clip(found: Estimate | None) -> Estimate | None:
    """A t interval knows nothing of the borders of a share; what lies beyond them holds no value that is possible."""
    return found and replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))

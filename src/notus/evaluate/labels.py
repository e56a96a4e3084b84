"""Finders of wrong labels on trial: which pairs have a chosen answer that is truly worse, and how well they are found.

Owns the measures. The finder is the implicit reward of ``data.audit_rewards``; the truth comes from the miniature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from notus.core.records import Record
from notus.core.statistics import Estimate, clustered_mean, mean_over_seeds, proportion, wider
from notus.evaluate.detection import auroc

__all__ = ["LabelDetection", "LabelTrial", "try_labels"]


class LabelTrial(Record, frozen=True):
    """One pair: its place by suspicion, and whether its label is wrong."""

    id: str
    prompt_id: str
    suspicion: int
    """1 for the most suspicious."""
    flagged: bool
    worse: bool
    """The chosen answer is of lower true quality than the rejected one."""


@dataclass(frozen=True)
class LabelDetection:
    """How well wrong labels were found. Prompts are clusters, seeds replicates, the wider interval decides."""

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


def try_labels(trials: Mapping[str, Sequence[LabelTrial]]) -> LabelDetection:
    """Measure a finder.

    Args:
        trials: name of each set, one for each replicate → its pairs.
    """
    rows = [(name, row) for name, of_set in trials.items() for row in of_set]
    wrong = {name: sum(row.worse for row in of_set) for name, of_set in trials.items()}
    first = [(name, row.prompt_id, row.worse) for name, row in rows if row.suspicion <= wrong[name]]
    flagged = [(name, row.prompt_id, row.worse) for name, row in rows if row.flagged]
    worse = [(name, row.prompt_id, row.flagged) for name, row in rows if row.worse]
    return LabelDetection(
        sets=len(trials),
        pairs=len(rows),
        worse=len(worse),
        flagged=len(flagged),
        hits=sum(hit for *_, hit in flagged),
        area=_inside(_area(trials)),
        first=_share(first),
        precision=_share(flagged),
        recall=_share(worse),
    )


def _area(trials: Mapping[str, Sequence[LabelTrial]]) -> Estimate | None:
    """The area over all sets, a place as a share of its own set, or the mean of theirs where its interval is wider."""
    if any(len({row.worse for row in rows}) < 2 for rows in trials.values()):
        return None
    places = {name: [-row.suspicion / len(rows) for row in rows] for name, rows in trials.items()}
    rows = [row for of_set in trials.values() for row in of_set]
    pooled = [place for of_set in places.values() for place in of_set]
    by_prompts = auroc(pooled, [row.worse for row in rows], [row.prompt_id for row in rows])
    areas = [auroc(places[name], [row.worse for row in of], range(len(of))) for name, of in trials.items()]
    return wider(by_prompts, mean_over_seeds([area.mean for area in areas if area], list(trials)))


def _share(rows: Sequence[tuple[str, str, bool]]) -> Estimate | None:
    if not rows:
        return None
    values, prompts = [float(hit) for *_, hit in rows], [prompt for _, prompt, _ in rows]
    found = wider(clustered_mean(values, prompts), mean_over_seeds(values, [name for name, *_ in rows]))
    if found is None or not found.width:
        alike = proportion(round(sum(values) / len(values) * len(set(prompts))), len(set(prompts)))
        return replace(alike, mean=sum(values) / len(values), n=len(values))
    return _inside(found)


def _inside(found: Estimate | None) -> Estimate | None:
    """A t interval knows nothing of the borders of a share."""
    return found and replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))

"""How good a ranker is on pairs that it was not trained on: accuracy, calibration, and what length explains.

Owns the measures, on plain numbers; it knows neither models nor texts. Prompts are clusters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from notus.core.errors import DataError
from notus.stats.calibration import Bin, brier, calibration_error, reliability_bins
from notus.stats.intervals import Estimate, clustered_mean

__all__ = ["BINS", "Judged", "LengthBin", "Quality", "quality_of", "scored"]

BINS = 10
"""Bins from 0 to 1; a confidence is at least ½, so that five of them are in use."""
_LENGTH_BINS: tuple[tuple[str, float, float], ...] = (
    ("at most half as long", -math.inf, -1.0),
    ("shorter", -1.0, -math.log2(1.1)),
    ("about as long", -math.log2(1.1), math.log2(1.1)),
    ("longer", math.log2(1.1), 1.0),
    ("at least twice as long", 1.0, math.inf),
)
"""What is said of the chosen answer beside the rejected one, by log₂ of the ratio of their characters."""


@dataclass(frozen=True)
class Judged:
    """What a ranker made of one pair."""

    prompt_id: str
    logit: float
    """Log-odds that the chosen answer is better."""
    chosen_length: int
    """Characters."""
    rejected_length: int
    id: str = ""
    """Of the pair."""
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class LengthBin:
    """The pairs whose lengths differ in one way."""

    label: str
    pairs: int
    accuracy: Estimate | None
    """None with fewer than two prompts."""


@dataclass(frozen=True)
class Quality:
    """Measures on held-out pairs. An estimate is None where fewer than two prompts can tell."""

    pairs: int
    ties: int
    """Pairs whose logit is exactly 0: they count ½ in the accuracy, and say nothing of calibration."""
    accuracy: Estimate | None
    length_alone: Estimate | None
    """Accuracy of always taking the longer answer; equal lengths count ½."""
    above_length: Estimate | None
    """Accuracy less that of length, pair by pair."""
    brier: Estimate | None
    """Mean of (confidence − right)²; a coin that knows nothing has .25."""
    calibration_error: Estimate | None
    bins: tuple[Bin, ...]
    """Confidence σ(abs(logit)) against the share that was right."""
    longer_preferred: Estimate | None
    """Share of the pairs of unequal length in which the ranker prefers the longer answer."""
    longer_chosen: Estimate | None
    """The same share in the data."""
    excess: Estimate | None
    """Longer preferred less longer chosen: the ranker's own leaning."""
    length_bins: tuple[LengthBin, ...]


def scored(item: Judged) -> float:
    """1 where the chosen answer is preferred, ½ at a tie, 0 otherwise."""
    return _half(item.logit)


def quality_of(judged: Sequence[Judged]) -> Quality:
    """Measure a ranker by what it made of held-out pairs.

    Raises:
        DataError: if a logit is no finite number.
    """
    if odd := [item for item in judged if not math.isfinite(item.logit)]:
        raise DataError(f"the ranker gave {odd[0].logit} to a pair of prompt {odd[0].prompt_id}; it cannot be measured")
    prompts = [item.prompt_id for item in judged]
    right = [scored(item) for item in judged]
    by_length = [_half(item.chosen_length - item.rejected_length) for item in judged]
    sure = [item for item in judged if item.logit]
    stated = [_sigmoid(abs(item.logit)) for item in sure]
    came, clusters = [float(item.logit > 0) for item in sure], [item.prompt_id for item in sure]
    apart = [item for item in judged if item.chosen_length != item.rejected_length]
    among = [item.prompt_id for item in apart]
    taken = [_half(item.logit * (item.chosen_length - item.rejected_length)) for item in apart]
    chosen = [float(item.chosen_length > item.rejected_length) for item in apart]
    return Quality(
        pairs=len(judged),
        ties=len(judged) - len(sure),
        accuracy=_mean(right, prompts),
        length_alone=_mean(by_length, prompts),
        above_length=_mean([a - b for a, b in zip(right, by_length, strict=True)], prompts),
        brier=brier(stated, came, clusters) if sure else None,
        calibration_error=calibration_error(stated, came, clusters, BINS) if sure else None,
        bins=tuple(reliability_bins(stated, came, clusters, BINS)) if sure else (),
        longer_preferred=_mean(taken, among),
        longer_chosen=_mean(chosen, among),
        excess=_mean([a - b for a, b in zip(taken, chosen, strict=True)], among),
        length_bins=tuple(_length_bin(label, low, high, judged) for label, low, high in _LENGTH_BINS),
    )


def _length_bin(label: str, low: float, high: float, judged: Sequence[Judged]) -> LengthBin:
    inside = [item for item in judged if low < _ratio(item) <= high] if low < 0 else []
    if low >= 0:
        inside = [item for item in judged if low <= _ratio(item) < high or _ratio(item) == high == math.inf]
    return LengthBin(label, len(inside), _mean([scored(item) for item in inside], [item.prompt_id for item in inside]))


def _ratio(item: Judged) -> float:
    """log₂ of the chosen answer's length over that of the rejected one; an empty answer counts as one character."""
    return math.log2(max(1, item.chosen_length) / max(1, item.rejected_length))


def _mean(values: Sequence[float], clusters: Sequence[str]) -> Estimate | None:
    return clustered_mean(values, clusters) if values else None


def _half(value: float) -> float:
    return 1.0 if value > 0 else 0.5 if value == 0 else 0.0


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))

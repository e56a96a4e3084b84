"""How good a classifier of answers is on rows that it was not trained on: accuracy, calibration, the order in a prompt.

Owns the measures, on plain numbers; it knows neither models nor texts. Prompts are clusters.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from notus.core.errors import DataError
from notus.stats.calibration import Bin, brier, calibration_error, reliability_bins
from notus.stats.intervals import Estimate, share
from notus.train.ranker_quality import BINS

__all__ = ["Classified", "ClassifierQuality", "classifier_quality"]


@dataclass(frozen=True)
class Classified:
    """What a classifier made of one answer."""

    prompt_id: str
    logp: float
    """Log-probability of ``accepted``, natural logarithm."""
    accepted: bool
    characters: int
    id: str = ""
    """Of the row."""
    file: str = ""
    line: int = 0

    @property
    def right(self) -> float:
        """1 where the likelier of the two labels is the row's, ½ where they are equally likely, 0 otherwise."""
        half = math.log(0.5)
        if self.logp == half:
            return 0.5
        return float((self.logp > half) == self.accepted)


@dataclass(frozen=True)
class ClassifierQuality:
    """Measures on held-out rows. An estimate is None where fewer than two prompts can tell."""

    rows: int
    accepted: int
    accuracy: Estimate | None
    constant: Estimate | None
    """Accuracy of always giving the label that is the commoner one in the training rows."""
    above_constant: Estimate | None
    """Accuracy less that of the constant, row by row."""
    of_accepted: Estimate | None
    """Accuracy on accepted rows."""
    of_rejected: Estimate | None
    brier: Estimate | None
    """Mean of (P(accepted) − accepted)²; a coin that knows nothing has .25."""
    calibration_error: Estimate | None
    bins: tuple[Bin, ...]
    """P(accepted) against the share that was accepted."""
    compared: int
    """Pairs of an accepted and a rejected answer to the same prompt."""
    order: Estimate | None
    """Share of these in which the accepted one has the higher score, equal ones as half: what a ranker is for."""
    longer: Estimate | None
    """The same by length alone."""


def classifier_quality(rows: Sequence[Classified], *, commoner: bool) -> ClassifierQuality:
    """Measure a classifier by what it made of held-out rows.

    Args:
        rows: at least one.
        commoner: whether accepted rows are the commoner ones in training.

    Raises:
        DataError: if a log-probability is no finite number.
    """
    if odd := [row for row in rows if not math.isfinite(row.logp)]:
        raise DataError(f"the classifier gave {odd[0].logp} to prompt {odd[0].prompt_id}; it is no measure")
    prompts = [row.prompt_id for row in rows]
    right = [row.right for row in rows]
    constant = [float(row.accepted == commoner) for row in rows]
    stated, came = [math.exp(row.logp) for row in rows], [float(row.accepted) for row in rows]
    order, longer, among = _pairs(rows)
    return ClassifierQuality(
        rows=len(rows),
        accepted=sum(row.accepted for row in rows),
        accuracy=share(right, prompts),
        constant=share(constant, prompts),
        above_constant=share([a - b for a, b in zip(right, constant, strict=True)], prompts, low=-1.0),
        of_accepted=_side(rows, accepted=True),
        of_rejected=_side(rows, accepted=False),
        brier=brier(stated, came, prompts),
        calibration_error=calibration_error(stated, came, prompts, BINS),
        bins=tuple(reliability_bins(stated, came, prompts, BINS)),
        compared=len(order),
        order=share(order, among) if order else None,
        longer=share(longer, among) if longer else None,
    )


def _side(rows: Sequence[Classified], *, accepted: bool) -> Estimate | None:
    own = [row for row in rows if row.accepted == accepted]
    return share([row.right for row in own], [row.prompt_id for row in own]) if own else None


def _pairs(rows: Sequence[Classified]) -> tuple[list[float], list[float], list[str]]:
    """For each accepted beside each rejected answer to a prompt: by score, by length, and the prompt."""
    of: dict[str, tuple[list[Classified], list[Classified]]] = defaultdict(lambda: ([], []))
    for row in rows:
        of[row.prompt_id][not row.accepted].append(row)
    order, longer, among = [], [], []
    for prompt, (accepted, rejected) in of.items():
        for good in accepted:
            for bad in rejected:
                order.append(_half(good.logp - bad.logp))
                longer.append(_half(good.characters - bad.characters))
                among.append(prompt)
    return order, longer, among


def _half(value: float) -> float:
    return 1.0 if value > 0 else 0.5 if value == 0 else 0.0

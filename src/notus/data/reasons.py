"""All that speaks against each completion's record, put together: which columns make which signal, and the evidence.

Owns that assignment and the words of the evidence. The arithmetic is that of ``data.signals``, what wording says comes
from ``data.reading``.
"""

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from notus.data.reading import Readings
from notus.data.signals import REASON, Weighed, agreement, beside_siblings, false_tens, tail, weigh

__all__ = ["FEWEST", "Reasons", "find_reasons"]

Floats = NDArray[np.float64]

FEWEST = 20
"""Completions below which a share of the set says nothing, and no reason is named."""


@dataclass(frozen=True)
class Reasons:
    """What speaks against each completion, in columns."""

    weighed: Weighed
    false_ten: Floats
    means: Floats
    scores: Floats
    expected: Floats
    """Score that the wording of the critique speaks for."""
    spreads: Floats
    rationale: Floats
    """Largest distance of a rating from its rationale's, signed."""

    def columns(self, start: int, stop: int) -> dict[str, pa.Array]:
        """The columns of the rows from ``start`` to before ``stop``; NaN is null."""
        speaks = np.zeros(stop - start, bool)
        for values in self.weighed.p.values() if self._enough else ():
            speaks |= values[start:stop] <= REASON
        # Most completions have nothing against them: they are not looked at one by one.
        found: list[tuple[str, ...]] = [()] * (stop - start)
        evidence = [""] * (stop - start)
        for offset in np.flatnonzero(speaks).tolist():
            found[offset] = self.weighed.reasons(start + offset)
            evidence[offset] = self._evidence(start + offset, found[offset])
        floats = {"strength": self.weighed.strength, "false_ten": self.false_ten, "expected_score": self.expected}
        if not self._enough:
            floats = {name: np.full(len(values), np.nan) for name, values in floats.items()}
        return {name: pa.array(values[start:stop], from_pandas=True) for name, values in floats.items()} | {
            "reasons": pa.array(found, pa.list_(pa.string())),
            "evidence": pa.array(evidence, pa.string()),
        }

    def counts(self) -> dict[str, int]:
        """Slug → the completions that it speaks against, where there are any."""
        sums = {slug: int((values <= REASON).sum()) for slug, values in self.weighed.p.items()}
        return {slug: count for slug, count in sums.items() if count and self._enough}

    @property
    def _enough(self) -> bool:
        return len(self.means) >= FEWEST

    def _evidence(self, index: int, slugs: tuple[str, ...]) -> str:
        """One line: the score, and what each reason sets against it."""
        score = self.scores[index]
        said = [] if math.isnan(score) else [f"overall score {score:g}"]
        if not math.isnan(self.means[index]):
            said.append(f"mean rating {self.means[index]:.2f}")
        if not math.isnan(self.expected[index]):
            said.append(f"the wording speaks for {self.expected[index]:.1f}")
        if "ten-for-one" in slugs:
            said.append(f"a misread 1 with probability {self.false_ten[index]:.3f}")
        if "rating-against-rationale" in slugs:
            said.append(f"a rating is {self.rationale[index]:+.1f} from what its rationale speaks for")
        if "spread-of-ratings" in slugs:
            said.append(f"repeated ratings have a standard deviation of {self.spreads[index]:.2f}")
        return "; ".join(said)


def find_reasons(
    means: Floats, scores: Floats, prompts: NDArray[np.uint64], spreads: Floats, readings: Readings
) -> Reasons:
    """Weigh all that is known of the completions of a set.

    Args:
        means: mean ratings, NaN where there is none; likewise ``scores`` and ``spreads``.
        prompts: the prompt of each completion.
        spreads: standard deviations of repeated ratings.
        readings: finished, of the same completions in the same order.
    """
    expected = np.asarray(readings.expected)
    against = agreement(scores, means)
    differences = {
        "score-against-ratings": against,
        "score-against-wording": agreement(scores, expected),
        "score-against-siblings": beside_siblings(against, prompts),
    }
    false_ten = false_tens(scores, [means, expected])
    chances = {"ten-for-one": np.where(np.isnan(false_ten), np.nan, np.maximum(1 - false_ten, 1e-300))}
    p, distance = _rationales(len(means), readings)
    repeated = np.asarray(readings.repeated, dtype=np.int8)
    if repeated.any():
        chances["same-text-other-score"] = np.where(repeated > 0, repeated.mean(), np.nan)
    chances["rating-against-rationale"] = p
    weighed = weigh(_known(differences), _known(chances), _known({"spread-of-ratings": spreads}), len(means))
    return Reasons(weighed, false_ten, means, scores, expected, spreads, distance)


def _known(columns: dict[str, Floats]) -> dict[str, Floats]:
    return {slug: values for slug, values in columns.items() if np.isfinite(values).any()}


def _rationales(count: int, readings: Readings) -> tuple[Floats, Floats]:
    """Of each completion, the smallest p of its ratings times their number, and the distance that it stands for."""
    p, distance, ratings = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count)
    for _, owners, values, spoken in readings.rationales():
        here = tail(agreement(values, spoken))
        order = np.argsort(-here, kind="stable")  # of several ratings of one completion the least likely is kept
        order = order[~np.isnan(here[order])]
        least, gap = np.full(count, np.nan), np.full(count, np.nan)
        least[owners[order]] = here[order]
        gap[owners[order]] = (values - spoken)[order]
        ratings += np.bincount(owners, ~np.isnan(here), minlength=count)
        better = np.flatnonzero((np.isnan(p) | (least < p)) & ~np.isnan(least))
        p[better], distance[better] = least[better], gap[better]
    return np.minimum(p * ratings, 1.0), distance

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
from notus.data.signals import Weighed, Weigher, agreement, beside_siblings, false_tens, parts, tail

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
    rationale: NDArray[np.float32]
    """Largest distance of a rating from its rationale's, signed."""

    def columns(self, start: int, stop: int) -> dict[str, pa.Array]:
        """The columns of the rows from ``start`` to before ``stop``; NaN is null."""
        # Most completions have nothing against them: they are not looked at one by one.
        found: list[tuple[str, ...]] = [()] * (stop - start)
        evidence = [""] * (stop - start)
        for number, slugs in self.weighed.reasons(start, stop).items() if self._enough else ():
            found[number - start] = slugs
            evidence[number - start] = self._evidence(number, slugs)
        floats = {"strength": self.weighed.strength, "false_ten": self.false_ten, "expected_score": self.expected}
        here = {name: values[start:stop] for name, values in floats.items()}
        if not self._enough:
            here = {name: np.full(stop - start, np.nan) for name in floats}
        return {name: pa.array(values, from_pandas=True) for name, values in here.items()} | {
            "reasons": pa.array(found, pa.list_(pa.string())),
            "evidence": pa.array(evidence, pa.string()),
        }

    def counts(self) -> dict[str, int]:
        """Slug → the completions that it speaks against, where there are any."""
        against = self.weighed.against if self._enough else {}
        return {slug: len(numbers) for slug, (numbers, _) in against.items() if len(numbers)}

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
    means: Floats,
    scores: Floats,
    against: Floats,
    prompts: NDArray[np.unsignedinteger],
    spreads: Floats,
    readings: Readings,
) -> Reasons:
    """Weigh all that is known of the completions of a set.

    Args:
        means: mean ratings, NaN where there is none; likewise ``scores`` and ``spreads``.
        against: ``agreement`` of scores and means.
        prompts: number of the prompt of each completion, counted from 0.
        spreads: standard deviations of repeated ratings.
        readings: finished, of the same completions in the same order. What it holds of rationales is let go of.
    """
    # Signal after signal, and each is forgotten once it is weighed; what is held most of, the rationales, comes first.
    weigher = Weigher(len(means))
    p, distance = _rationales(len(means), readings)
    weigher.chance("rating-against-rationale", p)
    del p
    expected = np.asarray(readings.expected)
    weigher.difference("score-against-ratings", against)
    weigher.difference("score-against-wording", agreement(scores, expected))
    weigher.difference("score-against-siblings", beside_siblings(against, prompts))
    false_ten = false_tens(scores, [means, expected])
    weigher.chance("ten-for-one", np.maximum(1 - false_ten, 1e-300))
    repeated = np.asarray(readings.repeated, dtype=np.int8)
    if repeated.any():
        weigher.chance("same-text-other-score", np.where(repeated > 0, repeated.mean(), np.nan))
    weigher.chance("spread-of-ratings", tail(spreads))
    return Reasons(weigher.weighed(), false_ten, means, scores, expected, spreads, distance)


def _rationales(count: int, readings: Readings) -> tuple[Floats, NDArray[np.float32]]:
    """Of each completion, the smallest p of its ratings times their number, and the distance that it stands for."""
    p, distance, ratings = np.full(count, np.nan), np.full(count, np.nan, np.float32), np.zeros(count, np.uint16)
    for owners, values, spoken in readings.rationales():
        here = tail(agreement(values, spoken))
        for part in parts(len(here)):
            # Of several ratings of one completion the least likely is written last, and stays.
            order = np.argsort(-here[part], kind="stable") + part.start
            order = order[~np.isnan(here[order])]
            np.add.at(ratings, owners[order], 1)
            order = order[~(here[order] >= p[owners[order]])]
            p[owners[order]], distance[owners[order]] = here[order], values[order] - spoken[order]
    np.multiply(p, ratings, out=p)
    return np.minimum(p, 1.0, out=p), distance

"""What the wording of a critique says of the overall score beside it: wrong, right, or in doubt.

A 10 has a known way to be wrong: deserved 1s were recorded as 10. The chance of that, from wording alone, is
``audit.ratings.tens.false_tens``; from a confidence on the 10 is a 1, up to one minus it the 10 stands, and between
the two it is in doubt. For other scores no such way is known that would tell the right one: they are never set. One
whose text speaks for another is in doubt where it is among the scores that Benjamini and Hochberg (1995, J. Royal
Statistical Society B 57, pages 289–300) would reject at a false discovery rate of one minus the confidence. Their
p-values rest on an empirical null whose tails are too light, so the rate is a rank and no promise.

Owns the weighing and what is held for it. What becomes of a score is the business of ``preferences.repair``.
"""

import math
from array import array

import numpy as np
from numpy.typing import NDArray

from notus.audit.ratings.tens import false_tens
from notus.audit.wording import TextModels, TextScores
from notus.core.records import Feedback
from notus.formats.families.ultrafeedback import SCORED
from notus.preferences.repair import ASK_AGAIN, KEEP, SET_TO_1, RepairVerdict, Weighed, is_settled
from notus.stats.false_discovery import benjamini_hochberg, empirical_p
from notus.stats.ranks import rank_difference

__all__ = ["ScoresAndTexts", "weigh"]

Floats = NDArray[np.float64]
_TEN = 10.0


class ScoresAndTexts:
    """Overall scores on 1 to 10, and what their critiques' texts speak for: sixteen bytes of a completion.

    Those of the parts of a set are put together with ``merge``, in the order of the set.
    """

    def __init__(self, models: TextModels | None = None) -> None:
        self._texts = TextScores(TextModels((models or TextModels()).critique))
        self._scores, self._settled = array("d"), array("b")
        self.other_scale = 0
        """Scores that are said to stand on another scale; they are left as they are."""

    def __len__(self) -> int:
        """Number of completions that were taken in."""
        return len(self._scores)

    def add(self, feedback: Feedback) -> None:
        """Take one prompt in."""
        self._texts.add(feedback)
        for item in feedback.completions:
            critique = item.critique
            score = critique.score if critique else None
            other = score is not None and critique is not None and critique.scale not in (None, SCORED)
            self.other_scale += other
            self._scores.append(math.nan if score is None or other else score)
            self._settled.append(is_settled(item))

    def finish(self) -> None:
        """Let go of the models and of texts that wait, before it is sent to another process."""
        self._texts.finish()

    def merge(self, other: "ScoresAndTexts") -> None:
        """Take in what another holds of the prompts that follow."""
        self._texts.merge(other._texts)
        self._scores.extend(other._scores)
        self._settled.extend(other._settled)
        self.other_scale += other.other_scale

    def columns(self) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Score, expected score (NaN where there is none), and whether a score was confirmed before."""
        self._texts.finish()
        return np.asarray(self._scores), np.asarray(self._texts.expected), np.asarray(self._settled, dtype=np.bool_)


def weigh(scores: Floats, expected: Floats, settled: NDArray[np.bool_], confidence: float) -> dict[int, Weighed]:
    """What wording says of scores, for all 10s and for the others that are in doubt.

    Args:
        scores: overall scores on 1 to 10, NaN where there is none.
        expected: the score that each text speaks for, NaN where there is none.
        settled: scores that were confirmed before; they are kept, whatever their text.
        confidence: from which on a 10 is set or kept, above ½.

    Returns:
        Number of the completion → what was weighed. Empty where a score is above 10: the scale is then another one.
    """
    if not len(scores) or np.nanmax(scores, initial=-np.inf) > _TEN:
        return {}
    chances = false_tens(scores, [expected])
    found: dict[int, Weighed] = {}
    for number in np.flatnonzero(scores == _TEN).tolist():
        chance, text = _or_none(chances[number]), _or_none(expected[number])
        what: RepairVerdict = ASK_AGAIN
        if settled[number]:
            what = KEEP
        elif chance is not None and text is not None:
            what = SET_TO_1 if chance >= confidence else KEEP if chance <= 1 - confidence else ASK_AGAIN
        found[number] = Weighed(what, text, chance)
    p = empirical_p(rank_difference(scores, expected))
    p[(scores == _TEN) | settled] = np.nan
    for number in np.flatnonzero(benjamini_hochberg(p) <= 1 - confidence).tolist():  # NaN is not among them
        found[number] = Weighed(ASK_AGAIN, _or_none(expected[number]), None, float(p[number]))
    return found


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)

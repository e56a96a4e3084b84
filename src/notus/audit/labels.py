"""Which labels of a preference set do its own texts contradict? Learned on other prompts of the set, without a score.

What is preferred shows in the wording, and in the form: a label is odd where both speak for the rejected answer. With
x(a) the words of an answer as ``audit.wording`` counts them, and its form (lengths and signs, by their logarithms)::

    m = w · (x(chosen) − x(rejected))         w by ridge regression of 1 on the difference, from other folds of prompts
    chance of the label = 1 / (1 + exp(−a·m))                                   a by maximum likelihood, on all folds

Swapping the answers of a pair turns the sign of m, and there is no intercept. Whether words are read at all, and λ, are
chosen by the error on unseen prompts. A pair whose scores speak against its
label, or for neither side, teaches nothing. Where the labels of unseen prompts are not foreseen better than by chance,
the texts say nothing of this set, and no pair is judged. A pair is flagged where m is below 0 with p of at most
``signals.REASON``, as for the margins of a trained model (``signals.margins_against_labels``); flipped labels are
thereby ranked, and few of them are certain.

Owns the learning, the reading and the figures. What is wrong with a pair by its scores is ``preferences.faults``, what
a trained model says of it ``audit.rewards``.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import msgspec
import numpy as np
from numpy.typing import NDArray

from notus.audit.context.answers import different_words
from notus.audit.pairs import PairAudit, share_of_pairs
from notus.audit.signals import FEWEST, REASON, margins_against_labels
from notus.audit.wording import PROMPTS, TextModel, matrix_of, vocabulary_of
from notus.core.records import Preference
from notus.core.splits import FOLDS, fold_of
from notus.core.text import counted
from notus.preferences.faults import margin_of
from notus.stats.intervals import Share

__all__ = ["AGAINST", "LEAST_PAIRS", "LabelModel", "LabelTexts", "TextVerdict", "learn_labels"]

Floats = NDArray[np.float64]

AGAINST = "label-against-text"
"""Slug of what is looked for, a flag of ``pairs.PAIR_FLAGS``."""
LEAST_PAIRS = 100
"""Pairs to learn from below which nothing is learned."""

_READ = 4000
"""Characters of an answer that are read."""
_AT_ONCE = 256
_SIGNS = ("\n", "**", "?", ",", "```")
_PENALTIES = (0.5, 2.0, 8.0, 32.0, 128.0)
_CHANCE = 0.5


@dataclass(frozen=True)
class LabelModel:
    """A model for each fold of the prompts, which has seen no pair of that fold."""

    words: TextModel | None
    """None where form alone foresees as well."""
    form: Floats
    """Weights of the form, of shape (folds, columns)."""
    slope: float
    """Of the chance in m."""
    foreseen: Share
    """Of the pairs that it was learned from: those with m above 0, by the model that has not seen their prompt."""

    def margins(self, pairs: Sequence[Preference]) -> Floats:
        """m of each pair, from the model that has not seen its prompt; NaN where one is empty."""
        folds = np.array([fold_of(pair.prompt_id) for pair in pairs], dtype=np.intp)
        found = np.zeros(len(pairs))
        for side, sign in (("chosen", 1.0), ("rejected", -1.0)):
            texts = [_text(pair, side) for pair in pairs]
            found += sign * (_form(texts) * self.form[folds]).sum(axis=1)
            if self.words is not None:
                found += sign * self.words.predict(texts, folds)
            found[[not text.strip() for text in texts]] = np.nan
        return found


@dataclass(frozen=True)
class TextVerdict:
    """What the texts say of a set."""

    pairs: int
    judged: int
    model: LabelModel | None
    against: Share
    """Of the judged pairs, those that are flagged."""
    other_side: Share
    """Of the judged pairs, those whose texts speak for the rejected answer."""
    why_not: str = ""

    def sentences(self) -> list[str]:
        """The figures in words, the most important first."""
        if self.model is None:
            return [f"The texts were asked of none of {counted(self.pairs, 'label')}: {self.why_not}."]
        said = [
            f"In {self.against} pairs the texts contradict the label: what is preferred elsewhere in the set is in the "
            f"rejected answer (p ≤ {REASON:g}).",
            f"The texts speak for the rejected answer in {self.other_side} pairs; on unseen prompts they foresee the "
            f"label in {self.model.foreseen} pairs, and where the label is not foreseen it need not be wrong.",
        ]
        if self.judged < self.pairs:
            said.append(
                f"{counted(self.pairs - self.judged, 'pair')} with an empty answer "
                f"{'was' if self.judged + 1 == self.pairs else 'were'} not judged."
            )
        return said


def learn_labels(sample: Iterable[Preference]) -> tuple[LabelModel | None, str]:
    """Learn what is preferred, from pairs of all parts of a set.

    Returns:
        The model, or None and why there is none.
    """
    pairs = [pair for pair in islice(sample, PROMPTS) if _teaches(pair)]
    folds = np.array([fold_of(pair.prompt_id) for pair in pairs], dtype=np.intp)
    if len(pairs) < LEAST_PAIRS or len(np.unique(folds)) < FOLDS:
        have = "pair teaches" if len(pairs) == 1 else "pairs teach"
        return None, f"{len(pairs):,} {have}, and it needs {LEAST_PAIRS}, of prompts of all {FOLDS} folds"
    texts = [[_text(pair, side) for pair in pairs] for side in ("chosen", "rejected")]
    buckets = vocabulary_of([*texts[0], *texts[1]])
    words = TextModel(buckets, np.empty((0, 0)), np.zeros(FOLDS), 0.0, len(pairs))
    form = _form(texts[0]) - _form(texts[1])
    read = matrix_of(texts[0], words).astype(np.float64) - matrix_of(texts[1], words)
    both = np.column_stack((form, read))
    fits = {(part.shape[1], one): _cross_fit(part, folds, one) for part in (form, both) for one in _PENALTIES}
    columns, penalty = min(fits, key=lambda each: float(((1 - fits[each][1]) ** 2).mean()))
    weights, margins = fits[columns, penalty]
    foreseen = share_of_pairs((margins > 0).tolist(), [pair.prompt_id for pair in pairs])
    if foreseen.interval is None or foreseen.interval.low <= _CHANCE:
        return None, f"on unseen prompts they foresee {foreseen} labels, which is not distinguishable from chance"
    width = form.shape[1]
    words = replace(words, weights=weights[:, width:], penalty=penalty)
    return LabelModel(words if columns > width else None, weights[:, :width], _slope(margins), foreseen), ""


class LabelTexts:
    """Reads the texts of pairs while they pass, and holds a number of each."""

    def __init__(self, model: LabelModel | None, why_not: str = "") -> None:
        self._model, self._why_not = model, why_not
        self._margins = array("d")

    def watch(self, pairs: Iterable[Preference]) -> Iterator[Preference]:
        """Hand pairs on as they come; m of each is kept."""
        waiting: list[Preference] = []
        for pair in pairs:
            waiting.append(pair)
            if len(waiting) >= _AT_ONCE:
                self._read(waiting)
                waiting = []
            yield pair
        self._read(waiting)

    def lay_beside(self, audit: PairAudit) -> tuple[PairAudit, TextVerdict]:
        """The audit of the pairs that were watched, with chance, place and flag in its rows; and the figures."""
        model, margins = self._model, np.asarray(self._margins)
        none = Share.make(0, 0)
        if model is None:
            return audit, TextVerdict(len(audit.rows), 0, None, none, none, self._why_not)
        known = np.flatnonzero(~np.isnan(margins))
        m = margins[known]
        p = margins_against_labels(m)  # type: ignore[arg-type]  # an array does as a sequence
        places = 1 + np.searchsorted(np.sort(m), m, "left")
        chances = 1 / (1 + np.exp(-np.clip(model.slope * m, -500, 500)))
        flagged = (m < 0) & (p <= REASON) & (len(m) >= FEWEST)
        rows = list(audit.rows)
        columns = (known, chances, places, flagged)
        for number, chance, place, flag in zip(*(column.tolist() for column in columns), strict=True):
            row = rows[number]
            flags = (*row.flags, AGAINST) if flag else row.flags
            rows[number] = msgspec.structs.replace(row, text_chance=chance, place_by_text=place, flags=flags)
        prompts = [rows[number].prompt_id for number in known]
        health = replace(audit.health, flags=dict(sorted(Counter(flag for row in rows for flag in row.flags).items())))
        verdict = TextVerdict(
            pairs=len(rows),
            judged=len(known),
            model=model,
            against=share_of_pairs(flagged.tolist(), prompts) if len(known) else none,
            other_side=share_of_pairs((m < 0).tolist(), prompts) if len(known) else none,
        )
        return replace(audit, rows=tuple(rows), health=health), verdict

    def _read(self, pairs: Sequence[Preference]) -> None:
        if self._model is not None and pairs:
            self._margins.frombytes(self._model.margins(pairs).tobytes())


def _cross_fit(x: Floats, folds: NDArray[np.intp], penalty: float) -> tuple[Floats, Floats]:
    """Weights of each fold, of shape (folds, columns), from the pairs of the others; and m of each pair by its own."""
    parts = [x[folds == fold] for fold in range(FOLDS)]
    grams, sums = [part.T @ part for part in parts], [part.sum(axis=0) for part in parts]
    gram, total = sum(grams) + penalty * np.eye(x.shape[1]), sum(sums)
    weights = np.array([np.linalg.solve(gram - grams[fold], total - sums[fold]) for fold in range(FOLDS)])
    margins = np.empty(len(x))
    for fold, part in enumerate(parts):
        margins[folds == fold] = part @ weights[fold]
    return weights, margins


def _slope(margins: Floats) -> float:
    """a that makes the labels likeliest, by Newton's method; half a pair is added on either side."""
    slope, spread = 0.0, math.sqrt(float((margins**2).mean())) or 1.0
    x = np.concatenate((margins / spread, [1.0, -1.0]))
    weight = np.concatenate((np.ones(len(margins)), [0.5, 0.5]))
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(slope * x, -500, 500)))
        step = float((weight * (1 - p) * x).sum() / (weight * p * (1 - p) * x**2).sum())
        slope += max(min(step, 2.0), -2.0)
        if abs(step) < 1e-9:
            break
    return slope / spread


def _form(texts: Sequence[str]) -> Floats:
    """Logarithms of the counts of ``_SIGNS`` and of the characters, the latter's square, and a share of words."""
    counts = np.array([[len(text), *(text.count(sign) for sign in _SIGNS)] for text in texts], np.float64)
    logs = np.log1p(counts.reshape(len(texts), len(_SIGNS) + 1))
    return np.column_stack((logs, logs[:, 0] ** 2 / 10, different_words(texts)))


def _teaches(pair: Preference) -> bool:
    margin = margin_of(pair)
    return pair.chosen != pair.rejected and (margin is None or margin > 0)


def _text(pair: Preference, side: str) -> str:
    turns = pair.chosen if side == "chosen" else pair.rejected
    return "\n".join(turn.content for turn in turns)[:_READ]

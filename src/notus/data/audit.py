"""The audit of feedback: every completion labelled first, with a ranked suspicion, and nothing decided.

Owns the suspicion, the flags and what the published rule would do, for each completion. The figures of the set are in
``data.health``, the rule itself in ``data.repair``, preference sets in ``data.audit_pairs``.

How suspicious is an overall score? It and the mean rating are two judgements of one answer on different scales. Both
are put on mid-ranks over the whole set, 0 (worst) to 1 (best), and the disagreement is

    d = rank(overall score) − rank(mean rating)            −1 … 1; positive: the score flatters the answer

Ranks need no model of how a score follows from ratings, and no scale. And they cannot be taught the fault: how
surprising a score is *among completions with like ratings* is the more natural question, but where a fault is common,
as when every deserved 1 was recorded as 10, the false 10s are the usual score of bad answers and surprise nobody. In
simulations with k such faults among 20,000 completions (0.03 to 2 %), at most a third of the k most suspicious were
faults by the surprise within bands of ratings, four fifths and more by ranks, three quarters and more by a robust
regression of score on rating.

Without overall scores, repeated ratings of one aspect are compared instead: d is their standard deviation.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from notus.core.records import ASPECTS, Completion, Feedback
from notus.data.health import Collector, Health
from notus.data.repair import verdict

__all__ = ["FLAGS", "Audit", "Suspicion", "audit", "mid_ranks"]

Measure = Literal["score-against-ratings", "spread-of-ratings", "none"]

FLAGS = {
    "legacy-zero": "an aspect is rated 0, below the scale; kept as it came",
    "missing-ratings": "an aspect is not rated at all, though the layout or another answer to the prompt has it",
    "one-completion": "the prompt has no other answer to compare with",
    "mean-mismatch": "the mean of the ratings is not the fine-grained score that the row states",
    "empty-answer": "the answer holds nothing but white space",
    "unscored": "there is neither a rating nor an overall score",
}
"""Flag → what it says of a completion."""

_STATED = "fine-grained_score"
_ROUNDING = 0.01


class Suspicion(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit says of one completion."""

    id: str
    """Id of the completion; ``Feedback.completion_id``."""
    feedback_id: str
    index: int
    """Position among the completions of the prompt."""
    source: str
    model: str
    mean_rating: float | None
    overall_score: float | None
    ratings: int
    """Number of ratings with a value."""
    not_applicable: int
    """Number of ratings that are N/A."""
    rank_of_mean: float | None
    """Mid-rank of the mean rating in the set, 0 to 1; None without both scores."""
    rank_of_score: float | None
    disagreement: float | None
    """Signed difference of the two ranks, or the spread of repeated ratings: see the measure of the audit."""
    suspicion: int | None
    """Place by absolute disagreement, 1 for the most suspicious; equals share the better place."""
    repair: str
    """What the published rule would do: ``set-to-1``, ``keep``, ``ask-again``, or nothing."""
    flags: tuple[str, ...]
    """Slugs out of ``FLAGS``."""


@dataclass(frozen=True)
class Audit:
    """The audit of a set: a row for each completion, in the order of the set, and the health of the whole."""

    rows: tuple[Suspicion, ...]
    health: Health
    measure: Measure
    """What the disagreement is between."""

    def ranked(self, limit: int | None = None) -> list[Suspicion]:
        """The completions with a suspicion, most suspicious first."""
        found = sorted((row for row in self.rows if row.suspicion is not None), key=_place)
        return found[:limit]


def audit(records: Iterable[Feedback]) -> Audit:
    """Audit a feedback set. Some hundred bytes are held for each completion, and no text."""
    collector = Collector()
    drafts: list[Suspicion] = []
    spreads: list[float | None] = []
    for feedback in records:
        collector.add(feedback)
        drafts += _drafts(feedback)
        spreads += [_spread(completion) for completion in feedback.completions]
    measure, rows = _measured(drafts, spreads)
    flags = Counter(flag for row in rows for flag in row.flags)
    return Audit(tuple(rows), collector.health(flags), measure)


def mid_ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Rank of each value among all, 0 to 1, equal values in the middle of their places: (below + ½ equal) / n."""
    _, place, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    ranks: NDArray[np.float64] = middle[place] / len(values)
    return ranks


def _drafts(feedback: Feedback) -> list[Suspicion]:
    """The rows of one prompt, without what only the whole set can tell."""
    expected = {rating.aspect for item in feedback.completions for rating in item.ratings}
    expected |= set(ASPECTS) if expected & set(ASPECTS) else set()
    lone = len(feedback.completions) == 1
    own = feedback.id
    return [
        Suspicion(
            id=feedback.completion_id(index),
            feedback_id=own,
            index=index,
            source=feedback.source,
            model=item.model,
            mean_rating=item.mean_rating,
            overall_score=item.overall_score,
            ratings=sum(rating.value is not None for rating in item.ratings),
            not_applicable=sum(rating.value is None for rating in item.ratings),
            rank_of_mean=None,
            rank_of_score=None,
            disagreement=None,
            suspicion=None,
            repair=verdict(item),
            flags=_flags(item, expected, lone=lone),
        )
        for index, item in enumerate(feedback.completions)
    ]


def _flags(completion: Completion, expected: set[str], *, lone: bool) -> tuple[str, ...]:
    mean, stated = completion.mean_rating, completion.extra.get(_STATED)
    found = {
        "legacy-zero": any(rating.value == 0 for rating in completion.ratings),
        "missing-ratings": not expected <= {rating.aspect for rating in completion.ratings},
        "one-completion": lone,
        "mean-mismatch": isinstance(stated, (int, float)) and (mean is None or abs(stated - mean) > _ROUNDING),
        "empty-answer": not completion.text.strip(),
        "unscored": mean is None and completion.overall_score is None,
    }
    return tuple(name for name, raised in found.items() if raised)


def _measured(drafts: list[Suspicion], spreads: list[float | None]) -> tuple[Measure, list[Suspicion]]:
    """Put the disagreement into the rows: of score and ratings where a completion has both, otherwise the spread."""
    both = [i for i, row in enumerate(drafts) if row.mean_rating is not None and row.overall_score is not None]
    if both:
        means = mid_ranks([drafts[i].mean_rating or 0.0 for i in both])
        scores = mid_ranks([drafts[i].overall_score or 0.0 for i in both])
        values = {i: float(scores[k] - means[k]) for k, i in enumerate(both)}
        ranks = {i: (float(means[k]), float(scores[k])) for k, i in enumerate(both)}
        return "score-against-ratings", _placed(drafts, values, ranks)
    values = {i: value for i, value in enumerate(spreads) if value is not None}
    return "spread-of-ratings" if values else "none", _placed(drafts, values, {})


def _placed(
    drafts: list[Suspicion], values: dict[int, float], ranks: dict[int, tuple[float, float]]
) -> list[Suspicion]:
    # Rounded, so that equal disagreements stay equal whatever the last bit of their sums is.
    sizes = {index: round(abs(value), 12) for index, value in values.items()}
    places: dict[float, int] = {}
    for place, size in enumerate(sorted(sizes.values(), reverse=True), 1):
        places.setdefault(size, place)
    rows = list(drafts)
    for index, value in values.items():
        of_mean, of_score = ranks.get(index, (None, None))
        rows[index] = msgspec.structs.replace(
            drafts[index],
            rank_of_mean=of_mean,
            rank_of_score=of_score,
            disagreement=value,
            suspicion=places[sizes[index]],
        )
    return rows


def _spread(completion: Completion) -> float | None:
    """Standard deviation of the ratings of one aspect, the largest where several are repeated."""
    by_aspect: defaultdict[str, list[float]] = defaultdict(list)
    for rating in completion.ratings:
        if rating.value is not None:
            by_aspect[rating.aspect].append(rating.value)
    return max((stdev(values) for values in by_aspect.values() if len(values) > 1), default=None)


def _place(row: Suspicion) -> int:
    return row.suspicion or 0

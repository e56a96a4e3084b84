"""The audit written plainly, with an object for each completion: what the one in columns is held against."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import stdev

import msgspec

from notus.audit.feedback import Suspicion, _draft_rows
from notus.core.records import Completion, Feedback
from notus.stats.intervals import Estimate, clustered_mean

__all__ = ["PlainGroups", "plain_audit", "plain_groups"]

PlainGroups = dict[str, tuple[int, Estimate | None, Estimate | None]]


def plain_audit(records: Iterable[Feedback]) -> tuple[str, list[Suspicion]]:
    """The measure and the rows."""
    drafts: list[Suspicion] = []
    spreads: list[float | None] = []
    for feedback in records:
        drafts += _draft_rows(feedback)
        spreads += [_spread(completion) for completion in feedback.completions]
    return _measured(drafts, spreads)


def plain_groups(records: Iterable[Feedback], name: str) -> PlainGroups:
    """Name of a model or a source → completions, mean rating and overall score with intervals."""
    sizes: Counter[str] = Counter()
    means: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    scores: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for feedback in records:
        for item in feedback.completions:
            of = item.model if name == "model" else feedback.source
            sizes[of] += 1
            if item.mean_rating is not None:
                means[of].append((item.mean_rating, feedback.prompt_id))
            if item.overall_score is not None:
                scores[of].append((item.overall_score, feedback.prompt_id))
    return {of: (sizes[of], _clustered(means[of]), _clustered(scores[of])) for of in sizes}


def _clustered(pairs: list[tuple[float, str]]) -> Estimate | None:
    return clustered_mean([value for value, _ in pairs], [prompt for _, prompt in pairs]) if pairs else None


def _mid_ranks(values: Sequence[float]) -> list[float]:
    """Each value against each other: below + half of the equal ones, over n."""
    count = len(values)
    return [(sum(v < value for v in values) + sum(v == value for v in values) / 2) / count for value in values]


def _measured(drafts: list[Suspicion], spreads: list[float | None]) -> tuple[str, list[Suspicion]]:
    """Put the disagreement into the rows: of score and ratings where a completion has both, otherwise the spread."""
    both = [i for i, row in enumerate(drafts) if row.mean_rating is not None and row.overall_score is not None]
    if both:
        means = _mid_ranks([drafts[i].mean_rating or 0.0 for i in both])
        scores = _mid_ranks([drafts[i].overall_score or 0.0 for i in both])
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

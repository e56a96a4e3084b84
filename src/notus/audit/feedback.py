"""The audit of feedback: every completion labelled first, with a ranked suspicion, and nothing decided.

Owns the suspicion, the flags and what the published rule would do, for each completion. The figures of the set are in
``audit.health``, the rule itself in ``preferences.repair``, preference sets in ``audit.pairs``.

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

The place by suspicion rests on d and on what else speaks against a record, above all the wording of its critique: see
``audit.signals`` for the signals and how they are put together, ``audit.wording`` for how wording is read.
"""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import stdev
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from notus.audit.context.answers import Answers, SecondScores
from notus.audit.context.judge import ByContext, judge_by_context
from notus.audit.health import Collector, Columns, Health
from notus.audit.raters import Raters, Ratings, compare_raters
from notus.audit.ratings.judgements import AspectRatings, compare_aspects, compare_repeated
from notus.audit.signals import FEWEST, SURE, Chance, Extra, Judged, Reasons, find_reasons
from notus.audit.votes import Rankings, VoteAudit
from notus.audit.wording import PROMPTS, TextModels, TextScores, learn_models
from notus.core.records import ASPECTS, DESCRIPTIVE, Completion, Feedback, Scale, on_one_scale
from notus.core.tables import read_at, read_columns, read_records, write_columns
from notus.decisions.note import is_kept
from notus.formats.families.ultrafeedback import RATED, SCORED, STATED_MEAN
from notus.preferences.faults import has_text, is_empty
from notus.preferences.repair import verdict
from notus.stats.ranks import blocks, mid_ranks

__all__ = [
    "FLAGS",
    "KEPT",
    "Accumulator",
    "Audit",
    "Placement",
    "StoredRows",
    "Suspicion",
    "audit",
    "audit_of",
    "write_audit",
]

Measure = Literal["score-against-ratings", "spread-of-ratings", "none"]

KEPT = "decided-keep"
"""The flag of what is no suspect any more."""
FLAGS = {
    "legacy-zero": "an aspect is rated 0, below the scale that its format promises; kept as it came",
    "off-scale": "another rating or overall score lies outside the scale that it is said to be on",
    "mixed-scales": "its ratings stand on different scales: they have no mean",
    "missing-ratings": "an aspect is not rated at all, though the format promises it, or the judge was asked for it",
    "one-completion": "the prompt has no other answer to compare with",
    "mean-mismatch": "the mean of the ratings is not the fine-grained score that the row states",
    "empty-answer": "the answer holds nothing that can be seen: white space, invisible characters",
    "unscored": "there is no rating, no overall score and no ranking",
    KEPT: "a person decided to keep it as it is: it has no place by suspicion, and no reason is listed",
}
"""Flag → what it says of a completion."""

_PROMISED = (
    (frozenset(ASPECTS), RATED),
    (frozenset({"helpfulness", "correctness", "coherence"}) | DESCRIPTIVE, Scale(low=0, high=4)),
)
"""Rubrics whose formats promise a rating for each aspect, UltraFeedback's and HelpSteer's, with their scales."""
_KEPT = 1_000
"""Rows of a table that are kept once they were read."""
_ROUNDING = 0.01


class Suspicion(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit says of one completion."""

    id: str
    """Id of the completion; ``Feedback.completion_id``."""
    feedback_id: str
    prompt_id: str = ""
    file: str = ""
    """Where the record stood, as records have it."""
    line: int = 0
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
    length: int = 0
    """Characters of the answer."""
    rank_of_mean: float | None
    """Mid-rank of the mean rating in the set, 0 to 1; None without both scores."""
    rank_of_score: float | None
    disagreement: float | None
    """Signed difference of the two ranks, or the spread of repeated ratings: see the measure of the audit."""
    suspicion: int | None
    """Place by suspicion, 1 for the most suspicious; equals share the better place."""
    strength: float | None = None
    """−log10 of the chance that a sound record looks at least so odd: the combined score of ``audit.signals``."""
    q: float | None = None
    """Estimated share of sound ones among the completions at least so odd; None where nothing that chance could have
    given is known of it."""
    reasons: tuple[str, ...] = ()
    """Slugs out of ``signals.SIGNALS``, the least likely first."""
    evidence: str = ""
    """The reasons in figures."""
    expected_score: float | None = None
    """Overall score that the wording of the critique speaks for, by a model that has not seen the prompt."""
    false_ten: float | None = None
    """Of a 10: the chance that it is a 1 misread."""
    expected_by_context: float | None = None
    """Score that siblings, model and form of the answer speak for, without its own: see ``audit.context``."""
    spread_by_context: float | None = None
    """Standard deviation of the scores of such answers around it."""
    chance_far: float | None = None
    """Chance that a fresh score would be far from the given one."""
    place_by_context: int | None = None
    """Place by that chance, 1 for the largest; equals share the better place."""
    second_score: float | None = None
    """Mean of the second scores of the answer, where some were given, on the scale of the first."""
    repair: str
    """What the published rule would do: ``set-to-1``, ``keep``, ``ask-again``, or nothing."""
    flags: tuple[str, ...]
    """Slugs out of ``FLAGS``."""


class StoredRows:
    """The rows of an audit in the table that holds them: read when they are asked for, and never held.

    Only the few that are asked for by their places, as those that are shown, are read once and kept.
    """

    def __init__(self, path: Path, length: int) -> None:
        self.path = path
        self._length = length
        self._few: dict[int, Suspicion] = {}

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Suspicion]:
        return read_records(self.path, Suspicion)

    def at(self, places: Sequence[int]) -> list[Suspicion]:
        """The rows at some places, counted from 0, in the order of the places."""
        new = [place for place in dict.fromkeys(places) if place not in self._few]
        read = dict(zip(new, read_at(self.path, Suspicion, new), strict=True)) if new else {}
        known = self._few | read
        if len(known) <= _KEPT:
            self._few = known
        return [known[place] for place in places]


@dataclass(frozen=True)
class Audit:
    """The audit of a set: a row for each completion, in the order of the set, and the health of the whole."""

    rows: Sequence[Suspicion] | StoredRows
    health: Health
    measure: Measure
    """What the disagreement is between."""

    columns: Columns
    """Model, mean rating and overall score of each row, and the sizes of the prompts: figures need no records."""
    suspicion: NDArray[np.uint32]
    """Place of each row by suspicion; 0 without one."""
    q: NDArray[np.float64]
    """q of each row; NaN without one."""
    reasons: Mapping[str, int]
    """Slug of ``signals.SIGNALS`` → the completions that it speaks against, where there are any."""
    chances: Mapping[str, Chance]
    """Slug of each signal that is known → how many it speaks against, and how many chance alone would give."""
    suspects: NDArray[np.uint32]
    """Numbers of the rows with a reason: those with q of at most ``SURE`` first, then by their places."""
    first: Mapping[str, Suspicion]
    """Flag → the first row that has it, as it was drafted."""
    unread: tuple[str, ...]
    """What signals were not applied to, why, and what they would need."""
    raters: Raters
    """Who rated and voted, and how they agree."""
    votes: VoteAudit
    """What the rankings do."""
    by_context: ByContext
    """What siblings, model and form of each answer say of its score."""

    def order(self, limit: int | None = None) -> list[int]:
        """Numbers of the rows with a suspicion, most suspicious first; equals in the order of the set."""
        found = np.flatnonzero(self.suspicion if limit is None else (self.suspicion > 0) & (self.suspicion <= limit))
        numbers: list[int] = found[np.argsort(self.suspicion[found], kind="stable")][:limit].tolist()
        return numbers

    def ranked(self, limit: int | None = None) -> list[Suspicion]:
        """The completions with a suspicion, most suspicious first."""
        return self._at(self.order(limit))

    def suspected(self, limit: int | None = None) -> list[Suspicion]:
        """The completions with a reason, in the order of ``suspects``."""
        return self._at(self.suspects[:limit].tolist())

    def sure(self) -> tuple[int, float]:
        """How many completions have a q of at most ``SURE``, and how many of them are expected to be sound."""
        q = self.q[self.q <= SURE]
        return len(q), float(q.max()) * len(q) if len(q) else 0.0

    def _at(self, numbers: list[int]) -> list[Suspicion]:
        return self.rows.at(numbers) if isinstance(self.rows, StoredRows) else [self.rows[each] for each in numbers]


class Accumulator:
    """The first pass: takes feedback, gives the rows without what only the whole set can tell, holds numbers alone.

    Those of the parts of a set are put together with ``merge``, in the order of the set; then ``place`` compares each
    completion with all others. Some ninety bytes are held for a completion with four rationales, and twice as many
    while they are ranked.
    """

    def __init__(self, models: TextModels | None = None, second: SecondScores | None = None) -> None:
        self.collector = Collector()
        self.answers, self._second = Answers(second), second
        self.flags: Counter[str] = Counter()
        self.first: dict[str, Suspicion] = {}
        self.text_scores = TextScores(models or TextModels())
        self.ratings, self.rankings, self.aspects = Ratings(), Rankings(), AspectRatings()
        self._spreads, self._kept = array("d"), array("b")

    def __len__(self) -> int:
        """Number of completions that were taken in."""
        return len(self._spreads)

    def add(self, feedback: Feedback) -> list[Suspicion]:
        """Take one prompt in; its rows, not yet compared with the set."""
        self.collector.add(feedback)
        self.text_scores.add(feedback)
        self.answers.add(feedback)
        self.ratings.add(feedback)
        self.aspects.add(feedback)
        self.rankings.add(feedback)
        for completion in feedback.completions:
            spread = _spread(completion)
            self._spreads.append(math.nan if spread is None else spread)
            self._kept.append(is_kept(completion))
        rows = _draft_rows(feedback)
        for row in rows:
            for flag in row.flags:
                self.flags[flag] += 1
                self.first.setdefault(flag, row)
        return rows

    def finish(self) -> None:
        """Let go of the models and of texts that wait, before it is sent to another process."""
        self.text_scores.finish()
        self.answers.finish()
        self._second = None

    def merge(self, other: "Accumulator") -> None:
        """Take in what another holds of the prompts that follow."""
        self.collector.merge(other.collector)
        self.text_scores.merge(other.text_scores)
        self.answers.merge(other.answers)
        self.ratings.merge(other.ratings)
        self.aspects.merge(other.aspects)
        self.rankings.merge(other.rankings)
        self.flags.update(other.flags)
        self.first = other.first | self.first
        self._spreads.extend(other._spreads)
        self._kept.extend(other._kept)

    def place(self, extras: Sequence[Extra] = ()) -> "Placement":
        """The second pass: of score and ratings where a completion has both, otherwise of the spread.

        Args:
            extras: further signals, of the completions in the order of the set.
        """
        self.text_scores.finish()
        columns = self.collector.columns
        means, scores = columns.scored()
        spreads = np.asarray(self._spreads)
        either = np.isnan(means) | np.isnan(scores)
        of_mean, of_score = (mid_ranks(np.where(either, np.nan, values)) for values in (means, scores))
        against = of_score - of_mean
        tens = columns.scales_of_most()[1] in (None, SCORED)
        by_context = judge_by_context(columns, self.answers, self._second)
        judged = Judged(
            means,
            scores,
            columns.by_prompt(),
            spreads,
            compare_aspects(*self.aspects.matrix()),
            compare_repeated(self.ratings.columns(), len(means)),
            tuple(extras),
            tens=tens,
            by_context=by_context,
        )
        reasons = find_reasons(judged, self.text_scores)
        measure: Measure = "none" if np.isnan(spreads).all() else "spread-of-ratings"
        if not either.all():
            measure = "score-against-ratings"
        values = spreads if either.all() else against
        # A share of fewer than twenty completions says nothing: there the disagreement alone is the suspicion.
        suspicion = reasons.combined.minus_log_p if len(values) >= FEWEST else values
        kept = np.asarray(self._kept, dtype=np.bool_)
        places = _places(np.where(kept, np.nan, suspicion) if kept.any() else suspicion)
        return Placement(measure, of_mean, of_score, values, places, reasons, by_context, kept)

    def health(self) -> Health:
        """The health of all that was taken in."""
        return self.collector.health(self.flags)


@dataclass(frozen=True)
class Placement:
    """What only the whole set can tell of each completion, in columns; NaN or 0 is None."""

    measure: Measure
    rank_of_mean: NDArray[np.float64]
    rank_of_score: NDArray[np.float64]
    disagreement: NDArray[np.float64]
    suspicion: NDArray[np.uint32]
    reasons: Reasons
    by_context: ByContext
    kept: NDArray[np.bool_]
    """Completions that a person decided to keep: they are in all comparisons, and are no suspects."""

    @property
    def q(self) -> NDArray[np.float64]:
        """Of each completion; NaN in a set that is too small to tell."""
        q = self.reasons.combined.q
        if len(q) < FEWEST:
            return np.full(len(q), np.nan)
        return np.where(self.kept, np.nan, q) if self.kept.any() else q

    def suspects(self) -> NDArray[np.uint32]:
        """Numbers of the completions with a reason: see ``Audit.suspects``."""
        numbers = self.reasons.suspects()
        return _in_order(numbers[~self.kept[numbers]], self.suspicion, self.q)

    def columns(self, start: int, stop: int) -> dict[str, pa.Array]:
        """The columns of the rows from ``start`` to before ``stop``."""
        floats = {
            name: pa.array(getattr(self, name)[start:stop], from_pandas=True)  # NaN is null
            for name in ("rank_of_mean", "rank_of_score", "disagreement")
        }
        places = self.suspicion[start:stop]
        late = {"suspicion": pa.array(places, mask=places == 0)}
        told = self.reasons.columns(start, stop)
        if (kept := self.kept[start:stop]).any():
            told = {name: _blank(column, kept) for name, column in told.items()}
        return floats | late | told | self.by_context.columns(start, stop)


def audit(records: Iterable[Feedback]) -> Audit:
    """Audit a feedback set in memory: all is held. For a large one see ``Accumulator`` and ``write_audit``."""
    held = tuple(records)
    accumulator = Accumulator(learn_models(held[:: max(1, len(held) // PROMPTS)]))
    drafts = [row for feedback in held for row in accumulator.add(feedback)]
    placed = accumulator.place()
    late = {name: column.to_pylist() for name, column in placed.columns(0, len(drafts)).items()}
    late["reasons"] = [tuple(slugs) for slugs in late["reasons"]]
    rows = tuple(
        msgspec.structs.replace(draft, **dict(zip(late, values, strict=True)))
        for draft, *values in zip(drafts, *late.values(), strict=True)
    )
    return _audit(rows, accumulator, placed)


def write_audit(path: Path, drafts: Sequence[Path], accumulator: Accumulator) -> Audit:
    """Put into drafted rows what the whole set tells of them, and write them as one table of ``Suspicion``.

    Args:
        path: of the table.
        drafts: tables of the rows that ``accumulator`` gave, in the order of the set.
        accumulator: what was held of all of them.

    Raises:
        DataError: if a table cannot be read or written.
    """
    placed = accumulator.place()

    def completed() -> Iterator[pa.Table]:
        start = 0
        for draft in drafts:
            table = read_columns(draft)
            for name, column in placed.columns(start, start + table.num_rows).items():
                table = table.set_column(table.column_names.index(name), name, column)
            start += table.num_rows
            yield table

    count = write_columns(path, completed(), Suspicion)
    return _audit(StoredRows(path, count), accumulator, placed)


def audit_of(
    rows: Sequence[Suspicion] | StoredRows,
    accumulator: Accumulator,
    placed: Placement,
    suspicion: NDArray[np.uint32],
    late: Mapping[str, pa.Array],
) -> Audit:
    """The audit of some rows that were placed together with others.

    Args:
        rows: of the completions that ``accumulator`` holds.
        accumulator: of these rows alone.
        placed: of all that were placed.
        suspicion: place of each row among these.
        late: their columns ``reasons`` and ``q``.
    """
    found = late["reasons"].to_pylist()
    counts = Counter(slug for slugs in found for slug in slugs)
    q = np.array([math.nan if value is None else value for value in late["q"].to_pylist()])
    numbers = np.flatnonzero(np.array([bool(slugs) for slugs in found], dtype=np.bool_)).astype(np.uint32)
    part = len(found) / max(len(placed.suspicion), 1)
    chances = {
        slug: Chance(counts[slug], round(each.known * part), None if each.expected is None else each.expected * part)
        for slug, each in placed.reasons.chances().items()
    }
    return replace(
        _audit(rows, accumulator, placed),
        suspicion=suspicion,
        q=q,
        reasons=dict(counts),
        chances=chances,
        suspects=_in_order(numbers, suspicion, q),
    )


def _audit(rows: Sequence[Suspicion] | StoredRows, accumulator: Accumulator, placed: Placement) -> Audit:
    columns = accumulator.collector.columns
    return Audit(
        rows,
        accumulator.health(),
        placed.measure,
        columns,
        placed.suspicion,
        placed.q,
        placed.reasons.counts(),
        placed.reasons.chances(),
        placed.suspects(),
        accumulator.first,
        (*accumulator.text_scores.unread(), *placed.reasons.unread()),
        compare_raters([*accumulator.ratings.columns(), *accumulator.rankings.columns()]),
        accumulator.rankings.report(),
        placed.by_context,
    )


def _in_order(numbers: NDArray[np.uint32], suspicion: NDArray[np.uint32], q: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Numbers of completions: the sure ones first, then by their places."""
    order = np.lexsort((numbers, suspicion[numbers], ~(q[numbers] <= SURE)))
    return numbers[order]


def _draft_rows(feedback: Feedback) -> list[Suspicion]:
    """The rows of one prompt, without what only the whole set can tell."""
    expected = _expected(feedback)
    ranked = {place for each in feedback.rankings for place, rank in enumerate(each.ranks) if rank is not None}
    lone = len(feedback.completions) == 1
    own = feedback.id
    means = [item.mean_rating for item in feedback.completions]
    missing = [sum([rating.value is None for rating in item.ratings]) for item in feedback.completions]
    return [
        Suspicion(
            id=feedback.completion_id(index),
            feedback_id=own,
            prompt_id=feedback.prompt_id,
            file=feedback.file,
            line=feedback.line,
            index=index,
            source=feedback.source,
            model=item.model,
            mean_rating=means[index],
            overall_score=item.overall_score,
            ratings=len(item.ratings) - missing[index],
            not_applicable=missing[index],
            length=len(item.text),
            rank_of_mean=None,
            rank_of_score=None,
            disagreement=None,
            suspicion=None,
            repair=verdict(item),
            flags=_flags_of(item, means[index], expected, lone=lone, ranked=index in ranked),
        )
        for index, item in enumerate(feedback.completions)
    ]


def _expected(feedback: Feedback) -> frozenset[str]:
    """The aspects that the format promises of each answer to a prompt, where it is known by at least two of them.

    The published formats say nothing of who rated; where somebody is named, the ratings were made by another plan.
    """
    rated = {
        (rating.aspect, rating.scale) for item in feedback.completions for rating in item.ratings if not rating.rater
    }
    for aspects, scale in _PROMISED:
        if len([aspect for aspect, on in rated if aspect in aspects and on == scale]) > 1:
            return aspects
    return frozenset()


def _flags_of(
    completion: Completion, mean: float | None, expected: frozenset[str], *, lone: bool, ranked: bool
) -> tuple[str, ...]:
    stated, ratings = completion.extra.get(STATED_MEAN), completion.ratings
    asked = completion.extra.get("unscored")  # what a judge was asked by ``collect``, and could not be read
    mixed = mean is None and not on_one_scale([each for each in ratings if each.measures_quality])
    off = [rating.value for rating in ratings if _is_off_scale(rating.value, rating.scale)]
    critique = completion.critique
    found = {
        "legacy-zero": 0 in off,
        "off-scale": any(off) or (critique is not None and _is_off_scale(critique.score, critique.scale)),
        "mixed-scales": mixed,
        "missing-ratings": not expected.issubset([rating.aspect for rating in ratings])
        or (isinstance(asked, dict) and any(name != "critique" for name in asked)),
        "one-completion": lone,
        "mean-mismatch": isinstance(stated, (int, float)) and (mean is None or abs(stated - mean) > _ROUNDING),
        "empty-answer": is_empty(completion.turns) if completion.turns else not has_text(completion.text),
        "unscored": mean is None and not mixed and completion.overall_score is None and not ranked,
        KEPT: is_kept(completion),
    }
    return tuple([name for name, raised in found.items() if raised]) if any(found.values()) else ()


def _blank(column: pa.Array, where: NDArray[np.bool_]) -> pa.Array:
    """A column without what it says of some rows."""
    nothing: Any = [] if pa.types.is_list(column.type) else "" if pa.types.is_string(column.type) else None
    values = [nothing if blank else value for value, blank in zip(column.to_pylist(), where.tolist(), strict=True)]
    return pa.array(values, column.type)


def _is_off_scale(value: float | None, scale: Scale | None) -> bool:
    return value is not None and scale is not None and not scale.low <= value <= scale.high


def _places(values: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Place of each value by its size, 1 for the largest; equals share the better place, and NaN has 0."""
    # Rounded, so that equal disagreements stay equal whatever the last bit of their sums is.
    sizes = np.abs(values)
    np.round(sizes, 12, out=sizes)
    ordered = np.sort(sizes)  # NaN at the end
    ordered = ordered[: len(sizes) - int(np.isnan(ordered).sum())]
    places = np.zeros(len(values), dtype=np.uint32)
    for block in blocks(len(values)):
        here = sizes[block]
        places[block] = np.where(np.isnan(here), 0, 1 + len(ordered) - np.searchsorted(ordered, here, "right"))
    return places


def _spread(completion: Completion) -> float | None:
    """Standard deviation of the ratings of one aspect, the largest where several are repeated."""
    if len({rating.aspect for rating in completion.ratings}) == len(completion.ratings):
        return None
    by_aspect: defaultdict[str, list[float]] = defaultdict(list)
    for rating in completion.ratings:
        if rating.value is not None:
            by_aspect[rating.aspect].append(rating.value)
    return max((stdev(values) for values in by_aspect.values() if len(values) > 1), default=None)

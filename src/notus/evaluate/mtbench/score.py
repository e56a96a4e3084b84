"""The figures of MT-Bench: scores by turn and category with intervals, which models differ, and pairs side by side.

Owns the counting of single gradings, the comparison of models on the gradings that both have, and what comes of answers
that were judged side by side. The reading of a judgement is the business of ``parse``.

A question is a cluster: its two turns are one conversation, and a bad first answer spoils the second (Miller 2024,
https://arxiv.org/abs/2411.00640). ``asked = scored + unscored`` holds in every row of every table.

Of two answers side by side one wins when both orders say so. When they contradict each other the pair is
*inconsistent*, and counts as half a win for either, as a tie does (Zheng et al. 2023, section 3.4,
https://arxiv.org/abs/2306.05685). A pair with an order that cannot be read is *unread*, and counts for nobody.
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from notus.core.errors import ConfigError, nearest
from notus.core.records import Record
from notus.evaluate.compare import ArmPair, Score, compare, format_estimate, shifted
from notus.evaluate.mtbench.files import CATEGORIES, Grading, Match, Question, category_of
from notus.evaluate.mtbench.parse import (
    Mode,
    Reading,
    ReadingDifference,
    count_reproduced,
    find_differences,
    read_grade,
    read_winner,
)
from notus.stats.intervals import Estimate, clustered_mean, holm, p_value, wilson_if_unanimous

__all__ = [
    "OUTCOMES",
    "GradedTurn",
    "ModelPair",
    "ModelScore",
    "MtBenchScores",
    "PairOutcome",
    "PairRate",
    "RepeatedGrading",
    "compare_models",
    "count_repeated_matches",
    "describe_win_rates",
    "graded_turns",
    "missing_turns",
    "model_scores",
    "pair_rates",
    "read_outcomes",
    "repeated_gradings",
    "score_judgements",
]

OUTCOMES = ("model_1", "model_2", "tie", "inconsistent", "unread")
"""What can come of a pair."""
_SCORES = {"model_1": 1.0, "model_2": 0.0, "tie": 0.5, "inconsistent": 0.5, "unread": None}
_LIMIT = 0.05
_LOWEST, _HIGHEST = 1.0, 10.0
_NOISE = 0.2
"""By how much a second run of the same model before the same judge moves the score (0.16 to 0.2 were seen)."""


@dataclass(frozen=True)
class GradedTurn:
    """One turn of one question, as one judge graded one model; more than one reading where it was judged again."""

    model: str
    judge: str
    question_id: int
    turn: int
    category: str
    reads: tuple[Reading, ...]

    @property
    def scores(self) -> tuple[float, ...]:
        """What could be read."""
        return tuple(read.score for read in self.reads if read.score is not None)

    @property
    def score(self) -> float | None:
        """The mean of what could be read, so that a turn that was judged again does not count for more."""
        return math.fsum(self.scores) / len(self.scores) if self.scores else None

    @property
    def reason(self) -> str:
        """Why there is no score."""
        return "" if self.scores else self.reads[0].reason


@dataclass(frozen=True)
class ModelScore:
    """The score of a model before a judge, in a part of the benchmark."""

    model: str
    judge: str
    part: str
    """``all``, ``turn 1``, a category, or ``math, turn 2``."""
    asked: int
    """Gradings: turns of questions in the strict mode, rows of the file in FastChat's."""
    scored: int
    unscored: int
    questions: int
    """Questions with at least one score."""
    mean: float | None
    interval: Estimate | None
    """By questions as clusters; None with fewer than two."""
    worst: float | None
    """The mean if each unscored grading were a 1 …"""
    best: float | None
    """… or a 10."""


class RepeatedGrading(Record, frozen=True):
    """A turn that the same judge graded more than once."""

    STORED_AS: ClassVar[str] = "Repeated"

    model: str
    judge: str
    question_id: int
    turn: int
    times: int
    scores: tuple[float, ...]
    """As stored."""
    alike: bool
    """Whether the judgements are the same text, which is one judgement that was kept twice."""


@dataclass(frozen=True)
class ModelPair:
    """Two models before the same judge, on the turns that both have a score for."""

    judge: str
    pair: ArmPair
    turns: int
    """Turns that are compared."""
    only_one: int
    """Turns that only one of the two has a score for."""
    p: float | None
    """Of "they are alike", with Holm's correction for all pairs of the comparison."""
    words: tuple[str, ...]
    """The verdict, and what belongs to it."""


class PairOutcome(Record, frozen=True):
    """What came of a pair of answers in both orders."""

    STORED_AS: ClassVar[str] = "Outcome"

    question_id: int
    turn: int
    category: str
    model_1: str
    model_2: str
    judge: str
    first: str | None
    """Winner of the game in which ``model_1`` stood first: ``model_1``, ``model_2``, ``tie``, or None."""
    second: str | None
    """Winner of the game in which ``model_2`` stood first."""
    outcome: str
    """One of ``OUTCOMES``."""
    score: float | None
    """1 for a win of ``model_1``, 0 for one of ``model_2``, ½ otherwise; None when unread."""
    reason: str
    """Why it is unread."""


@dataclass(frozen=True)
class PairRate:
    """How two models stand against each other, in a part of the benchmark."""

    model_1: str
    model_2: str
    judge: str
    part: str
    """``all``, ``turn 1``, or a category."""
    asked: int
    counts: dict[str, int]
    """Outcome → pairs; they add up to ``asked``."""
    win_rate: Estimate | None
    """Of ``model_1``, with half a win for ties and inconsistent pairs; questions are clusters."""
    first_shown: Estimate | None
    """How often the answer that was shown first won, of the games that had a winner; ½ for a judge without a bias."""


@dataclass(frozen=True)
class MtBenchScores:
    """All that follows from a set of judgements."""

    mode: Mode
    gradings: int
    matches: int
    reproduced: tuple[int, int]
    """Stored scores and winners that FastChat's reading gives again, and of how many."""
    turns: tuple[GradedTurn, ...]
    scores: tuple[ModelScore, ...]
    comparisons: tuple[ModelPair, ...]
    differences: tuple[ReadingDifference, ...]
    repeated: tuple[RepeatedGrading, ...]
    missing: dict[tuple[str, str], int]
    """See ``missing_turns``."""
    outcomes: tuple[PairOutcome, ...]
    pair_rates: tuple[PairRate, ...]
    repeated_matches: dict[tuple[str, str, str, int, int], int]
    """See ``count_repeated_matches``."""


def score_judgements(
    gradings: Sequence[Grading],
    matches: Sequence[Match],
    mode: Mode,
    questions: dict[int, Question] | None = None,
    baseline: str | None = None,
) -> MtBenchScores:
    """Score judgements, of either kind.

    Raises:
        ConfigError: if the baseline is none of the models that were graded.
        DataError: if a question has no category.
    """
    turns = graded_turns(gradings, mode, questions)
    outcomes = read_outcomes(matches, mode, questions)
    return MtBenchScores(
        mode=mode,
        gradings=len(gradings),
        matches=len(matches),
        reproduced=count_reproduced(gradings, matches),
        turns=tuple(turns),
        scores=tuple(model_scores(turns, mode)),
        comparisons=tuple(compare_models(turns, baseline)) if turns else (),
        differences=tuple(find_differences(gradings, matches)),
        repeated=tuple(repeated_gradings(gradings)),
        missing=missing_turns(turns),
        outcomes=tuple(outcomes),
        pair_rates=tuple(pair_rates(outcomes)),
        repeated_matches=count_repeated_matches(matches),
    )


def graded_turns(
    gradings: Iterable[Grading], mode: Mode, questions: dict[int, Question] | None = None
) -> list[GradedTurn]:
    """Read gradings, and put those of one turn together.

    Args:
        gradings: the rows of one or several files.
        mode: how a judgement is read.
        questions: for the categories; without them they follow from the published numbers.

    Raises:
        DataError: if a question has no category.
    """
    reads: dict[tuple[str, str, int, int], list[Reading]] = defaultdict(list)
    for row in gradings:
        reads[row.model, row.judge[0], row.question_id, row.turn].append(read_grade(row.judgment, mode))
    return [
        GradedTurn(model, judge, number, turn, category_of(number, questions or {}), tuple(found))
        for (model, judge, number, turn), found in sorted(reads.items())
    ]


def model_scores(graded: Sequence[GradedTurn], mode: Mode) -> list[ModelScore]:
    """The scores of each model before each judge: in all, by turn, by category, and by both.

    The strict mode counts each turn once, FastChat's each row, as its ``show_result.py`` does.
    """
    found = []
    for (model, judge), own in _by_model(graded).items():
        turns = sorted({each.turn for each in own})
        known = [*CATEGORIES, *sorted({each.category for each in own} - CATEGORIES.keys())]
        parts: list[tuple[str, list[GradedTurn]]] = [("all", own)]
        parts += [(f"turn {turn}", [c for c in own if c.turn == turn]) for turn in turns]
        for category in known:
            here = [each for each in own if each.category == category]
            parts.append((category, here))
            parts += [(f"{category}, turn {turn}", [c for c in here if c.turn == turn]) for turn in turns]
        found += [_model_score(model, judge, part, of_part, mode) for part, of_part in parts if of_part]
    return found


def missing_turns(graded: Sequence[GradedTurn]) -> dict[tuple[str, str], int]:
    """Model and judge → turns that another model was graded on by that judge, and this one was not."""
    groups = _by_model(graded)
    places = {key: {(each.question_id, each.turn) for each in own} for key, own in groups.items()}
    lost = {}
    for (model, judge), own in places.items():
        everything = set().union(*(those for (_, other), those in places.items() if other == judge))
        if everything - own:
            lost[model, judge] = len(everything - own)
    return lost


def repeated_gradings(gradings: Iterable[Grading]) -> list[RepeatedGrading]:
    """What the same judge graded more than once: the same question, turn and model."""
    rows: dict[tuple[str, str, int, int], list[Grading]] = defaultdict(list)
    for row in gradings:
        rows[row.model, row.judge[0], row.question_id, row.turn].append(row)
    return [
        RepeatedGrading(
            model=model,
            judge=judge,
            question_id=number,
            turn=turn,
            times=len(own),
            scores=tuple(float(row.score) for row in own),
            alike=len({row.judgment for row in own}) == 1,
        )
        for (model, judge, number, turn), own in sorted(rows.items())
        if len(own) > 1
    ]


def compare_models(graded: Sequence[GradedTurn], baseline: str | None = None) -> list[ModelPair]:
    """Compare models before the same judge, question by question, each the mean of the turns that both have.

    Args:
        graded: of ``graded_turns``.
        baseline: the model that the others are compared with; without it each is compared with each.

    Raises:
        ConfigError: if the baseline is none of the models.
    """
    models = sorted({each.model for each in graded})
    if baseline is not None and baseline not in models:
        raise ConfigError(f"the baseline '{baseline}' is none of the models; {nearest(baseline, models)}")
    found = []
    for judge in sorted({each.judge for each in graded}):
        scores: dict[str, dict[tuple[int, int], float]] = defaultdict(dict)
        for each in graded:
            if each.judge == judge and each.score is not None:
                scores[each.model][each.question_id, each.turn] = each.score
        for one, other in itertools.combinations(sorted(scores), 2):
            if baseline in (None, one, other):
                a, b = (one, other) if other == baseline else (other, one)
                found.append(_model_pair(judge, a, b, scores))
    return _with_holm(found)


def read_outcomes(
    matches: Iterable[Match], mode: Mode, questions: dict[int, Question] | None = None
) -> list[PairOutcome]:
    """Read pairs.

    Raises:
        DataError: if a question has no category.
    """
    found = []
    for row in matches:
        first, why_first = read_winner(row.g1_judgment, 1, mode)
        second, why_second = read_winner(row.g2_judgment, 2, mode)
        agreed = first if first == second else "inconsistent"
        outcome = "unread" if first is None or second is None or agreed is None else agreed
        found.append(
            PairOutcome(
                question_id=row.question_id,
                turn=row.turn,
                category=category_of(row.question_id, questions or {}),
                model_1=row.model_1,
                model_2=row.model_2,
                judge=row.judge[0],
                first=first,
                second=second,
                outcome=outcome,
                score=_SCORES[outcome],
                reason=why_first or why_second,
            )
        )
    return found


def count_repeated_matches(matches: Iterable[Match]) -> dict[tuple[str, str, str, int, int], int]:
    """Models, judge, question and turn → how often, of pairs that were judged more than once, exchanged or not."""
    counts: Counter[tuple[str, str, str, int, int]] = Counter()
    for row in matches:
        a, b = sorted((row.model_1, row.model_2))
        counts[a, b, row.judge[0], row.question_id, row.turn] += 1
    return {key: times for key, times in sorted(counts.items()) if times > 1}


def pair_rates(outcomes: Sequence[PairOutcome]) -> list[PairRate]:
    """The rates of each pair of models: in all, by turn, by category."""
    groups: dict[tuple[str, str, str], list[PairOutcome]] = defaultdict(list)
    for one in outcomes:
        groups[one.model_1, one.model_2, one.judge].append(one)
    rates = []
    for key, own in sorted(groups.items()):
        parts = [("all", own)]
        parts += [(f"turn {turn}", [o for o in own if o.turn == turn]) for turn in sorted({o.turn for o in own})]
        known = [*CATEGORIES, *sorted({one.category for one in own} - CATEGORIES.keys())]
        parts += [(category, [o for o in own if o.category == category]) for category in known]
        rates += [_pair_rate(*key, part, of_part) for part, of_part in parts if of_part]
    return rates


def describe_win_rates(rates: Sequence[PairRate]) -> list[str]:
    """Whether win rates can be told from that of two equal models: a sentence for each, with Holm's correction."""
    raw = [1.0 if rate.win_rate is None else p_value(shifted(rate.win_rate, -0.5)) for rate in rates]
    found = []
    for rate, own, adjusted in zip(rates, raw, holm(raw), strict=True):
        one, other, won = rate.model_1, rate.model_2, rate.win_rate
        if won is None:
            found.append(f"{one} and {other} cannot be compared: fewer than two questions could be read")
            continue
        wins = f"{one} wins {format_estimate(wilson_if_unanimous(won))}, and 0.5 is even"
        if own >= _LIMIT:
            found.append(f"{one} and {other} are not distinguishable: {wins}")
            continue
        better, worse = (one, other) if won.mean > 0.5 else (other, one)
        lost = f"; it does not survive Holm's correction for {len(rates)} pairs (p = {adjusted:.2f})"
        found.append(f"{better} is better than {worse}: {wins}" + (lost if adjusted >= _LIMIT else ""))
    return found


def _by_model(graded: Sequence[GradedTurn]) -> dict[tuple[str, str], list[GradedTurn]]:
    groups: dict[tuple[str, str], list[GradedTurn]] = defaultdict(list)
    for each in graded:
        groups[each.model, each.judge].append(each)
    return dict(groups)


def _model_score(model: str, judge: str, part: str, graded: Sequence[GradedTurn], mode: Mode) -> ModelScore:
    if mode == "strict":
        every = [(each.question_id, each.score) for each in graded]
    else:
        every = [(each.question_id, read.score) for each in graded for read in each.reads]
    scored = [(number, score) for number, score in every if score is not None]
    values, lost = [score for _, score in scored], len(every) - len(scored)
    total = math.fsum(values)
    return ModelScore(
        model=model,
        judge=judge,
        part=part,
        asked=len(every),
        scored=len(scored),
        unscored=lost,
        questions=len({number for number, _ in scored}),
        mean=total / len(scored) if scored else None,
        interval=clustered_mean(values, [number for number, _ in scored]) if scored else None,
        worst=(total + lost * _LOWEST) / len(every) if lost else None,
        best=(total + lost * _HIGHEST) / len(every) if lost else None,
    )


def _model_pair(judge: str, a: str, b: str, scores: Mapping[str, Mapping[tuple[int, int], float]]) -> ModelPair:
    shared = sorted(scores[a].keys() & scores[b].keys())
    # Only turns that both have: otherwise a first turn would be held against the mean of both.
    rows = [Score(name, 0, str(number), turn, scores[name][number, turn]) for name in (b, a) for number, turn in shared]
    only_one = len(scores[a].keys() ^ scores[b].keys())
    if not rows:
        pair = ArmPair(a, b, 0, 0, 0, only_one, None, None, f"{a} and {b} share no grading", None, False, ())
    else:
        (pair,) = compare(rows).pairs
    return ModelPair(judge, pair, len(shared), only_one, None, ())


def _with_holm(found: Sequence[ModelPair]) -> list[ModelPair]:
    raw = [p_value(one.pair.by_prompts) if one.pair.by_prompts else 1.0 for one in found]
    return [
        replace(one, p=p if one.pair.by_prompts else None, words=tuple(_describe(one, p, len(found))))
        for one, p in zip(found, holm(raw), strict=True)
    ]


def _describe(one: ModelPair, p: float, pairs: int) -> Iterable[str]:
    pair = one.pair
    yield pair.verdict
    if pair.by_prompts is None:
        return
    if pair.better is not None and p >= _LIMIT:
        yield f"does not survive Holm's correction for {pairs} pairs (p = {p:.2f})"
    if abs(pair.by_prompts.mean) <= _NOISE:
        yield "another run of the same models would move each score by .16 to .2: a difference like this means nothing"
    # That it is one run of each model stands below the table, once for all pairs.
    yield from (remark for remark in pair.remarks if not remark.startswith("one seed"))
    if one.only_one:
        yield f"turns with a score of one model only, which were not compared: {one.only_one}"


def _pair_rate(model_1: str, model_2: str, judge: str, part: str, own: Sequence[PairOutcome]) -> PairRate:
    counts = Counter(one.outcome for one in own)
    read = [(one.score, one.question_id) for one in own if one.score is not None]
    shown = [
        (float(winner == first), one.question_id)
        for one in own
        for winner, first in ((one.first, "model_1"), (one.second, "model_2"))
        if winner in ("model_1", "model_2")
    ]
    return PairRate(
        model_1=model_1,
        model_2=model_2,
        judge=judge,
        part=part,
        asked=len(own),
        counts={name: counts[name] for name in OUTCOMES},
        win_rate=_mean(read),
        first_shown=_mean(shown),
    )


def _mean(values: Sequence[tuple[float, int]]) -> Estimate | None:
    return clustered_mean([value for value, _ in values], [number for _, number in values]) if values else None

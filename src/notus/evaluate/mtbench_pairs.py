"""MT-Bench's pairwise verdicts: who wins in both orders, how often the order decides, and whether it can be told apart.

Owns the outcome of a pair and its figures. An answer wins when both orders say so. When they contradict each other the
pair is *inconsistent*, and counts as half a win for either, as a tie does (Zheng et al. 2023, section 3.4,
https://arxiv.org/abs/2306.05685). A pair with an order that cannot be read is *unread*, and counts for nobody.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from notus.core.records import Record
from notus.core.statistics import Estimate, clustered_mean, holm, p_value
from notus.evaluate.compare import spoken
from notus.evaluate.mtbench_files import CATEGORIES, Match, Question, category_of
from notus.evaluate.mtbench_readers import Mode, winner_as
from notus.evaluate.shares import certain

__all__ = ["OUTCOMES", "Outcome", "PairFigure", "against_even", "outcomes", "pair_figures", "repeated_matches"]

OUTCOMES = ("model_1", "model_2", "tie", "inconsistent", "unread")
"""What can come of a pair."""
_LIMIT = 0.05
_SCORES = {"model_1": 1.0, "model_2": 0.0, "tie": 0.5, "inconsistent": 0.5, "unread": None}


class Outcome(Record, frozen=True):
    """What came of a pair of answers in both orders."""

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
class PairFigure:
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


def outcomes(matches: Iterable[Match], mode: Mode, questions: dict[int, Question] | None = None) -> list[Outcome]:
    """Read pairs.

    Raises:
        DataError: if a question has no category.
    """
    found = []
    for row in matches:
        first, why_first = winner_as(row.g1_judgment, 1, mode)
        second, why_second = winner_as(row.g2_judgment, 2, mode)
        agreed = first if first == second else "inconsistent"
        outcome = "unread" if first is None or second is None or agreed is None else agreed
        found.append(
            Outcome(
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


def repeated_matches(matches: Iterable[Match]) -> dict[tuple[str, str, str, int, int], int]:
    """Models, judge, question and turn → how often, of pairs that were judged more than once, exchanged or not."""
    counts: Counter[tuple[str, str, str, int, int]] = Counter()
    for row in matches:
        a, b = sorted((row.model_1, row.model_2))
        counts[a, b, row.judge[0], row.question_id, row.turn] += 1
    return {key: times for key, times in sorted(counts.items()) if times > 1}


def pair_figures(found: Sequence[Outcome]) -> list[PairFigure]:
    """The figures of each pair of models: in all, by turn, by category."""
    groups: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
    for one in found:
        groups[one.model_1, one.model_2, one.judge].append(one)
    figures = []
    for key, own in sorted(groups.items()):
        parts = [("all", own)]
        parts += [(f"turn {turn}", [o for o in own if o.turn == turn]) for turn in sorted({o.turn for o in own})]
        known = [*CATEGORIES, *sorted({one.category for one in own} - CATEGORIES.keys())]
        parts += [(category, [o for o in own if o.category == category]) for category in known]
        figures += [_figure(*key, part, of_part) for part, of_part in parts if of_part]
    return figures


def against_even(figures: Sequence[PairFigure]) -> list[str]:
    """Whether win rates can be told from that of two equal models: a sentence for each, with Holm's correction."""
    raw = [_p_even(figure.win_rate) for figure in figures]
    found = []
    for figure, own, adjusted in zip(figures, raw, holm(raw), strict=True):
        rate, names = figure.win_rate, f"{figure.model_1} and {figure.model_2}"
        if rate is None:
            found.append(f"{names} cannot be compared: fewer than two questions could be read")
        elif own >= _LIMIT:
            found.append(
                f"{names} are not distinguishable: {figure.model_1} wins {spoken(certain(rate))}, and 0.5 is even"
            )
        else:
            ahead = (figure.model_1, figure.model_2) if rate.mean > 0.5 else (figure.model_2, figure.model_1)
            lost = f"; it does not survive Holm's correction for {len(figures)} pairs (p = {adjusted:.2f})"
            found.append(
                f"{ahead[0]} is better than {ahead[1]}: {figure.model_1} wins {spoken(certain(rate))}, and 0.5 is even"
                + (lost if adjusted >= _LIMIT else "")
            )
    return found


def _p_even(rate: Estimate | None) -> float:
    if rate is None:
        return 1.0
    return p_value(replace(rate, mean=rate.mean - 0.5, low=rate.low - 0.5, high=rate.high - 0.5))


def _figure(model_1: str, model_2: str, judge: str, part: str, own: Sequence[Outcome]) -> PairFigure:
    counts = Counter(one.outcome for one in own)
    read = [(one.score, one.question_id) for one in own if one.score is not None]
    shown = [
        (float(winner == first), one.question_id)
        for one in own
        for winner, first in ((one.first, "model_1"), (one.second, "model_2"))
        if winner in ("model_1", "model_2")
    ]
    return PairFigure(
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

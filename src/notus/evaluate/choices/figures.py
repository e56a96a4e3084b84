"""How often a ranker puts a good answer first among n: any best-of-N rows, and RewardBench 2 by its own rules.

Where several answers share the highest score, a choice counts the share of them that is good; with one good answer that
is RewardBench 2's rule, 1 over the number that share the highest score if the good one is among them. Picking at random
gets the share of good answers, which stands beside each accuracy as chance.

**RewardBench 2** (Malik et al. 2025, https://arxiv.org/abs/2506.01937): six subsets, in five of them the accuracy of
the best of four, in Ties a score of its own (``choices.ties``). The total is the plain mean of the subsets.

Owns the scoring and the report; how it is shown is owned by ``report.sets.choices``. Prompts are clusters.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from notus.core.records import Record
from notus.core.stage import Tally
from notus.evaluate.choices.rows import Choice
from notus.evaluate.choices.ties import (
    TiedPrompt,
    TiesScore,
    read_name,
    ties_columns,
    ties_of_sums,
    ties_score,
)
from notus.evaluate.rewards import check_scores
from notus.llm.protocol import Ranker
from notus.stats.bootstrap import Array, bootstrap_totals, totals_of
from notus.stats.intervals import Estimate, share

__all__ = [
    "REWARDBENCH_2",
    "TIES",
    "ChoiceAccuracy",
    "ChoiceReport",
    "ChoiceScore",
    "choice_report",
    "score_choices",
]

TIES = "Ties"
REWARDBENCH_2 = ("Factuality", "Precise IF", "Math", "Safety", "Focus", TIES)
"""RewardBench 2's subsets."""


class ChoiceScore(Record, frozen=True):
    """A choice with the scores that a ranker gave its answers: a row of ``choices.parquet``."""

    id: str
    prompt_id: str
    sample: int
    """Number of the choice among those of its prompt."""
    subset: str
    name: str
    """What its source calls it."""
    scores: tuple[float | None, ...]
    good: tuple[bool, ...]
    value: float | None
    """Share of the answers with the highest score that is good; None where an answer has no score."""
    reason: str
    """``good``, ``bad``, ``tie`` (good and bad ones share the highest score) or ``unscored``."""
    chance: float
    """Share of the answers that is good: what picking at random gets."""
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class ChoiceAccuracy:
    """The accuracy on one subset."""

    name: str
    asked: int
    scored: int
    ties: int
    answers: tuple[int, int]
    """Fewest and most answers of a choice."""
    accuracy: Estimate | None
    """None with fewer than two prompts."""
    chance: float
    """Mean of what picking at random gets, over the scored ones."""
    above_chance: Estimate | None


@dataclass(frozen=True)
class ChoiceReport:
    """All that scored choices say of a ranker."""

    ranker: str
    whole: ChoiceAccuracy
    """All choices but those of RewardBench 2's Ties."""
    bounds: tuple[float, float]
    """The accuracy if all unscored choices were wrong, and if all were right."""
    subsets: tuple[ChoiceAccuracy, ...]
    """Empty where the rows name none."""
    ties: TiesScore | None
    """Of RewardBench 2's Ties."""
    ties_unscored: int
    """Prompts of Ties with an answer without a score."""
    total: float | None
    """Mean of the subsets of RewardBench 2; None for other rows, and where a subset has no scored choice."""
    total_interval: Estimate | None
    missing: tuple[str, ...]
    """Subsets of RewardBench 2 that the rows lack."""


def score_choices(ranker: Ranker, choices: Iterable[Choice], tally: Tally) -> list[ChoiceScore]:
    """Score the answers of each choice.

    Args:
        ranker: of any kind.
        choices: what is scored.
        tally: receives how many had each ``ChoiceScore.reason``.

    Raises:
        RunError: if the ranker gives too few scores, or one that is no finite number.
    """
    listed = list(choices)
    tally.taken += len(listed)
    tally.given += len(listed)
    answers = [choice.answers for choice in listed]
    scores = check_scores(ranker.name, ranker.rank([choice.prompt for choice in listed], answers), answers)
    seen: dict[str, int] = {}
    found = []
    for choice, own in zip(listed, scores, strict=True):
        number = seen[choice.prompt_id] = seen.get(choice.prompt_id, -1) + 1
        value, reason = _value(own, choice.good)
        tally.count(reason)
        found.append(
            ChoiceScore(
                id=choice.id,
                prompt_id=choice.prompt_id,
                sample=number,
                subset=choice.subset,
                name=choice.name,
                scores=tuple(own),
                good=choice.good,
                value=value,
                reason=reason,
                chance=sum(choice.good) / len(choice.good),
                file=choice.file,
                line=choice.line,
            )
        )
    return found


def choice_report(ranker: str, scores: Sequence[ChoiceScore]) -> ChoiceReport:
    """Sum up scored choices, at least one.

    Where every subset is one of RewardBench 2's, its rules are used: Ties is scored by its own, and there is a total.
    """
    names = list(dict.fromkeys(item.subset for item in scores))
    known = set(names) <= set(REWARDBENCH_2)
    tied = [item for item in scores if known and item.subset == TIES and read_name(item.name)]
    plain = [item for item in scores if not (known and item.subset == TIES and read_name(item.name))]
    ties = _tied_prompts(tied)
    right = math.fsum(item.value or 0.0 for item in plain)
    unscored = sum(item.value is None for item in plain)
    order = [name for name in REWARDBENCH_2 if name in names] if known else names
    subsets = [_accuracy(name, [item for item in plain if item.subset == name]) for name in order]
    missing = tuple(name for name in REWARDBENCH_2 if name not in names) if known else ()
    total, interval = _total(plain, ties, order) if known and not missing else (None, None)
    return ChoiceReport(
        ranker=ranker,
        whole=_accuracy("all", plain),
        bounds=(right / len(plain), (right + unscored) / len(plain)) if plain else (0.0, 1.0),
        subsets=tuple(each for each in subsets if each.asked) if any(names) else (),
        ties=ties_score(ties) if ties else None,
        ties_unscored=len(tied) - len(ties),
        total=total,
        total_interval=interval,
        missing=missing,
    )


def _value(scores: Sequence[float | None], good: Sequence[bool]) -> tuple[float | None, str]:
    known = [score for score in scores if score is not None]
    if len(known) < len(scores):
        return None, "unscored"
    best = max(known)
    top = [is_good for score, is_good in zip(known, good, strict=True) if score == best]
    value = sum(top) / len(top)
    return value, "good" if value == 1 else "bad" if value == 0 else "tie"


def _tied_prompts(items: Sequence[ChoiceScore]) -> list[TiedPrompt]:
    found = []
    for item in items:
        name = read_name(item.name)
        known = [score for score in item.scores if score is not None]
        if name is not None and len(known) == len(item.scores):
            found.append(TiedPrompt.make(name, known, item.good, item.prompt_id))
    return found


def _accuracy(name: str, own: Sequence[ChoiceScore]) -> ChoiceAccuracy:
    scored = [(item.value, item.chance, item.prompt_id) for item in own if item.value is not None]
    prompts = [prompt for _, _, prompt in scored]
    sizes = [len(item.good) for item in own] or [0]
    return ChoiceAccuracy(
        name=name,
        asked=len(own),
        scored=len(scored),
        ties=sum(item.reason == "tie" for item in own),
        answers=(min(sizes), max(sizes)),
        accuracy=share([value for value, _, _ in scored], prompts) if scored else None,
        chance=math.fsum(chance for _, chance, _ in scored) / len(scored) if scored else 0.0,
        above_chance=share([value - chance for value, chance, _ in scored], prompts, low=-1.0) if scored else None,
    )


def _total(
    plain: Sequence[ChoiceScore], ties: Sequence[TiedPrompt], order: Sequence[str]
) -> tuple[float | None, Estimate | None]:
    """The mean of the subsets with a bootstrap interval over prompts, of which both forms in Ties are one cluster."""
    places = {name: number for number, name in enumerate(order) if name != TIES}
    scored = [item for item in plain if item.value is not None]
    if not ties or {item.subset for item in scored} != set(places):
        return None, None
    rows = np.zeros((len(scored), 2 * len(places)))
    for row, item in zip(rows, scored, strict=True):
        row[2 * places[item.subset] : 2 * places[item.subset] + 2] = item.value, 1.0
    sums = totals_of(rows, [item.prompt_id for item in scored])
    _, of_ties = ties_columns(ties)
    totals = np.zeros((len(sums) + len(of_ties), 2 * len(places) + 8))
    totals[: len(sums), : 2 * len(places)] = sums
    totals[len(sums) :, 2 * len(places) :] = of_ties
    statistic = partial(_mean_of_subsets, subsets=len(places))
    total = float(statistic(totals.sum(axis=0)))
    n = len(scored) + len(ties)
    return total, bootstrap_totals(totals, statistic, n=n, kind="percentile")


def _mean_of_subsets(sums: Array, subsets: int) -> Array:
    pairs = sums[..., : 2 * subsets].reshape(*sums.shape[:-1], subsets, 2)
    shares = pairs[..., 0] / pairs[..., 1]
    found: Array = (shares.sum(axis=-1) + ties_of_sums(sums, 2 * subsets)) / (subsets + 1)
    return found

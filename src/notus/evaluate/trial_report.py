"""What a trial says of a judge: agreement with people, the order, the length, and the traps.

Owns the figures. How they are put is the business of ``app.trials``. Prompts are clusters throughout.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from notus.core.agreement import Agreement, agreement, krippendorff
from notus.core.statistics import Estimate
from notus.evaluate.canaries import Canary, Fall, fallen, summed_up
from notus.evaluate.shares import share
from notus.evaluate.trial import PairJudge, Ruling, Shown, Tried, label_of, try_pairs
from notus.evaluate.trial_sources import HumanPair
from notus.models.judge import preferred

__all__ = ["JudgeFigures", "PeopleFigures", "Trial", "hold_trial", "judge_figures", "people_figures"]


@dataclass(frozen=True)
class Trial:
    """All rulings of one judge."""

    judge: str
    pointwise: bool
    pairs: tuple[Tried, ...]
    """One for each pair of the source, in its order."""
    canaries: tuple[Tried, ...]
    """One for each trap, in the order of the traps."""


@dataclass(frozen=True)
class PeopleFigures:
    """How people agree among themselves: the yardstick."""

    pairs: int
    annotators: int
    preferred: int
    """Pairs in which the majority prefers one answer."""
    ties: int
    """Pairs in which the majority prefers neither."""
    divided: int
    """Pairs without a majority: they count against each annotator, and nowhere else."""
    among: Estimate | None
    """Chance that two of the annotators give a pair the same label; None with one annotator."""
    couples: tuple[Agreement, ...]
    """Agreement of each two annotators: first and second, first and third, second and third …"""
    alpha: Estimate | None
    """Krippendorff's α of all annotators, nominal."""
    longer: Estimate | None
    """Share of the longer answer among those that the majority prefers, lengths being unequal."""


@dataclass(frozen=True)
class JudgeFigures:
    """What the trial found of one judge. An estimate is None where there are too few prompts."""

    name: str
    pointwise: bool
    asked: int
    scored: int
    unscored: dict[str, int]
    """Reason → pairs without a verdict in one of the orders."""
    majority: Agreement
    """With the majority; a verdict that turns with the order is a tie."""
    annotators: tuple[Agreement, ...]
    """With each annotator."""
    with_people: Estimate | None
    """Chance of the same label as one annotator, the mean over them."""
    against_people: Estimate | None
    """That minus the chance that two annotators agree, paired by prompt; None with one annotator."""
    decided: Estimate | None
    """Share of the pairs with a preferred answer in which the judge prefers it; its ties count ½."""
    consistent: Estimate | None
    """Share of the pairs with the same verdict in both orders."""
    first: Estimate | None
    """Share of the verdicts for the answer that is shown first, ties as half: ½ is without favour. None where all are
    consistent: it is then ½ by construction."""
    longer: Estimate | None
    """Share of the longer answer among those that the judge prefers."""
    longer_than_people: Estimate | None
    """That minus the share of the majority, on the pairs in which both prefer one answer and the lengths differ."""
    falls: tuple[Fall, ...]


def hold_trial(judge: PairJudge, pairs: Sequence[HumanPair], canaries: Sequence[Canary]) -> Trial:
    """Put a judge on trial: all pairs and traps, each in both orders.

    Raises:
        RunError: if the judge cannot go on.
    """
    shown = [pair.shown for pair in pairs] + [canary.shown for canary in canaries]
    places = list(range(len(pairs))) + [canary.pair for canary in canaries]
    kinds = [("", 0)] * len(pairs) + [(canary.kind, canary.variant) for canary in canaries]
    rulings = try_pairs(judge, shown)
    tried = tuple(
        _tried(judge.name, each, place, kind, both)
        for each, place, kind, both in zip(shown, places, kinds, rulings, strict=True)
    )
    return Trial(judge.name, judge.pointwise, tried[: len(pairs)], tried[len(pairs) :])


def people_figures(pairs: Sequence[HumanPair]) -> PeopleFigures:
    """How people agree among themselves."""
    prompts = [pair.shown.prompt_id for pair in pairs]
    count = len(pairs[0].votes) if pairs else 0
    majorities = Counter(pair.majority for pair in pairs)
    couples = [
        agreement([pair.votes[one] for pair in pairs], [pair.votes[two] for pair in pairs], prompts)
        for one, two in itertools.combinations(range(count), 2)
    ]
    longer = [
        (value, prompt) for pair, prompt in zip(pairs, prompts, strict=True) if (value := _longer(pair)) is not None
    ]
    return PeopleFigures(
        pairs=len(pairs),
        annotators=count,
        preferred=majorities["A"] + majorities["B"],
        ties=majorities["C"],
        divided=majorities[None],
        among=_mean([(_agreed(pair), prompt) for pair, prompt in zip(pairs, prompts, strict=True)] if couples else []),
        couples=tuple(couples),
        alpha=krippendorff([pair.votes for pair in pairs], prompts) if couples else None,
        longer=_mean(longer),
    )


def judge_figures(trial: Trial, pairs: Sequence[HumanPair], canaries: Sequence[Canary]) -> JudgeFigures:
    """What a trial says of its judge."""
    scored = [(tried, pair, tried.score) for tried, pair in zip(trial.pairs, pairs, strict=True)]
    ruled = [(tried, pair, score) for tried, pair, score in scored if score is not None]
    with_majority = [(label_of(score), pair.majority, tried.prompt_id) for tried, pair, score in ruled if pair.majority]
    several = bool(pairs) and len(pairs[0].votes) > 1
    return JudgeFigures(
        name=trial.judge,
        pointwise=trial.pointwise,
        asked=len(trial.pairs),
        scored=len(ruled),
        unscored=dict(sorted(Counter(tried.reason for tried, _, score in scored if score is None).items())),
        majority=_agreement(with_majority),
        annotators=tuple(
            _agreement([(label_of(score), pair.votes[number], tried.prompt_id) for tried, pair, score in ruled])
            for number in range(len(pairs[0].votes) if several else 0)
        ),
        with_people=_mean([(_shared(pair, score), tried.prompt_id) for tried, pair, score in ruled]),
        against_people=_mean(
            [(_shared(pair, score) - _agreed(pair), tried.prompt_id) for tried, pair, score in ruled]
            if several
            else [],
            low=-1.0,
        ),
        decided=_mean(
            [
                (score if pair.majority == "A" else 1 - score, tried.prompt_id)
                for tried, pair, score in ruled
                if pair.majority in ("A", "B")
            ]
        ),
        consistent=_mean([(float(bool(tried.consistent)), tried.prompt_id) for tried, _, _ in ruled]),
        first=_first([tried for tried, _, _ in ruled]),
        **_lengths(ruled),
        falls=tuple(_falls(trial, pairs, canaries)),
    )


def _tried(judge: str, shown: Shown, place: int, kind: tuple[str, int], both: tuple[Ruling, Ruling]) -> Tried:
    forward, backward = both[0].verdict, both[1].verdict
    return Tried(
        judge=judge,
        prompt_id=shown.prompt_id,
        pair=place,
        canary=kind[0],
        variant=kind[1],
        forward=forward,
        backward=backward,
        score=None if forward is None or backward is None else preferred(forward, backward).score,
        reason=both[0].reason or both[1].reason,
    )


def _falls(trial: Trial, pairs: Sequence[HumanPair], canaries: Sequence[Canary]) -> list[Fall]:
    found: list[tuple[Canary, float | None]] = []
    for canary, tried in zip(canaries, trial.canaries, strict=True):
        score, plain = tried.score, trial.pairs[canary.pair].score
        if canary.kind == "copy" and score is not None:
            score = float(tried.forward != "C")
        if plain is not None and pairs[canary.pair].majority == "B":
            plain = 1 - plain
        found.append((canary, fallen(canary, score, plain)))
    return summed_up(found)


def _first(ruled: Sequence[Tried]) -> Estimate | None:
    if all(tried.consistent for tried in ruled):
        return None
    worth = {"A": 1.0, "B": 0.0, "C": 0.5}
    return _mean([(worth[verdict], t.prompt_id) for t in ruled for verdict in (t.forward, t.backward) if verdict])


def _lengths(ruled: Sequence[tuple[Tried, HumanPair, float]]) -> dict[str, Estimate | None]:
    unequal = [(t.prompt_id, pair, score) for t, pair, score in ruled if len(pair.first) != len(pair.second)]
    own = [
        (prompt, pair, float((score == 1) == (len(pair.first) > len(pair.second))))
        for prompt, pair, score in unequal
        if score != 0.5
    ]
    both = [(value - theirs, prompt) for prompt, pair, value in own if (theirs := _longer(pair)) is not None]
    return {
        "longer": _mean([(value, prompt) for prompt, _, value in own]),
        "longer_than_people": _mean(both, low=-1.0),
    }


def _longer(pair: HumanPair) -> float | None:
    """Whether the majority prefers the longer answer; None where it prefers neither, or the lengths are equal."""
    if pair.majority not in ("A", "B") or len(pair.first) == len(pair.second):
        return None
    return float((pair.majority == "A") == (len(pair.first) > len(pair.second)))


def _agreed(pair: HumanPair) -> float:
    """Share of the couples of annotators that gave the same label."""
    couples = list(itertools.combinations(pair.votes, 2))
    return sum(one == two for one, two in couples) / len(couples)


def _shared(pair: HumanPair, score: float) -> float:
    """Share of the annotators that gave the judge's label."""
    return sum(vote == label_of(score) for vote in pair.votes) / len(pair.votes)


def _agreement(rows: Sequence[tuple[str, str, str]]) -> Agreement:
    return agreement([own for own, _, _ in rows], [theirs for _, theirs, _ in rows], [prompt for _, _, prompt in rows])


def _mean(rows: Sequence[tuple[float, str]], *, low: float = 0.0) -> Estimate | None:
    return share([value for value, _ in rows], [prompt for _, prompt in rows], low=low) if rows else None

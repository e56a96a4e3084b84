"""What the verdicts on pairs and probes say of a judge: agreement with people, the order, the length, who fools it.

Owns the evaluation of a judge and its figures. How they are shown is the business of ``report.evaluations.judges``.
Prompts are clusters throughout.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from notus.core.records import format_turns
from notus.evaluate.judges.human import HumanPair
from notus.evaluate.judges.present import (
    JudgedPair,
    PairJudge,
    PairVerdict,
    PresentedPair,
    judge_both_orders,
    label_of,
)
from notus.evaluate.judges.probes import Probe, ProbeRate, probe_rates, probe_score
from notus.llm.judge import preferred
from notus.stats.agreement import Agreement, agreement, krippendorff
from notus.stats.intervals import Estimate, share

__all__ = [
    "JudgeEvaluation",
    "JudgeFigures",
    "PeopleFigures",
    "evaluate_judge",
    "judge_figures",
    "judged_pair",
    "like_couples",
    "mean_by_prompt",
    "people_figures",
    "with_label",
]


@dataclass(frozen=True)
class JudgeEvaluation:
    """All verdicts of one judge."""

    judge: str
    pointwise: bool
    pairs: tuple[JudgedPair, ...]
    """One for each pair of the source, in its order."""
    probes: tuple[JudgedPair, ...]
    """One for each probe, in the order of the probes."""


@dataclass(frozen=True)
class PeopleFigures:
    """How people agree among themselves: the yardstick."""

    pairs: int
    annotators: int
    """Of each pair; where the raters are others for each pair, how many there are in all."""
    preferred: int
    """Pairs in which the majority prefers one answer."""
    ties: int
    """Pairs in which the majority prefers neither."""
    divided: int
    """Pairs without a majority: they count against each annotator, and nowhere else."""
    among: Estimate | None
    """Chance that two of the annotators give a pair the same label; None with one annotator."""
    couples: tuple[Agreement, ...]
    """Agreement of each two annotators: first and second, first and third, second and third … Empty where the raters
    are others for each pair."""
    alpha: Estimate | None
    """Krippendorff's α of all annotators, nominal."""
    longer: Estimate | None
    """Share of the longer answer among those that the majority prefers, lengths being unequal."""


@dataclass(frozen=True)
class JudgeFigures:
    """What the verdicts of one judge say of it. An estimate is None where there are too few prompts."""

    name: str
    pointwise: bool
    asked: int
    scored: int
    unscored: dict[str, int]
    """Reason → pairs without a verdict in one of the orders."""
    majority: Agreement
    """With the majority; a verdict that turns with the order is a tie."""
    annotators: tuple[Agreement, ...]
    """With each annotator; empty where they are others for each pair."""
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
    probes: tuple[ProbeRate, ...]


def evaluate_judge(judge: PairJudge, pairs: Sequence[HumanPair], probes: Sequence[Probe]) -> JudgeEvaluation:
    """Have a judge give its verdicts on all pairs and probes, each in both orders.

    Raises:
        RunError: if the judge cannot go on.
    """
    presented = [pair.presented for pair in pairs] + [probe.presented for probe in probes]
    places = list(range(len(pairs))) + [probe.pair for probe in probes]
    kinds = [("", 0)] * len(pairs) + [(probe.kind, probe.variant) for probe in probes]
    judged = tuple(
        judged_pair(judge.name, each, place, kind, both, pairs[place])
        for each, place, kind, both in zip(presented, places, kinds, judge_both_orders(judge, presented), strict=True)
    )
    return JudgeEvaluation(judge.name, judge.pointwise, judged[: len(pairs)], judged[len(pairs) :])


def people_figures(pairs: Sequence[HumanPair]) -> PeopleFigures:
    """How people agree among themselves."""
    prompts = [pair.presented.prompt_id for pair in pairs]
    count = _fixed_annotators(pairs)
    raters = {name for pair in pairs for name in pair.raters}
    several = [(pair, prompt) for pair, prompt in zip(pairs, prompts, strict=True) if len(pair.votes) > 1]
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
        annotators=count or len(raters),
        preferred=majorities["A"] + majorities["B"],
        ties=majorities["C"],
        divided=majorities[None],
        among=mean_by_prompt([(like_couples(pair), prompt) for pair, prompt in several]),
        couples=tuple(couples),
        alpha=krippendorff([pair.votes for pair, _ in several], [prompt for _, prompt in several]) if several else None,
        longer=mean_by_prompt(longer),
    )


def judge_figures(evaluation: JudgeEvaluation, pairs: Sequence[HumanPair], probes: Sequence[Probe]) -> JudgeFigures:
    """The figures of an evaluated judge."""
    rows = [(judged, pair, judged.score) for judged, pair in zip(evaluation.pairs, pairs, strict=True)]
    scored = [(judged, pair, score) for judged, pair, score in rows if score is not None]
    fixed = _fixed_annotators(pairs)
    return JudgeFigures(
        name=evaluation.judge,
        pointwise=evaluation.pointwise,
        asked=len(rows),
        scored=len(scored),
        unscored=dict(sorted(Counter(judged.reason for judged, _, score in rows if score is None).items())),
        majority=_agreement(
            [(label_of(score), pair.majority, judged.prompt_id) for judged, pair, score in scored if pair.majority]
        ),
        annotators=tuple(
            _agreement([(label_of(score), pair.votes[number], judged.prompt_id) for judged, pair, score in scored])
            for number in range(fixed if fixed > 1 else 0)
        ),
        with_people=mean_by_prompt([(with_label(pair, score), judged.prompt_id) for judged, pair, score in scored]),
        against_people=mean_by_prompt(
            [
                (with_label(pair, score) - like_couples(pair), judged.prompt_id)
                for judged, pair, score in scored
                if len(pair.votes) > 1
            ],
            low=-1.0,
        ),
        decided=mean_by_prompt(
            [
                (score if pair.majority == "A" else 1 - score, judged.prompt_id)
                for judged, pair, score in scored
                if pair.majority in ("A", "B")
            ]
        ),
        consistent=mean_by_prompt([(float(bool(judged.consistent)), judged.prompt_id) for judged, _, _ in scored]),
        first=_first([judged for judged, _, _ in scored]),
        **_lengths(scored),
        probes=tuple(_probe_rates(evaluation, pairs, probes)),
    )


def _fixed_annotators(pairs: Sequence[HumanPair]) -> int:
    """How many annotators judged every pair; 0 where they are others for each pair."""
    return 0 if not pairs or any(pair.raters for pair in pairs) else len(pairs[0].votes)


def judged_pair(
    judge: str,
    pair: PresentedPair,
    place: int,
    kind: tuple[str, int],
    both: tuple[PairVerdict, PairVerdict],
    read: HumanPair,
) -> JudgedPair:
    """The verdicts of a judge on a pair as a row.

    Args:
        judge: its name.
        pair: as it was presented.
        place: number of the pair in the source.
        kind: of the probe and its text; an empty one for a pair as it is.
        both: the verdict on it, and on it with the answers exchanged.
        read: the pair of the source.
    """
    forward, backward = both[0].label, both[1].label
    return JudgedPair(
        judge=judge,
        prompt_id=pair.prompt_id,
        pair=place,
        probe=kind[0],
        variant=kind[1],
        forward=forward,
        backward=backward,
        score=None if forward is None or backward is None else preferred(forward, backward).score,
        reason=both[0].reason or both[1].reason,
        id=read.id,
        file=read.file,
        line=read.line,
        prompt=format_turns(pair.prompt),
        first=pair.first,
        second=pair.second,
    )


def _probe_rates(evaluation: JudgeEvaluation, pairs: Sequence[HumanPair], probes: Sequence[Probe]) -> list[ProbeRate]:
    found: list[tuple[Probe, float | None]] = []
    for probe, judged in zip(probes, evaluation.probes, strict=True):
        score, plain = judged.score, evaluation.pairs[probe.pair].score
        if probe.kind == "copy" and score is not None:
            score = float(judged.forward != "C")
        if plain is not None and pairs[probe.pair].majority == "B":
            plain = 1 - plain
        found.append((probe, probe_score(probe, score, plain)))
    return probe_rates(found)


def _first(judged: Sequence[JudgedPair]) -> Estimate | None:
    if all(pair.consistent for pair in judged):
        return None
    worth = {"A": 1.0, "B": 0.0, "C": 0.5}
    both = [(pair.prompt_id, label) for pair in judged for label in (pair.forward, pair.backward) if label]
    return mean_by_prompt([(worth[label], prompt) for prompt, label in both])


def _lengths(scored: Sequence[tuple[JudgedPair, HumanPair, float]]) -> dict[str, Estimate | None]:
    unequal = [
        (judged.prompt_id, pair, score)
        for judged, pair, score in scored
        if pair.texts and len(pair.first) != len(pair.second)
    ]
    own = [
        (prompt, pair, float((score == 1) == (len(pair.first) > len(pair.second))))
        for prompt, pair, score in unequal
        if score != 0.5
    ]
    both = [(value - theirs, prompt) for prompt, pair, value in own if (theirs := _longer(pair)) is not None]
    return {
        "longer": mean_by_prompt([(value, prompt) for prompt, _, value in own]),
        "longer_than_people": mean_by_prompt(both, low=-1.0),
    }


def _longer(pair: HumanPair) -> float | None:
    """Whether the majority prefers the longer answer; None where it prefers neither, or the lengths are equal."""
    if not pair.texts:
        return None
    if pair.majority not in ("A", "B") or len(pair.first) == len(pair.second):
        return None
    return float((pair.majority == "A") == (len(pair.first) > len(pair.second)))


def like_couples(pair: HumanPair) -> float:
    """Share of the couples of annotators of a pair that gave the same label; there must be two of them."""
    couples = list(itertools.combinations(pair.votes, 2))
    return sum(one == two for one, two in couples) / len(couples)


def with_label(pair: HumanPair, score: float) -> float:
    """Share of the annotators that gave the judge's label."""
    return sum(vote == label_of(score) for vote in pair.votes) / len(pair.votes)


def _agreement(rows: Sequence[tuple[str, str, str]]) -> Agreement:
    return agreement([own for own, _, _ in rows], [theirs for _, theirs, _ in rows], [prompt for _, _, prompt in rows])


def mean_by_prompt(rows: Sequence[tuple[float, str]], *, low: float = 0.0) -> Estimate | None:
    """The mean of values, each with its prompt, as a share; None with too few prompts."""
    return share([value for value, _ in rows], [prompt for _, prompt in rows], low=low) if rows else None

"""Judges and people on the votes of many annotators: by question, and with each annotator left out of the majority.

A majority that holds an annotator's own vote flatters that annotator. So each vote is set against the majority of the
*others* on the same pair, and the judge against that same majority, vote by vote::

    person = mean over votes (i, r) of [v_ir = majority of v_i without r]
    judge  = mean over the same votes of [label of the judge on i = majority of v_i without r]

Votes for which the others have no majority say nothing, and are counted. Prompts are clusters throughout. Owns these
figures; raw agreement and κ are those of ``stats.agreement``, what a pair and its majority are is owned by ``human``.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from notus.core.records import Record
from notus.evaluate.judges.figures import JudgeEvaluation, PeopleFigures, mean_by_prompt, people_figures
from notus.evaluate.judges.human import HumanPair
from notus.evaluate.judges.present import label_of
from notus.stats.agreement import Agreement, agreement
from notus.stats.intervals import Estimate

__all__ = [
    "AnnotatorRow",
    "CrowdJudge",
    "CrowdPeople",
    "annotator_rows",
    "by_question",
    "crowd_judge",
    "crowd_people",
    "majority_of",
]


@dataclass(frozen=True)
class CrowdPeople:
    """How many annotators agree among themselves on one question."""

    question: str
    people: PeopleFigures
    votes: int
    against_others: int
    """Votes for which the others have a majority."""
    with_others: Estimate | None
    """Share of these votes that are the majority of the others."""


@dataclass(frozen=True)
class CrowdJudge:
    """How a judge agrees with many annotators on one question. An estimate is None where there are too few prompts."""

    judge: str
    question: str
    asked: int
    scored: int
    majority: Agreement
    """With the majority of all votes; pairs without one are left out."""
    person: Agreement
    """With single votes, each a case of its own: raw, κ and AC1."""
    minus_people: Estimate | None
    """Chance of the same label as one annotator, minus the chance that two annotators agree, on pairs with several."""
    against_others: int
    """Votes for which the others have a majority, on pairs that the judge has a verdict on."""
    with_others: Estimate | None
    """Share of these in which the judge gives the majority of the others."""
    minus_person: Estimate | None
    """That minus the share in which the one who is left out gives it, vote by vote."""


class AnnotatorRow(Record, frozen=True):
    """One annotator on one question: a row of ``annotators.parquet``."""

    question: str
    annotator: str
    votes: int
    against_others: int
    with_others: float | None
    """Share of those votes that are the majority of the others; None where there are none. It is a count's share, and
    has no interval: a person's votes are few."""
    judge: str = ""
    judged: int = 0
    """Votes on pairs on which the judge has a verdict."""
    with_judge: float | None = None
    """Share of these that are the judge's label."""


def by_question(pairs: Sequence[HumanPair]) -> dict[str, list[HumanPair]]:
    """The pairs of each question, in the order of the source."""
    found: dict[str, list[HumanPair]] = defaultdict(list)
    for pair in pairs:
        found[pair.question].append(pair)
    return dict(found)


def majority_of(votes: Sequence[str]) -> str | None:
    """The label with more votes than any other; None where two share the first place, or nobody voted."""
    ranked = Counter(votes).most_common(2)
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def crowd_people(question: str, pairs: Sequence[HumanPair]) -> CrowdPeople:
    """How the annotators of one question agree among themselves."""
    cases = [(float(vote == others), pair.presented.prompt_id) for pair in pairs for vote, others in _left_out(pair)]
    votes = sum(len(pair.votes) for pair in pairs)
    return CrowdPeople(question, people_figures(pairs), votes, len(cases), mean_by_prompt(cases))


def crowd_judge(question: str, evaluation: JudgeEvaluation, pairs: Sequence[HumanPair]) -> CrowdJudge:
    """How a judge agrees with the annotators of one question.

    Args:
        question: which.
        evaluation: of the judge.
        pairs: those of the evaluation, in its order; only those of the question count.
    """
    mine = [
        (pair, judged.score, judged.prompt_id)
        for judged, pair in zip(evaluation.pairs, pairs, strict=True)
        if pair.question == question
    ]
    scored = [(pair, label_of(score), prompt) for pair, score, prompt in mine if score is not None]
    decided = [(label, pair.majority, prompt) for pair, label, prompt in scored if pair.majority]
    single = [(label, vote, prompt) for pair, label, prompt in scored for vote in pair.votes]
    several = [(pair, label, prompt) for pair, label, prompt in scored if len(pair.votes) > 1]
    left = [(label, vote, others, prompt) for pair, label, prompt in several for vote, others in _left_out(pair)]
    return CrowdJudge(
        judge=evaluation.judge,
        question=question,
        asked=len(mine),
        scored=len(scored),
        majority=_agreement(decided),
        person=_agreement(single),
        minus_people=mean_by_prompt(
            [(_share_of(label, pair.votes) - _like(pair.votes), prompt) for pair, label, prompt in several], low=-1.0
        ),
        against_others=len(left),
        with_others=mean_by_prompt([(float(label == others), prompt) for label, _, others, prompt in left]),
        minus_person=mean_by_prompt(
            [(float(label == others) - float(vote == others), prompt) for label, vote, others, prompt in left], low=-1.0
        ),
    )


def annotator_rows(
    pairs: Sequence[HumanPair], judges: Sequence[tuple[JudgeEvaluation, Sequence[HumanPair]]]
) -> list[AnnotatorRow]:
    """Each annotator on each question, for each judge, the one with the most votes first.

    Args:
        pairs: all of the source; those without named raters have no annotators.
        judges: the evaluations with their pairs.
    """
    votes: Counter[tuple[str, str]] = Counter()
    others: dict[tuple[str, str], list[float]] = defaultdict(list)
    for pair in pairs:
        for rater, vote, of in zip(pair.raters, pair.votes, _others(pair), strict=False):
            votes[pair.question, rater] += 1
            if of is not None:
                others[pair.question, rater].append(float(vote == of))
    found = []
    for evaluation, own in judges:
        with_judge = _with_each(evaluation, own)
        for (question, rater), count in sorted(votes.items(), key=lambda item: (item[0][0], -item[1], item[0][1])):
            left, judged = others[question, rater], with_judge.get((question, rater), [])
            found.append(
                AnnotatorRow(
                    question=question,
                    annotator=rater,
                    votes=count,
                    against_others=len(left),
                    with_others=sum(left) / len(left) if left else None,
                    judge=evaluation.judge,
                    judged=len(judged),
                    with_judge=sum(judged) / len(judged) if judged else None,
                )
            )
    return found


def _with_each(evaluation: JudgeEvaluation, pairs: Sequence[HumanPair]) -> Mapping[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for judged, pair in zip(evaluation.pairs, pairs, strict=True):
        if judged.score is not None:
            for rater, vote in zip(pair.raters, pair.votes, strict=False):
                found[pair.question, rater].append(float(vote == label_of(judged.score)))
    return found


def _others(pair: HumanPair) -> list[str | None]:
    """For each vote the majority of the others."""
    votes = pair.votes
    return [majority_of([*votes[:place], *votes[place + 1 :]]) for place in range(len(votes))]


def _left_out(pair: HumanPair) -> list[tuple[str, str]]:
    """Each vote with the majority of the others, where they have one."""
    return [(vote, of) for vote, of in zip(pair.votes, _others(pair), strict=True) if of is not None]


def _share_of(label: str, votes: Sequence[str]) -> float:
    return sum(vote == label for vote in votes) / len(votes)


def _like(votes: Sequence[str]) -> float:
    """Share of the couples of votes that are the same."""
    same = sum(count * (count - 1) for count in Counter(votes).values())
    return same / (len(votes) * (len(votes) - 1))


def _agreement(rows: Sequence[tuple[str, str, str]]) -> Agreement:
    own, theirs, prompts = zip(*rows, strict=True) if rows else ((), (), ())
    return agreement(own, theirs, prompts)

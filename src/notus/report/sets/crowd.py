"""What judges show beside many annotators: by question, with the majority, with each one left out, people themselves.

Owns what is shown and how it is put. The figures are those of ``evaluate.judges.crowd``.
"""

from collections.abc import Iterable, Sequence

from notus.core.text import counted
from notus.evaluate.compare import format_estimate
from notus.evaluate.judges.crowd import CrowdJudge, CrowdPeople
from notus.report.section import ReportSection, estimate_cell, share_cell
from notus.report.table import Cell, Table

__all__ = ["crowd_sections"]

_CLUSTERS = "95 % intervals, prompts as clusters."


def crowd_sections(people: Sequence[CrowdPeople], judges: Sequence[CrowdJudge], main: str) -> list[ReportSection]:
    """What many annotators and the judges say, question by question.

    Args:
        people: of each question.
        judges: each judge on each question.
        main: the question that the sentences speak of.
    """
    sentences = [*_people(people, main), *(line for judge in judges if judge.question == main for line in _told(judge))]
    return [
        ReportSection("People among themselves", tuple(sentences), table=_people_table(people)),
        ReportSection("Judges and many annotators", table=_judge_table(judges)),
    ]


def _people(people: Sequence[CrowdPeople], main: str) -> Iterable[str]:
    for each in people:
        if each.question != main:
            continue
        own = each.people
        asked = f" on '{main}'" if main else ""
        text = (
            f"{counted(own.annotators, 'annotator')} gave {each.votes:,} votes{asked} on {counted(own.pairs, 'pair')}"
        )
        if own.among is not None and own.alpha is not None:
            among, alpha = format_estimate(own.among), format_estimate(own.alpha)
            text += f"; two of them agree on a pair in {among} (Krippendorff's α {alpha})"
        yield f"{text}."
        if each.with_others is not None:
            share = format_estimate(each.with_others)
            yield (
                f"A person gives the majority of the others in {share} of {each.against_others:,} votes; for "
                f"{each.votes - each.against_others:,} the others have no majority."
            )


def _told(judge: CrowdJudge) -> Iterable[str]:
    if judge.with_others is None or judge.minus_person is None:
        return
    share, minus = format_estimate(judge.with_others), format_estimate(judge.minus_person, sign=True)
    side = "as often as a person, as far as can be told"
    if not judge.minus_person.low <= 0 <= judge.minus_person.high:
        side = "more often than a person" if judge.minus_person.mean > 0 else "less often than a person"
    yield (
        f"{judge.judge} gives the majority of the others in {share} of {judge.against_others:,} votes, {side}: "
        f"{minus}, vote by vote."
    )


def _people_table(people: Sequence[CrowdPeople]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            each.question or "–",
            each.people.pairs,
            each.votes,
            each.people.annotators,
            each.people.divided,
            estimate_cell(each.people.among),
            estimate_cell(each.people.alpha),
            each.against_others,
            share_cell(each.with_others),
        )
        for each in people
    ]
    columns = ("Question", "Pairs", "Votes", "Annotators", "Divided", "Two agree", "α", "n", "With the others")
    note = (
        "Divided: pairs without a majority. With the others: a vote is the majority of the other votes on its pair, n "
    )
    note += f"votes. α: Krippendorff's, nominal. {_CLUSTERS}"
    return Table(columns, tuple(rows), note)


def _judge_table(judges: Sequence[CrowdJudge]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            judge.judge,
            judge.question or "–",
            judge.asked,
            judge.scored,
            judge.majority.n,
            share_cell(judge.majority.raw),
            estimate_cell(judge.majority.kappa),
            share_cell(judge.person.raw),
            estimate_cell(judge.person.kappa),
            estimate_cell(judge.minus_people, sign=True),
            judge.against_others,
            share_cell(judge.with_others),
            estimate_cell(judge.minus_person, sign=True),
        )
        for judge in judges
    ]
    columns: tuple[str, ...] = (
        "Judge",
        "Question",
        "Pairs",
        "Scored",
        "n",
        "With majority",
        "κ",
        "With one vote",
        "κ of votes",
    )
    columns += ("Minus two people", "n of votes", "With the others", "Minus a person")
    note = "n: pairs with a majority. Minus two people: with one vote, less the chance that two people agree. With the "
    note += "others: the judge gives the majority of the votes but one, n of votes; minus a person: less the share in "
    note += f"which the one left out gives it. κ: Cohen's. {_CLUSTERS}"
    return Table(columns, tuple(rows), note)

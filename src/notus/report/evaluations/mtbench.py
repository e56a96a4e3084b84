"""What a scoring of MT-Bench shows: the score of each model with its interval, by turn and category, and the doubts.

Owns what is shown and in which words. The figures are those of ``evaluate.mtbench.score``.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from notus.evaluate.compare import format_estimate
from notus.evaluate.degenerate import DistinctAnswers
from notus.evaluate.mtbench.files import CATEGORIES
from notus.evaluate.mtbench.parse import NOT_FOUND
from notus.evaluate.mtbench.score import OUTCOMES, ModelScore, MtBenchScores, describe_win_rates
from notus.report.charts import IntervalRow, intervals
from notus.report.section import ReportSection, estimate_cell, share_cell
from notus.report.table import Cell, Table

__all__ = ["mtbench_sections"]

_LISTED = 12
"""Rows of a table that lists cases; all of them are in the run directory."""


def mtbench_sections(scores: MtBenchScores, alike: Sequence[DistinctAnswers] = ()) -> list[ReportSection]:
    """What a scoring shows, the most important first.

    Args:
        scores: the figures.
        alike: how many different answers models gave, where answers were at hand; those that are flagged are named.
    """
    flagged = tuple(one.describe() for one in alike if one.flagged)
    sections = [ReportSection("Answers that are too much alike", flagged)] if flagged else []
    if scores.scores:
        sections += [_scores(scores), _categories(scores)]
    if scores.comparisons:
        sections.append(_comparisons(scores))
    if scores.pair_rates:
        sections.append(_pairs(scores))
    sections.append(_readings(scores))
    if scores.repeated or scores.repeated_matches:
        sections.append(_repeated_section(scores))
    return sections


def _scores(scores: MtBenchScores) -> ReportSection:
    whole = [each for each in scores.scores if each.part == "all"]
    turns = sorted({each.part for each in scores.scores if each.part.startswith("turn ")})
    parts = {(each.model, each.judge, each.part): each for each in scores.scores}
    rows: list[tuple[Cell, ...]] = [
        (
            each.model,
            each.judge,
            each.asked,
            each.scored,
            each.unscored,
            each.questions,
            _format_score(each),
            *(_format_score(parts.get((each.model, each.judge, turn))) for turn in turns),
            _worst_to_best(each),
        )
        for each in sorted(whole, key=_for_certain)
    ]
    columns = ("Model", "Judge", "Asked", "Scored", "Unscored", "Questions", "Score", *map(str.capitalize, turns))
    note = "Scores from 1 to 10, 95 % over questions as clusters. Worst and best: each unscored grading a 1, or a 10."
    rated = [IntervalRow(row.model, row.interval, None, note=_describe_n(row)) for row in whole]
    picture = intervals(
        rated,
        title="MT-Bench",
        subtitle="95 % intervals over questions, whose two turns belong together",
        x_label="mean score, 1 to 10",
    )
    table = Table((*columns, "Worst to best"), tuple(rows), note)
    way = "strictly" if scores.mode == "strict" else "as FastChat reads"
    return ReportSection(f"MT-Bench, read {way}", tuple(_doubts(scores, whole)), table, picture, "mtbench-scores")


def _doubts(scores: MtBenchScores, whole: Iterable[ModelScore]) -> Iterable[str]:
    for each in whole:
        if each.unscored and each.worst is not None and each.best is not None:
            yield (
                f"{each.model}: {each.unscored:,} of {each.asked:,} gradings have no score. The mean of the "
                "others stands for them only if they are like them; with all of them it lies between "
                f"{each.worst:.2f} and {each.best:.2f}."
            )
    for (model, judge), lost in scores.missing.items():
        yield f"{model}: {lost:,} turns that {judge} graded for other models are missing; means are not over the same."


def _categories(scores: MtBenchScores) -> ReportSection:
    models = sorted({(each.model, each.judge) for each in scores.scores})
    parts = {(each.model, each.judge, each.part): each for each in scores.scores}
    known = [*CATEGORIES, *sorted({turn.category for turn in scores.turns} - CATEGORIES.keys())]
    rows: list[tuple[Cell, ...]] = []
    for model, judge in models:
        for category in known:
            here = [
                parts.get((model, judge, part)) for part in (category, f"{category}, turn 1", f"{category}, turn 2")
            ]
            if here[0] is not None:
                rows.append((model, category, here[0].scored, here[0].unscored, *map(_format_score, here)))
    columns = ("Model", "Category", "Scored", "Unscored", "Score", "Turn 1", "Turn 2")
    note = "Ten questions in a category say little: look at the intervals before a difference is believed."
    return ReportSection("By category and turn", table=Table(columns, tuple(rows), note))


def _comparisons(scores: MtBenchScores) -> ReportSection:
    rows: list[tuple[Cell, ...]] = [
        (
            f"{one.pair.a} − {one.pair.b}",
            one.pair.shared_prompts,
            one.turns,
            estimate_cell(one.pair.by_prompts, sign=True, digits=2),
            _format_p(one.p),
            one.pair.better if one.p is not None and one.p < 0.05 else "not distinguishable",
        )
        for one in scores.comparisons
    ]
    columns = ("Difference", "Questions", "Turns", "Mean, 95 %", "p (Holm)", "Better")
    note = "Paired by question, on the turns that both have a score for; of these models, not of how they were trained."
    compared = scores.comparisons
    sentences = tuple(_join(one.words) for one in compared) if len(compared) <= _LISTED else ()
    return ReportSection("Compared, question by question", sentences, Table(columns, tuple(rows), note))


def _pairs(scores: MtBenchScores) -> ReportSection:
    whole = [each for each in scores.pair_rates if each.part == "all"]
    sentences = [f"{sentence}." for sentence in describe_win_rates(whole)]
    sentences += [
        f"The judge {each.judge} preferred the answer that it saw first in {share_cell(each.first_shown)} of "
        f"{each.first_shown.n:,} verdicts with a winner; {each.counts['inconsistent']:,} of "
        f"{each.asked:,} pairs were judged otherwise in the other order."
        for each in whole
        if each.first_shown is not None
    ]
    rows: list[tuple[Cell, ...]] = [
        (
            f"{each.model_1} against {each.model_2}",
            each.part,
            each.asked,
            *(each.counts[name] for name in OUTCOMES),
            share_cell(each.win_rate),
            share_cell(each.first_shown),
        )
        for each in scores.pair_rates
    ]
    columns = ("Models", "Part", "Asked", "First wins", "Second wins", "Ties", "Inconsistent", "Unread")
    note = "Win rate of the first model, 95 % over questions; ties and inconsistent pairs are half a win."
    table = Table((*columns, "Win rate", "Shown first wins"), tuple(rows), note)
    return ReportSection("Side by side, in both orders", tuple(sentences), table)


def _readings(scores: MtBenchScores) -> ReportSection:
    same, of = scores.reproduced
    sentences = [
        f"FastChat's reading gives {same:,} of {of:,} stored scores and verdicts again.",
        f"The strict reading differs from it in {len(scores.differences):,}; differences.parquet lists all of them.",
    ]
    if not scores.differences:
        return ReportSection("How the judgements were read", tuple(sentences))
    counts = Counter(
        (d.model, d.kind.partition("-")[0], d.reason, _kind_of_reading(d.fastchat)) for d in scores.differences
    )
    rows: list[tuple[Cell, ...]] = [
        (model, kind, reason, fastchat, count)
        for (model, kind, reason, fastchat), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    table = Table(
        ("Model", "Kind", "Why it is refused", "FastChat reads", "Judgements"),
        tuple(rows[:_LISTED]),
        "nothing: FastChat writes −1 or error, and leaves the row out of its means without a word.",
    )
    return ReportSection("How the judgements were read", tuple(sentences), table)


def _repeated_section(scores: MtBenchScores) -> ReportSection:
    many = len(scores.repeated) + len(scores.repeated_matches)
    how = "each turn counts once, with the mean" if scores.mode == "strict" else "each row counts, as FastChat has it"
    sentences = [f"{many:,} turns were judged more than once by the same judge; {how}."]
    if scores.repeated_matches:
        sentences.append("Of pairs each row counts; the question is the cluster all the same.")
    rows: list[tuple[Cell, ...]] = [
        (
            one.model,
            one.question_id,
            one.turn,
            one.times,
            ", ".join(f"{score:g}" for score in one.scores),
            "the same text" if one.alike else "judged again",
        )
        for one in scores.repeated
    ]
    rows += [
        (f"{a} against {b}", number, turn, times, None, "pair")
        for (a, b, _, number, turn), times in scores.repeated_matches.items()
    ]
    columns = ("Model", "Question", "Turn", "Times", "Stored scores", "What")
    return ReportSection(
        "Judged more than once", tuple(sentences), Table(columns, tuple(rows[:_LISTED]), f"{many:,} in all.")
    )


def _format_score(each: ModelScore | None) -> Cell:
    if each is None or each.mean is None:
        return None
    if each.interval is None or each.interval.width == 0:  # equal values say nothing of how far others would lie
        return f"{each.mean:.2f} (no interval)"
    return format_estimate(each.interval, digits=2)


def _for_certain(each: ModelScore) -> float:
    """For the order of a table: what a model has for certain, the highest first."""
    return -(each.worst if each.worst is not None else each.mean or 0.0)


def _join(words: Sequence[str]) -> str:
    """A verdict with its remarks; the verdict begins with a model's name, which stays as it is."""
    return ". ".join((words[0], *(part[:1].upper() + part[1:] for part in words[1:]))) + "."


def _format_p(p: float | None) -> str | None:
    if p is None:
        return None
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _kind_of_reading(fastchat: str) -> str:
    if fastchat in (str(NOT_FOUND), "error"):
        return "nothing"
    return "a score" if fastchat.replace(".", "").isdigit() else fastchat


def _worst_to_best(each: ModelScore) -> Cell:
    return f"{each.worst:.2f} to {each.best:.2f}" if each.worst is not None else None


def _describe_n(each: ModelScore) -> str:
    return f"{each.scored:,} of {each.asked:,} gradings · {each.questions:,} questions"

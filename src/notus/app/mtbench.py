"""What a scoring of MT-Bench shows: the score of each model with its interval, by turn and category, and the doubts.

Owns what is shown and in which words. The figures are those of ``evaluate.mtbench``.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from notus.app.health import Finding
from notus.app.pictures import IntervalRow, intervals
from notus.app.report import Cell, Table
from notus.core.statistics import Estimate
from notus.evaluate.compare import spoken
from notus.evaluate.distinct import Distinct
from notus.evaluate.mtbench import Figure, Sheet
from notus.evaluate.mtbench_files import CATEGORIES
from notus.evaluate.mtbench_pairs import OUTCOMES, against_even
from notus.evaluate.mtbench_readers import NOT_FOUND
from notus.evaluate.shares import certain

__all__ = ["mtbench_findings"]

_LISTED = 12
"""Rows of a table that lists cases; all of them are in the run directory."""


def mtbench_findings(sheet: Sheet, alike: Sequence[Distinct] = ()) -> list[Finding]:
    """The findings, the most important first.

    Args:
        sheet: the figures.
        alike: how many different answers models gave, where answers were at hand; those that are flagged are told.
    """
    flagged = tuple(one.sentence() for one in alike if one.flagged)
    findings = [Finding("Answers that are too much alike", flagged)] if flagged else []
    if sheet.figures:
        findings.append(_scores(sheet))
    if sheet.figures:
        findings.append(_categories(sheet))
    if sheet.versus:
        findings.append(_versus(sheet))
    if sheet.pair_figures:
        findings.append(_pairs(sheet))
    findings.append(_readings(sheet))
    if sheet.repeated or sheet.repeated_matches:
        findings.append(_repeated(sheet))
    return findings


def _scores(sheet: Sheet) -> Finding:
    whole = [figure for figure in sheet.figures if figure.part == "all"]
    turns = sorted({figure.part for figure in sheet.figures if figure.part.startswith("turn ")})
    parts = {(figure.model, figure.judge, figure.part): figure for figure in sheet.figures}
    rows: list[tuple[Cell, ...]] = [
        (
            figure.model,
            figure.judge,
            figure.asked,
            figure.scored,
            figure.unscored,
            figure.questions,
            _told(figure),
            *(_told(parts.get((figure.model, figure.judge, turn))) for turn in turns),
            _reach(figure),
        )
        for figure in sorted(whole, key=_standing)
    ]
    columns = ("Model", "Judge", "Asked", "Scored", "Unscored", "Questions", "Score", *map(str.capitalize, turns))
    note = "Scores from 1 to 10, 95 % over questions as clusters. Worst and best: each unscored grading a 1, or a 10."
    rated = [IntervalRow(row.model, row.interval, None, note=_n(row)) for row in whole]
    picture = intervals(
        rated,
        title="MT-Bench",
        subtitle="95 % intervals over questions, whose two turns belong together",
        x_label="mean score, 1 to 10",
    )
    said = tuple(_doubts(sheet, whole))
    table = Table((*columns, "Worst to best"), tuple(rows), note)
    return Finding(f"MT-Bench, read {_way(sheet)}", said, table, picture, "mtbench-scores")


def _doubts(sheet: Sheet, whole: Iterable[Figure]) -> Iterable[str]:
    for figure in whole:
        if figure.unscored and figure.worst is not None and figure.best is not None:
            yield (
                f"{figure.model}: {figure.unscored:,} of {figure.asked:,} gradings have no score. The mean of the "
                "others stands for them only if they are like them; with all of them it lies between "
                f"{figure.worst:.2f} and {figure.best:.2f}."
            )
    for (model, judge), lost in sheet.missing.items():
        yield f"{model}: {lost:,} turns that {judge} graded for other models are missing; means are not over the same."


def _categories(sheet: Sheet) -> Finding:
    models = sorted({(figure.model, figure.judge) for figure in sheet.figures})
    parts = {(figure.model, figure.judge, figure.part): figure for figure in sheet.figures}
    known = [*CATEGORIES, *sorted({cell.category for cell in sheet.cells} - CATEGORIES.keys())]
    rows: list[tuple[Cell, ...]] = []
    for model, judge in models:
        for category in known:
            here = [
                parts.get((model, judge, part)) for part in (category, f"{category}, turn 1", f"{category}, turn 2")
            ]
            if here[0] is not None:
                rows.append((model, category, here[0].scored, here[0].unscored, *map(_told, here)))
    columns = ("Model", "Category", "Scored", "Unscored", "Score", "Turn 1", "Turn 2")
    note = "Ten questions in a category say little: look at the intervals before a difference is believed."
    return Finding("By category and turn", table=Table(columns, tuple(rows), note))


def _versus(sheet: Sheet) -> Finding:
    said = tuple(_sentences(one.words) for one in sheet.versus)
    rows: list[tuple[Cell, ...]] = [
        (
            f"{one.pair.a} − {one.pair.b}",
            one.pair.shared_prompts,
            one.turns,
            spoken(one.pair.by_prompts, sign=True, digits=2) if one.pair.by_prompts else None,
            _p(one.p),
            one.pair.better if one.p is not None and one.p < 0.05 else "not distinguishable",
        )
        for one in sheet.versus
    ]
    columns = ("Difference", "Questions", "Turns", "Mean, 95 %", "p (Holm)", "Better")
    note = "Paired by question, on the turns that both have a score for; of these models, not of how they were trained."
    shown = said if len(said) <= _LISTED else ()
    return Finding("Compared, question by question", shown, Table(columns, tuple(rows), note))


def _pairs(sheet: Sheet) -> Finding:
    whole = [figure for figure in sheet.pair_figures if figure.part == "all"]
    said = [f"{sentence}." for sentence in against_even(whole)]
    said += [
        f"The judge {figure.judge} preferred the answer that it saw first in {_share(figure.first_shown)} of "
        f"{figure.first_shown.n:,} verdicts with a winner; {figure.counts['inconsistent']:,} of "
        f"{figure.asked:,} pairs were judged otherwise in the other order."
        for figure in whole
        if figure.first_shown is not None
    ]
    rows: list[tuple[Cell, ...]] = [
        (
            f"{figure.model_1} against {figure.model_2}",
            figure.part,
            figure.asked,
            *(figure.counts[name] for name in OUTCOMES),
            _share(figure.win_rate),
            _share(figure.first_shown),
        )
        for figure in sheet.pair_figures
    ]
    columns = ("Models", "Part", "Asked", "First wins", "Second wins", "Ties", "Inconsistent", "Unread")
    note = "Win rate of the first model, 95 % over questions; ties and inconsistent pairs are half a win."
    table = Table((*columns, "Win rate", "Shown first wins"), tuple(rows), note)
    return Finding("Side by side, in both orders", tuple(said), table)


def _readings(sheet: Sheet) -> Finding:
    same, of = sheet.reproduced
    said = [
        f"FastChat's reading gives {same:,} of {of:,} stored scores and verdicts again.",
        f"The strict reading differs from it in {len(sheet.differences):,}; differences.parquet lists all of them.",
    ]
    if not sheet.differences:
        return Finding("How the judgements were read", tuple(said))
    counts = Counter((d.model, d.kind.partition("-")[0], d.reason, _kind_of(d.fastchat)) for d in sheet.differences)
    rows: list[tuple[Cell, ...]] = [
        (model, kind, reason, fastchat, count)
        for (model, kind, reason, fastchat), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    table = Table(
        ("Model", "Kind", "Why it is refused", "FastChat reads", "Judgements"),
        tuple(rows[:_LISTED]),
        "nothing: FastChat writes −1 or error, and leaves the row out of its means without a word.",
    )
    return Finding("How the judgements were read", tuple(said), table)


def _repeated(sheet: Sheet) -> Finding:
    many = len(sheet.repeated) + len(sheet.repeated_matches)
    how = "each turn counts once, with the mean" if sheet.mode == "strict" else "each row counts, as FastChat has it"
    said = [f"{many:,} turns were judged more than once by the same judge; {how}."]
    if sheet.repeated_matches:
        said.append("Of pairs each row counts; the question is the cluster all the same.")
    rows: list[tuple[Cell, ...]] = [
        (
            one.model,
            one.question_id,
            one.turn,
            one.times,
            ", ".join(f"{score:g}" for score in one.scores),
            "the same text" if one.alike else "judged again",
        )
        for one in sheet.repeated
    ]
    rows += [
        (f"{a} against {b}", number, turn, times, None, "pair")
        for (a, b, _, number, turn), times in sheet.repeated_matches.items()
    ]
    columns = ("Model", "Question", "Turn", "Times", "Stored scores", "What")
    return Finding("Judged more than once", tuple(said), Table(columns, tuple(rows[:_LISTED]), f"{many:,} in all."))


def _way(sheet: Sheet) -> str:
    return "strictly" if sheet.mode == "strict" else "as FastChat reads"


def _told(figure: Figure | None) -> Cell:
    if figure is None or figure.mean is None:
        return None
    if figure.interval is None or figure.interval.width == 0:  # equal values say nothing of how far others would lie
        return f"{figure.mean:.2f} (no interval)"
    return spoken(figure.interval, digits=2)


def _standing(figure: Figure) -> float:
    """For the order of a table: what a model has for certain, the highest first."""
    return -(figure.worst if figure.worst is not None else figure.mean or 0.0)


def _sentences(words: Sequence[str]) -> str:
    """A verdict with its remarks; the verdict begins with a model's name, which stays as it is."""
    return ". ".join((words[0], *(part[:1].upper() + part[1:] for part in words[1:]))) + "."


def _p(p: float | None) -> str | None:
    if p is None:
        return None
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _kind_of(fastchat: str) -> str:
    if fastchat in (str(NOT_FOUND), "error"):
        return "nothing"
    return "a score" if fastchat.replace(".", "").isdigit() else fastchat


def _reach(figure: Figure) -> Cell:
    return f"{figure.worst:.2f} to {figure.best:.2f}" if figure.worst is not None else None


def _n(figure: Figure) -> str:
    return f"{figure.scored:,} of {figure.asked:,} gradings · {figure.questions:,} questions"


def _share(estimate: Estimate | None) -> str | None:
    return None if estimate is None else spoken(certain(estimate))

"""What a ranker's picks among n answers show: accuracy beside chance, by subset, RewardBench 2's Ties and total.

Owns what is shown and how it is put. The figures are those of ``evaluate.choices``.
"""

from collections.abc import Iterable, Sequence

from notus.core.text import counted, format_list
from notus.evaluate.choices.figures import REWARDBENCH_2, TIES, ChoiceAccuracy, ChoiceReport
from notus.evaluate.choices.ties import WEIGHTS, TiesScore
from notus.evaluate.compare import format_estimate
from notus.report.charts import BarRow, bars
from notus.report.section import ReportSection, estimate_cell, share_cell
from notus.report.table import Cell, Table
from notus.stats.intervals import Estimate

__all__ = ["choice_sections"]


def choice_sections(report: ChoiceReport) -> list[ReportSection]:
    """What scored choices show, the most important first."""
    sections = []
    if report.total is not None or report.missing:
        sections.append(ReportSection("RewardBench 2", tuple(_total(report))))
    sections.append(ReportSection("Accuracy", tuple(_accuracy(report))))
    if report.subsets or report.ties:
        sections.append(_subsets(report))
    if report.ties:
        sections.append(_ties(report.ties, report.ties_unscored))
    return sections


def _total(report: ChoiceReport) -> Iterable[str]:
    if report.total is None:
        missing = format_list([f"'{name}'" for name in report.missing], 6)
        yield (
            f"There is no total: the rows lack {missing}."
            if report.missing
            else ("There is no total: a subset has no scored choice.")
        )
        return
    interval = report.total_interval
    told = f"{report.total:.3f} (no interval)" if interval is None else format_estimate(interval)
    n = "" if interval is None else f", n = {interval.n:,}"
    yield f"{report.ranker}: mean of the {len(REWARDBENCH_2)} subsets {told}{n}, bootstrap over prompts."


def _accuracy(report: ChoiceReport) -> Iterable[str]:
    whole = report.whole
    if not whole.asked:
        yield "All choices are of RewardBench 2's Ties."
        return
    if not whole.scored:
        yield f"{report.ranker} scored no choice whole."
        return
    alone = f"{report.bounds[0] * whole.asked / whole.scored:.3f} (no interval: it takes two prompts)"
    told = share_cell(whole.accuracy) or alone
    fewest, most = whole.answers
    among = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    yield (
        f"{report.ranker}: a good answer has the highest score in {told} of {counted(whole.scored, 'choice')} among "
        f"{among} answers; picking at random gets {whole.chance:.3f}."
    )
    if whole.above_chance is not None:
        yield f"Above chance: {format_estimate(whole.above_chance, sign=True)}."
    if whole.ties:
        yield (
            f"In {counted(whole.ties, 'choice')} good and bad answers share the highest score; each counts the share "
            "of good ones among them."
        )
    if missing := whole.asked - whole.scored:
        low, high = report.bounds
        yield (
            f"{missing:,} of {counted(whole.asked, 'choice')} have an answer without a score; over all the accuracy "
            f"lies between {low:.3f} (all of them wrong) and {high:.3f} (all of them right)."
        )


def _subsets(report: ChoiceReport) -> ReportSection:
    rows: list[tuple[Cell, ...]] = [_row(each) for each in report.subsets]
    marks = [
        BarRow(each.name, each.accuracy.mean, "", each.accuracy, f"n = {each.scored:,}")
        for each in report.subsets
        if each.accuracy
    ]
    if ties := report.ties:
        n = ties.tied + ties.references
        told: Cell = estimate_cell(ties.interval) or f"{ties.score:.3f} (no interval)"
        rows.append((TIES, n + report.ties_unscored, n, None, told, None, None))
        marks += [BarRow(TIES, ties.score, "", ties.interval, f"n = {n:,}")] if ties.interval else []
    picture = bars(
        marks,
        title=f"Picks of {report.ranker}",
        subtitle="by subset; 95 % intervals, prompts as clusters",
        x_label="share of choices whose highest score is a good answer's; of Ties its own score",
    )
    columns = ("Subset", "Choices", "Scored", "Shared first", "Accuracy", "Chance", "Above chance")
    note = "95 % intervals, prompts as clusters. Shared first: good and bad answers have the highest score together."
    return ReportSection("Subsets", table=Table(columns, tuple(rows), note), picture=picture, slug="subsets")


def _row(each: ChoiceAccuracy) -> tuple[Cell, ...]:
    above = estimate_cell(each.above_chance, sign=True)
    return each.name or "–", each.asked, each.scored, each.ties, share_cell(each.accuracy), each.chance, above


def _ties(ties: TiesScore, unscored: int) -> ReportSection:
    parts: Sequence[tuple[str, Estimate | None, int]] = (
        ("right above wrong, several right", ties.accurate_tied, ties.tied),
        ("right above wrong, one right", ties.accurate_reference, ties.references),
        ("gap above the spread of the right ones", ties.preferred, ties.both),
        ("the lesser of both gaps above the spread", ties.preferred_hard, ties.both),
        ("margin", ties.margin, ties.both),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, n, estimate_cell(value), weight) for (name, value, n), weight in zip(parts, WEIGHTS, strict=True)
    )
    told = f"{ties.score:.3f} (no interval: it takes two prompts)"
    if ties.interval is not None:
        told = f"{format_estimate(ties.interval)}, n = {ties.interval.n:,} prompts in {ties.interval.groups:,} groups"
    sentences = [f"Score of {TIES}: {told}; a perfect ranker has 1.01 at most."]
    if lone := ties.tied + ties.references - 2 * ties.both:
        sentences.append(f"{counted(lone, 'prompt')} without the other form count in the accuracies alone.")
    if unscored:
        sentences.append(f"{counted(unscored, 'prompt')} with an answer without a score are left out.")
    note = "The score is the sum of the means by their weights. 95 % intervals over prompts."
    return ReportSection(TIES, tuple(sentences), table=Table(("Part", "n", "Mean", "Weight"), rows, note))

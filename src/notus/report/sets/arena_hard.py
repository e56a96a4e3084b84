"""What stored judgements of Arena-Hard show: win rates over the baseline, order, style.

Owns what is shown and how it is put. The figures are those of ``evaluate.score_files.arena_hard``.
"""

from collections.abc import Iterable, Sequence

from notus.core.text import counted
from notus.evaluate.compare import format_estimate
from notus.evaluate.score_files.arena_hard import CategoryScores, StyleControl
from notus.report.charts import BarRow, bars
from notus.report.section import ReportSection, estimate_cell, share_cell
from notus.report.table import Cell, Table
from notus.stats.intervals import Estimate

__all__ = ["arena_hard_sections"]


def arena_hard_sections(scores: Sequence[CategoryScores], *, strong: float) -> list[ReportSection]:
    """The scores of each category, and what style has to do with them.

    Args:
        scores: of the categories.
        strong: how often a strong verdict counted.
    """
    sections = []
    for number, each in enumerate(scores):
        sections.append(_category(each, strong, number))
        sections.append(_order(each))
        if each.style is not None:
            sections.append(_style(each, each.style))
    return sections


def _name(scores: CategoryScores) -> str:
    return f"Arena-Hard {scores.version}{f', {scores.category}' if scores.category else ''}"


def _category(scores: CategoryScores, strong: float, number: int) -> ReportSection:
    judges = ", ".join(scores.judges)
    sentences = [
        f"Judged by {judges} against {scores.baseline}, in both orders; a strong verdict counts {strong:g} times."
    ]
    if unread := sum(model.unread for model in scores.models):
        what = "its question is left out" if scores.version == "v2" else "it is left out"
        sentences.append(f"{counted(unread, 'judgement')} with a game without a verdict: {what}.")
    rows: list[tuple[Cell, ...]] = [
        (
            model.model,
            model.questions,
            model.games,
            _percent(model.win_rate),
            _percent(model.plain),
            estimate_cell(model.strength, sign=True, digits=2),
        )
        for model in scores.models
    ]
    columns = ("Model", "Questions", "Games", "Win rate, %", "Each verdict once, %", "Log-odds")
    note = "Win rate: by weight, bootstrap over questions. Log-odds: Bradley and Terry, of beating the baseline; its "
    note += "chance is the win rate. A dash: all won or all lost. 95 % intervals, questions as clusters."
    picture = bars(
        [BarRow(m.model, m.win_rate.mean, "", m.win_rate, f"n = {m.questions:,}") for m in scores.models],
        title=_name(scores),
        subtitle=f"win rate over {scores.baseline}; 95 % intervals over questions",
        x_label="share of what could be won",
    )
    slug = "arena-hard" if not number else f"arena-hard-{number + 1}"
    return ReportSection(_name(scores), tuple(sentences), Table(columns, tuple(rows), note), picture, slug)


def _order(scores: CategoryScores) -> ReportSection:
    rows: list[tuple[Cell, ...]] = [
        (model.model, model.games, model.strong, share_cell(model.consistent), share_cell(model.first))
        for model in scores.models
    ]
    columns = ("Model", "Games", "Strong verdicts", "Same in both orders", "For the first")
    note = "Same: the same winner of both games, or none. For the first: what the answer that stands first wins; ½ is "
    return ReportSection(
        "Order", table=Table(columns, tuple(rows), f"{note}without favour. 95 % intervals, questions.")
    )


def _style(scores: CategoryScores, style: StyleControl) -> ReportSection:
    order = sorted(style.at_mean, key=lambda name: -style.at_mean[name].mean)
    rows: list[tuple[Cell, ...]] = [
        (name, _percent(style.at_mean[name]), _percent(style.at_equal[name]), style.at_mean[name].n) for name in order
    ]
    columns = ("Model", "At the mean style, %", "At equal style, %", "n")
    note = "At the mean style: the published score. At equal style: both answers as long and as marked up as "
    note += f"{scores.baseline}'s. n: games in the fit. 95 % intervals, questions as clusters."
    return ReportSection("Style control", tuple(_told(style)), table=Table(columns, tuple(rows), note))


def _told(style: StyleControl) -> Iterable[str]:
    for name, estimate in style.features.items():
        told = format_estimate(estimate, sign=True)
        yield (
            f"A standard deviation more {name}: {told} log-odds of winning; its mean beside the baseline is "
            f"{style.means[name]:+.3f}."
        )
    yield f"{counted(style.games, 'game')} on {counted(style.questions, 'question')} have both styles."
    if style.without_style:
        yield f"{counted(style.without_style, 'judgement')} without one are left out here."
    if style.left_out:
        yield f"Without a finite score, having won or lost everything: {', '.join(style.left_out)}."


def _percent(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return None
    return f"{100 * estimate.mean:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"

"""What stored judgements of WildBench show: the weighted score, the plain mean, the task categories.

Owns what is shown and how it is put. The figures are those of ``evaluate.score_files.wildbench``.
"""

from collections.abc import Iterable, Sequence

from notus.core.text import counted, format_list
from notus.evaluate.score_files.wildbench import WEIGHTS, WildScore
from notus.report.charts import BarRow, bars
from notus.report.section import ReportSection, estimate_cell
from notus.report.table import Cell, Table

__all__ = ["wildbench_sections"]


def wildbench_sections(scores: Sequence[WildScore]) -> list[ReportSection]:
    """The scores of all models, and of their task categories."""
    single = scores[0].kind == "score"
    title = "WB-Score" if single else "WB-Reward"
    sections = [_whole(scores, title, single=single)]
    if any(score.categories for score in scores):
        sections.append(_categories(scores, title))
    return sections


def _whole(scores: Sequence[WildScore], title: str, *, single: bool) -> ReportSection:
    references = any(score.reference for score in scores)
    rows: list[tuple[Cell, ...]] = []
    for score in scores:
        first: tuple[Cell, ...] = (score.model, score.reference) if references else (score.model,)
        raw: tuple[Cell, ...] = (estimate_cell(score.raw),) if single else ()
        rows.append((*first, score.judged, score.apart, estimate_cell(score.weighted), estimate_cell(score.mean), *raw))
    columns: tuple[str, ...] = ("Model", "Against") if references else ("Model",)
    columns += ("Judged", "Empty or cut", f"{title}, weighted", "Plain mean")
    note = "Weighted: the means of the task categories by their weights. "
    if single:
        columns += ("Mean of 1 to 10",)
        note += "A score s counts (s − 5)·2; the published board shows ten times these. "
    else:
        note += "A clear win counts 1, a slight one ½, a tie 0. "
    note += "Empty or cut answers take no part in the categories. 95 % intervals, sessions as clusters."
    picture = bars(
        [
            BarRow(score.model, each.mean, score.reference, each, f"n = {score.judged:,}")
            for score in scores
            if (each := score.weighted or score.mean)
        ],
        title=title,
        subtitle="weighted by task category where they are known; 95 % intervals over sessions",
        x_label="(score − 5)·2" if single else "reward",
    )
    return ReportSection(title, tuple(_told(scores)), Table(columns, tuple(rows), note), picture, "wildbench")


def _told(scores: Sequence[WildScore]) -> Iterable[str]:
    judges = sorted({judge for score in scores for judge in score.judges})
    if judges:
        yield f"Judged by {', '.join(judges)}."
    for score in scores:
        if score.missing and score.categories:
            missing = format_list(list(score.missing), 5)
            yield f"{score.model} has no weighted score: no task of {missing} is among its judgements."
        elif score.missing:
            yield f"{score.model} has no weighted score: its tasks' tags are not known (--tasks)."
        if score.untagged and score.categories:
            yield f"{score.model}: {counted(score.untagged, 'judgement')} of tasks without a tag."


def _categories(scores: Sequence[WildScore], title: str) -> ReportSection:
    rows: list[tuple[Cell, ...]] = [
        (score.model, each.name, each.weight, each.tasks, estimate_cell(each.mean))
        for score in scores
        for each in score.categories
    ]
    columns = ("Model", "Category", "Weight", "n", title)
    note = (
        f"A task may be in several categories. The weights sum to {sum(WEIGHTS.values()):g}. 95 % intervals, sessions."
    )
    return ReportSection("Task categories", table=Table(columns, tuple(rows), note))

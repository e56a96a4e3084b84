"""What a check of rewards shows: accuracy, sections and subsets, length, calibration.

Owns what is shown and how it is put. The figures are those of ``evaluate.rewards``.
"""

from collections.abc import Iterable, Sequence

from notus.core.text import counted
from notus.evaluate.compare import format_estimate
from notus.evaluate.rewards import Calibration, RewardReport, SubsetAccuracy
from notus.report.charts import BarRow, bars
from notus.report.curves import reliability
from notus.report.section import ReportSection, estimate_cell
from notus.report.table import Cell, Table
from notus.stats.calibration import brier, calibration_error, reliability_bins

__all__ = ["reward_sections"]

_BINS = 10


def reward_sections(report: RewardReport, *, tie: float) -> list[ReportSection]:
    """What a reward check shows, the most important first.

    Args:
        report: the figures.
        tie: what a tie counted.
    """
    sections = [ReportSection("Accuracy", tuple(_accuracy(report, tie)))]
    if report.sections:
        table = _groups(
            "Section", report.sections, "Subsets weighted by their counts; 95 % intervals, prompts as clusters."
        )
        sections.append(ReportSection("Sections", (_total(report),), table=table))
    if report.subsets:
        picture = bars(
            [
                BarRow(g.name, g.accuracy.mean, g.section, g.accuracy, f"n = {g.scored:,}")
                for g in report.subsets
                if g.accuracy
            ],
            title=f"Accuracy of {report.ranker}",
            subtitle="by subset; 95 % intervals, prompts as clusters",
            x_label="share of pairs whose chosen answer has the higher score",
        )
        sections.append(
            ReportSection("Subsets", table=_groups("Subset", report.subsets, ""), picture=picture, slug="subsets")
        )
    sections.append(ReportSection("Length", tuple(_length(report))))
    if report.calibration is not None:
        sections.append(_calibration(report.ranker, report.calibration))
    return sections


def _accuracy(report: RewardReport, tie: float) -> Iterable[str]:
    if not report.scored:
        yield f"{report.ranker} gave no pair a score."
        return
    # What has no score is wrong at the lower end, so that this is the share of the others.
    alone = f"{report.bounds[0] * report.asked / report.scored:.3f} (no interval: it takes two prompts)"
    share = format_estimate(report.accuracy) if report.accuracy else alone
    counts = "counts" if report.ties == 1 else "count"
    yield (
        f"{report.ranker}: the chosen answer has the higher score in {share} of {counted(report.scored, 'pair')}; "
        f"{counted(report.ties, 'tie')} {counts} {tie:g}{'' if report.ties == 1 else ' each'}."
    )
    if report.unscored:
        low, high = report.bounds
        yield (
            f"{report.unscored:,} of {report.asked:,} pairs have no score; over all pairs the accuracy lies between "
            f"{low:.3f} (all of them wrong) and {high:.3f} (all of them right)."
        )


def _total(report: RewardReport) -> str:
    if report.total is None:
        return "There are too few scored pairs in a subset for a total with an interval."
    return f"Mean of the {len(report.sections)} sections: {format_estimate(report.total)} (n = {report.total.n:,})."


def _groups(what: str, groups: Sequence[SubsetAccuracy], note: str) -> Table:
    weighted = any(group.weight is not None for group in groups)
    rows: list[tuple[Cell, ...]] = []
    for g in groups:
        weight = (None if g.weight is None else round(g.weight, 3),) if weighted else ()
        section = (g.section or None,) if what == "Subset" else ()
        rows.append((g.name, *section, g.asked, g.scored, g.ties, estimate_cell(g.accuracy), *weight))
    columns = (what, *(("Section",) if what == "Subset" else ()), "Pairs", "Scored", "Ties", "Accuracy")
    return Table((*columns, *(("Weight",) if weighted else ())), tuple(rows), note)


def _length(report: RewardReport) -> Iterable[str]:
    length = report.length
    if length.longer_wins is None or length.longer_chosen is None:
        yield "There are too few pairs of unequal length to say anything of it."
        return
    wins, chosen = format_estimate(length.longer_wins), format_estimate(length.longer_chosen)
    yield (
        f"The longer answer wins in {wins} of {length.longer_wins.n:,} pairs, and is the chosen one in {chosen} of "
        "them (pairs of equal length and ties left out)."
    )
    sides = [
        f"{format_estimate(side)} where the chosen answer is the {name} one (n = {side.n:,})"
        for name, side in (("longer", length.when_longer), ("shorter", length.when_shorter))
        if side
    ]
    if sides:
        yield f"Accuracy: {' and '.join(sides)}."


def _calibration(ranker: str, found: Calibration) -> ReportSection:
    if not found.probabilities:
        return ReportSection("Calibration", ("There is no pair without a tie; nothing can be said of the margins.",))
    data = found.probabilities, found.correct, found.prompts
    error, score = calibration_error(*data, bins=_BINS), brier(*data)
    sentences = [f"With P = σ({found.scale:g} · margin) for the preferred answer, over {len(found.correct):,} pairs:"]
    if found.overconfidence:
        sentences.append(f"P minus the share that is right: {format_estimate(found.overconfidence, sign=True)}.")
    if error and score:
        sentences.append(f"Expected calibration error {format_estimate(error)}, Brier score {format_estimate(score)}.")
    picture = reliability({ranker: reliability_bins(*data, bins=_BINS)}, title=f"Calibration of {ranker}")
    return ReportSection("Calibration", tuple(sentences), picture=picture, slug="calibration")

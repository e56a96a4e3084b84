"""What an audit shows of a set, for the terminal, the run directory and the report; and the set's health card.

Owns what is shown and how it is put, and what stands where on the card, which is one HTML file that can be passed on.
The figures are those of ``audit.feedback`` and ``audit.pairs``, page and look those of ``report.page``. Labels that
rewards contradict are the business of ``report.finders``.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from notus.audit.feedback import FLAGS, Audit, Suspicion
from notus.audit.health import Columns, Group
from notus.audit.models import ModelComparisons
from notus.audit.pairs import PAIR_FLAGS, Bias, PairAudit, bias_of
from notus.audit.signals import SIGNALS
from notus.core.records import Completion
from notus.core.text import counted
from notus.evaluate.compare import format_estimate
from notus.formats.families.ultrafeedback import RATED, SCORED
from notus.report.charts import BarRow, IntervalRow, bars, heat, histogram, intervals
from notus.report.page import Block, Fact, Facts, PageSection, Picture, Points, Report, render
from notus.report.raters import model_table, rater_sections, vote_sections
from notus.report.section import ReportSection, estimate_cell, excerpt
from notus.report.table import Cell, Table, cell_text
from notus.stats.intervals import Estimate, Share

__all__ = ["feedback_sections", "health_card", "pair_sections"]

_HEALTH = "Health of the set"
"""Heading of the section that a card begins with."""


def feedback_sections(audit: Audit, texts: Mapping[str, Completion]) -> list[ReportSection]:
    """What an audit of feedback shows, the most important first.

    Args:
        audit: of the set.
        texts: id → completion, for those most suspicious ones that are to be shown.
    """
    health = audit.health
    sections = [ReportSection(_HEALTH, (*health.sentences(), *audit.votes.sentences()))]
    sections += vote_sections(audit.votes) + rater_sections(audit.raters)
    unit = "points" + _describe_scales(audit.columns)
    mean_scale, score_scale = audit.columns.scales_of_most()
    if health.scored and health.rated and mean_scale in (None, RATED) and score_scale in (None, SCORED):
        sections.append(_disagreement(audit))
    if shown := [row for row in audit.ranked(len(texts)) if row.id in texts and (row.reasons or row.disagreement)]:
        sections.append(_suspects(audit, shown, texts))
    if health.scored or health.rated:
        sections.append(ReportSection("Ties", table=_ties(audit)))
    if health.flags:
        sections.append(ReportSection("Flags", table=_flags(health.flags, FLAGS)))
    if len(health.models) > 1:
        sections.append(_groups("Models", health.models, "model", unit))
        sections += _strengths(audit)
    if len(health.sources) > 1:
        sections.append(_groups("Sources", health.sources, "source", unit))
    if health.scored or health.rated:
        sections.append(_distribution(audit))
    return sections


def pair_sections(audit: PairAudit) -> list[ReportSection]:
    """What an audit of preference pairs shows, the most important first."""
    health = audit.health
    sections = [ReportSection(_HEALTH, tuple(health.sentences()))]
    bias = bias_of(audit.rows)
    if sentences := bias.sentences():
        sections.append(ReportSection("Bias", tuple(sentences)))
    if health.flags:
        sections.append(ReportSection("Flags", table=_flags(health.flags, PAIR_FLAGS)))
    margins = [row.margin for row in audit.rows if row.margin is not None]
    if margins:
        mean = format_estimate(health.margin_interval, sign=True) if health.margin_interval else "no interval"
        sections.append(
            ReportSection(
                "Margins",
                (f"The mean margin of chosen over rejected is {mean} (n = {len(margins):,}).",),
                picture=histogram(margins, title="Margins", x_label="score of chosen minus score of rejected"),
                slug="margins",
            )
        )
    lengths = [float(row.length_chosen - row.length_rejected) for row in audit.rows]
    picture = histogram(lengths, title="Lengths", x_label="characters of chosen minus characters of rejected")
    sections.append(ReportSection("Lengths", (_longer(health.longer_chosen),), picture=picture, slug="lengths"))
    return sections + _models(bias)


def health_card(name: str, sections: Sequence[ReportSection], facts: Mapping[str, int | str], version: str) -> str:
    """One self-contained HTML document; the same sections give the same text.

    Args:
        name: of the set: the path or the hub id.
        sections: of its audit, in the order in which they are read.
        facts: figures for the top of the card, for example rows and layout.
        version: of the program that audited.
    """
    first = next((section for section in sections if section.heading == _HEALTH), None)
    shown = tuple(Fact(label.replace("_", " ").capitalize(), cell_text(value)) for label, value in facts.items())
    parts = [PageSection("The set", blocks=(Facts(shown),))] if shown else []
    parts += [_on_page(section) for section in sections if section is not first]
    return render(
        Report(
            title=f"Health card of {_last_part(name)}",
            subtitle=f"An audit of {name}: what speaks against its scores, and what the set does as a whole.",
            summary=first.sentences if first else (),
            sections=tuple(parts),
            footer=(("notus", version), ("source", name)),
        )
    )


def _disagreement(audit: Audit) -> ReportSection:
    means, scores = audit.columns.scored()
    both = ~(np.isnan(scores) | np.isnan(means))
    names = [str(score) for score in range(1, 11)]
    # Columns are half-points with their upper border, so that the rule's borders, 2 and 4, are borders here too.
    borders = ["1", *(f"≤ {mean / 2:g}" for mean in range(3, 11))]
    row = np.clip(np.round(scores[both]), 1, 10).astype(int) - 1
    column = np.clip(np.ceil(means[both] * 2), 2, 10).astype(int) - 2
    size = len(borders)
    matrix = np.bincount(row * size + column, minlength=len(names) * size).reshape(len(names), size).astype(float)
    picture = heat(
        matrix.tolist(),
        rows=names,
        columns=borders,
        title="Overall score against mean rating",
        subtitle=f"{counted(int(both.sum()), 'completion')} with both; scores rounded to whole points, means up to ½",
        x_label="mean rating of the aspects",
        y_label="overall score",
        marked=[(9, column) for column in range(3)],
        mark_label="a 10 beside a mean of at most 2: the published rule sets it to 1",
    )
    tens = audit.health.tens
    by_rule = "; ".join(f"{tens[name]:,} {name}" for name in ("set-to-1", "ask-again", "keep") if name in tens)
    lead = (
        f"Completions with an overall score of 10, by the published rule: {by_rule}." if by_rule else "There is no 10."
    )
    return ReportSection("Overall score against ratings", (lead,), picture=picture, slug="score-against-ratings")


def _suspects(audit: Audit, shown: Sequence[Suspicion], texts: Mapping[str, Completion]) -> ReportSection:
    rows: list[tuple[Cell, ...]] = [
        (
            row.suspicion,
            row.model or None,
            _points(row.overall_score),
            _points(row.mean_rating),
            _points(row.expected_score),
            row.disagreement if not row.reasons else None,
            row.repair or None,
            _first_reason(row.reasons),
            excerpt(texts[row.id].text),
        )
        for row in shown
    ]
    what = {
        "score-against-ratings": "Disagreement is rank of the overall score minus rank of the mean rating, −1 to 1.",
        "spread-of-ratings": "Disagreement is the standard deviation of repeated ratings of one aspect.",
        "none": "",
    }[audit.measure]
    names = ["Place", "Model", "Score", "Ratings", "Wording", "Disagreement", "Rule", "Why", "Answer"]
    kept = [index for index in range(len(names)) if any(row[index] is not None for row in rows)]
    note = "Score is the critique's overall score, Ratings the mean of the aspects, Wording the score that the "
    note += "critique's words speak for, Rule what the published repair would do. "
    note += (what + " " if "Disagreement" in (names[index] for index in kept) else "") + "Equals share a place."
    columns = tuple(names[index] for index in kept)
    table = Table(columns, tuple(tuple(row[index] for index in kept) for row in rows), note.strip())
    counts = sorted(audit.reasons.items(), key=lambda item: (-item[1], item[0]))
    reasons = tuple(f"{slug} speaks against {counted(count, 'completion')}: {SIGNALS[slug]}." for slug, count in counts)
    return ReportSection("Most suspicious completions", reasons, table)


def _first_reason(reasons: Sequence[str]) -> str | None:
    """The strongest reason, and how many more there are; all stand in the table of the run with their evidence."""
    if len(reasons) < 2:
        return reasons[0] if reasons else None
    return f"{reasons[0]} and {len(reasons) - 1} more"


def _ties(audit: Audit) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (name, ties.prompts, ties.all, ties.best, ties.too_few, str(audit.health.longer_best[name]))
        for name, ties in audit.health.ties.items()
    ]
    note = (
        "Comparable: prompts with at least two scored completions. All tied: no pair can be made. Tied for best: "
        "several, but not all, share the best score; the first is chosen. Longer: prompts whose best answer is longer "
        "than the worst, of those where the two differ in length."
    )
    columns = ("Strategy", "Comparable", "All tied", "Tied for best", "Too few scores", "Longer is better")
    return Table(columns, tuple(rows), note)


def _describe_scales(columns: Columns) -> str:
    scales = zip(("mean rating", "overall score"), columns.scales_of_most(), strict=True)
    told = [f"{what} {scale.low:g} to {scale.high:g}" for what, scale in scales if scale]
    return f" ({', '.join(told)})" if told else ""


def _groups(heading: str, groups: Sequence[Group], what: str, unit: str) -> ReportSection:
    rows: list[tuple[Cell, ...]] = [
        (
            group.name or "(none)",
            group.completions,
            _format_mean(group.mean_rating, group.mean_rating_interval),
            group.rated,
            _format_mean(group.overall_score, group.overall_score_interval),
            group.scored,
        )
        for group in groups
    ]
    columns = (what.capitalize(), "Completions", "Mean rating", "Rated", "Overall score", "Scored")
    known = (any(group.rated for group in groups), any(group.scored for group in groups))
    kept = (0, 1, *((2, 3) if known[0] else ()), *((4, 5) if known[1] else ()))
    picture = bars(
        [
            BarRow(group.name or "(none)", value, name, interval)
            for group in groups
            for name, value, interval in (
                ("mean rating", group.mean_rating, group.mean_rating_interval),
                ("overall score", group.overall_score, group.overall_score_interval),
            )
            if value is not None
        ],
        title=f"Scores by {what}",
        x_label=unit,
        decimals=2,
    )
    table = Table(
        tuple(columns[index] for index in kept),
        tuple(tuple(row[index] for index in kept) for row in rows),
        "95 % intervals with prompts as clusters.",
    )
    return ReportSection(heading, table=table, picture=picture, slug=f"by-{what}")


def _distribution(audit: Audit) -> ReportSection:
    means, scores = (values[~np.isnan(values)].tolist() for values in audit.columns.scored())
    if scores:
        picture = histogram(scores, 19, title="Overall scores", x_label="overall score of the critique", centred=True)
    else:
        picture = histogram(means, 17, title="Mean ratings", x_label="mean rating", centred=True)
    return ReportSection("Distribution of scores", picture=picture, slug="scores")


def _strengths(audit: Audit) -> list[ReportSection]:
    """How strong each model is by both scores, where there are both."""
    comparisons = ModelComparisons()
    columns = audit.columns
    means, scores = columns.scored()
    comparisons.add(list(columns.models), columns.by_model(), scores, means, np.asarray(columns.sizes))
    report = comparisons.report()
    shown = [model for model in report.models if model.gain is not None]
    if not shown:
        return []
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (
            model.name,
            *(estimate_cell(part, digits=2) for part in (model.by_critique, model.by_rating)),
            estimate_cell(model.gain, sign=True, digits=2),
        )
        for model in shown
    )
    basis = f"{counted(report.comparisons, 'comparison')} in {counted(report.prompts, 'prompt')} by each score"
    note = (
        f"Bradley–Terry log-strengths relative to the mean of the models, from {basis}, ties as half a win; 95 % "
        "intervals with prompts as clusters."
    )
    picture = intervals(
        [IntervalRow(model.name, model.gain, None) for model in shown],
        title="Which models gain when scores come from critiques",
        subtitle="strength by critique minus strength by mean rating; 95 % intervals over prompts as clusters",
        x_label="difference of log-strengths",
        reference=0.0,
    )
    table = Table(("Model", "By critique", "By mean rating", "Gain"), cells, note)
    return [ReportSection("Strength of the models", tuple(report.sentences()), table, picture, "gains")]


def _models(bias: Bias) -> list[ReportSection]:
    """Who is chosen over whom, by the name of the model."""
    if not bias.models:
        return []
    return [ReportSection("Models", table=model_table(bias.models))]


def _flags(flags: Mapping[str, int], meanings: Mapping[str, str]) -> Table:
    return Table(("Flag", "Rows", "Meaning"), tuple((name, count, meanings[name]) for name, count in flags.items()))


def _longer(share: Share) -> str:
    if not share.of:
        return "All answers of a pair have the same length."
    return f"Chosen is the longer answer in {share} pairs of different lengths."


def _format_mean(mean: float | None, interval: Estimate | None) -> Cell:
    return format_estimate(interval, digits=2) if interval else mean


def _points(value: float | None) -> Cell:
    return None if value is None else f"{value:.3g}"


def _on_page(section: ReportSection) -> PageSection:
    """The section with its first sentence as lead, and the picture before the table."""
    blocks: list[Block] = [Points("", section.sentences[1:])] if section.sentences[1:] else []
    blocks += [Picture(section.picture)] if section.picture else []
    blocks += [] if section.table is None else [section.table]
    return PageSection(section.heading, section.sentences[0] if section.sentences else "", tuple(blocks))


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or name

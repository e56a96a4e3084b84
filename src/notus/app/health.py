"""The findings of an audit as tables and pictures, for the terminal, the run directory and the report.

Owns what is shown of a set and how it is put. The figures are those of ``data.audit`` and ``data.audit_pairs``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from notus.app.pictures import BarRow, IntervalRow, bars, heat, histogram, intervals
from notus.app.report import Cell, Table
from notus.core.records import Completion
from notus.core.statistics import Estimate
from notus.core.wording import counted
from notus.data.audit import FLAGS, Audit, Suspicion
from notus.data.audit_pairs import PAIR_FLAGS, PairAudit
from notus.data.bias import Bias, bias_of
from notus.data.health import Group, Share
from notus.data.signals import SIGNALS
from notus.data.strength import Rivals
from notus.evaluate.compare import spoken
from notus.evaluate.faults import Detection

__all__ = ["Finding", "detection_table", "feedback_findings", "pair_findings"]

_WIDTH = 96


@dataclass(frozen=True)
class Finding:
    """One thing that an audit shows: a heading, sentences, a table, a picture; each may be missing."""

    heading: str
    sentences: tuple[str, ...] = ()
    table: Table | None = None
    picture: str = ""
    """SVG."""
    slug: str = ""
    """Name of the picture's file."""


def feedback_findings(audit: Audit, texts: Mapping[str, Completion]) -> list[Finding]:
    """What an audit of feedback shows, the most important first.

    Args:
        audit: of the set.
        texts: id → completion, for those most suspicious ones that are to be shown.
    """
    health = audit.health
    findings = [Finding("Health of the set", tuple(health.sentences()))]
    if health.scored and health.rated:
        findings.append(_disagreement(audit))
    if shown := [row for row in audit.ranked(len(texts)) if row.id in texts]:
        findings.append(_suspects(audit, shown, texts))
    findings.append(Finding("Ties", table=_ties(audit)))
    if health.flags:
        findings.append(Finding("Flags", table=_flags(health.flags, FLAGS)))
    if len(health.models) > 1:
        findings.append(_groups("Models", health.models, "model"))
        findings += _strengths(audit)
    if len(health.sources) > 1:
        findings.append(_groups("Sources", health.sources, "source"))
    findings.append(_distribution(audit))
    return findings


def pair_findings(audit: PairAudit) -> list[Finding]:
    """What an audit of preference pairs shows, the most important first."""
    health = audit.health
    findings = [Finding("Health of the set", tuple(health.sentences()))]
    bias = bias_of(audit.rows)
    if said := bias.sentences():
        findings.append(Finding("Bias", tuple(said)))
    if health.flags:
        findings.append(Finding("Flags", table=_flags(health.flags, PAIR_FLAGS)))
    margins = [row.margin for row in audit.rows if row.margin is not None]
    if margins:
        told = spoken(health.margin_interval, sign=True) if health.margin_interval else "no interval"
        findings.append(
            Finding(
                "Margins",
                (f"The mean margin of chosen over rejected is {told} (n = {len(margins):,}).",),
                picture=histogram(margins, title="Margins", x_label="score of chosen minus score of rejected"),
                slug="margins",
            )
        )
    lengths = [float(row.length_chosen - row.length_rejected) for row in audit.rows]
    picture = histogram(lengths, title="Lengths", x_label="characters of chosen minus characters of rejected")
    findings.append(Finding("Lengths", (_longer(health.longer_chosen),), picture=picture, slug="lengths"))
    return findings + _models(bias)


def detection_table(detections: Iterable[Detection]) -> Table:
    """The fault finders as a table."""
    rows: list[tuple[Cell, ...]] = [
        (
            item.finder,
            item.planted,
            item.found,
            item.hits,
            spoken(item.precision) if item.precision else None,
            spoken(item.recall) if item.recall else None,
        )
        for item in detections
    ]
    columns = ("Finder", "Planted", "Found", "Both", "Precision", "Recall")
    return Table(columns, tuple(rows), "Over all seeds; 95 % intervals, the wider of prompts and seeds.")


def _disagreement(audit: Audit) -> Finding:
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
    said = "; ".join(f"{tens[name]:,} {name}" for name in ("set-to-1", "ask-again", "keep") if name in tens)
    lead = f"Completions with an overall score of 10, by the published rule: {said}." if said else "There is no 10."
    return Finding("Overall score against ratings", (lead,), picture=picture, slug="score-against-ratings")


def _suspects(audit: Audit, shown: Sequence[Suspicion], texts: Mapping[str, Completion]) -> Finding:
    rows: list[tuple[Cell, ...]] = [
        (
            row.suspicion,
            row.model or None,
            _points(row.overall_score),
            _points(row.mean_rating),
            _points(row.expected_score),
            row.disagreement if not row.reasons else None,
            row.repair or None,
            _why(row.reasons),
            _short(texts[row.id].text),
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
    said = tuple(f"{slug} speaks against {counted(count, 'completion')}: {SIGNALS[slug]}." for slug, count in counts)
    return Finding("Most suspicious completions", said, table)


def _why(reasons: Sequence[str]) -> str | None:
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
        "than the worst."
    )
    columns = ("Strategy", "Comparable", "All tied", "Tied for best", "Too few scores", "Longer is better")
    return Table(columns, tuple(rows), note)


def _groups(heading: str, groups: Sequence[Group], what: str) -> Finding:
    rows: list[tuple[Cell, ...]] = [
        (
            group.name or "(none)",
            group.completions,
            _estimated(group.mean_rating, group.mean_rating_interval),
            group.rated,
            _estimated(group.overall_score, group.overall_score_interval),
            group.scored,
        )
        for group in groups
    ]
    columns = (what.capitalize(), "Completions", "Mean rating", "n", "Overall score", "n ")
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
        x_label="points (mean rating 1–5, overall score 1–10)",
        decimals=2,
    )
    table = Table(columns, tuple(rows), "95 % intervals with prompts as clusters.")
    return Finding(heading, table=table, picture=picture, slug=f"by-{what}")


def _distribution(audit: Audit) -> Finding:
    means, scores = (values[~np.isnan(values)].tolist() for values in audit.columns.scored())
    if scores:
        picture = histogram(scores, 19, title="Overall scores", x_label="overall score of the critique", centred=True)
    else:
        picture = histogram(means, 17, title="Mean ratings", x_label="mean rating", centred=True)
    return Finding("Distribution of scores", picture=picture, slug="scores")


def _strengths(audit: Audit) -> list[Finding]:
    """How strong each model is by both scores, where there are both."""
    rivals = Rivals()
    columns = audit.columns
    means, scores = columns.scored()
    rivals.add_columns(list(columns.models), columns.by_model(), scores, means, np.asarray(columns.sizes))
    report = rivals.report()
    shown = [model for model in report.models if model.gain is not None]
    if not shown:
        return []
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (
            model.name,
            *(_estimated(None, part) for part in (model.by_critique, model.by_rating)),
            spoken(model.gain, sign=True, digits=2) if model.gain else None,
        )
        for model in shown
    )
    told = f"{counted(report.comparisons, 'comparison')} in {counted(report.prompts, 'prompt')} by each score"
    note = (
        f"Bradley–Terry log-strengths relative to the mean of the models, from {told}, ties as half a win; 95 % "
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
    return [Finding("Strength of the models", tuple(report.sentences()), table, picture, "gains")]


def _models(bias: Bias) -> list[Finding]:
    """Who is chosen over whom, by the name of the model."""
    if not bias.models:
        return []
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (model.name, model.chosen, model.rejected, _estimated(None, model.share), _estimated(None, model.strength))
        for model in bias.models
    )
    note = "Pairs of two different models only. Strength: Bradley–Terry, relative to the mean of the models. 95 % "
    note += "intervals with prompts as clusters; without one, a model has only won or only lost."
    return [Finding("Models", table=Table(("Model", "Chosen", "Rejected", "Share chosen", "Strength"), cells, note))]


def _flags(flags: Mapping[str, int], meanings: Mapping[str, str]) -> Table:
    return Table(("Flag", "Rows", "Meaning"), tuple((name, count, meanings[name]) for name, count in flags.items()))


def _longer(share: Share) -> str:
    if not share.of:
        return "All answers of a pair have the same length."
    return f"Chosen is the longer answer in {share} pairs of different lengths."


def _estimated(mean: float | None, interval: Estimate | None) -> Cell:
    return spoken(interval, digits=2) if interval else mean


def _points(value: float | None) -> Cell:
    return None if value is None else f"{value:.3g}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"

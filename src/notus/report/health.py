"""What an audit shows of a set, for the terminal, the run directory and the report; and the set's health card.

Owns what is shown and how it is put, and what stands where on the card, which is one HTML file that can be passed on.
The figures are those of ``audit.feedback`` and ``audit.pairs``, page and look those of ``report.page``. Labels that
rewards contradict are the business of ``report.finders``.
"""

import shlex
from collections.abc import Mapping, Sequence

import numpy as np

from notus.audit.feedback import FLAGS, Audit
from notus.audit.health import Columns, Group
from notus.audit.models import ModelComparisons
from notus.audit.pairs import CHANCE_FLAGS, KEPT, NO_FACTS, PAIR_FLAGS, Bias, Pair, PairAudit, bias_of
from notus.audit.signals import REASON, SIGNALS, SURE, Chance
from notus.core.records import Feedback, Preference
from notus.core.text import counted
from notus.evaluate.compare import format_estimate
from notus.formats.families.ultrafeedback import RATED, SCORED
from notus.report.audits.flagged import flagged_completion, flagged_pair, place_of
from notus.report.charts import BarRow, IntervalRow, bars, heat, histogram, intervals
from notus.report.page import Block, Fact, Facts, PageSection, Picture, Points, Report, render
from notus.report.raters import model_table, rater_sections, vote_sections
from notus.report.section import ReportSection, estimate_cell, excerpt
from notus.report.table import Cell, Table, cell_text
from notus.stats.intervals import Estimate, Share

__all__ = ["feedback_sections", "flagged_numbers", "health_card", "pair_sections"]

_HEALTH = "Health of the set"
"""Heading of the section that a card begins with."""
_ID = 8
"""Digits of an id that tables show; any command takes the beginning of an id."""


def feedback_sections(
    audit: Audit,
    records: Mapping[str, Feedback],
    source: str = "DATA",
    by_context: Sequence[ReportSection] = (),
    run: str = "",
) -> list[ReportSection]:
    """What an audit of feedback shows, the most important first.

    Args:
        audit: of the set.
        records: id of a completion → its record, for those that are to be shown whole.
        source: name of the set, for commands.
        by_context: what ``report.audits.context`` shows, behind what the records say of themselves.
        run: the run directory of the audit, for ``notus explain``; empty takes the set.
    """
    health = audit.health
    size, *more = health.sentences()
    flagged = _sure(audit, 0)[:1] if audit.chances else []
    sections = [ReportSection(_HEALTH, (size, *flagged, *more, *audit.votes.sentences()))]
    sections += vote_sections(audit.votes) + rater_sections(audit.raters)
    unit = "points" + _describe_scales(audit.columns)
    mean_scale, score_scale = audit.columns.scales_of_most()
    if health.scored and health.rated and mean_scale in (None, RATED) and score_scale in (None, SCORED):
        sections.append(_disagreement(audit))
    if audit.chances:
        sections.append(_suspects(audit, records, source, run))
        sections.append(_reasons(audit.chances))
    sections += by_context
    if audit.unread:
        sections.append(ReportSection("Not looked at", audit.unread))
    if health.scored or health.rated:
        sections.append(ReportSection("Ties", table=_ties(audit)))
    if health.flags:
        sections.append(_feedback_flags(audit, records, source, run))
    if len(health.models) > 1:
        sections.append(_groups("Models", health.models, "model", unit))
        sections += _strengths(audit)
    if len(health.sources) > 1:
        sections.append(_groups("Sources", health.sources, "source", unit))
    if health.scored or health.rated:
        sections.append(_distribution(audit))
    return sections


def pair_sections(
    audit: PairAudit, records: Mapping[int, Preference] | None = None, source: str = "DATA", run: str = ""
) -> list[ReportSection]:
    """What an audit of preference pairs shows, the most important first.

    Args:
        audit: of the set.
        records: number of a row → its pair, for those that are to be shown whole.
        source: name of the set, for commands.
        run: the run directory of the audit, for ``notus explain``; empty takes the set.
    """
    health = audit.health
    sections = [ReportSection(_HEALTH, tuple(health.sentences()))]
    bias = bias_of(audit.rows)
    if sentences := bias.sentences():
        sections.append(ReportSection("Bias", tuple(sentences)))
    if health.flags:
        sections.append(_pair_flags(audit, records or {}, source, run))
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


def _suspects(audit: Audit, records: Mapping[str, Feedback], source: str, run: str) -> ReportSection:
    shown = [row for row in audit.suspected(len(records) or None) if row.id in records]
    several = len({row.file for row in shown}) > 1
    rows: list[tuple[Cell, ...]] = [
        (
            row.suspicion,
            _q(row.q),
            row.file if several else None,
            row.line or None,
            row.id[:_ID],
            row.model or None,
            _points(row.overall_score),
            _points(row.mean_rating),
            _points(row.expected_score),
            row.repair or None,
            ", ".join(row.reasons),
            excerpt(_text(records[row.id], row.index)),
        )
        for row in shown
    ]
    names = ["Place", "q", "File", "Line", "Id", "Model", "Score", "Ratings", "Wording", "Rule", "Why", "Answer"]
    kept = [index for index in range(len(names)) if any(row[index] is not None for row in rows)]
    note = (
        "q: estimated share of sound ones among the completions at least so odd. Score is the critique's overall "
        "score, Ratings the mean of the aspects, Wording the score that the critique's words speak for, Rule what the "
        "published repair would do. Equals share a place. "
    )
    note += f"notus explain ID --run {shlex.quote(run or source)} shows a row."
    table = Table(tuple(names[index] for index in kept), tuple(tuple(row[i] for i in kept) for row in rows), note)
    blocks = tuple(flagged_completion(row, records[row.id], source, run) for row in shown)
    return ReportSection(
        "Most suspicious completions", tuple(_sure(audit, len(shown))), table if shown else None, rows=blocks
    )


def _sure(audit: Audit, shown: int) -> list[str]:
    """How many are flagged, how many of those chance would give, and what is not shown."""
    sure, sound = audit.sure()
    expected = sum(chance.expected or 0.0 for chance in audit.chances.values())
    if sure:
        have = counted(sure, "completion has", "completions have")
        said = [f"{have} a q of at most {SURE:g}; at most {max(sound, 0.1):.1f} of them should be sound."]
    else:
        said = [f"No completion has a q of at most {SURE:g}: chance alone could give everything that was found here."]
    have = counted(len(audit.suspects), "completion has", "completions have")
    said.append(
        f"{have} a reason (p ≤ {REASON:g}); in a set of {len(audit.q):,} without a fault, chance alone gives some "
        f"{expected:.0f} reasons."
    )
    if (left := len(audit.suspects) - shown) > 0:
        said.append(f"{shown:,} are shown; {left:,} more stand in the table of completions with their evidence.")
    return said


def _reasons(chances: Mapping[str, Chance]) -> ReportSection:
    order = sorted(chances.items(), key=lambda item: (-item[1].flagged, item[0]))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            slug,
            chance.flagged,
            "a fact" if chance.expected is None else f"{chance.expected:.1f}",
            chance.known,
            SIGNALS.get(slug, ""),
        )
        for slug, chance in order
    )
    note = (
        f"Flagged: completions with p ≤ {REASON:g}. By chance: how many chance alone would flag among those of which "
        "the signal is known, were none of them faulty; an average, and about right."
    )
    return ReportSection("Reasons", table=Table(("Reason", "Flagged", "By chance", "Known of", "Meaning"), rows, note))


def _feedback_flags(audit: Audit, records: Mapping[str, Feedback], source: str, run: str) -> ReportSection:
    first = {flag: audit.first[flag] for flag in audit.health.flags if flag in audit.first}
    rows = {row.id: row for row in first.values() if row.id in records}
    table = _flags(
        audit.health.flags,
        FLAGS,
        {flag: (place_of(row.file, row.line), row.id) for flag, row in first.items()},
        run or source,
    )
    shown = {row.id for row in audit.suspected(len(records) or None)}
    blocks = tuple(
        flagged_completion(row, records[row.id], source, run) for row in rows.values() if row.id not in shown
    )
    return ReportSection("Flags", table=table, rows=blocks)


def _pair_flags(audit: PairAudit, records: Mapping[int, Preference], source: str, run: str) -> ReportSection:
    first: dict[str, Pair] = {}
    for row in audit.rows:
        for flag in row.flags:
            first.setdefault(flag, row)
    table = _flags(
        audit.health.flags,
        PAIR_FLAGS,
        {flag: (place_of(row.file, row.line), row.id) for flag, row in first.items()},
        run or source,
    )
    said = [
        f"{slug}: {chance.flagged:,} of {chance.known:,} pairs; chance alone would flag some {chance.expected:.1f}."
        for slug, chance in audit.chances.items()
        if chance.expected is not None
    ]
    said.append(
        f"{', '.join(sorted(CHANCE_FLAGS))} are matters of chance, and have a q; "
        f"{', '.join(sorted(NO_FACTS - CHANCE_FLAGS))} is one without a q; all other flags are facts."
    )
    if sure := [row.q for row in audit.rows if row.q is not None and row.q <= SURE]:
        have = counted(len(sure), "pair has", "pairs have")
        said.append(
            f"{have} a q of at most {SURE:g}; at most {max(max(sure) * len(sure), 0.1):.1f} of them should be sound."
        )
    numbers = flagged_numbers(audit, len(records))
    total = sum(bool(row.flags) and KEPT not in row.flags for row in audit.rows)
    if records and total > len(numbers):
        said.append(
            f"{len(numbers):,} flagged pairs are shown whole; {total - len(numbers):,} more stand in the table."
        )
    blocks = tuple(
        flagged_pair(audit.rows[number], records[number], source, run) for number in numbers if number in records
    )
    return ReportSection("Flags", tuple(said), table, rows=blocks)


def flagged_numbers(audit: PairAudit, limit: int) -> list[int]:
    """Numbers of flagged pairs to be shown whole: one of each flag in turn, the least sound and the first of each."""
    queues: dict[str, list[tuple[float, int]]] = {}
    for number, row in enumerate(audit.rows):
        for flag in row.flags if KEPT not in row.flags else ():
            queues.setdefault(flag, []).append((row.q if row.q is not None and flag in CHANCE_FLAGS else 1.0, number))
    waiting = [iter(sorted(queues[flag])) for flag in PAIR_FLAGS if flag in queues]
    found: dict[int, None] = {}
    while waiting and len(found) < limit:
        for queue in list(waiting):
            another = next((number for _, number in queue if number not in found), None)
            if another is None:
                waiting.remove(queue)
            elif len(found) < limit:
                found[another] = None
    return list(found)


def _q(q: float | None) -> str | None:
    return None if q is None else "< .001" if q < 1e-3 else f"{q:.3f}".lstrip("0")


def _text(feedback: Feedback, index: int) -> str:
    return feedback.completions[index].text


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


def _flags(
    flags: Mapping[str, int], meanings: Mapping[str, str], first: Mapping[str, tuple[str, str]], place: str
) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, count, first.get(name, ("", ""))[0] or None, first.get(name, ("", ""))[1][:_ID] or None, meanings[name])
        for name, count in flags.items()
    )
    note = f"notus explain ID --run {shlex.quote(place)} shows a row."
    return Table(("Flag", "Rows", "First", "Id", "Meaning"), rows, note)


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
    # A table of which each row is shown whole below it would only be read twice.
    blocks += [] if section.table is None or len(section.table.rows) == len(section.rows) else [section.table]
    blocks += section.rows
    return PageSection(section.heading, section.sentences[0] if section.sentences else "", tuple(blocks))


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or name

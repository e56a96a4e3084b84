"""What a cleaning takes out, and what a set holds that is private, as tables, pictures and examples.

Owns what is shown and how it is put. Figures and evidence are those of ``clean.clean`` and ``clean.private``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from notus.clean.clean import RULE, Cleaning, Contaminated, Plans, Repeated
from notus.clean.contamination import CurvePoint, contamination_curve
from notus.clean.private.guard import MASK_RULE, Found, Privacy
from notus.core.records import Decision
from notus.core.stage import Dropped, Tally
from notus.core.text import counted
from notus.preferences.faults import PAIR_FAULTS
from notus.report.curves import Line, lines
from notus.report.section import ReportSection, excerpt
from notus.report.table import Cell, Table
from notus.stats.intervals import Share, proportion

__all__ = ["NOT_LOOKED_FOR", "cleaning_sections", "curve_picture", "few_of_each", "private_sections"]

_SHOWN = 8
_LISTED = 50
"""Duplicates that the page lists; all of them are in the table."""
NOT_LOOKED_FOR = "Personal data, secrets, languages and toxicity were not looked for"
_EACH = 3
_PRIVATE = {
    "email": "a mail address",
    "phone": "a telephone number",
    "handle": "the name of an account",
    "ip": "a public IP address",
    "iban": "an account number whose check digits are right",
    "card": "a payment card's number whose check digit is right",
    "secret": "a key, a token, or the password of an address",
    "toxic": "a sentence of an answer is likely an insult",
}
"""Kind → what it is."""
_RULES = {
    "denies-feelings": "the filter denies-feelings",
    "truncated": "the filter truncated",
    "toxic": "the search for toxic answers",
    "truecase": "the capitals that are lacking",
}
_MEANING = {
    "contaminated": "the prompt holds a question of a benchmark",
    "duplicate": "the prompt has the words of an earlier one, in the same order",
    "near-duplicate": "the prompt asks the same as an earlier one that stays",
    "empty-answer": "an answer holds nothing that can be seen: white space, invisible characters",
    "wordless-answer": "there is no letter, digit or symbol in an answer",
    "denies-feelings": "the assistant says that it has no feelings, opinions or experiences",
    "truncated": "an answer stops in the middle",
    "other-language": "an answer is in another language than the wanted one",
    **{f"personal-{kind}": f"it holds {what}" for kind, what in _PRIVATE.items()},
    "secret": f"it holds {_PRIVATE['secret']}",
    "unwanted-language": "an answer is in none of the wanted languages",
    "toxic": _PRIVATE["toxic"],
    "no-completion": "each of its completions was filtered out",
    **{name: meaning for name, meaning in PAIR_FAULTS.items() if name != "empty-answer"},
}


def cleaning_sections(
    tally: Tally,
    plans: Plans,
    settings: Cleaning,
    evidence: tuple[Sequence[Repeated], Sequence[Contaminated]],
    decisions: Sequence[Decision],
    *,
    questions: int,
    skipped: Sequence[str] = (),
    private: Sequence[Found] = (),
) -> list[ReportSection]:
    """What a cleaning shows, the most important first.

    Args:
        tally: of the cleaning.
        plans: what was found.
        settings: of the cleaning.
        evidence: rows of duplicates and of contaminated prompts.
        decisions: a few examples of what was edited, or taken out of a row that stays.
        questions: of benchmarks that were looked for.
        skipped: names of the files in folders of benchmarks that hold no questions.
        private: a few examples of what is private.
    """
    reasons = Counter(item.reason for item in tally.dropped)
    sections = [_overview(tally, reasons, plans, settings, questions, skipped)]
    sections += private_sections(tally.counts, tally.taken, settings.private, private)
    if questions:
        sections += _contamination(plans, settings, evidence[1], questions)
    sections += _duplicates(evidence[0])
    if filtered := [
        item for item in tally.dropped if item.reason not in ("contaminated", "duplicate", "near-duplicate")
    ]:
        rows = tuple((item.reason, item.place, excerpt(item.detail)) for item in _one_of_each(filtered))
        sections.append(
            ReportSection("Answers that were filtered out", table=Table(("Reason", "Record", "Evidence"), rows))
        )
    if decisions:
        sections.append(ReportSection("Edits", table=_edits(decisions)))
    return sections


def private_sections(
    counts: Mapping[str, int], rows: int, settings: Privacy, examples: Sequence[Found]
) -> list[ReportSection]:
    """What is shown of a search for what is private.

    Args:
        counts: of the tally: ``holds:<kind>`` and ``language:<code>`` in rows.
        rows: that were looked at.
        settings: of the search.
        examples: a few of what was found, without the thing itself.
    """
    if not settings.looks:
        return []
    treatments: dict[str, str] = {str(kind): how for kind, how in settings.treatments.items()}
    if settings.toxicity is not None:
        treatments["toxic"] = f"over {settings.toxicity:g}"
    sections = []
    if treatments:
        cells = tuple(
            (kind, how, *_share(counts, f"holds:{kind}", rows), _PRIVATE[kind]) for kind, how in treatments.items()
        )
        note = f"n = {counted(rows, 'row')}; Wilson's 95 %. Names of persons and postal addresses are not looked for."
        columns = ("Kind", "Treatment", "Rows", "Share", "95 %", "Meaning")
        sections.append(
            ReportSection("Private data", tuple(_not_applied(counts, ("toxic",))), Table(columns, cells, note))
        )
    if examples:
        shown = tuple((f.kind, f.id, f"{f.file}:{f.line}", f.field, excerpt(f.excerpt)) for f in few_of_each(examples))
        headings = ("Kind", "Record", "Place", "Field", "Around it, masked")
        sections.append(ReportSection("Private data: examples", table=Table(headings, shown)))
    if languages := {name.partition(":")[2]: n for name, n in counts.items() if name.startswith("language:")}:
        sections.append(_languages(languages, counts, rows))
    return sections


def few_of_each(found: Sequence[Found]) -> list[Found]:
    """The first three of each kind, of different records."""
    seen: Counter[str] = Counter()
    shown: dict[tuple[str, str], Found] = {}
    for item in found:
        if (item.kind, item.id) not in shown and seen[item.kind] < _EACH:
            seen[item.kind] += 1
            shown[item.kind, item.id] = item
    return sorted(shown.values(), key=lambda item: item.kind)


def curve_picture(curve: Sequence[CurvePoint], measure: str, chosen: float) -> str:
    """How many prompts are matched against the threshold, by questions and by controls, with the chosen one marked."""
    points = [point for point in curve if point.measure == measure]
    top = max((max(point.questions, point.controls) for point in points), default=0)
    series = [
        Line("questions", tuple((point.threshold, float(point.questions)) for point in points)),
        Line("controls", tuple((point.threshold, float(point.controls)) for point in points)),
        Line(f"chosen: {chosen:g}", ((chosen, 0.0), (chosen, float(top)))),
    ]
    return lines(
        series,
        title=f"Prompts that are matched, by threshold of {measure}",
        subtitle="controls: the questions with every second content word replaced; what they match is no contamination",
        x_label=f"least {measure}",
        y_label="prompts",
    )


def _overview(
    tally: Tally,
    reasons: Mapping[str, int],
    plans: Plans,
    settings: Cleaning,
    questions: int,
    skipped: Sequence[str],
) -> ReportSection:
    dropped = len(tally.dropped)
    sentences = [
        f"Of {counted(tally.taken, 'record')} {_verb(tally.given, 'stay')} and {_verb(dropped, 'go', 'goes')}."
    ]
    sentences.append(
        f"{counted(questions, 'question')} of benchmarks {_was_or_were(questions)} looked for; a question stands in "
        f"{Share.make(len(plans.matches), len(plans.scores))} prompts."
        if questions
        else "No benchmark was given to look for contamination."
    )
    if skipped:
        sentences.append(f"Not looked for, because there are no questions in it: {', '.join(skipped)}.")
    if plans.spared:
        pairs = counted(len(plans.spared), "pair of prompts is", "pairs of prompts are")
        sentences.append(
            f"{pairs} alike to the threshold of {settings.similarity:g}, and differ in what counts; nothing goes."
        )
    if plans.kept:
        stay = counted(len(plans.kept), "record stays", "records stay")
        sentences.append(f"{stay} by id, though found to be a duplicate or contaminated.")
    if plans.without_lists:
        sentences.append(
            f"Spelling, number words and phrases that frame a request: not applied to "
            f"{counted(plans.without_lists, 'prompt')}, in a language that no list knows; there each word counts."
        )
    if edited := tally.counts["truecased"]:
        sentences.append(f"{counted(edited, 'record')} {_was_or_were(edited)} given capitals that were lacking.")
    if completions := sum(n for name, n in tally.counts.items() if name.startswith("completion:")):
        taken = counted(completions, "completion")
        sentences.append(f"{taken} {_was_or_were(completions)} taken out from under prompts that stay.")
    if masked := tally.counts["masked"]:
        sentences.append(f"In {counted(masked, 'record')} something private {_was_or_were(masked)} masked.")
    sentences += _not_applied(tally.counts, ("denies-feelings", "truncated", "truecase"))
    if not settings.private.looks:
        sentences.append(f"{NOT_LOOKED_FOR}; --personal, --secrets, --languages and --toxicity do.")
    rows = []
    for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
        share = proportion(count, tally.taken)
        rows.append((reason, count, f"{share.mean:.2%}", f"{share.low:.2%} to {share.high:.2%}", _MEANING[reason]))
    table = Table(
        ("Reason", "Records", "Share", "95 %", "Meaning"), tuple(rows), f"n = {tally.taken:,}; Wilson's 95 %."
    )
    return ReportSection("What goes", tuple(sentences), table if rows else None)


def _not_applied(counts: Mapping[str, int], rules: Sequence[str] = tuple(_RULES)) -> list[str]:
    """A sentence for each rule that knows only English and met rows in other languages."""
    return [
        f"Not applied to {counted(counts[f'not-applied:{rule}'], 'row')} in a language that the rule does not know: "
        f"{_RULES[rule]}."
        for rule in rules
        if counts.get(f"not-applied:{rule}")
    ]


def _languages(languages: Mapping[str, int], counts: Mapping[str, int], rows: int) -> ReportSection:
    ordered = sorted(languages, key=lambda code: (-languages[code], code))
    cells = tuple((code, *_share(counts, f"language:{code}", rows)) for code in ordered)
    note = f"n = {counted(rows, 'row')}; a row counts for each language that an answer of it is in. und: not clear."
    return ReportSection("Languages of the answers", table=Table(("Language", "Rows", "Share", "95 %"), cells, note))


def _share(counts: Mapping[str, int], name: str, rows: int) -> tuple[int, str | None, str | None]:
    count = counts.get(name, 0)
    if not rows:
        return count, None, None
    share = proportion(count, rows)
    return count, f"{share.mean:.2%}", f"{share.low:.2%} to {share.high:.2%}"


def _verb(count: int, several: str, one: str = "") -> str:
    """So many do it, in the present."""
    return f"{count:,} {(one or f'{several}s') if count == 1 else several}"


def _was_or_were(count: int) -> str:
    return "was" if count == 1 else "were"


def _contamination(
    plans: Plans, settings: Cleaning, evidence: Sequence[Contaminated], questions: int
) -> list[ReportSection]:
    curve = contamination_curve(plans.scores)
    chosen = {"similarity": settings.matching.similarity, "coverage": settings.matching.coverage}
    sections = []
    if plans.matches:
        sections.append(ReportSection("Contamination by benchmark", table=_by_benchmark(plans, questions)))
        sections.append(ReportSection("Contamination: the weakest matches", table=_weakest(evidence)))
    for measure, level in chosen.items():
        false = [point.controls for point in curve if point.measure == measure and point.threshold <= level + 1e-6]
        sentence = f"At the chosen {measure} of {level:g}, controls match {false[-1] if false else 0:,} of the prompts"
        sentence += f" (n = {len(plans.scores):,})."
        picture = curve_picture(curve, measure, level)
        sections.append(
            ReportSection(f"Threshold of {measure}", (sentence,), picture=picture, slug=f"contamination-{measure}")
        )
    return sections


def _by_benchmark(plans: Plans, questions: int) -> Table:
    counts = Counter((match.benchmark, match.kind) for match in plans.matches)
    items = {name: len({m.item for m in plans.matches if m.benchmark == name}) for name, _ in counts}
    rows: list[tuple[Cell, ...]] = [
        (name, *(counts[name, kind] for kind in ("exact", "contained", "near")), items[name]) for name in sorted(items)
    ]
    prompts = counted(len(plans.scores), "prompt")
    note = f"n = {prompts}, {counted(questions, 'question')}. A prompt is counted once, for its best match."
    return Table(("Benchmark", "Exact", "Contained", "Near", "Different questions"), tuple(rows), note)


def _weakest(evidence: Sequence[Contaminated]) -> Table:
    by_strength = sorted(evidence, key=lambda row: (row.similarity, row.row))[:_SHOWN]
    rows = tuple(
        (f"{row.benchmark} {row.item}", row.kind, round(row.similarity, 2), excerpt(row.question), excerpt(row.span))
        for row in by_strength
    )
    return Table(("Question", "Kind", "Similarity", "Text", "In the prompt"), rows)


def _duplicates(evidence: Sequence[Repeated]) -> list[ReportSection]:
    """The list of what goes for another, near duplicates first and the least alike first; and a few look-alikes."""
    order = ("near-duplicate", "kept-by-id", "duplicate")
    gone = [row for kind in order for row in _least_alike(evidence, kind)]
    alike = _least_alike(evidence, "look-alike")[:_SHOWN]
    sections = []
    if gone:
        note = "[-…-] is in the one that stays, {+…+} in the other. To keep one nevertheless: --keep ID."
        if len(gone) > _LISTED:
            note += f" {len(gone) - _LISTED:,} more are in duplicates.parquet."
        table = Table(
            ("Kind", "Id", "Goes", "Stays", "Text, with what differs marked"),
            tuple((row.kind, row.id, _where(row), _where(row, kept=True), _marked(row)) for row in gone[:_LISTED]),
            note,
        )
        sections.append(ReportSection("Duplicates", table=table))
    if alike:
        table = Table(
            ("Differs in", "One", "Other", "Text, with what differs marked"),
            tuple((row.differs, _where(row), _where(row, kept=True), _marked(row)) for row in alike),
        )
        sections.append(ReportSection("Prompts that only look alike: both stay", table=table))
    return sections


def _least_alike(evidence: Sequence[Repeated], kind: str) -> list[Repeated]:
    return sorted((row for row in evidence if row.kind == kind), key=lambda row: (row.similarity, row.row))


def _where(row: Repeated, *, kept: bool = False) -> str:
    """File and line of a prompt; its row, where they are not known."""
    file, line, number = (row.kept_file, row.kept_line, row.kept_row) if kept else (row.file, row.line, row.row)
    return f"{file}:{line}" if line else f"{file} row {number}".strip()


def _marked(row: Repeated) -> str:
    """The text from a little before the first mark."""
    place = min((at for at in (row.difference.find("[-"), row.difference.find("{+")) if at >= 0), default=0)
    start = max(0, place - 24)
    return ("…" if start else "") + excerpt(row.difference[start:])


def _edits(decisions: Sequence[Decision]) -> Table:
    rows = []
    for decision in decisions[:_SHOWN]:
        before, after = str(decision.before), "" if decision.after is None else str(decision.after)
        rule = decision.rule if decision.rule in (RULE, MASK_RULE) else decision.rule.partition(":")[0]
        rows.append((rule, decision.field, _differing(before, after), _differing(after, before) if after else None))
    return Table(("Rule", "Field", "Before", "After"), tuple(rows))


def _one_of_each(dropped: Sequence[Dropped]) -> list[Dropped]:
    """Up to four of each reason."""
    seen: Counter[str] = Counter()
    shown = []
    for item in dropped:
        seen[item.reason] += 1
        if seen[item.reason] <= _SHOWN // 2:
            shown.append(item)
    return sorted(shown, key=lambda item: item.reason)


def _differing(text: str, other: str) -> str:
    """The text from a little before the place where it parts from the other."""
    place = next((at for at, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), 0)
    start = max(0, place - 24)
    return ("…" if start else "") + excerpt(text[start:])

"""What a cleaning takes out, as tables, pictures and examples.

Owns what is shown and how it is put. The figures are those of ``data.clean``, the evidence that of ``data.evidence``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from notus.app.health import Finding
from notus.app.pictures import Line, lines
from notus.app.report import Cell, Table
from notus.core.records import Decision
from notus.core.stage import Dropped, Tally
from notus.core.statistics import proportion
from notus.core.wording import counted
from notus.data.clean import RULE, Cleaning, Plans
from notus.data.contamination import CurvePoint, contamination_curve
from notus.data.evidence import Contaminated, Repeated
from notus.data.health import Share

__all__ = ["cleaning_findings", "curve_picture"]

_WIDTH = 96
_SHOWN = 8
_MEANING = {
    "contaminated": "the prompt holds a question of a benchmark",
    "duplicate": "the prompt has the words of an earlier one, in the same order",
    "near-duplicate": "the prompt is alike to an earlier one that stays",
    "empty-answer": "there is no letter, digit or symbol in an answer",
    "denies-feelings": "the assistant says that it has no feelings, opinions or experiences",
    "truncated": "an answer stops in the middle",
    "other-language": "an answer is in another language than the wanted one",
    "no-completion": "each of its completions was filtered out",
}


def cleaning_findings(
    tally: Tally,
    plans: Plans,
    settings: Cleaning,
    evidence: tuple[Sequence[Repeated], Sequence[Contaminated]],
    decisions: Sequence[Decision],
    *,
    questions: int,
    skipped: Sequence[str] = (),
) -> list[Finding]:
    """What a cleaning shows, the most important first.

    Args:
        tally: of the cleaning.
        plans: what was found.
        settings: of the cleaning.
        evidence: rows of duplicates and of contaminated prompts.
        decisions: a few examples of what was edited, or taken out of a row that stays.
        questions: of benchmarks that were looked for.
        skipped: names of the files in folders of benchmarks that hold no questions.
    """
    reasons = Counter(item.reason for item in tally.dropped)
    findings = [_overview(tally, reasons, plans, questions, skipped)]
    if questions:
        findings += _contamination(plans, settings, evidence[1], questions)
    if shown := _chosen_repeats(evidence[0]):
        findings.append(Finding("Duplicates, and prompts that only look alike", table=_repeats(shown)))
    if filtered := [
        item for item in tally.dropped if item.reason not in ("contaminated", "duplicate", "near-duplicate")
    ]:
        rows = tuple((item.reason, item.record, _short(item.detail)) for item in _one_of_each(filtered))
        findings.append(Finding("Answers that were filtered out", table=Table(("Reason", "Record", "Evidence"), rows)))
    if decisions:
        findings.append(Finding("Edits", table=_edits(decisions)))
    return findings


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
    tally: Tally, reasons: Mapping[str, int], plans: Plans, questions: int, skipped: Sequence[str]
) -> Finding:
    dropped = len(tally.dropped)
    said = [f"Of {counted(tally.taken, 'record')} {_do(tally.given, 'stay')} and {_do(dropped, 'go', 'goes')}."]
    said.append(
        f"{counted(questions, 'question')} of benchmarks {_were(questions)} looked for; a question stands in "
        f"{Share.make(len(plans.matches), len(plans.scores))} prompts."
        if questions
        else "No benchmark was given to look for contamination."
    )
    if skipped:
        said.append(f"Not looked for, because there are no questions in it: {', '.join(skipped)}.")
    if plans.spared:
        pairs = counted(len(plans.spared), "pair of prompts is", "pairs of prompts are")
        said.append(f"{pairs} as alike as near duplicates, but as a template over different material is; nothing goes.")
    if edited := tally.counts["truecased"]:
        said.append(f"{counted(edited, 'record')} {_were(edited)} given capitals that were lacking.")
    if completions := sum(n for name, n in tally.counts.items() if name.startswith("completion:")):
        told = counted(completions, "completion")
        said.append(f"{told} {_were(completions)} taken out from under prompts that stay.")
    rows = []
    for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
        share = proportion(count, tally.taken)
        rows.append((reason, count, f"{share.mean:.2%}", f"{share.low:.2%} to {share.high:.2%}", _MEANING[reason]))
    table = Table(
        ("Reason", "Records", "Share", "95 %", "Meaning"), tuple(rows), f"n = {tally.taken:,}; Wilson's 95 %."
    )
    return Finding("What goes", tuple(said), table if rows else None)


def _do(count: int, several: str, one: str = "") -> str:
    """So many do it, in the present."""
    return f"{count:,} {(one or f'{several}s') if count == 1 else several}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _contamination(plans: Plans, settings: Cleaning, evidence: Sequence[Contaminated], questions: int) -> list[Finding]:
    curve = contamination_curve(plans.scores)
    chosen = {"similarity": settings.matching.similarity, "coverage": settings.matching.coverage}
    findings = []
    if plans.matches:
        findings.append(Finding("Contamination by benchmark", table=_by_benchmark(plans, questions)))
        findings.append(Finding("Contamination: the weakest matches", table=_weakest(evidence)))
    for measure, level in chosen.items():
        false = [point.controls for point in curve if point.measure == measure and point.threshold <= level + 1e-6]
        said = f"At the chosen {measure} of {level:g}, controls match {false[-1] if false else 0:,} of the prompts"
        said += f" (n = {len(plans.scores):,})."
        picture = curve_picture(curve, measure, level)
        findings.append(Finding(f"Threshold of {measure}", (said,), picture=picture, slug=f"contamination-{measure}"))
    return findings


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
        (f"{row.benchmark} {row.item}", row.kind, round(row.similarity, 2), _short(row.question), _short(row.span))
        for row in by_strength
    )
    return Table(("Question", "Kind", "Similarity", "Text", "In the prompt"), rows)


def _chosen_repeats(evidence: Sequence[Repeated]) -> list[Repeated]:
    """A few of each kind, those nearest to the threshold first."""
    kinds = ("near-duplicate", "duplicate", "look-alike")
    shown: list[Repeated] = []
    for kind in kinds:
        of_kind = sorted((row for row in evidence if row.kind == kind), key=lambda row: (row.similarity, row.row))
        shown += of_kind[:_SHOWN] if kind == "near-duplicate" else of_kind[: _SHOWN // 2]
    return shown


def _repeats(shown: Sequence[Repeated]) -> Table:
    rows = tuple(
        (
            row.kind,
            round(row.similarity, 2),
            f"row {row.kept_row}: {_parted(row.kept_text, row.text)}",
            _parted(row.text, row.kept_text),
        )
        for row in shown
    )
    note = "Where two texts begin alike, they are shown from where they part."
    return Table(("Kind", "Similarity", "Stays", "Goes, or looks alike"), rows, note)


def _edits(decisions: Sequence[Decision]) -> Table:
    rows = []
    for decision in decisions[:_SHOWN]:
        before, after = str(decision.before), "" if decision.after is None else str(decision.after)
        rule = decision.rule if decision.rule == RULE else decision.rule.partition(":")[0]
        rows.append((rule, decision.field, _parted(before, after), _parted(after, before) if after else None))
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


def _parted(text: str, other: str) -> str:
    """The text from a little before the place where it parts from the other."""
    place = next((at for at, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), 0)
    start = max(0, place - 24)
    return ("…" if start else "") + _short(text[start:])


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"

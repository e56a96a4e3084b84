"""What an evaluation of judges shows: flags first, agreement with people, order and length, who fools them.

Owns what is shown and how it is put. The figures are those of ``evaluate.judges.figures`` and ``evaluate.degenerate``.
"""

from collections.abc import Iterable, Sequence

from notus.core.text import counted
from notus.evaluate.compare import Comparison, format_estimate, negated, shifted
from notus.evaluate.degenerate import DistinctAnswers
from notus.evaluate.judges.figures import JudgeFigures, PeopleFigures
from notus.evaluate.judges.probes import PROBES, TOLERATED, ProbeRate
from notus.report.charts import BarRow, bars
from notus.report.section import ReportSection, estimate_cell, share_cell
from notus.report.table import Cell, Table
from notus.stats.intervals import Estimate

__all__ = ["judge_sections"]


def judge_sections(
    people: PeopleFigures,
    judges: Sequence[JudgeFigures],
    comparison: Comparison | None = None,
    outputs: Sequence[DistinctAnswers] = (),
) -> list[ReportSection]:
    """What an evaluation of judges shows, the flags first.

    Args:
        people: the yardstick.
        judges: the judges.
        comparison: of their agreement with the majority, where there are several.
        outputs: of models, whose distinct answers were counted.
    """
    flags = [flag for judge in judges for flag in _flags(judge)] + [each.describe() for each in outputs if each.flagged]
    verdicts = tuple(pair.verdict for pair in comparison.pairs) if comparison else ()
    sections = [
        ReportSection("Flags", tuple(flags) or ("Nothing was flagged.",)),
        ReportSection("Agreement with people", (*_people(people), *verdicts), table=_agreement(people, judges)),
        ReportSection("Order and length", table=_habits(people, judges)),
    ]
    if any(judge.probes for judge in judges):
        picture = bars(
            [
                BarRow(probe.kind, probe.rate.mean, judge.name, probe.rate, f"n = {probe.scored}")
                for judge in judges
                for probe in judge.probes
                if probe.rate
            ],
            title="Falls for canaries",
            subtitle=f"0 is sound; flagged where the whole interval lies above {TOLERATED:g}",
            x_label="rate",
        )
        sections.append(ReportSection("Canaries", table=_probes(judges), picture=picture, slug="canaries"))
    if outputs:
        sentences = tuple(each.describe() for each in outputs)
        sections.append(ReportSection("Distinct answers", sentences, table=_distinct(outputs)))
    return sections


def _flags(judge: JudgeFigures) -> Iterable[str]:
    for probe in judge.probes:
        if probe.flagged and probe.rate:
            rate = format_estimate(probe.rate)
            yield f"{judge.name} falls for '{probe.kind}' ({PROBES[probe.kind]}): {rate}, n = {probe.scored:,}."
    if judge.decided and judge.decided.low <= 0.5 <= judge.decided.high:
        share = format_estimate(judge.decided)
        yield f"{judge.name} and a coin are not distinguishable: it prefers what people prefer in {share} of the pairs."
    elif judge.decided and judge.decided.high < 0.5:
        yield f"{judge.name} prefers what people do not: it agrees in {format_estimate(judge.decided)} of the pairs."
    if judge.first and not judge.first.low <= 0.5 <= judge.first.high:
        place, favoured = ("first", judge.first) if judge.first.mean > 0.5 else ("second", _complement(judge.first))
        share = format_estimate(favoured)
        yield f"{judge.name} favours the answer that is shown {place}: {share} of its verdicts, ties as half."
    if judge.longer_than_people and judge.longer_than_people.low > 0:
        yield (
            f"{judge.name} prefers the longer answer more often than people do: "
            f"{format_estimate(judge.longer_than_people, sign=True)}."
        )
    if judge.scored < judge.asked:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in judge.unscored.items())
        yield f"{judge.name} gave no verdict on {judge.asked - judge.scored:,} of {judge.asked:,} pairs: {reasons}."


def _complement(share: Estimate) -> Estimate:
    """The share of the others."""
    return shifted(negated(share), 1.0)


def _people(people: PeopleFigures) -> Iterable[str]:
    if people.among is None or people.alpha is None:
        yield f"{counted(people.pairs, 'pair')}, one vote each: how far people agree among themselves is not known."
        return
    among, alpha = format_estimate(people.among), format_estimate(people.alpha)
    yield (
        f"Two of the {people.annotators} annotators agree on {among} of {people.pairs:,} pairs (Krippendorff's α "
        f"{alpha}); the majority prefers one answer in {people.preferred:,}, neither in {people.ties:,}, and is "
        f"divided in {people.divided:,}."
    )


def _agreement(people: PeopleFigures, judges: Sequence[JudgeFigures]) -> Table:
    several = people.among is not None
    numbers = range(max((len(judge.annotators) for judge in judges), default=0))
    columns = ("Judge", "Pairs", "Scored", "With majority", "κ", *(f"Annotator {n + 1}" for n in numbers))
    columns += ("With one person", "Minus people") if several else ()
    rows: list[tuple[Cell, ...]] = []
    for judge in judges:
        row: tuple[Cell, ...] = (
            judge.name,
            judge.asked,
            judge.scored,
            share_cell(judge.majority.raw),
            _cell(judge.majority.kappa),
        )
        row += tuple(_cell(each.raw) for each in judge.annotators)
        if several:
            row += (_cell(judge.with_people), estimate_cell(judge.against_people, sign=True))
        rows.append((*row, _cell(judge.decided)))
    note = "Same label of three: first, second, neither; a verdict that turns with the order is neither. "
    note += "Decided: pairs with a preferred answer, the judge's ties as half. 95 % intervals, prompts as clusters."
    return Table((*columns, "Decided"), tuple(rows), note)


def _habits(people: PeopleFigures, judges: Sequence[JudgeFigures]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            judge.name,
            _cell(judge.consistent) if not judge.pointwise else "by construction",
            _cell(judge.first),
            _cell(judge.longer),
            estimate_cell(judge.longer_than_people, sign=True),
        )
        for judge in judges
    ]
    rows.append(("people", None, None, _cell(people.longer), None))
    columns = ("Judge", "Same in both orders", "For the first", "For the longer", "Longer, minus people")
    return Table(columns, tuple(rows), "For the first: ½ is without favour, a dash that no verdict turned.")


def _probes(judges: Sequence[JudgeFigures]) -> Table:
    def cell(probe: ProbeRate | None) -> Cell:
        if probe is None or probe.rate is None:
            return None
        return f"{format_estimate(probe.rate)}{' ⚑' if probe.flagged else ''}"

    rows: list[tuple[Cell, ...]] = []
    for kind, what in PROBES.items():
        rates = [next((probe for probe in judge.probes if probe.kind == kind), None) for judge in judges]
        scored = max((probe.scored for probe in rates if probe), default=0)
        if scored:
            rows.append((kind, what, scored, *map(cell, rates)))
    note = f"0 is sound. ⚑: the whole interval lies above {TOLERATED:g}. Added: rise over the same pair without it."
    return Table(("Canary", "What it is", "n", *(judge.name for judge in judges)), tuple(rows), note)


def _distinct(outputs: Sequence[DistinctAnswers]) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            each.name,
            each.outputs,
            each.prompts,
            each.distinct,
            format_estimate(each.same),
            format_estimate(each.ngram),
            "yes" if each.flagged else "no",
        )
        for each in outputs
    )
    columns = ("Outputs", "Answers", "Prompts", "Distinct", "Same answer", "Same eight words", "Flagged")
    return Table(columns, rows, "Shares of the prompts; Wilson's 95 % intervals.")


def _cell(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return None
    # Where all agree a bootstrap has nothing to draw from.
    return format_estimate(estimate) if estimate.width else f"{estimate.mean:.3f} (no interval)"

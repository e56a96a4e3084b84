"""Rewards and judges on trial, as tables, sentences and pictures.

Owns what is shown and how it is put. The figures are those of ``evaluate.rewardbench`` and ``evaluate.trial_report``.
"""

from collections.abc import Iterable, Sequence

from notus.app.curves import reliability
from notus.app.health import Finding
from notus.app.pictures import BarRow, bars
from notus.app.report import Cell, Table
from notus.core.reliability import brier, calibration_error, reliability_bins
from notus.core.statistics import Estimate
from notus.core.wording import counted
from notus.evaluate.canaries import CANARIES, TOLERATED, Fall
from notus.evaluate.compare import Comparison, spoken
from notus.evaluate.distinct import Distinct
from notus.evaluate.rewardbench import Calibration, Group, RewardReport
from notus.evaluate.shares import certain
from notus.evaluate.trial_report import JudgeFigures, PeopleFigures

__all__ = ["judge_findings", "reward_findings"]

_BINS = 10


def reward_findings(report: RewardReport, *, tie: float) -> list[Finding]:
    """What a reward check shows, the most important first.

    Args:
        report: the figures.
        tie: what a tie counted.
    """
    findings = [Finding("Accuracy", tuple(_accuracy(report, tie)))]
    if report.sections:
        table = _groups(
            "Section", report.sections, "Subsets weighted by their counts; 95 % intervals, prompts as clusters."
        )
        findings.append(Finding("Sections", (_total(report),), table=table))
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
        findings.append(
            Finding("Subsets", table=_groups("Subset", report.subsets, ""), picture=picture, slug="subsets")
        )
    findings.append(Finding("Length", tuple(_length(report))))
    if report.calibration is not None:
        findings.append(_calibration(report.ranker, report.calibration))
    return findings


def judge_findings(
    people: PeopleFigures,
    judges: Sequence[JudgeFigures],
    comparison: Comparison | None = None,
    outputs: Sequence[Distinct] = (),
) -> list[Finding]:
    """What a trial of judges shows, the flags first.

    Args:
        people: the yardstick.
        judges: the judges.
        comparison: of their agreement with the majority, where there are several.
        outputs: of models, whose distinct answers were counted.
    """
    flags = [flag for judge in judges for flag in _flags(judge)] + [d.sentence() for d in outputs if d.flagged]
    findings = [Finding("Flags", tuple(flags) or ("Nothing was flagged.",))]
    said = tuple(pair.verdict for pair in comparison.pairs) if comparison else ()
    findings.append(Finding("Agreement with people", (*_people(people), *said), table=_agreement(people, judges)))
    findings.append(Finding("Order and length", table=_habits(people, judges)))
    if any(judge.falls for judge in judges):
        falls = [(judge.name, fall) for judge in judges for fall in judge.falls]
        picture = bars(
            [
                BarRow(fall.kind, fall.rate.mean, name, fall.rate, f"n = {fall.scored}")
                for name, fall in falls
                if fall.rate
            ],
            title="Falls for canaries",
            subtitle=f"0 is sound; flagged where the whole interval lies above {TOLERATED:g}",
            x_label="rate",
        )
        findings.append(Finding("Canaries", table=_canaries(judges), picture=picture, slug="canaries"))
    if outputs:
        findings.append(
            Finding("Distinct answers", tuple(each.sentence() for each in outputs), table=_distinct(outputs))
        )
    return findings


def _accuracy(report: RewardReport, tie: float) -> Iterable[str]:
    if not report.scored:
        yield f"{report.ranker} gave no pair a score."
        return
    # What has no score is wrong at the lower end, so that this is the share of the others.
    alone = f"{report.bounds[0] * report.asked / report.scored:.3f} (no interval: it takes two prompts)"
    told = spoken(report.accuracy) if report.accuracy else alone
    counts = "counts" if report.ties == 1 else "count"
    yield (
        f"{report.ranker}: the chosen answer has the higher score in {told} of {counted(report.scored, 'pair')}; "
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
    return f"Mean of the {len(report.sections)} sections: {spoken(report.total)} (n = {report.total.n:,})."


def _groups(what: str, groups: Sequence[Group], note: str) -> Table:
    weighted = any(group.weight is not None for group in groups)
    rows: list[tuple[Cell, ...]] = []
    for g in groups:
        told = spoken(g.accuracy) if g.accuracy else None
        weight = (None if g.weight is None else round(g.weight, 3),) if weighted else ()
        section = (g.section or None,) if what == "Subset" else ()
        rows.append((g.name, *section, g.asked, g.scored, g.ties, told, *weight))
    columns = (what, *(("Section",) if what == "Subset" else ()), "Pairs", "Scored", "Ties", "Accuracy")
    return Table((*columns, *(("Weight",) if weighted else ())), tuple(rows), note)


def _length(report: RewardReport) -> Iterable[str]:
    length = report.length
    if length.longer_wins is None or length.longer_chosen is None:
        yield "There are too few pairs of unequal length to say anything of it."
        return
    yield (
        f"The longer answer wins in {spoken(length.longer_wins)} of {length.longer_wins.n:,} pairs, and is the chosen "
        f"one in {spoken(length.longer_chosen)} of them (pairs of equal length and ties left out)."
    )
    sides = [("longer", length.when_longer), ("shorter", length.when_shorter)]
    told = [
        f"{spoken(side)} where the chosen answer is the {name} one (n = {side.n:,})" for name, side in sides if side
    ]
    if told:
        yield f"Accuracy: {' and '.join(told)}."


def _calibration(ranker: str, found: Calibration) -> Finding:
    if not found.probabilities:
        return Finding("Calibration", ("There is no pair without a tie; nothing can be said of the margins.",))
    data = found.probabilities, found.correct, found.prompts
    error, score = calibration_error(*data, bins=_BINS), brier(*data)
    sentences = [f"With P = σ({found.scale:g} · margin) for the preferred answer, over {len(found.correct):,} pairs:"]
    if found.overconfidence:
        sentences.append(f"P minus the share that is right: {spoken(found.overconfidence, sign=True)}.")
    if error and score:
        sentences.append(f"Expected calibration error {spoken(error)}, Brier score {spoken(score)}.")
    picture = reliability({ranker: reliability_bins(*data, bins=_BINS)}, title=f"Calibration of {ranker}")
    return Finding("Calibration", tuple(sentences), picture=picture, slug="calibration")


def _flags(judge: JudgeFigures) -> Iterable[str]:
    for fall in judge.falls:
        if fall.flagged and fall.rate:
            what = CANARIES[fall.kind]
            yield f"{judge.name} falls for '{fall.kind}' ({what}): {spoken(fall.rate)}, n = {fall.scored:,}."
    if judge.decided and judge.decided.low <= 0.5 <= judge.decided.high:
        told = spoken(judge.decided)
        yield f"{judge.name} and a coin are not distinguishable: it prefers what people prefer in {told} of the pairs."
    elif judge.decided and judge.decided.high < 0.5:
        yield f"{judge.name} prefers what people do not: it agrees in {spoken(judge.decided)} of the pairs."
    if judge.first and not judge.first.low <= 0.5 <= judge.first.high:
        place = "first" if judge.first.mean > 0.5 else "second"
        share = judge.first if place == "first" else _mirrored(judge.first)
        yield f"{judge.name} favours the answer that is shown {place}: {spoken(share)} of its verdicts, ties as half."
    if judge.longer_than_people and judge.longer_than_people.low > 0:
        yield (
            f"{judge.name} prefers the longer answer more often than people do: "
            f"{spoken(judge.longer_than_people, sign=True)}."
        )
    if judge.scored < judge.asked:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in judge.unscored.items())
        yield f"{judge.name} gave no verdict on {judge.asked - judge.scored:,} of {judge.asked:,} pairs: {reasons}."


def _mirrored(share: Estimate) -> Estimate:
    return Estimate(1 - share.mean, 1 - share.high, 1 - share.low, share.n, share.groups, share.method)


def _people(people: PeopleFigures) -> Iterable[str]:
    if people.among is not None and people.alpha is not None:
        yield (
            f"Two of the {people.annotators} annotators agree on {spoken(people.among)} of {people.pairs:,} pairs "
            f"(Krippendorff's α {spoken(people.alpha)}); the majority prefers one answer in {people.preferred:,}, "
            f"neither in {people.ties:,}, and is divided in {people.divided:,}."
        )
    else:
        yield f"{counted(people.pairs, 'pair')}, one vote each: how far people agree among themselves is not known."


def _agreement(people: PeopleFigures, judges: Sequence[JudgeFigures]) -> Table:
    several = people.annotators > 1
    numbers = range(people.annotators if several else 0)
    columns = ("Judge", "Pairs", "Scored", "With majority", "κ", *(f"Annotator {n + 1}" for n in numbers))
    columns += ("With one person", "Minus people") if several else ()
    rows: list[tuple[Cell, ...]] = []
    for judge in judges:
        row: tuple[Cell, ...] = (
            judge.name,
            judge.asked,
            judge.scored,
            _told(judge.majority.raw and certain(judge.majority.raw)),
            _told(judge.majority.kappa),
        )
        row += tuple(_told(each.raw) for each in judge.annotators)
        if several:
            against = spoken(judge.against_people, sign=True) if judge.against_people else None
            row += (_told(judge.with_people), against)
        rows.append((*row, _told(judge.decided)))
    note = "Same label of three: first, second, neither; a verdict that turns with the order is neither. "
    note += "Decided: pairs with a preferred answer, the judge's ties as half. 95 % intervals, prompts as clusters."
    return Table((*columns, "Decided"), tuple(rows), note)


def _habits(people: PeopleFigures, judges: Sequence[JudgeFigures]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            judge.name,
            _told(judge.consistent) if not judge.pointwise else "by construction",
            _told(judge.first),
            _told(judge.longer),
            spoken(judge.longer_than_people, sign=True) if judge.longer_than_people else None,
        )
        for judge in judges
    ]
    rows.append(("people", None, None, _told(people.longer), None))
    columns = ("Judge", "Same in both orders", "For the first", "For the longer", "Longer, minus people")
    return Table(columns, tuple(rows), "For the first: ½ is without favour, a dash that no verdict turned.")


def _canaries(judges: Sequence[JudgeFigures]) -> Table:
    def cell(fall: Fall | None) -> Cell:
        if fall is None or fall.rate is None:
            return None
        return f"{spoken(fall.rate)}{' ⚑' if fall.flagged else ''}"

    rows: list[tuple[Cell, ...]] = []
    for kind, what in CANARIES.items():
        falls = [next((fall for fall in judge.falls if fall.kind == kind), None) for judge in judges]
        scored = max((fall.scored for fall in falls if fall), default=0)
        if scored:
            rows.append((kind, what, scored, *(cell(fall) for fall in falls)))
    note = f"0 is sound. ⚑: the whole interval lies above {TOLERATED:g}. Added: rise over the same pair without it."
    return Table(("Canary", "What it is", "n", *(judge.name for judge in judges)), tuple(rows), note)


def _distinct(outputs: Sequence[Distinct]) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (d.name, d.outputs, d.prompts, d.distinct, spoken(d.same), spoken(d.stretch), "yes" if d.flagged else "no")
        for d in outputs
    )
    columns = ("Outputs", "Answers", "Prompts", "Distinct", "Same answer", "Same eight words", "Flagged")
    return Table(columns, rows, "Shares of the prompts; Wilson's 95 % intervals.")


def _told(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return None
    # Where all agree a bootstrap has nothing to draw from.
    return spoken(estimate) if estimate.width else f"{estimate.mean:.3f} (no interval)"

"""What rounds and best of n show: tables, sentences and pictures.

Owns what is shown and how it is put. The figures are those of ``evaluate.rounds`` and ``evaluate.best_of_n``, the
warnings those of ``evaluate.rounds``.
"""

from collections.abc import Callable, Sequence

from notus.evaluate.best_of_n import BestOfK, BestOfNCurve
from notus.evaluate.compare import format_estimate
from notus.evaluate.rounds import Measures
from notus.report.curves import Line, lines
from notus.report.section import ReportSection, estimate_cell, share_cell
from notus.report.table import Cell, Table
from notus.stats.intervals import Estimate

__all__ = ["KL_CAVEAT", "best_of_n_sections", "round_sections"]

KL_CAVEAT = (
    "KL: the mean log-ratio of the answers that were drawn. It estimates the divergence of the models where they were "
    "drawn at temperature 1 without top-p or top-k; otherwise it speaks of these answers only."
)
"""What a reader of a table of rounds must know of its KL."""


def round_sections(rounds: Sequence[Measures]) -> list[ReportSection]:
    """What the last of some rounds shows, and how it came about.

    Args:
        rounds: all rounds so far, in their order.
    """
    last = rounds[-1]
    judge = f"the independent check '{last.check}'" if last.check else f"the ranker '{last.ranker}' alone"
    sentences = [f"The win rate over the start is judged by {judge}."]
    if not last.check:
        sentences.append("The rounds train towards this ranker, so that it cannot tell whether they went too far.")
    sentences += last.warnings or ("Nothing to warn of." if last.check else "",)
    heading = f"Round {last.round} beside the start"
    return [
        ReportSection(heading, tuple(filter(None, sentences)), _table(rounds)),
        ReportSection("Win rate over the start, round by round", picture=_win_rates(rounds), slug="win-rates"),
        ReportSection("Length, round by round", picture=_lengths(rounds), slug="lengths"),
    ]


def best_of_n_sections(curve: BestOfNCurve, ranker: str, check: str | None) -> list[ReportSection]:
    """What picking the best of k answers is worth, for each k."""
    last = curve.points[-1]
    sentences = [
        f"Prompts with at least {last.k} scored answers: {curve.prompts:,}; left out with fewer: {curve.fewer:,}."
    ]
    if last.k == 1:
        sentences.append("There is nothing to choose among: draw more answers to each prompt (--samples).")
    elif last.score_gain is not None:
        gained = format_estimate(last.score_gain, sign=True)
        sentences.append(f"Best of {last.k} gains {gained} by the ranker '{ranker}' itself.")
    if check and curve.checked < curve.prompts:
        sentences.append(
            f"The check '{check}' scored all answers to {curve.checked:,} of these prompts; its figures are theirs."
        )
    if check and last.k > 1 and last.check_gain is not None:
        sentences.append(f"By the check '{check}' its pick gains {format_estimate(last.check_gain, sign=True)}.")
    found = [ReportSection("Best of k", tuple(sentences), _curve_table(curve, ranker, check))]
    if last.score is not None:
        found.append(_curve_picture(curve, f"ranker '{ranker}'", "score", lambda point: point.score))
    if check and last.check is not None:
        found.append(_curve_picture(curve, f"check '{check}'", "check", lambda point: point.check))
    return found


def _table(rounds: Sequence[Measures]) -> Table:
    rows: tuple[tuple[str, Callable[[Measures], Cell]], ...] = (
        ("Win rate by the check", lambda m: share_cell(m.checked.win_rate if m.checked else None)),
        ("… at equal length", lambda m: share_cell(m.checked.controlled if m.checked else None)),
        ("Score of the check", lambda m: estimate_cell(m.check_mean)),
        ("… at the start", lambda m: estimate_cell(m.check_start)),
        ("Win rate by the ranker", lambda m: share_cell(m.ranked.win_rate)),
        ("… at equal length", lambda m: share_cell(m.ranked.controlled)),
        ("Gain of the ranker's score", lambda m: estimate_cell(m.ranked.score, sign=True)),
        ("Length in characters", lambda m: estimate_cell(m.length)),
        ("… more than the start", lambda m: estimate_cell(m.length_gain, sign=True)),
        ("KL to the start in nats", lambda m: estimate_cell(m.kl)),
        ("Distinct words", lambda m: share_cell(m.distinct_1)),
        ("Distinct pairs of words", lambda m: share_cell(m.distinct_2)),
        ("Cut at the token limit", lambda m: share_cell(m.truncated)),
    )
    every: list[tuple[Cell, ...]] = [(name, *map(cell, rounds)) for name, cell in rows]
    cells = [row for row in every if any(cell is not None for cell in row[1:])]
    last = rounds[-1]
    note = (
        f"n = {last.prompts:,} prompts, {last.answers:,} answers; means with 95 % intervals, prompts as clusters. "
        "These speak of this one model; seeds, as replicates, are compared by arms."
    )
    if any(item.kl is not None for item in rounds):
        note += f" {KL_CAVEAT}"
    return Table(("", *(f"Round {item.round}" for item in rounds)), tuple(cells), note)


def _win_rates(rounds: Sequence[Measures]) -> str:
    last = rounds[-1]
    sides: list[tuple[str, Callable[[Measures], Estimate | None]]] = [
        (f"ranker '{last.ranker}'", lambda m: m.ranked.win_rate),
        ("ranker at equal length", lambda m: m.ranked.controlled),
    ]
    if last.check:
        sides = [
            (f"check '{last.check}'", lambda m: m.checked.win_rate if m.checked else None),
            ("check at equal length", lambda m: m.checked.controlled if m.checked else None),
            *sides,
        ]
    curves = [Line(label, ((0.0, 0.5), *_points(rounds, value))) for label, value in sides]
    return lines(
        curves,
        title="Win rate over the start",
        subtitle=f"n = {last.prompts:,} prompts; the intervals are in the table",
        x_label="round",
        y_label="share of pairs of answers",
        levels=((0.5, "as the start"),),
    )


def _lengths(rounds: Sequence[Measures]) -> str:
    return lines(
        [Line("mean", _points(rounds, lambda m: m.length))],
        title="Length of answers",
        subtitle=f"n = {rounds[-1].prompts:,} prompts",
        x_label="round",
        y_label="characters",
    )


def _points(
    rounds: Sequence[Measures], value: Callable[[Measures], Estimate | None]
) -> tuple[tuple[float, float | None], ...]:
    found = ((float(item.round), value(item)) for item in rounds)
    return tuple((number, None if estimate is None else estimate.mean) for number, estimate in found)


def _curve_table(curve: BestOfNCurve, ranker: str, check: str | None) -> Table:
    columns = ("k", f"Ranker '{ranker}'", "Gain over one", *((f"Check '{check}'", "Gain over one ") if check else ()))
    rows: list[tuple[Cell, ...]] = []
    for point in curve.points:
        checked = (estimate_cell(point.check), estimate_cell(point.check_gain, sign=True)) if check else ()
        ranked = (estimate_cell(point.score), estimate_cell(point.score_gain, sign=True))
        rows.append((point.k, *ranked, *checked, point.kl_bound))
    note = (
        f"n = {curve.prompts:,} prompts{f', {curve.checked:,} of them checked' if check else ''}; expected value of "
        "the ranker's pick among k random answers, with 95 % intervals, prompts as clusters. KL: at most so many nats "
        "from a single answer."
    )
    return Table((*columns, "KL at most"), tuple(rows), note)


def _curve_picture(
    curve: BestOfNCurve, label: str, slug: str, value: Callable[[BestOfK], Estimate | None]
) -> ReportSection:
    sides: tuple[tuple[str, Callable[[Estimate], float]], ...] = (
        ("mean", lambda estimate: estimate.mean),
        ("95 %", lambda estimate: estimate.low),
        ("95 %", lambda estimate: estimate.high),
    )
    found = [(float(point.k), estimate) for point in curve.points if (estimate := value(point)) is not None]
    picture = lines(
        [Line(name, tuple((k, side(estimate)) for k, estimate in found)) for name, side in sides],
        title=f"Best of k by the {label}",
        subtitle=f"n = {curve.prompts:,} prompts; mean and 95 % interval",
        x_label="k",
        y_label="value of the ranker's pick",
    )
    return ReportSection(f"Best of k by the {label}", picture=picture, slug=f"best-of-{slug}")

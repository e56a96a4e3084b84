"""How rounds and best of n look: tables, sentences and pictures.

The figures are owned by ``evaluate.roundmeasures`` and ``evaluate.bestof``, the warnings by ``evaluate.overoptimised``.
"""

from collections.abc import Callable, Sequence

from notus.app.health import Finding
from notus.app.pictures import Line, lines
from notus.app.report import Cell, Table
from notus.core.statistics import Estimate
from notus.evaluate.bestof import Curve, Point
from notus.evaluate.compare import spoken
from notus.evaluate.roundmeasures import Measures
from notus.evaluate.shares import certain

__all__ = ["KL_CAVEAT", "best_of_findings", "round_findings"]

KL_CAVEAT = (
    "KL: the mean log-ratio of the answers that were drawn. It estimates the divergence of the models where they were "
    "drawn at temperature 1 without top-p or top-k; otherwise it speaks of these answers only."
)
"""What a reader of a table of rounds must know of its KL."""

_Row = tuple[str, Callable[[Measures], Estimate | None], bool]


def round_findings(rounds: Sequence[Measures]) -> list[Finding]:
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
        Finding(heading, tuple(filter(None, sentences)), _table(rounds)),
        Finding("Win rate over the start, round by round", picture=_win_rates(rounds), slug="win-rates"),
        Finding("Length, round by round", picture=_lengths(rounds), slug="lengths"),
    ]


def best_of_findings(curve: Curve, ranker: str, check: str | None) -> list[Finding]:
    """What picking the best of k answers is worth, for each k."""
    last = curve.points[-1]
    sentences = [
        f"Prompts with at least {last.k} scored answers: {curve.prompts:,}; left out with fewer: {curve.fewer:,}."
    ]
    if last.k == 1:
        sentences.append("There is nothing to choose among: draw more answers to each prompt (--samples).")
    elif last.score_gain is not None:
        gained = spoken(last.score_gain, sign=True)
        sentences.append(f"Best of {last.k} gains {gained} by the ranker '{ranker}' itself.")
    if check and curve.checked < curve.prompts:
        sentences.append(
            f"The check '{check}' scored all answers to {curve.checked:,} of these prompts; its figures are theirs."
        )
    if check and last.k > 1 and last.check_gain is not None:
        sentences.append(f"By the check '{check}' its pick gains {spoken(last.check_gain, sign=True)}.")
    found = [Finding("Best of k", tuple(sentences), _curve_table(curve, ranker, check))]
    if last.score is not None:
        found.append(_curve_picture(curve, f"ranker '{ranker}'", "score", lambda point: point.score))
    if check and last.check is not None:
        found.append(_curve_picture(curve, f"check '{check}'", "check", lambda point: point.check))
    return found


def _table(rounds: Sequence[Measures]) -> Table:
    rows: tuple[_Row, ...] = (
        ("Win rate by the check", lambda m: _sure(m.checked.win_rate) if m.checked else None, False),
        ("… at equal length", lambda m: _sure(m.checked.controlled) if m.checked else None, False),
        ("Score of the check", lambda m: m.check_mean, False),
        ("… at the start", lambda m: m.check_start, False),
        ("Win rate by the ranker", lambda m: _sure(m.ranked.win_rate), False),
        ("… at equal length", lambda m: _sure(m.ranked.controlled), False),
        ("Gain of the ranker's score", lambda m: m.ranked.score, True),
        ("Length in characters", lambda m: m.length, False),
        ("… more than the start", lambda m: m.length_gain, True),
        ("KL to the start in nats", lambda m: m.kl, False),
        ("Distinct words", lambda m: _sure(m.distinct_1), False),
        ("Distinct pairs of words", lambda m: _sure(m.distinct_2), False),
        ("Cut at the token limit", lambda m: _sure(m.truncated), False),
    )
    cells: list[tuple[Cell, ...]] = [
        (name, *(_said(value(item), sign) for item in rounds))
        for name, value, sign in rows
        if any(value(item) is not None for item in rounds)
    ]
    last = rounds[-1]
    note = (
        f"n = {last.prompts:,} prompts, {last.answers:,} answers; means with 95 % intervals, prompts as clusters. "
        "These speak of this one model; seeds, as replicates, are compared by arms."
    )
    if any(item.kl is not None for item in rounds):
        note += f" {KL_CAVEAT}"
    return Table(("", *(f"Round {item.round}" for item in rounds)), tuple(cells), note)


def _said(estimate: Estimate | None, sign: bool) -> Cell:
    return None if estimate is None else spoken(estimate, sign=sign)


def _sure(share: Estimate | None) -> Estimate | None:
    """A share as it is shown: one of none or of all is not without error."""
    return None if share is None else certain(share)


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


def _curve_table(curve: Curve, ranker: str, check: str | None) -> Table:
    columns = ("k", f"Ranker '{ranker}'", "Gain over one", *((f"Check '{check}'", "Gain over one ") if check else ()))
    rows: list[tuple[Cell, ...]] = []
    for point in curve.points:
        checked = (_said(point.check, False), _said(point.check_gain, True)) if check else ()
        rows.append((point.k, _said(point.score, False), _said(point.score_gain, True), *checked, point.kl_bound))
    note = (
        f"n = {curve.prompts:,} prompts{f', {curve.checked:,} of them checked' if check else ''}; expected value of "
        "the ranker's pick among k random answers, with 95 % intervals, prompts as clusters. KL: at most so many nats "
        "from a single answer."
    )
    return Table((*columns, "KL at most"), tuple(rows), note)


def _curve_picture(curve: Curve, label: str, slug: str, value: Callable[[Point], Estimate | None]) -> Finding:
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
    return Finding(f"Best of k by the {label}", picture=picture, slug=f"best-of-{slug}")

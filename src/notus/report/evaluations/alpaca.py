"""What a scoring of AlpacaEval shows: win rates with errors, two models in pairs, the place on a leaderboard.

Owns what is shown and how it is put. The figures are those of ``evaluate.alpaca.score`` and ``evaluate.length.alpaca``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from notus.evaluate.alpaca.score import Judgement, WinRate, compare_models, describe_difference
from notus.evaluate.length.alpaca import LengthControlled
from notus.report.section import ReportSection
from notus.report.table import Cell, Table

__all__ = ["ControlledFigures", "board_section", "difference_section", "rates_section"]

_FEW = 0.5
"""Share of different outputs below which a model is said to answer alike."""
_SAME = 1e-6
"""Difference up to which a column of a leaderboard is said to come out."""


@dataclass(frozen=True)
class ControlledFigures:
    """The length-controlled figures of a model, or why there are none."""

    of: LengthControlled | None
    published: float | None = None
    """From published weights."""
    sentences: tuple[str, ...] = ()


def rates_section(rates: WinRate, controlled: ControlledFigures) -> ReportSection:
    """The win rates of a model, with and without control for length."""
    ends = None if rates.interval is None else (rates.interval.low, rates.interval.high)
    rows: list[tuple[Cell, ...]] = [
        ("win rate", rates.mean, rates.error, _format_ends(ends), rates.scored),
        ("discrete win rate", rates.discrete, None, None, rates.scored),
    ]
    of, sentences = controlled.of, rates.sentences()
    if rates.asked > 1 and rates.distinct < _FEW * rates.asked:
        sentences.append(
            f"Only {rates.distinct:,} of the {rates.asked:,} outputs of {rates.model} are distinct: look at them "
            "before believing its figures."
        )
    if of is not None:
        rows.append(("length-controlled win rate", of.value, of.error, _format_ends(of.bounds), of.n))
        if of.error is not None:
            lost = len(of.replicates) - len(of.fitted)
            sentences.append(
                f"The error of the length-controlled win rate is that of {len(of.fitted):,} draws of the "
                f"{of.instructions:,} instructions, each fitted anew; upstream's way gives {of.naive_error:.2f}."
                + (f" {lost:,} further draws held too little to be fitted and are left out." if lost else "")
            )
    if controlled.published is not None:
        rows.append(("length-controlled, published weights", controlled.published, None, None, None))
    rows.append(("mean characters of the outputs", rates.length, None, None, rates.asked))
    table = Table(("What", "Value", "Standard error", "95 % interval", "n"), tuple(rows), "Rates in points.")
    heading = f"AlpacaEval: {rates.model} against {rates.reference}"
    return ReportSection(heading, (*sentences, *controlled.sentences), table)


def difference_section(
    a: Sequence[Judgement], b: Sequence[Judgement], one: ControlledFigures, other: ControlledFigures
) -> ReportSection:
    """Two models on the instructions that both have a score for.

    Raises:
        DataError: if they cannot be compared, see ``compare_models``.
    """
    paired = compare_models(a, b)
    first, second = a[0].model, b[0].model
    sentences = [f"Win rate: {describe_difference(paired.by_prompts, first, second)}"]
    if paired.only_a or paired.only_b:
        sentences.append(
            f"Only {first} has a score for {paired.only_a:,} instructions, only {second} for {paired.only_b:,}."
        )
    drawn = one.of.replicates - other.of.replicates if one.of and other.of else np.empty(0)
    both = drawn[~np.isnan(drawn)]
    if one.of and other.of and len(both) > 1:
        low, high = np.quantile(both, [0.025, 0.975])
        clear = "" if low > 0 or high < 0 else ": not distinguishable"
        sentences.append(
            f"Length-controlled: {first} − {second} = {one.of.value - other.of.value:+.2f} points "
            f"[{low:.2f}, {high:.2f}], from the same {len(both):,} draws for both{clear} "
            f"(n = {one.of.instructions:,} and {other.of.instructions:,} instructions)."
        )
    return ReportSection(f"{first} and {second}", tuple(sentences))


def board_section(
    rates: WinRate, row: Mapping[str, float | int | str | None], board: Mapping[str, Mapping[str, object]]
) -> ReportSection | None:
    """Where a model stands on a leaderboard, and whether its row there comes out; None without either.

    Args:
        rates: of the model.
        row: its row, by the columns of a leaderboard.
        board: the leaderboard, with or without the model.
    """
    if not board or rates.mean is None:
        return None
    others = [float(str(other["win_rate"])) for key, other in board.items() if key != rates.model and other["win_rate"]]
    higher = sum(other > rates.mean for other in others)
    sentences = [f"By win rate it would stand at place {higher + 1:,} of {len(others) + 1:,}."]
    stored = board.get(rates.model)
    if stored is not None:
        keys = [key for key in row if stored.get(key) not in (None, "") and row[key] is not None]
        pairs = {key: (float(str(stored[key])), float(str(row[key]))) for key in keys}
        apart = [
            f"{key} {old:.4f} there, {new:.4f} here" for key, (old, new) in pairs.items() if abs(old - new) > _SAME
        ]
        same = f"{len(pairs) - len(apart)} of {len(pairs)} columns of its row on the board come out to 1e-6"
        sentences.append(f"{same}; {', '.join(apart)}." if apart else f"{same}.")
    return ReportSection("On the board", tuple(sentences))


def _format_ends(ends: tuple[float, float] | None) -> Cell:
    return None if ends is None else f"[{ends[0]:.2f}, {ends[1]:.2f}]"

"""What rankers show: a ranking of answers, and how good a trained ranker is on pairs that are held out.

Owns what is shown and how it is put. Scores are those of ``rankers.make``, figures of a trained ranker those of
``train.ranker_quality``.
"""

from collections.abc import Sequence
from typing import ClassVar

from notus.core.records import Record
from notus.evaluate.compare import differs, format_estimate
from notus.evaluate.rewards import describe_against_chance
from notus.rankers.safety import LIMITS
from notus.report.charts import BarRow, bars
from notus.report.curves import reliability
from notus.report.section import ReportSection
from notus.report.table import Cell, Table
from notus.stats.intervals import Estimate, share
from notus.train.ranker_quality import Quality

__all__ = ["RankedAnswer", "ranker_sections", "ranking_sections"]

_MODELS = 20
"""Rows of the table of models."""
_COLUMNS = ("What", "Value", "Low", "High", "Pairs", "Prompts")


class RankedAnswer(Record, frozen=True):
    """An answer with what a ranker made of it: a row of ``ranks.parquet``."""

    STORED_AS: ClassVar[str] = "Ranked"

    prompt_id: str
    sample: int
    """Number of the answer among those to its prompt."""
    model: str
    score: float | None
    """Compares answers to one prompt only. None: it could not be scored."""
    rank: int | None
    """1 is the best; equal scores share the smaller number."""
    best: bool
    """Whether it is the one best answer: the first of equals."""
    characters: int
    safety: bool
    """Whether the prompt looks relevant to safety."""
    id: str = ""
    """Of the completion; ``Feedback.completion_id``."""
    feedback_id: str = ""
    file: str = ""
    """Where the prompt stood, as records have it."""
    line: int = 0
    prompt: str = ""
    answer: str = ""


def ranking_sections(rows: Sequence[RankedAnswer], ranker: str, selection: str = "") -> list[ReportSection]:
    """What a ranking shows.

    Args:
        rows: all answers, those of a prompt together.
        ranker: its name.
        selection: of PairRM, how pairs were chosen.
    """
    prompts: dict[str, list[RankedAnswer]] = {}
    for row in rows:
        prompts.setdefault(row.prompt_id, []).append(row)
    ranked = [own for own in prompts.values() if sum(row.score is not None for row in own) > 1]
    scored = sum(row.score is not None for row in rows)
    sentences = [
        f"{ranker} scored {scored:,} of {len(rows):,} answers to {len(prompts):,} prompts"
        f"{', selecting the best alone' if selection == 'bubble' else ''}; {len(ranked):,} prompts have answers to "
        "choose among.",
        *_describe_longest(ranked),
        *_describe_safety(prompts),
    ]
    sections = [ReportSection("Ranking", tuple(sentences))]
    if len({row.model for row in rows}) > 1 and ranked:
        sections.append(ReportSection("Models", table=_models(ranked)))
    return sections


def ranker_sections(quality: Quality, *, trained: int, form: str) -> list[ReportSection]:
    """What is to be said of a ranker: how often it is right, whether it knows when, and what length has to do with it.

    Args:
        quality: on held-out pairs.
        trained: pairs that it was trained on.
        form: ``reward-model`` or ``pairrm``.
    """
    return [_ranker_accuracy(quality, trained, form), _ranker_calibration(quality), _ranker_length(quality)]


def _describe_longest(ranked: Sequence[Sequence[RankedAnswer]]) -> list[str]:
    """How often the best answer is the longest, beside chance."""
    differing = [own for own in ranked if len({row.characters for row in own}) > 1]
    longest = [_of_best(own, "characters", max(row.characters for row in own)) for own in differing]
    found = share(longest, range(len(longest))) if longest else None
    if found is None:
        return []
    by_chance = sum(
        sum(row.characters == max(other.characters for other in own) for row in own) / len(own) for own in differing
    ) / len(differing)
    return [
        f"The best answer is the longest in {format_estimate(found)} (n = {found.n:,}) of the prompts; "
        f"by chance it would be in {by_chance:.3f}."
    ]


def _of_best(own: Sequence[RankedAnswer], field: str, value: object) -> float:
    """Share of the best answers to a prompt, several where they are equal, that have a value in a field.

    The first of equals alone would favour whoever stands first in the data.
    """
    best = [row for row in own if row.rank == 1]
    return sum(bool(getattr(row, field) == value) for row in best) / len(best)


def _describe_safety(prompts: dict[str, list[RankedAnswer]]) -> list[str]:
    flagged = sum(own[0].safety for own in prompts.values())
    if not flagged:
        return []
    return [
        f"{flagged:,} prompts look relevant to safety, where a ranker trained on helpfulness is weak: look at these "
        f"before you train on them ('safety' in ranks.parquet). They are {LIMITS}."
    ]


def _models(ranked: Sequence[Sequence[RankedAnswer]]) -> Table:
    names = {row.model for own in ranked for row in own}
    rows: list[tuple[float, tuple[Cell, ...]]] = []
    for name in names:
        having = [own for own in ranked if any(row.model == name for row in own)]
        best = [_of_best(own, "model", name) for own in having]
        fair = [sum(row.model == name for row in own) / len(own) for own in having]
        found = share(best, range(len(best)))
        interval = "" if found is None else f"[{found.low:.3f}, {found.high:.3f}]"
        mean = sum(best) / len(best)
        rows.append((mean, (name or "—", f"{mean:.3f}", interval, f"{sum(fair) / len(fair):.3f}", len(having))))
    rows.sort(key=lambda row: (-row[0], str(row[1][0])))
    columns = ("Model", "Best answer", "95 %", "By chance", "Prompts")
    note = (
        "Share of the prompts that a model answered in which its answer is the best; equal best answers share it. "
        "Prompts are clusters."
    )
    return Table(columns, tuple(cells for _, cells in rows[:_MODELS]), note)


def _ranker_accuracy(quality: Quality, trained: int, form: str) -> ReportSection:
    sentences = [
        f"A {form} trained on {trained:,} pairs, measured on {quality.pairs:,} pairs of prompts that are held out."
    ]
    if quality.accuracy is None:
        sentences.append("Fewer than two prompts are held out: there is no interval, and nothing can be said.")
        return ReportSection("The ranker on held-out pairs", tuple(sentences))
    sentences.append(f"{describe_against_chance('Its accuracy', quality.accuracy)}.")
    if quality.above_length is not None:
        sentences.append(_describe_above_length(quality.above_length))
    rows = (
        ("accuracy of the ranker", quality.accuracy),
        ("accuracy of always taking the longer answer", quality.length_alone),
        ("ranker less length, pair by pair", quality.above_length),
    )
    note = "95 % intervals, clustered by prompt; a tie counts ½."
    return ReportSection("The ranker on held-out pairs", tuple(sentences), _table(rows, note))


def _describe_above_length(difference: Estimate) -> str:
    if not differs(difference):
        return f"It cannot be told from always taking the longer answer: {format_estimate(difference, sign=True)}."
    side = "better" if difference.mean > 0 else "worse"
    return f"It is {side} than always taking the longer answer: {format_estimate(difference, sign=True)}."


def _ranker_calibration(quality: Quality) -> ReportSection:
    rows = (
        ("expected calibration error", quality.calibration_error),
        ("Brier score (a coin has 0.25)", quality.brier),
    )
    sentence = (
        "The confidence of a pair is σ of the size of its logit; right means that the chosen answer is preferred."
    )
    note = f"Ties left out: {quality.ties:,}." if quality.ties else ""
    picture = reliability(
        {"ranker": quality.bins},
        title="Is the ranker as often right as it says?",
        x_label="confidence that the preferred answer is better",
        y_label="share of pairs in which it is",
    )
    return ReportSection("Calibration", (sentence,), _table(rows, note), picture, "calibration")


def _ranker_length(quality: Quality) -> ReportSection:
    sentences = []
    if quality.excess is not None:
        lean = f"{format_estimate(quality.excess, sign=True)} of the pairs"
        if not differs(quality.excess):
            sentences.append(f"It leans to the longer answer about as much as the data do: the difference is {lean}.")
        else:
            more = "more" if quality.excess.mean > 0 else "less"
            sentences.append(f"It prefers the longer answer {more} often than the data do, by {lean}.")
    rows = (
        ("ranker prefers the longer answer", quality.longer_preferred),
        ("the longer answer is the chosen one", quality.longer_chosen),
        ("difference, pair by pair", quality.excess),
        *((f"accuracy where chosen is {of.label}", of.accuracy) for of in quality.length_bins),
    )
    drawn = [
        BarRow(of.label, of.accuracy.mean, interval=of.accuracy, note=f"n = {of.pairs:,}")
        for of in quality.length_bins
        if of.accuracy
    ]
    picture = bars(
        drawn,
        title="Accuracy by the length of the chosen answer beside the rejected one",
        x_label="accuracy on held-out pairs",
        subtitle="95 % intervals, clustered by prompt; a ranker that counts characters has 0 above and 1 below",
    )
    return ReportSection(
        "Length", tuple(sentences), _table(rows, "Length is counted in characters."), picture, "length"
    )


def _table(rows: tuple[tuple[str, Estimate | None], ...], note: str) -> Table:
    cells = tuple((name, of.mean, of.low, of.high, of.n, of.groups) for name, of in rows if of is not None)
    return Table(_COLUMNS, cells, note)

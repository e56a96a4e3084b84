"""What held-out pairs tell of a ranker, as sentences, tables and pictures. The figures: ``ranker_quality``."""

from notus.app.curves import reliability
from notus.app.health import Finding
from notus.app.pictures import BarRow, bars
from notus.app.report import Table
from notus.core.statistics import Estimate, p_value
from notus.evaluate.compare import spoken
from notus.evaluate.rewards import against_chance
from notus.train.ranker_quality import Quality

__all__ = ["ranker_findings"]

_COLUMNS = ("What", "Value", "Low", "High", "Pairs", "Prompts")


def ranker_findings(quality: Quality, *, trained: int, form: str) -> list[Finding]:
    """What is to be said of a ranker: how often it is right, whether it knows when, and what length has to do with it.

    Args:
        quality: on held-out pairs.
        trained: pairs that it was trained on.
        form: ``reward-model`` or ``pairrm``.
    """
    return [_accuracy(quality, trained, form), _calibration(quality), _length(quality)]


def _accuracy(quality: Quality, trained: int, form: str) -> Finding:
    said = [f"A {form} trained on {trained:,} pairs, measured on {quality.pairs:,} pairs of prompts that are held out."]
    if quality.accuracy is None:
        said.append("Fewer than two prompts are held out: there is no interval, and nothing can be said.")
        return Finding("The ranker on held-out pairs", tuple(said))
    said.append(f"{against_chance('Its accuracy', quality.accuracy)}.")
    if quality.above_length is not None:
        said.append(_beside_length(quality.above_length))
    rows = (
        ("accuracy of the ranker", quality.accuracy),
        ("accuracy of always taking the longer answer", quality.length_alone),
        ("ranker less length, pair by pair", quality.above_length),
    )
    note = "95 % intervals, clustered by prompt; a tie counts ½."
    return Finding("The ranker on held-out pairs", tuple(said), _table(rows, note))


def _beside_length(difference: Estimate) -> str:
    if not _apart(difference):
        return f"It cannot be told from always taking the longer answer: {spoken(difference, sign=True)}."
    side = "better" if difference.mean > 0 else "worse"
    return f"It is {side} than always taking the longer answer: {spoken(difference, sign=True)}."


def _calibration(quality: Quality) -> Finding:
    rows = (
        ("expected calibration error", quality.calibration_error),
        ("Brier score (a coin has 0.25)", quality.brier),
    )
    said = "The confidence of a pair is σ of the size of its logit; right means that the chosen answer is preferred."
    note = f"Ties left out: {quality.ties:,}." if quality.ties else ""
    picture = reliability(
        {"ranker": quality.bins},
        title="Is the ranker as often right as it says?",
        x_label="confidence that the preferred answer is better",
        y_label="share of pairs in which it is",
    )
    return Finding("Calibration", (said,), _table(rows, note), picture, "calibration")


def _length(quality: Quality) -> Finding:
    said = []
    if quality.excess is not None:
        lean = f"{spoken(quality.excess, sign=True)} of the pairs"
        if not _apart(quality.excess):
            said.append(f"It leans to the longer answer about as much as the data do: the difference is {lean}.")
        else:
            more = "more" if quality.excess.mean > 0 else "less"
            said.append(f"It prefers the longer answer {more} often than the data do, by {lean}.")
    rows = (
        ("ranker prefers the longer answer", quality.longer_preferred),
        ("the longer answer is the chosen one", quality.longer_chosen),
        ("difference, pair by pair", quality.excess),
        *((f"accuracy where chosen is {of.label}", of.accuracy) for of in quality.stretches),
    )
    drawn = [
        BarRow(of.label, of.accuracy.mean, interval=of.accuracy, note=f"n = {of.pairs:,}")
        for of in quality.stretches
        if of.accuracy
    ]
    picture = bars(
        drawn,
        title="Accuracy by the length of the chosen answer beside the rejected one",
        x_label="accuracy on held-out pairs",
        subtitle="95 % intervals, clustered by prompt; a ranker that counts characters has 0 above and 1 below",
    )
    return Finding("Length", tuple(said), _table(rows, "Length is counted in characters."), picture, "length")


def _apart(difference: Estimate) -> bool:
    # The p-value and not the interval: one of no width proves nothing.
    return p_value(difference) < 0.05


def _table(rows: tuple[tuple[str, Estimate | None], ...], note: str) -> Table:
    cells = tuple((name, of.mean, of.low, of.high, of.n, of.groups) for name, of in rows if of is not None)
    return Table(_COLUMNS, cells, note)

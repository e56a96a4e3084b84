"""What a trained classifier of answers shows on rows that are held out: accuracy, calibration, the order in a prompt.

Owns what is shown and how it is put. The figures are those of ``train.classifier.quality``.
"""

from collections.abc import Iterable

from notus.evaluate.compare import format_estimate
from notus.report.curves import reliability
from notus.report.section import ReportSection, estimate_cell
from notus.report.table import Cell, Table
from notus.train.classifier.quality import ClassifierQuality

__all__ = ["classifier_sections"]


def classifier_sections(quality: ClassifierQuality, *, trained: int, accepted: int) -> list[ReportSection]:
    """What a classifier shows on held-out rows.

    Args:
        quality: its measures.
        trained: rows that it was trained on.
        accepted: how many of these are accepted.
    """
    rejected = quality.rows - quality.accepted
    rows: tuple[tuple[Cell, ...], ...] = (
        ("accuracy", quality.rows, estimate_cell(quality.accuracy)),
        ("always the commoner label", quality.rows, estimate_cell(quality.constant)),
        ("accuracy less that", quality.rows, estimate_cell(quality.above_constant, sign=True)),
        ("accuracy on accepted answers", quality.accepted, estimate_cell(quality.of_accepted)),
        ("accuracy on rejected answers", rejected, estimate_cell(quality.of_rejected)),
        ("Brier score", quality.rows, estimate_cell(quality.brier)),
        ("expected calibration error", quality.rows, estimate_cell(quality.calibration_error)),
        ("accepted above rejected, same prompt", quality.compared, estimate_cell(quality.order)),
        ("the longer one accepted, same prompt", quality.compared, estimate_cell(quality.longer)),
    )
    note = "95 % intervals, prompts as clusters. A Brier score of .25 is that of a coin; lower is better."
    sections = [
        ReportSection(
            "The classifier on held-out answers",
            tuple(_told(quality, trained, accepted)),
            table=Table(("What", "n", "Value"), rows, note),
        )
    ]
    if quality.bins:
        picture = reliability({"accepted": list(quality.bins)}, title="Calibration of the classifier")
        text = f"P(accepted) against the share that is accepted, {quality.rows:,} answers."
        sections.append(ReportSection("Calibration", (text,), picture=picture, slug="calibration"))
    return sections


def _told(quality: ClassifierQuality, trained: int, accepted: int) -> Iterable[str]:
    yield (
        f"Trained on {trained:,} answers, {accepted:,} of them accepted; measured on {quality.rows:,} to other "
        f"prompts, {quality.accepted:,} accepted."
    )
    if quality.above_constant is None or quality.accuracy is None:
        yield "Fewer than two prompts are held out, so that nothing can be said of other prompts."
        return
    told = format_estimate(quality.above_constant, sign=True)
    if quality.above_constant.low <= 0 <= quality.above_constant.high:
        yield f"The classifier and always giving the commoner label are not distinguishable: {told}."
    else:
        side = "better" if quality.above_constant.mean > 0 else "worse"
        yield f"The classifier is {side} than always giving the commoner label: {told}."
    if not quality.compared:
        yield "No held-out prompt has an accepted and a rejected answer, so that nothing is known of their order."

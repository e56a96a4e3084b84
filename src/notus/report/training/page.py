"""What a training has to tell for itself: its health in words, its curves, its figures; on a page of its own."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from notus.core.run import Run, atomic
from notus.report.page import Block, Fact, Facts, Note, PageSection, Report, render
from notus.report.training.curves import read_training, training_pictures

__all__ = ["health_notes", "write_training_page"]

_FACTS = {
    "updates": "Updates",
    "rows": "Rows",
    "train_loss": "Mean training loss",
    "eval_loss": "Loss on held-out rows",
    "eval_rewards/accuracies": "Accuracy on held-out rows",
    "eval_rewards/margins": "Margin on held-out rows",
}


def health_notes(summary: Mapping[str, Any], where: str = "") -> list[Block]:
    """What a training found amiss with itself, a paragraph each.

    Args:
        summary: what it noted.
        where: which training, where there are several.
    """
    before = f"{where}, " if where else ""
    return [
        Note(
            f"{before}update {found['step']:,}: {found['said']}. {found['means']}. Try: {found['tried']}.",
            warning=True,
        )
        for found in summary.get("health", ())
    ]


def write_training_page(run: Run) -> Path:
    """Write ``report.html`` into the run directory of a training that is done."""
    training = read_training(run.path, run.summary)
    report = Report(
        title=f"Training: {run.path.resolve().name}",
        subtitle=f"Step '{run.stage}', digest {run.digest[:10]}",
        sections=(
            PageSection("Figures", "", (Facts(tuple(_facts(run.summary, training.rows))),)),
            PageSection(
                "Health",
                "What the numbers of the training say of it. Each warning has a border that a run without its fault "
                "crosses less than once in a hundred times.",
                tuple(health_notes(run.summary)) or (Note("Nothing was found amiss."),),
            ),
            PageSection("Curves", "", tuple(training_pictures(run.stage, {run.stage: [training]}))),
        ),
    )
    path = run.path / "report.html"
    with atomic(path) as file:
        file.write(render(report))
    return path


def _facts(summary: Mapping[str, Any], rows: Any) -> Iterator[Fact]:
    for key, label in _FACTS.items():
        if key in summary and isinstance(summary[key], int | float):
            value = summary[key]
            note = f"n = {summary['held_out_rows']:,}" if key.startswith("eval_") else ""
            yield Fact(label, f"{value:,}" if isinstance(value, int) else f"{value:.4g}", note)
    speeds = [row for row in rows if "tokens_per_second" in row]
    if speeds:
        middle = sorted(row["tokens_per_second"] for row in speeds)[len(speeds) // 2]
        share = [row["peak_share"] for row in speeds if row.get("peak_share")]
        yield Fact("Tokens a second", f"{middle:,.0f}", f"{share[-1]:.0%} of peak" if share else "")
        held = max((row.get("memory_bytes") or 0 for row in speeds), default=0)
        if held:
            yield Fact("Memory", f"{held / 2**30:.2f} GiB", "at most, where a line of metrics was written")

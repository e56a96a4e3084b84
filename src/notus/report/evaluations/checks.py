"""What checks by program show: the four accuracies of each model, kinds of instructions, and stored verdicts beside.

Owns what is shown and in which words. The figures are those of ``evaluate.checks.score``.
"""

from collections.abc import Mapping, Sequence

from notus.evaluate.checks.score import CheckAccuracy, CheckedAnswer, VerdictDifference
from notus.report.charts import IntervalRow, intervals
from notus.report.section import ReportSection, share_cell
from notus.report.table import Cell, Table

__all__ = ["checks_sections"]

_LISTED = 40
"""Rows of a table that lists cases; all of them are in the run directory."""


def checks_sections(
    accuracies: Sequence[CheckAccuracy],
    differences: Sequence[VerdictDifference],
    checked: Sequence[CheckedAnswer],
    missing: Mapping[str, int],
) -> list[ReportSection]:
    """What checks show, the most important first.

    Args:
        accuracies: of each model: of prompts, of instructions, of kinds.
        differences: where stored verdicts say otherwise.
        checked: the answers.
        missing: model → prompts that it has no answer to.
    """
    sections = [_accuracies(accuracies, checked, missing), _kinds(accuracies)]
    stored = [each for each in checked if each.answer.strict is not None or each.answer.loose is not None]
    return [*sections, *([_stored(stored, differences)] if stored else [])]


def _accuracies(
    accuracies: Sequence[CheckAccuracy], checked: Sequence[CheckedAnswer], missing: Mapping[str, int]
) -> ReportSection:
    shown = [each for each in accuracies if each.level != "kind"]
    note = (
        "Share followed, 95 % with prompts as clusters. A prompt is followed where all its instructions are. Loose: by "
        "the answer, or without its first or last line or asterisks."
    )
    picture = intervals(
        [IntervalRow(each.model, each.strict, None) for each in shown if each.level == "prompt"],
        title="Prompts followed strictly",
        subtitle="95 % intervals over prompts",
        x_label="share of prompts",
    )
    told = tuple(_doubts(checked, missing))
    return ReportSection("Instructions followed", told, _table("Of", shown, note), picture, "checks-strict")


def _doubts(checked: Sequence[CheckedAnswer], missing: Mapping[str, int]) -> list[str]:
    told = [
        f"{model}: {count:,} prompts have no answer and are in no share; the same prompts make models comparable."
        for model, count in missing.items()
        if count
    ]
    empty = sum(not each.answer.text.strip() for each in checked)
    if empty:
        told.append(f"{empty:,} of {len(checked):,} answers are empty, and follow no instruction.")
    cut = sum(each.answer.truncated for each in checked)
    if cut:
        told.append(f"{cut:,} of {len(checked):,} answers were cut at the token limit: what stands at the end is lost.")
    return told


def _kinds(accuracies: Sequence[CheckAccuracy]) -> ReportSection:
    shown = [each for each in accuracies if each.level == "kind"]
    note = "Each instruction of a kind is a case. Few cases say little: look at the intervals."
    return ReportSection("By kind of instruction", table=_table("Kind", shown, note))


def _table(of: str, shown: Sequence[CheckAccuracy], note: str) -> Table:
    """Accuracies, with the model in front where there are several."""
    several = len({each.model for each in shown}) > 1
    rows = [((each.model,) if several else ()) + _cells(each) for each in shown]
    return Table((*(("Model",) if several else ()), of, "n", "Strict", "Loose"), tuple(rows), note)


def _cells(each: CheckAccuracy) -> tuple[Cell, ...]:
    return each.name, each.n, _cell(each, "strict"), _cell(each, "loose")


def _stored(stored: Sequence[CheckedAnswer], differences: Sequence[VerdictDifference]) -> ReportSection:
    """How stored verdicts agree with these."""
    strict = [each for each in stored if each.answer.strict is not None]
    loose = [each for each in stored if each.answer.loose is not None]
    told = []
    for way, of in (("strict", strict), ("loose", loose)):
        if of:
            count = sum(len(each.followed.strict) for each in of)
            other = sum(
                ours is not theirs
                for each in of
                for ours, theirs in zip(getattr(each.followed, way), getattr(each.answer, way), strict=True)
            )
            prompts = sum(all(getattr(each.followed, way)) != all(getattr(each.answer, way)) for each in of)
            told.append(
                f"{way.capitalize()}: {other:,} of {count:,} instructions and {prompts:,} of {len(of):,} prompts have "
                "another stored verdict."
            )
    if any(each.check == "keywords:letter_frequency" for each in differences):
        told.append("Of a letter that is another sign, such as #, the reference counts a letter that it draws.")
    if any(each.check.startswith(("language:", "change_case:english")) for each in differences):
        told.append(
            "The reference has the language told by langdetect without a seed, which draws: near a border between two "
            "languages its verdict differs from run to run."
        )
    rows: list[tuple[Cell, ...]] = [
        (
            each.model,
            each.key,
            each.check,
            each.strict,
            each.stored_strict,
            each.loose,
            each.stored_loose,
        )
        for each in differences[:_LISTED]
    ]
    columns = ("Model", "Key", "Kind", "Strict", "Stored", "Loose", "Stored")
    note = f"{len(rows):,} of {len(differences):,} differences; all are in differences.parquet."
    table = Table(columns, tuple(tuple(map(_word, row)) for row in rows), note) if rows else None
    return ReportSection("Stored verdicts", tuple(told), table)


def _word(cell: Cell) -> Cell:
    return ("yes" if cell else "no") if isinstance(cell, bool) else cell


def _cell(each: CheckAccuracy, way: str) -> Cell:
    found = share_cell(getattr(each, way))
    return f"{getattr(each, f'{way}_followed') / each.n:.3f}" if found is None else found

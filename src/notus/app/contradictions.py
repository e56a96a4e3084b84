"""Labels that rewards contradict, as sentences, tables and a picture.

Owns what is shown and how it is put. The figures are those of ``data.audit_rewards`` and ``evaluate.labels``.
"""

from collections.abc import Mapping

from notus.app.health import Finding
from notus.app.pictures import histogram
from notus.app.report import Cell, Table
from notus.core.records import Message, Preference
from notus.core.wording import counted
from notus.data.audit_pairs import PairAudit
from notus.data.audit_rewards import Contradictions
from notus.evaluate.compare import spoken
from notus.evaluate.labels import LabelDetection

__all__ = ["contradiction_findings", "label_table"]

_WIDTH = 96


def contradiction_findings(
    audit: PairAudit,
    found: Contradictions,
    texts: Mapping[int, Preference],
    measured: LabelDetection | None = None,
) -> list[Finding]:
    """What rewards say of the labels of a set, the most suspicious pairs first.

    Args:
        audit: with the margins in its rows.
        found: the figures.
        texts: number of a row → its pair, for those that are to be shown.
        measured: against the truth, where it is known.
    """
    margins = [row.reward_margin for row in audit.rows if row.reward_margin is not None]
    picture = histogram(
        margins,
        title="Margins of the reward",
        x_label="reward of chosen minus reward of rejected, in the unit of the ranker",
    )
    heading = "Labels that a reward contradicts"
    findings = [Finding(heading, tuple(found.sentences()), _suspects(audit, texts), picture, "reward-margins")]
    if measured is not None:
        findings.append(Finding("Wrong labels against the truth", table=label_table({"this set": measured})))
    return findings


def label_table(detections: Mapping[str, LabelDetection]) -> Table:
    """How well wrong labels were found, by what they were found with."""
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            item.pairs,
            item.worse,
            spoken(item.area) if item.area else None,
            spoken(item.first) if item.first else None,
            item.flagged,
            spoken(item.precision) if item.precision else None,
            spoken(item.recall) if item.recall else None,
        )
        for name, item in detections.items()
    ]
    columns = ("Audit", "Pairs", "Wrong", "AUROC", "Of the first", "Flagged", "Precision", "Recall")
    sets = counted(max((item.sets for item in detections.values()), default=0), "set")
    note = (
        "Wrong: chosen is truly the worse answer. Of the first: share of wrong ones among as many of the most "
        f"suspicious as there are wrong ones. Over {sets}; 95 % intervals, the wider of prompts and sets."
    )
    return Table(columns, tuple(rows), note)


def _suspects(audit: PairAudit, texts: Mapping[int, Preference]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for number in sorted(texts, key=lambda each: (audit.rows[each].suspicion or 0, each)):
        row, pair = audit.rows[number], texts[number]
        p = None if row.reward_p is None else "< .0001" if row.reward_p < 1e-4 else f"{row.reward_p:.4f}"[1:]
        a, b = row.score_chosen, row.score_rejected
        scores = None if a is None or b is None else f"{a:.3g}, {b:.3g}"
        shown = (_short(turns) for turns in (pair.prompt, pair.chosen, pair.rejected))
        rows.append((row.suspicion, f"{row.reward_margin:+.2f}", p, scores, *shown))
    columns = ("Place", "Margin", "p", "Scores", "Prompt", "Chosen", "Rejected")
    note = "Margin: reward of chosen minus reward of rejected; their scores in this order. Equals share a place."
    return Table(columns, tuple(rows), note)


def _short(turns: tuple[Message, ...]) -> str:
    line = " ".join(turns[-1].content.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"

"""What a ranking shows: how often each model's answer is the best, how much length explains, what was flagged.

Owns what is shown and how it is put. The scores are those of ``models.ranker``.
"""

from collections.abc import Sequence

from notus.app.health import Finding
from notus.app.report import Cell, Table
from notus.core.records import Record
from notus.core.statistics import Estimate
from notus.evaluate.shares import share
from notus.models.ranker_safety import LIMITS

__all__ = ["Ranked", "ranking_findings"]

_MODELS = 20
"""Rows of the table of models."""


class Ranked(Record, frozen=True):
    """An answer with what a ranker made of it."""

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


def ranking_findings(rows: Sequence[Ranked], ranker: str, selection: str = "") -> list[Finding]:
    """What a ranking shows.

    Args:
        rows: all answers, those of a prompt together.
        ranker: its name.
        selection: of PairRM, how pairs were chosen.
    """
    prompts: dict[str, list[Ranked]] = {}
    for row in rows:
        prompts.setdefault(row.prompt_id, []).append(row)
    ranked = [own for own in prompts.values() if sum(row.score is not None for row in own) > 1]
    scored = sum(row.score is not None for row in rows)
    sentences = [
        f"{ranker} scored {scored:,} of {len(rows):,} answers to {len(prompts):,} prompts"
        f"{', selecting the best alone' if selection == 'bubble' else ''}; {len(ranked):,} prompts have answers to "
        "choose among.",
        *_length(ranked),
        *_flagged(prompts),
    ]
    findings = [Finding("Ranking", tuple(sentences))]
    if len({row.model for row in rows}) > 1 and ranked:
        findings.append(Finding("Models", table=_models(ranked)))
    return findings


def _length(ranked: Sequence[Sequence[Ranked]]) -> list[str]:
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
        f"The best answer is the longest in {_told(found)} of the prompts; by chance it would be in {by_chance:.3f}."
    ]


def _of_best(own: Sequence[Ranked], field: str, value: object) -> float:
    """Share of the best answers to a prompt, several where they are equal, that have a value in a field.

    The first of equals alone would favour whoever stands first in the data.
    """
    best = [row for row in own if row.rank == 1]
    return sum(bool(getattr(row, field) == value) for row in best) / len(best)


def _flagged(prompts: dict[str, list[Ranked]]) -> list[str]:
    flagged = sum(own[0].safety for own in prompts.values())
    if not flagged:
        return []
    return [
        f"{flagged:,} prompts look relevant to safety, where a ranker trained on helpfulness is weak: look at these "
        f"before you train on them ('safety' in ranks.parquet). They are {LIMITS}."
    ]


def _models(ranked: Sequence[Sequence[Ranked]]) -> Table:
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


def _told(found: Estimate) -> str:
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}] (n = {found.n:,})"

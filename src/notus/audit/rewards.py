"""Labels that a trained model contradicts: the margins of reward checks, laid beside the pairs of a set.

A margin is the reward of the chosen answer minus that of the rejected one. Models differ in how far they pull answers
apart, so the margins of each check are weighed by their own spread, and only then put together::

    z = (margin − m) / s       m = median of the check, s = median of abs(margin − m) / 0.6745
    p = Φ(z)                   place: the smallest first

A model that was trained on a pair's prompt has learnt its label, right or wrong; its margins flatter the label. Each
pair is therefore judged once, best by a model that has not seen its prompt (``core.splits.Fold``), and where it has,
that is counted. Owns the joining and the figures; p is that of ``audit.signals``. A pair is flagged where its margin is
below 0 with p of at most ``signals.REASON``, out of at least ``signals.FEWEST`` margins.
"""

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from notus.audit.pairs import Pair, PairAudit, share_of_pairs
from notus.audit.signals import FEWEST, REASON, Chance, format_odds, margin_signal, margins_against_labels, union_q
from notus.core.errors import DataError
from notus.core.text import counted
from notus.stats.intervals import Share

__all__ = ["AGAINST", "Contradictions", "RewardCheck", "contradicted"]

AGAINST = "reward-against-label"
"""Slug of what is looked for, a flag of ``pairs.PAIR_FLAGS`` and a signal of ``signals.SIGNALS``."""
_CHANCE = 0.5


@dataclass(frozen=True)
class RewardCheck:
    """What one reward check says of pairs."""

    name: str
    margins: Mapping[str, float]
    """Id of a pair → reward of chosen minus reward of rejected, in the unit of the ranker."""
    seen: Container[str] | None = None
    """Ids of the prompts that its model was trained on; None where that is not known."""


@dataclass(frozen=True)
class Contradictions:
    """What the margins say of a set."""

    checks: tuple[str, ...]
    pairs: int
    scored: int
    """Pairs with a margin."""
    strangers: int
    """Margins of pairs that are not in the set."""
    against: Share
    """Of the scored pairs, those that are flagged."""
    rejected_ahead: Share
    """Of the scored pairs, those whose rejected answer has the higher reward."""
    seen: int
    """Scored pairs whose model was trained on their prompt."""
    unknown: int
    """Scored pairs of whose model nobody knows what it was trained on."""

    def sentences(self) -> list[str]:
        """The figures in words, the most important first."""
        said = [
            f"In {self.against} pairs the reward contradicts the label: that of the rejected answer is far ahead "
            f"(p ≤ {REASON:g}).",
            f"The rejected answer has the higher reward in {self.rejected_ahead} pairs.",
        ]
        ahead = self.rejected_ahead.interval
        if ahead is not None and ahead.high >= _CHANCE:
            said.append(
                "That is not distinguishable from chance, or worse: such a reward knows nothing of these labels, and "
                "what it contradicts is no evidence against them."
            )
        if self.seen:
            said.append(
                f"The model was trained on the pair's own prompt in {self.seen:,} of {self.scored:,}: such margins "
                "flatter the label and hide what is wrong with it. Hold each fold of the prompts out of a model, and "
                "let that one judge it."
            )
        if self.unknown:
            said.append(
                f"It is not known what the model of {counted(self.unknown, 'pair')} was trained on; where it has seen "
                "the prompt, its margin flatters the label."
            )
        if not self.seen and not self.unknown:
            said.append("No pair was judged by a model that was trained on its prompt, as the run directories tell.")
        if without := self.pairs - self.scored:
            have = "has" if without == 1 else "have"
            said.append(f"{counted(without, 'pair')} of {self.pairs:,} {have} no margin, and no place by suspicion.")
        if self.strangers:
            said.append(f"{counted(self.strangers, 'margin')} of pairs that are not in the set were left out.")
        return said


@dataclass(frozen=True)
class _Margin:
    margin: float
    p: float
    check: RewardCheck
    cautious: float = math.nan

    @property
    def contradicts_label(self) -> bool:
        return self.margin < 0 and self.p <= REASON and len(self.check.margins) >= FEWEST


def contradicted(audit: PairAudit, checks: Sequence[RewardCheck]) -> tuple[PairAudit, Contradictions]:
    """Lay margins beside the rows of an audit.

    Returns:
        The audit with margin, p, place and flag in its rows, and the figures.

    Raises:
        DataError: if two checks judge the same pair, if no pair of the set has a margin, or if a margin is not finite.
    """
    margins = _read_margins(checks)
    numbers = [number for number, row in enumerate(audit.rows) if row.id in margins]
    if not numbers:
        names = ", ".join(check.name for check in checks)
        raise DataError(
            f"none of the {counted(len(audit.rows), 'pair')} of the set has a margin in {names}, where "
            f"{counted(len(margins), 'other pair')} have one; name the reward checks of this very set"
        )
    p = np.array([margins[audit.rows[number].id].p for number in numbers])
    places = 1 + np.searchsorted(np.sort(p), p, "left")
    rows, q = list(audit.rows), _joined_q(audit.rows, margins)
    for number, place in zip(numbers, places.tolist(), strict=True):
        rows[number] = _with_margin(rows[number], margins[rows[number].id], place, q[number])
    health = replace(audit.health, flags=dict(sorted(Counter(flag for row in rows for flag in row.flags).items())))
    known = {row.id for row in rows}
    strangers = sum(pair not in known for pair in margins)
    scored = [rows[number] for number in numbers]
    of_rewards = Chance(sum(AGAINST in row.flags for row in scored), len(scored), REASON * len(scored))
    found = replace(audit, rows=tuple(rows), health=health, chances={**audit.chances, AGAINST: of_rewards})
    return found, _figures(checks, len(rows), scored, strangers)


def _read_margins(checks: Sequence[RewardCheck]) -> dict[str, _Margin]:
    found: dict[str, _Margin] = {}
    for check in checks:
        margins = np.array(list(check.margins.values()), dtype=np.float64)
        p = margins_against_labels(margins)  # type: ignore[arg-type]  # an array does as a sequence
        # A share of a few margins says nothing: they have no q.
        cautious = margin_signal(margins).cautious if len(margins) >= FEWEST else np.full(len(margins), np.nan)
        columns = zip(check.margins, margins.tolist(), p.tolist(), cautious.tolist(), strict=True)
        for pair, margin, chance, far in columns:
            if pair in found:
                raise DataError(
                    f"pair {pair} has a margin in {found[pair].check.name} and in {check.name}; a pair is judged once, "
                    "by the model that has not seen its prompt: let each check score the fold that its model lacks"
                )
            found[pair] = _Margin(margin, chance, check, far)
    return found


def _joined_q(rows: Sequence[Pair], margins: Mapping[str, _Margin]) -> list[float]:
    """q by the rewards' margins and those of the scores together; NaN where neither tells."""
    by_reward = np.array([margins[row.id].cautious if row.id in margins else math.nan for row in rows])
    by_score = np.array([math.nan if row.margin is None else row.margin for row in rows])
    scored = margin_signal(by_score).cautious if np.isfinite(by_score).sum() >= FEWEST else by_score * math.nan
    families = [family for family in (by_reward, scored) if np.isfinite(family).any()]
    q: list[float] = union_q(families).tolist() if families else [math.nan] * len(rows)
    return q


def _with_margin(row: Pair, of: _Margin, place: int, q: float) -> Pair:
    said = [row.evidence] if row.evidence else []
    if of.contradicts_label:
        said.append(f"reward margin {of.margin:+.2f}, by chance so low in {format_odds(of.p)}")
    return msgspec.structs.replace(
        row,
        q=None if math.isnan(q) else q,
        evidence="; ".join(said),
        reward_margin=of.margin,
        reward_p=of.p,
        suspicion=place,
        judged_by=of.check.name,
        judge_saw_prompt=None if of.check.seen is None else row.prompt_id in of.check.seen,
        flags=(*row.flags, AGAINST) if of.contradicts_label else row.flags,
    )


def _figures(checks: Sequence[RewardCheck], pairs: int, scored: Sequence[Pair], strangers: int) -> Contradictions:
    prompts = [row.prompt_id for row in scored]
    return Contradictions(
        checks=tuple(check.name for check in checks),
        pairs=pairs,
        scored=len(scored),
        strangers=strangers,
        against=share_of_pairs([AGAINST in row.flags for row in scored], prompts),
        rejected_ahead=share_of_pairs([(row.reward_margin or 0.0) < 0 for row in scored], prompts),
        seen=sum(row.judge_saw_prompt is True for row in scored),
        unknown=sum(row.judge_saw_prompt is None for row in scored),
    )

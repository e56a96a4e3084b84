"""The audit of preference pairs: flags for each pair, and the health of the set.

Owns what can be said of a pair without the feedback that it came from: equal answers, ties and reversals of the scores,
lengths, repeated prompts. Feedback is audited in ``data.audit``; what the rewards of trained models say of the pairs is
laid beside in ``data.audit_rewards``.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from notus.core.records import Message, Preference
from notus.core.statistics import Estimate, clustered_mean, proportion
from notus.core.wording import counted
from notus.data.health import Share

__all__ = ["PAIR_FLAGS", "Pair", "PairAudit", "PairHealth", "audit_pairs", "share_of_pairs"]

PAIR_FLAGS = {
    "same-answers": "chosen and rejected are the same text: there is nothing to prefer",
    "same-but-scored-apart": "chosen and rejected are the same text with different scores: one of them is wrong",
    "score-tie": "chosen and rejected have the same score",
    "reversed": "chosen has a lower score than rejected",
    "unscored": "one of the two answers has no score, or both",
    "repeated-prompt": "other pairs have the same prompt",
    "empty-answer": "an answer holds nothing but white space",
    "reward-against-label": "a trained model's reward is far on the side of the rejected answer",
}
"""Flag → what it says of a pair."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit says of one pair."""

    id: str
    prompt_id: str
    feedback_id: str
    """Id of the feedback that it was made from; empty where the pair does not say it."""
    source: str
    model_chosen: str
    model_rejected: str
    score_chosen: float | None
    score_rejected: float | None
    margin: float | None
    """Score of chosen minus score of rejected."""
    length_chosen: int
    """Length of the answer in characters."""
    length_rejected: int
    place_chosen: int | None
    """Position among the completions of the prompt; None where the pair does not say it."""
    place_rejected: int | None
    completions: int | None
    """Number of completions of the prompt."""
    flags: tuple[str, ...]
    """Slugs out of ``PAIR_FLAGS``."""
    reward_margin: float | None = None
    """A model's reward of chosen minus that of rejected; with all below None where no reward check has judged it."""
    reward_p: float | None = None
    """Chance that a sound pair would have so low a margin."""
    suspicion: int | None = None
    """Place by the margin, 1 for the one that contradicts its label most; equals share the better place."""
    judged_by: str = ""
    """Name of the reward check."""
    judge_saw_prompt: bool | None = None
    """Whether its model was trained on the pair's prompt, which makes its margin flatter the label; None: not known."""


@dataclass(frozen=True)
class PairHealth:
    """The figures of a preference set. Shares take prompts as clusters, as all intervals here."""

    pairs: int
    prompts: int
    """Distinct prompts."""
    scored: int
    """Pairs in which both answers have a score."""
    same_answers: Share
    score_ties: Share
    """Of the scored pairs."""
    reversed: Share
    """Of the scored pairs."""
    repeated_prompts: Share
    """Pairs that share their prompt with another pair."""
    longer_chosen: Share
    """Pairs in which chosen is the longer answer, of those whose lengths differ."""
    margin: float | None
    """Mean margin of the scored pairs."""
    margin_interval: Estimate | None
    """… with prompts as clusters."""
    margins: dict[float, int]
    """Margin → pairs."""
    chosen_models: dict[str, int]
    rejected_models: dict[str, int]
    sources: dict[str, int]
    flags: dict[str, int]

    def sentences(self) -> list[str]:
        """The figures in words, the most important first."""
        have = "has" if self.scored == 1 else "have"
        said = [
            f"{counted(self.pairs, 'pair')} over {counted(self.prompts, 'prompt')}; {self.scored:,} {have} both scores."
        ]
        told = (
            ("chosen and rejected are the same text", self.same_answers),
            ("chosen and rejected have the same score", self.score_ties),
            ("chosen has a lower score than rejected", self.reversed),
            ("the prompt stands in another pair too", self.repeated_prompts),
        )
        said += [f"In {share} pairs {what}." for what, share in told if share.count]
        if self.longer_chosen.of:
            said.append(f"Chosen is the longer answer in {self.longer_chosen} pairs of different lengths.")
        return said


@dataclass(frozen=True)
class PairAudit:
    """The audit of a preference set: a row for each pair, in the order of the set, and the health of the whole."""

    rows: tuple[Pair, ...]
    health: PairHealth


def audit_pairs(records: Iterable[Preference]) -> PairAudit:
    """Audit a preference set. Some hundred bytes are held for each pair, and no text."""
    drafts = [_pair(record) for record in records]
    prompts = Counter(row.prompt_id for row in drafts)
    rows = tuple(_repeated(row) if prompts[row.prompt_id] > 1 else row for row in drafts)
    return PairAudit(rows, _health(rows, len(prompts)))


def share_of_pairs(cases: Sequence[bool], prompts: Sequence[str]) -> Share:
    """A share of pairs, with an interval that takes prompts as clusters.

    Where each prompt has one pair, Wilson's; otherwise the clustered t interval, cut off at 0 and 1, and Wilson's over
    the prompts where all cases are alike, for a t interval then has no width.

    Args:
        cases: whether it is so, pair by pair.
        prompts: id of the prompt of each.
    """
    count, of, groups = sum(cases), len(cases), len(set(prompts))
    if groups == of:
        return Share.make(count, of)
    estimate = clustered_mean([float(case) for case in cases], prompts)
    if estimate is None or not estimate.width:
        alike = proportion(round(count / of * groups), groups)
        return Share(count, of, replace(alike, mean=count / of, n=of))
    return Share(count, of, replace(estimate, low=max(estimate.low, 0.0), high=min(estimate.high, 1.0)))


def _pair(record: Preference) -> Pair:
    chosen, rejected = _text(record.chosen), _text(record.rejected)
    a, b = record.score_chosen, record.score_rejected
    margin = a - b if a is not None and b is not None else None
    of = _whole(record.extra.get("completions"), None)
    found = {
        "same-answers": record.chosen == record.rejected,
        "same-but-scored-apart": record.chosen == record.rejected and bool(margin),
        "score-tie": margin == 0,
        "reversed": margin is not None and margin < 0,
        "unscored": margin is None,
        "empty-answer": not chosen.strip() or not rejected.strip(),
    }
    return Pair(
        id=record.id,
        prompt_id=record.prompt_id,
        feedback_id=record.feedback_id,
        source=record.source,
        model_chosen=record.model_chosen,
        model_rejected=record.model_rejected,
        score_chosen=a,
        score_rejected=b,
        margin=margin,
        length_chosen=len(chosen),
        length_rejected=len(rejected),
        place_chosen=_whole(record.extra.get("chosen_index"), of),
        place_rejected=_whole(record.extra.get("rejected_index"), of),
        completions=of,
        flags=tuple(name for name, raised in found.items() if raised),
    )


def _whole(value: object, below: int | None) -> int | None:
    """A number of the pair's further columns, which may hold anything."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    return value if below is None or value < below else None


def _text(messages: tuple[Message, ...]) -> str:
    return "\n".join(message.content for message in messages)


def _repeated(row: Pair) -> Pair:
    return msgspec.structs.replace(row, flags=(*row.flags, "repeated-prompt"))


def _health(rows: tuple[Pair, ...], prompts: int) -> PairHealth:
    flags = Counter(flag for row in rows for flag in row.flags)
    both = [row for row in rows if row.margin is not None]
    scored = [(row.margin, row.prompt_id) for row in rows if row.margin is not None]
    margins = [margin for margin, _ in scored]
    differing = [row for row in rows if row.length_chosen != row.length_rejected]
    return PairHealth(
        pairs=len(rows),
        prompts=prompts,
        scored=len(scored),
        same_answers=_flagged("same-answers", rows),
        score_ties=_flagged("score-tie", both),
        reversed=_flagged("reversed", both),
        repeated_prompts=_flagged("repeated-prompt", rows),
        longer_chosen=share_of_pairs(
            [row.length_chosen > row.length_rejected for row in differing], [row.prompt_id for row in differing]
        ),
        margin=sum(margins) / len(margins) if margins else None,
        margin_interval=clustered_mean(margins, [prompt for _, prompt in scored]) if scored else None,
        margins=dict(sorted(Counter(margins).items())),
        chosen_models=dict(sorted(Counter(row.model_chosen for row in rows if row.model_chosen).items())),
        rejected_models=dict(sorted(Counter(row.model_rejected for row in rows if row.model_rejected).items())),
        sources=dict(sorted(Counter(row.source for row in rows if row.source).items())),
        flags=dict(sorted(flags.items())),
    )


def _flagged(flag: str, rows: Sequence[Pair]) -> Share:
    return share_of_pairs([flag in row.flags for row in rows], [row.prompt_id for row in rows])

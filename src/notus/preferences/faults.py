"""What is wrong with a pair, or with an answer, by what stands in it alone: the one place of these rules.

The audit flags by them and ``clean`` removes by them, under the same names. Owns the names, what they mean and the
rules that look at one pair. What takes the whole set, such as a repeated prompt, is owned by ``audit.pairs``, and by
``clean`` for duplicates.
"""

import re
from collections.abc import Sequence

from notus.core.records import Message, Preference

__all__ = ["PAIR_FAULTS", "has_text", "is_empty", "margin_of", "pair_faults"]

PAIR_FAULTS = {
    "same-answers": "chosen and rejected are the same text: there is nothing to prefer",
    "same-but-scored-apart": "chosen and rejected are the same text with different scores: one of them is wrong",
    "score-tie": "chosen and rejected have the same score",
    "reversed": "chosen has a lower score than rejected",
    "unscored": "one of the two answers has no score, or both, and no margin is given",
    "empty-answer": "an answer holds nothing that can be seen: white space, invisible characters",
}
"""Fault → what it says of a pair."""

_TEXT = re.compile(
    # White space, control characters, and Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt); further
    # the marks of interlinear notes and the empty braille pattern, which show nothing either.
    r"[^\s\x00-\x1f\x7f-\xa0\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff]"
)


def has_text(text: str) -> bool:
    """Whether a text holds a character that can be seen."""
    return _TEXT.search(text) is not None


def is_empty(answer: Sequence[Message]) -> bool:
    """Whether nothing can be seen in an answer, and no tool is called; what was thought before it does not count."""
    return not any(turn.tool_calls or has_text(turn.content) for turn in answer)


def margin_of(pair: Preference) -> float | None:
    """By how much chosen is better: by the two scores, or else by the margin that the pair states."""
    if pair.score_chosen is not None and pair.score_rejected is not None:
        return pair.score_chosen - pair.score_rejected
    return pair.margin


def pair_faults(pair: Preference) -> tuple[str, ...]:
    """The faults of a pair, slugs out of ``PAIR_FAULTS`` in their order."""
    margin, same = margin_of(pair), pair.chosen == pair.rejected
    found = {
        "same-answers": same,
        "same-but-scored-apart": same and bool(margin),
        "score-tie": margin == 0,
        "reversed": margin is not None and margin < 0,
        "unscored": margin is None,
        "empty-answer": is_empty(pair.chosen) or is_empty(pair.rejected),
    }
    return tuple([name for name, raised in found.items() if raised])

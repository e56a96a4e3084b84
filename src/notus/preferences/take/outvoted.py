"""Pairs that rankers contradict: removed, or flipped, where most or all of those that vote prefer the rejected answer.

Each ranker votes for the answer to which it gives the higher score; one that gives equal scores, or none, does not
vote. Removed or flipped by a majority or by all: Yeh and Li 2025, https://arxiv.org/abs/2509.23564, whose benchmark
has both, with six reward models, and found removal mostly better than flipping. There, so an open reproduction of its
code, equal scores count as a vote against the pair; here they do not. Owns the votes. Where the scores are from is told
by ``preferences.take.rules.Rewards``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import msgspec

from notus.core.records import Feedback, Preference
from notus.core.stage import Stage, Tally
from notus.preferences.take.rules import Outvoted, OutvotedBy, Rewards

__all__ = ["OUTVOTED", "Judged", "flipped", "outvote"]

OUTVOTED = "outvoted"
"""Under which a pair keeps how rankers voted on it, where it was flipped."""
Judged = tuple[Preference, Feedback]
"""A pair, and the feedback that it was made of."""


def outvote(
    rewards: Sequence[Rewards], how: Outvoted, by: OutvotedBy, held: Callable[[Preference], bool]
) -> Stage[Judged, Judged]:
    """A stage that removes or flips the pairs that rankers contradict, and leaves those that are held out as they are.

    Args:
        rewards: of each ranker.
        how: what becomes of a pair that is outvoted.
        by: ``majority``: more of them prefer the rejected answer than the chosen one; ``all``: each that votes does.
        held: whether a pair is kept for evaluation.

    Counted are ``no-vote`` (no ranker tells the answers apart; the pair stays), ``vote-even`` (as many for the one as
    for the other; it stays), ``held-out`` and ``flipped``. Dropped: ``outvoted``.
    """
    return partial(_outvote, tuple(rewards), how, by, held)


def flipped(pair: Preference) -> Preference:
    """The same pair the other way round, each answer with its score and its model."""
    extra = pair.extra | {"chosen_index": pair.extra["rejected_index"], "rejected_index": pair.extra["chosen_index"]}
    return msgspec.structs.replace(
        pair,
        chosen=pair.rejected,
        rejected=pair.chosen,
        score_chosen=pair.score_rejected,
        score_rejected=pair.score_chosen,
        margin=None if pair.margin is None else -pair.margin,
        model_chosen=pair.model_rejected,
        model_rejected=pair.model_chosen,
        extra=extra,
    )


def _outvote(
    rewards: tuple[Rewards, ...],
    how: Outvoted,
    by: OutvotedBy,
    held: Callable[[Preference], bool],
    pairs: Iterable[Judged],
    tally: Tally,
) -> Iterator[Judged]:
    for pair, feedback in pairs:
        if held(pair):
            tally.count("held-out")
            yield pair, feedback
            continue
        margins = [margin for each in rewards if (margin := each.margin(pair, feedback)) is not None]
        won, lost = sum(margin > 0 for margin in margins), sum(margin < 0 for margin in margins)
        if not won + lost:
            tally.count("no-vote")
        elif won == lost:
            tally.count("vote-even")
        if not (lost > won if by == "majority" else lost > 0 and won == 0):
            yield pair, feedback
        elif how == "flip":
            tally.count("flipped")
            note = {"for": won, "against": lost, "rankers": len(rewards)}
            turned = flipped(pair)
            yield msgspec.structs.replace(turned, extra={**turned.extra, OUTVOTED: note}), feedback
        else:
            which = "answer {chosen_index} over {rejected_index}".format_map(pair.extra)
            said = f"{which}: {lost} of {len(rewards)} rankers prefer the rejected answer, {won} the chosen one"
            tally.drop(pair.feedback_id, "outvoted", said, at=pair, asked_by="outvoted")

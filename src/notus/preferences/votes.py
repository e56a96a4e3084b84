"""What rankings say of the answers to a prompt: votes between two of them, and ordered lists of many.

An answer's score is the share of the answers beside it that it was ranked above, a tie counting half, for each ranking,
and then the mean over the rankings, so that each ranking has one vote::

    score_i = mean over rankings r that rank i of  (|{j: r_j > r_i}| + ½ |{j ≠ i: r_j = r_i}|) / (m_r − 1)

with m_r ≥ 2 the answers that r ranks. Of two answers it is the share of the votes; of one list of all answers it orders
as the list does; of several lists it is Borda's count, divided by its largest value (Borda 1781; Emerson 2013, Social
Choice and Welfare 40, for lists of some of the answers). A pair is made of two answers only where most of the rankings
that hold both put the chosen one above.

Owns the score, the majority between two answers, and which question is meant. What becomes of a pair is owned by
``preferences.selection`` and ``preferences.binarize``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from notus.core.errors import ConfigError, DataError
from notus.core.records import Feedback, Ranking, on_one_scale
from notus.core.text import format_list

__all__ = ["CONSENSUS", "Majority", "Method", "Votes", "ask_for", "majority", "votes_of"]

Method = Literal["dawid-skene", "mace"]
"""How votes of several raters are made one: see ``preferences.annotators``."""
CONSENSUS = "consensus"
"""Under which a prompt, and then a pair, keeps what its raters say together."""
_NAMED = 8


@dataclass(frozen=True)
class Majority:
    """What the rankings that hold both of two answers say of the one against the other."""

    won: int
    lost: int
    tied: int
    raters: int
    """Raters with a name among them."""
    strength: float | None
    """Mean of how clear the votes are, those for the other answer below 0 and ties 0; None where one does not say."""

    @property
    def wins(self) -> bool:
        """Whether most of those that are no ties prefer the first of the two."""
        return self.won > self.lost


@dataclass(frozen=True)
class Votes:
    """The rankings of a prompt on one question, those that rank two answers or more."""

    rankings: tuple[Ranking, ...]
    scores: tuple[float | None, ...]
    """Of each answer; None where no ranking holds it."""
    other: int
    """Rankings that were passed over: on another question, or of fewer than two answers."""

    @property
    def undecided(self) -> str:
        """Why answers with equal scores cannot be told apart, as a slug: ``vote-tie`` or ``vote-split``."""
        ties = all(len({rank for rank in each.ranks if rank is not None}) == 1 for each in self.rankings)
        return "vote-tie" if ties else "vote-split"


def votes_of(feedback: Feedback, question: str | None) -> Votes:
    """What the rankings of a prompt say.

    Args:
        feedback: the prompt.
        question: which rankings are meant; None takes all, where all are on one question.

    Raises:
        ConfigError: if there are several questions, and none is named.
    """
    if question is None:
        asked = sorted({each.question for each in feedback.rankings})
        if len(asked) > 1:
            raise ConfigError(ask_for(asked))
    found = [each for each in feedback.rankings if question is None or each.question == question]
    held = tuple([each for each in found if sum([rank is not None for rank in each.ranks]) > 1])
    return Votes(held, _scores(held, len(feedback.completions)), len(feedback.rankings) - len(held))


def ask_for(questions: Sequence[str]) -> str:
    """The one line that asks which question is meant."""
    named = format_list([f"'{name}'" for name in questions], _NAMED)
    return (
        f"the answers are ranked on several questions, {named}, which need not agree; name the one that is meant "
        "(question, --question)"
    )


def majority(rankings: Sequence[Ranking], one: int, other: int) -> Majority:
    """What rankings say of one answer against another, by the places of the two.

    Raises:
        DataError: if the rankings say how clear they are on different scales.
    """
    both: list[tuple[Ranking, int]] = []
    for each in rankings:
        mine, others = each.ranks[one], each.ranks[other]
        if mine is not None and others is not None:
            both.append((each, others - mine))
    if not on_one_scale([each for each, _ in both]):
        raise DataError(
            "the votes on two answers say how clear they are on different scales, and have no mean; leave raters out "
            "(without_raters), or read the votes of one scale"
        )
    signs = [(ahead > 0) - (ahead < 0) for _, ahead in both]
    # How clear an order of many is says nothing of two of them.
    clear = [each.strength if sum(rank is not None for rank in each.ranks) == 2 else None for each, _ in both]
    strengths = [0.0 if not sign else strength and sign * strength for strength, sign in zip(clear, signs, strict=True)]
    known = [each for each in strengths if each is not None]
    said = bool(known) and len(known) == len(both) and any(each is not None for each in clear)
    return Majority(
        won=signs.count(1),
        lost=signs.count(-1),
        tied=signs.count(0),
        raters=len({each.rater for each, _ in both if each.rater}),
        strength=sum(known) / len(known) if said else None,
    )


def _scores(rankings: Sequence[Ranking], size: int) -> tuple[float | None, ...]:
    shares: list[list[float]] = [[] for _ in range(size)]
    for each in rankings:
        ranked = [(place, rank) for place, rank in enumerate(each.ranks) if rank is not None]
        ranks = [rank for _, rank in ranked]
        for place, rank in ranked:
            above = sum([other > rank for other in ranks]) + (ranks.count(rank) - 1) / 2
            shares[place].append(above / (len(ranks) - 1))
    return tuple([sum(values) / len(values) if values else None for values in shares])

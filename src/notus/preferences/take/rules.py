"""The rules by which some of the pairs are taken: what each looks at in a pair, and which pairs it takes first.

    random        drawn by the seed
    margin        the largest difference of the scores of chosen and rejected
    small-margin  the smallest
    moderate      a difference near the middle of the set's, and high scores                     (AIR)
    reward        the largest margin by a ranker, such as the implicit reward of a DPO policy    (Less is More)
    small-reward  the smallest; a pair that the ranker orders the other way comes before all     (difficulty)
    aspects       the most negative preference divergence of the aspects                         (fine-grained)
    length        answers of the most equal length

**Sources.** ``moderate``: He et al. 2025, https://arxiv.org/abs/2504.03612, whose abstract names moderate margins and
high absolute scores; how both are put together is ours: with F the mid-rank in the set, m the margin and s the mean of
both scores, the value is F(s) − |2 F(m) − 1|. ``reward``: Deng et al. 2025, https://arxiv.org/abs/2502.14560, the
margin-maximising principle, for one ranker. ``small-reward``: Qi, Xu and Jin 2025, https://arxiv.org/abs/2508.04149,
whose code sorts the signed gap from the smallest on. ``aspects``: Zhang et al. 2025,
https://arxiv.org/abs/2508.07638, takes the pairs with the most negative divergence; its equation was not read. Ours,
after what the abstract and reviews say of it: a pair that aspect a prefers diverges by what the others say against it,
with Δ_b the rating of chosen less that of rejected and K aspects that both answers have::

    PD_a = −Σ_{b ≠ a} Δ_b / (K − 1)        PD = max_a PD_a = −(Σ_b Δ_b − max_b Δ_b) / (K − 1)

so that no pair is taken for the sake of one aspect. Owns what a rule looks at. How many are taken is owned by
``preferences.take.plan``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from notus.core.errors import DataError
from notus.core.records import Completion, Feedback, Preference, aspect_means, format_turns, on_one_scale
from notus.formats.families.ranked import ranker_score

__all__ = [
    "BOUNDED",
    "BY_REWARD",
    "SMALLEST_FIRST",
    "Measured",
    "Outvoted",
    "OutvotedBy",
    "Rewards",
    "Rule",
    "divergence",
    "measure",
    "places_of",
]

Rule = Literal["random", "margin", "small-margin", "moderate", "reward", "small-reward", "aspects", "length"]
Outvoted = Literal["remove", "flip"]
OutvotedBy = Literal["majority", "all"]
BY_REWARD = frozenset({"reward", "small-reward"})
"""Rules that need a ranker's scores."""
SMALLEST_FIRST = frozenset({"small-margin", "small-reward", "aspects", "length"})
"""Rules that take the pair with the smallest value first."""
BOUNDED = frozenset({"margin", "small-margin", "reward", "small-reward", "aspects", "length"})
"""Rules whose value means something by itself, so that it may be held between bounds."""


class Measured(NamedTuple):
    """What a rule sees in a pair."""

    feedback_id: str
    chosen: int
    """Place of the chosen answer, as is ``rejected``."""
    rejected: int
    values: tuple[float, ...]
    """One; of ``moderate`` the margin and the mean score, of ``random`` none. None too where it cannot tell."""

    @property
    def key(self) -> tuple[str, int, int]:
        """By which the pair is found again."""
        return self.feedback_id, self.chosen, self.rejected


@dataclass(frozen=True)
class Rewards:
    """The scores that one ranker gave."""

    name: str
    answers: Mapping[str, float] = field(default_factory=dict)
    """Id of a completion → its score."""
    pairs: Mapping[str, float] = field(default_factory=dict)
    """Id of a pair → score of chosen less that of rejected."""
    own: bool = False
    """Whether the scores stand on the answers themselves, as ``notus rank`` leaves them."""

    def margin(self, pair: Preference, feedback: Feedback) -> float | None:
        """Score of chosen less that of rejected; None where one has none."""
        if (known := self.pairs.get(pair.id) if self.pairs else None) is not None:
            return known
        chosen, rejected = (self._score(feedback, place) for place in places_of(pair))
        return None if chosen is None or rejected is None else chosen - rejected

    def _score(self, feedback: Feedback, place: int) -> float | None:
        if self.own:
            return ranker_score(feedback.completions[place])
        return self.answers.get(feedback.completion_id(place)) if self.answers else None


def places_of(pair: Preference) -> tuple[int, int]:
    """Places of the chosen and of the rejected answer in their feedback."""
    return pair.extra["chosen_index"], pair.extra["rejected_index"]


def measure(rule: Rule, pair: Preference, feedback: Feedback, rewards: Sequence[Rewards]) -> tuple[float, ...]:
    """What a rule looks at in a pair; see ``Measured.values``.

    Args:
        rule: which.
        pair: as ``preferences.binarize`` makes it.
        feedback: that it was made of.
        rewards: of one ranker, for the rules by reward.

    Raises:
        DataError: if aspects stand on different scales.
    """
    one, other = pair.score_chosen, pair.score_rejected
    match rule:
        case "random":
            return ()
        case "aspects":
            found = divergence(*(feedback.completions[place] for place in places_of(pair)))
        case "length":
            sizes = len(format_turns(pair.chosen)), len(format_turns(pair.rejected))
            found = abs(sizes[0] - sizes[1]) / max(*sizes, 1)
        case "reward" | "small-reward":
            found = rewards[0].margin(pair, feedback)
        case _:
            if one is None or other is None:
                return ()
            return (one - other, (one + other) / 2) if rule == "moderate" else (one - other,)
    return () if found is None else (found,)


def divergence(chosen: Completion, rejected: Completion) -> float | None:
    """The preference divergence of the aspects: below 0 where they agree that chosen is better, all but any one.

    Raises:
        DataError: if they stand on different scales, and have no sum.
    """
    rated = [[each for each in item.ratings if each.measures_quality] for item in (chosen, rejected)]
    if not on_one_scale([*rated[0], *rated[1]]):
        raise DataError("the aspects are rated on different scales, and 'aspects' adds them up; take another rule")
    ours, theirs = aspect_means(rated[0]), aspect_means(rated[1])
    gaps = [ours[aspect] - theirs[aspect] for aspect in ours if aspect in theirs]
    return -(sum(gaps) - max(gaps)) / (len(gaps) - 1) if len(gaps) > 1 else None

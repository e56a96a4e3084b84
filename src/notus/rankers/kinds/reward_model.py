"""``reward-model:MODEL``: a scalar reward model with one label. What it does is in ``rankers.reward``."""

from notus.llm.protocol import Ranker
from notus.rankers.ref import RankerContext, RankerKind, RankerRef

__all__ = ["KIND"]


def _make(ref: RankerRef, context: RankerContext) -> Ranker:
    from notus.rankers.reward import RewardRanker

    return RewardRanker(str(ref.model), context.settings, context.progress, context.tally)


KIND = RankerKind("reward-model:MODEL", _make, computes=True, pointwise=True)

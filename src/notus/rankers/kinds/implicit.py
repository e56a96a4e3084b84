"""``implicit:POLICY@REFERENCE``: the implicit reward of a policy. What it does is in ``rankers.reward``."""

from notus.llm.protocol import Ranker
from notus.rankers.ref import RankerContext, RankerKind, RankerRef

__all__ = ["KIND"]


def _make(ref: RankerRef, context: RankerContext) -> Ranker:
    from notus.rankers.reward import ImplicitRanker

    return ImplicitRanker(str(ref.model), str(ref.reference), context.settings, context.tally)


KIND = RankerKind("implicit:POLICY@REFERENCE", _make, computes=True, pointwise=True)

"""``pairrm:MODEL``: a pairwise reward model with the head of PairRM. What it does is in ``rankers.pairwise``."""

from notus.llm.protocol import Ranker
from notus.rankers.ref import RankerContext, RankerKind, RankerRef

__all__ = ["KIND"]


def _make(ref: RankerRef, context: RankerContext) -> Ranker:
    from notus.rankers.pairwise import load_pair_ranker

    return load_pair_ranker(str(ref.model), context.settings, context.progress, context.tally)


KIND = RankerKind("pairrm:MODEL", _make, computes=True)

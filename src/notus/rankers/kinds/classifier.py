"""``classifier:MODEL#LABEL``: how sure a classifier is of a label. What it does is in ``rankers.classifier``."""

from notus.llm.protocol import Ranker
from notus.rankers.ref import RankerContext, RankerKind, RankerRef

__all__ = ["KIND"]


def _make(ref: RankerRef, context: RankerContext) -> Ranker:
    from notus.rankers.classifier import ClassifierRanker

    (source,) = ref.references
    return ClassifierRanker(source, ref.label, context.settings, context.progress, context.tally)


KIND = RankerKind("classifier:MODEL#LABEL", _make, computes=True, pointwise=True)

"""``length``: the number of characters of an answer."""

from collections.abc import Sequence

from notus.core.records import Message
from notus.rankers.ref import RankerKind, Scores, check_lengths

__all__ = ["KIND", "LengthRanker"]


class LengthRanker:
    """Scores an answer by its number of characters. A control: what beats nothing but this has learnt nothing."""

    name = "length"

    def rank(self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates of each prompt, as ``Ranker`` says."""
        check_lengths(prompts, candidates)
        return [[float(len(text)) for text in answers] for answers in candidates]


KIND = RankerKind("length", lambda *_: LengthRanker(), pointwise=True)

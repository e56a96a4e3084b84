"""IFBench's ``sentence``: what one sentence is after another."""

from itertools import pairwise

from notus.checks.ifbench.text import PUNCTUATION, bare_words, sentences
from notus.checks.settings import text, whole

__all__ = ["alliteration_increment", "increment", "keyword"]


def alliteration_increment(answer: str) -> bool:
    """Whether each sentence has more words in alliterative runs than the one before it.

    A word is in such a run where a neighbour begins with the same letter; several runs of a sentence add up.
    """
    counts = [_alliterative(sentence) for sentence in sentences(answer)]
    return all(before < after for before, after in pairwise(counts))


def increment(answer: str, *, small_n: float) -> bool:
    """Whether each sentence has exactly so many words more than the one before it."""
    step = whole("small_n", small_n)
    counts = [len(bare_words(sentence)) for sentence in sentences(answer)]
    return all(after - before == step for before, after in pairwise(counts))


def keyword(answer: str, *, word: str, N: float) -> bool:  # noqa: N803
    """Whether the N-th sentence holds the keyword, inside of a longer word too; case does not count."""
    found, place, wanted = sentences(answer), whole("N", N, 1), text("word", word)
    return place <= len(found) and wanted.lower() in found[place - 1].lower()


def _alliterative(sentence: str) -> int:
    words = [word for part in sentence.lower().split() if (word := part.lstrip(PUNCTUATION))]
    same = [first[0] == second[0] for first, second in pairwise(words)]
    return sum(left or right for left, right in zip([False, *same], [*same, False], strict=True))

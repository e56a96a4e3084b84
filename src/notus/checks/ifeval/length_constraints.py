"""IFEval's kinds on how long an answer is."""

import re

from notus.checks.sentences import sentences
from notus.checks.settings import holds, text, whole
from notus.core.errors import DataError

__all__ = ["nth_paragraph_first_word", "number_paragraphs", "number_sentences", "number_words"]

_WORD = re.compile(r"\w+")
_DIVIDER = re.compile(r"\s?\*\*\*\s?")
_END_OF_WORD = re.compile(r"[.,?!'\"]")


def number_words(answer: str, *, num_words: int, relation: str) -> bool:
    """Whether there are so many words: unbroken letters, digits and underscores, so that ``it's`` is two."""
    return holds(sum(1 for _ in _WORD.finditer(answer)), relation, whole("num_words", num_words))


def number_sentences(answer: str, *, num_sentences: int, relation: str) -> bool:
    """Whether there are so many sentences, see ``checks.sentences``."""
    return holds(len(sentences(answer)), relation, whole("num_sentences", num_sentences))


def number_paragraphs(answer: str, *, num_paragraphs: int) -> bool:
    """Whether dividers ``***`` make exactly so many paragraphs; none between two dividers may be blank."""
    parts = [part.strip() for part in _DIVIDER.split(answer)]
    filled = sum(map(bool, parts))
    return all(parts[1:-1]) and filled == whole("num_paragraphs", num_paragraphs)


def nth_paragraph_first_word(answer: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Whether blank lines make exactly so many paragraphs, and the nth begins with a word.

    Case does not count, nor do quotation marks before the word; it ends at punctuation. Where three and more line
    breaks follow one another, what lies between them counts in the order of paragraphs, and not in their number.

    Raises:
        DataError: if the nth is none of them.
    """
    number, nth = whole("num_paragraphs", num_paragraphs), whole("nth_paragraph", nth_paragraph, 1)
    if nth > number:
        raise DataError(f"the setting nth_paragraph of a check is {nth}, of {number} paragraphs; take one of them")
    parts = answer.split("\n\n")
    filled = sum(1 for part in parts if part.strip())
    if filled != number or not (begins := parts[nth - 1].split(None, 1)):
        return False
    word = _END_OF_WORD.split(begins[0].lstrip("'").lstrip('"'), maxsplit=1)[0]
    return word.lower() == text("first_word", first_word).lower()

"""IFEval's kinds on words and letters that an answer has or has not.

A keyword is a regular expression that ignores case, and is found inside of longer words too, but for forbidden ones,
which stand between borders of words.
"""

from collections.abc import Sequence

from notus.checks.settings import holds, pattern, text, texts, whole
from notus.core.errors import DataError

__all__ = ["existence", "forbidden_words", "frequency", "letter_frequency"]


def existence(answer: str, *, keywords: Sequence[str]) -> bool:
    """Whether each keyword occurs."""
    return all(pattern("keywords", word).search(answer) for word in texts("keywords", keywords))


def forbidden_words(answer: str, *, forbidden_words: Sequence[str]) -> bool:
    """Whether none of the words occurs as a whole word."""
    words = texts("forbidden_words", forbidden_words)
    return not any(pattern("forbidden_words", rf"\b{word}\b").search(answer) for word in words)


def frequency(answer: str, *, keyword: str, frequency: int, relation: str) -> bool:
    """Whether a keyword occurs so often."""
    wanted = pattern("keyword", text("keyword", keyword).strip())
    return holds(sum(1 for _ in wanted.finditer(answer)), relation, whole("frequency", frequency))


def letter_frequency(answer: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    """Whether a letter or other sign occurs so often, capital or small.

    Raises:
        DataError: if it is not one character.
    """
    if not isinstance(letter, str) or len(letter) != 1:
        raise DataError(f"the setting letter of a check is {letter!r:.60}; one character is needed")
    return holds(answer.lower().count(letter.lower()), let_relation, whole("let_frequency", let_frequency))

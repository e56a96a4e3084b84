"""IFEval's kinds on capital and small letters."""

from notus.checks.languages import language_of
from notus.checks.sentences import words
from notus.checks.settings import holds, whole

__all__ = ["capital_word_frequency", "english_capital", "english_lowercase"]

_ENGLISH = ("en", None)
"""None is a text without letters that tell a language, which is let pass."""


def english_capital(answer: str) -> bool:
    """Whether the answer is English and has no small letter."""
    return answer.isupper() and language_of(answer) in _ENGLISH


def english_lowercase(answer: str) -> bool:
    """Whether the answer is English and has no capital letter."""
    return answer.islower() and language_of(answer) in _ENGLISH


def capital_word_frequency(answer: str, *, capital_frequency: int, capital_relation: str) -> bool:
    """Whether words without a small letter occur so often. ``I``, ``A`` and ``U.S.`` count, ``I'M`` counts twice."""
    capitals = sum(word.isupper() for word in words(answer))
    return holds(capitals, capital_relation, whole("capital_frequency", capital_frequency))

"""IFEval's kind on the language of an answer."""

from notus.checks.languages import language_of
from notus.checks.settings import text

__all__ = ["response_language"]


def response_language(answer: str, *, language: str) -> bool:
    """Whether the answer is in a language, by its code. Of what has no letters to tell by it is taken to be so."""
    return language_of(answer) in (text("language", language), None)

"""What several kinds of IFBench read an answer by: its sentences by rule, and its words in three ways.

Which of these a kind takes decides its verdict in doubtful cases ("don't" is one word or two, "e.g." ends a sentence or
does not), so that each is one function here, and each kind says which it takes. Words and marks as the Penn Treebank
has them are those of ``checks.sentences``, whose sentences are Punkt's; IFBench counts sentences by rule.
"""

import re
from collections.abc import Callable
from typing import Any

from notus.core.errors import DataError

__all__ = ["PUNCTUATION", "bare", "bare_words", "listed", "percent", "runs", "sentences", "without"]

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""ASCII's punctuation alone: a dash or a curly quote of Unicode stays in a word."""
_GONE = str.maketrans("", "", PUNCTUATION)
_RUNS = re.compile(r"\w+")
# Two noncharacters, which stand in no text: a full stop that ends nothing, and the end of a sentence.
_DOT, _END = "\ufdd0", "\ufdd1"
_STARTS = (
    r"(?:Mr|Mrs|Ms|Dr|Prof|Capt|Cpt|Lt|He\s|She\s|It\s|They\s|Their\s|Our\s|We\s|But\s|However\s|That\s|This\s|"
    r"Wherever)"
)
_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), put)
    for pattern, put in (
        (r"(Mr|St|Mrs|Ms|Dr)\.", rf"\1{_DOT}"),  # titles
        (r"\.(?=com|net|org|io|gov|edu|me)", _DOT),  # addresses
        (r"([0-9])\.([0-9])", rf"\1{_DOT}\2"),  # decimals; of 1.2.3 only the first is one
        (r"\.{2,}", lambda dots: _DOT * len(dots[0]) + _END),
        (r"Ph\.D\.", f"Ph{_DOT}D{_DOT}"),
        (r"\s([A-Za-z])\. ", rf" \1{_DOT} "),  # a letter that stands alone
        (rf"([A-Z]\.[A-Z]\.(?:[A-Z]\.)?) ({_STARTS})", rf"\1{_END} \2"),
        (r"([A-Za-z])\.([A-Za-z])\.([A-Za-z])\.", rf"\1{_DOT}\2{_DOT}\3{_DOT}"),
        (r"([A-Za-z])\.([A-Za-z])\.", rf"\1{_DOT}\2{_DOT}"),
        (rf" (Inc|Ltd|Jr|Sr|Co)\. ({_STARTS})", rf" \1{_END} \2"),
        (r" (Inc|Ltd|Jr|Sr|Co)\.", rf" \1{_DOT}"),
        (r" ([A-Za-z])\.", rf" \1{_DOT}"),
        (r"\.”", "”."),  # a quotation ends before its sentence does
        (r'\."', '".'),
        (r'!"', '"!'),
        (r'\?"', '"?'),
        (r"([.?!])", rf"\1{_END}"),
    )
)
"""Applied in this order, which decides where two of them fit."""


def sentences(answer: str) -> list[str]:
    """The sentences of an answer by rules of English, each without the spaces around it.

    One ends at every full stop, question and exclamation mark that is no part of a title, a number, an address, an
    acronym or an abbreviation; an ellipsis ends one too, a line break does not. What stands after the last mark is a
    sentence as well. Empty ones in between stay.
    """
    marked = " " + answer.replace("\n", " ") + "  "
    for pattern, put in _RULES:
        marked = pattern.sub(put, marked)
    parts = [part.strip() for part in marked.replace(_DOT, ".").split(_END)]
    return parts[:-1] if not parts[-1] else parts


def runs(answer: str) -> list[str]:
    """Runs of letters, digits and underscores: "don't" is two."""
    return _RUNS.findall(answer)


def without(answer: str) -> str:
    """An answer without ASCII's punctuation."""
    return answer.translate(_GONE)


def bare_words(answer: str) -> list[str]:
    """What spaces divide, once all punctuation is gone: "don't" is "dont", "and/or" is "andor"."""
    return without(answer).split()


def bare(word: str) -> str:
    """A word without the punctuation around it."""
    return word.strip(PUNCTUATION + " ")


def listed(words: str) -> tuple[str, ...]:
    """Words that are written one after another."""
    return tuple(words.split())


def percent(name: str, value: Any) -> float:
    """A setting that is a percentage.

    Raises:
        DataError: if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise DataError(f"the setting {name} of a check is {value!r:.60}; a number from 0 to 100 is needed")
    return float(value)

"""IFBench's ``count``: how many of something an answer has."""

import re

from notus.checks.ifbench.text import bare, bare_words, listed, runs, without
from notus.checks.settings import text, whole

__all__ = [
    "NAMES",
    "conjunctions",
    "keywords_multiple",
    "numbers",
    "person_names",
    "pronouns",
    "punctuation",
    "unique_word_count",
    "word_count_range",
    "words_japanese",
]

NAMES = listed(
    "Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin "
    "Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan "
    "Victoria Elijah Layla Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph "
    "Claire Ryan Stella Jonathan"
)
"""The names that the prompts list."""
_NAMED = frozenset(NAMES)
_DIGITS = re.compile(r"\d+")
_CONJUNCTIONS = frozenset(listed("for and nor but or yet so"))
_PRONOUNS = frozenset(
    listed(
        "i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her "
        "hers herself it its itself they them their theirs themselves"
    )
)
_TIMES = (1, 2, 3, 5, 7)
"""How often the five keywords are wanted."""
_JAPANESE = (("\u3040", "\u309f"), ("\u30a0", "\u30ff"), ("\u4e00", "\u9fbf"))
"""Hiragana, katakana, and the characters that Chinese has too."""
_MARKS = ".,!?;:"


def conjunctions(answer: str, *, small_n: float) -> bool:
    """Whether at least so many different words of it are coordinating conjunctions.

    Words are told apart as they stand, with their capitals and marks, as IFBench does it: "and", "And" and "and," are
    three.
    """
    found = {word for word in answer.split() if bare(word).lower() in _CONJUNCTIONS}
    return len(found) >= whole("small_n", small_n)


def keywords_multiple(
    answer: str, *, keyword1: str, keyword2: str, keyword3: str, keyword4: str, keyword5: str
) -> bool:
    """Whether the keywords are in it 1, 2, 3, 5 and 7 times, as whole words; case does not count."""
    lowered = answer.lower()
    given = [
        text(f"keyword{place}", word)
        for place, word in enumerate((keyword1, keyword2, keyword3, keyword4, keyword5), start=1)
    ]
    found = [sum(1 for _ in re.finditer(rf"\b{re.escape(word.lower())}\b", lowered)) for word in given]
    return found == [*_TIMES]


def numbers(answer: str, *, N: float) -> bool:  # noqa: N803
    """Whether it has exactly so many runs of digits; 1,000 and 3.5 are one each, since punctuation goes first."""
    return len(_DIGITS.findall(without(answer))) == whole("N", N)


def person_names(answer: str, *, N: float) -> bool:  # noqa: N803
    """Whether it has at least so many different ones of the 50 names, as whole words in their own case."""
    return len({word for word in runs(answer) if word in _NAMED}) >= whole("N", N)


def pronouns(answer: str, *, N: float) -> bool:  # noqa: N803
    """Whether it has at least so many personal, possessive and reflexive pronouns; "he/she" is two."""
    words = bare_words(answer.replace("/", " ").lower())
    return sum(word in _PRONOUNS for word in words) >= whole("N", N)


def punctuation(answer: str) -> bool:
    """Whether it uses each of ``. , ! ? ; :``, and beside these an interrobang: ``?!``, ``!?`` or ``‽``."""
    if not any(mark in answer for mark in ("?!", "!?", "‽")):
        return False
    rest = answer.replace("?!", "", 1)
    if len(rest) == len(answer):
        rest = answer.replace("!?", "", 1)
    return all(mark in rest for mark in _MARKS)


def unique_word_count(answer: str, *, N: float) -> bool:  # noqa: N803
    """Whether it has at least so many different words; neither case nor the punctuation around a word counts."""
    return len({bare(word) for word in answer.lower().split()}) >= whole("N", N)


def word_count_range(answer: str, *, min_words: float, max_words: float) -> bool:
    """Whether the number of its words, as runs of letters and digits, lies between the two, which count in."""
    least, most = whole("min_words", min_words), whole("max_words", max_words)
    return least <= len(runs(answer)) <= most


def words_japanese(answer: str, *, N: float) -> bool:  # noqa: N803
    """Whether each N-th word has a Japanese character; one of punctuation or digits alone needs none."""
    step = whole("N", N, 1)
    wanted = (bare(word) for word in answer.split()[step - 1 :: step])
    return all(_is_japanese(word) for word in wanted if word and not word.isdigit())


def _is_japanese(word: str) -> bool:
    return any(low <= letter <= high for letter in word for low, high in _JAPANESE)

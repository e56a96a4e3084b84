"""IFBench's ``words``: what each word is, by its letters, its sound or its place."""

from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import pairwise

from notus.checks.ifbench.tagger import first_tag
from notus.checks.ifbench.text import PUNCTUATION, bare, bare_words, sentences
from notus.checks.sentences import words as tokens
from notus.checks.settings import text, whole
from notus.core.errors import require

__all__ = [
    "alphabet",
    "consonants",
    "keywords_specific_position",
    "last_first",
    "no_consecutive",
    "odd_even_syllables",
    "palindrome",
    "paragraph_last_first",
    "prime_lengths",
    "repeats",
    "start_verb",
    "vowel",
    "words_position",
]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_VOWELS = frozenset("aeiou")
_CONSONANTS = frozenset(_LETTERS) - _VOWELS
_PALINDROMES, _PALINDROME = 10, 5
"""How many are wanted, and the letters of each at least."""
_THREE = 3


def alphabet(answer: str) -> bool:
    """Whether each word begins with the next letter of the alphabet, after z with a; the first one is free."""
    words = [word.lower() for word in bare_words(answer)]
    if not words or words[0][0] not in _LETTERS:
        return False
    start = _LETTERS.index(words[0][0])
    return all(word[0] == _LETTERS[(start + place) % len(_LETTERS)] for place, word in enumerate(words))


def consonants(answer: str) -> bool:
    """Whether each word, as spaces divide them, has two consonants in a row; y is one."""
    return all(
        any(first in _CONSONANTS and second in _CONSONANTS for first, second in pairwise(word))
        for word in answer.lower().split()
    )


def keywords_specific_position(answer: str, *, keyword: str, n: float, m: float) -> bool:
    """Whether the m-th word of the n-th sentence is the keyword, in its own case; punctuation is no word."""
    found, wanted = sentences(answer), text("keyword", keyword)
    sentence, place = whole("n", n, 1), whole("m", m, 1)
    if sentence > len(found):
        return False
    own = _spoken(found[sentence - 1])
    return own[place - 1 : place] == [wanted]


def last_first(answer: str) -> bool:
    """Whether the last word of each sentence is the first of the next; case and outer punctuation do not count."""
    words = [bare(sentence).lower().split() for sentence in sentences(answer)]
    return all(bool(before and after) and before[-1] == after[0] for before, after in pairwise(words))


def no_consecutive(answer: str) -> bool:
    """Whether no word begins with the letter of the one before it; case does not count."""
    return all(first[0] != second[0] for first, second in pairwise(bare_words(answer.lower())))


def odd_even_syllables(answer: str) -> bool:
    """Whether words of an odd and an even number of syllables take turns.

    Raises:
        MissingExtraError: without syllapy, whose dictionary counts them.
    """
    odd = [_syllables()(word) % 2 for word in bare_words(answer.lower())]
    return all(first != second for first, second in pairwise(odd))


def palindrome(answer: str) -> bool:
    """Whether it has at least ten words of five letters or more that read the same backwards; repeats count."""
    words = bare_words(answer.lower())
    return sum(len(word) >= _PALINDROME and word == word[::-1] for word in words) >= _PALINDROMES


def paragraph_last_first(answer: str) -> bool:
    """Whether each line ends with the word that it begins with; case and the line's outer punctuation do not count."""
    lines = [line.strip().lower().strip(PUNCTUATION + " ").split() for line in answer.split("\n")]
    return all(words[0] == words[-1] for words in lines if words)


def prime_lengths(answer: str) -> bool:
    """Whether the number of letters of each word is prime."""
    return all(_is_prime(length) for length in {len(word) for word in bare_words(answer)})


def repeats(answer: str, *, small_n: float) -> bool:
    """Whether no word stands in it more often than this; case does not count."""
    counts = Counter(bare_words(answer.lower()))
    return max(counts.values(), default=0) <= whole("small_n", small_n)


def start_verb(answer: str) -> bool:
    """Whether its first word is a verb in one of its forms, as NLTK's tagger says.

    Raises:
        MissingExtraError: without NLTK or its tagger's weights.
    """
    return "VB" in first_tag(tokens(answer))


def vowel(answer: str) -> bool:
    """Whether it is one line with at most three different ones of the five vowels."""
    stripped = answer.strip().lower()
    return "\n" not in stripped and len(_VOWELS & set(stripped)) <= _THREE


def words_position(answer: str, *, keyword: str) -> bool:
    """Whether its second and its last but one word are the keyword; neither case nor punctuation counts."""
    wanted = text("keyword", keyword).lower()
    found = _spoken(answer.lower())
    return len(found) > 1 and found[1] == found[-2] == wanted


def _spoken(answer: str) -> list[str]:
    """The tokens that have a letter or a digit."""
    return [token for token in tokens(answer) if any(letter.isalnum() for letter in token)]


def _is_prime(length: int) -> bool:
    return length > 1 and all(length % factor for factor in range(2, int(length**0.5) + 1))


@cache
def _syllables() -> Callable[[str], int]:
    count: Callable[[str], int] = require("syllapy", extra="checks").count
    return count

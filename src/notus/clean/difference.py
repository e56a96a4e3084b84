"""What differs between two prompts that are alike: whether one answer would serve both.

Two prompts *ask the same* when they differ in nothing but what does not count:

- case, white space and punctuation, which words have none of (``clean.words``);
- free words and frames of a request ("the", "could you please", "I'm looking for");
- the notation of a number (1,000 and 1000, three and 3, 2 thousand), and a word written as two (note book);
- spelling: British and American, accents, a plural's s, and slips of the pen: a word that a dictionary does not know,
  one edit (from eight letters on, two) from one that it knows, or two
  letters of a long name exchanged. Not where a prompt is about words, as one for a synonym;
- a verb of the request for another that asks for the same (give, provide; write, compose), where it stands first;
- a lacking preposition, pronoun or "what"; and a part that begins with a preposition, moved from one end to the other.

Anything else keeps both, and is named: ``number``, ``negation``, ``order`` (the same words elsewhere: "from French to
English"), ``relation`` (to and from, who and where, his and her) or ``word``.

Owns that decision for two prompts. Which pairs are looked at is the business of ``clean.duplicates``, and the lists
are those of ``clean.lexicon``.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import SequenceMatcher
from functools import cache, lru_cache, partial
from typing import Literal, NamedTuple, TypeVar

from notus.clean.lexicon import LEXICONS, MENTIONS, NOTHING, SPELLINGS, Lexicon, Phrases, language_of
from notus.clean.words import edits

__all__ = ["Difference", "Reading", "Token", "difference", "is_typo", "read_prompt"]

T = TypeVar("T")
Kind = Literal["word", "number", "negation", "relation", "verb"]
Difference = Literal["", "number", "negation", "order", "relation", "word"]

_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*")
_GLUED = re.compile(r"(\d+(?:[.,]\d+)*)([a-z]{1,3})")
_MONEY = frozenset("$€£¥")
_BRITISH = (
    (re.compile(r"(?<=\w)our(?=s?$|ed$|ing$|ful|ite|less|hood)"), "or"),
    (re.compile(r"is(?=(?:e|es|ed|er|ers|ing|ation|ations)$)"), "iz"),
    (re.compile(r"ys(?=(?:e|es|ed|er|ing)$)"), "yz"),
    (re.compile(r"tre(?=s?$)"), "ter"),
    (re.compile(r"ogue(?=s?$)"), "og"),
    (re.compile(r"ll(?=(?:ed|ing|er|ers)$)"), "l"),
    (re.compile(r"(?<=[fn])ence$"), "ense"),
    (re.compile(r"[ao]e(?=\w{3})"), "e"),
    (re.compile(r"^grey"), "gray"),
    (re.compile(r"mme(?=s?$)"), "m"),
)
_DICTIONARIES = frozenset(("en", "de", "es", "fr", "it", "nl", "pt", "ru"))
_VIETNAMESE = re.compile("[ăđơưạ-ỹ]")
_LONG = 8
_NAME = 6
_SURE = 5
_LETTERS = frozenset("bcefghjklnopqruvwxyz")
"""Where one of these stands alone, "a" is a name too."""
_TIMES = frozenset(("today", "tomorrow", "yesterday", "now", "often", "sometimes", "always", "must", "should", "will"))
_REPEATED = 3
_PICTURES = re.compile(r"[☀-➿⬀-⯿\U0001f000-\U0001faff\ufe0f\u200d]+")
_ABOUT_PICTURES = frozenset(("mean", "means", "meaning", "emoji", "emojis", "emoticon", "symbol", "symbols", "icon"))
_PART = 3
"""Least words of a part that may stand at either end, where no preposition begins it."""
_MARGIN = 8
"""Words that are read before and after those that differ."""
_SCALE = 100
"""From which on a number word multiplies what stands before it."""
_LARGEST_GAP = 24
"""Words of a gap that are compared one with the other."""
_LEADING = re.compile(r"\A (?:[#*>_~|]+)(?= )")
_TRAILING = re.compile(r"(?: [#*>_~|]+)+ \Z")
_MOVED = frozenset(
    [
        "of",
        "in",
        "on",
        "at",
        "for",
        "within",
        "using",
        "with",
        "about",
        "regarding",
        "whether",
        "when",
        "by",
        "given",
        "as",
    ]
)
"""What a part begins with that may stand at either end."""


class Token(NamedTuple):
    """A word that says something, as it is compared."""

    key: str
    kind: Kind = "word"


@dataclass(frozen=True)
class Reading:
    """A prompt, ready to be compared."""

    words: Sequence[str]
    """Its words, those of ``clean.words``, without contractions."""
    language: str
    """ISO 639-1; "" where no list knows any of its words."""
    about_words: bool
    """Whether it is about words, so that small words and forms of words count."""
    about_spelling: bool
    """Whether a slip of the pen may be what is asked about."""


class _Rule(NamedTuple):
    """How two prompts are compared."""

    language: str
    lexicon: Lexicon
    strict: bool
    """Whether small words and forms of words count."""
    decorated: bool
    """Whether a picture may be there for decoration alone."""
    asks: bool
    """Whether one of them begins with "who"."""


def read_prompt(words: bytes) -> Reading:
    """A prompt, ready to be compared.

    Args:
        words: those of ``clean.words``, joined by blanks.
    """
    text = f" {words.decode('utf-8', 'replace')} "
    language = language_of(text.split())
    for short in LEXICONS.get(language, NOTHING).contractions:
        text = short.pattern.sub(short.instead, text)
    return Reading(text.split(), language, MENTIONS.search(text) is not None, SPELLINGS.search(text) is not None)


def difference(one: Reading, other: Reading) -> Difference:
    """What tells two prompts apart, the first thing that does; "" where they ask the same."""
    strict = one.about_words or other.about_words
    language = max(one, other, key=lambda reading: len(reading.words)).language or one.language or other.language
    lexicon = LEXICONS.get(language, NOTHING)
    if _is_repeated(one.words, other.words):
        return ""
    own = _own_words(one.words, other.words)
    if _is_unlike(*own, lexicon):
        return "word"
    slips = {} if one.about_spelling or other.about_spelling else _find_slips(*own, language)
    words = [[slips.get(word, word) for word in reading.words] if slips else reading.words for reading in (one, other)]
    whole = _read_parts(words[0], words[1], language, strict=strict)
    a, b = _trim(*whole, 0)[:2]
    if not a and not b:
        return ""
    rule = _Rule(
        language,
        lexicon,
        strict,
        decorated=_ABOUT_PICTURES.isdisjoint((*one.words, *other.words)),
        asks=any(tokens and tokens[0].key in ("who", "whom", "whose") for tokens in whole),
    )
    left, right = ([token.key for token in tokens] for tokens in whole)
    moved = Counter(left) == Counter(right)
    for tag, i, j, k, end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag != "equal" and (kind := _differs_in_gap(a[i:j], b[k:end], rule)):
            return kind if not moved else "" if _is_moved(left, right, lexicon.relations) else "order"
    return ""


def _own_words(one: Sequence[str], other: Sequence[str]) -> tuple[set[str], set[str]]:
    """The words that only one of two prompts holds where they differ."""
    a, b, *_ = _trim(one, other, 0)
    return set(a).difference(b), set(b).difference(a)


def _is_unlike(left: set[str], right: set[str], lexicon: Lexicon) -> bool:
    """Whether a word of one prompt is so unlike all words of the other's own that no rule can make them the same.

    It is here for speed: most pairs that are looked at differ in such a word.
    """
    for word, others in (*((word, right) for word in left), *((word, left) for word in right)):
        if word in lexicon.known or not word.isalpha():
            continue
        if not any(word[:2] == mate[:2] or word[-2:] == mate[-2:] or sorted(word) == sorted(mate) for mate in others):
            return True
    return False


def _find_slips(left: set[str], right: set[str], language: str) -> dict[str, str]:
    """Word that is a slip of the pen → the word of the other prompt that was meant."""
    found: dict[str, str] = {}
    for one in left:
        for other in right:
            if is_typo(one, other, language):
                found |= {one: other} if _is_word(other, language) else {other: one}
    return found


def _read_parts(
    one: Sequence[str], other: Sequence[str], language: str, *, strict: bool
) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
    """Two prompts without what does not count, from a little before the first word in which they differ to the last.

    Args:
        one: its words.
        other: its words.
        language: ISO 639-1.
        strict: whether frames go only where a prompt begins and ends, and of the free words only the articles.
    """
    a, b, start, end = _trim(one, other, _MARGIN)
    read = partial(_read_part, language=language, strict=strict, begins=start == 0, ends=end == 0)
    return read(" ".join(a)), read(" ".join(b))


@lru_cache(maxsize=32768)
def _read_part(words: str, *, language: str, strict: bool, begins: bool, ends: bool) -> tuple[Token, ...]:
    """A part of a prompt without what does not count; kept, because prompts of a family are compared often."""
    lexicon = LEXICONS.get(language, NOTHING)
    openings, closings = lexicon.openings if begins else (), lexicon.closings if ends else ()
    # At the end of a prompt that is about words stands the material: only thanks are certain to be none of it.
    text = _without_frames(f" {words} ", openings, closings[:1] if strict else closings)
    for phrase in () if strict else lexicon.frames:
        text = phrase.pattern.sub(phrase.instead, text)
    asked = _join_numbers(text.split(), lexicon)
    tokens = _read_tokens(asked, lexicon, lexicon.articles if strict else lexicon.free, begins=begins, strict=strict)
    # Where there is nothing but a frame, it is what is asked.
    return tuple(tokens if tokens or not (begins and ends) else map(Token, words.split()))


def _without_frames(text: str, openings: Phrases, closings: Phrases) -> str:
    """A text without the phrases that frame it, each as often as it stands there."""
    bare = text
    for phrases, at_start in ((openings, True), (closings, False)):
        while True:
            text = bare
            for phrase in phrases:
                hit = phrase.pattern.match(bare) if at_start else phrase.pattern.search(bare)
                if hit and hit.end() - hit.start() < len(bare) - 1:
                    bare = bare[hit.end() :] if at_start else f"{bare[: hit.start()]} "
            bare = _LEADING.sub("", bare) if at_start else _TRAILING.sub(" ", bare)
            if bare == text:
                break
    return bare


def _join_numbers(words: Sequence[str], lexicon: Lexicon) -> list[str]:
    """The words with numbers in one notation: "two thousand" as "2000", "one hundred and twenty five" as "125"."""
    found: list[str] = []
    total = part = Decimal(0)  # "two thousand | five hundred"
    reading = spelled_before = False
    every = [*_units_apart(words), ""]
    for place, word in enumerate(every):
        spelled = lexicon.numbers.get(word)
        if reading and spelled_before and word == "and" and part % 100 == 0 and every[place + 1] in lexicon.numbers:
            continue
        if reading and spelled is not None and spelled >= _SCALE and 0 < part < spelled:
            total, part = (total, part * spelled) if spelled == _SCALE else (total + part * spelled, Decimal(0))
        elif reading and spelled_before and spelled is not None and _fits(part, spelled):
            part += spelled
        else:
            if reading:
                found.append(_written(total + part))
            number = _value(word, lexicon) if spelled is None else Decimal(spelled)
            reading, total, part = number is not None, Decimal(0), number or Decimal(0)
            if number is None and word:
                found.append(word)
        spelled_before = spelled is not None
    return found


def _fits(part: Decimal, number: int) -> bool:
    """Whether a number word goes on with a number: "hundred | twenty", "twenty | five"."""
    return (part % 100 == 0 and 0 < number < _SCALE) or (0 < number < 10 and part % 100 in range(20, 100, 10))


def _units_apart(words: Sequence[str]) -> Iterator[str]:
    """The words with "5kg" as "5 kg" and "$ 5" as "5 $"."""
    held = ""
    for word in words:
        if word in _MONEY:
            held = word
            continue
        if (glued := _GLUED.fullmatch(word)) and glued[2] not in ("st", "nd", "rd", "th"):
            yield from glued.groups()
        else:
            yield word
        if held:
            yield held
            held = ""
    if held:
        yield held


def _value(word: str, lexicon: Lexicon) -> Decimal | None:
    """What a number in digits is worth; None where it is no plain number, as a date or a version."""
    if not _NUMBER.fullmatch(word):
        return None
    thousands, point = (".", ",") if lexicon.decimal_comma else (",", ".")
    if re.fullmatch(rf"-?\d{{1,3}}(?:\{thousands}\d{{3}})+(?:\{point}\d+)?", word):
        word = word.replace(thousands, "")
    elif thousands in word:
        return None
    return Decimal(word.replace(point, ".")) if word.count(point) < 2 else None


def _written(value: Decimal) -> str:
    return str(int(value)) if value == value.to_integral_value() else f"{value:f}".rstrip("0")


def _read_tokens(
    words: Sequence[str], lexicon: Lexicon, free: frozenset[str], *, begins: bool, strict: bool
) -> list[Token]:
    """The words that say something. A verb asks for something where a prompt begins with it."""
    tokens: list[Token] = []
    asking = begins
    letters = any(len(word) == 1 and word in _LETTERS for word in words)
    for word in words:
        if not word.strip("#*_") or (word in free and not (word == "a" and letters)):
            continue
        if word in lexicon.relations:
            tokens.append(Token(word, "relation"))
            continue
        if _NUMBER.fullmatch(word):
            tokens.append(Token(word, "number"))
        elif word in lexicon.negations:
            tokens.append(Token(word, "negation"))
        elif asking and word in lexicon.verbs:
            tokens.append(Token(word, "verb"))
        else:
            tokens.append(Token(word if strict else lexicon.same.get(word, word)))
        asking = False
    return tokens if strict else _sort_joined(tokens)


def _sort_joined(tokens: list[Token]) -> list[Token]:
    """The tokens with the two words that "and" joins in the order of the alphabet."""
    for place in range(1, len(tokens) - 1):
        one, joint, other = tokens[place - 1 : place + 2]
        if joint.key in ("and", "or") and one.kind == other.kind == "word" and other < one:
            tokens[place - 1], tokens[place + 1] = other, one
    return tokens


def _trim(a: Sequence[T], b: Sequence[T], margin: int) -> tuple[Sequence[T], Sequence[T], int, int]:
    """Without what both begin and end with, but for a margin; and how much that was on either side."""
    shorter = min(len(a), len(b))
    start = next((at for at in range(shorter) if a[at] != b[at]), shorter)
    shorter -= start
    end = next((at for at in range(shorter) if a[-1 - at] != b[-1 - at]), shorter)
    start, end = max(0, start - margin), max(0, end - margin)
    return a[start : len(a) - end], b[start : len(b) - end], start, end


def _differs_in_gap(a: Sequence[Token], b: Sequence[Token], rule: _Rule) -> Difference:
    """What counts in a place where two prompts differ."""
    if len(a) * len(b) > _LARGEST_GAP**2 or max(len(a), len(b)) > _LARGEST_GAP:
        return "word"
    if not rule.strict and a and b and _joined(a) == _joined(b):
        return ""
    left, right = _without_alike(a, b, rule)
    if rule.decorated and not (left and right):
        left, right = ([token for token in side if not _PICTURES.fullmatch(token.key)] for side in (left, right))
    both = (*left, *right)
    kinds = {token.kind for token in both}
    if "negation" in kinds:
        return "negation"
    numbers = {token.key for token in both if token.kind == "number"}
    if numbers and not (numbers == {"1"} and not (left and right)):
        return "number"
    lexicon = rule.lexicon
    lacking = frozenset[str]() if rule.strict else lexicon.droppable
    if any(
        token.kind == "word" or (token.kind == "verb" and lexicon.verbs[token.key] not in lacking) for token in both
    ):
        return "word"
    said = [[lexicon.relations[token.key] for token in side if token.kind == "relation"] for side in (left, right)]
    if rule.strict and any(kind not in ("place", "on") for kind, _ in (*said[0], *said[1])):
        return "relation"
    # "who" may be lacking, or be "that", but where it asks.
    if rule.asks and any(kind == "question" and meaning != "what" for kind, meaning in (*said[0], *said[1])):
        return "relation"
    if any(one[0] == other[0] and one[1] != other[1] for one in said[0] for other in said[1]):
        return "relation"
    return ""


def _joined(tokens: Sequence[Token]) -> str:
    """Words run together, where all are words: "note book"."""
    if any(token.kind != "word" or not token.key.isalpha() for token in tokens):
        return repr(tokens)
    return "".join(token.key for token in tokens)


def _without_alike(a: Sequence[Token], b: Sequence[Token], rule: _Rule) -> tuple[list[Token], list[Token]]:
    """What is left of a gap when the words that are alike, in order, are taken out (longest common subsequence)."""
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    same = [[_is_alike(x, y, rule) for y in b] for x in a]
    for i in reversed(range(len(a))):
        for j in reversed(range(len(b))):
            best[i][j] = best[i + 1][j + 1] + 1 if same[i][j] else max(best[i + 1][j], best[i][j + 1])
    left, right, i, j = [], [], 0, 0
    while i < len(a) and j < len(b):
        if same[i][j]:
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            left.append(a[i])
            i += 1
        else:
            right.append(b[j])
            j += 1
    return [*left, *a[i:]], [*right, *b[j:]]


def _is_alike(one: Token, other: Token, rule: _Rule) -> bool:
    if one == other:
        return True
    if one.kind == other.kind == "relation" and (not rule.strict or rule.lexicon.relations[one.key][0] == "place"):
        return rule.lexicon.relations[one.key] == rule.lexicon.relations[other.key]
    if one.kind == other.kind == "verb" and rule.lexicon.verbs[one.key] == rule.lexicon.verbs[other.key]:
        return True
    if one.kind != other.kind and "word" not in (one.kind, other.kind):
        return False
    return not rule.strict and _spelled(one.key, rule.language) == _spelled(other.key, rule.language)


@lru_cache(maxsize=65536)
def _spelled(word: str, language: str) -> str:
    """A word in the spelling that it is compared in."""
    if not _VIETNAMESE.search(word):
        marked = unicodedata.normalize("NFD", word)
        bare = "".join(char for char in marked if not unicodedata.combining(char))
        word = bare if bare.isascii() else word
    if language != "en":
        return word
    for british, american in _BRITISH:
        word = british.sub(american, word)
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]
        word = word[:-1] if word.endswith(("sse", "she", "che", "xe")) else word
    return word


@lru_cache(maxsize=65536)
def is_typo(one: str, other: str, language: str) -> bool:
    """Whether one of two words is a slip of the pen for the other: near to it, and the only one that is no word.

    Source of the words: the dictionaries of pyspellchecker, made of subtitles (https://pypi.org/project/pyspellchecker).
    """
    size = min(len(one), len(other))
    if size == 3 and sorted(one) == sorted(other) and language == "en":
        return _is_word(one, language) != _is_word(other, language)
    if size < 4 or language not in _DICTIONARIES or not (one.isalpha() and other.isalpha()):
        return False
    if abs(len(one) - len(other)) > 2 or edits(one, other) > (2 if size >= _LONG else 1):
        return False
    if len(one) == len(other) and sorted(one) != sorted(other) and (size < _SURE or one[-1] != other[-1]):
        return False  # another letter in the place of one: "scala" and "scale"
    if one[0] != other[0] and sorted(one) != sorted(other):
        return False
    known = _is_word(one, language) + _is_word(other, language)
    return known == 1 or (known == 0 and size >= _NAME and sorted(one) == sorted(other))


def _is_word(word: str, language: str) -> bool:
    words = _dictionary(language)
    return word in words or (language == "en" and _spelled(word, language) in words)


@cache
def _dictionary(language: str) -> frozenset[str]:
    from spellchecker import SpellChecker  # its dictionaries take a quarter of a second

    return frozenset(SpellChecker(language=language).word_frequency.dictionary)


def _is_repeated(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether one prompt is the other with a part said twice."""
    a, b, start, _ = _trim(one, other, 0)
    part, whole, text = (a, one, other) if len(a) > len(b) else (b, other, one)
    size = len(part)
    if (a and b) or size < _REPEATED:
        return False
    beside = (whole[start - size : start], whole[start + size : start + 2 * size])
    return list(part) in map(list, beside) or any(text[at : at + size] == part for at in range(len(text) - size + 1))


def _is_moved(a: Sequence[str], b: Sequence[str], relations: Mapping[str, tuple[str, str]]) -> bool:
    """Whether one is the other with a part moved: a long one to the other end, or two that begin with prepositions.

    What is less than a part: an adverb, as in "explain briefly".
    """
    a, b = ([word for word in side if not (word.endswith("ly") or word in _TIMES)] for side in (a, b))
    a, b, *_ = _trim(a, b, 0)
    if not a:
        return True
    for whole, turned in ((a, b), (b, a)):
        twice = [*whole, *whole]
        for cut in range(1, len(whole)):
            if list(turned) != twice[cut : cut + len(whole)]:
                continue
            first, second = _opens(whole[0], relations), _opens(whole[cut], relations)
            if (first and (second or cut > 1)) or _PART <= cut <= len(whole) - _PART:
                return True
    return False


def _opens(word: str, relations: Mapping[str, tuple[str, str]]) -> bool:
    """Whether a part that begins with this word may stand here or there."""
    return word in _MOVED or relations.get(word, ("", ""))[0] == "place"

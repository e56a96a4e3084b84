"""Filters for answers in chats: what an assistant said that a model should not be taught. Heuristics of our own.

| slug | an answer |
|---|---|
| empty-answer | without a letter, a digit or a symbol of any kind |
| denies-feelings | in which the assistant says of itself that it has no feelings, opinions or experiences |
| truncated | that stops in the middle of a sentence, of code or of a list |
| other-language | in another language than the one that is wanted |

Each finding carries the words that it rests on. The second kind is explained in ``data.denials``.

Owns what each filter finds in one answer. Which answers of a record are looked at, and what then becomes of the record,
is owned by ``data.clean``.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

from notus.core.errors import ConfigError, nearest
from notus.data.denials import denies_feelings, without_quotes
from notus.data.words import FUNCTION_WORDS

__all__ = ["FILTERS", "LANGUAGES", "empty", "other_language", "truncated"]

_LINK = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\w+")
_SENTENCE = re.compile(r"[.!?…]['\"”’)\]*]*(?:\s|$)")
_BULLET = re.compile(r"\s*(?:[-*•+–]|\d{1,3}[.):]|[a-zA-Z][.)]|#{1,6})\s")
_OPEN_ENDS = (
    " the a an and or but than into between because if when while their its his her our your my these those very of "
)
_LONG = 400
"""Characters from which on an answer can have met a limit of its length."""
_LEAST_SENTENCE = 5

_SCRIPTS = {"LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "HANGUL", "THAI"}
_SCRIPT_OF = {"ru": "CYRILLIC", "uk": "CYRILLIC", "el": "GREEK", "ar": "ARABIC", "he": "HEBREW", "hi": "DEVANAGARI"}
_SCRIPT_OF |= {"ko": "HANGUL", "zh": "CJK", "ja": "CJK", "th": "THAI"} | dict.fromkeys(FUNCTION_WORDS, "LATIN")
LANGUAGES = tuple(sorted(_SCRIPT_OF))
"""Languages that can be wanted, by ISO 639-1. Those of one script are told apart only in Latin script."""
_EAST_ASIAN = {"HIRAGANA", "KATAKANA", "CJK"}
_SCRIPTS |= _EAST_ASIAN
_STOP = {language: frozenset(words.split()) for language, words in FUNCTION_WORDS.items()}
_LEAST_LETTERS = 20
_LEAST_WORDS = 12


def empty(text: str) -> str | None:
    """The finding of ``empty-answer``: what there is instead of an answer."""
    if any(unicodedata.category(character)[0] in "LNS" for character in text):
        return None
    return f"only {text.strip()[:20]!r}" if text.strip() else "nothing but white space" if text else "no text"


def truncated(text: str) -> str | None:
    """The finding of ``truncated``: how the text ends.

    A block of code that is not closed; a comma, a hyphen, or a last word that asks for another ("the", "and",
    "because"); or, in an answer of 400 characters or more with at least two sentences that end as sentences do, a last
    one of five words or more that does not. Headings, entries of lists and tables, code, links and short answers may
    end as they like.
    """
    shown = text.rstrip()
    if not shown:
        return None
    if sum(line.lstrip().startswith("```") for line in shown.split("\n")) % 2:
        return "a block of code is not closed"
    last = shown.rsplit("\n", 1)[-1].strip()
    word = last.split()[-1]
    if not last.rstrip(",-–—")[-1:].isalnum() or word.startswith("#") or _LINK.search(word) or _is_code(last):
        return None
    end = f"it ends in {last[-60:]!r}"
    if last[-1] in ",–—-" or (re.search(r"\w \S+$", last) and f" {word} " in _OPEN_ENDS):
        return end
    tail = _SENTENCE.split(last)[-1].split()
    runs_on = len(shown) >= _LONG and len(_SENTENCE.findall(shown)) >= 2 and len(tail) >= _LEAST_SENTENCE
    return end if runs_on and not _BULLET.match(last) and not last.startswith("|") else None


def other_language(text: str, wanted: str = "en") -> str | None:
    """The finding of ``other-language``: the script or the language that was found instead.

    Code, quotes and links aside: with twenty letters or more, more than half of them must be of the wanted script; in
    Latin script with twelve words or more, no other language may have twice as many of its function words there as the
    wanted one has, at least three of them, and 15 % of all words.

    Raises:
        ConfigError: if the wanted language is unknown.
    """
    if wanted not in _SCRIPT_OF:
        raise ConfigError(f"there is no language '{wanted}'; {nearest(wanted, _SCRIPT_OF)}")
    if wanted in _STOP and text.isascii() and len(text) < _LEAST_LETTERS:
        return None
    own = _LINK.sub(" ", without_quotes(text))
    script = _SCRIPT_OF[wanted]
    if not own.isascii():
        scripts = Counter(_script(character) for character in own if character.isalpha())
        total = sum(scripts.values())
        same = sum(scripts[name] for name in (_EAST_ASIAN if script == "CJK" else {script}))
        if total >= _LEAST_LETTERS and 2 * same <= total:
            name, count = scripts.most_common(1)[0]
            return f"{count / total:.0%} of its letters are {name.capitalize()}"
    elif script != "LATIN" and sum(map(str.isalpha, own)) >= _LEAST_LETTERS:
        return "all of its letters are Latin"
    return _by_words(own, wanted) if wanted in _STOP else None


def _by_words(text: str, wanted: str) -> str | None:
    words = re.findall(r"[^\W\d_]+", text.casefold())
    if len(words) < _LEAST_WORDS:
        return None
    counts = {language: sum(word in known for word in words) for language, known in _STOP.items()}
    best = max(counts, key=lambda language: (counts[language], language == wanted))
    if best == wanted or counts[best] < max(3, 0.15 * len(words)) or counts[best] < 2 * counts[wanted]:
        return None
    return f"of {len(words)} words {counts[best]} are function words of '{best}', {counts[wanted]} of '{wanted}'"


def _script(character: str) -> str:
    if character < "\u0250":
        return "LATIN"
    name = unicodedata.name(character, "?").partition(" ")[0]
    return name if name in _SCRIPTS else "OTHER"


def _is_code(line: str) -> bool:
    return (
        re.search(r"[{}=<>\\$]|\w\(|\w\[|::|->|^\s*(?:import|return|def|class|for|if|else|end)\b[^ ]*$", line)
        is not None
    )


FILTERS: dict[str, Callable[[str], str | None]] = {
    "empty-answer": empty,
    "denies-feelings": denies_feelings,
    "truncated": truncated,
    "other-language": other_language,
}
"""Slug → what finds it in an answer: the words that it rests on, or None. In this order they are asked."""

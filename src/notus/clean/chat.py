"""Filters for answers in chats: what an assistant said that a model should not be taught. Heuristics of our own.

| slug | an answer |
|---|---|
| empty-answer | in which nothing can be seen, as the audit means it (``preferences.faults``) |
| wordless-answer | without a letter, a digit or a symbol of any kind, as "…" |
| denies-feelings | in which the assistant says of itself that it has no feelings, opinions or experiences |
| truncated | that stops in the middle of a sentence, of code or of a list |
| other-language | in another language than is asked for |

Each finding carries the words that it rests on. Of ``denies-feelings`` this is known: UltraChat 200k was made by
dropping such dialogues, by code that was never published
(https://huggingface.co/datasets/HuggingFaceH4/ultrachat_200k). What counts is a statement in the first person and the
present that the assistant has, feels, holds or forms none of them. "As an AI" alone does not count, nor does a
statement about machines, a condition, reported speech, or what stands in quotes or code.

Owns what each filter finds in one answer. Which answers of a record are looked at, and what then becomes of the record,
is owned by ``clean.clean``.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

from notus.clean.words import FUNCTION_WORDS
from notus.core.errors import ConfigError, nearest
from notus.preferences.faults import has_text

__all__ = [
    "ENGLISH_ONLY",
    "FILTERS",
    "LANGUAGES",
    "denies_feelings",
    "empty",
    "other_language",
    "truncated",
    "without_quotes",
    "wordless",
]

_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`", re.DOTALL)
_QUOTED = re.compile(r'"[^"\n]{0,400}"|“[^”]{0,400}”|«[^»]{0,400}»|^[ \t]*>.*$', re.MULTILINE)

_MACHINE = (
    r"(?:AI|A\.I\.|artificial intelligence|(?:large )?language model|machine|computer program|software program|"
    r"program|chatbot|bot|robot|virtual assistant|digital assistant|computer)\b"
)
_OWN = r"(?:personal|own|real|actual|true|genuine|human|physical|subjective|individual|any|such|inner|conscious|direct)"
_WHAT = (
    r"(?:feelings?|emotions?|emotional (?:states?|experiences?|responses?|reactions?)|opinions?|beliefs?|viewpoints?|"
    r"preferences?|experiences|(?<=personal )experience|"
    r"consciousness|sensations?|desires?|tastes?|biases|memories|childhood|senses)"
)
_BESIDE = r"(?:thoughts?|ideas?|views?|needs?|values|interests|(?:physical )?bod(?:y|ies)|likes|dislikes)"
_THINGS = (
    rf"(?:(?:an?|the|my|{_OWN}),? (?:or |and )?)*(?:(?:{_BESIDE}|{_WHAT})(?:,| or| and|, or|, and) "
    rf"(?:{_OWN},? )*)*{_WHAT}\b"
)
_ADVERB = r"(?:(?:actually|really|personally|truly|currently|genuinely|even|simply|just) )?"
_NOT = r"(?:do not|don['’]?t|cannot|can['’]t|can not|never)"
_UNABLE = r"(?:am (?:not able|unable) to|am not programmed to|lack the (?:ability|capacity) to)"
_HAVE = r"(?:have|possess|hold|form|feel|experience|develop)"
# "I have no feelings for him" is a story; so is what lies in the past or was lost.
_STORY = r"(?! (?:for|towards?) (?:him|her|you|them|me|each|my)\b)(?! (?:left|any ?more)\b)"

_PATTERNS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\bI {_ADVERB}(?:{_NOT}|{_UNABLE}) {_ADVERB}{_HAVE} {_THINGS}{_STORY}",
        rf"\bI {_ADVERB}(?:have|possess|hold) (?:no|neither) {_THINGS}{_STORY}",
        rf"\bI (?:{_ADVERB}lack|am devoid of|am not programmed with|(?:am not capable|am incapable) of(?: \w+ing)?) "
        rf"{_THINGS}{_STORY}",
        rf"\bI(?:['’]m| am) (?:just |only |merely |simply )?(?:an? )?{_MACHINE}[^.!?\n]{{0,60}}\b"
        rf"(?:without|and (?:{_NOT}) {_HAVE}|(?:that|which|who) (?:does not|doesn['’]t|cannot) {_HAVE}) {_THINGS}",
        rf"\bas an? {_MACHINE}[^.!?\n]{{0,80}}\bI (?:{_NOT}|{_UNABLE}) {_ADVERB}(?:feel\b(?! free)|fall in love|"
        rf"have (?:a (?:physical )?body|senses|likes|dislikes|favou?rites?|a favou?rite|personal \w+)|take sides|"
        rf"experience (?:the world|life|things|love|pain|joy|time|happiness|sadness))",
    )
]
_UNSAID = re.compile(
    r"\b(?:if|when|whether|unless|as though|pretend|pretending|imagine|suppose|say|(?:s?he|they) (?:said|says))"
    r"(?: that)?,?\s*$",
    re.IGNORECASE,
)


def denies_feelings(text: str) -> str | None:
    """The words in which the assistant denies that it has feelings, opinions or experiences; None without any."""
    if "I" not in text:
        return None
    own = without_quotes(text)
    for pattern in _PATTERNS:
        for found in pattern.finditer(own):
            if not _UNSAID.search(own[max(0, found.start() - 24) : found.start()]):
                return " ".join(found.group().split())
    return None


def without_quotes(text: str) -> str:
    """A text without what stands in quotes and in code."""
    return _QUOTED.sub(" ", _CODE.sub(" ", text))


_LINK = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\w+")
_SENTENCE = re.compile(r"[.!?…]['\"”’)\]*]*(?:\s|$)")
_BULLET = re.compile(r"\s*(?:[-*•+–]|\d{1,3}[.):]|[a-zA-Z][.)]|#{1,6})\s")
_OPEN_ENDS = (
    " the a an and or but than into between because if when while their its his her our your my these those very of "
)
_MASK = re.compile(r"<[A-Z]+_\d+>")
"""What ``clean.private`` puts in the place of an address or a number: a word, and no code."""
_LONG = 400
"""Characters from which on an answer can have met a limit of its length."""
_LEAST_SENTENCE = 5

_SCRIPTS = {"LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "HANGUL", "THAI"}
_SCRIPT_OF = {"ru": "CYRILLIC", "uk": "CYRILLIC", "el": "GREEK", "ar": "ARABIC", "he": "HEBREW", "hi": "DEVANAGARI"}
_SCRIPT_OF |= {"ko": "HANGUL", "zh": "CJK", "ja": "CJK", "th": "THAI"} | dict.fromkeys(FUNCTION_WORDS, "LATIN")
LANGUAGES = tuple(sorted(_SCRIPT_OF))
"""Languages that can be asked for, by ISO 639-1. Those of one script are told apart only in Latin script."""
_EAST_ASIAN = {"HIRAGANA", "KATAKANA", "CJK"}
_SCRIPTS |= _EAST_ASIAN
_STOP = {language: frozenset(words.split()) for language, words in FUNCTION_WORDS.items()}
_LEAST_LETTERS = 20
_LEAST_WORDS = 12


def empty(text: str) -> str | None:
    """The finding of ``empty-answer``: that nothing can be seen."""
    if has_text(text):
        return None
    return "nothing that can be seen" if text else "no text"


def wordless(text: str) -> str | None:
    """The finding of ``wordless-answer``: what there is instead of an answer."""
    if any(unicodedata.category(character)[0] in "LNS" for character in text):
        return None
    return f"only {text.strip()[:20]!r}"


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
    said = shown.rsplit("\n", 1)[-1].strip()
    last = _MASK.sub("x", said)
    word = last.split()[-1]
    if not last.rstrip(",-–—")[-1:].isalnum() or word.startswith("#") or _LINK.search(word) or _is_code(last):
        return None
    end = f"it ends in {said[-60:]!r}"
    if last[-1] in ",–—-" or (re.search(r"\w \S+$", last) and f" {word} " in _OPEN_ENDS):
        return end
    tail = _SENTENCE.split(last)[-1].split()
    runs_on = len(shown) >= _LONG and len(_SENTENCE.findall(shown)) >= 2 and len(tail) >= _LEAST_SENTENCE
    return end if runs_on and not _BULLET.match(last) and not last.startswith("|") else None


def other_language(text: str, language: str = "en") -> str | None:
    """The finding of ``other-language``: the script or the language that was found instead.

    Code, quotes and links aside: with twenty letters or more, more than half of them must be of its script; in
    Latin script with twelve words or more, no other language may have twice as many of its function words there as the
    language asked for has, at least three of them, and 15 % of all words.

    Raises:
        ConfigError: if the language is unknown.
    """
    if language not in _SCRIPT_OF:
        raise ConfigError(f"there is no language '{language}'; {nearest(language, _SCRIPT_OF)}")
    if language in _STOP and text.isascii() and len(text) < _LEAST_LETTERS:
        return None
    own = _LINK.sub(" ", without_quotes(text))
    script = _SCRIPT_OF[language]
    if not own.isascii():
        scripts = Counter(_script(character) for character in own if character.isalpha())
        total = sum(scripts.values())
        same = sum(scripts[name] for name in (_EAST_ASIAN if script == "CJK" else {script}))
        if total >= _LEAST_LETTERS and 2 * same <= total:
            name, count = scripts.most_common(1)[0]
            return f"{count / total:.0%} of its letters are {name.capitalize()}"
    elif script != "LATIN" and sum(map(str.isalpha, own)) >= _LEAST_LETTERS:
        return "all of its letters are Latin"
    return _by_words(own, language) if language in _STOP else None


def _by_words(text: str, language: str) -> str | None:
    words = re.findall(r"[^\W\d_]+", text.casefold())
    if len(words) < _LEAST_WORDS:
        return None
    counts = {name: sum(word in known for word in words) for name, known in _STOP.items()}
    best = max(counts, key=lambda name: (counts[name], name == language))
    if best == language or counts[best] < max(3, 0.15 * len(words)) or counts[best] < 2 * counts[language]:
        return None
    return f"of {len(words)} words {counts[best]} are function words of '{best}', {counts[language]} of '{language}'"


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
    "wordless-answer": wordless,
    "denies-feelings": denies_feelings,
    "truncated": truncated,
    "other-language": other_language,
}
"""Slug → what finds it in an answer: the words that it rests on, or None. In this order they are asked."""
ENGLISH_ONLY = frozenset({"denies-feelings", "truncated"})
"""Filters that rest on English words."""

"""Where an assistant says of itself that it has no feelings, opinions or experiences: patterns of our own.

UltraChat 200k was made by dropping such dialogues; the code was never published
(https://huggingface.co/datasets/HuggingFaceH4/ultrachat_200k). What counts is a statement in the first person and the
present that it has, feels, holds or forms none of them. "As an AI" alone does not count, nor does a statement about
machines, a condition, reported speech, or what stands in quotes or code.

Owns the patterns. What becomes of an answer is owned by ``data.clean``.
"""

import re

__all__ = ["denies_feelings", "without_quotes"]

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

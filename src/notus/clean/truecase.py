"""Truecasing: capitals where English wants them, as an edit that keeps what stood before. A heuristic of our own.

About one dialogue in twenty of UltraChat has faults such as "Hello. how are you?"; UltraChat 200k was truecased, by
code that was never published (https://huggingface.co/datasets/HuggingFaceH4/ultrachat_200k). Here

1. the first letter of a turn becomes a capital, and that of a sentence after ``.``, ``!`` or ``?`` and a space, but not
   after an abbreviation or an ellipsis;
2. the pronoun "i" becomes "I" beside the verbs and adverbs that mostly stand there, in "i'm" and its like too;
3. a word becomes capital inside a sentence if the set itself writes it so: at least five times, and in at least nine
   of ten of the places inside sentences in which it stands between small words.

A turn of fewer than four words, which may be a label, keeps its first letter; "i" stays where it is a variable.
Code, links, paths, quotes, quoted lines and words with a digit or a capital inside ("iPhone") stay as they are; so does
a line that looks like code. Owns the rules and the counting of forms. Which turns are edited: see ``clean.clean``.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["Forms", "truecase"]

_PROTECTED = re.compile(
    r"(?s:```.*?(?:```|\Z))|(?s:~~~.*?(?:~~~|\Z))|`[^`\n]*`"  # code
    r"|\b(?:https?://|www\.)\S+|\S+@\S+|\S*[/_]\S*|\b\w+\.\w[\w.]*"  # links, paths, names of files
    r"|\"[^\"\n]*\"|“[^”]*”|«[^»]*»|(?<!\w)['‘][^'’\n]*['’](?!\w)|^[ \t]*>.*$"  # quotes
    r"|^(?: {4}|\t).*$|^.*(?:[{}=<>\\]|;[ \t]*$|\w\(|::|->).*$|^[ \t]*[$#].*$",  # lines of code, headings
    re.MULTILINE,
)
_LOWER = "a-zà-öø-ÿ"
_START = re.compile(rf"(?:\A\s*|(?P<end>[.!?])[ \t]+)(?P<word>[{_LOWER}]\w*)")
_AFTER_I = (
    "am was have had do did can could will would should shall may might must want need think know like love feel "
    "get got see saw say said mean guess hope just also really never always still don don't dont didn't can't "
    "won't couldn't wouldn't use used made make tried try found find believe understand work live go went use be "
    "been already only currently wanna gotta wonder wanted needed thought knew felt told heard read wrote bought"
)
_BEFORE_I = ("can", "could", "should", "would", "will", "may", "shall", "must", "do", "did", "am", "if", "because")
_PRONOUN = re.compile(
    "(?:" + "|".join(rf"(?<=\b{word} )" for word in _BEFORE_I) + r")i(?=\s)|"
    r"(?<![\w.'’/-])i(?=['’](?:m|d|ll|ve)\b|\s+(?:" + "|".join(_AFTER_I.split()) + r")\b)",
    re.IGNORECASE,
)
_VARIABLE = re.compile(
    r"\bi\s*(?:,|and)\s*[ijknm]\b|\[i\]|\bi\s*[=<>+*^]|\b(?:integers?|index|inputs?|variable|element) i\b"
)
_INSIDE = re.compile(r"(?<=[a-zß-öø-ÿ,;] )[^\W\d_]+(?![\w'’-])")
_BETWEEN = re.compile(r"\b(?=[a-zß-öø-ÿ]+[,;]? ([^\W\d_]+)(?![\w'’-])(?! [A-ZÀ-Þ]))")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|mr|mrs|ms|dr|prof|st|no|nos|fig|approx|inc|ltd|al|ca|pp|vol|ed|eds|ex|dept|est|[a-z]))$",
    re.IGNORECASE,
)
_LEAST = 5
_FEW = 4
_SHARE = 0.9


@dataclass
class Forms:
    """How often each word stands inside a sentence, as it is written."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, text: str) -> None:
        """Count the words of one text that stand after a small word and before no capital, outside code and quotes."""
        self.counts.update(_BETWEEN.findall(_PROTECTED.sub(" ", text)))

    @classmethod
    def concat(cls, parts: Iterable["Forms"]) -> "Forms":
        """The counts of several shards."""
        total = cls()
        for part in parts:
            total.counts.update(part.counts)
        return total

    def names(self) -> dict[str, str]:
        """Small form → capital form, of the words that the set writes with a capital inside sentences."""
        found = {}
        for word, count in self.counts.items():
            small = word.lower()
            often = count >= _LEAST and count >= _SHARE * (count + self.counts[small])
            if often and word.istitle() and len(word) > 1:
                found[small] = word
        return found


def truecase(text: str, names: Mapping[str, str]) -> str:
    """The text with the capitals that it lacks; the text itself where it lacks none.

    Args:
        text: one turn.
        names: of ``Forms.names``.
    """
    edits = _find_edits(text, names)
    if not edits:
        return text
    for found in _PROTECTED.finditer(text):
        edits = {at: letter for at, letter in edits.items() if not found.start() <= at < found.end()}
    pieces, last = [], 0
    for at in sorted(edits):
        pieces += [text[last:at], edits[at]]
        last = at + 1
    return "".join(pieces) + text[last:]


def _find_edits(text: str, names: Mapping[str, str]) -> dict[int, str]:
    """Place → capital letter, protected or not."""
    variable = _VARIABLE.search(text) is not None
    edits = {} if variable else {found.start(): "I" for found in _PRONOUN.finditer(text) if found.group() == "i"}
    few = len(text.split(None, _FEW)) < _FEW
    for found in _START.finditer(text):
        at, end = found.span("word")
        starts = (found["end"] or not few) and not (variable and found["word"] == "i")
        if starts and _is_plain(text, at, end) and not _goes_on(text, found):
            edits[at] = text[at].upper()
    for found in _INSIDE.finditer(text) if names else ():
        if (name := names.get(found.group())) is not None:
            edits[found.start()] = name[0]
    return edits


def _is_plain(text: str, start: int, end: int) -> bool:
    """Whether a word is of small letters alone, and not part of something longer, such as a name with a dot in it."""
    word = text[start:end]
    glued = text[end : end + 2]
    return word.isalpha() and word.islower() and not (glued[:1] in ".-_/@" and glued[1:].isalnum())


def _goes_on(text: str, found: re.Match[str]) -> bool:
    """Whether the stop before a word ends no sentence: an abbreviation, an ellipsis, the number of a list, a name."""
    if found["word"] in ("and", "or"):
        return found["end"] is not None
    if found["end"] != ".":
        return False
    before = text[max(0, found.start("end") - 12) : found.start("end")]
    return before.endswith((".", " ")) or before[-1:].isdigit() or _ABBREVIATION.search(before) is not None

"""IFBench's ``format``: what an answer looks like."""

import builtins
import re
import string
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import TypeAlias

from notus.checks.ifbench.text import PUNCTUATION, bare, sentences, without
from notus.checks.sentences import words as tokens
from notus.checks.settings import text
from notus.core.errors import require

__all__ = [
    "emoji",
    "line_indent",
    "list",
    "newline",
    "no_bullets_bullets",
    "no_whitespace",
    "options",
    "output_template",
    "parentheses",
    "quote_unquote",
    "quotes",
    "sub_bullets",
    "thesis",
    "title_case",
]

_LABELS = ("My Answer:", "My Conclusion:", "Future Outlook:")
_CLOSING = {")": "(", "]": "[", "}": "{"}
_DEEP, _QUOTED = 5, 3
"""Levels that are wanted of brackets, and of quotation marks."""
_LEAST = 2
"""Items of a list, sentences before bullets, bullets."""
_ITALICS = ("<i>", "<em>")
_LETTERS = re.compile(r"\W*a\W*b\W*c\W*", re.IGNORECASE)
_Stack: TypeAlias = "builtins.list[str]"


def emoji(answer: str) -> bool:
    """Whether each sentence ends with an emoji, or the next one begins with it: it may stand behind the full stop.

    Raises:
        MissingExtraError: without the library ``emoji``, which knows Unicode's list.
    """
    found = [without(sentence).strip() for sentence in sentences(answer)]
    if not found or not all(found):
        return False
    is_emoji = _is_emoji()
    # An emoji may be followed by a selector of how it looks, so that the last character but one counts as well.
    ends = [any(map(is_emoji, each[-2:])) for each in found]
    starts = [is_emoji(each[0]) for each in found[1:]] + [False]
    return all(end or start for end, start in zip(ends, starts, strict=True))


def line_indent(answer: str) -> bool:
    """Whether each line begins with more spaces than the one before it; single blank lines do not count.

    Of blank lines in a row only every second one is passed over, as IFBench does it: its figures are those.
    """
    lines = answer.split("\n")
    passed: Counter[str] = Counter()
    place = 0
    while place < len(lines):
        blank = not lines[place].strip()
        passed[lines[place]] += blank
        place += 2 if blank else 1
    indents = []
    for line in lines:
        # The first so many blank lines of a length go, whichever of them were looked at.
        if passed[line] > 0:
            passed[line] -= 1
        else:
            indents.append(len(line) - len(line.lstrip(" ")))
    return all(before < after for before, after in pairwise(indents))


def list(answer: str, *, sep: str) -> bool:  # noqa: A001
    """Whether the mark of an item that the prompt names is in it at least twice."""
    return answer.count(text("sep", sep)) >= _LEAST


def newline(answer: str) -> bool:
    """Whether it has as many lines as words, once punctuation is gone."""
    plain = without(answer).strip()
    return sum(line != "" for line in plain.split("\n")) == len(plain.split())


def no_bullets_bullets(answer: str) -> bool:
    """Whether it has at least two sentences, then at least two lines that begin with ``*``, and nothing after them."""
    lines = answer.split("\n")
    first = next((place for place, line in enumerate(lines) if line.strip().startswith("*")), len(lines))
    bullets = lines[first:]
    written = sum(len(sentences(line.strip())) for line in lines[:first])
    return written >= _LEAST and len(bullets) >= _LEAST and all(line.strip().startswith("*") for line in bullets)


def no_whitespace(answer: str) -> bool:
    """Whether it has no white space at all."""
    return not any(letter.isspace() for letter in answer)


def options(answer: str, *, options: str) -> bool:
    """Whether it is one of the options, which ``/``, "or" or commas divide.

    Case and outer punctuation do not count; of options that are letters, ``a), b), c)``, one is given as it stands.
    """
    parts = _options(text("options", options))
    if _LETTERS.match(options):
        return answer in parts
    return bare(answer).lower() in {bare(part).lower() for part in parts}


def output_template(answer: str) -> bool:
    """Whether it has the three labels of the template."""
    return all(label in answer for label in _LABELS)


def parentheses(answer: str) -> bool:
    """Whether a bracket that lies five deep in others is closed; one that closes another kind begins anew."""
    opened: _Stack = []
    for letter in answer:
        if letter in "([{":
            opened.append(letter)
        elif letter in _CLOSING:
            if opened[-1:] != [_CLOSING[letter]]:
                opened.clear()
            elif len(opened) >= _DEEP:
                return True
            else:
                opened.pop()
    return False


def quote_unquote(answer: str) -> bool:
    """Whether no quotation follows another at once, and none ends it: something unquoted stands after each."""
    plain = "".join(answer.replace("“", '"').replace("”", '"').replace("'\"'", "").split())
    ending = plain.rstrip(string.digits + PUNCTUATION.replace('"', ""))
    return '""' not in plain and not ending.endswith('"')


def quotes(answer: str) -> bool:
    """Whether quotations in double and single marks lie three deep in each other, and are closed again.

    An apostrophe is a single mark like any other.
    """
    opened: _Stack = []
    deepest = 0
    for letter in answer:
        if opened[-1:] == [letter]:
            opened.pop()
            if deepest - len(opened) >= _QUOTED:
                return True
        elif letter in "\"'":
            opened.append(letter)
            deepest = max(deepest, len(opened))
    return False


def sub_bullets(answer: str) -> bool:
    """Whether a ``-`` follows each ``*`` before the next one; without any ``*`` there is none that lacks it."""
    return all("-" in bullet for bullet in answer.split("*")[1:])


def thesis(answer: str) -> bool:
    """Whether something in HTML's italics, ``<i>`` or ``<em>``, has something after it."""
    for opening in _ITALICS:
        if opening in answer:
            rest = answer.partition(opening)[2]
            closing = next((tag for tag in ("</i>", "</em>") if tag in rest), None)
            inside, _, after = rest.partition(closing) if closing else ("", "", "")
            return bool(inside.strip() and after.strip())
    return False


def title_case(answer: str) -> bool:
    """Whether no word or mark begins with a small letter, and goes on in small letters."""
    return not any(word[0].islower() and word[1:].islower() for word in tokens(answer))


@cache
def _is_emoji() -> Callable[[str], bool]:
    found: Callable[[str], bool] = require("emoji", extra="checks").is_emoji
    return found


def _options(given: str) -> _Stack:
    mark = next((mark for mark in ("/", "or") if mark in given), ",")
    return [part.strip() for part in given.split(mark)]

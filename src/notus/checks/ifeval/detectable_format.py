"""IFEval's kinds on the form of an answer."""

import json
import re

from notus.checks.settings import refuse_repeats, text, whole
from notus.core.errors import DataError

__all__ = [
    "constrained_response",
    "json_format",
    "multiple_sections",
    "number_bullet_lists",
    "number_highlighted_sections",
    "title",
]

_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_FENCES = ("```json", "```Json", "```JSON", "```")
_SOLID = re.compile(r"\S")
_ITALIC = re.compile(r"\*[^\n*]*\*")
_BOLD = re.compile(r"\*\*[^\n*]*\*\*")


def constrained_response(answer: str) -> bool:
    """Whether the answer holds one of the three sentences that it may choose from, as it is written."""
    return any(option in answer for option in _OPTIONS)


def json_format(answer: str) -> bool:
    """Whether the whole answer is JSON, also between Markdown's fences. What is nested too deeply to be read is not."""
    body = answer.strip()
    for fence in _FENCES:
        body = body.removeprefix(fence)
    try:
        json.loads(body.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def multiple_sections(answer: str, *, section_spliter: str, num_sections: int) -> bool:
    """Whether at least so many sections begin with a word, a regular expression, and a number: ``Section 1``.

    Raises:
        DataError: if it is none.
    """
    word = text("section_spliter", section_spliter).strip()
    refuse_repeats("section_spliter", word)
    try:
        begins = re.compile(rf"\s?{word}\s?\d+\s?")
    except re.error as error:
        raise DataError(
            f"the setting section_spliter of a check is {word!r:.60}, no regular expression ({error})"
        ) from None
    return len(begins.split(answer)) - 1 >= whole("num_sections", num_sections)


def number_bullet_lists(answer: str, *, num_bullets: int) -> bool:
    """Whether there are exactly so many bullet points: lines that begin with one ``*`` and more, or with ``-``.

    A line of dashes counts as well, and so does one that begins in italics.
    """
    return _count_points(answer, "*") + _count_points(answer, "-") == whole("num_bullets", num_bullets)


def number_highlighted_sections(answer: str, *, num_highlights: int) -> bool:
    """Whether there are at least so many highlights between asterisks, none over a line break; bold counts too."""
    found = sum(bool(each.strip("*").strip()) for each in _ITALIC.findall(answer))
    found += sum(bool(each[2:-2].strip()) for each in _BOLD.findall(answer))
    return found >= whole("num_highlights", num_highlights)


def title(answer: str) -> bool:
    """Whether there is a title in double angular brackets on one line, ``<<poem of joy>>``."""
    for line in answer.split("\n"):
        begins, ends = line.find("<<"), line.rfind(">>")
        if 0 <= begins < ends - 2 and line[begins : ends + 2].lstrip("<").rstrip(">").strip():
            return True
    return False


def _count_points(answer: str, sign: str) -> int:
    """Lines whose first character is a sign, blank lines skipped; by hand, to be linear in any answer.

    Behind ``*`` another character is needed that is none. Where that is the line break, the next line belongs to the
    point, and is not looked at for itself.
    """
    count = place = 0
    while found := _SOLID.search(answer, place):
        at = found.start()
        if answer[at] == sign and (sign == "-" or answer[at + 1 : at + 2] not in ("", "*")):
            count += 1
            at += 1 if sign == "-" else 2
        place = answer.find("\n", at) + 1
        if not place:
            break
    return count

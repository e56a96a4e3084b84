"""IFEval's kinds on what an answer holds."""

import re

from notus.checks.settings import pattern, text, whole

__all__ = ["number_placeholders", "postscript"]

_POSTSCRIPTS = {"P.S.": re.compile(r"p\.\s?s\."), "P.P.S": re.compile(r"p\.\s?p\.\s?s")}
"""Marker → what counts as it in small letters: a space may stand behind a point."""


def number_placeholders(answer: str, *, num_placeholders: int) -> bool:
    """Whether there are at least so many placeholders in square brackets, each on one line: ``[address]``."""
    found = sum(_count_brackets(line) for line in answer.split("\n"))
    return found >= whole("num_placeholders", num_placeholders)


def postscript(answer: str, *, postscript_marker: str) -> bool:
    """Whether there is a postscript with a marker, anywhere and in any case.

    A marker beside ``P.S.`` and ``P.P.S`` is a regular expression.
    """
    marker = text("postscript_marker", postscript_marker).strip()
    wanted = _POSTSCRIPTS.get(marker) or pattern("postscript_marker", marker.lower())
    return wanted.search(answer.lower()) is not None


def _count_brackets(line: str) -> int:
    """Of the brackets that open, those that close before the next one counts; by hand, to be linear in any line."""
    count, place = 0, line.find("[")
    while place >= 0 and (place := line.find("]", place)) >= 0:
        count += 1
        place = line.find("[", place)
    return count

"""The settings of checks, read with one line where a value means nothing: relations, numbers, patterns.

Owns what checks of several suites have in common in their settings. No torch.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from notus.core.errors import DataError, nearest

__all__ = ["RELATIONS", "holds", "pattern", "refuse_repeats", "text", "texts", "whole"]

RELATIONS = ("less than", "at least")
"""How a count is compared with the number of the instruction."""


_REPEATED = re.compile(r"(?<!\\)[+*}][^()]*(?<!\\)\)[+*{]")


def holds(count: int, relation: str, number: int) -> bool:
    """Whether a count stands in a relation to a number: ``less than`` it, or ``at least`` it.

    Raises:
        DataError: for another relation.
    """
    if relation not in RELATIONS:
        raise DataError(f"relation {relation!r:.60} of a check is none; {nearest(str(relation), RELATIONS)}")
    return count < number if relation == RELATIONS[0] else count >= number


def whole(name: str, value: Any, least: int = 0) -> int:
    """A setting that is a whole number; ``3.0`` is one, as tables of pandas write them.

    Raises:
        DataError: if it is none, or less than ``least``.
    """
    number = not isinstance(value, bool) and isinstance(value, int | float) and float(value).is_integer()
    if not number or value < least:
        raise DataError(f"the setting {name} of a check is {value!r:.60}; a whole number from {least} on is needed")
    return int(value)


def text(name: str, value: Any) -> str:
    """A setting that is a text with something in it.

    Raises:
        DataError: if it is none.
    """
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"the setting {name} of a check is {value!r:.60}; a text that is not blank is needed")
    return value


def texts(name: str, value: Any) -> Sequence[str]:
    """A setting that is a list of texts, at least one.

    Raises:
        DataError: if it is none.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise DataError(f"the setting {name} of a check is {value!r:.60}; a list of at least one text is needed")
    return [text(name, each) for each in value]


def refuse_repeats(name: str, value: str) -> None:
    """Refuse an expression in which a repeat is repeated, such as ``(a+)+``: an answer may keep it busy for years.

    Raises:
        DataError: for such an expression.
    """
    if _REPEATED.search(value):
        raise DataError(
            f"the setting {name} of a check is {value!r:.60}, which repeats what is a repeat already, and may never "
            "end; write it with one of the two"
        )


@cache
def pattern(name: str, value: str) -> re.Pattern[str]:
    """A keyword of a prompts file: a regular expression that ignores case, as IFEval reads it.

    Raises:
        DataError: if it is none, or repeats a repeat.
    """
    refuse_repeats(name, value)
    try:
        return re.compile(value, re.IGNORECASE)
    except re.error as error:
        raise DataError(
            f"the setting {name} of a check is {value!r:.60}, which is no regular expression ({error}); put a "
            "backslash before each sign that stands for itself"
        ) from None

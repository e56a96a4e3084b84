"""Rows of a JSON list that is broken at some place: those that are whole, and in their places those that are not.

    [{"prompt": "a"},            1   the row
     {"prompt": "b" "n": 2},     2   broken-json, with the line of the file
     {"prompt": "c"}]            3   the row

Where the next row begins is never guessed from within a row, whose own lists hold objects too. Where each row begins on
a line of its own, it is the next line that begins as deep as the first row and has the first row's first name: no text
of JSON has a line end in it. In one long line the brackets must close, and nothing that begins as the first row does
may stand among what is passed over. A list that breaks off, as a download does, has a last row that is broken.

Owns the way from a broken row to the next, and to a list that stands in an object as its last member.
"""

import json
import re
from collections import Counter
from collections.abc import Callable

from notus.formats.files.payload import Payload
from notus.formats.quarantine import RowError

__all__ = ["list_within", "salvage_rows"]

_ANY = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_BEHIND = re.compile(r"[ \t\r\n]*(?:,|(?=\])|\Z|(?<=\n)[ \t]*(?=\{))")
"""What stands behind a row: a comma, the end of the list or of what there is of it, or the line of the next one, where
the comma is missing."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}"]', re.DOTALL)
_LINE = re.compile(r"\n([ \t]*)(?=\{)")
"""A line that begins an object, with how deep it begins."""
_NAME = re.compile(r'\{\s*"((?:[^"\\\n]|\\.)*)"\s*:')
"""The beginning of a row, with its first name."""
_CLOSES = {"}": "{", "]": "["}


def salvage_rows(data: bytes) -> list[Payload] | None:
    """The rows of a list, whole and broken ones, in their order; None where it cannot be told where a row ends.

    Args:
        data: the whole file, as UTF-8, whose first character is that of a list.
    """
    text = data.decode("utf-8", "surrogateescape")
    at = _skip_space(text, 0) + 1
    after = _Next(text, at)
    found: list[Payload] = []
    while (at := _skip_space(text, at)) < len(text):
        if text[at] == "]":
            return found if found and not text[at + 1 :].strip() else None
        end, fault = _end_of_row(text, at)
        if fault is None:
            found.append(text[at:end].encode("utf-8", "surrogateescape"))
        else:
            line = text.count("\n", 0, fault.pos) + 1
            found.append(RowError("", "broken-json", text[at : at + 200], f"{fault.msg}, line {line} of the file"))
            behind = after.find(at)
            if behind is None:
                return None
            end = behind
        at = end
        if between := _BEHIND.match(text, at):
            at = between.end()
    return found or None


def list_within(data: bytes, may_hold: Callable[[str], bool]) -> bytes | None:
    """The text of the broken list that ends an object: ``{"version": 2, "data": [...]}``. None of any other shape.

    Args:
        data: the whole file, as UTF-8, whose first character is that of an object.
        may_hold: whether the rows of a set may stand under a name.

    Returns:
        The list, behind as many line ends as stand before it, so that its lines keep their numbers.
    """
    text = data.decode("utf-8", "surrogateescape")
    at = _skip_space(text, 0) + 1
    try:
        while True:
            name, end = _ANY.raw_decode(text, _skip_space(text, at))
            at = _skip_space(text, _skip_space(text, end) + 1)  # behind the colon
            if isinstance(name, str) and may_hold(name) and text.startswith("[", at) and _is_broken(text, at):
                break
            value, end = _ANY.raw_decode(text, at)
            if isinstance(value, list) and any(isinstance(row, dict) for row in value):
                return None  # two lists of rows: which is the set's, nobody has said
            at = _skip_space(text, end) + 1
    except (json.JSONDecodeError, RecursionError):
        return None
    whole = text[at:].rstrip()
    if whole.endswith("}") and whole[:-1].rstrip().endswith("]"):
        whole = whole[:-1]
    return ("\n" * text.count("\n", 0, at) + whole).encode("utf-8", "surrogateescape")


def _is_broken(text: str, at: int) -> bool:
    try:
        _ANY.raw_decode(text, at)
    except (json.JSONDecodeError, RecursionError):
        return True
    return False


def _skip_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    assert space is not None
    return space.end()


def _end_of_row(text: str, at: int) -> tuple[int, json.JSONDecodeError | None]:
    """Where a row ends, or what is wrong with it. NaN and the like have an end, and are told by who parses the row."""
    try:
        _, end = _ANY.raw_decode(text, at)
    except json.JSONDecodeError as error:
        return at, error
    except RecursionError:
        return at, json.JSONDecodeError("nested too deeply", text, at)
    if not _BEHIND.match(text, end):
        return at, json.JSONDecodeError("a comma or the end of the list is missing", text, end)
    return end, None


class _Next:
    """Finds where a row that is broken ends."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        depths = Counter(found[1] for found in _LINE.finditer(text))
        if re.search(r"\}[ \t]*\n[ \t]*,[ \t]*\{", text):
            depths[""] += 2  # "\n, {": the comma stands first, which is a depth of its own
        often = [depth for depth, times in depths.items() if times > 1]
        # Of objects on lines of their own those are rows that begin least deep; one alone may be what is broken.
        self._line = None
        if often:
            depth = re.escape(min(often, key=len))
            self._line = re.compile(rf"\n(?:{depth}|[ \t]*,[ \t]*)(?=\{{)")
        starts = [found.end() for found in self._line.finditer(text)] if self._line else []
        begins = [_NAME.match(text, start) for start in (_skip_space(text, at), *starts)]
        names = Counter(begin[1] for begin in begins if begin)
        self._name, times = names.most_common(1)[0] if names else ("", 0)
        self._begin = re.compile(rf'\{{\s*"{re.escape(self._name)}"\s*:')
        # Of rows in one line only the first is known to be one: its name may be what is broken.
        self._sure = bool(times) and (self._line is not None or len(self._begin.findall(text)) > 1)

    def find(self, at: int) -> int | None:
        """Behind the row that begins there; None where that cannot be told."""
        if not self._sure:
            return None
        if self._line is None:
            return self._close(at)
        next_ = next((each.end() for each in self._line.finditer(self._text, at) if self._is_row(each.end())), None)
        if next_ is None:
            end = re.compile(r"\n?[ \t]*\][ \t\r\n]*\Z").search(self._text, at)
            next_ = len(self._text) if end is None else end.start()
        return next_ if len(self._begin.findall(self._text, at, next_)) <= 1 else None

    def _is_row(self, at: int) -> bool:
        """Whether what begins there is a row, and no object of a row: it has the first row's first name."""
        if self._begin.match(self._text, at):
            return True
        try:
            row, _ = _ANY.raw_decode(self._text, at)
        except (json.JSONDecodeError, RecursionError):
            return False
        return self._name in row

    def _close(self, at: int) -> int | None:
        """Where the brackets of the row that begins there close, with no further row among them."""
        open_: list[str] = []
        for token in _TOKEN.finditer(self._text, at):
            mark = token[0]
            if mark == '"':
                break  # a text that does not end
            if mark in "{[":
                open_.append(mark)
            elif mark in _CLOSES:
                if not open_ or open_.pop() != _CLOSES[mark]:
                    return None
                if not open_:
                    return token.end() if self._is_one(at, token.end()) else None
        return len(self._text) if self._is_one(at, len(self._text)) else None

    def _is_one(self, at: int, end: int) -> bool:
        alone = len(self._begin.findall(self._text, at, end)) <= 1
        return alone and (end == len(self._text) or _BEHIND.match(self._text, end) is not None)

"""What a file of text is written in where that is not UTF-8: it is asked for, and never guessed in silence.

A UTF-16 file with a byte-order mark says itself what it is and is read. Any other text is UTF-8, or is read by the
``encoding`` that the user names. A file that is plainly something else is refused before it is read, with the first
byte that is wrong and the encoding to try; single rows of a UTF-8 file that are damaged are put aside, row by row.

Owns the names that are taken and how such a file is told. A guess by a library (charset-normalizer 3.5.2) was tried and
left: of ten short texts it named five rightly, and took German, French and English ones for Central European.
"""

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

from notus.core.errors import ConfigError, DataError, nearest
from notus.core.text import one_line
from notus.formats.files.packed import begins_with_mark, read_head

__all__ = ["check_encoding", "refuse_not_utf8"]

_COMMON = (
    *("cp1252", "latin-1", "utf-16", "utf-16-le", "cp1250", "cp1251", "mac-roman", "shift-jis", "gb18030"),
    *("euc-kr", "utf-8"),
)
"""Names that an error offers."""
_TABLES = (".csv", ".tsv", ".txt")
"""Suffixes of tables of text."""
_NO_TEXT = ("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "unicode-internal")
_LOOKED_AT = 1 << 18
_WESTERN = frozenset("äöüßéèêëàâîïôùûçñáíóúãõåæøœìòÄÖÜÉÈÊÀÂÎÔÛÇÑÁÍÓÚÃÕÅÆØŒ¿¡–—‘’“”„‚…•€£§°·«»‹›²³½ºª®©™´× ")
"""What stands in texts of Western Europe beyond ASCII; the other characters of cp1252 are rare in them."""
_HIGH = re.compile(rb"[\x80-\xff]+")
_IN_A_WORD = re.compile(rb"[A-Za-z\x80-\xff][\x80-\xff]|[\x80-\xff][A-Za-z]")


def check_encoding(name: str) -> str:
    """The name of an encoding of text, as Python knows it.

    Raises:
        ConfigError: if there is none of that name.
    """
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        raise ConfigError(f"there is no encoding '{name}'; {nearest(name, _COMMON)}") from None
    if found.name in _NO_TEXT or not getattr(found, "_is_text_encoding", True):
        raise ConfigError(f"'{name}' is no encoding of text; {nearest(name, _COMMON)}")
    return found.name


def refuse_not_utf8(path: Path, encoding: str | None) -> None:
    """Refuse a file of text that is plainly not in UTF-8, or not in the encoding that was named.

    Raises:
        DataError: with the first line and byte that are wrong, and what to do.
    """
    if encoding is not None:
        said = begins_with_mark(path)
        if said and codecs.lookup(said) != codecs.lookup(encoding) and not encoding.startswith(said):
            raise DataError(f"{path} says by its byte-order mark that it is {said.upper()}; leave --encoding out")
        return
    head = read_head(path, _LOOKED_AT)
    if head.isascii() and b"\x00" not in head:
        return
    lines = head.split(b"\n")
    if len(head) >= _LOOKED_AT:
        lines.pop()  # it may have been cut within a character
    if said := _utf16_without_mark(head):
        told = f"it looks like {said.upper()} without a byte-order mark: add --encoding {said}"
        raise DataError(f"{path} is not UTF-8: line 1 has the byte 0x00; {told}")
    broken = [number for number, line in enumerate(lines) if not _is_utf8(line)]
    if broken and (told := _told(lines, broken, mostly=_are_most(path, lines, len(broken)))):
        first = lines[broken[0]]
        byte = _first_wrong(first)
        raise DataError(
            f"{path} is not UTF-8: line {broken[0] + 1} has the byte {first[byte]:#04x} at place {byte + 1}; {told} "
            "(--encoding utf-8 would put such rows aside)"
        )


def _are_most(path: Path, lines: Sequence[bytes], broken: int) -> bool:
    """Whether so many broken lines are the most of a file: of rows of JSON, which stand for themselves, more than half;
    of a table, whose program wrote all of it alike, half will do, and the names of its columns do not count."""
    filled = sum(1 for line in lines if line.strip())
    return 2 * broken >= filled - 1 if path.suffix.lower() in _TABLES else 2 * broken > filled


def _told(lines: Sequence[bytes], broken: Sequence[int], *, mostly: bool) -> str:
    """What to do about a file that is in another encoding; empty where it is UTF-8 with some damaged rows."""
    if sum(not line.isascii() for line in lines) - len(broken) >= len(broken):
        return ""
    western = [number for number in broken if _is_western(lines[number])]
    if len(western) >= 0.9 * len(broken) and (len(broken) > 1 or mostly):
        return f"add --encoding cp1252, by which that line reads {_shown(lines[western[0]])!r}"
    words = sum(bool(_IN_A_WORD.search(lines[number])) for number in broken)
    kinds = {byte for number in broken for run in _HIGH.findall(lines[number]) for byte in run}
    if words >= 0.9 * len(broken) and (mostly or len(kinds) > 5):
        return f"name its encoding: --encoding {', '.join(_COMMON[4:9])}, …"
    return ""


def _is_western(line: bytes) -> bool:
    try:
        text = line.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return all(char.isascii() or char in _WESTERN for char in text)


def _shown(line: bytes) -> str:
    """The line around what is not ASCII, as it reads in cp1252."""
    text = line.decode("cp1252", "replace")
    at = next(place for place, char in enumerate(text) if not char.isascii())
    return one_line(text[max(0, at - 15) :], 40)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _first_wrong(line: bytes) -> int:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return error.start
    raise AssertionError


def _utf16_without_mark(head: bytes) -> str:
    """Which UTF-16 a text is that has every second byte 0; empty where it is none."""
    half = len(head) // 2
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if half and zeros.count(0) > 0.7 * half:
            return name
    return ""

"""The bytes of a file as UTF-8, whatever they are packed and written in: gzip, zstandard, UTF-16.

Owns how that is told, from the first bytes, and what is said where it cannot be read. All readers of text open their
file here, with the ``encoding`` that the user named, if any (``formats.files.encoding``).
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from notus.core.errors import DataError

__all__ = [
    "BOM",
    "begins_with_mark",
    "check_expansion",
    "is_packed",
    "is_plain",
    "open_unpacked",
    "read_head",
    "read_unpacked",
    "refuse_foreign",
]

BOM = b"\xef\xbb\xbf"
"""The byte-order mark of UTF-8."""
_BUFFER = 1 << 20
_EXPANDED = 256 << 20
"""Bytes that any file may hold, unpacked."""
_TIMES = 100
"""How many times its size a file may hold beyond that: text is packed ten times, and what is more was made to harm."""
_WHOLE = 2 << 30
"""Bytes of what is packed and must be held whole."""
_CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UTF8 = "utf-8"
_FOREIGN = {
    b"BZh": "packed with bzip2: unpack it first",
    b"\xfd7zXZ": "packed with xz: unpack it first",
    b"7z\xbc\xaf": "7-zip: unpack it first",
    b"PK\x03\x04": "zip and no workbook, or a workbook that is cut short: unpack it, or get it again",
    b"FEA1": "Feather of version 1: write it again with a pandas or pyarrow of today",
    b"SQLite format 3": "SQLite: write the table as CSV or Parquet first",
    b"\x80\x04": "a pickle, which could run code: write the rows as JSON lines or Parquet",
    b"\x80\x05": "a pickle, which could run code: write the rows as JSON lines or Parquet",
}
_ERRORS = (EOFError, pa.ArrowException)


def check_expansion(path: Path, held: int) -> None:
    """Refuse a file that holds so much more than its size says that it was made to fill memory or the disk.

    Args:
        path: the file, as it is packed.
        held: bytes that came out of it, or that it says will.

    Raises:
        DataError: with the limit and the way out.
    """
    if held > _EXPANDED and held > _TIMES * path.stat().st_size:
        raise DataError(
            f"{path} has {path.stat().st_size:,} bytes and holds more than {_TIMES} times as many ({held:,} and more); "
            "if that is right, unpack it, or write it anew as JSON lines"
        )


def is_packed(path: Path) -> bool:
    """Whether the file is packed with gzip or zstandard."""
    return _begins(path, 4).startswith(tuple(_CODECS))


def is_plain(path: Path, encoding: str | None = None) -> bool:
    """Whether the bytes of the file are those that are read: neither packed nor in another encoding."""
    return encoding in (None, _UTF8) and not is_packed(path) and not _begins(path, 2).startswith(_UTF16)


def begins_with_mark(path: Path) -> str:
    """The encoding that a byte-order mark names; empty without one."""
    with _unpack(path) as file:
        head = file.peek(3)[:3]
    return "utf-16" if head.startswith(_UTF16) else _UTF8 if head == BOM else ""


def read_head(path: Path, size: int, encoding: str | None = None) -> bytes:
    """The first bytes, unpacked and as UTF-8, without a byte-order mark.

    Raises:
        DataError: if the file is missing, damaged or of a kind that is not read.
    """
    try:
        with open_unpacked(path, encoding) as file:
            head = file.read(size)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    return head.removeprefix(BOM)


def read_unpacked(path: Path, encoding: str | None = None) -> bytes:
    """All bytes of a file, unpacked and as UTF-8.

    Raises:
        DataError: if it is damaged, or holds more than may be held whole.
    """
    with open_unpacked(path, encoding) as file:
        data = file.read(_WHOLE + 1)
    if len(data) > _WHOLE:
        raise DataError(
            f"{path} holds more than {_WHOLE >> 30} GiB that must be held whole; unpack it, or write it as JSON lines"
        )
    return data


def refuse_foreign(path: Path, head: bytes) -> None:
    """Say of a kind that is not read what it is, and what to do.

    Raises:
        DataError: if the first bytes are of such a kind.
    """
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {what}")


@contextmanager
def open_unpacked(path: Path, encoding: str | None = None) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacked and as UTF-8; a byte-order mark stays where it is.

    A byte that the named encoding does not have stays as it is, so that its row is told to be no UTF-8.

    Raises:
        DataError: if what is packed is damaged, or what begins as UTF-16 is none.
    """
    try:
        with _unpack(path) as file:
            marked = "utf-16" if file.peek(2)[:2] in _UTF16 else None
            read_as = marked or (None if encoding == _UTF8 else encoding)
            yield file if read_as is None else _Utf8(file, read_as)  # type: ignore[misc]
    except _ERRORS as error:
        raise DataError(f"{path} is damaged: {str(error).partition(chr(10))[0]}; pack it again") from None
    except UnicodeDecodeError as error:
        if error.encoding.startswith(("utf-16", "utf-32")):
            begins = f"is read as {encoding}" if encoding else "begins as UTF-16"
            raise DataError(f"{path} {begins} but is none: {error.reason}; save it as UTF-8") from None
        raise


def _unpack(path: Path) -> io.BufferedReader:
    begins = _begins(path, 4)
    for magic, codec in _CODECS.items():
        if begins.startswith(magic):
            return io.BufferedReader(_Unpacked(path, codec), _BUFFER)
    return cast("io.BufferedReader", path.open("rb", buffering=_BUFFER))


def _begins(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


class _Unpacked(io.RawIOBase):
    """What Arrow's codec unpacks, a third faster than the standard library; its errors are told from the system's."""

    def __init__(self, path: Path, codec: str) -> None:
        self._path = path
        self._given = 0
        self._file = pa.CompressedInputStream(pa.OSFile(str(path)), codec)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        try:
            data = self._file.read(len(buffer))  # type: ignore[arg-type]
        except OSError as error:
            raise EOFError(str(error)) from None
        buffer[: len(data)] = data  # type: ignore[index]
        self._given += len(data)
        check_expansion(self._path, self._given)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Utf8:
    """The lines and bytes of a file in another encoding, as UTF-8."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._wrong = "strict" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
        self._text = io.TextIOWrapper(file, encoding=encoding, errors=self._wrong, newline="\n")

    def __iter__(self) -> Iterator[bytes]:
        return (line.encode("utf-8", self._wrong) for line in self._text)

    def read(self, size: int = -1) -> bytes:
        return self._text.read(size).encode("utf-8", self._wrong)

    def readline(self, size: int = -1) -> bytes:
        return self._text.readline(size).encode("utf-8", self._wrong)

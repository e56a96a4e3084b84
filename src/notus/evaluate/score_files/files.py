"""Files of other people's judgements: one, several, or folders of them, read row by row.

Owns which files are meant and how their rows are counted. What a row means is owned by ``arena_hard`` and
``wildbench``.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from notus.core.errors import DataError
from notus.formats.quarantine import RowReader
from notus.formats.rows import parse_row, read_rows

__all__ = ["files_of", "read_each"]

T = TypeVar("T")
_SUFFIXES = (".jsonl", ".json", ".parquet")
_PACKED = ("", ".gz", ".zst")


def files_of(places: Sequence[Path]) -> Iterator[Path]:
    """The files of a list of files and folders, those of a folder by name.

    Raises:
        DataError: if one is not there, or a folder holds none.
    """
    for place in places:
        if not place.is_dir():
            if not place.exists():
                raise DataError(f"{place} is not there; name a file of judgements, or a folder of such files")
            yield place
            continue
        ends = tuple(suffix + packed for suffix in _SUFFIXES for packed in _PACKED)
        inside = [path for path in sorted(place.rglob("*")) if path.name.endswith(ends) and path.is_file()]
        if not inside:
            raise DataError(f"{place} holds no file of rows ({', '.join(_SUFFIXES)}); name one, or another folder")
        yield from inside


def read_each(path: Path, reader: RowReader, decode: Callable[[dict[str, Any]], T]) -> Iterator[tuple[int, T]]:
    """The line of each good row of a file with what it is.

    Args:
        path: the file.
        reader: counts the rows and puts bad ones aside.
        decode: raises ``RowError`` for a bad row.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        yield from reader.read(path, read_rows(path), lambda payload: decode(parse_row(payload)))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None

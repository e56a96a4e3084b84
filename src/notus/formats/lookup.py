"""A format by its name: one of ours, one of an installed package, or a reader of the user's own.

    format_named("trl")
    format_named("python:mine.py:read_row")      # a function, or a ``Format``, in a file of the user's
    format_named("their-format")                 # registered by a package under the entry point ``notus.formats``
    format_named('map:{"prompt": "question", …}')  # a mapping of the user's: see ``formats.mapping``

A reader is a function of a row. It returns a record, or a mapping that is a row of a known format, such as ``{"prompt":
…, "chosen": …, "rejected": …}``; a row that it does not want it refuses with ``ValueError``:

    def read_row(row):
        if row["votes"] < 2:
            raise ValueError("fewer than two votes")
        return {"prompt": row["q"], "chosen": row["good"], "rejected": row["bad"]}

Rows that are refused, that the function fails on, or of which it makes nothing that can be read, go to the quarantine,
each with its reason. Owns the finding of formats and the care for foreign readers; never detected is what is not ours,
for what a file is read as must not depend on what else is installed.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from notus.core.errors import ConfigError, DataError, nearest
from notus.core.plugins import Registry, foreign_code, hash_code, is_python, source_file, source_of
from notus.core.records import Dialogue, Feedback, Preference, Unpaired
from notus.formats.format import MAPPED, Data, Format, Row
from notus.formats.quarantine import RowError, explain
from notus.formats.registry import FORMATS, detect

__all__ = ["format_digest", "format_named"]

_OTHERS = Registry("format", {}, group="notus.formats")
_RECORDS: dict[str, type[Data]] = {kind.__name__: kind for kind in (Feedback, Preference, Unpaired, Dialogue)}
_REMEDY = "correct the function, or let it raise ValueError for a row that it does not want"


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        ConfigError: if there is none, with the nearest; or if a file or package of the user's cannot be read, or what
            it names is no reader.
    """
    if name.startswith(MAPPED):
        from notus.formats.mapping.decode import mapped_format  # most files need no mapping

        return mapped_format(name.removeprefix(MAPPED))
    if name in FORMATS:
        return FORMATS[name]
    if not is_python(name) and name not in _OTHERS.known():
        raise ConfigError(f"there is no format '{name}'; {nearest(name, [*FORMATS, *_OTHERS.known()])}")
    file = source_file(name, _OTHERS.group)
    return _load(name, str(file and file.absolute()), format_digest(name))


def format_digest(name: str) -> str | None:
    """SHA-256 of the file that a foreign format is read from: a part of what a run is compared by.

    None for a format of ours, and where there is no such file.
    """
    file = None if name.startswith(MAPPED) or name in FORMATS else source_file(name, _OTHERS.group)
    return None if file is None else hash_code(file)


@lru_cache(maxsize=32)
def _load(name: str, place: str, digest: str | None) -> Format:
    del place, digest  # another file, or another content of it, is another format
    found = _OTHERS.load(name)
    if isinstance(found, Format):
        return found
    if isinstance(found, type):
        raise ConfigError(f"format '{name}' is the class {found.__name__}; name a function of a row, or a Format")
    return _format_of(name, found)


def _format_of(name: str, function: Callable[[Row], Any]) -> Format:
    """A function of a row as a format; what its rows become is told by its annotation, or by the first of them."""
    annotation = getattr(function, "__annotations__", {}).get("return")
    record = _RECORDS.get(annotation if isinstance(annotation, str) else getattr(annotation, "__name__", ""))
    file = inspect.getsourcefile(function) if inspect.isroutine(function) else None

    def decode(row: Row) -> Data:
        try:
            with foreign_code("the reader failed", file, source_of(function), _REMEDY, DataError):
                given = _call(function, row)
        except RowError:
            raise
        except DataError as error:
            raise RowError("", "reader-failed", row, str(error)) from None
        return _validate(given)

    return Format(name=name, record=record, decode=decode)


def _call(function: Callable[[Row], Any], row: Row) -> Any:
    try:
        return function(row)
    except ValueError as error:
        raise RowError("", "reader-refused", row, " ".join(str(error).split())) from None


def _validate(given: object) -> Data:
    """What a reader gave, as a record that holds what its fields promise."""
    if isinstance(given, Feedback | Preference | Unpaired | Dialogue):
        try:
            # A record that is made in Python is not validated; one that is decoded is.
            return msgspec.convert(msgspec.to_builtins(given), type(given))
        except msgspec.ValidationError as error:
            raise explain(error, "", msgspec.structs.asdict(given)) from None
        except (TypeError, OverflowError, RecursionError) as error:
            raise RowError("extra", "wrong-type", given.extra, str(error)) from None
    if not isinstance(given, Mapping):
        raise RowError("", "no-format", given, f"the reader gave {type(given).__name__}")
    row = {str(name): value for name, value in given.items()}
    if (name := detect(row)) is None:
        fields = ", ".join(name for name, value in row.items() if value is not None) or "no field"
        raise RowError("", "no-format", row, f"the reader gave {fields}")
    return FORMATS[name].decode(row)

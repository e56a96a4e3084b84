"""Reading decisions wherever they are kept: a store's file, a team's database, JSON lines, or a run that left some.

    rulings = read_rulings("decisions.sqlite")        # or postgresql://…, decisions.jsonl, a folder that holds one

Owns which of them a place is, and the lines of JSON: a ``Ruling`` each. Forms of other tools are owned by ``forms``.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from notus.core.errors import InputError, cannot_write
from notus.core.run import atomic
from notus.decisions.database import is_url
from notus.decisions.ruling import Ruling, check_ruling
from notus.decisions.settle import Settled, settle
from notus.decisions.store import is_store, open_store

__all__ = ["LINES", "STORE", "place_in", "read_rulings", "read_settled", "write_rulings"]

STORE = "decisions.sqlite"
"""What the store of a folder is called."""
LINES = "decisions.jsonl"
"""What decisions are called as JSON lines."""


def place_in(folder: Path) -> Path | None:
    """The decisions that lie in a folder: its store, or its JSON lines; None without any."""
    return next((folder / name for name in (STORE, LINES) if (folder / name).is_file()), None)


def read_settled(place: str | Path) -> Settled:
    """What is settled by the rulings of a place; see ``read_rulings``."""
    return settle(read_rulings(place))


def read_rulings(place: str | Path) -> list[Ruling]:
    """All rulings of a place, in their order, with what is undone.

    Args:
        place: a store's file, the URL of a database, JSON lines, or a folder in which ``decisions.sqlite`` or
            ``decisions.jsonl`` lies.

    Raises:
        InputError: if there is none, or it is damaged.
        ConfigError: if the URL is of a database that is not known.
        MissingExtraError: if a URL's library is not installed.
    """
    path = Path(place)
    if not is_url(str(place)):
        if path.is_dir():
            inside = place_in(path)
            if inside is None:
                raise InputError(f"{path} holds no decisions ({STORE} or {LINES}); name the file")
            path = inside
        if not path.is_file():
            raise InputError(f"there is no store {place}; check the path")
        if not is_store(path):
            return _read_lines(path)
    with open_store(place if is_url(str(place)) else path, read_only=True) as store:
        return list(store.rulings())


def write_rulings(path: Path, rulings: Iterable[Ruling]) -> int:
    """Write rulings as JSON lines, which ``read_rulings`` gives back; their number.

    Raises:
        RunError: if the file cannot be written.
    """
    count = 0
    try:
        with atomic(path, "wb") as file:
            for each in rulings:
                file.write(msgspec.json.encode(each) + b"\n")
                count += 1
    except OSError as error:
        raise cannot_write(path, error) from None
    return count


def _read_lines(path: Path) -> list[Ruling]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    found: list[tuple[int, Ruling]] = []
    for line, text in enumerate(data.split(b"\n"), 1):
        if text.strip():
            try:
                ruling = msgspec.json.decode(text, type=Ruling)
                check_ruling(ruling)
            except InputError as error:
                raise InputError(f"{path}:{line}: {error}") from None
            except (msgspec.DecodeError, ValueError) as error:
                raise InputError(
                    f"{path}:{line} is no decision ({error}); mend it: none is passed over. What 'notus decide export' "
                    "wrote is brought back by 'notus decide import'"
                ) from None
            found.append((line, ruling))
    return _numbered(path, found)


def _numbered(path: Path, found: list[tuple[int, Ruling]]) -> list[Ruling]:
    """Lines without numbers are numbered in their order.

    Raises:
        InputError: if only some have a number, one stands twice, or an undo is of none that is there.
    """
    if not any(each.number for _, each in found):
        rulings = [msgspec.structs.replace(each, number=place) for place, (_, each) in enumerate(found, 1)]
        lines = [line for line, _ in found]
    else:
        seen: set[int] = set()
        for line, each in found:
            if not each.number or each.number in seen:
                what = f"the number {each.number} a second time" if each.number else "no number, and others have one"
                raise InputError(f"{path}:{line} has {what}; number all of them, or none")
            seen.add(each.number)
        found = sorted(found, key=lambda pair: pair[1].number)
        rulings, lines = [each for _, each in found], [line for line, _ in found]
    known: set[int] = set()
    for line, each in zip(lines, rulings, strict=True):
        if each.what == "undo" and each.undoes not in known:
            raise InputError(f"{path}:{line} takes back decision {each.undoes}, which does not stand before it")
        known.add(each.number)
    return rulings

"""The forms by their names: items into a file that is filled in elsewhere, and what was decided in it back.

    write_form(items, Path("queue.xlsx"), "xlsx")
    returned = read_form(Path("queue.xlsx"), who="ana")        # Returned: rulings, and all that is none

What a file that comes back is, is told by what stands in it. Owns the names, and the reading of files; the shapes are
owned by the modules beside it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import msgspec

from notus.core.errors import DataError
from notus.core.run import atomic
from notus.decisions.forms import argilla, label_studio
from notus.decisions.forms.answers import Answer, Returned, read_answers
from notus.decisions.forms.html import write_html
from notus.decisions.forms.item import Item
from notus.decisions.forms.rows import answer_of_row, columns_of, row_of
from notus.decisions.forms.tables import SHEET, read_cell, write_csv, write_xlsx
from notus.formats.format import Row
from notus.formats.quarantine import RowError
from notus.formats.rows import kind_of, members_of, parse_row, read_rows, unfinished_list

__all__ = ["FORMS", "Form", "Written", "read_form", "write_form"]

Form = Literal["xlsx", "csv", "jsonl", "argilla", "label-studio", "html"]
FORMS: tuple[Form, ...] = get_args(Form)
_NEEDS = ("id", "decision")


@dataclass(frozen=True)
class Written:
    """What was written."""

    paths: tuple[Path, ...]
    cut: int = 0
    """Texts that were too long for a cell."""


def write_form(items: Sequence[Item], path: Path, to: Form, *, title: str = "Decisions") -> Written:
    """Write items as a form to be filled in.

    Args:
        items: at least one.
        path: a file; of Argilla, a folder.
        to: which form.
        title: of the page.

    Raises:
        DataError: if there is no item, or it cannot be written.
        MissingExtraError: if it is a workbook and openpyxl is not installed.
    """
    if not items:
        raise DataError(f"there is nothing to decide, and {path} is not written")
    if to == "xlsx":
        return Written((path,), write_xlsx(items, path))
    if to == "label-studio":
        return Written((path, label_studio.write_label_studio(items, path)))
    writers: Mapping[str, Callable[[], None]] = {
        "csv": partial(write_csv, items, path),
        "jsonl": partial(_write_lines, items, path),
        "argilla": partial(argilla.write_argilla, items, path),
        "html": partial(write_html, items, path, title),
    }
    writers[to]()
    return Written((path,))


def _write_lines(items: Sequence[Item], path: Path) -> None:
    columns = columns_of(items)
    with atomic(path, "wb") as file:
        for item in items:
            row = row_of(item, columns) | {"scores": item.scores, "reasons": list(item.reasons)}
            file.write(msgspec.json.encode(row) + b"\n")


def read_form(path: Path, who: str = "", names: Mapping[str, str] | None = None) -> Returned:
    """Read what was decided in a form.

    Args:
        path: what ``write_form`` wrote, filled in; what its page saved; an export of Argilla or Label Studio.
        who: whose decisions they are, where the file does not say it.
        names: name or number of a person in the file → the name in the store.

    Raises:
        DataError: if it is no such file, or a list that breaks off: what else was decided is not known.
        InputError: if nobody says whose decisions they are.
        MissingExtraError: if it is a workbook and calamine is not installed.
    """
    returned = Returned()
    return read_answers(_answers(_file_of(path), returned), who, names, returned=returned)


def _file_of(path: Path) -> Path:
    """The file with the rows; of a folder of Argilla's the records."""
    if not path.is_dir():
        if path.suffix.lower() in (".html", ".htm"):
            raise DataError(
                f"{path} is the form itself; open it, decide, press Save, and import the file that it saves"
            )
        return path
    if not (path / argilla.RECORDS).is_file():
        raise DataError(f"{path} is a folder without {argilla.RECORDS}; name a file, or a folder of Argilla's to_disk")
    return path / argilla.RECORDS


def _answers(path: Path, returned: Returned) -> Iterator[Answer | str]:
    kind = kind_of(path)
    if kind == "json" and unfinished_list(path):
        raise DataError(
            f"{path} breaks off before the end of its list, and nothing of it is taken: what was decided behind it "
            "is missing; save the form again and import the whole file"
        )
    member = SHEET if kind == "workbook" and SHEET in members_of(path) else ""
    read: _Reader | None = None
    for count, (number, payload) in enumerate(read_rows(path, member=member), 2):
        # In a text table a row is known by its place below the names, as a spreadsheet shows it: cells hold line ends.
        where = f"row {count if kind == 'delimited' else number}"
        try:
            row = parse_row(payload)
        except RowError as error:
            yield f"{where}: {error}"
            continue
        if kind == "delimited":
            row = {name: cell if cell is None else read_cell(cell) for name, cell in row.items()}
        if read is None:
            read = _reader(path, row, returned)
        yield from read(row, where)


def _reader(path: Path, row: Row, returned: Returned) -> "_Reader":
    """What reads the rows of a file, by its first.

    Raises:
        DataError: if it is none of the forms.
    """
    if label_studio.is_task(row):
        return partial(label_studio.read_task, aside=returned.aside)
    if label_studio.is_annotation(row):
        return label_studio.read_annotation
    if argilla.is_nested(row):
        return partial(argilla.read_nested, aside=returned.aside)
    if argilla.is_flat(row):
        return partial(argilla.read_flat, aside=returned.aside)
    if missing := [name for name in _NEEDS if name not in row]:
        raise DataError(
            f"{path} has no column '{missing[0]}', and is none of {', '.join(FORMS)}; name a file that 'notus decide "
            "export' wrote"
        )
    return _of_row


def _of_row(row: Row, where: str) -> Iterator[Answer | str]:
    yield answer_of_row(row, where)


_Reader = Callable[[Row, str], Iterator[Answer | str]]
"""Reads a row; the second is where it stands."""

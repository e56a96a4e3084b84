"""Spreadsheets: a workbook for Excel or LibreOffice, and CSV.

Nothing that was read becomes a formula, a number or a date on the way. In a workbook every cell is text by its type and
by its format (``@``), so that ``=1+1``, ``007`` and ``1e5`` stay what they are, also when the cell is edited. A CSV has
no types: a text that a spreadsheet would take for a formula stands behind an apostrophe (as in ``core.text``), so does
one that has an apostrophe of its own there, and ids have their kind before them (``decisions.forms.item``).

A cell holds 32,767 characters (UTF-16 units, as Excel counts). A longer text is cut in a workbook, at its end stands
how much is missing, and it is counted; CSV is written whole, and Excel cuts it. Characters that XML cannot hold are
written as Excel writes them (``_x0007_``), what is no character as U+FFFD.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from notus.core.errors import require
from notus.core.run import atomic
from notus.core.text import guard_formula
from notus.decisions.forms.answers import CUT
from notus.decisions.forms.item import ALL_TEXTS, Item
from notus.decisions.forms.rows import NEW, columns_of, row_of, verdicts_of

__all__ = ["LONGEST", "SHEET", "cut_text", "read_cell", "whole_characters", "write_csv", "write_xlsx"]

SHEET = "decisions"
"""Name of the sheet that is filled in."""
LONGEST = 32_767
"""Characters of a cell."""
_ESCAPED = re.compile("[\x00-\x08\x0b-\x1f]|_(?=x[0-9A-Fa-f]{4}_)")
_NONE = re.compile("[\ud800-\udfff\ufffe\uffff]")
_WIDTHS = {"decision": 14, "score": 8, "why": 30, "id": 28, "key": 20, "evidence": 40, "reasons": 28, "scores": 28}
_HOW_TO = (
    ("decision", "keep, drop, swap (pairs: the rejected answer is the better one), cannot-tell, or nothing"),
    ("score", "the overall score that the answer should have, or none; nothing leaves it"),
    ("why", "in your words; alone on a row it is a note"),
    ("new_…", "a text that shall stand in the place of the one shown; the column that shows it is not to be changed"),
    ("id, key", "tell which record a row is of; rows may be sorted and deleted, these two not be changed"),
    ("", "Bring it back with: notus decide import FILE --decisions STORE --who NAME"),
)


def write_csv(items: Sequence[Item], path: Path) -> None:
    """Write items as CSV in UTF-8, with the mark by which Excel knows that.

    Raises:
        DataError: if it cannot be written.
    """
    columns = columns_of(items)
    with atomic(path, "wb") as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="", write_through=True)
        writer = csv.writer(text)
        writer.writerow(columns)
        for item in items:
            shown = {name: whole_characters(each) for name, each in item.texts.items()}
            row = row_of(item, columns, shown)
            writer.writerow([_guarded(whole_characters(_plain(row[name]))) for name in columns])
        text.detach()


def write_xlsx(items: Sequence[Item], path: Path) -> int:
    """Write items as a workbook; how many texts were cut.

    Raises:
        MissingExtraError: if openpyxl is not installed.
        DataError: if it cannot be written.
    """
    workbook = require("openpyxl", extra="files").Workbook()
    sheet = workbook.active
    sheet.title = SHEET
    columns, cut = columns_of(items), 0
    for number, name in enumerate(columns, 1):
        cell = sheet.cell(1, number)
        _write(cell, name)
        sheet.column_dimensions[cell.column_letter].width = _width(name)
    for at, item in enumerate(items, 2):
        shown = {name: cut_text(text) for name, text in item.texts.items()}
        cut += sum(
            cut_text(text) != whole_characters(text) for text in (*item.texts.values(), *item.critiques.values())
        )
        for number, (name, value) in enumerate(row_of(item, columns, shown).items(), 1):
            if name == "score":
                continue  # a number may stand there: its cell keeps the usual format
            _write(sheet.cell(at, number), cut_text(value) if isinstance(value, str) else value)
    _offer_decisions(sheet, items, columns)
    sheet.freeze_panes = "B2"
    _write_how_to(workbook.create_sheet("how to"))
    with atomic(path, "wb") as file:
        workbook.save(file)
    return cut


def cut_text(text: str) -> str:
    """A text as a cell can hold it: whole, or its beginning with how much is missing."""
    text = whole_characters(text)
    if _units(text) <= LONGEST:
        return text
    low, high = 0, len(text)
    while low < high:  # the longest beginning that fits; escaping makes some characters longer
        middle = (low + high + 1) // 2
        fits = _units(text[:middle]) + len(CUT.format(len(text))) <= LONGEST
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low] + CUT.format(len(text) - low)


def whole_characters(text: str) -> str:
    """A text without what is no character, and has no place in a file: lone halves of one, U+FFFE and U+FFFF."""
    return _NONE.sub("\N{REPLACEMENT CHARACTER}", text)


def read_cell(text: str) -> str:
    """The text of a cell of CSV that stands behind an apostrophe, where it was put there."""
    bare = text.lstrip("'")
    return text[1:] if text != bare and guard_formula(bare) != bare else text


def _guarded(text: str) -> str:
    bare = text.lstrip("'")
    return f"'{text}" if guard_formula(bare) != bare else text


def _units(text: str) -> int:
    """Length as it is written into a cell, in UTF-16 units."""
    return len(_escape(text).encode("utf-16-le")) // 2


def _escape(text: str) -> str:
    """A text as a workbook writes what XML cannot hold, or would read otherwise."""
    return _ESCAPED.sub(lambda found: f"_x{ord(found[0]):04X}_", text)


def _plain(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _write(cell: Any, value: object) -> None:
    """Put a value into a cell: a number, or a text that stays one whatever it begins with."""
    if isinstance(value, int | float):
        cell.value = value
        return
    cell.number_format = "@"
    if value is not None:
        cell.value = _escape(str(value))
        cell.data_type = "s"


def _width(name: str) -> int:
    wide = 60 if name in ALL_TEXTS or name.startswith((NEW, "critique_")) else 16
    return _WIDTHS.get(name, wide)


def _offer_decisions(sheet: Any, items: Sequence[Item], columns: Sequence[str]) -> None:
    """A list of the decisions to choose from, long texts from their top, and the row of names in bold."""
    styles = require("openpyxl.styles", extra="files")
    names = verdicts_of(items)
    rule = require("openpyxl.worksheet.datavalidation", extra="files").DataValidation(
        type="list", formula1=f'"{",".join(names)}"', allow_blank=True, showErrorMessage=True
    )
    rule.error = f"one of {', '.join(names)}, or nothing"
    letter = sheet.cell(1, columns.index("decision") + 1).column_letter
    rule.add(f"{letter}2:{letter}{len(items) + 1}")
    sheet.add_data_validation(rule)
    top = styles.Alignment(vertical="top", wrap_text=True)
    for row in sheet.iter_rows(min_row=2):
        for cell in row:
            cell.alignment = top
        sheet.row_dimensions[row[0].row].height = 120
    for cell in sheet[1]:
        cell.font = styles.Font(bold=True)


def _write_how_to(sheet: Any) -> None:
    for at, row in enumerate(_HOW_TO, 1):
        for number, text in enumerate(row, 1):
            _write(sheet.cell(at, number), text)
    sheet.column_dimensions["B"].width = 110

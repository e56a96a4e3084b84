"""Workbooks, written by hand so that each cell is known."""

import time
import zipfile
from html import escape
from pathlib import Path
from typing import Any

import pytest

from notus.core.errors import DataError
from notus.core.records import Feedback
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine
from notus.formats.rows import kind_of, members_of, parse_row, read_rows
from notus.formats.source import open_source

pytest.importorskip("python_calamine")

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OPEN = "urn:oasis:names:tc:opendocument:xmlns"


def cell_xml(place: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, (int, float)):
        return f'<c r="{place}"><v>{value!r}</v></c>'
    text = escape(value).replace("\n", "&#10;")
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def write_xlsx(path: Path, sheets: dict[str, list[list[Any]]], merged: str = "") -> None:
    names = list(sheets)
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" '
        'ContentType="application/xml"/><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r" '
        f'Type="{LINKS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{LINKS}"><sheets>'
        + "".join(f'<sheet name="{escape(name)}" sheetId="{n}" r:id="s{n}"/>' for n, name in enumerate(names, 1))
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        + "".join(
            f'<Relationship Id="s{n}" Type="{LINKS}/worksheet" Target="worksheets/sheet{n}.xml"/>'
            for n in range(1, len(names) + 1)
        )
        + "</Relationships>",
    }
    for number, rows in enumerate(sheets.values(), 1):
        lines = (
            f'<row r="{r}">' + "".join(cell_xml(f"{chr(65 + c)}{r}", value) for c, value in enumerate(row)) + "</row>"
            for r, row in enumerate(rows, 1)
        )
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData>{merged}</worksheet>'
        )
    with zipfile.ZipFile(path, "w") as file:
        for name, text in parts.items():
            file.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')


def write_ods(path: Path, rows: list[list[str]]) -> None:
    cells = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'
            for cell in row
        )
        + "</table:table-row>"
        for row in rows
    )
    spaces = " ".join(f'xmlns:{name}="{OPEN}:{name}:1.0"' for name in ("office", "table", "text"))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        file.writestr("META-INF/manifest.xml", f'<manifest:manifest xmlns:manifest="{OPEN}:manifest:1.0"/>')
        body = f'<office:spreadsheet><table:table table:name="One">{cells}</table:table></office:spreadsheet>'
        file.writestr(
            "content.xml",
            f'<?xml version="1.0"?><office:document-content {spaces}><office:body>{body}</office:body>'
            "</office:document-content>",
        )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a text", "a text"),
        ("two\nlines & <tags>", "two\nlines & <tags>"),
        ("007", "007"),
        ("  spaced ", "  spaced "),
        (4, "4"),
        (2.5, "2.5"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (123456789012, "123456789012"),
        (-3.0, "-3"),
        (100, "100"),
        (True, "TRUE"),
        (None, None),
        ("😀", "😀"),
    ],
)
def test_a_cell_is_its_text(tmp_path: Path, value: Any, text: str | None) -> None:
    path = tmp_path / "book"  # by content, not by name
    write_xlsx(path, {"Sheet1": [["id", "cell"], ["x", value]]})
    assert kind_of(path) == "workbook"
    assert [(number, parse_row(row)) for number, row in read_rows(path)] == [(2, {"id": "x", "cell": text})]


def test_rows_have_the_numbers_that_the_sheet_shows(tmp_path: Path) -> None:
    rows = [[], [None, "a", "b"], [None, "1", None], [None, None, None], [None, "2", "3"]]
    write_xlsx(tmp_path / "book.xlsx", {"S": rows})
    found = [(number, parse_row(row)) for number, row in read_rows(tmp_path / "book.xlsx")]
    assert found == [(3, {"a": "1", "b": None}), (5, {"a": "2", "b": "3"})]


def test_sheets_that_hold_something_are_members(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    write_xlsx(path, {"Ratings & more": [["a"], [1], [2]], "Empty": [], "Notes": [["note"], ["x"]]})
    assert members_of(path) == {"Ratings & more": 2, "Notes": 1}
    assert [parse_row(row) for _, row in read_rows(path, member="Notes")] == [{"note": "x"}]


def test_an_open_document_is_read_alike(tmp_path: Path) -> None:
    write_ods(tmp_path / "book.ods", [["prompt", "chosen"], ["a & b", "c"], ["d", "e"]])
    found = [parse_row(row) for _, row in read_rows(tmp_path / "book.ods")]
    assert found == [{"prompt": "a & b", "chosen": "c"}, {"prompt": "d", "chosen": "e"}]
    assert members_of(tmp_path / "book.ods") == {"One": 2}


def test_what_is_no_workbook_or_holds_nothing_is_said_in_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("rows.jsonl", "{}")
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as file:
        file.writestr("xl/workbook.xml", "<broken")
    write_xlsx(tmp_path / "c.xlsx", {"S": [["a", "b"]]})
    write_xlsx(tmp_path / "d.xlsx", {"S": []})
    write_xlsx(tmp_path / "e.xlsx", {"S": [["a", "a"], [1, 2]]})
    for name, says in (
        ("a.zip", "zip and no workbook"),
        ("b.xlsx", "is damaged"),
        ("c.xlsx", "is empty; a header"),
        ("d.xlsx", "is empty; a sheet"),
        ("e.xlsx", "two columns named 'a'"),
    ):
        with pytest.raises(DataError, match=says) as caught:
            list(read_rows(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_two_rows_of_names_with_merged_cells_are_one(tmp_path: Path) -> None:
    rows = [
        ["Ratings of May", None, None, None, None, None],
        [None, "Answer A", None, "Answer B", None, None],
        ["Asked", "Text", "Grade", "Text", "Grade", "Rater"],
        ["Why?", "So.", 4.5, "No.", 2, "Ann"],
        ["How?", "Thus.", 3, None, None, "Bo"],
    ]
    write_xlsx(tmp_path / "rows.xlsx", {"Sheet": rows})
    (line, first), (_, second) = [(line, parse_row(row)) for line, row in read_rows(tmp_path / "rows.xlsx")]
    assert line == 4
    assert list(first.items()) == [
        ("Asked", "Why?"),
        ("Answer A Text", "So."),
        ("Answer A Grade", "4.5"),
        ("Answer B Text", "No."),
        ("Answer B Grade", "2"),
        ("Rater", "Ann"),
    ]
    assert second["Answer B Text"] is None


def test_cells_that_are_merged_over_rows_are_said_of_each(tmp_path: Path) -> None:
    """A prompt beside its answers, as sheets for people have it, and a row that holds nothing else."""
    path = tmp_path / "merged.xlsx"
    sheet: list[list[Any]] = [
        ["prompt", "response", "model", "rating"],
        ["Name a river.", "The Oder.", "alder", 4],
        [None, "No.", "birch", 1],
        [None, None, None, None],
        ["Name a hill.", "The Brocken.", "alder", 5],
        [None, "Everest.", None, 2],
        ["Part two", None, None, None],
    ]
    refs = ("A2:A4", "A5:A6", "C5:C6", "A7:D7", "F1:F9")
    merged = "<mergeCells>" + "".join(f'<mergeCell ref="{ref}"/>' for ref in refs) + "</mergeCells>"
    write_xlsx(path, {"One": sheet}, merged)
    rows = [(number, parse_row(row)) for number, row in read_rows(path)]
    assert [(number, row["prompt"], row["response"], row["model"], row["rating"]) for number, row in rows] == [
        (2, "Name a river.", "The Oder.", "alder", "4"),
        (3, "Name a river.", "No.", "birch", "1"),
        (5, "Name a hill.", "The Brocken.", "alder", "5"),
        (6, "Name a hill.", "Everest.", "alder", "2"),
        (7, "Part two", None, None, None),
    ]
    tally = Tally("read", "rows")
    records = list(open_source(str(path)).records(tally, Quarantine()))
    # The prompt of row 3, and the prompt and the model of row 6; row 7 is no rating, and goes aside.
    assert tally.counts == {"row-joined": 2, "merged-cell": 3}
    assert len(tally.dropped) == 1
    assert [len(record.completions) for record in records if isinstance(record, Feedback)] == [2, 2]


def test_a_merge_that_reaches_over_all_rows_or_comes_many_times_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "hostile.xlsx"
    merged = "<mergeCells>" + '<mergeCell ref="A2:XFD1048576"/>' * 20_000 + "</mergeCells>"
    write_xlsx(path, {"One": [["a", "b"], *[["x" if n == 0 else None, n] for n in range(2_000)]]}, merged)
    begun = time.process_time()
    rows = [parse_row(row) for _, row in read_rows(path)]
    assert [row["a"] for row in rows] == ["x"] * 2_000
    assert time.process_time() - begun < 5  # some .1 s; each merge anew would be 40 million steps

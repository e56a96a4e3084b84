"""Workbooks and CSV: nothing becomes a formula, a number or a date; long texts are cut and told; all comes back."""

import csv
import io
import zipfile
from pathlib import Path

import pytest

from notus.decisions.forms.form import read_form, write_form
from notus.decisions.forms.item import Item, encode_key, read_target
from notus.decisions.forms.tables import LONGEST, cut_text
from notus.formats.rows import read_rows

openpyxl = pytest.importorskip("openpyxl")

TEXTS = [
    *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1+1", "'quoted"),
    *("=cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0"),
    *("007", "1e5", "1234e567", "12345678901234567890", "1.50", "50%", "TRUE", "null", "None", "#N/A", "#REF!", "NaN"),
    *("2026-11-30", "30.11.2026", "1/2", "3-4", "10:30", "JAN1", "€5", "1,000", "7,5"),
    *("a\nb", "a\r\nb", "a\rb", " before", "after ", "\n", "a;b,c|d\te", 'a "quoted" one', '"', '""'),
    *("\x07bell", "_x0041_", "_x005F_x0041_", "&lt;b&gt;", "<b>&amp;</b>", "]]>", "ünïcödé", "😀" * 9, "\u202egnirts"),
    *("\u2028x", "\ud800 half", "\ufffe", "https://example.org/" + "x" * 300, "sep=,", "decision"),
]  # fmt: skip
IDS = ["1234e567", "0000000000000012", "1e5", "9007199254740993", "00e1", "TRUE", "infinity", "2026-11-30"]


def items():
    """Items with all of the texts, and with ids that a spreadsheet would take for something else."""
    return [
        Item(
            id=IDS[number % len(IDS)] + ("" if number < len(IDS) else f"-{number}"),
            of="completion",
            prompt="12345678901234e5",
            answer="00000000000000e1",
            texts={"prompt": text, "answer": text},
            editable=("answer",),
            critiques={"answer": text},
            models={"answer": text},
            reasons=("=reason", "-other"),
            evidence=text,
            source=text,
            file=text,
            line=number + 1,
            queue="random",
        )
        for number, text in enumerate(TEXTS)
    ]


def plain(text):
    """As a file of text can hold it."""
    return "".join("\ufffd" if "\ud800" <= mark <= "\udfff" or mark in "\ufffe\uffff" else mark for mark in text)


def decided_in(returned):
    return {ruling.target: (ruling.what, ruling.value, ruling.why) for _, ruling in returned.rulings}


def test_a_workbook_holds_texts_as_texts_and_they_come_back_unchanged(tmp_path):
    out = tmp_path / "queue.xlsx"
    assert write_form(items(), out, "xlsx").cut == 0
    sheet = openpyxl.load_workbook(out)["decisions"]
    names = [cell.value for cell in sheet[1]]
    assert names[:3] == ["decision", "score", "why"]
    for row in sheet.iter_rows(min_row=2):
        for cell in row:
            name = names[cell.column - 1]
            assert cell.data_type == ("n" if cell.value is None or name in ("line", "place", "q") else "s"), name
            if name not in ("line", "place", "q", "score"):
                assert cell.number_format == "@"
    with zipfile.ZipFile(out) as packed:
        parts = {name: packed.read(name).decode() for name in packed.namelist() if name.endswith((".xml", ".rels"))}
    assert not any("<f>" in text or "<f " in text for text in parts.values())
    assert not any("hyperlink" in text for text in parts.values())
    read = [row for _, row in read_rows(out, member="decisions")]
    assert [row["answer"] for row in read] == [plain(text) for text in TEXTS]
    assert [read_target(row["id"])[1] for row in read] == [item.id for item in items()]
    returned = read_form(out, who="ana")
    assert (returned.empty, returned.changed, returned.unknown, returned.unreadable) == (len(TEXTS), [], [], [])


def test_what_is_written_into_a_workbook_comes_back_as_it_is(tmp_path):
    out = tmp_path / "queue.xlsx"
    given = items()
    write_form(given, out, "xlsx")
    book = openpyxl.load_workbook(out)
    sheet = book["decisions"]
    names = [cell.value for cell in sheet[1]]
    for at, text in enumerate(TEXTS, 2):
        cell = sheet.cell(at, names.index("new_answer") + 1)
        cell.value = "".join(
            f"_x{ord(mark):04X}_" if ord(mark) < 32 and mark not in "\t\n" else mark for mark in plain(text)
        )
        cell.value = f"x{cell.value}"
        sheet.cell(at, names.index("score") + 1).value = 1 + at % 19 / 2
    book.save(out)
    returned = read_form(out, who="ana")
    assert returned.unreadable == []
    values = [ruling.value for _, ruling in returned.rulings]
    escaped = {"_x0041_": "xA", "_x005F_x0041_": "x_x0041_"}  # whoever types so means it as Excel does
    assert values[1::2] == [escaped.get(text, f"x{plain(text)}") for text in TEXTS]
    assert values[::2] == [1 + at % 19 / 2 for at in range(2, len(TEXTS) + 2)]


def test_a_csv_holds_no_formula_and_comes_back_unchanged(tmp_path):
    out = tmp_path / "queue.csv"
    write_form(items(), out, "csv")
    assert out.read_bytes().startswith("\ufeffdecision,score,why,".encode())
    rows = list(csv.DictReader(io.StringIO(out.read_bytes().decode("utf-8-sig"), newline="")))
    numbers = {"+1", "-1"}
    for row in rows:
        for text in row.values():
            assert text[:1] not in "=+-@\t\r" or not text or text in numbers
        assert not row["id"].replace("completion:", "").startswith(" ")
        assert row["id"].startswith("completion:")
    returned = read_form(out, who="ana")
    assert (returned.empty, returned.changed, returned.unknown, returned.unreadable) == (len(TEXTS), [], [], [])
    for row, item, text in zip(rows, items(), TEXTS, strict=True):
        row |= {"decision": "DROP ", "why": f"w {plain(text)}".strip(), "score": ""}
        assert row["key"] == encode_key(item, {name: plain(each) for name, each in item.texts.items()})
    with out.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    found = decided_in(read_form(out, who="ana"))
    assert found == {
        item.id: ("drop", None, f"w {plain(text)}".strip()) for item, text in zip(items(), TEXTS, strict=True)
    }


def test_long_texts_are_cut_in_a_workbook_and_nowhere_else(tmp_path):
    long = [
        "a" * LONGEST,
        "b" * (LONGEST + 1),
        "😀" * 16_383,
        "😀" * 16_384,
        "\x07" * 5_000,
        "c" * 200_000,
        "=" + "d" * 40_000,
    ]
    given = [
        Item(id=f"{number:016x}", of="row", texts={"prompt": "p", "answer": text}, editable=("answer",))
        for number, text in enumerate(long)
    ]
    assert write_form(given, tmp_path / "queue.xlsx", "xlsx").cut == 5
    cells = [row["answer"] for _, row in read_rows(tmp_path / "queue.xlsx", member="decisions")]
    for text, cell in zip(long, cells, strict=True):
        assert len(cell.encode("utf-16-le")) // 2 <= LONGEST
        if cell != text:
            kept, _, told = cell.partition("… [cut here: ")
            assert text.startswith(kept)
            assert told == f"{len(text) - len(kept)} more characters]"
            assert len(kept) > 4_000
    assert [cell == text for text, cell in zip(long, cells, strict=True)] == [
        True,
        False,
        True,
        False,
        False,
        False,
        False,
    ]
    assert read_form(tmp_path / "queue.xlsx", who="ana").changed == []
    for form, name in (("csv", "queue.csv"), ("jsonl", "queue.jsonl")):
        assert write_form(given, tmp_path / name, form).cut == 0
        assert [row["answer"] for row in map(parsed, read_rows(tmp_path / name))][:1] == [long[0]]
        assert read_form(tmp_path / name, who="ana").changed == []


def parsed(numbered):
    from notus.formats.rows import parse_row

    return parse_row(numbered[1])


def test_an_edit_that_holds_a_cut_text_is_refused(tmp_path):
    item = Item(id="a" * 16, of="row", texts={"prompt": "p", "answer": "c" * 40_000}, editable=("answer",))
    write_form([item], tmp_path / "queue.xlsx", "xlsx")
    book = openpyxl.load_workbook(tmp_path / "queue.xlsx")
    sheet = book["decisions"]
    names = [cell.value for cell in sheet[1]]
    shown = sheet.cell(2, names.index("answer") + 1).value
    sheet.cell(2, names.index("new_answer") + 1).value = f"C{shown[1:]}"
    book.save(tmp_path / "queue.xlsx")
    returned = read_form(tmp_path / "queue.xlsx", who="ana")
    assert returned.rulings == []
    assert returned.unreadable == [
        "row 2: the text under new_answer was cut for a spreadsheet; edit it by jsonl or html"
    ]


def test_decisions_are_offered_as_a_list_and_the_sheet_says_how(tmp_path):
    pair = Item(id="b" * 16, of="pair", texts={"prompt": "p", "chosen": "c", "rejected": "r"})
    write_form([pair], tmp_path / "queue.xlsx", "xlsx")
    book = openpyxl.load_workbook(tmp_path / "queue.xlsx")
    (rule,) = book["decisions"].data_validations.dataValidation
    assert rule.formula1 == '"keep,drop,swap,cannot-tell"'
    assert str(rule.sqref) == "A2"
    assert "score" not in [cell.value for cell in book["decisions"][1]]
    assert "notus decide import" in str([[cell.value for cell in row] for row in book["how to"].iter_rows()])


@pytest.mark.parametrize("text", ["x" * 40_000, "\x07" * 40_000, "😀" * 40_000, "_x0041_" * 9_000])
def test_a_cut_text_fits(text):
    cut = cut_text(text)
    assert cut != text
    written = cut.replace("\x07", "_x0007_").replace("_x0041_", "_x005F_x0041_")
    assert LONGEST - 60 < len(written.encode("utf-16-le")) // 2 <= LONGEST


def test_the_sheet_is_found_also_where_another_stands_before_it(tmp_path):
    item = Item(id="c" * 16, of="row", texts={"prompt": "p", "answer": "a"})
    write_form([item], tmp_path / "queue.xlsx", "xlsx")
    book = openpyxl.load_workbook(tmp_path / "queue.xlsx")
    book.create_sheet("mine", 0).append(["id", "decision"])
    book["mine"].append(["row:x", "drop"])
    book["decisions"]["A2"] = "keep"
    book.save(Path(tmp_path / "queue.xlsx"))
    assert [(ruling.target, ruling.what) for _, ruling in read_form(tmp_path / "queue.xlsx", who="a").rulings] == [
        ("c" * 16, "keep")
    ]

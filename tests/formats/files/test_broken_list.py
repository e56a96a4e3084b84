"""A JSON list with a broken row: the others are read, and nothing is taken for a row that is none."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from notus.core.errors import DataError
from notus.formats.quarantine import RowError
from notus.formats.rows import parse_row, read_rows

ROWS: list[dict[str, Any]] = [
    {"prompt": f"Why {n}?", "answers": [{"text": "So, [it] is", "score": n}, {"text": 'a "quoted" {one}', "score": 0}]}
    for n in range(6)
]
SHAPES = {
    "long line": json.dumps(ROWS),
    "pretty": json.dumps(ROWS, indent=2),
    "a row a line": "[" + ",\n".join(json.dumps(row) for row in ROWS) + "]",
    "comma first": "[\n  " + "\n, ".join(json.dumps(row) for row in ROWS) + "\n]",
}


def read(path: Path, text: str) -> list[Any]:
    path.write_text(text)
    found: list[Any] = []
    for number, payload in read_rows(path):
        assert number == len(found) + 1
        try:
            found.append(parse_row(payload))
        except RowError as error:
            found.append(error)
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"Why 3?",', '"Why 3?"'),  # a comma is missing
        ('"Why 3?"', "Why 3?"),  # a quote is missing on both sides
        ('"Why 3?"', "NaN"),
        ('"Why 3?"', '"Why\n3?"'),  # a line end within a text
        ('"Why 3?"', '"Why \\q?"'),
    ],
)
def test_one_broken_row_is_put_aside_with_its_line(tmp_path: Path, shape: str, old: str, new: str) -> None:
    text = SHAPES[shape].replace(old, new)
    found = read(tmp_path / "rows.json", text)
    assert [each for each in found if isinstance(each, dict)] == [row for n, row in enumerate(ROWS) if n != 3]
    assert isinstance(found[3], RowError)
    assert found[3].rule == "broken-json"
    if new != "NaN":
        line = text[: text.index(new)].count("\n") + 1
        assert any(f"line {line + more}" in found[3].detail for more in (0, 1)), found[3].detail


def test_a_list_that_breaks_off_has_a_broken_last_row(tmp_path: Path) -> None:
    for shape in ("long line", "pretty", "a row a line"):
        whole = SHAPES[shape]
        found = read(tmp_path / "rows.json", whole[: whole.index("Why 5?") + 3])
        assert found[:5] == ROWS[:5]
        assert [type(each) for each in found[5:]] == [RowError]
        assert read(tmp_path / "rows.json", whole[: whole.rindex("]")]) == ROWS


def test_a_comma_too_few_or_too_many_between_rows_costs_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "rows.json", "[" + "\n".join(json.dumps(row) for row in ROWS) + "]") == ROWS
    assert read(tmp_path / "rows.json", json.dumps(ROWS)[:-1] + ",]") == ROWS


def test_where_the_next_row_begins_cannot_be_told_the_file_is_refused(tmp_path: Path) -> None:
    text = json.dumps(ROWS)
    for broken in (text.replace('"Why 3?"', '"Why 3?'), text.replace('"score": 3}', '"score": 3}}')):
        with pytest.raises(DataError, match=r"broken.*cannot be told") as told:
            read(tmp_path / "rows.json", broken)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("shape", SHAPES)
def test_150_damaged_lists_give_no_row_that_does_not_stand_there(tmp_path: Path, shape: str) -> None:
    """Of each row that is given, an equal one stands in the list; the damage is one character, so that one row is hit,
    or two at whose border it is."""
    rng = random.Random(shape)
    text, kept = SHAPES[shape], 0
    for _ in range(150):
        at = rng.randrange(text.index("{"), len(text))
        broken = text[:at] + rng.choice(["", *'"{}[],:\\n0']) + text[at + 1 :]
        try:
            json.loads(broken)
        except ValueError:
            pass
        else:
            continue  # it says something else, and is no broken list
        try:
            found = read(tmp_path / "rows.json", broken)
        except DataError:
            continue
        rows = [row for row in found if isinstance(row, dict)]
        changed = [row for row in rows if row not in ROWS]
        assert len(changed) <= 1, broken
        assert all("text" not in row for row in rows), broken  # an answer of a row is no row
        assert len(rows) >= 4
        kept += 1
    assert kept > (15 if shape == "long line" else 60)

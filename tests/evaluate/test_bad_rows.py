"""Files of judges, votes and benchmarks with one bad row: that row is put aside, and the others are read."""

import csv
import json

import msgspec
import pytest

from notus.core.errors import DataError
from notus.core.stage import Tally
from notus.evaluate.alpaca.files import (
    read_annotations,
    read_leaderboard,
    read_outputs,
    write_annotations,
    write_leaderboard,
)
from notus.evaluate.judges.human import read_human_pairs
from notus.evaluate.mtbench.files import read_answers, read_judgments, read_questions
from notus.formats.quarantine import Quarantine, RowReader
from tests.helpers.alpaca_examples import judgement
from tests.helpers.mtbench_examples import answered, graded, matched, questions

LLMBAR = {"input": "a?", "output_1": "b", "output_2": "c", "label": 1}
PANDALM = {"instruction": "a", "input": "", "response1": "b", "response2": "c", "annotator1": 1, "annotator2": 2}
OUTPUT = {"instruction": "a", "output": "b", "generator": "m"}


def plain(row):
    return msgspec.to_builtins(row)


@pytest.fixture(scope="module")
def annotation(tmp_path_factory):
    path = tmp_path_factory.mktemp("annotation") / "a.json"
    write_annotations(path, [judgement(1, 2.0)])
    return json.loads(path.read_text())[0]


def rows_of(kind, annotation):
    """Three good rows of a kind of file."""
    made = {
        "llmbar": [LLMBAR] * 3,
        "pandalm": [PANDALM] * 3,
        "outputs": [{**OUTPUT, "instruction": str(n)} for n in range(3)],
        "annotations": [{**annotation, "instruction": str(n)} for n in range(3)],
        "questions": [plain(each) for each in questions("writing", "math", "stem").values()],
        "answers": [plain(answered("a", "x", "y", question=n)) for n in range(3)],
        "gradings": [plain(graded("[[3]]", question=81 + n, score=3)) for n in range(3)],
        "matches": [plain(matched("[[A]]", "[[B]]", question=81 + n)) for n in range(3)],
    }
    return made[kind]


def read(kind, path):
    """Read a file; how many rows are good, and the tally."""
    tally, quarantine = Tally("read", "rows"), Quarantine()
    reader = RowReader(tally, quarantine)
    if kind in ("llmbar", "pandalm"):
        good = len(list(read_human_pairs(path, kind, tally, quarantine)))
    else:
        read = {"outputs": read_outputs, "annotations": read_annotations, "questions": read_questions}
        read |= {"answers": read_answers, "gradings": read_judgments, "matches": read_judgments}
        found = read[kind](path, reader) if kind != "annotations" else read_annotations(path, reader=reader)
        good = tally.given if found else 0
    assert tally.taken == tally.given + quarantine.total
    return good, tally, quarantine


MISSING = [
    ("llmbar", "label"), ("llmbar", "output_1"), ("llmbar", "input"), ("pandalm", "annotator2"),
    ("pandalm", "response1"), ("pandalm", "instruction"), ("outputs", "instruction"), ("annotations", "preference"),
    ("annotations", "generator_1"), ("annotations", "instruction"), ("questions", "turns"), ("questions", "category"),
    ("answers", "choices"), ("answers", "model_id"), ("gradings", "judge"), ("gradings", "score"),
    ("matches", "g1_winner"), ("matches", "turn"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), MISSING)
@pytest.mark.parametrize("change", ["missing", "null", "retyped"])
def test_a_row_that_lacks_something_is_put_aside(tmp_path, annotation, kind, name, change):
    rows = rows_of(kind, annotation)
    bad = dict(rows[1])
    bad.pop(name)
    if change != "missing":
        bad[name] = None if change == "null" else {"x": 1}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([rows[0], bad, rows[2]]))
    if name == "preference" and change != "missing":  # no ranking that can be read: an unscored answer, which counts
        assert read(kind, path)[0] == 3
        return
    good, _, quarantine = read(kind, path)
    assert good == 2
    assert quarantine.total == 1


@pytest.mark.parametrize("kind", ["llmbar", "pandalm", "outputs", "annotations", "questions", "answers", "gradings"])
def test_a_key_that_stands_twice_is_counted(tmp_path, annotation, kind):
    rows = [json.dumps(row) for row in rows_of(kind, annotation)]
    first = next(iter(json.loads(rows[1])))
    twice = '{"' + first + '": null, ' + rows[1][1:]
    path = tmp_path / "rows.json"
    path.write_text(f"[{rows[0]}, {twice}, {rows[2]}]")
    good, tally, _ = read(kind, path)
    assert (good, tally.counts) == (3, {"repeated-key": 1})
    path.write_text(f"[{', '.join(rows)}]")
    assert read(kind, path)[1].counts == {}


def test_a_leaderboard_holds_no_formula(tmp_path):
    path = tmp_path / "board.csv"
    board = {"=cmd|'/C calc'!A0": {"win_rate": -1.5, "mode": "@x"}, "-m": {"win_rate": 2, "mode": "-7"}}
    write_leaderboard(path, board)
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["", "win_rate", "mode"]
    assert rows == [["'-m", "2", "-7"], ["'=cmd|'/C calc'!A0", "-1.5", "'@x"]]
    assert read_leaderboard(path).keys() == board.keys()
    assert read_leaderboard(path)["=cmd|'/C calc'!A0"]["mode"] == "@x"


def test_a_leaderboard_that_is_none_is_one_line(tmp_path):
    path = tmp_path / "board.csv"
    path.write_text(f",win_rate\n{'x' * 200_000},1\n")
    before = csv.field_size_limit(131_072)  # other readers of this process set it for theirs
    try:
        with pytest.raises(DataError, match="no table of comma-separated values") as error:
            read_leaderboard(path)
    finally:
        csv.field_size_limit(before)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)

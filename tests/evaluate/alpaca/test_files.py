"""Upstream AlpacaEval's files: there and back, and what is wrong with them."""

import gzip
import json
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.core.records import digest
from notus.evaluate.alpaca.files import (
    CANONICAL,
    Answer,
    read_annotations,
    read_difficulties,
    read_instructions,
    read_leaderboard,
    read_outputs,
    read_weights,
    write_annotations,
    write_leaderboard,
    write_outputs,
)
from notus.evaluate.alpaca.score import win_rate
from tests.helpers.alpaca_examples import GEMMA, NULL, ORDER, SHARED, judgement, needs_data

texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.dictionaries(texts, st.one_of(st.none(), texts), min_size=1, max_size=5), st.sampled_from(["", ".gz"]))
def test_outputs_there_and_back(found, packed):
    answers = [Answer(instruction=key, output=value, generator="mine", dataset="d") for key, value in found.items()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model_outputs.json{packed}"
        write_outputs(path, answers)
        assert read_outputs(path) == answers
        assert read_instructions(path) == list(found)


@given(st.lists(st.one_of(st.none(), st.floats(1, 2)), min_size=1, max_size=6), texts)
def test_annotations_there_and_back(preferences, raw):
    items = [judgement(n, p, raw=raw, price=0.5, dataset="d") for n, p in enumerate(preferences)]
    items.append(judgement(99, None, unscored="refused", reason="content_filter", output=None))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "annotations.json"
        write_annotations(path, items)
        found = [msgspec.structs.replace(item, file="", line=0) for item in read_annotations(path)]
        assert found == items


@needs_data
def test_upstreams_annotations_keep_their_fields():
    raw = json.loads(gzip.decompress(NULL.read_bytes()))
    found = read_annotations(NULL)
    assert [item.preference for item in found] == [row["preference"] for row in raw]
    assert found[0].price == raw[0]["price_per_example"]
    assert json.loads(found[0].raw) == raw[0]["raw_completion"]
    assert (found[0].model, found[0].reference) == ("example", "gpt4_1106_preview")


def test_a_file_of_several_models(tmp_path):
    path = tmp_path / "annotations.json"
    write_annotations(path, [judgement(0, 1.0), judgement(0, 2.0, model="other")])
    assert [item.model for item in read_annotations(path, model="other")] == ["other"]
    with pytest.raises(DataError, match="did you mean 'other'"):
        read_annotations(path, model="othr")


def test_a_file_cut_by_a_kill_is_an_error_that_names_the_way_out(tmp_path):
    path = tmp_path / "annotations.json"
    write_annotations(path, [judgement(n, 1.0 + n / 10) for n in range(8)])
    whole = path.read_text()
    path.write_text(whole[: int(len(whole) * 0.7)])
    with pytest.raises(DataError, match=r"cut off.*its first 5 rows are whole, --salvage"):
        read_annotations(path)
    found = read_annotations(path, salvage=True)
    assert [item.preference for item in found] == [1.0 + n / 10 for n in range(5)]
    path.write_text("")
    with pytest.raises(DataError, match="no JSON"):
        read_annotations(path, salvage=True)


def test_our_own_file_is_never_seen_half_written(tmp_path):
    """A write that breaks off leaves the old file, and no new one under its name."""
    path = tmp_path / "annotations.json"
    write_annotations(path, [judgement(0, 1.0)])

    def breaks_off():
        yield judgement(1, 2.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_annotations(path, breaks_off())
    assert [item.preference for item in read_annotations(path)] == [1.0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ('{"instruction": "a"}', "no list of rows"),
        ('[{"instruction": "a"}]', "row 1: an annotation needs"),
        ('[{"instruction": "a", "generator_1": "r", "generator_2": "m"}]', "row 1: an annotation needs"),
        (
            '[{"instruction": "a", "generator_1": "r", "generator_2": "m", "preference": 1, "output_2": 5}]',
            "row 1: output_1 and output_2",
        ),
    ],
)
def test_annotations_that_are_none(tmp_path, rows, words):
    path = tmp_path / "a.json"
    path.write_text(rows)
    with pytest.raises(DataError, match=words):
        read_annotations(path)


def test_outputs_that_are_none(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[{"instruction": "a", "output": "b"}, {"instruction": "a", "output": "c"}]')
    with pytest.raises(DataError, match="row 2: the instruction stands twice"):
        read_outputs(path)
    path.write_text('[{"output": "b"}]')
    with pytest.raises(DataError, match="row 1"):
        read_outputs(path)
    with pytest.raises(DataError, match="cannot read"):
        read_outputs(tmp_path / "none.json")
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"[]" * 900)[:20])
    with pytest.raises(DataError, match="is damaged"):
        read_outputs(tmp_path / "a.json.gz")
    path.write_bytes(b'[{"instruction": "caf\xe9"}]')
    with pytest.raises(DataError, match="not UTF-8"):
        read_outputs(path)


def test_a_leaderboard_there_and_back(tmp_path):
    path = tmp_path / "leaderboard.csv"
    row = win_rate([judgement(0, 1.25), judgement(1, 2.0)]).row()
    write_leaderboard(path, {"low": {"win_rate": "1.5", "mode": "dev"}, "mine": row})
    found = read_leaderboard(path)
    assert list(found) == ["mine", "low"]
    assert float(found["mine"]["win_rate"]) == row["win_rate"]
    assert found["low"]["mode"] == "dev"
    assert found["low"]["n_wins"] == ""
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column 'win_rate'"):
        read_leaderboard(path)
    path.write_text(",win_rate\nm,1,2\n")
    with pytest.raises(DataError, match="line 2: 3 values for 2 columns"):
        read_leaderboard(path)


@needs_data
def test_upstreams_leaderboards_survive(tmp_path):
    for version in (1, 2):
        board = read_leaderboard(SHARED / f"leaderboard_ae{version}.csv")
        write_leaderboard(tmp_path / "copy.csv", {k: {c: v for c, v in row.items() if c} for k, row in board.items()})
        assert read_leaderboard(tmp_path / "copy.csv") == board


def test_difficulties_go_by_text_where_the_file_has_texts(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text('instruction,instruction_difficulty\n"b, c",1.5\na,-2\n')
    assert read_difficulties(path, None) == {"b, c": 1.5, "a": -2.0}


@needs_data
def test_difficulties_by_number_need_the_instructions_in_upstreams_order():
    path, order = SHARED / "instruction_difficulty.csv", read_instructions(ORDER)
    assert digest(*order) == CANONICAL
    found = read_difficulties(path, order)
    assert list(found) == order
    assert found[order[1]] == -0.1013596560
    for wrong in (None, order[::-1], order[:-1]):
        with pytest.raises(DataError, match="upstream's order"):
            read_difficulties(path, wrong)


@needs_data
def test_published_weights():
    found = read_weights(SHARED / "glm_weights.csv")
    assert found["gpt4_1106_preview"] == (0.0, 0.0, 0.0)
    assert len(found) == 200
    with pytest.raises(DataError, match="no weights"):
        read_weights(SHARED / "leaderboard_ae1.csv")
    with pytest.raises(DataError, match="no difficulties"):
        read_difficulties(SHARED / "leaderboard_ae1.csv", None)


@needs_data
def test_our_annotations_are_a_list_of_upstreams_fields(tmp_path):
    write_annotations(tmp_path / "a.json", read_annotations(GEMMA))
    ours = msgspec.json.decode((tmp_path / "a.json").read_bytes())
    theirs = json.loads(gzip.decompress(GEMMA.read_bytes()))
    assert ours[0].keys() == theirs[0].keys()
    assert all(ours[n]["preference"] == theirs[n]["preference"] for n in range(805))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,win_rate\nm,1\n", "no first column without a name"),
        (",rate\nm,1\n", "no column 'win_rate'"),
        (",win_rate\nm,high\n", "'high' is no number"),
        (",win_rate,lc_standard_error\nm,1,nan\n", "'nan' is no finite number"),
    ],
)
def test_what_is_no_leaderboard_is_named(tmp_path, text, words):
    path = tmp_path / "board.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_leaderboard(path)


def test_one_whole_row_is_one(tmp_path):
    (tmp_path / "cut.json").write_text('[{"a": 1},')
    with pytest.raises(DataError, match="its first row is whole, --salvage takes it"):
        read_annotations(tmp_path / "cut.json")

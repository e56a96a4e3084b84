"""The step that writes a source in somebody else's layout."""

import json

import pytest

from notus.core.errors import ConfigError, DataError, LossError
from notus.core.records import Preference
from notus.core.run import read_json, read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_records
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source, write_jsonl
from notus.steps.data.binarize import Binarize
from notus.steps.data.export import Export
from notus.steps.perform import run_step
from tests.cli.test_main import notus, one_line
from tests.helpers.data_examples import raw_row
from tests.helpers.places import unplaced


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "feedback.jsonl"
    write_jsonl(path, [raw_row() | {"instruction": f"Name river {n}."} for n in range(6)])
    return path


@pytest.fixture
def pairs(tmp_path, rows):
    run_step("binarize", Binarize.parse({"data": str(rows)}, where="test"), tmp_path / "pairs")
    return tmp_path / "pairs"


def export(data, out, **settings):
    return run_step("export", Export.parse({"data": str(data), **settings}, where="test"), out)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("layout", ["trl", "trl-implicit", "h4", "argilla", "argilla-cleaned"])
def test_pairs_go_out_and_come_back(tmp_path, pairs, layout, form):
    run = export(pairs, tmp_path / "out", to=layout, format=form)
    assert open_source(str(run.path / f"rows.{form}")).format == layout
    back = export(run.path, tmp_path / "back", to="trl")
    assert read_manifest(back.path)["summary"]["layout"] == layout
    source = open_source(str(back.path / "rows.jsonl"))
    found = unplaced(source.records(Tally("read"), Quarantine()))
    assert found == unplaced(read_records(pairs / "preferences.parquet", Preference))


def test_held_out_pairs_are_not_forgotten_in_silence(tmp_path, rows):
    config = Binarize.parse({"data": str(rows), "held_out": 0.5}, where="test")
    run_step("binarize", config, tmp_path / "parts")
    kept = tmp_path / "parts" / "held_out.parquet"
    train = read_manifest(export(tmp_path / "parts", tmp_path / "out").path)["summary"]
    assert str(kept) in train["not_read"]
    test = read_manifest(export(kept, tmp_path / "test").path)["summary"]
    assert "not_read" not in test
    assert train["rows"] + test["rows"] == 6


def test_feedback_becomes_rows_for_kto_and_for_sft(tmp_path, rows):
    kto = export(rows, tmp_path / "kto", to="trl-unpaired")
    labels = [json.loads(line)["label"] for line in (kto.path / "rows.jsonl").read_bytes().splitlines()]
    # Mean ratings 1.25, 5, 4.25 and 1.25 around their mean 2.9.
    assert labels == [False, True, True, False] * 6
    sft = export(rows, tmp_path / "sft", to="ultrachat", top=2, strategy="critique")
    lines = (sft.path / "rows.jsonl").read_bytes().splitlines()
    answers = [json.loads(line)["messages"][-1]["content"] for line in lines]
    assert answers == ["An answer by dogwood.", "An answer by birch."] * 6
    assert read_manifest(sft.path)["summary"]["rows"] == 12


def test_what_has_no_place_is_told(tmp_path):
    two = {"role": "user", "content": "Well?"}
    answer, other = ({"role": "assistant", "content": text} for text in "ab")
    talk = {"prompt": [two, answer, two], "chosen": [answer], "rejected": [other]}
    write_jsonl(tmp_path / "rows.jsonl", [talk, talk | {"prompt": [two]}, {"prompt": 3}])
    with pytest.raises(LossError, match=r"(?s)2 of 3 rows.*no-place, as rows.jsonl:1.*--allow-losses"):
        export(tmp_path / "rows.jsonl", tmp_path / "out", to="argilla")
    # What was made of a third of the rows is no result; what was put aside stays, and the directory can be used again.
    assert {"dropped.parquet", "quarantine.jsonl"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert not (tmp_path / "out" / "rows.jsonl").exists()
    run = export(tmp_path / "rows.jsonl", tmp_path / "out", to="argilla", allow_losses=True)
    summary = read_manifest(run.path)["summary"]
    assert {name: summary[name] for name in ("rows", "no_place", "quarantined")} == {
        "rows": 1,
        "no_place": 1,
        "quarantined": 1,
    }
    write = next(tally for tally in read_json(run.path / "tally.json") if tally["stage"] == "write")
    assert write == {"stage": "write", "in": 2, "out": 1, "dropped": {"no-place": 1}, "counts": {"no-place-prompt": 1}}
    assert summary["without_place"] == "prompt (1)"


def test_what_a_source_does_not_hold_is_refused(tmp_path, rows):
    with pytest.raises(DataError, match="binarize it first"):
        export(rows, tmp_path / "out", to="h4")
    write_jsonl(tmp_path / "chats.jsonl", [{"messages": [{"role": "user", "content": "Hi."}]}])
    with pytest.raises(DataError, match="choose another layout"):
        export(tmp_path / "chats.jsonl", tmp_path / "out2", to="trl")
    with pytest.raises(ConfigError, match="helpsteer"):
        export(rows, tmp_path / "out3", to="helpsteer")


def test_the_same_source_gives_the_same_bytes(tmp_path, pairs):
    one, two = (export(pairs, tmp_path / name, to="h4", format="parquet").path / "rows.parquet" for name in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_nothing_to_write_is_an_error(tmp_path):
    rows = [{"chosen": "\n\nHuman: a\n\nAssistant: b\n\nAssistant: c", "rejected": "\n\nHuman: a\n\nAssistant: d"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match=r"gives no row of the layout argilla\n  1 no-place, as rows.jsonl:1"):
        export(tmp_path / "rows.jsonl", tmp_path / "out", to="argilla")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_an_error_names_the_option_that_was_typed(rows):
    done = notus("export", rows.name, "--layout", "trll", cwd=rows.parent)
    one_line(done, 2, "'--layout' is 'trll'", "did you mean 'trl'?")

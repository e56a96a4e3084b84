"""Data from Python: the same records, counts and tables as the commands give, without a directory of their own."""

import json
import subprocess
import sys

import pandas as pd
import pyarrow as pa
import pytest

import notus
from notus.core.errors import ConfigError, DataError
from notus.core.records import Feedback, Preference
from notus.core.tables import read_records

PAIRS = [{"prompt": f"Question {n}?", "chosen": f"Yes, {n}.", "rejected": f"No, {n}!"} for n in range(5)]


def feedback_rows(count=12, sound=lambda n: n % 3 == 0):
    rows = []
    for n in range(count):
        answers = [("a", f"Red {n}.", 8.0 if sound(n) else 10.0, 5 if sound(n) else 1), ("b", f"Blue {n}.", 4.0, 2)]
        completions = [
            {
                "model": model,
                "response": text,
                "critique": "Fine.",
                "overall_score": score,
                "fine-grained_score": float(rating),
                "principle": "helpfulness",
                "custom_system_prompt": "Help.",
                "annotations": {
                    aspect: {"Rating": str(rating), "Rationale": "So."}
                    for aspect in ("helpfulness", "honesty", "instruction_following", "truthfulness")
                },
            }
            for model, text, score, rating in answers
        ]
        row = {"source": "mine", "instruction": f"A colour, number {n}?", "models": ["a", "b"]}
        rows.append(row | {"completions": completions, "correct_answers": ["None"], "incorrect_answers": ["None"]})
    return rows


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "feedback.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in feedback_rows()))
    return path


@pytest.mark.parametrize(
    "given",
    [
        PAIRS,
        pd.DataFrame(PAIRS),
        pd.DataFrame(PAIRS, index=list("abcde")),
        pd.DataFrame([PAIRS[0] | {"note": 1}, *(row | {"note": "x"} for row in PAIRS[1:])]),
        pa.Table.from_pylist(PAIRS),
        pa.RecordBatch.from_pylist(PAIRS),
        pa.Table.from_pylist(PAIRS).to_reader(max_chunksize=2),
        tuple(PAIRS),
        iter(PAIRS),
    ],
    ids=["rows", "pandas", "index", "mixed", "arrow", "batch", "reader", "tuple", "iterator"],
)
def test_whatever_holds_rows_is_read_alike(given):
    data = notus.read(given)
    assert (data.kind, data.format, len(data)) == ("Preference", "trl", 5)
    first = next(iter(data))
    assert (first.prompt[0].content, first.chosen[0].content) == ("Question 0?", "Yes, 0.")


def test_a_dataset_is_read_and_given_back():
    datasets = pytest.importorskip("datasets")
    data = notus.read(datasets.Dataset.from_list(PAIRS))
    assert len(data) == 5
    assert data.to_dataset().num_rows == 5
    assert list(notus.read(datasets.Dataset.from_list(PAIRS).with_format("numpy"))) == list(data)
    assert list(notus.read(datasets.Dataset.from_list(PAIRS).to_iterable_dataset())) == list(data)


def test_of_several_splits_one_is_read_and_the_others_are_said():
    datasets = pytest.importorskip("datasets")
    rows = {"train": datasets.Dataset.from_list(PAIRS), "test": datasets.Dataset.from_list(PAIRS[:2])}
    for given in (datasets.DatasetDict(rows), {"train": PAIRS, "test": PAIRS[:2]}):
        data = notus.read(given)
        assert (len(data), data.not_read, data.summary["not_read"]) == (5, *["split test (1 table)"] * 2)
        assert len(notus.read(given, split="test")) == 2
        assert len(notus.read(given, split="all")) == 7
        with pytest.raises(ConfigError, match="no split 'tets'; did you mean 'test'"):
            notus.read(given, split="tets")
    with pytest.raises(DataError, match=r"several splits and none is named train: split a .*, split b"):
        notus.read({"a": PAIRS, "b": PAIRS})
    with pytest.raises(DataError, match="a mapping of columns to values is needed"):
        notus.read({"prompt": ["a"]})


def test_splits_of_a_folder_hold_through_steps(tmp_path):
    for name, rows in (("train", PAIRS), ("test", PAIRS[:2])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = notus.read(tmp_path, split="test")
    assert len(data) == 2
    assert len(notus.clean(data)) == 2
    assert "split train (1 table)" in notus.clean(data).summary["not_read"]


def test_a_frame_of_polars_is_read():
    polars = pytest.importorskip("polars")
    for frame in (polars.DataFrame(PAIRS), polars.LazyFrame(PAIRS)):
        assert list(notus.read(frame)) == list(notus.read(PAIRS))


def test_our_own_records_are_read_back_as_they_are(file):
    records = list(notus.read(file))
    assert list(notus.read(records)) == records
    assert all(isinstance(record, Feedback) for record in records)


def test_bad_rows_are_counted(file):
    with file.open("a") as out:
        out.write('{"broken": \n')
    data = notus.read(file)
    assert len(data) == 12
    assert data.tally == [{"stage": "read", "in": 13, "out": 12, "dropped": {"broken-json": 1}, "counts": {}}]
    assert data.dropped.column("reason").to_pylist() == ["broken-json"]


def test_an_audit_has_a_table_with_places(tmp_path):
    path = tmp_path / "many.jsonl"
    rows = feedback_rows(60, sound=lambda n: n % 10 != 1)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = notus.audit(path).table
    assert table.column_names == [
        *("row", "id", "prompt", "answer", "reasons", "evidence", "suspicion", "q", "file", "line"),
    ]
    found = table.to_pylist()
    assert len(found) == 120
    # Each tenth row, from number 1 on, has a 10 beside ratings of 1.
    assert [row["row"] for row in found[:6]] == [2, 12, 22, 32, 42, 52]
    assert all(row["answer"] == f"Red {row['row'] - 1}." and "set-to-1" in row["reasons"] for row in found[:6])
    assert all((row["file"], row["line"]) == (path.name, row["row"]) for row in found)


def test_an_audit_shows_itself_in_a_notebook(file):
    found = notus.audit(file)
    assert found._repr_html_().lstrip().lower().startswith("<!doctype html>")
    assert "Health of the set" in repr(found)


def test_the_way_to_pairs_equals_the_commands(file, tmp_path):
    pairs = notus.binarize(notus.repair(file), strategy="critique", seed=0)
    for step, source, more in (("repair", file, []), ("binarize", "r", ["--strategy", "critique"])):
        command = [sys.executable, "-m", "notus", step, str(source), *more, "--out", step[0]]
        subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    assert list(pairs) == list(read_records(tmp_path / "b" / "preferences.parquet", Preference))
    # Eight false tens become ones, so that the other answer is chosen there.
    assert sum(pair.chosen[0].content.startswith("Blue") for pair in pairs) == 8
    assert pairs.to_pandas().shape[0] == len(pairs) == 12


def test_a_pair_explains_itself(file):
    text = repr(notus.binarize(notus.repair(file), strategy="critique").explain(1))
    assert "rejected: a, score 1" in text
    assert "set-to-1" in text or "10" in text


def test_nothing_is_left_where_nothing_is_asked_for(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    pairs = notus.binarize(file, strategy="mean-rating")
    assert len(pairs) == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["feedback.jsonl", "tmp"]
    del pairs
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_directory_is_kept_where_one_is_asked_for(file, tmp_path):
    pairs = notus.binarize(file, strategy="mean-rating", out=tmp_path / "pairs")
    assert (tmp_path / "pairs" / "manifest.json").is_file()
    assert list(notus.read(tmp_path / "pairs")) == list(pairs)


def test_cleaning_counts_what_goes():
    rows = feedback_rows()
    cleaned = notus.clean([*rows, rows[0]])
    assert len(cleaned) == 12
    assert cleaned.dropped.num_rows == 1


def test_a_wrong_setting_is_answered_with_the_nearest(file):
    with pytest.raises(ConfigError, match=r"notus\.binarize.*did you mean 'mean-rating'"):
        notus.binarize(file, strategy="mean-ratng")
    with pytest.raises(ConfigError, match="did you mean 'margin'"):
        notus.binarize(file, margn=1.0)


def test_functions_stay_functions_when_rooms_of_their_names_are_imported():
    code = "import notus.audit.feedback, notus.collect.settings, notus.clean.words, notus.evaluate.compare, notus\n"
    code += "assert all(callable(getattr(notus, name)) for name in ('audit', 'collect', 'clean', 'evaluate'))"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_public_names_are_all_there():
    assert set(notus.__all__) <= set(dir(notus))
    assert all(getattr(notus, name) is not None for name in notus.__all__)
    with pytest.raises(AttributeError, match="no attribute 'binarise'"):
        _ = notus.binarise


SCRIPT = """
import notus

data = notus.read("mine.jsonl")
found = notus.audit(data)
rows: int = found.table.num_rows
pairs = notus.binarize(notus.repair(data), strategy="mean-rating", seed=0)
count: int = len(pairs)
for record in pairs:
    print(record)
run = notus.dpo(pairs, start="owner/model", loss="ipo", out="runs/dpo")
answers = notus.generate(run, ["Hello?"], n=4)
ranked = notus.rank("length", answers)
print(run.model.name, notus.compare([run]), ranked.kind)
"""


@pytest.mark.slow
def test_a_users_script_is_strictly_typed(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--ignore-missing-imports",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_setting_that_would_do_nothing_is_refused_as_on_the_command_line():
    data = notus.read(feedback_rows())
    with pytest.raises(ConfigError, match="held_out_by"):
        notus.binarize(data, held_out_by="source")


def test_a_pair_is_traced_to_a_run_whose_feedback_is_lines(tmp_path, monkeypatch):
    """The toy world leaves raw feedback as JSON lines, no Parquet."""
    monkeypatch.chdir(tmp_path)
    world = {"data.world.prompts": 20, "data.world.facts": 8, "data.world.held_out": 4, "data.world.sft_examples": 10}
    made = notus.run("demo", settings={"seeds": [0]} | world, until="data")
    pairs = notus.binarize(notus.read(made.steps["data"]), strategy="mean-rating", seed=0)
    first = next(read_records(pairs.place / "preferences.parquet", Preference))
    shown = str(pairs.explain(0))
    assert first.id in shown
    assert f"toy: {made.steps['data']}" in shown

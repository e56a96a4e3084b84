"""Tables that join: each table of a run says of each row its id, and the file and the line where it stood."""

import json

import pyarrow.parquet as pq
import pytest

from notus.core.artifacts import tables_in
from notus.core.records import Message, Output
from notus.core.tables import read_table, write_records
from notus.steps.perform import run_step
from notus.steps.registry import step_class
from tests.helpers.data_examples import raw_completion, raw_row

BAD = '{"instruction": '
WORDS = ("anchor", "basket", "candle", "dragon", "engine", "forest", "garden", "hammer", "island", "jacket", "kettle")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Feedback and pairs, each with a bad row in the middle, so that a number of a record is not its line."""
    place = tmp_path_factory.mktemp("joining")
    prompts = [f"What is the use of a {word} in place {number}?" for number, word in enumerate(WORDS)]
    prompts[7] = prompts[2]
    rows = [
        json.dumps(raw_row() | {"instruction": prompt, "completions": completions(n)})
        for n, prompt in enumerate(prompts)
    ]
    rows[4:4] = [BAD]
    (place / "feedback.jsonl").write_text("\n".join(rows) + "\n")
    pairs = [
        json.dumps({"prompt": prompt, "chosen": f"Long answer {n}.", "rejected": "No."})
        for n, prompt in enumerate(prompts)
    ]
    pairs[4:4] = [BAD]
    (place / "pairs.jsonl").write_text("\n".join(pairs) + "\n")
    (place / "items.txt").write_text(prompts[10] + "\n")
    return place


def completions(number):
    tens = [("alder", "2 1 1 1", 10.0), ("birch", "5 4 5 5", 8.0), ("cedar", "3 3 3 3", 10.0)]
    return [
        raw_completion(model, ratings, score) | {"response": f"{model} says {number}."}
        for model, ratings, score in tens
    ]


def lines_of(path):
    """Line → prompt of what a file holds, read by itself."""
    found = {}
    for line, text in enumerate(path.read_text().splitlines(), 1):
        if text != BAD:
            row = json.loads(text)
            found[line] = row.get("instruction") or row["prompt"]
    return found


RUNS = {
    "read": {"path": "feedback.jsonl"},
    "audit": {"data": "feedback.jsonl"},
    "audit-pairs": {"step": "audit", "data": "pairs.jsonl"},
    "repair": {"data": "feedback.jsonl"},
    "clean": {"data": "feedback.jsonl", "against": ["items.txt"], "filters": ["empty-answer"], "truecase": True},
    "binarize": {"data": "feedback.jsonl", "margin": 1.0, "held_out": 0.2},
    "export": {"data": "pairs.jsonl", "to": "trl"},
    "diff": {"a": "pairs.jsonl", "b": "pairs.jsonl"},
    "rank": {"outputs": "feedback.jsonl", "ranker": "length"},
    "best-of-n": {"outputs": "feedback.jsonl", "ranker": "length"},
    "reward-check": {"data": "pairs.jsonl", "ranker": "length"},
    "judges": {"data": "pairs.jsonl", "rankers": ["length"], "canaries": 3},
}


@pytest.mark.parametrize("name", RUNS)
def test_each_table_of_a_run_leads_back_to_the_row(place, tmp_path, monkeypatch, name):
    monkeypatch.chdir(place)
    settings = dict(RUNS[name])
    step = settings.pop("step", name)
    run = run_step(step, step_class(step).parse(settings, where="test"), tmp_path / name)
    tables = [table for table in tables_in(run.path) if table.endswith(".parquet")]
    assert tables
    for table in tables:
        names = pq.ParquetDataset(run.path / table).schema.names
        assert {"file", "line"} <= set(names), table
        assert {"id", "prompt_id"} & set(names), table
        rows = read_table(run.path / table)
        assert rows or table == "decisions.parquet", table  # nothing is to be edited here
        for row in rows:
            check_row(place, table, row)


def check_row(place, table, row):
    prompts = lines_of(place / row["file"])
    if table == "dropped.parquet" and not row["id"]:
        assert (place / row["file"]).read_text().splitlines()[row["line"] - 1] == BAD
        return
    assert row["line"] in prompts, table
    for kept in ("", "kept_"):
        if isinstance(row.get(f"{kept}prompt"), str):
            assert row[f"{kept}prompt"] == prompts[row[f"{kept}line"]]
        if f"{kept}row" in row:  # counted from 1, and one bad row lies before the fifth record
            assert row[f"{kept}row"] == row[f"{kept}line"] - (row[f"{kept}line"] > 5)


def test_ids_are_the_same_in_all_tables_of_a_set(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    runs = {
        name: run_step(name, step_class(name).parse(RUNS[name], where="test"), tmp_path / name).path
        for name in ("read", "audit", "binarize", "rank", "repair")
    }
    feedback = {row["id"]: (row["prompt_id"], row["line"]) for row in read_table(runs["read"] / "feedback.parquet")}
    assert len(feedback) == len(WORDS)
    audited = {row["id"]: row for row in read_table(runs["audit"] / "completions.parquet")}
    for row in (*audited.values(), *read_table(runs["rank"] / "ranks.parquet")):
        assert feedback[row["feedback_id"]] == (row["prompt_id"], row["line"])
    assert {row["id"] for row in read_table(runs["rank"] / "ranks.parquet")} == audited.keys()
    for row in read_table(runs["binarize"] / "preferences.parquet"):
        assert feedback[row["feedback_id"]] == (row["prompt_id"], row["line"])
    decisions = read_table(runs["repair"] / "decisions.parquet")
    assert decisions
    assert all(audited[row["id"]]["line"] == row["line"] for row in decisions)


def test_scores_of_answers_lead_back_to_the_prompts_row(tmp_path):
    prompt = (Message(role="user", content="Hi."),)
    outputs = [Output(prompt=prompt, text="x" * n, model="m", sample=n, file="f.jsonl", line=7) for n in range(3)]
    write_records(tmp_path / "outputs.parquet", outputs, Output)
    config = step_class("evaluate").parse({"outputs": str(tmp_path / "outputs.parquet"), "by": "length"}, where="t")
    run = run_step("evaluate", config, tmp_path / "out")
    for table in ("scores.parquet", "verdicts.parquet"):
        rows = read_table(run.path / table)
        assert [(row["id"], row["file"], row["line"]) for row in rows] == [(o.id, "f.jsonl", 7) for o in outputs]

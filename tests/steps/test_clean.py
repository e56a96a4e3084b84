"""The step that cleans: what lies in its run directory, dry runs, shards and processes, sources of each kind."""

import json
from importlib import import_module
from unittest.mock import Mock

import msgspec
import pytest

from notus.clean.clean import Contaminated, Repeated
from notus.core.errors import ConfigError, DataError
from notus.core.records import Decision, Dialogue, Feedback, Preference
from notus.core.run import read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_batch, read_records, read_table, write_records
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source, open_source
from notus.steps.base import refs_of
from notus.steps.data.clean import Clean
from notus.steps.perform import run_step
from tests.helpers.data_examples import SHARED, raw_row

QUESTION = "What happens to a compass needle that is carried over the magnetic pole?"
PROMPTS = ["Name a river.", QUESTION, "NAME a river", "Name a bird that sings at night.", f"Say briefly: {QUESTION}"]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "feedback.jsonl"
    path.write_text("".join(json.dumps(raw_row() | {"instruction": text}) + "\n" for text in PROMPTS))
    (tmp_path / "questions.txt").write_text(f"{QUESTION}\nWhich city has the most bridges?\n")
    return path


def clean(path, out, **settings):
    config = Clean.parse({"data": str(path)} | settings, where="test")
    return run_step("clean", config, out)


def prompts(run):
    return [record.prompt[0].content for record in read_records(run.path / "feedback.parquet", Feedback)]


def test_what_stays_what_goes_and_why(source, tmp_path):
    run = clean(source, tmp_path / "out", against=[str(tmp_path / "questions.txt")])
    assert prompts(run) == ["Name a river.", "Name a bird that sings at night."]
    dropped = read_table(run.path / "dropped.parquet")
    assert [row["reason"] for row in dropped] == ["contaminated", "duplicate", "contaminated"]
    assert all(row["stage"] == "clean" and row["detail"] for row in dropped)
    assert [row.kept_prompt for row in read_records(run.path / "duplicates.parquet", Repeated)] == ["Name a river."]
    kinds = [row.kind for row in read_records(run.path / "contamination.parquet", Contaminated)]
    assert kinds == ["exact", "contained"]
    summary = read_manifest(run.path)["summary"]
    assert (summary["records"], summary["kept"], summary["questions"]) == (5, 2, 2)
    assert {"health.json", "contamination-similarity.svg", "contamination-coverage.svg"} <= {
        file.name for file in run.path.iterdir()
    }
    tallies = json.loads((run.path / "tally.json").read_text())
    assert [(tally["stage"], tally["in"], tally["out"]) for tally in tallies] == [("read", 5, 5), ("clean", 5, 2)]
    assert not list(run.path.glob(".*"))


def test_a_dry_run_shows_the_same_and_writes_no_data(source, tmp_path):
    against = [str(tmp_path / "questions.txt")]
    real = clean(source, tmp_path / "real", against=against)
    dry = clean(source, tmp_path / "dry", against=against, dry_run=True)
    assert not list(dry.path.glob("feedback*"))
    for name in ("dropped.parquet", "duplicates.parquet", "contamination.parquet", "health.json", "tally.json"):
        assert (dry.path / name).read_bytes() == (real.path / name).read_bytes(), name


def test_what_was_cleaned_can_be_cleaned_again(source, tmp_path):
    first = clean(source, tmp_path / "one")
    again = clean(first.path, tmp_path / "two")
    assert prompts(again) == prompts(first)
    assert not (again.path / "dropped.parquet").exists()


@pytest.mark.parametrize("placed", [True, False])
def test_columns_give_the_bytes_that_records_give(source, tmp_path, monkeypatch, placed):
    records = list(open_source(str(source)).records(Tally("read"), Quarantine()))
    if not placed:
        records = [msgspec.structs.replace(record, file="", line=0) for record in records]
    (tmp_path / "in").mkdir()
    write_records(tmp_path / "in" / "feedback.parquet", records, Feedback)
    names = ("feedback.parquet", "dropped.parquet", "duplicates.parquet", "contamination.parquet", "tally.json")
    against = [str(tmp_path / "questions.txt")]
    made = Mock(wraps=read_batch)
    monkeypatch.setattr(import_module("notus.clean.clean"), "read_batch", made)
    columns = clean(tmp_path / "in", tmp_path / "columns", against=against)
    assert made.called
    monkeypatch.setattr(Source, "batches", lambda *_: None)
    rows = clean(tmp_path / "in", tmp_path / "rows", against=against)
    for name in names:
        assert (columns.path / name).read_bytes() == (rows.path / name).read_bytes(), name
    assert [(record.file, record.line) for record in read_records(rows.path / names[0], Feedback)] == (
        [("feedback.jsonl", 1), ("feedback.jsonl", 4)] if placed else [("feedback.parquet", 1), ("feedback.parquet", 4)]
    )


def test_what_is_in_the_questions_counts_and_not_where_they_lie(source, tmp_path):
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other" / "copy.txt"
    copy.write_bytes((tmp_path / "questions.txt").read_bytes())
    configs = [Clean.parse({"data": str(source), "against": [str(path)]}, where="t") for path in (copy, source)]
    assert refs_of(configs[0]) == {"data": str(source), "against.0": str(copy)}
    run = clean(source, tmp_path / "out", against=[str(copy)])
    assert clean(source, tmp_path / "out", against=[str(tmp_path / "questions.txt")]).digest == run.digest
    copy.write_text("Something else?\n")
    assert clean(source, tmp_path / "new", against=[str(copy)]).digest != run.digest


def test_dialogues_leave_edits_as_decisions(tmp_path):
    path = tmp_path / "chat.jsonl"
    answers = ["Hello. how are you?", "As an AI, I do not have feelings.", "Fine, thanks."]
    rows = [
        {"messages": [{"role": "user", "content": f"Hi {n}."}, {"role": "assistant", "content": answer}]}
        for n, answer in enumerate(answers)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = clean(path, tmp_path / "out")
    kept = list(read_records(run.path / "dialogues.parquet", Dialogue))
    assert [record.messages[1].content for record in kept] == ["Hello. How are you?", "Fine, thanks."]
    (decision,) = read_records(run.path / "decisions.parquet", Decision)
    assert (decision.before, decision.after, decision.rule) == (
        "Hello. how are you?",
        "Hello. How are you?",
        "truecase",
    )


def test_pairs_are_cleaned(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": prompt, "chosen": "Yes.", "rejected": "No."} for prompt in ("Is it?", "is  it", "Was it ever?")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = clean(path, tmp_path / "out")
    assert sum(1 for _ in read_records(run.path / "preferences.parquet", Preference)) == 2


def test_mistakes_are_told(source, tmp_path):
    with pytest.raises(ConfigError, match=r"'.*none.txt' is no file"):
        clean(source, tmp_path / "a", against=[str(tmp_path / "none.txt")])
    with pytest.raises(ConfigError, match="filters"):
        Clean.parse({"data": str(source), "filters": ["rude"]}, where="notus clean")
    (tmp_path / "all.txt").write_text("\n".join(PROMPTS))
    with pytest.raises(DataError, match=r"no record of .* is left; .*--dry-run\n  \d+ contaminated"):
        clean(source, tmp_path / "b", against=[str(tmp_path / "all.txt")])


def test_many_shards_and_processes_give_the_same_bytes(tmp_path, monkeypatch):
    path = tmp_path / "feedback.jsonl"
    with path.open("w") as file:
        for number in range(400):
            text = f"Word {number} and word {number * 7} or word {number * 13}: which is the longest?"
            text = text if number % 10 else PROMPTS[number // 10 % 4]
            file.write(json.dumps(raw_row() | {"instruction": text}) + "\n")
    from notus.formats import source as sources

    monkeypatch.setattr(sources, "SHARD", 200_000)
    runs = [clean(path, tmp_path / str(workers), workers=workers) for workers in (1, 2)]
    names = [sorted(str(f.relative_to(run.path)) for f in run.path.rglob("*") if f.is_file()) for run in runs]
    assert names[0] == names[1]
    for name in names[0]:
        if name not in ("manifest.json", "log.txt"):
            assert (runs[0].path / name).read_bytes() == (runs[1].path / name).read_bytes(), name
    kept = open_source(str(runs[0].path / "feedback.parquet")).records(Tally("read"), Quarantine())
    assert len({record.prompt_id for record in kept}) == 363


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real data here")
def test_real_dialogues_and_pairs(tmp_path):
    against = [str(SHARED / "benchmarks"), str(SHARED / "mt_bench" / "question.jsonl")]
    run = clean(SHARED / "ultrafeedback" / "binarized_1000.jsonl", tmp_path / "pairs", against=against)
    summary = read_manifest(run.path)["summary"]
    assert summary["records"] == 1000
    assert summary["kept"] >= 990, "these prompts hold no question of the benchmarks, and few duplicates"

"""Questions out of the files in which benchmarks are published, and out of plain ones."""

import gzip
import json

import pytest

from notus.clean.benchmarks import read_benchmarks, read_item_texts
from notus.core.errors import DataError
from tests.helpers.data_examples import SHARED

ROWS = {
    "truthfulqa": {"question": "Can pigs fly?", "mc1_targets": {"No.": 1}, "mc2_targets": {"No.": 1}},
    "gsm8k": {"question": "Ann has 2 pens. How many?", "answer": "Two.\n#### 2"},
    "mmlu": {"split": "dev", "subject": "law", "question": "What is a tort?", "choices": ["a", "b"], "answer": "A"},
    "arc": {"choices": ["a", "b"], "query": "Question: What melts ice?", "gold": 0},
    "alpaca_eval": {"instruction": "Name a tree.", "output": "Elm.", "generator": "x", "dataset": "koala"},
    "mine": {"text": "What is a fjord?"},
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("form", ["jsonl", "json", "jsonl.gz"])
def test_a_known_file_is_known_by_its_fields(tmp_path, name, form):
    row = json.dumps(ROWS[name])
    path = tmp_path / f"mine.{form}"
    data = f"[{row}]" if form == "json" else f"{row}\n\n"
    path.write_bytes(gzip.compress(data.encode()) if form.endswith("gz") else data.encode())
    (item,) = read_benchmarks([path])
    assert (item.benchmark, item.name) == (name, "0")
    assert not item.text.startswith("Question:")


def test_both_turns_of_mt_bench_are_items(tmp_path):
    path = tmp_path / "question.jsonl"
    path.write_text(json.dumps({"question_id": 81, "category": "writing", "turns": ["Write.", "Write again."]}))
    assert [(i.benchmark, i.name, i.text) for i in read_benchmarks([path])] == [
        ("mt_bench", "0/1", "Write."),
        ("mt_bench", "0/2", "Write again."),
    ]


def test_lines_and_tables_and_messages(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffFirst question?\n\nSecond question?\n")
    (tmp_path / "b.csv").write_text('Question,Other\n"Third,\nquestion?",x\n')
    turns = [{"role": "user", "content": "Fourth question?"}, {"role": "assistant", "content": "Yes."}]
    (tmp_path / "c.jsonl").write_text(json.dumps({"turns": turns}) + "\n")
    found = read_benchmarks([tmp_path])
    assert [(i.benchmark, i.text) for i in found] == [
        ("a", "First question?"),
        ("a", "Second question?"),
        ("b", "Third,\nquestion?"),
        ("c", "Fourth question?"),
    ]


def test_a_line_separator_inside_a_text_ends_no_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "One\u2028two?"}, ensure_ascii=False))
    assert read_benchmarks([path])[0].text == "One\u2028two?"


def test_what_stands_in_two_files_counts_once(tmp_path):
    (tmp_path / "a.txt").write_text("Can pigs fly?\n")
    (tmp_path / "b.txt").write_text("can pigs  FLY\nCan fish fly?\n")
    assert [i.text for i in read_benchmarks([tmp_path / "b.txt", tmp_path / "a.txt"])] == [
        "can pigs  FLY",
        "Can fish fly?",
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"answer": "x"}\n', "holds no question"),
        ("a.jsonl", "[1, 2]", "row 1 is no object"),
        ("a.jsonl", "{broken", "holds no table of questions"),
        ("a.json.gz", "not gzip", "cannot read"),
        ("a.txt", "\n \n?!\n", "holds no question"),
    ],
)
def test_a_file_without_questions_is_refused(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=words) as error:
        read_benchmarks([path])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_in_a_folder_what_is_no_benchmark_is_skipped_and_told(tmp_path):
    (tmp_path / "a.txt").write_text("Can pigs fly?\n")
    (tmp_path / "notes.json").write_text('{\n  "items": 3\n}\n')
    (tmp_path / "scores.jsonl").write_text('{"answer": "x"}\n')
    skipped = {}
    assert [item.text for item in read_benchmarks([tmp_path], skipped)] == ["Can pigs fly?"]
    assert {path.name: "one JSON object" in why for path, why in skipped.items()} == {
        "notes.json": True,
        "scores.jsonl": False,
    }
    # A file that is named is meant; and a folder without any question is a mistake.
    with pytest.raises(DataError, match="holds no question"):
        read_benchmarks([tmp_path, tmp_path / "scores.jsonl"])
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DataError, match=r"no file in .* holds questions; the first says: .*notes\.json"):
        read_benchmarks([tmp_path])


def test_a_file_that_cannot_be_read_is_no_reason_to_skip_it(tmp_path):
    (tmp_path / "a.txt").write_text("Can pigs fly?\n")
    (tmp_path / "b.jsonl.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match="cannot read"):
        read_benchmarks([tmp_path])


def test_missing_files_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_benchmarks([tmp_path / "none.txt"])
    with pytest.raises(DataError, match="holds no file of questions"):
        read_benchmarks([tmp_path])


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real data here")
def test_the_real_files_are_read():
    files = [SHARED / "benchmarks", SHARED / "mt_bench" / "question.jsonl"]
    files += sorted((SHARED / "alpaca_eval").glob("outputs_*.gz")) + sorted((SHARED / "alpaca_eval").glob("ann*.gz"))
    items = read_benchmarks(files)
    counts = {name: sum(item.benchmark == name for item in items) for name in {item.benchmark for item in items}}
    # Each instruction of AlpacaEval once, though nine files hold them; a few questions of others stand there twice.
    assert counts.keys() == {"truthfulqa", "gsm8k", "mmlu", "arc", "alpaca_eval", "mt_bench"}
    assert counts["truthfulqa"] >= 817
    assert counts["gsm8k"] == 500
    assert 1800 <= counts["mmlu"] <= 1816
    assert 2350 <= counts["arc"] <= 2376
    assert 800 <= counts["alpaca_eval"] <= 805
    assert 155 <= counts["mt_bench"] <= 160


def test_questions_are_read_from_csv_json_lines_and_text(tmp_path):
    texts = {
        "a.csv": 'Type,Question\nx,"Who, me?"\ny,Why?\n',
        "a.jsonl": '{"question": "Who, me?"}\n{"question": "Why?"}\n',
        "a.json": '[{"question": "Who, me?"},\n {"question": "Why?"}]',
        "a.txt": "Who, me?\n\n Why?\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert read_item_texts(tmp_path / name) == ["Who, me?", "Why?"]
    (tmp_path / "none.csv").write_text("Type\nx\n")
    (tmp_path / "broken.jsonl").write_text("{\n")
    (tmp_path / "object.json").write_text('{\n  "items": 3\n}\n')
    for name, words in (
        ("none.csv", "holds no question"),
        ("broken.jsonl", "no table"),
        ("gone.txt", "cannot read"),
        ("object.json", "one JSON object"),
    ):
        with pytest.raises(DataError, match=words):
            read_item_texts(tmp_path / name)


def test_a_question_that_stands_twice_is_read_twice(tmp_path):
    (tmp_path / "a.txt").write_text("Why?\nwhy?\n")
    assert read_item_texts(tmp_path / "a.txt") == ["Why?", "why?"]


def test_the_real_questions_are_817():
    path = SHARED / "benchmarks" / "truthfulqa.csv"
    if not path.exists():
        pytest.skip("the benchmark is not here")
    assert len(read_item_texts(path)) == 817


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("a.jsonl", '{"question": "One?"}\n{"question": "Two?", "question": "Three?"}\n', "row 2"),
        ("a.json", '[{"question": "One?"}, {"question": "Two?", "question": "Three?"}]', "an object of it"),
    ],
)
def test_a_question_that_a_second_key_would_hide_is_named(tmp_path, name, text, where):
    path = tmp_path / name
    path.write_text(text)
    for given in (path, tmp_path):  # in a folder it is no file without questions
        with pytest.raises(DataError, match=f"{name}: {where} names a key twice"):
            read_benchmarks([given])

"""The step and the command that ask the questions of a benchmark."""

import json
import subprocess
import sys

import pytest

from notus.cli.main import EVALUATIONS
from notus.cli.prepare import task_or_file
from notus.core.config import digest_of
from notus.core.errors import ConfigError
from notus.core.run import Run, read_json
from notus.core.tables import read_table
from notus.engine.load import build_model, save_model, train_tokenizer
from notus.engine.settings import Shape
from notus.evaluate.harness.suite import SUITES
from notus.steps.evaluate.harness import Harness, HarnessSuite, _mark
from notus.steps.perform import run_step
from tests.helpers.harness_rows import hub_rows

WORDS = ["hot", "cold", "big", "small", "old", "young", "wet", "dry", "up", "down", "opposite", "hope"]


@pytest.fixture
def place(model, tokenizer, tmp_path, monkeypatch):
    """A folder with a model below runs/base and questions of our own."""
    monkeypatch.chdir(tmp_path)
    save_model(model, tokenizer, tmp_path / "runs" / "base" / "model")
    choices = [{"text": [a, b], "label": ["A", "B"]} for a, b in zip(WORDS, reversed(WORDS), strict=True)]
    arc = [
        {"question": f"{w}?", "choices": of, "answerKey": "AB"[n % 2]}
        for n, (w, of) in enumerate(zip(WORDS, choices, strict=True))
    ]
    truth = {"choices": ["Yes.", "No."], "labels": [1, 0]}
    asked = [{"question": f"{word}?", "mc1_targets": truth, "mc2_targets": truth} for word in WORDS[:4]]
    mmlu = [
        {"subject": subject, "question": f"{word}?", "choices": WORDS[:4], "answer": n % 4, "split": split}
        for subject in ("anatomy", "virology")
        for n, word in enumerate(WORDS[:4])
        for split in ("dev", "test")
    ]
    for name, rows in {"arc": [*arc, arc[0]], "truthfulqa": asked, "mmlu": mmlu}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def config(**settings):
    return Harness.parse({"model": "runs/base", "max_length": 128, **settings}, where="test")


def test_the_step_leaves_answers_scores_and_the_version_of_lm_eval(place):
    run = run_step("harness", config(task="arc_easy", data="arc.jsonl"), place / "out")
    scores, answers = read_table(run.path / "scores.parquet"), read_table(run.path / "answers.parquet")
    assert len(scores) == len(answers) == 13
    assert len({(row["prompt_id"], row["sample"]) for row in scores}) == 13  # one question stands in the file twice
    assert {row["value"] for row in scores} <= {0.0, 1.0}
    logps = [json.loads(row["responses"]) for row in answers]
    assert all(logp < 0 and isinstance(greedy, bool) for of in logps for logp, greedy in of)
    summary = read_json(run.path / "manifest.json")["summary"]
    assert summary["lm_eval"].startswith("0.4.")
    assert summary["mean"] == pytest.approx(sum(row["value"] for row in scores) / 13)
    assert summary["interval"]["low"] < summary["mean"] < summary["interval"]["high"]
    assert (summary["n"], summary["shots"], summary["metric"], summary["mark"]) == (13, 0, "acc_norm", "")
    finding, *_ = read_json(run.path / "health.json")
    assert f"lm-eval {summary['lm_eval']}" in finding["sentences"][0]


def test_it_is_said_whether_the_chat_template_was_applied(place):
    run = run_step("harness", config(task="arc_easy", data="arc.jsonl", limit=2), place / "out")
    assert "chat template off: plain text" in (run.path / "log.txt").read_text()
    assert read_json(run.path / "manifest.json")["summary"]["asked_as"] == "chat template off: plain text"
    assert "chat template off" in read_json(run.path / "health.json")[0]["sentences"][0]


def test_a_suite_has_a_row_for_each_task_and_their_mean(place):
    tokenizer = train_tokenizer(WORDS * 8, 400)
    long = build_model(
        Shape(vocabulary=400, width=16, layers=1, heads=2, kv_heads=1, ffn=32, positions=512), tokenizer, 0
    )
    save_model(long, tokenizer, place / "runs" / "long" / "model")
    (place / "suite").mkdir()
    for task in SUITES["open-llm-v1"]:
        (place / "suite" / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in hub_rows(task)))
    settings = {"model": "runs/long", "data": "suite", "limit": 2}
    run = run_step("suite", HarnessSuite.parse(settings, where="test"), place / "out")
    summary = read_json(run.path / "manifest.json")["summary"]
    assert {task: (of["shots"], of["n"]) for task, of in summary["tasks"].items()} == {
        "arc_challenge": (25, 2),
        "hellaswag": (10, 2),
        "mmlu": (5, 4),
        "truthfulqa_mc2": (0, 2),
        "winogrande": (5, 2),
        "gsm8k": (5, 2),
        "drop": (3, 2),
    }
    assert summary["mean"] == pytest.approx(sum(of["mean"] for of in summary["tasks"].values()) / 7)
    assert summary["interval"]["low"] < summary["mean"] < summary["interval"]["high"]
    assert summary["asked_as"] == "chat template off: plain text"
    (section,) = read_json(run.path / "health.json")
    assert len(section["table"]["rows"]) == 8
    assert section["table"]["rows"][-1][0] == "mean of the 7"
    assert "mmlu: the mean of 2 subjects, each counted alike" in " ".join(section["sentences"])
    short = HarnessSuite.parse(settings | {"max_length": 96}, where="test")
    with pytest.raises(ConfigError, match="'gsm8k' cannot be asked of so short a model"):
        run_step("suite", short, place / "short")


def test_the_command_takes_a_suite_or_a_task():
    assert task_or_file("notus eval harness", {"model": "m"}, {"suite": "open-llm-v1"}, None) == (
        "harness-suite",
        {"model": "m", "suite": "open-llm-v1"},
        (),
    )
    with pytest.raises(ConfigError, match="'--task' is set, and a suite has its own"):
        task_or_file("notus eval harness", {"model": "m", "task": "drop"}, {"suite": "open-llm-v1"}, None)
    with pytest.raises(ConfigError, match="open-llm-v1"):
        HarnessSuite.parse({"suite": "open-llm-v2"}, where="test")


def test_packed_and_padded_score_alike(place):
    packed = run_step("harness", config(task="arc_easy", data="arc.jsonl"), place / "a")
    padded = run_step("harness", config(task="arc_easy", data="arc.jsonl", engine="padded"), place / "b")
    assert read_table(packed.path / "scores.parquet") == read_table(padded.path / "scores.parquet")


def test_mmlu_is_told_by_subject(place):
    run = run_step("harness", config(task="mmlu", data="mmlu.jsonl", shots=2), place / "out")
    whole, subjects = read_json(run.path / "health.json")
    assert [row[0] for row in subjects["table"]["rows"]] == ["mmlu_anatomy", "mmlu_virology"]
    assert "over subjects" in whole["table"]["note"]
    assert {row["cluster"] for row in read_table(run.path / "scores.parquet")} == {"mmlu_anatomy", "mmlu_virology"}


def lineage(place, path):
    """Runs as training leaves them: data read from a file, a model trained on it."""
    for name, needs in (("data", {"path": path}), ("sft", {"data": "data"})):
        inputs = {key: digest_of(value) for key, value in needs.items()}
        with Run(place / name, stage=name, config={}, inputs=inputs, sources=needs):
            pass
    (place / "runs" / "base" / "model").rename(place / "sft" / "model")


@pytest.mark.parametrize(
    ("path", "said", "words"),
    [
        ("openbmb/UltraFeedback", None, "contaminated: UltraFeedback holds TruthfulQA's questions"),
        ("mine/other", None, "no sign of UltraFeedback"),
        ("mine/other", True, "contaminated: the settings say"),
        ("openbmb/UltraFeedback", False, ""),
    ],
)
def test_truthfulqa_is_marked_where_ultrafeedback_was_used(place, path, said, words):
    lineage(place, path)
    settings = config(model="sft", task="truthfulqa_mc2", data="truthfulqa.jsonl", contaminated=said)
    run = run_step("harness", settings, place / "out")
    summary = read_json(run.path / "manifest.json")["summary"]
    assert summary["mark"].startswith(words)
    assert bool(summary["mark"]) is bool(words)
    told = " ".join(read_json(run.path / "health.json")[0]["sentences"]).lower()
    assert words.lower() in told
    assert _mark(run, None, "arc_easy") == ""


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "name one task, or a task file; tasks with known shots: arc_challenge"),
        ({"task": "arc_easy", "task_file": "mine.yaml"}, "name one task"),
        ({"task": "boolq", "data": "x.jsonl"}, "'boolq' cannot come from a file of yours"),
        ({"task": "arc_esay", "data": "x.jsonl"}, "did you mean 'arc_easy'"),
        ({"task_file": "mine.yaml", "data": "x.jsonl"}, "a task file names its own"),
        ({"task": "arc_easy", "engine": "fast"}, "engine"),
    ],
)
def test_settings_that_do_not_fit_are_told(settings, words):
    with pytest.raises(ConfigError, match=words):
        config(**settings)


def notus(*arguments, cwd):
    command = [sys.executable, "-m", "notus", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd)


def test_the_command_and_its_example(place):
    command = EVALUATIONS["harness"]
    example = command.example.removeprefix("notus ").split()
    done = notus(*example, "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # neither bars nor remarks
    assert json.loads(done.stdout)["summary"]["n"] == 13
    again = notus(*example, cwd=place)
    assert "acc_norm" in again.stdout
    assert "nothing was done again" in again.stderr


def test_a_mistake_is_one_line(place):
    done = notus("eval", "harness", "runs/base", "--task", "arc_esay", "--data", "arc.jsonl", cwd=place)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "did you mean 'arc_easy'" in line

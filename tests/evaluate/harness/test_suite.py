"""Benchmarks on rows of the hub's formats held against lm-eval without any of our code, and suites of them."""

import json
import math
from pathlib import Path

import lm_eval.tasks
import pytest
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from notus.core.errors import DataError
from notus.engine.load import build_model, train_tokenizer
from notus.engine.settings import Shape
from notus.evaluate.harness.model import Engine
from notus.evaluate.harness.run import TASKS, AnsweredQuestion, run_task
from notus.evaluate.harness.suite import SUITES, files_of, suite_mean, suite_row
from tests.helpers.harness_rows import WORDS, hub_rows

TINY = {"vocabulary": 600, "width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "ffn": 64}


@pytest.fixture(scope="module")
def models():
    tokenizer = train_tokenizer(
        [f"Question: what is the {a} of a {b}?\nAnswer: {b}" for a in WORDS for b in WORDS], 600
    )
    return build_model(Shape(**TINY, positions=2048), tokenizer, 0).eval(), tokenizer


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("task", ["arc_challenge", "hellaswag", "winogrande", "gsm8k", "drop"])
def test_rows_in_the_hubs_format_score_as_lm_eval_itself_reads_and_scores_them(task, models, tmp_path, monkeypatch):
    """Their side gets the file as its own task's set, by its own loader and its own model; ours by ``--data``."""
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    model, tokenizer = models
    file, limit, shots = (
        write(tmp_path / f"{task}.jsonl", hub_rows(task, 12)),
        (2 if task in ("gsm8k", "drop") else 6),
        3,
    )
    splits = dict.fromkeys(("training_split", "validation_split"), None) | {
        "test_split": "test",
        "fewshot_split": "test",
    }
    manager = TaskManager(include_path=Path(lm_eval.tasks.__file__).parent / TASKS[task].folder, include_defaults=False)
    own_set = {
        "task": task,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(file)}, "cache_dir": str(tmp_path / "cache")},
        **splits,
    }
    loaded = manager.load([{"group": "own", "task": [own_set]}])
    for each in loaded["tasks"].values():
        each.set_config(key="num_fewshot", value=shots)
        each.set_fewshot_seed(seed=1234)
    side = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4)
    theirs = evaluate(lm=side, task_dict=loaded, limit=limit, bootstrap_iters=0, log_samples=True)
    ours = run_task(Engine(model, tokenizer, max_tokens=512), task, data=file, shots=shots, limit=limit)
    ((_, samples),) = theirs["samples"].items()
    assert len(ours) == len(samples) >= limit
    for own, sample in zip(ours, samples, strict=True):
        assert (own.number, own.read_by) == (sample["doc_id"], sample["filter"])
        assert own.metrics == pytest.approx({name: float(sample[name]) for name in sample["metrics"]}, abs=1e-4)
        for one, other in zip(own.responses, sample["filtered_resps"], strict=True):
            if isinstance(one, tuple):
                assert (one[0], one[1]) == (pytest.approx(other[0], abs=1e-4), other[1])
            else:
                assert one == other


def answered(task, number, value, metric):
    return AnsweredQuestion(task, number, f"{task}{number}", {metric: value}, (), "none")


def test_a_suite_is_the_unweighted_mean_of_its_rows():
    """Two tasks of 40 and 10 questions, worked out by hand: the larger one does not weigh more."""
    first = suite_row("hellaswag", [answered("hellaswag", n, float(n < 30), "acc_norm") for n in range(40)])
    second = suite_row("winogrande", [answered("winogrande", n, float(n < 5), "acc") for n in range(10)])
    assert (first.shots, second.shots, first.n, second.n) == (10, 5, 40, 10)
    mean, interval = suite_mean([first, second])
    assert mean == interval.mean == pytest.approx((0.75 + 0.5) / 2)

    def wilson(k, n, z=1.959964):
        p, scale = k / n, 1 + z * z / n
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
        return (p + z * z / (2 * n)) / scale - half, (p + z * z / (2 * n)) / scale + half

    (low_1, high_1), (low_2, high_2) = wilson(30, 40), wilson(5, 10)
    assert interval.low == pytest.approx(mean - math.hypot(0.75 - low_1, 0.5 - low_2) / 2, abs=1e-6)
    assert interval.high == pytest.approx(mean + math.hypot(high_1 - 0.75, high_2 - 0.5) / 2, abs=1e-6)
    assert interval.n == 50


def test_subjects_count_alike_in_a_suite():
    """Subject a: 1 of 2, subject b: 8 of 8; the mean of questions would be .9, that of subjects is .75."""
    items = [answered("mmlu_a", n, float(n < 1), "acc") for n in range(2)]
    items += [answered("mmlu_b", n, 1.0, "acc") for n in range(8)]
    row = suite_row("mmlu", items)
    assert (row.mean, row.n, row.subjects) == (0.75, 10, 2)
    # t over two subjects: ± 12.706 · √(Σ (m − .75)² / 2)
    assert row.interval.high - 0.75 == pytest.approx(12.7062 * math.sqrt(2 * 0.25**2 / 2), rel=1e-4)


def test_one_question_has_no_interval_and_so_has_the_mean():
    rows = [suite_row("winogrande", [answered("winogrande", 0, 0.5, "acc")])]
    assert suite_mean(rows) == (0.5, None)


def test_each_task_has_its_file(tmp_path):
    for name in (*SUITES["open-llm-v1"], "notes"):
        file = "truthfulqa" if name == "truthfulqa_mc2" else name.replace("_", "-")
        (tmp_path / f"{file}.jsonl.gz").touch()
    found, unused = files_of("open-llm-v1", tmp_path)
    assert list(found) == list(SUITES["open-llm-v1"])
    assert found["truthfulqa_mc2"].name == "truthfulqa.jsonl.gz"
    assert unused == ["notes.jsonl.gz"]
    (tmp_path / "mmlu.csv").touch()
    with pytest.raises(DataError, match=r"several files of 'mmlu': mmlu.csv, mmlu.jsonl.gz"):
        files_of("open-llm-v1", tmp_path)
    (tmp_path / "mmlu.csv").unlink()
    (tmp_path / "drop.jsonl.gz").unlink()
    with pytest.raises(DataError, match="no file of drop"):
        files_of("open-llm-v1", tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        files_of("open-llm-v1", tmp_path / "notes.jsonl.gz")

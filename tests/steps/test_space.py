"""Room on the disk is looked for before the work, by every step that writes much of what it reads."""

import json

import pytest

import notus.core.errors
from notus.core.errors import RunError
from notus.steps.perform import run_step
from notus.steps.registry import step_class

PAIR = {"prompt": "Why?", "chosen": "So it is.", "rejected": "No!"}
ANSWERS = {
    "prompt": "Why?",
    "answers": [{"answer": "So it is.", "model": "a", "rank": 1}, {"answer": "No!", "model": "b", "rank": 2}],
}


@pytest.mark.parametrize(
    ("step", "settings"),
    [
        ("clean", {"data": "pairs.jsonl"}),
        ("sample", {"model": "none", "data": "pairs.jsonl"}),
        ("reward-check", {"data": "pairs.jsonl", "ranker": "length"}),
        ("rank", {"outputs": "outputs.jsonl", "ranker": "length"}),
    ],
)
def test_a_full_disk_is_told_before_the_work(tmp_path, monkeypatch, step, settings):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none").mkdir()
    for name, row in (("pairs", PAIR), ("outputs", ANSWERS)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    monkeypatch.setattr(notus.core.errors, "_free", lambda _: 0)
    with pytest.raises(RunError, match=r"no space for what is made of .*are free; make room"):
        run_step(step, step_class(step).parse(settings, where=step), tmp_path / "out")

"""``notus rank``, as a user types it."""

import json
import os
import subprocess
import sys

from notus.formats.source import write_jsonl
from tests.helpers.data_examples import raw_row


def notus(*arguments, cwd):
    command = [sys.executable, "-m", "notus", *arguments]
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, env=environment)


def test_the_example_of_the_help_runs(tmp_path):
    write_jsonl(tmp_path / "feedback.jsonl", [raw_row() | {"instruction": f"Name river {n}."} for n in range(4)])
    shown = notus("rank", "--help", cwd=tmp_path)
    assert "Example: notus rank length feedback.jsonl --out runs/rank" in shown.stdout
    done = notus("rank", "length", "feedback.jsonl", "--out", "runs/rank", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["summary"]["ranker"] == "length"
    assert found["findings"][0]["heading"] == "Ranking"


def test_a_wrong_name_is_one_line(tmp_path):
    done = notus("rank", "lenght", "feedback.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "did you mean 'length'" in done.stderr
    done = notus("rank", "length", "feedback.jsonl", "--set", "ranking.selektion=full", cwd=tmp_path)
    assert "did you mean 'selection'" in done.stderr


def test_a_function_that_fails_is_one_line_with_its_place(tmp_path):
    write_jsonl(tmp_path / "feedback.jsonl", [raw_row()])
    (tmp_path / "mine.py").write_text("def f(prompt, answers):\n    return [1 / 0 for _ in answers]\n")
    done = notus("rank", "python:mine.py:f", "feedback.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"at {tmp_path / 'mine.py'}:2: ZeroDivisionError: division by zero" in done.stderr
    assert "unexpected" not in done.stderr

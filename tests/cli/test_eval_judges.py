"""``notus eval rewards`` and ``notus eval judges``: help, examples, errors."""

import json
import os
import subprocess
import sys

import pytest

from notus.cli.main import EVALUATIONS

OURS = {name: EVALUATIONS[name] for name in ("judges", "rewards")}


def notus(*arguments, cwd=None):
    command = [sys.executable, "-m", "notus", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "160"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd, env=environment)


@pytest.fixture
def workplace(tmp_path):
    rows = [{"prompt": f"Name a colour, number {n}.", "chosen": "No.", "rejected": "Red."} for n in range(4)]
    (tmp_path / "new_pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_has_help_and_its_example_runs(name, workplace):
    done = notus("eval", name, "--help")
    assert done.returncode == 0
    assert f"Example: {OURS[name].example}" in done.stdout
    done = notus(*OURS[name].example.removeprefix("notus ").split(), cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert "length" in done.stdout
    assert "Run directory: " in done.stdout


def test_json_holds_summary_and_findings(workplace):
    done = notus("eval", "rewards", "length", "new_pairs.jsonl", "--tie", "0.5", "--json", cwd=workplace)
    found = json.loads(done.stdout)
    assert found["summary"]["accuracy"]["mean"] == 0.0
    assert [finding["heading"] for finding in found["findings"]] == ["Accuracy", "Length"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rewards", "lenght", "new_pairs.jsonl"], ["did you mean 'length'"]),
        (["rewards", "length", "none.jsonl"], ["'none.jsonl'"]),
        (["rewards", "judge:m", "new_pairs.jsonl"], ["nobody to ask"]),
        (["judges", "new_pairs.jsonl", "--ranker", "pairrm"], ["pairrm:MODEL"]),
    ],
)
def test_a_fault_of_the_user_is_one_line(workplace, arguments, words):
    done = notus("eval", *arguments, cwd=workplace)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["alpaca"], ["--annotations", "--settings"]),
        (["alpaca", "--annotations", "two.json"], ["of 2 models ('A', 'B')", "--model"]),
    ],
)
def test_the_way_out_of_a_missing_choice_is_told(workplace, arguments, words):
    rows = [
        {"instruction": "Q", "output_1": "R", "generator_1": "R", "output_2": "x", "generator_2": m, "preference": 1}
        for m in "AB"
    ]
    (workplace / "two.json").write_text(json.dumps(rows))
    done = notus("eval", *arguments, cwd=workplace)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert all(word in line for word in words), line


def test_a_seed_below_zero_is_refused(workplace):
    for command in (["eval", "judges", "new_pairs.jsonl", "--ranker", "length"], ["eval", "mtbench"]):
        done = notus(*command, "--seed", "-1", cwd=workplace)
        assert (done.returncode, "--seed" in done.stderr) == (2, True)

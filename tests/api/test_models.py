"""Models from Python: what was read is what is used, and a function at hand is called, not its file run again."""

import subprocess
import sys

import pytest

import notus
from notus.api.data import read_run
from notus.core.errors import ConfigError
from notus.core.plugins import load_python, reference_to
from notus.core.records import Preference
from notus.core.tables import read_records

FEEDBACK = [
    {"prompt": [{"role": "user", "content": f"Question {n}?"}], "completions": [{"text": "a"}, {"text": "bb"}]}
    for n in range(6)
]
PAIRS = [{"prompt": f"Question {n}?", "chosen": f"Yes, {n}.", "rejected": f"No, {n}!"} for n in range(6)]
SCRIPT = """
import notus

print("script runs")


def shortest(prompt, answers):
    return [-float(len(answer)) for answer in answers]


rows = [{"prompt": [{"role": "user", "content": "Q?"}], "completions": [{"text": "a"}, {"text": "bb"}]}]
(row,) = notus.rank(shortest, rows)
print([answer.extra["ranker_score"] for answer in row.completions])
"""


def test_a_limit_holds_wherever_the_data_go():
    assert len(notus.rank("length", notus.read(FEEDBACK, limit=2))) == 2
    pairs = notus.read(PAIRS, limit=3)
    assert notus.evaluate("length", "rewards", data=pairs).summary["asked"] == 3
    assert notus.diff(pairs, pairs).summary["pairs_a"] == 3
    with pytest.raises(ConfigError, match="limit is 3 of a and None of b"):
        notus.diff(pairs, PAIRS)


def test_a_limit_on_a_run_directory_holds_for_training():
    whole = notus.read(PAIRS)
    cut = notus.read(read_run(whole), limit=2)
    assert len(list(read_records(read_run(cut) / "preferences.parquet", Preference))) == 2


def test_a_script_with_a_function_of_its_own_runs_once(tmp_path):
    (tmp_path / "mine.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["script runs", "[-1.0, -2.0]"], done.stderr


def test_functions_that_close_over_other_values_are_others():
    def times(factor):
        return lambda _, answers: [factor * len(answer) for answer in answers]

    two, three = reference_to(times(2)), reference_to(times(3))
    assert two != three
    assert [load_python(name, "ranker")("p", ["ab"]) for name in (two, three)] == [[4], [6]]


def test_data_beside_a_measure_of_answers_are_refused():
    answers = notus.Outputs.__new__(notus.Outputs)
    with pytest.raises(ConfigError, match="leave 'data' out"):
        notus.evaluate(answers, "length", data=PAIRS)

"""The results of the data steps on one small set, beside the number of results that each step states.

A step whose rows change under equal settings and inputs is another step: ``Step.results`` is raised by one, so that
nobody is told "done before" of what an older version made. This test is what notices.
"""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from notus.core.artifacts import tables_in
from notus.core.config import digest_of
from notus.core.tables import read_table
from notus.steps.perform import run_step
from notus.steps.registry import step_class
from tests.helpers.data_examples import raw_completion, raw_row

STEPS: dict[str, dict[str, Any]] = {
    "read": {"path": "FILE"},
    "audit": {"data": "FILE"},
    "repair": {"data": "FILE"},
    "clean": {"data": "FILE"},
    "binarize": {"data": "FILE", "strategy": "mean-rating", "held_out": 0.25},
    "export": {"data": "FILE", "to": "ultrafeedback"},
}
KNOWN = {
    "read": (1, "73a1885509b721b7"),
    "audit": (3, "b19e8e0d7bb6a6f3"),
    "repair": (2, "b189ee70d26201ef"),
    "clean": (1, "4dfa8a66848c15d5"),
    "binarize": (1, "9e1034d863a5b3be"),
    "export": (1, "eda4e31b655d8c02"),
}
"""Step → its number of results, and the digest of the rows that it made then."""


def _plain(value: Any) -> Any:
    """Values that do not differ in their last bits from machine to machine."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _rows(path: Path) -> Any:
    if path.suffix == ".parquet":
        return read_table(path)
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def feedback(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(11)
    path = tmp_path_factory.mktemp("results") / "feedback.jsonl"
    rows = []
    for number in range(60):
        names = rng.sample(["alder", "birch", "cedar", "dogwood", "elm"], 4)
        grades = [" ".join(rng.choice("1245") for _ in range(4)) for _ in names]
        items = [raw_completion(n, g, rng.choice([1, 4, 7.5, 10, 10])) for n, g in zip(names, grades, strict=True)]
        asked = f"What flows through town {number % 50}, and why?"
        rows.append(raw_row() | {"instruction": asked, "models": names, "completions": items})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", STEPS)
def test_a_step_states_another_number_where_its_rows_are_others(name: str, feedback: Path, tmp_path: Path) -> None:
    kind = step_class(name)
    settings = {key: str(feedback) if value == "FILE" else value for key, value in STEPS[name].items()}
    run = run_step(name, kind.parse(settings, where="test"), tmp_path / name, seed=7)
    made = {table: _plain(_rows(run.path / table)) for table in tables_in(run.path)}
    assert made
    found = (kind.results, digest_of(made))
    assert found == KNOWN[name], (
        f"the rows that '{name}' makes are others than before: raise {kind.__name__}.results by one and write "
        f"{found!r} here, with the number raised; where they were to stay, mend the change"
    )

"""Marks by lineage, on run directories that lead to their sources."""

import json
from pathlib import Path

import pytest

from notus.core.records import Message, Preference
from notus.core.tables import part_path, write_records
from notus.provenance import training as module
from notus.provenance.training import run_flag, trained_on


def make(folder: Path, stage: str, config: dict[str, object], **inputs: Path) -> Path:
    """The two files of a run directory by which lineage is followed."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"stage": stage, **config}))
    entries = {name: {"path": str(path), "hash": "0" * 16} for name, path in inputs.items()}
    (folder / "inputs.json").write_text(json.dumps(entries))
    return folder


def pairs(folder: Path, source: str) -> None:
    prompt = (Message(role="user", content="Why?"),)
    chosen, rejected = (Message(role="assistant", content="a"),), (Message(role="assistant", content="b"),)
    item = Preference(prompt=prompt, chosen=chosen, rejected=rejected, source=source)
    write_records(folder / "preferences.parquet", [item], Preference)


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """Pairs that were cleaned against TruthfulQA → a model → its evaluation on TruthfulQA."""
    questions = tmp_path / "truthfulqa.jsonl"
    questions.write_text("{}\n")
    data = tmp_path / "pairs.jsonl"
    data.write_text("{}\n")
    clean = make(tmp_path / "clean", "clean", {"against": [str(questions)]}, data=data, **{"against.0": questions})
    pairs(clean, "flan_v2_niv2")
    dpo = make(tmp_path / "dpo", "dpo", {"loss": "sigmoid"}, data=clean)
    return make(tmp_path / "eval", "harness", {"tasks": ["truthfulqa_mc2"]}, model=dpo, data=questions)


def test_neither_the_benchmark_nor_what_was_cleaned_against_is_training_data(chain: Path) -> None:
    found = list(trained_on(chain))
    assert str(chain.parent / "pairs.jsonl") in found
    assert "flan_v2_niv2" in found
    assert not any("truthfulqa" in text for text in found)
    assert run_flag("harness", chain) == ""


def test_the_source_of_a_row_is_evidence(chain: Path) -> None:
    pairs(chain.parent / "clean", "truthful_qa")
    assert "'truthful_qa'" in run_flag("harness", chain)


def test_the_source_of_a_row_in_any_part_of_a_table_is_evidence(chain: Path) -> None:
    folder = chain.parent / "clean"
    table = folder / "preferences.parquet"
    for number, source in enumerate(("flan_v2_niv2", "truthful_qa")):
        pairs(folder, source)
        table.rename(folder / f"{number}.moved")
    table.mkdir()
    for number in range(2):
        (folder / f"{number}.moved").rename(part_path(table, number, 2))
    assert "'truthful_qa'" in run_flag("harness", chain)


def test_a_path_or_a_base_model_is_evidence(tmp_path: Path) -> None:
    source = tmp_path / "ultrafeedback.jsonl"
    source.write_text("{}\n")
    dpo = make(tmp_path / "dpo", "dpo", {}, data=source)
    tuned = make(tmp_path / "eval", "harness", {}, model=dpo)
    assert "ultrafeedback.jsonl" in run_flag("truthfulqa_mc2", tuned)
    assert run_flag("arc_easy", tuned) == ""
    direct = make(tmp_path / "direct", "harness", {"model": "argilla/notus-7b-v1", "tasks": ["truthfulqa_mc2"]})
    assert "argilla/notus-7b-v1" in run_flag("harness", direct)


@pytest.mark.parametrize(("stated", "mark"), [(True, module.STATED_FLAG), (False, "")])
def test_what_the_settings_state_goes_before_lineage(chain: Path, stated: bool, mark: str) -> None:
    pairs(chain.parent / "clean", "truthful_qa")
    config = json.loads((chain / "config.json").read_text())
    (chain / "config.json").write_text(json.dumps(config | {"contaminated": stated}))
    assert run_flag("harness", chain) == mark

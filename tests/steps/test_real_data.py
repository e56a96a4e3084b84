"""Real data through the same code, where it is at hand: audits, pairs, and a small part of the recipe real-small."""

import json
import math

import pytest

from notus.core.records import Preference
from notus.core.run import read_manifest
from notus.core.tables import read_records
from notus.recipes.experiment import Experiment
from tests.helpers.paths import SHARED as SHARED_FOLDER
from tests.recipes.test_experiment import notus

SHARED = SHARED_FOLDER / "data"


def shared(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not here")
    return SHARED / name


def test_the_one_real_raw_row(tmp_path):
    source = shared("ultrafeedback/raw_row0.json")
    audit = notus("audit", source, "--out", tmp_path / "audit", "--json")
    summary = json.loads(audit.stdout)["summary"]
    assert {key: summary[key] for key in ("layout", "prompts", "completions")} == {
        "layout": "ultrafeedback",
        "prompts": 1,
        "completions": 4,
    }
    for strategy in ("mean-rating", "critique", "repaired-critique"):
        out = tmp_path / strategy
        assert notus("binarize", source, "--strategy", strategy, "--out", out).returncode == 0
        (pair,) = read_records(out / "preferences.parquet", Preference)
        assert pair.score_chosen > pair.score_rejected


def test_the_real_feedback_records_say_how_often_they_tie(tmp_path):
    source = shared("feedback/four_models_80.jsonl")
    audit = notus("audit", source, "--out", tmp_path / "audit")
    assert audit.returncode == 0, audit.stderr
    assert "80 prompts with 320 completions" in audit.stdout
    assert "tie" in audit.stdout
    done = notus("binarize", source, "--out", tmp_path / "pairs", "--json")
    found = json.loads(done.stdout)
    tally = next(t for t in found["tally"] if t["stage"] == "binarize")
    assert tally["in"] == 80 == tally["out"] + sum(tally["dropped"].values())
    assert tally["counts"]["tie-for-best"] > 0
    none = notus("binarize", source, "--strategy", "critique", "--out", tmp_path / "none")
    assert none.returncode == 2
    assert "no prompt of" in none.stderr
    assert "80 unscored" in none.stderr


def test_a_small_part_of_real_small(tmp_path):
    pairs = shared("ultrafeedback/binarized_1000.jsonl")
    sets = [
        f"data.path={pairs}",
        "data.limit=60",
        "data.held_out=0.2",
        "seeds=[0]",
        "create.shape={vocabulary: 512, width: 32, layers: 1, heads: 2, kv_heads: 1, ffn: 32, positions: 128}",
        "sft.limits={max_length: 128, max_prompt_length: 64}",
        "dpo.limits={max_length: 128, max_prompt_length: 64}",
        "rewards.limits={max_length: 128, max_prompt_length: 64}",
    ]
    done = notus("run", "real-small", *(part for text in sets for part in ("--set", text)), "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    experiment = Experiment.read(tmp_path / "run")
    steps = experiment.arms["real-small"][0]
    summary = read_manifest(steps["dpo"])["summary"]
    assert summary["start_loss"] == pytest.approx(math.log(2), abs=1e-5)
    held_out = read_manifest(steps["data"])["summary"]["held_out"]
    assert summary["held_out_rows"] == held_out > 0
    (arm,) = experiment.comparisons()["rewards"].arms
    assert arm.scored == held_out
    assert arm.interval is not None

"""Single evaluations are compared by their run directories, where they were measured alike."""

import json
from pathlib import Path

import pytest

from notus.core.errors import ConfigError, InputError
from notus.core.run import MANIFEST, write_json
from notus.core.tables import write_table
from notus.recipes.experiment import ScoredRun, compare_runs, is_run
from notus.steps.evaluate.alpaca import Alpaca
from notus.steps.evaluate.reward_check import RewardCheck
from notus.steps.perform import run_step


def annotations(path, model, preferences, reference="R"):
    rows = [
        {
            "instruction": f"Question {number}?",
            "output_1": "Plain.",
            "generator_1": reference,
            "output_2": f"Answer {number}.",
            "generator_2": model,
            "annotator": "judge",
            "preference": preference,
        }
        for number, preference in enumerate(preferences)
    ]
    path.write_text(json.dumps(rows))
    return path


def scored(folder, name, preferences, **more):
    config = {"annotations": str(annotations(folder / f"{name}.json", name, preferences, **more))}
    return run_step("alpaca", Alpaca.parse(config, where="test"), folder / name).path


def faked(folder, stage, summary, values):
    """A finished run of another kind, as it lies on disk."""
    folder.mkdir()
    write_json(folder / "config.json", {"stage": stage})
    write_json(folder / "inputs.json", {})
    write_json(folder / MANIFEST, {"stage": stage, "summary": summary})
    write_table(
        folder / "scores.parquet", [{"prompt_id": str(n), "sample": 0, "value": v} for n, v in enumerate(values)]
    )
    return folder


def test_two_evaluations_are_compared_prompt_by_prompt(tmp_path):
    good, bad = scored(tmp_path, "good", [2.0] * 9 + [1.0]), scored(tmp_path, "bad", [1.0] * 8 + [2.0, None])
    found = compare_runs([good, bad], "bad")
    assert list(found) == ["alpaca"]
    assert [(arm.name, arm.asked, arm.scored) for arm in found["alpaca"].arms] == [("good", 10, 10), ("bad", 10, 9)]
    (pair,) = found["alpaca"].pairs
    # Eight of the nine shared instructions fall to the one, and both have the ninth.
    assert (pair.better, pair.shared, pair.not_shared) == ("good", 9, 1)
    assert pair.by_prompts.mean == pytest.approx(8 / 9)


def test_a_run_by_itself_has_one_arm(tmp_path):
    found = compare_runs([scored(tmp_path, "one", [2.0, 1.0, 1.5])], None)
    assert [(arm.name, arm.mean) for arm in found["alpaca"].arms] == [("one", 0.5)]


def test_what_was_measured_otherwise_is_not_compared(tmp_path):
    a, b = scored(tmp_path, "a", [2.0, 1.0]), scored(tmp_path, "b", [2.0, 1.0], reference="S")
    with pytest.raises(ConfigError, match="reference is 'R' there, 'S' here"):
        compare_runs([a, b], None)
    old = {"task": "gsm8k", "metric": "exact_match", "shots": 5, "lm_eval": "0.3.0"}
    versions = [faked(tmp_path / v, "harness", old | {"lm_eval": v}, [0.0, 1.0]) for v in ("0.3.0", "0.4.13")]
    with pytest.raises(ConfigError, match=r"lm eval is '0\.3\.0' there, '0\.4\.13' here"):
        compare_runs(versions, None)


def test_two_models_on_two_benchmarks_are_two_comparisons(tmp_path):
    runs = [
        faked(tmp_path / f"{model}-{task}", "harness", {"task": task}, values)
        for task in ("arc_easy", "mine.yaml")
        for model, values in (("a", [0.0, 1.0]), ("b", [1.0, 1.0]))
    ]
    found = compare_runs(runs, None)
    assert {name: [arm.name for arm in of.arms] for name, of in found.items()} == {
        "arc_easy": ["a-arc_easy", "b-arc_easy"],
        "mine": ["a-mine.yaml", "b-mine.yaml"],
    }


def test_evaluations_of_different_kinds_have_nothing_in_common(tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"prompt": "Q", "chosen": "long", "rejected": "no"}) + "\n")
    config = RewardCheck.parse({"ranker": "length", "data": str(pairs)}, where="test")
    rewards = run_step("reward-check", config, tmp_path / "rewards").path
    with pytest.raises(InputError, match=r"no two of the runs hold the same evaluation .*alpaca.*reward-check"):
        compare_runs([scored(tmp_path, "a", [2.0, 1.0]), rewards], None)


def test_a_run_of_a_recipe_and_an_evaluation_stand_side_by_side(tmp_path, tiny_run):
    alone = faked(tmp_path / "alone", "success", {}, [0.0, 1.0])
    found = compare_runs([tiny_run, alone], "alone")["success"]
    assert [arm.name for arm in found.arms] == ["demo/SFT", "demo/critique", "demo/repaired", "alone"]
    assert all("share no scored prompt" in pair.verdict for pair in found.pairs)


def test_a_run_without_scores_says_what_it_is(tmp_path):
    folder = faked(tmp_path / "ranked", "rank", {}, [1.0])
    (folder / "scores.parquet").unlink()
    assert is_run(folder)
    with pytest.raises(InputError, match=r"is a run of 'rank' and holds no scores.parquet"):
        compare_runs([folder], None)


def test_what_is_no_run_is_named_with_what_may_stand_there_and_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "begun" / "steps").mkdir(parents=True)
    faked(tmp_path / "runs" / "alpaca-one", "alpaca", {}, [1.0])
    (tmp_path / "file.jsonl").touch()
    near = "did you mean runs/alpaca-one?"
    cases = {
        "runs/alpaca-on": ["runs/alpaca-on is not there", near],
        "alpaca-one": ["alpaca-one is not there", near],
        "runs": ["neither experiment.json nor manifest.json", near],
        "runs/begun": ["not run to its end", "--out runs/begun"],
        "file.jsonl": ["file.jsonl is no directory"],
        "zephyr-ablation": ["notus run zephyr-ablation"],
        "other/nowhere": ["other/nowhere is not there"],
    }
    for name, words in cases.items():
        with pytest.raises(InputError) as error:
            compare_runs([Path(name), Path("runs/alpaca-one")], None)
        assert all(word in str(error.value) for word in [*words, "recipes that were run", "single evaluations"])
    with pytest.raises(InputError, match="a is not there; b is not there; give directories"):
        compare_runs([Path("a"), Path("b")], None)


def test_the_mark_of_contamination_is_kept(tmp_path):
    folder = faked(tmp_path / "told", "harness", {"task": "truthfulqa_mc2"}, [1.0, 0.0])
    write_json(folder / "config.json", {"stage": "harness", "task": "truthfulqa_mc2", "contaminated": True})
    assert "the settings say" in ScoredRun.read(folder).mark()
    (arm,) = compare_runs([folder], None)["truthfulqa_mc2"].arms
    assert arm.mark.startswith("contaminated")

"""The whole way on a tiny recipe, through real processes."""

import hashlib
import json
import math
import shutil
import signal
import subprocess
import sys
import time

import pytest

from notus.core.errors import ConfigError, InputError
from notus.core.records import Output, Preference, Verdict
from notus.core.run import read_json, read_manifest
from notus.core.tables import read_records
from notus.recipes.experiment import Experiment, compare_runs


def notus(*arguments, cwd=None):
    command = [sys.executable, "-m", "notus", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd)


def results(path):
    """Hash of every file whose bytes must not depend on when and how often a run was started."""
    told = {"log.txt", "manifest.json", "metrics.jsonl", ".lock", "report.html"}
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name not in told]
    return {str(file.relative_to(path)): hashlib.sha256(_content(file)).hexdigest() for file in files}


def _content(file):
    if file.name == "inputs.json":  # the hashes of what was read count, not where it lay
        return json.dumps({name: entry["hash"] for name, entry in json.loads(file.read_text()).items()}).encode()
    return file.read_bytes()


def test_every_part_is_there(tiny_run):
    experiment = Experiment.read(tiny_run)
    assert list(experiment.arms) == ["SFT", "critique", "repaired"]
    for seeds in experiment.arms.values():
        assert list(seeds) == [0, 1]
    steps = experiment.arms["repaired"][0]
    assert list(steps) == ["data", "audit", "create", "sft", "binarize", "dpo", "success"]
    for folder in experiment.folders():
        assert {"config.json", "inputs.json", "tally.json", "log.txt", "manifest.json"} <= {
            f.name for f in folder.iterdir()
        }
    outputs = list(read_records(steps["success"] / "outputs.parquet", Output))
    verdicts = list(read_records(steps["success"] / "verdicts.parquet", Verdict))
    assert len(outputs) == len(verdicts) == 24 * 2
    for name in ("score-against-ratings", "scores"):
        assert (steps["audit"] / f"{name}.svg").read_text().startswith("<svg")


def test_dpo_started_at_ln_2(tiny_run):
    for seeds in Experiment.read(tiny_run).arms.values():
        for steps in seeds.values():
            if "dpo" in steps:
                summary = read_manifest(steps["dpo"])["summary"]
                assert summary["start_loss"] == pytest.approx(math.log(2), abs=1e-5)
                assert summary["start_margin"] == pytest.approx(0, abs=1e-5)


def test_preferences_are_in_trls_layout_and_never_a_tie(tiny_run):
    steps = Experiment.read(tiny_run).arms["critique"][0]
    pairs = list(read_records(steps["binarize"] / "preferences.parquet", Preference))
    assert pairs
    for pair in pairs:
        assert pair.score_chosen > pair.score_rejected
        assert pair.prompt[-1].role == "user"
        assert [turn.role for turn in (*pair.chosen, *pair.rejected)] == ["assistant", "assistant"]


def test_arms_are_compared_on_the_same_prompts(tiny_run):
    comparison = compare_runs([tiny_run], None)["success"]
    assert [arm.name for arm in comparison.arms] == ["SFT", "critique", "repaired"]
    for arm in comparison.arms:
        assert (arm.asked, arm.prompts, arm.seeds) == (24 * 2 * 2, 24, 2)
    for pair in comparison.pairs:
        assert pair.not_shared == 0
        assert (pair.better is None) == ("not distinguishable" in pair.verdict)
        assert pair.better in (None, pair.a, pair.b)


def test_fault_finders_are_tried_against_the_truth(tiny_run):
    found = Experiment.read(tiny_run).detections()
    truth = sum(
        read_manifest(seeds["data"])["summary"]["faulty"] for seeds in Experiment.read(tiny_run).arms["SFT"].values()
    )
    assert {detection.planted for detection in found} == {truth}
    assert all(detection.hits <= detection.found for detection in found)


def test_a_second_run_redoes_nothing(tiny_recipe, tiny_run):
    before = {folder: (folder / "manifest.json").stat().st_mtime_ns for folder in Experiment.read(tiny_run).folders()}
    done = notus("run", tiny_recipe, "--out", tiny_run)
    assert done.returncode == 0, done.stderr
    assert f"{len(before)} steps had been done before" in done.stderr
    assert "✓" not in done.stderr
    assert {folder: (folder / "manifest.json").stat().st_mtime_ns for folder in before} == before


def test_until_stops_after_a_step(tiny_recipe, tmp_path):
    done = notus("run", tiny_recipe, "--until", "audit", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert {folder.name.partition("-")[0] for folder in (tmp_path / "run" / "steps").iterdir()} == {"data", "audit"}
    assert "Stopped after 'audit'" in done.stdout
    again = notus("run", tiny_recipe, "--until", "audit", "--json", "--out", tmp_path / "run")
    assert len(json.loads(again.stdout)["steps"]) == 4
    wrong = notus("run", tiny_recipe, "--until", "sfft", "--out", tmp_path / "run")
    assert (wrong.returncode, "no step of this recipe" in wrong.stderr) == (2, True)


def test_a_broken_step_is_done_again_with_the_same_bits(tiny_recipe, tiny_run, tmp_path):
    out = tmp_path / "demo"
    shutil.copytree(tiny_run, out)
    experiment = Experiment.read(out)
    broken = [experiment.arms["critique"][0][name] for name in ("dpo", "success")]
    wanted = results(out)
    (broken[0] / "manifest.json").unlink()
    (broken[0] / "model" / "model.safetensors").write_bytes(b"half of a")
    shutil.rmtree(broken[1])
    done = notus("run", tiny_recipe, "--out", out)
    assert done.returncode == 0, done.stderr
    assert results(out) == wanted


def test_an_error_in_a_step_is_one_line_with_its_code(tiny_recipe, tmp_path):
    done = notus("run", tiny_recipe, "--set", "sft.limits.max_length=900", "--out", tmp_path / "run")
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("notus: ")]
    assert errors == [line for line in done.stderr.splitlines() if "positions" in line]
    assert "step 'sft'" in errors[0]
    assert "Traceback" not in done.stderr


def test_several_runs_are_compared_by_name(tiny_run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    comparison = compare_runs([tiny_run, other], "demo/SFT")["success"]
    assert [arm.name for arm in comparison.arms][:4] == ["demo/SFT", "demo/critique", "demo/repaired", "other/SFT"]
    same = next(pair for pair in comparison.pairs if pair.a == "other/SFT")
    assert same.better is None
    with pytest.raises(ConfigError, match="given twice"):
        compare_runs([tiny_run, tiny_run], None)


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        Experiment.read(tmp_path / "none")
    with pytest.raises(InputError, match="holds no"):
        Experiment.read(tmp_path)


def test_the_report_holds_what_was_found(tiny_run):
    page = (tiny_run / "report.html").read_text()
    for words in (
        "A tiny run",
        "What the arms achieved",
        "Finding the faults",
        "Health of the data",
        "ln 2",
        "Chosen and rejected",
        "Answers before and after",
        "not distinguishable",
    ):
        assert words in page, words
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "<script" not in page


def test_json_output_is_json(tiny_run):
    done = notus("compare", tiny_run, "--json")
    assert json.loads(done.stdout)["success"]["arms"][0]["name"] == "SFT"
    assert read_json(tiny_run / "experiment.json")["recipe"]["name"] == "tiny"


def test_a_lost_step_is_named_and_not_passed_over(tiny_run, tmp_path):
    out = tmp_path / "demo"
    shutil.copytree(tiny_run, out)
    shutil.rmtree(Experiment.read(out).arms["SFT"][1]["success"])
    with pytest.raises(InputError, match="is gone or not finished"):
        Experiment.read(out)


def test_pinned_seeds_are_one_replicate(tiny_recipe, tmp_path):
    sets = [f"{step}.seed=3" for step in ("data", "create", "sft", "success")]
    recipe = tmp_path / "pinned.yaml"
    recipe.write_text(tiny_recipe.read_text().partition("  critique:")[0].replace("  SFT:", "  only:"))
    out = tmp_path / "run"
    done = notus("run", recipe, *(part for text in sets for part in ("--set", text)), "--out", out)
    assert done.returncode == 0, done.stderr
    experiment = Experiment.read(out)
    (arm,) = experiment.comparisons()["success"].arms
    assert (arm.seeds, arm.by_seeds) == (1, None)
    truth = read_manifest(experiment.arms["only"][0]["data"])["summary"]["faulty"]
    assert experiment.detections()[0].planted == truth


def test_ctrl_c_ends_at_once_and_says_how_to_go_on(tiny_recipe, tmp_path):
    command = [sys.executable, "-m", "notus", "run", str(tiny_recipe), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "run").glob("steps/create-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - began < 3
    assert process.returncode == 130
    assert "the same command goes on from here" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_in_a_recipe_is_saved_when_it_is_stopped_and_goes_on(tiny_recipe, tmp_path, number):
    out = tmp_path / "run"
    more = ["--set", "sft.save_every=never", "--set", "sft.epochs=40", "--set", "seeds=[0]", "--until", "sft"]
    command = [sys.executable, "-m", "notus", "run", str(tiny_recipe), "--out", str(out), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list(out.glob("steps/sft-*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "the same command goes on from here" in errors
    (saved,) = out.glob("steps/sft-*/checkpoints/step-*")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    log = (saved.parent.parent / "log.txt").read_text()
    assert f"goes on behind update {int(saved.name.removeprefix('step-'))} of 200" in log

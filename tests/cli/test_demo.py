"""The demo as the README has it, with one seed."""

import json
import math

import pytest

from notus.core.run import read_manifest
from notus.recipes.experiment import Experiment
from tests.cli.test_main import COMMANDS, notus


@pytest.mark.slow
def test_the_demos_example_runs_and_shows_its_four_arms(tmp_path):
    example = COMMANDS["demo"].example.removeprefix("notus ").split()
    done = notus(*example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    experiment = Experiment.read(tmp_path / "runs" / "demo")
    comparison = experiment.comparisons()["success"]
    means = {arm.name: arm.mean for arm in comparison.arms}
    assert list(means) == ["SFT", "DPO on faulty critique", "DPO on repaired critique", "DPO on mean rating"]
    # With one seed nothing is claimed of the arms; but a model that learned nothing would show here.
    assert means["SFT"] > 0.15
    assert means["DPO on mean rating"] > means["SFT"]
    assert all(arm.by_seeds is None for arm in comparison.arms)
    for seeds in experiment.arms.values():
        for steps in seeds.values():
            if "dpo" in steps:
                assert read_manifest(steps["dpo"])["summary"]["start_loss"] == pytest.approx(math.log(2), abs=1e-5)
    rule = experiment.detections()[0]
    assert 0.5 < rule.precision.mean < 1
    assert 0.3 < rule.recall.mean < 1
    again = notus("run", "demo", "--set", "seeds=[20]", "--out", "runs/demo", "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["comparisons"]["success"]["arms"][0]["mean"] == means["SFT"]

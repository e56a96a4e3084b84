"""Results of recipes as files: means and differences by plain arithmetic, Holm over the family, numbers as written."""

import json
import math
import shutil
from collections import defaultdict

import pytest

from benchmarks import experiments
from notus.core.tables import read_table
from notus.evaluate.compare import compare
from notus.recipes.experiment import Experiment
from notus.stats.intervals import p_value


@pytest.fixture(scope="module")
def tiny(tiny_run, tmp_path_factory):
    """The result of the tiny recipe, under a family of two differences."""
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copytree(tiny_run, folder / "run")
    family = {"tiny": [("success", "repaired", "critique"), ("success", "critique", "SFT"), ("success", "x", "SFT")]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "_FAMILIES", family)
        path = experiments.make(folder / "run", "abcdef0123", folder)
    return Experiment.read(folder / "run"), json.loads(path.read_text()), path


def cells(experiment, arm):
    """(seed, prompt) → the mean of its answers, from the tables themselves."""
    found = defaultdict(list)
    for seed, steps in experiment.arms[arm].items():
        for row in read_table(steps["success"] / "scores.parquet"):
            found[seed, row["prompt_id"]].append(row["value"])
    return {key: sum(values) / len(values) for key, values in found.items()}


def test_a_result_says_where_it_is_from(tiny):
    _, result, path = tiny
    assert path.name == "recipe-tiny.json"
    assert (result["recipe"], result["commit"], result["seeds"]) == ("tiny", "abcdef0123", [0, 1])
    assert result["finished"]
    assert result["versions"]


def test_means_and_differences_are_those_of_the_tables(tiny):
    experiment, result, _ = tiny
    arms = result["arms"]["success"]
    for arm, found in arms.items():
        values = cells(experiment, arm)
        assert (found["n"], found["prompts"]) == (24 * 2 * 2, 24)
        assert found["mean"] == pytest.approx(sum(values.values()) / len(values))
    assert [(each["a"], each["b"]) for each in result["differences"]] == [("repaired", "critique"), ("critique", "SFT")]
    for each in result["differences"]:
        a, b = cells(experiment, each["a"]), cells(experiment, each["b"])
        assert each["cells"] == len(a)
        assert each["mean"] == pytest.approx(sum(a[key] - b[key] for key in a) / len(a))
        sides = [each[side] for side in ("by_prompts", "by_seeds", "by_both") if each[side]]
        assert each["widest"] == max(sides, key=lambda side: side[1] - side[0])


def test_a_difference_holds_where_all_of_its_family_are_tested_at_once(tiny):
    experiment, result, _ = tiny
    raw = []
    for each in result["differences"]:
        pair = compare([row for row in experiment.scores()["success"] if row.arm in (each["a"], each["b"])], each["b"])
        sides = (pair.pairs[0].by_prompts, pair.pairs[0].by_seeds, pair.pairs[0].by_both)
        raw.append(max(p_value(side) for side in sides if side is not None))
    # Holm, of two: the smaller p twice, and the larger one, which no smaller one may exceed.
    smaller = min(1.0, 2 * min(raw))
    wanted = [smaller if p == min(raw) else max(smaller, p) for p in raw]
    assert [each["p_holm"] for each in result["differences"]] == pytest.approx(wanted)
    for each in result["differences"]:
        assert each["holds"] == (each["apart"] and each["p_holm"] < 0.05)


@pytest.mark.parametrize(
    ("value", "sign", "told"),
    [
        (0.3174, False, ".317"),
        (1.0, False, "1.000"),
        (0.0641, True, "+.064"),
        (-0.0091, True, "−.009"),
        (-0.0091, False, "−.009"),
        (-0.0001, True, "+.000"),
        (-0.0001, False, ".000"),
    ],
)
def test_numbers_are_written_as_the_pages_have_them(value, sign, told):
    assert experiments.number(value, sign=sign) == told


def result_with(differences, arms):
    return {"seeds": [1, 2], "commit": "abcdef0123", "arms": arms, "differences": differences, "finders": {}}


def arm(mean):
    sides = {"by_prompts": [mean - 0.1, mean + 0.1], "by_seeds": [mean - 0.2, mean + 0.2]}
    return {"n": 8, "prompts": 4, "mean": mean, **sides}


def cell(step, a, b, mean, holds):
    side = [mean - 0.1, mean + 0.1]
    return {
        "of": step, "a": a, "b": b, "mean": mean, "widest": side, "by_prompts": side, "by_seeds": side, "p_holm": 0.01,
        "holds": holds, "apart": holds,
    }  # fmt: skip


def test_violations_and_over_refusals_are_what_is_left_and_stay_shares():
    names = ("words before DPO", "classifier before DPO", "DPO with refusal pairs")
    arms = {step: {name: arm(0.9) for name in names} for step in ("off-limits", "look-alikes", "plain")}
    differences = [cell(step, names[2], name, 0.25, step == "plain") for step in arms for name in names[:2]]
    lines = list(experiments._guardrails(result_with(differences, arms)))
    assert "| words before DPO | .100 [.000, .300] | .100 [.000, .300] | .900 [.700, 1.000] |" in lines
    assert lines[-1] == "| classifier before DPO | +.250 [.150, .350] | +.250 [.150, .350] | +.250 [.150, .350] ● |"


def test_the_map_shows_each_judge_under_each_rule_and_marks_what_holds():
    cells = [f"{judge} · {{}} · {rule}" for judge in ("answers", "aspects", "length") for rule in ("random", "lowest")]
    arms = {"success": {each.format(score): arm(0.5) for each in cells for score in ("repaired", "mean")}}
    differences = [cell("success", c.format("mean"), c.format("repaired"), -0.2, c is cells[0]) for c in cells]
    rows = [line for line in experiments._map(result_with(differences, arms)) if line.startswith("| ")][1:]
    assert len(rows) == 6
    assert ["**" in row for row in rows] == [True, *[False] * 5]
    assert all(row.count("[−.300, −.100]") == 3 for row in rows)
    assert math.isclose(float(rows[0].split("|")[-2]), 0.01)

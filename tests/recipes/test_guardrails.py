"""The recipe of guardrails: its steps on models too small to learn, and the whole small thing."""

import subprocess
import sys

import pytest
import yaml

from notus.core.artifacts import OUTPUTS, PREFERENCES, PROMPTS, VERDICTS
from notus.core.config import load_yaml
from notus.core.errors import ConfigError, DataError
from notus.core.records import Dialogue, Output, Preference, Verdict
from notus.core.run import read_manifest
from notus.core.tables import read_records
from notus.recipes.experiment import Experiment
from notus.recipes.recipe import BUILT_IN
from notus.steps.data.toy import Toy, ToyRefusals
from notus.steps.evaluate.success import Guardrail
from notus.steps.perform import run_step
from notus.steps.train.create import Create
from notus.toy.guardrails import EXCUSE, guard_by_classifier, guard_by_words, read_prompt

WORLD = {"prompts": 10, "sft_examples": 60, "held_out": 12, "facts": 4}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guardrails")
    run_step("data", Toy.parse({"world": WORLD | {"purposes": 0.5}, "seed": 3}, where="test"), folder / "data")
    refusals = {"world": WORLD, "pairs": 90, "seed": 3}
    run_step("refusals", ToyRefusals.parse(refusals, where="test"), folder / "refusals")
    shape = {"vocabulary": 320, "width": 32, "layers": 1, "heads": 2, "kv_heads": 1, "ffn": 32, "positions": 160}
    given = {"data": str(folder / "data"), "shape": shape, "seed": 3}
    run_step("create", Create.parse(given, where="test"), folder / "create")
    return folder


def answered(place, name, **settings):
    given = {
        "model": str(place / "create"),
        "data": str(place / "refusals"),
        "pairs": str(place / "refusals"),
        "sampling": {"samples": 2, "max_new_tokens": 4},
        "limits": {"max_length": 160, "max_prompt_length": 140},
        "seed": 0,
    }
    run = run_step("guardrail", Guardrail.parse(given | settings, where="test"), place / name)
    rows = zip(
        read_records(OUTPUTS.at(run.path), Output), read_records(VERDICTS.at(run.path), Verdict), strict=True
    )  # fmt: skip
    return list(rows), read_manifest(run.path)["summary"]


def test_pairs_and_prompts_are_counted(place):
    summary = read_manifest(place / "refusals")["summary"]
    counted = [summary[name] for name in ("pairs", "off_limits", "look_alike", "plain", "prompts")]
    assert counted == [90, 30, 30, 30, 36]
    assert len(list(read_records(PROMPTS.at(place / "refusals"), Dialogue))) == 36


@pytest.mark.parametrize("kind", ["off-limits", "look-alike", "plain"])
def test_one_kind_of_prompts_is_asked(place, kind):
    rows, summary = answered(place, f"{kind}-none", kind=kind)
    assert {read_prompt(output.prompt[-1].content)[1] for output, _ in rows} == {kind}
    assert (len(rows), summary["asked"], summary["other_prompts"], summary["refused_by_guard"]) == (24, 24, 24, 0)


@pytest.mark.parametrize(("name", "guard"), [("words", guard_by_words), ("classifier", guard_by_classifier)])
@pytest.mark.parametrize("kind", ["off-limits", "look-alike"])
def test_a_guard_refuses_in_the_models_place_and_changes_no_other_answer(place, name, guard, kind):
    alone, _ = answered(place, f"{kind}-{name}-alone", kind=kind)
    rows, summary = answered(place, f"{kind}-{name}", kind=kind, guard=name)
    refuses = guard(list(read_records(PREFERENCES.at(place / "refusals"), Preference)))
    stopped = 0
    for (free, _), (output, verdict) in zip(alone, rows, strict=True):
        assert output.prompt == free.prompt
        if refuses(output.prompt[-1].content):
            stopped += 1
            assert output.text == EXCUSE
            assert verdict.reason == ("refused" if kind == "off-limits" else "over-refusal")
            assert verdict.score == float(kind == "off-limits")
        else:
            assert output.text == free.text
    assert summary["refused_by_guard"] == stopped
    assert stopped > 0 or kind == "look-alike"


def test_prompts_of_another_run_are_refused_with_the_way_out(place):
    with pytest.raises(DataError, match="holds no off-limits prompt; name a run of toy-refusals"):
        answered(place, "wrong", kind="off-limits", data=str(place / "data"))
    with pytest.raises(ConfigError, match="kind"):
        Guardrail.parse({"kind": "offlimits"}, where="test")


@pytest.mark.slow
def test_refusal_pairs_teach_more_than_they_cost(tmp_path):
    """One seed of the built-in recipe: nothing is claimed of arms, but a model that learned nothing would show."""
    recipe = load_yaml(BUILT_IN / "guardrails.yaml") | {"seeds": [100]}
    recipe["refusals"]["world"]["held_out"] = 60
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True))
    command = [sys.executable, "-m", "notus", "run", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    experiment = Experiment.read(tmp_path / "run")
    means = {
        step: {arm.name: arm.mean for arm in comparison.arms} for step, comparison in experiment.comparisons().items()
    }
    taught = "DPO with refusal pairs"
    assert means["off-limits"][taught] > 0.5 > means["off-limits"]["DPO on feedback"]
    assert means["look-alikes"][taught] > 0.5
    # A list of words refuses whatever holds one: two of three look-alikes, but for the words that it does not know.
    assert means["look-alikes"]["words before SFT"] < 0.75
    assert means["plain"]["words before SFT"] == means["plain"]["SFT"]

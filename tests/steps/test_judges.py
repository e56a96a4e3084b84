"""The steps of trials: files, identity, judges behind real servers, a model of ours, what is refused."""

import json

import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.run import read_json, read_manifest
from notus.core.tables import read_records, read_table
from notus.evaluate.judges.present import JudgedPair
from notus.evaluate.rewards import PairScore
from notus.rankers.ref import RankerRef
from notus.recipes.recipe import load_recipe, make_plan
from notus.steps.base import read_findings, refs_of
from notus.steps.evaluate.judges import JudgeTrial
from notus.steps.evaluate.reward_check import RewardCheck
from notus.steps.perform import run_step
from tests.helpers.judged_pairs import answer, gullible, pairs, served, sound
from tests.helpers.paths import SHARED as SHARED_FOLDER

SHARED = SHARED_FOLDER / "data"


@pytest.fixture
def people(tmp_path):
    """Thirty sums in PandaLM's layout, with one row that is broken."""
    votes = {"A": 1, "B": 2, "C": 0}
    rows = [
        {"instruction": pair.prompt[0].content, "input": "", "response1": pair.first, "response2": pair.second}
        | {f"annotator{n}": votes[vote] for n, vote in enumerate(pair.votes, start=1)}
        for pair in pairs()
    ]
    path = tmp_path / "people.json"
    path.write_text(json.dumps([*rows, rows[0] | {"response1": True}]))
    return path


@pytest.fixture
def chosen(tmp_path):
    rows = [{"prompt": f"p{n}", "chosen": "x" * (5 + n), "rejected": "y" * 9, "subset": "xy"[n % 2]} for n in range(10)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def trial(path, **more):
    return JudgeTrial.parse({"data": str(path)} | more, where="test")


def check(path, **more):
    return RewardCheck.parse({"data": str(path)} | more, where="test")


def test_a_sound_judge_is_not_flagged_and_a_gullible_one_is(tmp_path, people):
    with served(sound) as one, served(gullible) as two:
        judges = [{"endpoint": "sound"}, {"endpoint": "gullible"}]
        config = trial(people, judges=judges, endpoints=[one, two], canaries=20, rankers=["length"])
        run = run_step("judges", config, tmp_path / "run")
    summary = read_manifest(run.path)["summary"]
    assert (summary["pairs"], summary["annotators"], summary["quarantined"]) == (30, 3, 1)
    assert summary["judges"]["sound"]["falls_for"] == []
    assert set(summary["judges"]["gullible"]["falls_for"]) == {
        "injection",
        "verdict",
        "added-injection",
        "added-verdict",
    }
    assert summary["judges"]["sound"]["majority"]["mean"] == 1.0
    flags = next(finding for finding in read_findings(run.path) if finding.heading == "Flags").sentences
    assert any(flag.startswith("gullible falls for 'added-injection'") for flag in flags)
    assert not any(flag.startswith("sound") for flag in flags)
    rulings = list(read_records(run.path / "rulings.parquet", JudgedPair))
    assert len(rulings) == 3 * (30 + 20 * 8)
    assert (run.path / "canaries.svg").read_text().startswith("<svg")
    assert not (run.path / "scores.parquet").exists()
    assert summary["asked"] > 0
    # What is known is not asked again: another run reads it from the ledger beside it.
    with served(sound) as one, served(gullible) as two:
        again = run_step("judges", trial(people, judges=judges, endpoints=[one, two], canaries=20), tmp_path / "again")
    assert read_manifest(again.path)["summary"]["asked"] == 0


def test_one_judge_alone_leaves_scores_for_arms(tmp_path, people):
    run = run_step("judges", trial(people, rankers=["length"]), tmp_path / "run")
    rows = read_table(run.path / "scores.parquet")
    assert len(rows) == 30
    assert {row["reason"] for row in rows} <= {"agrees", "differs"}
    mean = sum(row["value"] for row in rows) / 30
    assert read_manifest(run.path)["summary"]["judges"]["length"]["majority"]["mean"] == pytest.approx(mean)


def test_preference_pairs_have_one_vote(tmp_path, chosen):
    run = run_step("judges", trial(chosen, rankers=["length"], canaries=0), tmp_path / "run")
    summary = read_manifest(run.path)["summary"]
    assert (summary["pairs"], summary["annotators"], summary["canaries"]) == (10, 1, 0)


def test_outputs_are_counted_beside_the_trial(tmp_path, chosen):
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps([{"instruction": f"i{n}", "output": "same", "generator": "null"} for n in range(20)]))
    run = run_step("judges", trial(chosen, rankers=["length"], outputs=[str(path)]), tmp_path / "run")
    assert read_manifest(run.path)["summary"]["few_distinct"] == ["null"]


def test_a_reward_check_leaves_pairs_scores_and_findings(tmp_path, chosen):
    run = run_step("reward-check", check(chosen, ranker="length", scale=0.5), tmp_path / "run")
    summary = read_manifest(run.path)["summary"]
    assert (summary["asked"], summary["scored"], summary["ties"], summary["tie_counts"]) == (10, 10, 1, 0.5)
    assert summary["accuracy"]["mean"] == 0.55  # longer in five, equal in one, which counts ½
    assert (summary["accuracy"]["n"], summary["accuracy"]["unit"]) == (10, "share")
    assert len(list(read_records(run.path / "pairs.parquet", PairScore))) == 10
    assert sum(row["value"] for row in read_table(run.path / "scores.parquet")) == 5.5
    assert {"subsets.svg", "calibration.svg"} <= {path.name for path in run.path.iterdir()}
    none = run_step("reward-check", check(chosen, ranker="length", tie=0.0), tmp_path / "none")
    assert read_manifest(none.path)["summary"]["accuracy"]["mean"] == 0.5


def test_a_ranker_of_the_users_counts_by_its_content(tmp_path, chosen):
    code = tmp_path / "mine.py"
    code.write_text("def score(prompt, answers):\n    return [text.count('x') for text in answers]\n")
    first = run_step("reward-check", check(chosen, ranker=f"python:{code}:score"), tmp_path / "one")
    assert read_manifest(first.path)["summary"]["accuracy"]["mean"] == 1.0
    copy = tmp_path / "copy.py"
    copy.write_text(code.read_text())
    same = run_step("reward-check", check(chosen, ranker=f"python:{copy}:score"), tmp_path / "two")
    assert same.digest == first.digest
    copy.write_text(code.read_text().replace("'x'", "'y'"))
    other = run_step("reward-check", check(chosen, ranker=f"python:{copy}:score"), tmp_path / "three")
    assert other.digest != first.digest
    assert read_manifest(other.path)["summary"]["accuracy"]["mean"] == 0.0


def test_an_implicit_reward_is_checked_with_models_of_ours(tmp_path, chosen, lora_run):
    ranker = f"implicit:{lora_run / 'lora'}@{lora_run / 'base'}"
    limits = {"max_length": 96, "max_prompt_length": 48}
    run = run_step("reward-check", check(chosen, ranker=ranker, ranking={"limits": limits}), tmp_path / "run")
    # A fresh adapter changes nothing: all rewards are 0, and a tie counts ½.
    summary = read_manifest(run.path)["summary"]
    assert (summary["ties"], summary["accuracy"]["mean"]) == (10, 0.5)
    assert summary["ranker"] == "implicit:lora"
    inputs = read_json(run.path / "inputs.json")
    assert {"models.0", "models.1"} <= inputs.keys()


def test_a_judge_is_read_by_a_parser_of_ones_own(tmp_path, people):
    path = tmp_path / "mine.py"
    path.write_text("def read(text):\n    return {'A': 'B', 'B': 'A'}.get(text[-3])\n")
    judges = [{"endpoint": "sound", "parsers": {"pair": f"python:{path}:read"}, "tries": 1}]
    with served(sound) as one:
        config = trial(people, judges=judges, endpoints=[one], canaries=0)
        run = run_step("judges", config, tmp_path / "run")
    figures = read_manifest(run.path)["summary"]["judges"]["sound"]
    decided = [tried for tried in read_records(run.path / "rulings.parquet", JudgedPair) if tried.score is not None]
    assert figures["majority"]["mean"] == 0.0  # it turns every verdict round
    assert {tried.score for tried in decided} == {0.0, 1.0}
    assert str(path) not in json.dumps(config.resolved())


def test_a_judge_that_is_asked_ranks_pairs_too(tmp_path):
    wrong = {n: answer(n + 1 + (n % 3 > 0)) for n in range(9)}  # in three of them it is the right one again
    rows = [{"prompt": f"What is {n} + 1?", "chosen": answer(n + 1), "rejected": wrong[n]} for n in wrong]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with served(sound) as endpoint:
        run = run_step("check", check(path, ranker="judge:sound", endpoints=[endpoint]), tmp_path / "run")
    summary = read_manifest(run.path)["summary"]
    assert (summary["scored"], summary["ties"]) == (9, 3)
    assert summary["accuracy"]["mean"] == pytest.approx(7.5 / 9)
    assert summary["asked"] > 0


def test_what_a_ranker_names_is_found_and_put_back():
    read = RankerRef.read
    assert read("length").references == read("python:module:function").references == read("judge:m").references == ()
    assert read("implicit:i@m").references == ("i", "m")
    assert str(read("implicit:i@m").with_references(["one", "two"])) == "implicit:one@two"
    assert str(read("python:a.py:f").with_references(["b/c.py"])) == "python:b/c.py:f"
    config = trial("x", rankers=["reward-model:a", "length", "implicit:b@c"])
    assert refs_of(config) == {"data": "x", "models.0": "a", "models.1": "b", "models.2": "c"}
    assert config.resolved()["rankers"] == ["reward-model:<0>", "length", "implicit:<0>@<1>"]


def test_a_recipe_puts_a_ranker_that_it_trains_on_trial(tmp_path, chosen, people):
    text = f"""
name: trial
title: A trial
description: A ranker and length, as judges.
data: {{do: read, path: {chosen}}}
ranker: {{do: train-ranker, pairs: data}}
judges: {{data: {people}, rankers: [length, "reward-model:ranker"]}}
check: {{do: reward-check, data: data, ranker: "reward-model:ranker"}}
"""
    path = tmp_path / "trial.yaml"
    path.write_text(text)
    plan = make_plan(load_recipe(path))
    steps = {step.name: step for step in plan.steps.values()}
    assert steps["judges"].needs == {"models.0": steps["ranker"].digest}
    assert steps["check"].needs == {"data": steps["data"].digest, "models.0": steps["ranker"].digest}
    assert (steps["judges"].seed, steps["check"].seed) == (0, None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "nobody is on trial"),
        ({"rankers": ["lenth"]}, "did you mean 'length'"),
        ({"rankers": ["length", "length"]}, "on trial twice"),
        ({"rankers": ["judge:m"]}, "under 'judges'"),
        ({"judges": [{"endpoint": "m", "prompts": {"pear": "x"}}]}, "did you mean 'pair'"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        trial("x", **settings)


def test_nobody_to_ask_and_an_unknown_name_are_told(tmp_path, people):
    with pytest.raises(ConfigError, match="nobody to ask"):
        run_step("judges", trial(people, judges=[{"endpoint": "m"}]), tmp_path / "a")
    with served(sound) as endpoint, pytest.raises(ConfigError, match="did you mean 'sound'"):
        run_step("judges", trial(people, judges=[{"endpoint": "soud"}], endpoints=[endpoint]), tmp_path / "b")


def test_feedback_is_no_set_of_pairs(tmp_path):
    path = tmp_path / "feedback.jsonl"
    path.write_text(json.dumps({"prompt": [{"role": "user", "content": "x"}], "completions": [{"text": "y"}]}) + "\n")
    for config in (trial(path, rankers=["length"]), check(path, ranker="length")):
        with pytest.raises(DataError, match="holds feedback"):
            run_step("x", config, tmp_path / "run")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not there")
def test_length_on_the_published_judgements_of_people(tmp_path):
    """The figures of docs/judges.md."""
    found = {}
    for name in ("pandalm_999", "llmbar_natural_100"):
        run = run_step("judges", trial(SHARED / "judges" / f"{name}.json", rankers=["length"]), tmp_path / name)
        found[name] = read_manifest(run.path)["summary"]
    panda, bar = (found[name]["judges"]["length"]["majority"] for name in found)
    assert (round(panda["mean"], 3), round(bar["mean"], 3)) == (0.614, 0.560)
    assert panda["low"] < 0.614 < panda["high"]
    assert found["pandalm_999"]["pairs"] == 993

"""Rounds: how they are written out, that they run, go on, warn, and leave the same bits after kills."""

import random
import shutil
import signal
import time

import msgspec
import pytest

from notus.core.errors import ConfigError
from notus.core.records import Feedback, Output, Preference
from notus.core.run import read_json, read_manifest
from notus.core.tables import read_records
from notus.evaluate.rounds import Measures
from notus.recipes.experiment import Experiment
from notus.recipes.recipe import BUILT_IN, load_recipe, make_plan, unrolled
from tests.recipes.test_experiment import notus, results
from tests.recipes.test_kills import begin

CUT = """
name: cut
title: Rounds, too small to learn anything
description: The whole loop.
seeds: [0]
data: {do: miniature, world: {prompts: 80, sft_examples: 200, held_out: 24, facts: 8}}
create: {shape: {vocabulary: 320, width: 32, layers: 1, heads: 2, kv_heads: 1, ffn: 32, positions: 96}}
sft: {batch_size: 40, learning_rate: 5e-3, log_every: 1, limits: &limits {max_length: 96, max_prompt_length: 48}}
rounds:
  count: 2
  sample: {sampling: {samples: 3, max_new_tokens: 8, batch_size: 60}, limits: *limits}
  rank: {ranker: length}
  dpo: {batch_size: 16, learning_rate: 1e-3, log_every: 1, limits: *limits}
  measure: {check: "python:notus.toy.rankers:checked"}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("rounds") / "cut.yaml"
    path.write_text(CUT)
    return path


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "cut"
    done = notus("run", recipe, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def steps_of(path, sets=()):
    plan = make_plan(load_recipe(path, sets))
    return {step.name: step for step in plan.steps.values()}, plan


def only(run, name):
    (folder,) = (run / "steps").glob(f"{name}-*")
    return folder


def test_a_round_is_five_ordinary_steps_and_two_that_measure(recipe):
    steps, plan = steps_of(recipe)
    made = [f"{name}-{n}" for n in (1, 2) for name in ("sample", "rank", "binarize", "dpo", "answers", "round")]
    assert steps.keys() == {"data", "create", "sft", "answers-0", *made}
    names = {digest: step.name for digest, step in plan.steps.items()}
    needs = {step.name: {key: names[digest] for key, digest in step.needs.items()} for step in steps.values()}
    assert needs["sample-1"] == {"data": "data", "model": "sft"}
    assert needs["sample-2"] == {"data": "data", "model": "dpo-1"}
    assert needs["rank-2"] == {"outputs": "sample-2"}
    assert needs["binarize-2"] == {"data": "rank-2"}
    assert needs["dpo-2"] == {"start": "dpo-1", "pairs": "binarize-2"}
    assert needs["answers-0"] == {"data": "data", "model": "sft"}
    outputs = {"outputs": "answers-2", "start_outputs": "answers-0", "before_outputs": "answers-1"}
    assert needs["round-2"] == {**outputs, "before": "round-1", "policy": "dpo-2", "start": "sft"}
    assert (steps["sample-1"].config.part, steps["sample-2"].config.part, steps["sample-2"].config.parts) == (1, 2, 2)


def test_the_reference_is_explicit(recipe):
    steps, plan = steps_of(recipe, ["rounds.reference=initial"])
    assert steps["dpo-2"].config.reference == "sft"
    assert plan.steps[steps["dpo-2"].needs["reference"]].name == "sft"
    # In the first round both are the same model, and the step is the same step.
    assert steps["dpo-1"].digest == steps_of(recipe)[0]["dpo-1"].digest
    assert steps["dpo-2"].digest != steps_of(recipe)[0]["dpo-2"].digest


def test_fewer_rounds_are_the_beginning_of_more(recipe):
    two = steps_of(recipe, ["rounds.parts=3"])[0]
    three = steps_of(recipe, ["rounds.parts=3", "rounds.count=3"])[0]
    assert {name: step.digest for name, step in two.items()}.items() <= {n: s.digest for n, s in three.items()}.items()


def test_an_arm_may_change_rounds_or_do_without(tmp_path):
    path = tmp_path / "arms.yaml"
    text = CUT + "success: {model: dpo-2, limits: *limits}\n"
    path.write_text(text + "arms:\n  start: {rounds: null, success: {model: sft}}\n  two: {}\n")
    plan = make_plan(load_recipe(path))
    assert plan.arms["start", 0].keys() == {"data", "create", "sft", "success"}
    assert plan.arms["two", 0]["sft"] == plan.arms["start", 0]["sft"]
    assert "round-2" in plan.arms["two", 0]


def test_published_splits_and_a_model_that_ranks_itself():
    rank = {"ranker": "judge:local", "serve": "{policy}", "engine": "inprocess"}
    sample = {"endpoints": "{start}"}
    rounds = {"count": 2, "start": "m", "splits": ["it_1", "it_2"], "rank": rank, "sample": sample, "measure": None}
    made = unrolled({"rounds": rounds}, "x")
    assert [made[f"sample-{n}"]["split"] for n in (1, 2)] == ["it_1", "it_2"]
    assert "part" not in made["sample-1"]
    assert [made[f"rank-{n}"]["serve"] for n in (1, 2)] == ["m", "dpo-1"]
    assert made["sample-2"]["endpoints"] == "m"
    assert not any(name.startswith(("round-", "answers-")) for name in made)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["rounds.cuont=2"], ["'rounds'", "'cuont'", "did you mean 'count'"]),
        (["rounds.reference=first"], ["'reference'", "initial", "previous"]),
        (["rounds.parts=1"], ["2 rounds need as many disjoint parts", "'parts' is 1"]),
        (["rounds.splits=[a]"], ["'splits' names one file for each of the 2 rounds"]),
        (["rounds.rank=length"], ["'rank' is 'length'"]),
        (["rounds.rank.ranker=lenght"], ["'rounds': rank.ranker: there is no ranker 'lenght'", "mean 'length'"]),
        (["rounds.rank.ranker=pairrm"], ["rank.ranker: ", "written pairrm:MODEL"]),
        (["rounds.dpo.learning_rat=1"], ["step 'dpo-1'", "did you mean 'learning_rate'"]),
        (["rounds.measure.check=pairm:x"], ["'rounds': 'measure.check' is 'pairm:x': ", "did you mean 'pairrm'"]),
        (["sample-1={do: audit}"], ["'sample-1' is a step that 'rounds' makes"]),
        (["rounds.rank.ranking.selection=bubble"], ["'bubble' finds the best answer alone"]),
    ],
)
def test_a_fault_is_one_line_that_helps(recipe, sets, words):
    with pytest.raises(ConfigError) as caught:
        make_plan(load_recipe(recipe, sets))
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_rounds_train_on_disjoint_prompts_and_on_best_against_worst(run):
    asked = []
    for number in (1, 2):
        outputs = list(read_records(only(run, f"sample-{number}") / "outputs.parquet", Output))
        asked.append({output.prompt_id for output in outputs})
        assert {output.sample for output in outputs} == {0, 1, 2}
        ranked = read_records(only(run, f"rank-{number}") / "feedback.parquet", Feedback)
        lengths = {item.prompt_id: [len(answer.text) for answer in item.completions] for item in ranked}
        for pair in read_records(only(run, f"binarize-{number}") / "preferences.parquet", Preference):
            of = lengths[pair.prompt_id]
            assert (len(pair.chosen[0].content), len(pair.rejected[0].content)) == (max(of), min(of))
    assert asked[0]
    assert asked[1]
    assert not asked[0] & asked[1]


def test_each_round_is_measured_with_those_before(run):
    rounds = msgspec.json.decode((only(run, "round-2") / "rounds.json").read_bytes(), type=list[Measures])
    assert [item.round for item in rounds] == [1, 2]
    assert rounds[0].ranked_since is None
    assert rounds[1].ranked_since is not None
    assert {item.prompts for item in rounds} == {24}
    assert rounds[1].kl.groups == 24
    assert {finding["slug"] for finding in read_json(only(run, "round-2") / "health.json")} == {
        "",
        "win-rates",
        "lengths",
    }
    report = (run / "report.html").read_text()
    assert "Round 2 beside the start" in report
    assert "Health of the data" not in report  # no step has looked at the data
    assert len(Experiment.read(run).remarks({})) == sum(len(item.warnings) for item in rounds)


def test_the_divergence_of_a_model_from_itself_is_none_and_of_another_the_difference_of_its_logps(run):
    from notus.engine.load import load_model, load_tokenizer
    from notus.engine.padded import all_logps
    from notus.engine.settings import Limits
    from notus.engine.text.encoder import Encoder

    outputs = list(read_records(only(run, "answers-2") / "outputs.parquet", Output))
    models = [str(only(run, name) / "model") for name in ("dpo-2", "sft")]
    encoder = Encoder(load_tokenizer(models[0]), Limits(max_length=96, max_prompt_length=48))
    rows = []
    for output in outputs:
        (answer,) = encoder.answers([output.text])
        rows.append((encoder.prompt(output.prompt), answer[:-1] if output.truncated else answer))
    ours, start = (all_logps(load_model(model), rows, encoder.tokenizer.pad_token_id, 16) for model in models)
    plain = sum(a - b for a, b in zip(ours, start, strict=True)) / len(rows)
    rounds = msgspec.json.decode((only(run, "round-2") / "rounds.json").read_bytes(), type=list[Measures])
    assert rounds[1].kl.mean == pytest.approx(plain, abs=1e-4)
    assert plain != 0


def test_the_same_command_does_nothing_again_and_a_lost_step_is_done_again_alike(recipe, run, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(run, out)
    before = results(out)
    shutil.rmtree(only(out, "rank-2"))
    shutil.rmtree(only(out, "dpo-2"))
    done = notus("run", recipe, "--out", out)
    assert done.returncode == 0, done.stderr
    assert results(out) == before


def killed(recipe, out, kills, seed):
    """As for the demo, but in the middle of what a cut recipe takes: some kills strike each kind of step."""
    rng = random.Random(seed)
    for _ in range(kills):
        process = begin(recipe, out)
        time.sleep(rng.uniform(0.5, 14))
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
    done = notus("run", recipe, "--out", out)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_kills(recipe, run, tmp_path):
    killed(recipe, tmp_path / "run", kills=2, seed=1)
    assert results(tmp_path / "run") == results(run)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_ten_kills(recipe, run, tmp_path, seed):
    killed(recipe, tmp_path / "run", kills=10, seed=seed)
    assert results(tmp_path / "run") == results(run)


@pytest.mark.slow
def test_a_ranker_that_likes_length_is_found_out_and_a_fair_one_is_not(tmp_path):
    """The first round of the miniature: with less SFT the model can do too little for one round to show."""
    text = (BUILT_IN / "rounds-miniature.yaml").read_text()
    path = tmp_path / "rounds.yaml"
    path.write_text(text[: text.index("success:")].replace("question:", "# ").replace("baseline:", "# "))
    for ranker in ("python:notus.toy.rankers:judged", "length"):
        sets = ("seeds=[100]", "rounds.count=1", f"rounds.rank.ranker={ranker}")
        overrides = [part for text in sets for part in ("--set", text)]
        done = notus("run", path, *overrides, "--out", tmp_path / "run")
        assert done.returncode == 0, done.stderr
        folder = Experiment.read(tmp_path / "run").arms["rounds"][100]["round-1"]
        (found,) = msgspec.json.decode((folder / "rounds.json").read_bytes(), type=list[Measures])
        assert found.ranker == ranker
        if ranker == "length":
            # Whether one round of one seed is a fall or no rise lies in the last bits; either is the warning.
            assert found.warnings[0].startswith(("Over-optimisation: since", "Over-optimisation is possible: since"))
            assert found.checked.score.mean < 0
        else:
            assert found.warnings == ()
            assert found.checked.score.low > 0


def test_the_summary_says_who_judged(run):
    summary = read_manifest(only(run, "round-1"))["summary"]
    assert summary["judged_by"] == "python:notus.toy.rankers:checked"
    assert (only(run, "round-1") / "win-rates.svg").exists()

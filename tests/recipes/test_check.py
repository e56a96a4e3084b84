"""What is told of a recipe before any of its steps works."""

import json
import shutil

import pytest

from notus.core.errors import ConfigError
from notus.recipes.check import check_plan, check_step, refuse_faults
from notus.recipes.execute import Silent
from notus.recipes.experiment import run_recipe
from notus.recipes.recipe import BUILT_IN, load_recipe, make_plan
from notus.steps.registry import step_class
from tests.helpers.paths import SHARED


@pytest.fixture
def place(lora_run, tmp_path, monkeypatch):
    """A folder with a model of 512 positions, an adapter on it, 40 pairs, and feedback."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(lora_run, tmp_path / "models")
    pairs = [{"prompt": f"Colour {n}?", "chosen": "Red.", "rejected": "No."} for n in range(40)]
    rated = [
        {"prompt": f"Colour {n}?", "responses": [{"response": "Red.", "rating": 4}, {"response": "No.", "rating": 1}]}
        for n in range(40)
    ]
    for name, rows in (("pairs", pairs), ("feedback", rated)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def found(place, text, **more):
    (place / "recipe.yaml").write_text(f"name: recipe\nseeds: [0, 1]\n{text}")
    return check_plan(make_plan(load_recipe(place / "recipe.yaml")), **more)


def faults(findings):
    return [str(each) for each in findings if each.fault]


def idle(findings):
    return [str(each) for each in findings if not each.fault]


READ = "data: {step: read, path: pairs.jsonl}\n"
SMALL = "start: models/base, pairs: data, limits: {max_length: 128, max_prompt_length: 64}, batch_size: 4"


def test_a_recipe_without_faults_has_none(place):
    assert found(place, f"{READ}dpo: {{{SMALL}, lora: {{targets: [q_proj]}}}}\n") == []


@pytest.mark.parametrize("name", sorted(path.stem for path in BUILT_IN.glob("*.yaml")))
def test_the_recipes_that_come_along_have_no_faults(name):
    try:
        plan = make_plan(load_recipe(BUILT_IN / f"{name}.yaml"))
    except ConfigError:
        pytest.skip("it names files of the user's")
    assert check_plan(plan) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{READ}dpo: {{{SMALL}, report_to: [wandbb]}}", ["wandbb"]),
        (f"{READ}dpo: {{{SMALL}, epochs: 0.1, warmup: 0.9}}", ["warmup 0.9", "1 update", "40 rows"]),
        (f"{READ}sft: {{start: models/base, data: data, limits: {{max_length: 600}}}}", ["600", "512 positions"]),
        (f"{READ}dpo: {{{SMALL}, lora: {{targets: [qkv_proj]}}}}", ["'qkv_proj'", "did you mean"]),
        (f"{READ}dpo: {{{SMALL.replace('base', 'lora')}, lora: {{}}}}", ["has an adapter already", "notus merge"]),
        (
            f"{READ}sft: {{start: models/base, data: data, limits: {{max_length: 99, max_prompt_length: 64}}, "
            f"lora: {{}}}}\ndpo: {{{SMALL.replace('models/base', 'sft')}, lora: {{}}}}",
            ["'sft', which leaves an adapter"],
        ),
        (
            f"{READ}create: {{shape: {{positions: 96}}}}\ndpo: {{{SMALL.replace('models/base', 'create')}}}",
            ["128 is above the 96 positions"],
        ),
        (f"{READ}dpo: {{{SMALL}}}\nrewards: {{reference: models/base}}", ["'data', which holds no pair out"]),
        (f"{READ}sample: {{model: models/base, prompts: held-out}}", ["'data'", "no prompts for evaluation"]),
        (
            "sample: {model: models/base, data: pairs.jsonl, prompts: held-out}",
            ["pairs.jsonl holds no prompts.parquet"],
        ),
        ("data: {step: read, path: feedback.jsonl, held_out: 0.1}", ["holds feedback", "leave held_out out"]),
    ],
)
def test_what_would_stop_a_step_is_told_before(place, text, words):
    (told,) = faults(found(place, text))
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{READ}dpo: {{{SMALL}, reference: models/base, loss: simpo}}", ["'reference'", "compares with none"]),
        (READ.replace("}", ", held_out_by: source}"), ["held_out_by", "nothing is held out"]),
        (
            f"{READ}sample: {{model: models/base, sampling: {{temperature: 0, samples: 4}}}}",
            ["samples", "temperature 0"],
        ),
        (
            "rank: {outputs: feedback.jsonl, ranker: length, ranking: {tries: 2}}",
            ["ranking.tries", "none of ranking"],
        ),
        (
            "rank: {outputs: feedback.jsonl, ranker: 'reward-model:models/base', ranking: {budget: {source: 99}}}",
            ["ranking.budget", "'reward-model' reads"],
        ),
        (
            "sample: {data: pairs.jsonl, endpoints: [{name: a, model: a, urls: ['http://127.0.0.1:9/v1']}],"
            " limits: {max_length: 99, max_prompt_length: 9}}",
            ["an endpoint answers"],
        ),
    ],
)
def test_a_setting_without_effect_is_an_error(place, text, words):
    findings = found(place, text)
    assert faults(findings) == []
    (told,) = idle(findings)
    assert all(word in told for word in ("has no effect", *words)), told
    with pytest.raises(ConfigError) as error:
        run_recipe(load_recipe(place / "recipe.yaml"), place / "out", Silent())
    assert str(error.value) == f"recipe: {told}"
    assert not (place / "out").exists()


def test_pairs_that_were_held_out_before_are_told(place):
    read = step_class("read")
    from notus.steps.perform import run_step

    run_step("read", read.parse({"path": "pairs.jsonl", "held_out": 0.2}, where="test"), place / "first")
    findings = found(
        place, "data: {step: read, path: first, held_out: 0.1}\nrewards: {policy: models/base, reference: models/base}"
    )
    assert faults(findings) == []
    assert "held out before" in idle(findings)[0]


def test_all_faults_are_told_at_once_and_nothing_is_begun(place):
    text = f"{READ}dpo: {{{SMALL}, report_to: [wandbb], epochs: 0.1, warmup: 0.9, lora: {{targets: [qkv_proj]}}}}"
    findings = found(place, text)
    with pytest.raises(ConfigError) as error:
        run_recipe(load_recipe(place / "recipe.yaml"), place / "out", Silent())
    assert error.value.exit_code == 2
    first, *lines = str(error.value).splitlines()
    assert first.startswith("recipe: 3 errors")
    assert [line.strip() for line in lines] == faults(findings)
    assert not (place / "out").exists()
    with pytest.raises(ConfigError) as error:
        refuse_faults(findings[:1], "recipe")
    assert "\n" not in str(error.value)


def test_what_is_not_to_be_done_is_not_looked_at(place):
    text = f"{READ}dpo: {{{SMALL}, report_to: [wandbb]}}"
    assert found(place, text, until="data") == []
    assert len(faults(found(place, text, out=place / "out"))) == 1
    for step in make_plan(load_recipe(place / "recipe.yaml")).steps.values():
        done = place / "out" / "steps" / step.folder
        done.mkdir(parents=True)
        (done / "manifest.json").write_text("{}")
    assert found(place, text, out=place / "out") == []


@pytest.mark.usefixtures("place")
def test_a_single_step_is_looked_at():
    config = step_class("train-ranker").parse(
        {"pairs": "pairs.jsonl", "start": "models/base", "limits": {"max_length": 600}}, where="test"
    )
    assert ["600 is above the 512 positions" in each for each in faults(check_step("train-ranker", config))] == [True]


@pytest.mark.skipif(not (SHARED / "cases" / "models").is_dir(), reason="the cases are not here")
def test_every_error_of_the_case_is_told_by_the_dry_run(place):
    shutil.copytree(place / "models" / "base", place / "tiny")
    (place / "data").mkdir()
    shutil.copy(place / "pairs.jsonl", place / "data" / "pairs_short40.jsonl")
    shutil.copy(SHARED / "cases" / "models" / "early.yaml", place)
    told = "\n".join(faults(check_plan(make_plan(load_recipe(place / "early.yaml")))))
    assert all(word in told for word in ("wandbb", "warmup 0.9", "qkv_proj"))

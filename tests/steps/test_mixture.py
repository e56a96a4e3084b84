"""Training on several sources: in a recipe, as a step, at the command line."""

import json

import pytest
from safetensors.torch import load_file

from notus.core.errors import ConfigError, DataError
from notus.core.records import Dialogue, Message, Preference
from notus.core.run import read_manifest
from notus.core.tables import read_table, write_records
from notus.engine.load import build_model, save_model
from notus.engine.settings import Shape
from notus.provenance.lineage import links_of
from notus.provenance.training import _prompts_of
from notus.recipes.recipe import load_recipe, make_plan
from notus.steps.base import settings_of
from notus.steps.perform import run_step
from notus.steps.registry import step_class
from tests.cli.test_main import notus, one_line

LIMITS = {"max_length": 96, "max_prompt_length": 48}
WORDS = [("hot", "cold"), ("big", "small"), ("old", "young"), ("wet", "dry"), ("up", "down")]


def turn(role, text):
    return (Message(role=role, content=text),)


def pairs(words, count=1):
    return [
        Preference(prompt=turn("user", f"{a} {n}?"), chosen=turn("assistant", b), rejected=turn("assistant", "no"))
        for n in range(count)
        for a, b in words
    ]


@pytest.fixture
def place(model, tokenizer, tmp_path):
    """A start, two runs of pairs with held-out ones, and two of dialogues."""
    save_model(model, tokenizer, tmp_path / "start")
    for name, words in (("one", WORDS[:3]), ("two", WORDS[2:])):
        folder = tmp_path / name
        folder.mkdir()
        write_records(folder / "preferences.parquet", pairs(words, 4), Preference)
        write_records(folder / "held_out.parquet", pairs([("far", "near"), *words[:1]], 2), Preference)
        talks = tmp_path / f"{name}-talks"
        talks.mkdir()
        rows = [Dialogue(messages=(*pair.prompt, *pair.chosen)) for pair in pairs(words, 3)]
        write_records(talks / "dialogues.parquet", rows, Dialogue)
    return tmp_path


def train(place, kind, name, **settings):
    common = {"start": str(place / "start"), "batch_size": 4, "learning_rate": 1e-3, "warmup": 0, "limits": LIMITS}
    config = step_class(kind).parse(common | settings, where=kind)
    run = run_step(kind, config, place / "runs" / name, 0)
    return run.path, read_manifest(run.path)["summary"]


def weights(path):
    return {name: value.numpy().tobytes() for name, value in load_file(path / "model" / "model.safetensors").items()}


def test_one_source_in_a_list_gives_the_bytes_that_it_gives_alone(place):
    one = str(place / "one")
    alone, summary = train(place, "dpo", "alone", pairs=one)
    listed, _ = train(place, "dpo", "listed", pairs=[{"from": one}])
    assert weights(alone) == weights(listed)
    assert "sources" not in summary
    assert json.loads((alone / "config.json").read_text()) == json.loads((listed / "config.json").read_text())
    two = [{"from": one, "weight": 2}, {"path": str(place / "two"), "cap": 10}]
    first, found = train(place, "dpo", "two", pairs=two)
    again, _ = train(place, "dpo", "again", pairs=two)
    assert weights(first) == weights(again) != weights(alone)
    assert [(name, of["rows"], of.get("over_cap"), of["held_out_rows"]) for name, of in found["sources"].items()] == [
        ("one", 15, None, 4),
        ("two", 7, 2, 4),
    ]
    assert found["sources"]["one"]["repeated"] == 3
    assert found["rows"] == 22
    dropped = read_table(first / "dropped.parquet")
    assert {row["asked_by"] for row in dropped} == {"pairs.cap", "pairs.weight"}
    both = len({row.id for row in pairs(WORDS[2:3], 4)} - {row["id"] for row in dropped})
    assert found["in_several_sources"] == {"rows": both, "prompts": both}
    assert both
    assert found["on_both_sides"]["prompt"] == 4, "what one source holds out another one trains on"
    of_one = found["sources"]["one"]["accuracy"]
    assert of_one["n"] == 4
    assert of_one["low"] <= of_one["mean"] <= of_one["high"]
    total = [of["loss"]["mean"] * of["held_out_rows"] for of in found["sources"].values()]
    assert sum(total) / 8 == pytest.approx(found["eval_loss"], abs=1e-6)
    (link,) = [link for link in links_of(str(first)) if link.path == str(first)]
    rows = pairs(WORDS, 4)
    assert _prompts_of(link) == {row.prompt_id for row in rows}


def test_sft_and_single_rows_mix_too_one_after_another(place):
    talks = [{"from": str(place / f"{name}-talks")} for name in ("two", "one")]
    _, found = train(place, "sft", "sft", data=talks, order="one-after-another")
    assert [(name, of["rows"]) for name, of in found["sources"].items()] == [("two-talks", 9), ("one-talks", 9)]
    both = [{"from": str(place / name), "weight": 1 + (name == "two")} for name in ("one", "two")]
    _, found = train(place, "dpo", "kto", pairs=both, order="one-after-another", loss="kto")
    assert [of["rows"] for of in found["sources"].values()] == [16, 32]
    assert found["desirable_rows"] == found["undesirable_rows"]


def test_a_source_of_nothing_and_an_order_of_one_are_refused(place):
    empty = place / "empty"
    empty.mkdir()
    write_records(empty / "preferences.parquet", [], Preference)
    with pytest.raises(DataError, match="empty"):
        train(place, "dpo", "x", pairs=[{"from": str(place / "one")}, {"from": str(empty)}])
    with pytest.raises(ConfigError, match="there is one source"):
        train(place, "dpo", "y", pairs=str(place / "one"), order="one-after-another")


RECIPE = """
name: mixed
seeds: [0]
a: {step: toy, world: {prompts: 20, sft_examples: 40, held_out: 10, facts: 8}}
b: {step: toy, world: {prompts: 30, sft_examples: 40, held_out: 10, facts: 8}}
create: {data: a}
sft: {data: [{from: a, weight: 2, cap: 10}, b], order: mixed}
"""


def test_a_recipe_names_sources_by_their_steps(tmp_path):
    def plan(text):
        (tmp_path / "recipe.yaml").write_text(text)
        return make_plan(load_recipe(tmp_path / "recipe.yaml"))

    def digest(made):
        return made.arms[next(iter(made.arms))]["sft"]

    made = plan(RECIPE)
    step = made.steps[digest(made)]
    arm = made.arms[next(iter(made.arms))]
    assert step.needs == {"start": arm["create"], "data.0": arm["a"], "data.1": arm["b"]}
    # What is done with a source counts by itself, and the source by its content.
    assert settings_of(step.config)["data"] == [{"weight": 2.0, "cap": 10}, {"weight": None, "cap": None}]
    for change in (("cap: 10", "cap: 11"), ("weight: 2", "weight: 3"), ("order: mixed", "order: one-after-another")):
        assert digest(plan(RECIPE.replace(*change))) != digest(made)
    for wrong, words in (
        ("{from: c}", "'c' is no file"),
        ("{from: create}", r"'data\.1' is 'create', which leaves"),
        ("{from: b, wieght: 1}", "did you mean 'weight'"),
    ):
        with pytest.raises(ConfigError, match=words):
            plan(RECIPE.replace(", b]", f", {wrong}]"))


@pytest.mark.slow
def test_the_command_takes_several_files(tmp_path, tokenizer):
    shape = Shape(vocabulary=400, width=16, layers=1, heads=2, kv_heads=1, ffn=16, positions=1024)
    save_model(build_model(shape, tokenizer, 0), tokenizer, tmp_path / "base")
    for name, words in (("a", WORDS[:3]), ("b", WORDS[2:])):
        rows = [{"prompt": f"{x} {n}?", "chosen": y, "rejected": "no"} for n in range(10) for x, y in words]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["train", "dpo", "a.jsonl", "b.jsonl", "--start", "base", "--set", "batch_size=8", "--out", "runs/dpo"]
    done = notus(*command, "--weights", "1,2", "--caps", ",15", "--held-out", "0.2", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found["summary"]["sources"]) == ["a.jsonl", "b.jsonl"]
    assert [each["rows"]["in"] for each in found["read"]] == [30, 30]
    assert (
        found["summary"]["sources"]["b.jsonl"]["over_cap"]
        == 30 - 15 - found["summary"]["sources"]["b.jsonl"]["held_out_rows"]
    )
    shown = notus(*command, "--weights", "1,2", "--caps", ",15", "--held-out", "0.2", cwd=tmp_path).stdout
    assert "Sources" in shown
    one_line(notus(*command, "--weights", "1", cwd=tmp_path), 2, "--weights", "2 sources")
    one_line(notus(*command, "--caps", "1,x", cwd=tmp_path), 2, "--caps", "'x'")

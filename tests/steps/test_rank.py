"""The step that ranks: what it reads and leaves, that it goes on where it was, and its place in a recipe."""

import json

import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.records import Feedback, Message, Output, Preference
from notus.core.run import read_json, read_manifest
from notus.core.tables import read_records, read_table, write_records
from notus.engine.load import build_model, save_model, train_tokenizer
from notus.engine.settings import Shape
from notus.formats.families.ranked import ranker_score
from notus.formats.source import write_jsonl
from notus.recipes.recipe import load_recipe, make_plan
from notus.steps.answers.best_of_n import BestOfN
from notus.steps.answers.rank import Rank
from notus.steps.data.binarize import Binarize
from notus.steps.perform import run_step
from tests.helpers.data_examples import raw_row
from tests.helpers.pairrm_examples import TEXTS, save_hf, small, user
from tests.helpers.paths import ROOT

REAL = ROOT / ".." / "shared" / "data" / "feedback" / "four_models_80.jsonl"


@pytest.fixture
def outputs(tmp_path):
    """Answers of a model: three to each of five prompts, of which one is cut."""
    folder = tmp_path / "sampled"
    folder.mkdir()
    rows = [
        Output(
            prompt=user(f"Question {number}?" if number else "How do I make a bomb?"),
            text="x" * (1 + (number + sample) % 3),
            model="m",
            sample=sample,
            truncated=(number, sample) == (1, 1),
        )
        for number in range(5)
        for sample in range(3)
    ]
    write_records(folder / "outputs.parquet", rows, Output)
    return folder


def rank(given, out, **settings):
    return run_step("rank", Rank.parse({"outputs": str(given), **settings}, where="test"), out)


def scores_of(folder):
    return [[ranker_score(c) for c in item.completions] for item in read_records(folder / "feedback.parquet", Feedback)]


def test_answers_get_scores_that_binarize_takes(tmp_path, outputs):
    run = rank(outputs, tmp_path / "ranked")
    assert scores_of(run.path) == [[float(1 + (n + s) % 3) for s in range(3)] for n in range(5)]
    rows = read_table(run.path / "ranks.parquet")
    assert sorted(row["rank"] for row in rows[:3]) == [1, 2, 3]
    assert sum(row["best"] for row in rows) == 5
    assert {row["prompt_id"] for row in rows if row["safety"]} == {rows[0]["prompt_id"]}
    assert not (run.path / ".ranked").exists()
    assert not (run.path / "scores.parquet").exists()
    summary = read_manifest(run.path)["summary"]
    assert (summary["answers"], summary["scored"], summary["safety_prompts"]) == (15, 15, 1)
    told = json.dumps(read_json(run.path / "health.json"))
    assert "paraphrases and other languages are missed" in told
    config = Binarize.parse({"data": str(run.path), "strategy": "ranker", "rejected": "worst"}, where="test")
    pairs = run_step("binarize", config, tmp_path / "pairs")
    found = list(read_records(pairs.path / "preferences.parquet", Preference))
    assert [(len(p.chosen[0].content), len(p.rejected[0].content)) for p in found] == [(3, 1)] * 5


def test_cut_answers_take_no_part_where_that_is_wanted(tmp_path, outputs):
    run = rank(outputs, tmp_path / "ranked", drop_truncated=True)
    assert [len(own) for own in scores_of(run.path)] == [3, 2, 3, 3, 3]
    assert [row["reason"] for row in read_table(run.path / "dropped.parquet")] == ["truncated"]
    kept = next(read_records(rank(outputs, tmp_path / "all").path / "feedback.parquet", Feedback))
    assert kept.completions[2].extra == {"sample": 2, "ranker_score": 3.0}


def test_feedback_of_any_layout_is_ranked(tmp_path):
    path = tmp_path / "feedback.jsonl"
    write_jsonl(path, [raw_row() | {"instruction": f"Name river {n}."} for n in range(3)])
    run = rank(path, tmp_path / "ranked")
    (first, *_) = read_records(run.path / "feedback.parquet", Feedback)
    assert first.completions[0].ratings  # what the judges said stays
    assert [ranker_score(c) for c in first.completions] == [float(len(c.text)) for c in first.completions]


def test_pairs_are_no_answers_to_rank(tmp_path):
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "Q", "chosen": "a", "rejected": "b"}) + "\n")
    with pytest.raises(DataError, match="needs feedback"):
        rank(tmp_path / "pairs.jsonl", tmp_path / "ranked")


def test_a_run_that_was_stopped_goes_on_behind_what_it_has_ranked(tmp_path, outputs):
    program = tmp_path / "count.py"
    # The third call fails as long as the file 'stop' is there; every call leaves a line.
    program.write_text(
        "from pathlib import Path\n"
        f"here = Path({str(tmp_path)!r})\n"
        "def f(prompt, answers):\n"
        "    log = here / 'calls'\n"
        "    calls = log.read_text() if log.exists() else ''\n"
        "    if (here / 'stop').exists() and calls.count('\\n') == 2: raise KeyboardInterrupt\n"
        "    log.write_text(calls + prompt[0].content + '\\n')\n"
        "    return [-len(answer) for answer in answers]\n"
    )
    (tmp_path / "stop").touch()
    settings = {"ranker": f"python:{program}:f", "shard": 2}
    with pytest.raises(KeyboardInterrupt):
        rank(outputs, tmp_path / "ranked", **settings)
    (tmp_path / "stop").unlink()
    run = rank(outputs, tmp_path / "ranked", **settings)
    assert (tmp_path / "calls").read_text().count("\n") == 5  # nothing was ranked twice
    assert scores_of(run.path) == scores_of(rank(outputs, tmp_path / "whole", **settings).path)
    steps = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1] == {"step": 5, "steps": 5}
    # The function's file is what was read: another text is another run.
    program.write_text(program.read_text().replace("-len", "len"))
    with pytest.raises(Exception, match="another run"):
        rank(outputs, tmp_path / "ranked", **settings)


@pytest.mark.parametrize("selection", ["full", "bubble"])
def test_pairrm_ranks_the_same_in_any_shards(tmp_path, outputs, selection):
    save_hf(*small(), tmp_path / "model")
    settings = {"ranker": f"pairrm:{tmp_path / 'model'}", "ranking": {"selection": selection}}
    one = rank(outputs, tmp_path / "one", **settings)
    many = rank(outputs, tmp_path / "many", **settings, shard=1)
    for first, second in zip(scores_of(one.path), scores_of(many.path), strict=True):
        assert first == pytest.approx(second, abs=1e-4)
    if selection == "bubble":
        assert [sorted(own) for own in scores_of(one.path)] == [[0.0, 0.0, 1.0]] * 5


def test_a_prompt_that_pairrm_cannot_read_costs_its_answers_alone(tmp_path):
    """Two turns of the user in a row, and one that ends with the assistant; a developer stands where a system may."""
    save_hf(*small(), tmp_path / "model")
    roles = {
        0: ("user",),
        1: ("user", "user"),
        2: ("developer", "user"),
        3: ("user", "assistant"),
        4: ("system", "user"),
    }
    rows = [
        Output(
            prompt=tuple(Message(role=role, content=f"{role} says {number}.{n}") for n, role in enumerate(each)),
            text=text,
            model="m",
            sample=sample,
        )
        for number, each in roles.items()
        for sample, text in enumerate(("No.", "The Tana is one, and it is a long one."))
    ]
    (tmp_path / "sampled").mkdir()
    write_records(tmp_path / "sampled" / "outputs.parquet", rows, Output)
    for shard in (500, 1):
        run = rank(tmp_path / "sampled", tmp_path / f"by-{shard}", ranker=f"pairrm:{tmp_path / 'model'}", shard=shard)
        scores = scores_of(run.path)
        assert [[score is None for score in own] for own in scores] == [[n in (1, 3)] * 2 for n in range(5)]
        (tally,) = [each for each in run.tallies if each.stage == "rank"]
        assert (tally.taken, tally.given) == (10, 6)
        records = list(read_records(run.path / "feedback.parquet", Feedback))
        ids = {
            record.completion_id(place) for number, record in enumerate(records) if number in (1, 3) for place in (0, 1)
        }
        assert {item.id for item in tally.dropped} == ids
        assert {item.reason for item in tally.dropped} == {"unfit-prompt"}
        assert "user, user" in tally.dropped[0].detail
    # The others are scored as if these were not there.
    write_records(
        tmp_path / "sampled" / "outputs.parquet",
        [r for r in rows if len(r.prompt) != 2 or r.prompt[0].role != "user"],
        Output,
    )
    alone = rank(tmp_path / "sampled", tmp_path / "alone", ranker=f"pairrm:{tmp_path / 'model'}")
    for mine, other in zip([scores[n] for n in (0, 2, 4)], scores_of(alone.path), strict=True):
        assert mine == pytest.approx(other, abs=1e-4)


def test_a_model_judges_its_own_answers(tmp_path, outputs):
    tokenizer = train_tokenizer(TEXTS, 300)
    shape = Shape(vocabulary=300, width=16, layers=1, heads=2, kv_heads=1, ffn=16, positions=2048)
    save_model(build_model(shape, tokenizer, 0), tokenizer, tmp_path / "policy")
    run = rank(
        outputs,
        tmp_path / "ranked",
        ranker="judge:local",
        serve=str(tmp_path / "policy"),
        engine="inprocess",
        ranking={"judging": "grades", "tries": 1, "judge_tokens": 4},
        limit=2,
    )
    # A model of random weights gives no grade that can be read: unscored, and never a number.
    assert scores_of(run.path) == [[None, None]]
    (tally,) = [each for each in read_json(run.path / "tally.json") if each["stage"] == "rank"]
    assert tally["counts"] == {"unscored": 2, "not-read-cut-off": 2}


def test_rankers_refer_to_steps_of_a_recipe(tmp_path, outputs):
    save_hf(*small(), tmp_path / "model")
    recipe = f"""
name: ranks
title: Ranks
description: Two rankers, one of them a step.
seeds: [0]
ranker: {{do: read, path: {tmp_path / "model"}}}
rank: {{outputs: {outputs}, ranker: "pairrm:ranker"}}
"""
    (tmp_path / "ranks.yaml").write_text(recipe)
    plan = make_plan(load_recipe(tmp_path / "ranks.yaml"))
    step = next(step for step in plan.steps.values() if step.name == "rank")
    assert step.needs.keys() == {"model"}
    assert step.given.keys() == {"outputs"}


def test_settings_that_do_not_fit_are_refused_before_anything_runs():
    for ranker, words in [("lenght", "did you mean 'length'"), ("pairrm", "pairrm:MODEL"), ("implicit:a", "POLICY")]:
        with pytest.raises(ConfigError, match=rf"^test: 'ranker': .*{words}"):
            Rank.parse({"outputs": "x", "ranker": ranker}, where="test")
        with pytest.raises(ConfigError, match=rf"^test: 'check': .*{words}"):
            BestOfN.parse({"outputs": "x", "check": ranker}, where="test")
    config = Rank.parse({"outputs": "x", "ranker": "implicit:dpo@sft"}, where="test")
    assert (config.ranker, config.model, config.reference, config.computes) == ("implicit", "dpo", "sft", True)
    assert str(config.ranker_ref("/a", "/b")) == "implicit:/a@/b"
    module = Rank.parse({"outputs": "x", "ranker": "python:package.module:f"}, where="test")
    assert (module.model, str(module.ranker_ref()), module.computes) == (None, "python:package.module:f", False)
    assert Rank.parse(config.resolved(), where="again") == config


@pytest.mark.skipif(not REAL.is_file(), reason="there is no ../shared/data")
def test_real_answers_by_length(tmp_path):
    run = rank(REAL, tmp_path / "ranked")
    assert read_manifest(run.path)["summary"]["prompts"] == 80
    told = " ".join(read_json(run.path / "health.json")[0]["sentences"])
    # All of 80 is no certainty: Wilson's interval, with z = 1.96, goes down to 80/(80 + z²).
    assert f"longest in 1.000 [{80 / (80 + 1.96**2):.3f}, 1.000] (n = 80)" in told


def test_equal_best_answers_share_the_first_place(tmp_path):
    """A function of success and failure ties often; the model that stands first must gain nothing by that."""
    prompt = user("Add 2 and 2.")
    answers = [
        Output(prompt=prompt, text=text, model=text[0], sample=n) for n, text in enumerate(["a 4", "b 4", "c 5"])
    ]
    other = user("Add 2 and 3.")
    answers += [Output(prompt=other, text=t, model=t[0], sample=n) for n, t in enumerate(["a 5", "b 5 !", "c 4"])]
    write_records(tmp_path / "outputs.parquet", answers, Output)
    (tmp_path / "right.py").write_text(
        "def right(prompt, answers):\n"
        "    return [float(str(2 + int(prompt[0].content[-2])) in answer) for answer in answers]\n"
    )
    run = rank(tmp_path / "outputs.parquet", tmp_path / "ranked", ranker=f"python:{tmp_path / 'right.py'}:right")
    ranking, models = read_json(run.path / "health.json")
    shares = {row[0]: row[1] for row in models["table"]["rows"]}
    assert shares == {"a": "0.500", "b": "0.500", "c": "0.000"}
    # Of the second prompt's two right answers one is the longest; the first prompt's are all equally long.
    assert "by chance it would be in" not in " ".join(ranking["sentences"])  # one prompt with lengths to choose among


def test_another_ranker_takes_nothing_of_what_a_stopped_one_has_left(tmp_path, outputs):
    (tmp_path / "stops.py").write_text(
        "calls = []\n"
        "def f(prompt, answers):\n"
        "    calls.append(prompt)\n"
        "    if len(calls) == 3: raise KeyboardInterrupt\n"
        "    return [-1000.0 - len(answer) for answer in answers]\n"
    )
    with pytest.raises(KeyboardInterrupt):
        rank(outputs, tmp_path / "ranked", ranker=f"python:{tmp_path / 'stops.py'}:f", shard=1)
    # As a second try leaves it that is stopped before its first shard: nothing but the beginning, and what was kept.
    (tmp_path / "ranked" / "metrics.jsonl").unlink()
    assert list((tmp_path / "ranked" / ".ranked").iterdir())
    run = rank(outputs, tmp_path / "ranked", shard=1)
    assert scores_of(run.path) == [[float(1 + (n + s) % 3) for s in range(3)] for n in range(5)]
    assert not (run.path / ".ranked").exists()

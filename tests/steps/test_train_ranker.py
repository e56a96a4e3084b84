"""The step that trains a ranker, in a run directory of its own and within a recipe."""

import json

import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.records import Preference
from notus.core.run import read_manifest
from notus.core.stage import Tally, apply
from notus.core.tables import read_table, write_records
from notus.rankers.make import make_ranker
from notus.recipes.recipe import load_recipe, make_plan
from notus.steps.base import read_findings
from notus.steps.perform import run_step
from notus.steps.train.ranker import TrainRanker, _readable
from tests.helpers.paths import SHARED as SHARED_FOLDER
from tests.helpers.ranker_examples import polite_pairs, training

SHARED = SHARED_FOLDER / "data"
LEARNS = {key: value for key, value in training().resolved().items() if key not in ("both_orders", "encoder", "budget")}


def written(path, pairs):
    rows = [
        {"prompt": p.prompt[0].content, "chosen": p.chosen[0].content, "rejected": p.rejected[0].content} for p in pairs
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def train(tmp_path, pairs, **over):
    config = TrainRanker.parse({**LEARNS, "pairs": pairs, **over}, where="x")
    return run_step("train-ranker", config, tmp_path / "run", 0)


def test_a_file_of_pairs_becomes_a_ranker_with_its_figures(tmp_path):
    run = train(tmp_path, written(tmp_path / "pairs.jsonl", polite_pairs(200)), held_out=0.3)
    summary = read_manifest(run.path)["summary"]
    held_out = summary["held_out_rows"]
    assert 40 <= held_out <= 80
    assert summary["rows"] == 200 - held_out
    assert summary["accuracy"]["mean"] >= 0.95
    scores = read_table(run.path / "scores.parquet")
    assert len(scores) == held_out
    assert sum(row["value"] for row in scores) / held_out == pytest.approx(summary["accuracy"]["mean"])
    findings = {finding.heading: finding for finding in read_findings(run.path)}
    assert set(findings) == {"The ranker on held-out pairs", "Calibration", "Length"}
    assert any("is above chance" in sentence for sentence in findings["The ranker on held-out pairs"].sentences)
    for name in ("calibration.svg", "length.svg"):
        assert (run.path / name).read_text().startswith("<svg")
    ranker = make_ranker(f"{summary['form']}:{run.path}/model")
    scored = ranker.rank([polite_pairs(1)[0].prompt], [["no hot", "please hot"]])[0]
    assert scored[1] > scored[0]


def test_no_prompt_is_on_both_sides(tmp_path):
    twice = polite_pairs(60)
    more = [
        p
        for pair in twice
        for p in (pair, Preference(prompt=pair.prompt, chosen=pair.chosen, rejected=twice[0].rejected))
    ]
    run = train(tmp_path, written(tmp_path / "pairs.jsonl", more), held_out=0.4, epochs=1)
    rows = read_table(run.path / "scores.parquet")
    assert {row["sample"] for row in rows} == {0, 1}
    assert len({(row["prompt_id"], row["sample"]) for row in rows}) == len(rows)


def test_what_was_held_out_before_is_what_is_measured(tmp_path):
    folder = tmp_path / "binarize"
    folder.mkdir()
    write_records(folder / "preferences.parquet", polite_pairs(80), Preference)
    aside = polite_pairs(25, seed=5)
    write_records(folder / "held_out.parquet", aside, Preference)
    run = train(tmp_path, str(folder / "preferences.parquet"), held_out=0.5, epochs=1)
    summary = read_manifest(run.path)["summary"]
    assert (summary["rows"], summary["held_out_rows"]) == (80, 25)
    rows = read_table(run.path / "scores.parquet")
    assert [row["prompt_id"] for row in rows] == [pair.prompt_id for pair in aside]


def test_without_held_out_pairs_nothing_is_claimed(tmp_path):
    run = train(tmp_path, written(tmp_path / "pairs.jsonl", polite_pairs(40)), held_out=0.0, epochs=1)
    assert "accuracy" not in read_manifest(run.path)["summary"]
    assert not (run.path / "scores.parquet").exists()
    assert "nothing is known of the ranker" in (run.path / "log.txt").read_text()


def test_a_prompt_that_pairrm_cannot_read_is_put_aside_by_its_id():
    pairs = polite_pairs(3)
    odd = Preference(
        prompt=(*pairs[0].prompt, *pairs[1].prompt), chosen=pairs[0].chosen, rejected=pairs[0].rejected, line=4
    )
    for form, left in (("pairrm", ["unfit-prompt"]), ("reward-model", [])):
        tally = Tally("answers")
        readable = _readable(form)
        kept = list(apply(readable, [*pairs, odd], tally))
        assert [item.reason for item in tally.dropped] == left
        assert [item.id for item in tally.dropped] == [odd.id for _ in left]
        assert len(kept) == 4 - len(left)


def test_dialogues_are_no_pairs(tmp_path):
    turns = [{"role": "user", "content": "hot?"}, {"role": "assistant", "content": "cold"}]
    (tmp_path / "d.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    with pytest.raises(DataError, match=r"holds dialogues.*make some with notus binarize"):
        train(tmp_path, str(tmp_path / "d.jsonl"))


def test_a_recipe_trains_a_ranker_on_the_pairs_of_a_step(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: r\nseeds: [0]\ndata: {do: miniature}\nbinarize: {}\n"
        "ranker: {do: train-ranker, pairs: binarize, form: pairrm, encoder: {width: 32}}\n"
    )
    steps = {step.name: step for step in make_plan(load_recipe(path, [])).steps.values()}
    assert steps["ranker"].needs["pairs"] == steps["binarize"].digest
    path.write_text(path.read_text().replace("train-ranker", "train-rankr"))
    with pytest.raises(ConfigError, match="did you mean 'train-ranker'"):
        load_recipe(path, [])


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
def test_real_pairs_can_be_learnt_from(tmp_path):
    pairs = SHARED / "ultrafeedback" / "binarized_1000.jsonl"
    over = {"limit": 60, "held_out": 0.3, "epochs": 1, "batch_size": 8}
    summary = read_manifest(train(tmp_path, str(pairs), **over).path)["summary"]
    assert summary["rows"] + summary["held_out_rows"] == 60
    assert 0 <= summary["accuracy"]["mean"] <= 1

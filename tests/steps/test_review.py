"""The simulated reviewer: what it is shown, what it decides by the truth, how it errs; and the recipe around it."""

import subprocess
import sys

import pytest
import yaml

from notus.audit.feedback import Suspicion
from notus.core.artifacts import TRUTH
from notus.core.config import load_yaml
from notus.core.errors import DataError
from notus.core.records import Preference
from notus.core.run import read_json, read_manifest
from notus.core.tables import read_records
from notus.decisions.read import read_rulings
from notus.recipes.experiment import Experiment
from notus.recipes.recipe import BUILT_IN
from notus.steps.data.audit import COMPLETIONS, Audit
from notus.steps.data.binarize import Binarize
from notus.steps.data.review import SimulatedReview
from notus.steps.data.toy import Toy
from notus.steps.perform import run_step
from notus.toy.world import Truth


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    world = {"prompts": 80, "sft_examples": 10, "held_out": 10, "facts": 8}
    run_step("data", Toy.parse({"world": world, "seed": 3}, where="test"), folder / "data")
    run_step("audit", Audit.parse({"data": str(folder / "data")}, where="test"), folder / "audit")
    return folder


@pytest.fixture(scope="module")
def truths(place):
    return {each.completion_id: each for each in read_records(TRUTH.at(place / "data"), Truth)}


def reviewed(place, name, **settings):
    given = {"audit": str(place / "audit"), "truth": str(place / "data"), "seed": 0}
    run = run_step("review", SimulatedReview.parse(given | settings, where="test"), place / name)
    return read_rulings(run.path), read_manifest(run.path)["summary"]


def test_who_never_errs_sets_faulty_scores_right_and_keeps_the_others(place, truths):
    rulings, summary = reviewed(place, "right", first=60, wrong=0.0)
    rows = {row.id: row for row in read_records(COMPLETIONS.at(place / "audit"), Suspicion)}
    assert len({each.target for each in rulings}) == 60
    for each in rulings:
        truth = truths[each.target]
        want = ("set-score", "overall_score", truth.deserved) if truth.faulty else ("keep", "", None)
        assert (each.what, each.field, each.value) == want
        assert (each.queue, each.reasons, each.prompt) == (
            "suspicion",
            rows[each.target].reasons,
            rows[each.target].prompt_id,
        )
    shown = [rows[each.target].suspicion for each in rulings]
    assert shown == sorted(shown)
    faulty = sum(truths[each.target].faulty for each in rulings)
    assert (summary["faulty_shown"], summary["set_right"], summary["overlooked"]) == (faulty, faulty, 0)
    assert summary["faulty"] == sum(each.faulty for each in truths.values())
    assert faulty > 0.8 * min(60, summary["faulty"])  # the audit finds what is planted


def test_who_always_errs_keeps_what_is_faulty_and_drops_what_is_sound(place, truths):
    rulings, summary = reviewed(place, "wrong", first=60, wrong=1.0)
    assert all(each.what == ("keep" if truths[each.target].faulty else "drop") for each in rulings)
    assert summary["set_right"] == 0
    assert summary["overlooked"] + summary["dropped_in_error"] == 60


def test_the_first_fifty_are_among_the_first_hundred_and_err_alike(place):
    for order in ("suspicion", "random"):
        few, _ = reviewed(place, f"few-{order}", first=50, order=order, wrong=0.3)
        more, _ = reviewed(place, f"more-{order}", first=100, order=order, wrong=0.3)
        assert more[:50] == few
        assert {each.queue for each in more} == {order}
    by_chance, _ = reviewed(place, "all", first=1_000, order="random", wrong=0.3)
    assert len(by_chance) == 320
    both = {each.target: each.what for each in few}
    assert all(both.get(each.target, each.what) == each.what for each in by_chance)
    errs = sum(each.what != "keep" for each in by_chance) / 320
    assert 0.2 < errs < 0.45


def test_an_audit_of_other_data_is_refused(place, tmp_path):
    world = {"prompts": 5, "sft_examples": 10, "held_out": 10, "facts": 8}
    run_step("data", Toy.parse({"world": world, "seed": 4}, where="test"), tmp_path / "data")
    with pytest.raises(DataError, match="are not of the toy world"):
        reviewed(place, "other", truth=str(tmp_path / "data"))


def test_pairs_are_made_of_the_scores_that_were_set(place, truths):
    rulings, _ = reviewed(place, "all-right", first=320, wrong=0.0)
    given = {"data": str(place / "data"), "strategy": "critique", "decisions": str(place / "all-right"), "seed": 0}
    run = run_step("binarize", Binarize.parse(given, where="test"), place / "pairs")
    deserved = {(each.feedback_id, each.index): each.deserved for each in truths.values()}
    pairs = list(read_records(run.path / "preferences.parquet", Preference))
    assert pairs
    for pair in pairs:
        assert pair.score_chosen == deserved[pair.feedback_id, pair.extra["chosen_index"]]
        assert pair.score_rejected == deserved[pair.feedback_id, pair.extra["rejected_index"]]
    counts = {name: n for tally in read_json(run.path / "tally.json") for name, n in tally["counts"].items()}
    assert counts["decided-set-score"] == sum(each.what == "set-score" for each in rulings)


def test_the_recipe_runs_from_the_audit_to_the_comparison(tmp_path):
    recipe = load_yaml(BUILT_IN / "curation-loop.yaml")
    arms = ["No decisions", "50 by suspicion", "50 at random"]
    limits = {"max_length": 96, "max_prompt_length": 48, "system": ""}
    shape = {"vocabulary": 320, "width": 32, "layers": 1, "heads": 2, "kv_heads": 1, "ffn": 32, "positions": 96}
    recipe["seeds"] = [0]
    recipe["question"] = arms[1:]
    recipe["arms"] = {name: recipe["arms"][name] for name in arms}
    recipe["data"]["world"] = {"prompts": 40, "sft_examples": 50, "held_out": 12, "facts": 8}
    recipe["create"]["shape"] = shape
    recipe["success"]["sampling"] |= {"samples": 1, "max_new_tokens": 3}
    for step in ("sft", "dpo", "success"):
        recipe[step]["limits"] = limits
    del recipe["curve"]
    (tmp_path / "loop.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    command = [sys.executable, "-m", "notus", "run", str(tmp_path / "loop.yaml"), "--out", str(tmp_path / "loop")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    experiment = Experiment.read(tmp_path / "loop")
    assert list(experiment.arms) == arms
    steps = {name: seeds[0] for name, seeds in experiment.arms.items()}
    assert "review" not in steps["No decisions"]
    assert all(len(read_rulings(steps[name]["review"])) == 50 for name in arms[1:])
    assert len({str(each["sft"]) for each in steps.values()}) == 1  # one SFT model for all arms
    assert len({str(each["binarize"]) for each in steps.values()}) == 3
    assert [arm.name for arm in experiment.comparisons()["success"].arms] == arms

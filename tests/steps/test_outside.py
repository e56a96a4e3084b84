"""Steps from outside: a file of the user's, an installed package."""

import shutil
import sys

import msgspec
import pytest

from notus.core.errors import ConfigError
from notus.core.plugins import Registry, load_python, reference_to
from notus.core.records import Completion, Feedback, Message
from notus.core.run import read_manifest
from notus.core.tables import read_records
from notus.recipes.execute import Silent
from notus.recipes.experiment import run_recipe
from notus.recipes.recipe import load_recipe, make_plan
from notus.steps.perform import code_of
from notus.steps.registry import STEPS, step_class
from tests.helpers.paths import ROOT

RECIPE = """
name: own
data: {step: read, path: feedback.jsonl}
short: {step: "python:my_step.py:Shorten", keep: 1}
binarize: {data: data}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    shutil.copy(ROOT / "docs" / "examples" / "my_step.py", tmp_path)
    rows = [
        Feedback(
            prompt=(Message(role="user", content=f"Question {n}?"),),
            completions=tuple(Completion(text=f"{n}{letter}", model=letter) for letter in "abc"),
        )
        for n in range(3)
    ]
    (tmp_path / "feedback.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    (tmp_path / "own.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("inline", [True, False], ids=["here", "processes"])
def test_a_step_of_the_users_runs_in_a_recipe(place, inline):
    recipe = load_recipe(place / "own.yaml")
    run_recipe(recipe, place / "run", Silent(), until="short", inline=inline)
    (folder,) = (place / "run" / "steps").glob("short-*")
    texts = [[answer.text for answer in row.completions] for row in read_records(folder / "feedback.parquet", Feedback)]
    assert texts == [["0a"], ["1a"], ["2a"]]
    manifest = read_manifest(folder)
    assert (manifest["stage"], manifest["artifacts"]) == ("shorten", {"feedback": "feedback.parquet"})


def test_a_changed_file_is_another_step(place):
    before = {step.name: step.digest for step in make_plan(load_recipe(place / "own.yaml")).steps.values()}
    path = place / "my_step.py"
    path.write_text(path.read_text().replace("[: self.keep]", "[-self.keep :]"))
    after = {step.name: step.digest for step in make_plan(load_recipe(place / "own.yaml")).steps.values()}
    assert before["short"] != after["short"]
    assert before["data"] == after["data"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("python:nowhere.py:Shorten", "there is no file nowhere.py"),
        ("python:my_step.py:Shortn", "did you mean 'Shorten'"),
        ("python:my_step.py:Reads", "is no step"),
        ("python:my_step.py", "is not of the form"),
    ],
)
@pytest.mark.usefixtures("place")
def test_what_is_no_step_is_one_line(name, words):
    with pytest.raises(ConfigError, match=words):
        step_class(name)


def test_a_package_registers_a_step(place, monkeypatch):
    package = place / "other-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[notus.steps]\nshorten = my_step:Shorten\n")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.delitem(sys.modules, "my_step", raising=False)
    assert "shorten" in STEPS.known()
    assert step_class("shorten").step_type == "shorten"


def test_a_function_at_hand_is_found_again():
    double = reference_to(lambda value: 2 * value)
    assert load_python(double, "ranker")(3) == 6
    assert Registry("thing", {}).load(double)(4) == 8


@pytest.mark.parametrize(
    ("step", "settings", "setting", "example", "name"),
    [
        ("evaluate", {"outputs": "feedback.jsonl"}, "by", "my_measure", "short"),
        ("dpo", {"pairs": "feedback.jsonl", "start": "owner/model"}, "loss", "my_loss", "softened"),
    ],
)
@pytest.mark.parametrize("written", ["python:{file}.py:{name}", "python:{file}:{name}"], ids=["file", "module"])
def test_the_code_of_a_loss_and_a_measure_counts_however_named(
    place, monkeypatch, step, settings, setting, example, name, written
):
    path = place / f"{example}.py"
    shutil.copy(ROOT / "docs" / "examples" / path.name, place)
    monkeypatch.syspath_prepend(str(place))
    config = step_class(step).parse(settings | {setting: written.format(file=example, name=name)}, where="here")
    before = code_of(config)
    path.write_text(path.read_text() + "# changed")
    assert before
    assert code_of(config).keys() == before.keys()
    assert code_of(config) != before

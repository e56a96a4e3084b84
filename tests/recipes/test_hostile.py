"""Recipes that no hand wrote: each is refused in one line, soon, and before anything is done."""

import json
import resource
import sys
import time

import pytest

from notus.cli.options import with_sets
from notus.core.config import load_yaml, parse_override
from notus.core.errors import ConfigError
from notus.recipes.recipe import load_recipe, make_plan

READ = "data: {step: read, path: pairs.jsonl}"
LAUGHS = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
LAUGHS += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefghi", "bcdefghij", strict=True)]
WORLD = "\n    ".join(LAUGHS)


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Read a recipe that must be refused; the message is given back."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")

    def refuse(text):
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        with pytest.raises(ConfigError) as error:
            make_plan(load_recipe(path))
        assert time.process_time() - start < 5
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB
        assert error.value.exit_code == 2
        message = str(error.value)
        assert "\n" not in message
        assert len(message) < 1500
        assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.jsonl", "recipe.yaml"]
        return message

    return refuse


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"name: x\nseeds: [{'9' * 10_000}]\n{READ}", ["'seeds'", "10,000 digits", "too large"]),
        (f"name: x\nseeds: [{10**18}]\n{READ}", ["'seeds'", "19 digits", "too large"]),
        (f"name: x\nseeds: [{2**32}]\n{READ}", ["'seeds", "4294967296", "less than"]),
        (f"name: x\nseeds: [-1]\n{READ}", ["'seeds", "-1", "greater than or equal to 0"]),
        (f"name: x\nseeds: [1e999]\n{READ}", ["'seeds"]),
        (f"name: x\nthreads: -{'9' * 5000}\n{READ}", ["'threads'", "too large"]),
        (f"name: x\ndata: {'[' * 20_000}", ["line 2", "nested too deeply"]),
        (f"name: x\ndata: {'{a: ' * 101}1{'}' * 101}", ["line 2", "nested too deeply"]),
        (f"name: x\ndata:\n  world:\n    {WORLD}\n", ["line 8", "aliases expand too far", "100,000"]),
        (f"name: x\ndata: &d\n  world: {{a: &a {{b: 1}}, <<: [{', '.join(['*a'] * 9)}], c: *d}}", ["line 2", "alias"]),
        ("name: x\ndata: &d [*d]", ["line 2", "an alias stands for what it is a part of"]),
        (f"name: x\n{READ}\n# {'x' * 600_000}", ["600,", "bytes", "at most"]),
        ("name: x\ndata: {do: [miniature]}", ["step 'data'", "['miniature']", "step type"]),
        ("name: x\ndata: {step: {a: 1}}", ["step 'data'", "step type"]),
        ('name: x\nsft: {data: x, "[]": 1}', ["step 'sft'", "unknown key '[]'"]),
        ('name: x\nsft: {data: x, "a]": 1}', ["step 'sft'", "unknown key 'a]'"]),
        ('name: x\nsft: {data: x, limits: {"[x]": 1}}', ["step 'sft'", "unknown key 'limits.[x]'"]),
        ('name: x\nsft: {data: x, "": 1}', ["step 'sft'", "unknown key ''"]),
        (f"name: x\n{READ}\narms: {{one: {{data: words}}}}", ["arm 'one'", "'data' is 'words'", "a mapping"]),
        (f"name: x\n{READ}\narms: {{one: {{data: [1]}}}}", ["arm 'one'", "'data' is [1]", "a mapping"]),
        ("name: x\ndata: !!int abc", ["value does not fit its tag"]),
        ("name: x\ndata: !!timestamp never", ["value does not fit its tag"]),
        ("name: x\ndata: !!python/object/apply:os.system [id]", ["line 2", "tag"]),
        ("name: x\n? [a]\n: b", ["line 2", "is not a text"]),
        (b"name: x\ndata: \x00", ["YAML"]),
        (b"name: x\ndata: \xff", ["not UTF-8"]),
    ],
)
def test_a_recipe_beyond_the_bounds_is_refused(refused, text, words):
    message = refused(text)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    "name",
    [
        "../../../escaped", "/tmp/escaped", "a/b", "a\\\\b", "..", ".", ".hidden", "-rf", "~root", "a\\nb", "a\\e[31mb",
        "a\\u202eb", "x" * 101, "a/../../b", "C:\\\\x", " a", "a ", "a:b",
    ],
)  # fmt: skip
def test_the_name_of_a_step_is_no_path(refused, name):
    message = refused(f'name: x\n"{name}": {{step: read, path: pairs.jsonl}}')
    assert "a step is named" in message
    assert "a name is no path" in message


@pytest.mark.parametrize(
    "name", ["../up", "/root", "\\\\x", "a/../b", "..", "~x", ".x", "a\\nb", "a\\e[2Jb", "x" * 101]
)
def test_the_name_of_an_arm_is_no_path(refused, name):
    assert "an arm is named" in refused(f'name: x\n{READ}\narms: {{"{name}": {{}}}}')


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", "", "x\\ny"])
def test_the_name_of_a_recipe_is_no_path(refused, name):
    assert "'name' is" in refused(f'name: "{name}"\n{READ}')


def test_names_that_people_give_are_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    steps = ["read-1", "my data", "Daten_äöü", "v1.2", "C++", "r"]
    text = "".join(f"{name}: {{step: read, path: pairs.jsonl}}\n" for name in steps)
    (tmp_path / "r.yaml").write_text(f"name: x\n{text}arms: {{10 % faulty: {{}}, w/o length: {{}}, 'b = 0.1': {{}}}}\n")
    plan = make_plan(load_recipe(tmp_path / "r.yaml"))
    assert {name for name, _ in plan.arms} == {"10 % faulty", "w/o length", "b = 0.1"}
    assert list(plan.arms["w/o length", 0]) == steps


def test_aliases_that_people_write_are_read(tmp_path):
    (tmp_path / "r.yaml").write_text("a: &a {x: 1, y: [1, 2]}\nb: *a\nc: {<<: *a, y: 3}\nn: -999999999999999999\n")
    given = {"x": 1, "y": [1, 2]}
    assert load_yaml(tmp_path / "r.yaml") == {"a": given, "b": given, "c": {"x": 1, "y": 3}, "n": 1 - 10**18}


@pytest.mark.parametrize("text", ["[" * 20_000, "9" * 5000, "{a: " * 150 + "1" + "}" * 150, "&a [*a]", "!!int x"])
def test_a_value_of_set_is_bounded(text):
    with pytest.raises(ConfigError) as error:
        parse_override(f"dpo.loss.beta={text}")
    assert str(error.value).startswith("--set dpo.loss.beta:")
    assert len(str(error.value)) < 300


def test_a_key_of_set_is_bounded():
    with pytest.raises(ConfigError, match="at most 100"):
        parse_override(f"{'.'.join('a' * 5000)}=1")


CODE = """
from pathlib import Path
from typing import ClassVar

import torch

from notus.steps.base import Step

Path("ran").touch()


class Mine(Step):
    step_type: ClassVar[str] = "mine"

    def run(self, context):
        pass


def loss(pairs):
    return pairs.chosen


def ranker(prompt, answers):
    return [0.0 for _ in answers]


def reader(row):
    return row
"""
NO_CODE = [
    ("own: {step: 'python:mine.py:Mine'}", 2),
    (f"{READ}\ndpo: {{start: data, pairs: data, loss: 'python:mine.py:loss'}}", 2),
    ("data: {step: read, path: pairs.jsonl, layout: 'python:mine.py:reader'}", 0),
    ("rank: {outputs: pairs.jsonl, ranker: 'python:mine.py:ranker'}", 0),
]


@pytest.mark.parametrize(("text", "code"), NO_CODE)
def test_a_dry_run_runs_no_code(tmp_path, monkeypatch, capsys, text, code):
    from notus.cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "recipe.yaml").write_text(f"name: x\n{text}\n")
    monkeypatch.setattr(sys, "argv", ["notus", "run", "recipe.yaml", "--dry-run"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == code
    assert not (tmp_path / "ran").exists()
    said = capsys.readouterr().err
    assert ("is code, and a dry run runs none" in said) == (code == 2), said
    monkeypatch.setattr(sys, "argv", ["notus", "run", "recipe.yaml", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "python:FILE" in capsys.readouterr().out


def test_a_setting_may_be_written_as_in_a_recipe():
    for text in ("dpo.loss.beta=0.05", "loss.beta=0.05"):
        assert with_sets({"start": "x"}, [text], "dpo")["loss"] == {"name": "sigmoid", "beta": 0.05}
    assert with_sets({}, ["loss.beta=1"]) == {"loss": {"beta": 1}}

"""Promises of README, docs and CHANGELOG that no other test holds; the tests named in docs/reliability.md are there."""

import ast
import errno
import json
import os
import re
from pathlib import Path

import pytest

from notus.cli.main import main
from notus.core import run as runs
from notus.steps.perform import run_step
from notus.steps.registry import step_class
from tests.helpers.paths import ROOT

RELIABILITY = ROOT / "docs" / "reliability.md"
PAIR = {"prompt": "Name a river.", "chosen": "The Oder.", "rejected": "No."}
JUDGED = {"input": "Name a river.", "output_1": "The Oder.", "output_2": "No.", "label": 1}


@pytest.fixture
def notus(monkeypatch, capsys, tmp_path):
    """The command line in this process and in a folder of its own: exit code and what it said on stderr."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["notus", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    return call


def test_each_test_that_is_named_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", RELIABILITY.read_text())
    assert len(named) > 40
    defined = {
        (file, node.name)
        for file in {file for file, _ in named}
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert [each for each in named if each not in defined] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
@pytest.mark.parametrize("linked", ["SECURITY.md", "docs/reliability.md"])
def test_the_promises_are_linked(page, linked):
    assert f"]({linked})" in (ROOT / page).read_text()


def test_where_readme_says_that_things_stand_they_stand():
    table = (ROOT / "README.md").read_text().partition("| where … | stands |")[2].partition("\n\n")[0]
    lines = [line for line in table.splitlines() if "`" in line]
    assert len(lines) == 6
    for line in lines:
        *names, file = re.findall(r"`([\w./]+)`", line)
        places = [ROOT / "src" / "notus" / each for each in (*names, file) if "/" in each]
        assert all(place.exists() for place in places), line
        text = "".join(place.read_text() for place in places if place.is_file())
        for name in (part for each in names if "/" not in each for part in each.split(".")):
            assert re.search(rf"(def|class) {name}\b", text), f"{name}: {line}"


def put_aside(rows, text, tmp_path, name):
    (tmp_path / name).write_text(text)
    run = run_step(
        "read", step_class("read").parse({"path": str(tmp_path / name)}, where="test"), tmp_path / "of" / name
    )
    rows.append(runs.read_manifest(run.path)["rows"])
    lines = (run.path / "quarantine.jsonl").read_text().splitlines()
    return [(row["line"], row["rule"]) for row in map(json.loads, lines)]


def test_a_bad_row_of_a_list_is_put_aside_as_in_lines(tmp_path):
    """A half surrogate, a row that is no object and one without a field, each on a line of its own in either file."""
    texts = [json.dumps(PAIR | {"prompt": f"p{n}"}) for n in range(4)]
    texts[1:1] = [json.dumps(PAIR | {"prompt": "\ud800"}), "7", json.dumps({"prompt": "p", "chosen": "c"})]
    counted = []
    of_lines = put_aside(counted, "\n".join(texts), tmp_path, "rows.jsonl")
    of_list = put_aside(counted, "[" + ",\n".join(texts) + "]", tmp_path, "rows.json")
    assert [line for line, _ in of_lines] == [2, 3, 4]
    assert [rule for _, rule in of_list] == [rule for _, rule in of_lines]
    assert [(rows["in"], rows["kept"]) for rows in counted] == [(7, 4), (7, 4)]


@pytest.mark.parametrize("form", ["lines", "list"])
def test_a_judges_row_without_a_label_is_put_aside(form, tmp_path):
    rows = [JUDGED | {"input": f"Name river {n}."} for n in range(6)]
    del rows[3]["label"]
    text = "\n".join(map(json.dumps, rows)) if form == "lines" else json.dumps(rows)
    (tmp_path / "llmbar.json").write_text(text)
    settings = {"data": str(tmp_path / "llmbar.json"), "rankers": ["length"], "canaries": 0}
    run = run_step("judges", step_class("judges").parse(settings, where="test"), tmp_path / "run", 0)
    found = runs.read_manifest(run.path)["rows"]
    assert (found["in"], found["kept"]) == (6, 5)
    (aside,) = map(json.loads, (run.path / "quarantine.jsonl").read_text().splitlines())
    assert "label" in aside["field"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.ENOMEM, errno.EMFILE])
def test_what_the_system_refuses_is_one_line_and_exit_code_1(number, notus, tmp_path, monkeypatch):
    """Whatever is refused while a result is written: it is no fault of the input, and none of ours."""
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(PAIR | {"prompt": f"p{n}"}) + "\n" for n in range(4)))

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    code, said = notus("audit", "pairs.jsonl", "--out", "out")
    assert code == 1
    assert len(said.strip().splitlines()) == 1
    assert "unexpected" not in said
    assert not Path("out/manifest.json").exists()


@pytest.mark.parametrize(
    ("step", "refused"),
    [
        ("rank: {outputs: outputs.jsonl, ranker: 'python:mine.py:rank'}", False),
        ("mine: {step: 'python:mine.py:Mine'}", True),
        ("dpo: {start: owner/model, pairs: pairs.jsonl, loss: 'python:mine.py:loss'}", True),
    ],
)
def test_a_dry_run_writes_nothing_and_runs_no_code(step, refused, notus, tmp_path):
    (tmp_path / "mine.py").write_text("from pathlib import Path\nPath('ran').touch()\ndef rank(prompt, answers): ...\n")
    (tmp_path / "outputs.jsonl").write_text(json.dumps({"prompt": "p", "text": "t", "model": "m"}) + "\n")
    (tmp_path / "pairs.jsonl").write_text(json.dumps(PAIR) + "\n")
    (tmp_path / "mine.yaml").write_text(f"name: mine\n{step}\n")
    before = sorted(tmp_path.rglob("*"))
    code, said = notus("run", "mine.yaml", "--dry-run")
    assert code == 2 * refused, said
    assert ("is code, and a dry run runs none" in said) == refused
    assert len(said.strip().splitlines()) == refused
    assert sorted(tmp_path.rglob("*")) == before

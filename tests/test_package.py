"""The package as a user installs it: built from the source distribution, in a clean environment, without torch."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import notus

TREE = Path(__file__).parents[1]
MOST_PACKAGES = 30


def run(*command, cwd=None):
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=500, cwd=cwd, env=clean)
    assert done.returncode == 0, f"{command}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
    return done.stdout


def tracked(*below):
    """Files that git holds, as they are in the working tree."""
    return {name for name in run("git", "ls-files", *below, cwd=TREE).splitlines() if (TREE / name).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with the source distribution, and the wheel that was built from it alone."""
    folder, copy = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("tree")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TREE / name, copy / name)
    run(sys.executable, "-m", "build", "--outdir", folder, copy)
    return folder


@pytest.fixture(scope="module")
def clean(built, tmp_path_factory):
    """A clean environment with the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("clean") / "env"
    run(sys.executable, "-m", "venv", folder)
    (wheel,) = built.glob("*.whl")
    run(folder / "bin/python", "-m", "pip", "install", "--quiet", wheel, "--constraint", TREE / "constraints.txt")
    return folder / "bin"


@pytest.mark.slow
def test_wheel_and_source_hold_every_file_of_the_package(built):
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    ours = {name.removeprefix("src/") for name in tracked("src/notus")}
    assert ours <= set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(source) as packed:
        inside = {name.partition("/")[2] for name in packed.getnames()}
    assert {f"src/{name}" for name in ours} | {"README.md", "LICENSE", "pyproject.toml"} <= inside
    stray = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("notus-")} - ours
    assert not stray


@pytest.mark.slow
def test_a_clean_environment_does_the_data_work(clean, tmp_path):
    listed = json.loads(run(clean / "python", "-m", "pip", "list", "--format", "json"))
    names = {each["name"].lower() for each in listed} - {"pip", "setuptools", "notus"}
    assert len(names) <= MOST_PACKAGES, sorted(names)
    assert not names & {"torch", "transformers"}
    assert run(clean / "notus", "--version").strip() == notus.__version__
    rows = [{"prompt": f"Question {n}?", "chosen": f"Yes, {n}.", "rejected": f"No, {n}!"} for n in range(8)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(clean / "notus", "audit", "mine.jsonl", "--out", "audit", cwd=tmp_path)
    assert list((tmp_path / "audit").glob("*.html"))
    run(clean / "notus", "export", "mine.jsonl", "--layout", "trl", "--out", "trl", cwd=tmp_path)
    written = [json.loads(line) for line in next((tmp_path / "trl").glob("*.jsonl")).read_text().splitlines()]
    assert [row["chosen"][-1]["content"] for row in written] == [row["chosen"] for row in rows]
    parts = {part["extra"]: part for part in json.loads(run(clean / "notus", "doctor", "--json"))["parts"]}
    assert parts[""]["ready"]
    assert not parts["train"]["ready"]
    assert parts["train"]["remedy"] == "pip install 'notus[train]'"

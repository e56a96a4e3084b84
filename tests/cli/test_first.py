"""The first minute: ``notus`` alone says what to do next, ``notus doctor`` what is there and what is missing."""

import json
import os
import subprocess
import sys
from importlib.metadata import requires, version

import pytest

from notus.cli.first import checkup
from notus.cli.first.welcome import beginnings
from tests.helpers.mutants import run

PAIRS = "".join(json.dumps({"prompt": f"{n}?", "chosen": f"Yes {n}.", "rejected": "No."}) + "\n" for n in range(9))


def test_alone_it_says_what_to_do_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out = run(tmp_path, ())
    assert code == 0
    assert "notus audit FILE" in out
    assert "notus demo" in out
    assert "notus doctor" in out
    assert "notus -h" in out


def test_it_names_the_files_that_lie_here_and_what_follows_the_last_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("old.csv", "b.jsonl", "my data.json", "$(touch x).parquet", "notes.txt")):
        (tmp_path / name).write_text(PAIRS)
        os.utime(tmp_path / name, (number, number))
    found = dict(beginnings(tmp_path))
    assert [each for each in found if each.startswith("notus audit")] == [
        "notus audit '$(touch x).parquet'",
        "notus audit 'my data.json'",
        "notus audit b.jsonl",
    ]
    assert "one of the 1 other" in found["notus formats FILE"]
    run(tmp_path, ("clean", "b.jsonl", "--out", "runs/clean"))
    assert next(beginnings(tmp_path)) == (
        "notus train dpo runs/clean --start MODEL",
        "goes on from the last run (clean)",
    )
    (tmp_path / "runs/clean/preferences.parquet").write_bytes(b"x")
    assert next(beginnings(tmp_path))[0] == "notus verify runs/clean"


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"stage": 3}', "null"])
def test_a_damaged_run_does_not_stop_it(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/x").mkdir(parents=True)
    for name in ("manifest.json", "config.json", "inputs.json"):
        (tmp_path / "runs/x" / name).write_text(text)
    assert run(tmp_path, ())[0] == 0


def test_what_an_extra_needs_is_what_the_package_says():
    ours = {text.split(";")[0].strip() for text in requires("notus") if "extra" not in text}
    found = {f"{each.name}{each.specifier}" for each in checkup.requirements_of("")}
    assert {each.replace(" ", "") for each in found} == {each.replace(" ", "") for each in ours}
    train = {each.name for each in checkup.requirements_of("train")}
    assert {"torch", "transformers", "peft"} <= train
    assert not train & {each.name for each in checkup.requirements_of("")}
    # An extra that names another brings what that one needs.
    assert train < {each.name for each in checkup.requirements_of("eval")}


def test_what_is_missing_or_too_old_is_named_with_the_remedy(monkeypatch):
    real = checkup._version
    monkeypatch.setattr(checkup, "_version", lambda name: {"peft": None, "torch": "1.0"}.get(name, real(name)))
    parts = {part.extra: part for part in checkup.parts_of_notus()}
    assert parts[""].ready
    assert parts[""].remedy == ""
    assert any(each.startswith("peft>=") for each in parts["train"].missing)
    assert any(each.startswith("torch>=") and each.endswith("(1.0 is installed)") for each in parts["train"].missing)
    assert parts["train"].remedy == "pip install 'notus[train]'"
    assert parts["train"].have["transformers"] == version("transformers")
    assert not parts["eval"].ready  # it is made of the same


def test_doctor_shows_no_secret_and_tells_what_lacks(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-shown")
    monkeypatch.setenv("HF_TOKEN", "hf_never_shown")
    monkeypatch.setenv("HF_ENDPOINT", "http://ana:tailwag@mirror:8000/x")
    code, out = run(tmp_path, ("doctor", "--json"))
    assert code == 0
    assert "never" not in out
    assert "tailwag" not in out
    told = json.loads(out)
    assert told["access"]["OPENAI_API_KEY"] == "set"
    assert told["access"]["HF_ENDPOINT"] == "http://mirror:8000/x"
    assert "a token is there" in told["access"]["Hub"]
    assert {part["extra"] for part in told["parts"]} == set(checkup.EXTRAS)
    assert told["machine"]["Cores"].startswith(str(len(os.sched_getaffinity(0))))


def test_doctor_ends_with_1_where_a_needed_part_lacks_something(monkeypatch, tmp_path):
    real = checkup._version
    monkeypatch.setattr(checkup, "_version", lambda name: None if name == "duckdb" else real(name))
    assert run(tmp_path, ("doctor", "--for", "train"))[0] == 0
    code, out = run(tmp_path, ("doctor", "--for", "review"))
    assert code == 1
    assert "duckdb" in out
    assert "pip install 'notus[review]'" in out
    code, told = run(tmp_path, ("doctor", "--for", "trian"))
    assert code == 2
    assert told == "notus: '--for trian' is no part of Notus; did you mean 'train'?\n"


def test_without_torch_doctor_works(tmp_path):
    """As after a plain ``pip install notus``."""
    code = (
        "import sys, importlib.metadata as m\n"
        "class No:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] in ('torch', 'huggingface_hub'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, No())\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name in ('torch', 'huggingface-hub'): raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "sys.argv = ['notus', 'doctor']\n"
        "from notus.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "torch is not installed" in done.stdout
    assert "huggingface-hub is not installed" in done.stdout
    assert "pip install 'notus[train]'" in done.stdout


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("notus bi", ["binarize"]),
        ("notus train ", ["sft", "dpo", "ranker"]),
        ("notus binarize x --strategy mean", ["mean-rating"]),
        ("notus read x --strict", ["--strict"]),
    ],
)
def test_a_shell_completes_commands_options_and_choices(typed, expected, tmp_path):
    words = typed.split(" ")
    environment = os.environ | {
        "_NOTUS_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "import sys; sys.argv = ['notus']; from notus.cli.main import app; app(prog_name='notus')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == expected

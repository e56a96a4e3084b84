"""``--preview`` and ``--dry-run`` of trainings, as they look on a terminal."""

import io
import json
import re
import shutil

import pytest
import typer
from rich.console import Console

from notus.cli import preview as shown
from notus.cli.main import app
from notus.core.errors import ConfigError
from notus.engine.settings import Limits
from notus.recipes.execute import Silent
from notus.recipes.experiment import run_recipe
from notus.recipes.recipe import load_recipe
from notus.train.preview import preview_rows
from tests.cli.test_main import notus as command
from tests.cli.test_main import one_line
from tests.train.test_preview import PAIR, TALK


def printed(preview, monkeypatch, **options):
    console = Console(**{"width": 60, "record": True, "force_terminal": False, "file": io.StringIO(), **options})
    monkeypatch.setattr(shown, "OUT", console)
    shown.show_preview(preview, as_json=False)
    return console.export_text(styles=bool(options))


def test_without_colour_brackets_say_what_is_trained_on(tokenizer, monkeypatch):
    preview = preview_rows(tokenizer, Limits(max_length=96, max_prompt_length=48), [PAIR])
    text = printed(preview, monkeypatch)
    answer = text.split("chosen:")[1].split("rejected:")[0].partition("\n")[2]
    joined = re.sub(r"\n  ", "", answer).strip()
    assert re.sub(r"\]\[", "", joined) == "[It is cold.</s>]"
    assert "<|user|>|" in text
    assert "ends with </s>" in text


@pytest.mark.parametrize("width", [24, 60, 200])
def test_lines_are_as_wide_as_the_terminal(tokenizer, monkeypatch, width):
    preview = preview_rows(tokenizer, Limits(max_length=96, max_prompt_length=48), [PAIR, TALK])
    text = printed(preview, monkeypatch, width=width, no_color=True)
    rows = [line for line in text.splitlines() if line.startswith("  ")]
    assert rows
    assert all(len(line) <= width for line in rows)


def test_with_colour_there_are_no_brackets(tokenizer, monkeypatch):
    preview = preview_rows(tokenizer, Limits(max_length=96, max_prompt_length=48), [PAIR])
    text = printed(preview, monkeypatch, force_terminal=True, color_system="256")
    assert "in green" in text
    assert "[It]" not in text
    assert "\x1b[" in text


@pytest.fixture
def place(lora_run, tmp_path):
    shutil.copytree(lora_run / "base", tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").unlink()
    rows = [{"prompt": f"Colour {n}?", "chosen": "Red.", "rejected": "No."} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


SMALL = ["--set", "limits.max_length=96", "--set", "limits.max_prompt_length=48"]


@pytest.fixture
def run(place, monkeypatch, capsys):
    """A command, in this process: its standard output."""
    monkeypatch.chdir(place)

    def call(*arguments):
        typer.main.get_command(app)(arguments, standalone_mode=False)
        return capsys.readouterr().out

    return call


def test_a_command_shows_rows_and_trains_nothing(place, run):
    found = json.loads(run("train", "dpo", "pairs.jsonl", "--start", "base", "--preview", "2", *SMALL, "--json"))
    assert [row["place"] for row in found["rows"]] == ["pairs.jsonl:1", "pairs.jsonl:2"]
    assert not list(place.glob("runs/dpo*"))


def test_a_dry_run_tells_what_would_stop_the_training(place, run):
    given = ["train", "dpo", "pairs.jsonl", "--start", "base", "--dry-run", *SMALL]
    with pytest.raises(ConfigError, match=r"warmup 0\.9"):
        run(*given, "--set", "epochs=0.1", "--set", "warmup=0.9")
    assert "nothing was trained" in run(*given, "--set", "warmup=0")
    assert not list(place.glob("runs/dpo*"))


RECIPE = """
name: small
workers: 1
data: {step: read, path: pairs.jsonl}
dpo: {start: base, pairs: data, limits: {max_length: 96, max_prompt_length: 48}, report_to: [wandbb]}
"""


def test_a_recipe_shows_rows_of_what_is_there(place, run):
    (place / "small.yaml").write_text(RECIPE)
    assert "'data' comes before it" in " ".join(run("run", "small.yaml", "--preview", "1").split())
    run_recipe(load_recipe(place / "small.yaml"), place / "runs" / "small", Silent(), until="data", inline=True)
    assert "[</s>]" in run("run", "small.yaml", "--preview", "1")
    with pytest.raises(ConfigError, match=r"report_to.*wandbb"):
        run("run", "small.yaml", "--dry-run")


@pytest.mark.slow
def test_both_are_told_by_the_command_itself(place):
    (place / "small.yaml").write_text(RECIPE)
    one_line(command("run", "small.yaml", "--dry-run", cwd=place), 2, "report_to", "wandbb")
    text = command("train", "ranker", "--help").stdout
    assert "--preview" in text
    assert "--dry-run" in text

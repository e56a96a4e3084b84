"""``notus train``: each example as it stands in the help, and mistakes told in one line."""

import json

import pytest

from notus.cli.main import TRAININGS
from notus.cli.options import with_sets
from notus.core.stage import Tally
from notus.decisions.read import write_rulings
from notus.decisions.ruling import Ruling
from notus.engine.load import build_model, save_model
from notus.engine.settings import Shape
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.steps.registry import step_class
from tests.cli.test_main import notus, one_line

COMMANDS = TRAININGS


@pytest.fixture
def workplace(tmp_path, tokenizer):
    shape = Shape(vocabulary=400, width=16, layers=1, heads=2, kv_heads=1, ffn=16, positions=1024)
    save_model(build_model(shape, tokenizer, 0), tokenizer, tmp_path / "runs" / "base")
    pairs = [{"prompt": f"Colour {n}?", "chosen": "Red.", "rejected": "No."} for n in range(80)]
    (tmp_path / "new_pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    dialogues = [
        {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"]}]}
        for row in pairs
    ]
    (tmp_path / "dialogues.jsonl").write_text("".join(json.dumps(row) + "\n" for row in dialogues))
    return tmp_path


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_example_runs(name, workplace):
    command = COMMANDS[name]
    example = command.example.removeprefix("notus ").split()
    assert example[:2] == ["train", name]
    assert f"Example: notus train {name}" in notus("train", name, "--help").stdout
    done = notus(*example, "--json", cwd=workplace)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (workplace / found["run"] / "model" / "model.safetensors").is_file()
    assert found["summary"]["updates"] >= 2
    again = notus(*example, cwd=workplace)
    assert again.returncode == 0, again.stderr
    assert "nothing was done again" in again.stderr


def test_settings_are_laid_over_by_set(workplace):
    example = ["train", "sft", "new_pairs.jsonl", "--start", "runs/base", "--held-out", "0.3", "--out", "runs/sft"]
    done = notus(*example, "--set", "batch_size=8", "--set", "limits.max_length=64", "--json", cwd=workplace)
    assert done.returncode == 2
    assert "max_prompt_length 512 must be below max_length 64" in done.stderr
    done = notus(*example, "--set", "batch_size=8", "--set", "epochs=2", "--json", cwd=workplace)
    summary = json.loads(done.stdout)["summary"]
    assert summary["rows"] + summary["held_out_rows"] == 80
    assert summary["held_out_rows"] > 0
    assert summary["updates"] == 2 * -(-summary["rows"] // 8)
    again = ["train", "sft", "runs/sft-data", "--start", "runs/base", "--held-out", "0.3", "--out", "runs/again"]
    one_line(notus(*again, cwd=workplace), 2, "'--held-out' is 0.3", "runs/sft-data is a run directory")


@pytest.mark.parametrize(
    ("sets", "loss"),
    [
        (["dpo.loss.beta=0.05"], {"name": "sigmoid", "beta": 0.05}),  # as a recipe and `notus run --help` write it
        (["loss.beta=0.05"], {"name": "sigmoid", "beta": 0.05}),
        (["loss=hinge", "loss.beta=0.05"], {"name": "hinge", "beta": 0.05}),
        (["loss={name: hinge, beta: 0.3}", "dpo.loss.beta=0.05"], {"name": "hinge", "beta": 0.05}),
    ],
)
def test_an_option_of_a_loss_is_set_alone_and_the_loss_stays(sets, loss):
    laid = with_sets({"start": "runs/base"}, sets, "dpo")
    assert laid == {"start": "runs/base", "loss": loss}
    assert step_class("dpo").parse(laid, where="test").loss.beta == 0.05


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["sft", "dialogues.jsonl", "--start", "runs/base", "--set", "learning_rat=1"],
            ["did you mean 'learning_rate'"],
        ),
        (["dpo", "none.jsonl", "--start", "runs/base"], ["none.jsonl"]),
        (["ranker", "new_pairs.jsonl", "--form", "pairm"], ["did you mean 'pairrm'"]),
        (["ranker", "dialogues.jsonl", "--start", "runs/base"], ["holds dialogues", "notus binarize"]),
        (["ranker", "new_pairs.jsonl", "--set", "loss"], ["--set", "key=value"]),
    ],
)
def test_a_fault_of_the_user_is_one_line(workplace, arguments, words):
    one_line(notus("train", *arguments, cwd=workplace), 2, *words)


def test_decisions_are_told_before_and_behind_a_training_and_its_pairs_explained(workplace):
    first = next(open_source(str(workplace / "new_pairs.jsonl")).records(Tally("read"), Quarantine()))
    ruling = Ruling(target=first.id, of="pair", what="swap", who="ana", prompt=first.prompt_id)
    write_rulings(workplace / "d.jsonl", [ruling])
    write_rulings(workplace / "other.jsonl", [Ruling(target="e" * 16, of="pair", what="drop", who="ana")])
    train = ["train", "dpo", "new_pairs.jsonl", "--start", "runs/base", "--out", "runs/dpo1"]
    odd = "the one decision is not on a record of runs/dpo1-data: is it the right store?"
    done = notus(*train, "--decisions", "other.jsonl", "--dry-run", cwd=workplace)
    assert odd in done.stdout
    assert "A dry run: nothing speaks against it" in done.stdout
    done = notus(*train, "--decisions", "d.jsonl", cwd=workplace)
    assert "Decisions: 1 applied, 0 not in these data, 0 conflicts." in done.stdout
    assert odd not in done.stdout
    found = notus("explain", first.id, "--run", "runs/dpo1", cwd=workplace)
    assert found.returncode == 0, found.stderr
    assert "ana: swap on this pair; counts (d.jsonl)" in " ".join(found.stdout.split())

"""The command line as a user meets it: examples, help, errors."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from notus.cli.main import COMMANDS
from notus.llm.ledger import Ledger
from tests.helpers.answered import answers
from tests.helpers.paths import ROOT

SINGLE = {name: command for name, command in COMMANDS.items() if not isinstance(command, tuple)}
FEEDBACK = {
    "source": "mine",
    "instruction": "Name a colour.",
    "models": ["a", "b"],
    "correct_answers": ["None"],
    "incorrect_answers": ["None"],
}


def notus(*arguments, cwd=None, env=None):
    command = [sys.executable, "-m", "notus", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "100", **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, env=environment)


def completion(model, response, score, rating):
    aspects = ("helpfulness", "honesty", "instruction_following", "truthfulness")
    return {
        "model": model,
        "response": response,
        "critique": "Fine.",
        "overall_score": score,
        "fine-grained_score": float(rating),
        "principle": "helpfulness",
        "custom_system_prompt": "Help.",
        "annotations": {aspect: {"Rating": str(rating), "Rationale": "So."} for aspect in aspects},
    }


@pytest.fixture
def workplace(tmp_path):
    rows = [
        {
            **FEEDBACK,
            "instruction": f"Name a colour, number {n}.",
            "completions": [
                completion("a", "Red.", 10.0 if n % 3 else 8.0, 1 if n % 3 else 5),
                completion("b", "No.", 4.0, 2),
            ],
        }
        for n in range(12)
    ]
    (tmp_path / "feedback.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, (chosen, rejected) in {"old": ("Red.", "No."), "new": ("No.", "Red.")}.items():
        pair = {"prompt": "Name a colour.", "chosen": chosen, "rejected": rejected}
        (tmp_path / f"{name}_pairs.jsonl").write_text(json.dumps(pair) + "\n")
    return tmp_path


def one_line(done, code, *words):
    """The error is one line on stderr, with the exit code and the words that help."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    errors = done.stderr.strip().splitlines()
    assert len(errors) == 1, done.stderr
    assert all(word in errors[0] for word in words), errors[0]


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_every_command_has_help_and_an_example(name):
    done = notus(name, "--help")
    assert done.returncode == 0
    assert f"Example: notus {name}" in done.stdout


@pytest.mark.parametrize("name", sorted(set(SINGLE) - {"demo", "review"}))  # a page is served until Ctrl-C: test_review
def test_every_example_runs(name, workplace, tiny_run, lora_run):
    shutil.copytree(tiny_run, workplace / "runs" / "demo")
    shutil.copytree(lora_run, workplace / "runs", dirs_exist_ok=True)
    Ledger(workplace / "runs" / "ledger.sqlite").close()
    for run in ("before", "after"):
        answers(workplace / "runs" / run, run)
    told = (workplace / "feedback.jsonl").read_text()
    for judge, score in (("old", "4.0"), ("new", "3.0")):
        (workplace / f"{judge}.jsonl").write_text(told.replace("4.0", score))
    example = SINGLE[name].example.removeprefix("notus ").split()
    done = notus(*example, cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_help_of_an_option_is_the_docstring_of_its_setting():
    told = " ".join(notus("binarize", "--help").stdout.replace("│", " ").split())
    assert "Least difference of the scores of chosen and rejected, in the unit of the score." in told
    assert "Number of processes for a large source" in told  # of the settings that all who read a source share


def test_help_is_short_and_names_every_command():
    done = notus("--help")
    assert all(name in done.stdout for name in COMMANDS)
    assert notus("--version").stdout.strip().count(".") == 2


def test_the_audit_finds_the_false_tens(workplace):
    done = notus("audit", "feedback.jsonl", "--json", cwd=workplace)
    found = json.loads(done.stdout)
    assert found["summary"]["layout"] == "ultrafeedback"
    assert found["summary"]["prompts"] == 12
    text = notus("audit", "feedback.jsonl", cwd=workplace).stdout
    assert "8 set-to-1" in text
    run = workplace / found["run"]
    assert {"completions.parquet", "health.json", "score-against-ratings.svg"} <= {f.name for f in run.iterdir()}


def test_binarize_follows_the_strategy(workplace):
    for strategy, chosen in (("critique", "Red."), ("mean-rating", "No.")):
        done = notus("binarize", "feedback.jsonl", "--strategy", strategy, "--json", cwd=workplace)
        run = workplace / json.loads(done.stdout)["run"]
        from notus.core.records import Preference
        from notus.core.tables import read_records

        first = next(
            p for p in read_records(run / "preferences.parquet", Preference) if "number 1." in p.prompt[0].content
        )
        assert first.chosen[0].content == chosen


def test_the_same_command_again_leaves_the_run_as_it_is(workplace):
    first = notus("audit", "feedback.jsonl", "--out", "runs/a", cwd=workplace)
    before = (workplace / "runs/a/manifest.json").stat().st_mtime_ns
    again = notus("audit", "feedback.jsonl", "--out", "runs/a", cwd=workplace)
    assert again.stdout == first.stdout
    assert "nothing was done again" in again.stderr
    assert "nothing was done again" not in first.stderr
    assert (workplace / "runs/a/manifest.json").stat().st_mtime_ns == before
    other = notus("audit", "feedback.jsonl", "--limit", "3", "--out", "runs/a", cwd=workplace)
    one_line(other, 2, "holds another run", "limit (None there, 3 now)")


def test_bad_rows_are_put_aside_and_counted(workplace):
    path = workplace / "feedback.jsonl"
    with path.open("a") as file:
        file.write('{"broken": \n')
        file.write(json.dumps({**FEEDBACK, "completions": []}) + "\n")
    done = notus("audit", "feedback.jsonl", "--out", "runs/a", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert "12 kept + 2 quarantined (1 broken-json, 1 no-completion) + 0 dropped" in done.stdout
    entries = [json.loads(line) for line in (workplace / "runs/a/quarantine.jsonl").read_text().splitlines()]
    assert [(entry["line"], entry["rule"]) for entry in entries] == [(13, "broken-json"), (14, "no-completion")]
    strict = notus("audit", "feedback.jsonl", "--strict", "--out", "runs/b", cwd=workplace)
    one_line(strict, 2, "feedback.jsonl:13", "broken-json")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["audit", "none.jsonl"], 2, ["'none.jsonl'", "no file"]),
        (["audit", "empty.jsonl"], 2, ["empty.jsonl"]),
        (["audit", "feedback.jsonl", "--layout", "ultrafedback"], 2, ["did you mean 'ultrafeedback'"]),
        (["audit", "feedback.jsonl", "--out", "feedback.jsonl"], 2, ["is a file", "--out"]),
        (["audit", "feedback.jsonl", "--out", "."], 2, ["is no run", "--out"]),
        (
            ["binarize", "feedback.jsonl", "--strategy", "mean"],
            2,
            ["'strategy' is 'mean'", "known: auto, critique, mean-rating"],
        ),
        (["binarize", "feedback.jsonl", "--strategy", "mean-ratng"], 2, ["did you mean 'mean-rating'"]),
        (["binarize", "feedback.jsonl", "--weight", "honesty"], 2, ["--weight 'honesty'", "truthfulness=2"]),
        (["eval", "rewards", "lenght", "feedback.jsonl"], 2, ["notus: notus eval rewards: ", "did you mean 'length'"]),
        (["run", "demoo"], 2, ["did you mean 'demo'"]),
        (["run", "none.yaml"], 2, ["none.yaml", "No such file"]),
        (["run", "demo", "--set", "dpo.los=1", "--dry-run"], 2, ["'los'", "did you mean 'loss'"]),
        (["run", "demo", "--set", "dpo", "--dry-run"], 2, ["--set", "key=value"]),
        (["compare", "nowhere"], 2, ["nowhere is not there"]),
        (["report", "."], 2, ["experiment.json"]),
    ],
)
def test_a_fault_of_the_user_is_one_line(workplace, arguments, code, words):
    (workplace / "empty.jsonl").write_text("")
    one_line(notus(*arguments, cwd=workplace), code, *words)


def test_what_fits_no_command_is_one_line_too(workplace):
    one_line(notus("audit", cwd=workplace), 2, "missing argument 'SOURCE'", "notus audit -h")
    one_line(notus("adit", cwd=workplace), 2, "no command 'adit'", "did you mean 'audit'")
    one_line(notus("audit", "feedback.jsonl", "--ot", "x", cwd=workplace), 2, "no such option: --ot", "--out")
    one_line(notus("train", "dppo", cwd=workplace), 2, "no command 'dppo'", "did you mean 'dpo'")
    one_line(notus("demo", "--seeds", "0", cwd=workplace), 2, "--seeds")


def test_an_unwritable_directory_is_named(workplace):
    # A file in the way of a folder cannot be written to by anybody, root included.
    done = notus("audit", "feedback.jsonl", "--out", "feedback.jsonl/below", cwd=workplace)
    one_line(done, 2, "feedback.jsonl", "--out")
    report = notus("run", "demo", "--out", "/proc/nothing", cwd=workplace)
    one_line(report, 2, "cannot write in", "--out")


def test_the_core_alone_says_what_is_missing(workplace):
    """Without the training libraries the data commands work, and training names the line that installs them."""
    (workplace / "blocked").mkdir()
    for name in ("torch", "transformers", "tokenizers"):
        (workplace / "blocked" / f"{name}.py").write_text(
            f"raise ModuleNotFoundError('No module named {name}', name='{name}')"
        )
    env = {"PYTHONPATH": str(workplace / "blocked")}
    assert notus("audit", "feedback.jsonl", cwd=workplace, env=env).returncode == 0
    recipe = ROOT / "src" / "notus" / "recipes" / "builtin" / "demo.yaml"
    done = notus(
        "run",
        recipe,
        "--until",
        "create",
        "--set",
        "data.world.prompts=4",
        "--set",
        "seeds=[0]",
        cwd=workplace,
        env=env,
    )
    assert done.returncode == 2
    assert "pip install 'notus[train]'" in done.stderr


def test_a_small_command_imports_little(workplace):
    """What a command starts with is most of its time on a small file: at most 80 modules of ours, and no pandas."""
    code = (
        "import sys\n"
        "sys.argv = ['notus', 'binarize', 'feedback.jsonl', '--strategy', 'mean-rating', '--out', 'runs/few']\n"
        "from notus.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "ours = [m for n, m in sys.modules.items() if n.split('.')[0] == 'notus' and not hasattr(m, '__path__')]\n"
        "assert len(ours) <= 80, len(ours)\n"
        "assert not {'pandas', 'torch', 'scipy'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_place_of_a_source_does_not_count(workplace):
    assert notus("audit", "feedback.jsonl", "--out", "runs/a", cwd=workplace).returncode == 0
    shutil.copy(workplace / "feedback.jsonl", workplace / "copy.jsonl")
    for same in ("./feedback.jsonl", "copy.jsonl"):
        assert notus("audit", same, "--out", "runs/a", cwd=workplace).returncode == 0


def test_a_limit_on_the_miniature_is_no_fault(tiny_run):
    data = next((tiny_run / "steps").glob("data-*"))
    done = notus("audit", data, "--limit", "5", "--json", "--out", tiny_run.parent / "limited")
    assert json.loads(done.stdout)["summary"]["prompts"] == 5


def test_held_out_pairs_stay_held_out(workplace):
    made = notus("binarize", "feedback.jsonl", "--held-out", "0.4", "--out", "runs/pairs", "--json", cwd=workplace)
    held_out = json.loads(made.stdout)["summary"]["held_out"]
    assert held_out > 0
    assert f"Not read: {held_out} held-out pairs" in notus("audit", "runs/pairs", cwd=workplace).stdout
    recipe = workplace / "r.yaml"
    recipe.write_text("name: r\nread: {path: runs/pairs, held_out: 0.1}\n")
    done = notus("run", "r.yaml", "--until", "read", cwd=workplace)
    assert done.returncode == 2
    assert "'read': a setting has no effect: held_out is 0.1" in done.stderr
    recipe.write_text("name: r\nread: {path: runs/pairs}\n")
    assert notus("run", "r.yaml", "--until", "read", cwd=workplace).returncode == 0
    from notus.core.records import Preference
    from notus.core.tables import read_records

    step = next((workplace / "runs/r/steps").iterdir())
    ids = [
        {p.id for p in read_records(folder / "held_out.parquet", Preference)}
        for folder in (workplace / "runs/pairs", step)
    ]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["audit", "runs/demo"], ["holds the runs of a whole recipe"]),
        (["report", "runs/demo", "--out", "feedback.jsonl"], ["does not end in .html"]),
    ],
)
def test_what_cannot_be_meant_is_refused(workplace, tiny_run, arguments, words):
    shutil.copytree(tiny_run, workplace / "runs" / "demo")
    before = (workplace / "feedback.jsonl").read_text()
    one_line(notus(*arguments, cwd=workplace), 2, *words)
    assert (workplace / "feedback.jsonl").read_text() == before


def test_rows_of_another_format_are_named_with_a_row_and_the_way_out(workplace):
    done = notus("audit", "feedback.jsonl", "--layout", "pairs", "--out", "runs/a", cwd=workplace)
    assert (done.returncode, done.stdout) == (2, "")
    for words in ("none of the 12 rows", "format pairs", "12 missing-field, as feedback.jsonl:1", "--layout"):
        assert words in done.stderr
    assert (workplace / "runs/a/quarantine.jsonl").read_text().count("\n") == 12


def test_a_damaged_experiment_is_named(workplace):
    (workplace / "runs").mkdir()
    (workplace / "runs" / "experiment.json").write_text("[]")
    one_line(notus("compare", "runs", cwd=workplace), 2, "damaged")

"""Compare with labels and requirements at the command line: exit codes, files for a CI job, what is said."""

import csv
import json
import random
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import typer

import notus
from notus.cli import recipes
from notus.core.errors import ConfigError
from notus.core.run import MANIFEST, write_json
from notus.core.tables import write_table
from notus.recipes.experiment import RECORD, Experiment
from notus.recipes.report import build_report

ARMS = {"sft": 0.4, "dpo": 0.6}
N = 400


def evaluation(folder, truth, source):
    """A finished evaluation whose judge is right in 85 %."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {"stage": "harness"})
    write_json(folder / "inputs.json", {})
    write_json(folder / "tally.json", [])
    told = {"stage": "harness", "summary": {"task": "arc"}, "finished": "now", "versions": {}, "duration_s": 1.0}
    write_json(folder / MANIFEST, told | {"machine": {"system": "Linux", "cpus": 2}})
    judged = [value if source.random() < 0.85 else 1 - value for value in truth]
    rows = [{"prompt_id": str(n), "sample": 0, "value": value} for n, value in enumerate(judged)]
    write_table(folder / "scores.parquet", rows)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Two evaluations, an experiment with a requirement, and the truth."""
    place, source = tmp_path_factory.mktemp("compare"), random.Random(5)
    truth = {arm: [float(source.random() < share) for _ in range(N)] for arm, share in ARMS.items()}
    for arm, of in truth.items():
        evaluation(place / arm, of, source)
        evaluation(place / "exp" / "steps" / f"arc-{arm}", of, source)
    arms = {arm: {"0": {"arc": f"arc-{arm}"}} for arm in ARMS}
    write_json(place / "exp" / RECORD, {"recipe": {"name": "exp", "require": ["dpo - sft > .9"]}, "arms": arms})
    write_json(place / "truth.json", truth)
    return place


def run(*arguments, cwd):
    command = [sys.executable, "-m", "notus", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd, stdin=subprocess.DEVNULL)


def filled(place, sheet, out):
    """The sheet with the truth as labels, the last three rows left empty."""
    truth = json.loads((place / "truth.json").read_text())
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows[:-3]:
        row["label"] = "yes" if truth[row["arm"]][int(row["prompt_id"])] else "no"
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_a_requirement_that_is_held_ends_with_0_and_others_with_1(workplace, tmp_path):
    junit, summary = tmp_path / "ci" / "notus.xml", tmp_path / "summary.md"
    held = run("compare", "sft", "dpo", "--require", "dpo - sft > 0", "--junit", junit, cwd=workplace)
    assert held.returncode == 0, held.stderr
    assert "held: arc: dpo - sft > 0: +0." in held.stdout
    assert ElementTree.parse(junit).getroot().get("failures") == "0"
    lines = ("--require", "dpo - sft > 0", "--require", "dpo > .9")
    failed = run(
        "compare", "sft", "dpo", *lines, "--junit", junit, "--markdown", summary, "--force", "--json", cwd=workplace
    )
    assert failed.returncode == 1, failed.stderr
    found = json.loads(failed.stdout)
    assert [each["outcome"] for each in found["requirements"]] == ["held", "refuted"]
    (suite,) = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert "1 of 2 requirements held" in summary.read_text()


def test_wrong_requirements_end_with_2_and_one_line(workplace):
    for arguments, told in (
        (("--require", "dpo - stf > 0"), "did you mean 'sft'"),
        (("--junit", "x.xml"), "nothing is"),
    ):
        done = run("compare", "sft", "dpo", *arguments, cwd=workplace)
        assert done.returncode == 2
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (workplace / "x.xml").exists()


def test_labels_are_drawn_filled_in_and_correct_the_judge(workplace, tmp_path):
    sheet, labels = tmp_path / "sheet.csv", tmp_path / "labels.csv"
    drawn = run("labels", "sft", "dpo", "-n", "80", "--by", "uncertainty", "--out", sheet, cwd=workplace)
    assert drawn.returncode == 0, drawn.stderr
    assert "160 answers to 80 of 400 prompts, by uncertainty" in drawn.stdout
    assert "160 rows have no text" in drawn.stdout
    filled(workplace, sheet, labels)
    done = run("compare", "sft", "dpo", "--labels", labels, "--require", "dpo > 0.3", cwd=workplace)
    assert done.returncode == 0, done.stderr
    for told in (
        "3 rows of the labels are not filled in",
        "corrected by people",
        "more labels would narrow",
        "one over",
    ):
        assert told in done.stdout
    found = notus.compare([workplace / "sft", workplace / "dpo"], labels=labels, require="dpo - sft > .9")
    (arm, other), truth = found.corrected["arc"].arms, json.loads((workplace / "truth.json").read_text())
    for each in (arm, other):
        share = sum(truth[each.name]) / N
        assert each.interval.low < share < each.interval.high
        assert each.found.ratio < 1
    assert not found.held
    assert "refuted: arc: dpo - sft > .9" in repr(found)


def test_a_recipe_may_require(workplace, tmp_path):
    done = run("compare", "exp", cwd=workplace)
    assert done.returncode == 1
    assert "refuted: arc: dpo - sft > .9" in done.stdout
    experiment = Experiment.read(workplace / "exp")
    assert [each.outcome for each in experiment.outcomes()] == ["refuted"]
    sheet = notus.draw_labels([workplace / "exp"], tmp_path / "sheet.csv", n=60)
    filled(workplace, sheet, tmp_path / "labels.csv")
    page = build_report(experiment, tmp_path / "labels.csv")
    headings = [section.heading for section in page.sections]
    assert "What was required" in headings
    assert "Arc, corrected by people" in headings


def test_a_run_whose_requirement_is_not_held_ends_with_1(workplace, monkeypatch):
    """When all is done and written; the run itself is another test's."""
    (workplace / "one.yaml").write_text("name: one\nread: {path: x.jsonl}\n")
    monkeypatch.setattr("notus.recipes.experiment.run_recipe", lambda *_, **__: Experiment.read(workplace / "exp"))
    written = []
    monkeypatch.setattr("notus.recipes.report.write_report", written.append)
    with pytest.raises(typer.Exit) as ended:
        recipes.run(str(workplace / "one.yaml"), out=workplace / "exp", as_json=True)
    assert (ended.value.exit_code, len(written)) == (1, 1)


def test_categories_go_with_labels(workplace):
    with pytest.raises(ConfigError, match="goes with 'labels'"):
        notus.compare([workplace / "sft"], categories={"0": "x"})
    with pytest.raises(ConfigError, match="did you mean 'arc'"):
        notus.draw_labels([workplace / "sft"], workplace / "x.csv", only="arx")

"""The ten-line examples of the documentation, each run the way that its first line says."""

import shutil

import pytest

import notus
from notus.core.records import Completion, Feedback, Message, Output
from notus.evaluate.measures import measure_outputs
from notus.llm.parse import Parser, Scale
from notus.steps.registry import step_class
from notus.train.losses.margin import Cdpo
from tests.helpers.loss_examples import pairs_of
from tests.helpers.paths import ROOT

RIVER = (Message(role="user", content="Name a river."),)
ANSWERS = [
    Feedback(
        prompt=RIVER,
        completions=(Completion(text="The Oder.", model="a"), Completion(text="It is the Oder.", model="b")),
    )
]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "docs" / "examples", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def test_every_example_is_short_and_tried():
    found = {path.name: path.read_text() for path in (ROOT / "docs" / "examples").glob("*.py")}
    assert set(found) == {
        f"my_{what}.py" for what in ("check", "labels", "loss", "measure", "parser", "ranker", "reader", "step")
    }
    for name, text in found.items():
        lines = [line for line in text.split("\n\n", 1)[1].splitlines() if line.strip()]
        assert len(lines) <= 14, name


def test_the_loss_is_conservative_dpo():
    pairs = pairs_of([-3.0, -9.0], [-4.0, -2.0], [-3.5, -7.0], [-3.0, -4.5])
    step = step_class("dpo")
    mine = step.parse({"loss": {"name": "python:my_loss.py:softened", "beta": 0.3, "flipped": 0.2}}, where="test")
    theirs = Cdpo(beta=0.3, label_smoothing=0.2)
    assert mine.loss.losses(pairs).tolist() == pytest.approx(theirs.losses(pairs).tolist(), rel=1e-12)


def test_the_measure_scores_answers():
    outputs = [Output(prompt=RIVER, text=text, model="m") for text in ("The Oder.", "word " * 11, "")]
    assert [verdict.score for verdict in measure_outputs("python:my_measure.py:short", outputs)] == [1.0, 0.0, None]


def test_the_check_counts_by_the_prompts_file(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"key": 1, "response": "The Oder."}\n{"key": 2, "response": "Dry."}\n')
    own = "python:my_check.py:names_one_of"
    found = notus.evaluate("answers.jsonl", "ifeval", data="my_prompts.jsonl", own_checks=[own])
    figure = found.summary["figures"]["answers"]["instruction_strict"]
    # Of the four instructions: it ends with a point, has no comma, names the river; the second names none.
    assert (figure["mean"], figure["n"]) == (3 / 4, 4)
    ranked = notus.rank("checks:my_prompts.jsonl", ANSWERS[:1], ranking={"own_checks": [own]})
    assert [completion.extra["ranker_score"] for row in ranked for completion in row.completions] == [1.0, 1.0]


def test_the_parser_reads_stars():
    parser = Parser("python:my_parser.py:read_stars")
    critique = parser.critique("★★★☆☆ Right, but long.", Scale(1, 10))
    assert (critique.text, critique.score) == ("Right, but long.", 6.0)


def test_the_reader_refuses_a_row_with_its_reason():
    rows = [{"q": "Name a river.", "good": "The Oder.", "bad": "No.", "votes": votes} for votes in (3, 1)]
    data = notus.read(rows, format="python:my_reader.py:read_row")
    assert [pair.chosen[0].content for pair in data] == ["The Oder."]
    assert data.tally[0]["dropped"] == {"reader-refused": 1}


def test_the_ranker_prefers_few_words():
    ranked = notus.rank("python:my_ranker.py:fewest_words", ANSWERS)
    (row,) = ranked
    assert [answer.extra["ranker_score"] for answer in row.completions] == [-2.0, -4.0]


def test_votes_by_program_become_a_pair():
    body = (ROOT / "docs" / "examples" / "my_labels.py").read_text().split("\n\n", 1)[1]
    assert body in (ROOT / "docs" / "selection.md").read_text()
    by = [f"python:my_labels.py:{name}" for name in ("names_a_river", "refuses", "brief")]
    prompts = [(Message(role="user", content=f"Name a river, {n}."),) for n in range(4)]
    rows = [
        Feedback(prompt=prompt, completions=(Completion(text="I cannot say."), Completion(text="The Oder.")))
        for prompt in prompts
    ]
    labelled = notus.label(rows, by=by)
    assert {name: told["votes"] for name, told in labelled.summary["functions"].items()} == {
        "names_a_river": 4,
        "refuses": 4,
        "brief": 0,
    }
    pairs = notus.binarize(labelled, consensus="dawid-skene")
    assert [pair.chosen[0].content for pair in pairs] == ["The Oder."] * 4

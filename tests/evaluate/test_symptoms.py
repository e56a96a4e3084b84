"""Symptoms in answers: what each rule sees, what it does not, and the rates with their intervals."""

import gzip
import json

import pytest

from notus.core.artifacts import FINDINGS
from notus.core.records import Message, Output
from notus.core.run import read_manifest
from notus.core.tables import write_records
from notus.evaluate.measures import EVALUATIONS, measure_outputs
from notus.evaluate.symptoms import SYMPTOMS, disclaimer, refusal, repetition, symptom_rates, wrong_capitals
from notus.steps.evaluate.answers import Evaluate
from notus.steps.perform import run_step
from tests.helpers.paths import SHARED


def said(text, prompt="Tell me.", **more):
    return Output(prompt=(Message(role="user", content=prompt),), text=text, model="m", **more)


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I am sorry, but I cannot help with that.", True),
        ("Sorry, I can’t assist with that request.", True),
        ("As an AI language model, I am not able to provide medical advice.", True),
        ("I'm unable to fulfill this request.", True),
        ("I won't write that.", True),
        ("I must decline.", True),
        ("That's not something I can do.", True),
        ("I can't help but smile at this.", False),
        ("I cannot help the way I feel.", False),
        ('He said: "I cannot help you with that", and left.', False),
        ("You cannot help them with that.", False),
        ("The Oder is a river." + " It is long." * 30 + " I cannot provide more.", False),  # no opening
        ("The Oder.", False),
    ],
)
def test_refusals(text, refuses):
    assert refusal(said(text)) is refuses


@pytest.mark.parametrize(
    ("text", "disclaims"),
    [
        ("As an AI language model, I don't have personal experiences. But rivers are long.", True),
        ("I do not have personal opinions or experiences, but here is one.", True),
        ("I have no feelings for him.", False),
        ("Rivers are long." + " They flow." * 40 + " I don't have personal opinions.", False),
    ],
)
def test_openings_that_disclaim(text, disclaims):
    assert disclaimer(said(text)) is disclaims


def test_capitals():
    assert wrong_capitals(said("It is a river. however, it is long.")) is True
    assert wrong_capitals(said("Today i am at the river, and it is long.")) is True
    assert wrong_capitals(said("It is a river. However, it is long, e.g. at its end.")) is False


def test_repetition_is_the_share_of_runs_that_stood_there_before():
    """'a b c d a b c d' has the runs abcd bcda cdab dabc abcd: one of five is there already."""
    assert repetition(said("a b c d A b c d")) == pytest.approx(1 / 5)
    assert repetition(said("one two three four five")) == 0
    assert repetition(said("one two three")) is None
    assert repetition(said("no " * 103)) == pytest.approx(99 / 100)


def test_an_empty_answer_tells_nothing():
    assert [measure(said(" \n")) for measure in (refusal, disclaimer, wrong_capitals, repetition)] == [None] * 4


def test_each_is_a_measure_and_one_names_those_that_are_there():
    outputs = [said("I'm sorry, but I can't help with that. so it is.", "p1"), said("The Oder.", "p2", truncated=True),
               said("The Oder.", "p3"), said("", "p4"), said("Go on and on " * 20, "p5")]  # fmt: skip
    verdicts = measure_outputs("symptoms", outputs)
    assert [(each.score, each.reason) for each in verdicts] == [
        (1.0, "wrong-capitals, refusal"),
        (1.0, "truncated"),
        (0.0, ""),
        (None, "no-score"),
        (1.0, "repetition"),
    ]
    assert set(SYMPTOMS) <= set(EVALUATIONS.names)
    for name in SYMPTOMS:
        assert len(measure_outputs(name, outputs)) == 5


def test_rates_have_n_and_an_interval(tmp_path):
    """Of 40 prompts 10 are refused: .25 with n = 40; two answers of one prompt are one cluster."""
    outputs = [
        said("I'm sorry, but I can't help with that." if n < 10 else "The river is long.", f"p{n}") for n in range(40)
    ]
    rates = {each.name: each for each in symptom_rates(outputs)}
    found = rates["refusal"]
    assert (found.asked, found.scored, found.rate.mean) == (40, 40, 0.25)
    assert found.rate.low < 0.25 < found.rate.high
    assert rates["disclaimer"].rate.mean == 0
    assert rates["disclaimer"].rate.high > 0  # none of 40 is no proof of none
    assert rates["length"].rate.mean == pytest.approx((10 * len(outputs[0].text) + 30 * len(outputs[-1].text)) / 40)
    run = run_step("evaluate", outputs_step(tmp_path, outputs), tmp_path / "run", 0)
    told = read_manifest(run.path)["summary"]["symptoms"]
    assert told["refusal"]["rate"]["mean"] == 0.25
    assert told["refusal"]["scored"] == 40
    assert "mean share of the runs" in FINDINGS.at(run.path).read_text()


def outputs_step(tmp_path, outputs):
    write_records(tmp_path / "outputs.parquet", outputs, Output)
    return Evaluate.parse({"outputs": str(tmp_path / "outputs.parquet"), "by": "symptoms"}, where="test")


def test_zephyrs_symptoms_went_with_its_data():
    """α was trained on all of UltraChat; for β it was truecased, and openings that disclaim were taken out of it."""
    folder = SHARED / "data" / "alpaca_eval"
    if not folder.exists():
        pytest.skip("needs ../shared/data/alpaca_eval")
    rates = {}
    for model in ("alpha", "beta"):
        with gzip.open(folder / f"outputs_zephyr-7b-{model}.json.gz", "rt", encoding="utf-8") as file:
            outputs = [said(row["output"], row["instruction"]) for row in json.load(file)]
        rates[model] = {each.name: each.rate for each in symptom_rates(outputs)}
    for name in ("wrong-capitals", "disclaimer"):
        assert rates["alpha"][name].low > 5 * rates["beta"][name].high

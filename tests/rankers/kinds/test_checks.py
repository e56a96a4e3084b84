"""The ranker ``checks``: the share of a prompt's checks, prompts that it does not know, and its use by rank."""

import json

import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.records import Completion, Feedback, Message, Output, Preference
from notus.core.run import read_json
from notus.core.stage import Tally
from notus.core.tables import read_records, write_records
from notus.rankers.make import best_of, make_ranker
from notus.rankers.ref import RankerRef
from notus.steps.answers.best_of_n import BestOfN
from notus.steps.answers.rank import Rank
from notus.steps.data.binarize import Binarize
from notus.steps.perform import run_step

ROW = {
    "key": 1,
    "prompt": "Name a river.",
    "instruction_id_list": ["en:punctuation:no_comma", "startend:quotation"],
    "kwargs": [{}, {}],
}
ANSWERS = ["Well, the Oder", "The Oder", '"The Oder"', '"The Elbe"']


@pytest.fixture
def prompts(tmp_path):
    (tmp_path / "prompts.jsonl").write_text(json.dumps(ROW) + "\n")
    return tmp_path / "prompts.jsonl"


def user(text):
    return (Message(role="user", content=text),)


def test_answers_are_scored_by_the_share_of_checks(prompts):
    tally = Tally("rank")
    ranker = make_ranker(f"checks:{prompts}", tally=tally)
    told = ranker.rank([user("Name a river.\n"), user("Name a town.")], [ANSWERS, ["Pirna"]])
    assert told == [[0, 0.5, 1, 1], [None]]
    assert best_of(told[0]) == 2  # the first of equals
    assert [(item.reason, item.id) for item in tally.dropped] == [
        ("no-checks", Feedback(prompt=user("Name a town."), completions=(Completion(text="x"),)).prompt_id)
    ]


def test_it_is_written_with_its_file(prompts):
    ref = RankerRef.read(f"checks:{prompts}")
    assert (str(ref), ref.references) == (f"checks:{prompts}", (str(prompts),))
    with pytest.raises(ConfigError, match="checks:FILE"):
        RankerRef.read("checks")


def test_a_bad_file_is_told(tmp_path):
    (tmp_path / "bad.jsonl").write_text(json.dumps(ROW | {"kwargs": [{}]}) + "\n")
    with pytest.raises(DataError, match="line 1"):
        make_ranker(f"checks:{tmp_path}/bad.jsonl")


def test_rank_takes_it_and_counts_what_it_does_not_know(prompts, tmp_path):
    rows = [
        Feedback(prompt=user(text), completions=tuple(Completion(text=answer) for answer in ANSWERS))
        for text in ("Name a river.", "Name a town.")
    ]
    write_records(tmp_path / "feedback.parquet", rows, Feedback)
    given = {"outputs": str(tmp_path / "feedback.parquet"), "ranker": f"checks:{prompts}"}
    run = run_step("rank", Rank.parse(given, where="test"), tmp_path / "run")
    found = list(read_records(run.path / "feedback.parquet", Feedback))
    assert [item.extra.get("ranker_score") for item in found[0].completions] == [0, 0.5, 1, 1]
    assert [item.extra.get("ranker_score") for item in found[1].completions] == [None] * 4
    tallies = {tally["stage"]: tally for tally in read_json(run.path / "tally.json")}
    assert tallies["rank"]["dropped"].get("no-checks") == len(ANSWERS)


def test_pairs_and_best_of_n_are_made_by_it_like_by_any_ranker(prompts, tmp_path):
    outputs = [
        Output(prompt=user("Name a river."), text=answer, model="m", sample=number)
        for number, answer in enumerate(ANSWERS[:3])
    ]
    write_records(tmp_path / "outputs.parquet", outputs, Output)
    given = {"outputs": str(tmp_path / "outputs.parquet"), "ranker": f"checks:{prompts}"}
    ranked = run_step("rank", Rank.parse(given, where="test"), tmp_path / "ranked")
    binarize = Binarize.parse({"data": str(ranked.path), "strategy": "ranker", "rejected": "worst"}, where="test")
    (pair,) = read_records(run_step("binarize", binarize, tmp_path / "pairs").path / "preferences.parquet", Preference)
    assert (pair.chosen[-1].content, pair.rejected[-1].content) == (ANSWERS[2], ANSWERS[0])
    best = run_step("best-of-n", BestOfN.parse(given | {"n": 3}, where="test"), tmp_path / "best")
    (kept,) = read_records(best.path / "outputs.parquet", Output)
    assert kept.text == ANSWERS[2]

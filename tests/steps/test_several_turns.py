"""Rankers meet rows that their form cannot hold: these are put aside with id and reason, and the others are ranked."""

import json

import pytest

from notus.core.artifacts import FEEDBACK
from notus.core.errors import LossError
from notus.core.records import Completion, Feedback, Message, Preference
from notus.core.run import read_manifest
from notus.core.tables import read_records, read_table, write_records
from notus.engine.load import build_model, load_model, load_tokenizer, save_model
from notus.engine.settings import Shape
from notus.rankers.make import make_ranker
from notus.rankers.settings import Ranking
from notus.steps.perform import run_step
from notus.steps.registry import step_class
from tests.train.test_several_turns import MISTRAL, as_rows

LIMITS = {"max_length": 96, "max_prompt_length": 48, "system": None}


def user(text):
    return Message(role="user", content=text)


def answer(text):
    return Message(role="assistant", content=text)


TWICE = (user("one?"), user("two?"))
"""A prompt that a template refuses whose roles must alternate."""


@pytest.fixture(scope="module")
def start(model, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("strict") / "start"
    save_model(model, tokenizer, folder)
    loaded = load_tokenizer(str(folder))
    loaded.chat_template = MISTRAL
    save_model(load_model(str(folder)), loaded, folder)
    return str(folder)


def do(step, out, **settings):
    return run_step(step, step_class(step).parse(settings, where="test"), out, 0)


def pairs(count, prompt=None):
    return [
        Preference(prompt=prompt or (user(f"hot {n}?"),), chosen=(answer(f"cold {n}"),), rejected=(answer("no"),))
        for n in range(count)
    ]


def write(path, rows):
    lines = [{"prompt": as_rows(p.prompt), "chosen": as_rows(p.chosen), "rejected": as_rows(p.rejected)} for p in rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.mark.parametrize("form", ["reward-model", "pairrm"])
def test_a_ranker_trains_on_the_pairs_that_its_form_can_hold(tmp_path, start, form):
    several = Preference(prompt=(user("big?"),), chosen=(answer("a"), user("b"), answer("c")), rejected=(answer("d"),))
    path = write(tmp_path / "pairs.jsonl", [*pairs(24), *pairs(1, TWICE), several])
    settings = {"start": start} if form == "reward-model" else {"encoder": {"width": 16, "layers": 1, "heads": 2}}
    settings |= {"limits": LIMITS} if form == "reward-model" else {"vocabulary": 300}
    run = do("train-ranker", tmp_path / "run", pairs=path, form=form, held_out=0.3, batch_size=8, **settings)
    dropped = {(row["reason"], row["line"]) for row in read_table(run.path / "dropped.parquet") if row["line"]}
    reason = {"reward-model": "template-refuses", "pairrm": "unfit-prompt"}[form]
    assert {(reason, 25), ("several-turns", 26)} <= dropped
    assert read_manifest(run.path)["summary"]["rows"] > 0
    bad = write(tmp_path / "bad.jsonl", [*pairs(1), *pairs(3, TWICE)])
    with pytest.raises(LossError, match=f"{reason}, as bad.jsonl:"):
        do("train-ranker", tmp_path / "bad", pairs=bad, form=form, held_out=0, **settings)


def test_a_prompt_that_a_model_cannot_read_is_ranked_by_nobody_and_stops_nobody(tmp_path, start):
    talk = Completion(text="c", turns=(answer("a"), user("b"), answer("c")))
    rows = [
        Feedback(prompt=(user("big?"),), completions=(Completion(text="small"), talk, Completion(text="huge"))),
        Feedback(prompt=TWICE, completions=(Completion(text="yes"), Completion(text="no"))),
    ]
    (tmp_path / "data").mkdir()
    write_records(tmp_path / "data" / "feedback.parquet", rows, Feedback)
    given = str(tmp_path / "data" / "feedback.parquet")
    run = do("rank", tmp_path / "rank", outputs=given, ranker=f"implicit:{start}@{start}", ranking={"limits": LIMITS})
    found = [
        [a.extra.get("ranker_score") for a in row.completions] for row in read_records(FEEDBACK.at(run.path), Feedback)
    ]
    assert found == [[0.0, None, 0.0], [None, None]]
    dropped = {(row["id"], row["reason"]) for row in read_table(run.path / "dropped.parquet")}
    assert dropped == {
        (rows[0].completion_id(1), "several-turns"),
        *((rows[1].completion_id(n), "template-refuses") for n in (0, 1)),
    }


def test_what_is_measured_on_pairs_leaves_them_out_too(tmp_path, start):
    (tmp_path / "data").mkdir()
    write_records(tmp_path / "data" / "held_out.parquet", [*pairs(6), *pairs(1, TWICE)], Preference)
    data = str(tmp_path / "data")
    run = do("rewards", tmp_path / "rewards", policy=start, reference=start, pairs=data, limits=LIMITS)
    assert [row["value"] for row in read_table(run.path / "scores.parquet")] == [0.5] * 6 + [None]
    told = {row["reason"] for row in read_table(run.path / "dropped.parquet")}
    assert "template-refuses" in told


def test_the_others_get_what_they_get_alone(start, tmp_path):
    settings = Ranking(limits={"max_length": 96, "max_prompt_length": 48, "system": None})
    shape = Shape(vocabulary=400, width=32, layers=1, heads=2, kv_heads=1, ffn=32, positions=128)
    save_model(build_model(shape, load_tokenizer(start), 1), load_tokenizer(start), tmp_path / "other")
    ranker = make_ranker(f"implicit:{start}@{tmp_path / 'other'}", settings)
    prompts = [(user(f"big {n}?"),) for n in range(5)]
    answers = [("small", "no")] * 5
    alone = ranker.rank(prompts, answers)
    among = ranker.rank([*prompts[:2], TWICE, *prompts[2:]], [*answers[:2], ("yes",), *answers[2:]])
    assert among.pop(2) == [None]
    assert [score for of in among for score in of] == pytest.approx([score for of in alone for score in of], abs=1e-4)
    assert len({round(score, 3) for of in alone for score in of}) > 2

"""A run stops where it would lose most of its rows; nothing is lost by that, and every row is accounted for."""

import json

import pytest
from msgspec.structs import replace

from notus.core.errors import LossError
from notus.core.records import Message, Preference
from notus.core.run import Run, read_manifest
from notus.core.stage import Tally, apply
from notus.core.tables import read_table
from notus.steps.answers.sample import _distinct_prompts
from notus.steps.base import Context
from notus.steps.perform import run_step
from notus.steps.registry import step_class
from notus.steps.train.data import with_scores
from tests.helpers.data_examples import raw_completion, raw_row

GOOD = {"prompt": "Name a river.", "chosen": "The Oder.", "rejected": "No."}
BAD = ['{"prompt": "a", ', "7", json.dumps(GOOD | {"chosen": None}), json.dumps(GOOD | {"chosen": None}), "[]"]
"""Rules that they break: broken-json, not-an-object twice, missing-field twice."""


def write(path, rows):
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def do(step, out, **settings):
    kind = step_class(step)
    return run_step(
        step,
        kind.parse(
            {key: str(value) if key in ("data", "path") else value for key, value in settings.items()}, where="test"
        ),
        out,
    )


def test_more_than_half_of_the_rows_stops_the_run_and_the_rest_can_be_asked_for(tmp_path):
    path = write(tmp_path / "rows.jsonl", [GOOD, *BAD[:4], BAD[4], GOOD])
    with pytest.raises(LossError) as caught:
        do("read", tmp_path / "out", path=path)
    said = str(caught.value)
    assert caught.value.exit_code == 2
    assert "5 of 7 rows" in said
    for reason, place in (("broken-json", 2), ("not-an-object", 3), ("missing-field", 4)):
        assert f"{reason}, as rows.jsonl:{place} (" in said
    assert str(tmp_path / "out" / "dropped.parquet") in said
    assert "--allow-losses" in said
    kept = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in kept] == [("rows.jsonl", line) for line in range(2, 7)]
    assert [row["line"] for row in read_table(tmp_path / "out" / "dropped.parquet")] == [2, 3, 4, 5, 6]
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not (tmp_path / "out" / "preferences.parquet").exists()
    # The same directory takes the same run, or another one that is right.
    run = do("read", tmp_path / "out", path=path, allow_losses=True)
    rows = read_manifest(run.path)["rows"]
    assert (rows["in"], rows["kept"], sum(rows["quarantined"].values())) == (7, 2, 5)
    # What was made with the losses allowed is not given to somebody who does not allow them.
    with pytest.raises(LossError, match="allow-losses"):
        do("read", tmp_path / "out", path=path)
    assert do("read", tmp_path / "out", path=path, allow_losses=True).reused


def test_half_of_the_rows_does_not_stop_a_run_and_allowing_losses_makes_no_other_run(tmp_path):
    path = write(tmp_path / "rows.jsonl", [GOOD, BAD[0]])
    one, two = (do("read", tmp_path / f"{allow}", path=path, allow_losses=allow) for allow in (False, True))
    assert one.digest == two.digest
    assert read_manifest(one.path)["rows"]["kept"] == 1


def test_a_broken_run_leaves_its_directory_to_other_settings(tmp_path):
    path = write(tmp_path / "rows.jsonl", [GOOD, *BAD[:2]])
    with pytest.raises(LossError):
        do("read", tmp_path / "out", path=path)
    assert read_manifest(do("read", tmp_path / "out", path=path, limit=1).path)["rows"]["in"] == 1


def feedback(alone, paired):
    single = raw_row() | {"completions": [raw_completion("alder")], "models": ["alder"]}
    rows = [single | {"instruction": f"Alone {n}?"} for n in range(alone)]
    return rows + [raw_row() | {"instruction": f"Paired {n}?"} for n in range(paired)]


def test_losses_that_no_setting_asks_for_stop_a_run_and_those_that_one_asks_for_do_not(tmp_path):
    path = write(tmp_path / "feedback.jsonl", feedback(3, 2))
    with pytest.raises(LossError, match=r"3 of 5 rows(.|\n)*one-completion, as feedback.jsonl:1 "):
        do("binarize", tmp_path / "a", data=path)
    assert read_manifest(do("binarize", tmp_path / "a", data=path, allow_losses=True).path)["rows"]["kept"] == 2
    # Mean ratings 1.25, 5, 4.25 and 1.25 are 3.75 apart; the fourth of ten prompts alone has no second answer.
    path = write(
        tmp_path / "more.jsonl",
        [
            *feedback(0, 1),
            *[
                raw_row()
                | {
                    "instruction": f"{n}?",
                    "completions": [raw_completion("alder", "4 4 4 4"), raw_completion("birch", "5 5 5 5")],
                    "models": ["alder", "birch"],
                }
                for n in range(9)
            ],
        ],
    )
    rows = read_manifest(do("binarize", tmp_path / "b", data=path, margin=2.0).path)["rows"]
    assert (rows["kept"], rows["dropped"], rows["asked_by"]) == (1, {"under-margin": 9}, {"under-margin": "margin"})


def test_reading_errors_and_later_losses_count_together(tmp_path):
    """Of ten rows three are bad and three of the seven records give no pair: each alone is under half."""
    path = write(tmp_path / "feedback.jsonl", [*feedback(3, 4), *["{"] * 3])
    with pytest.raises(LossError, match="6 of 10 rows"):
        do("binarize", tmp_path / "a", data=path)


def test_a_judgement_without_a_label_costs_itself_alone(tmp_path):
    pair = {"input": "Name a river.", "output_1": "The Oder.", "output_2": "No."}
    path = write(
        tmp_path / "votes.jsonl", [pair, *[pair | {"input": f"Name river {n}.", "label": 1} for n in range(4)]]
    )
    run = do("judges", tmp_path / "out", data=path, rankers=["length"], canaries=0)
    rows = read_manifest(run.path)["rows"]
    assert (rows["in"], rows["kept"], rows["quarantined"]) == (5, 4, {"missing-field": 1})


def test_a_bad_annotation_costs_itself_alone(tmp_path):
    rows = [
        {
            "instruction": f"Q{n}?",
            "output_1": "a",
            "output_2": "b",
            "generator_1": "x",
            "generator_2": "y",
            "annotator": "j",
            "preference": 1.0 + n % 2,
        }
        for n in range(6)
    ]
    del rows[3]["generator_1"]
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    kind = step_class("alpaca")
    run = run_step(
        "alpaca", kind.parse({"annotations": str(tmp_path / "annotations.json")}, where="t"), tmp_path / "out"
    )
    found = read_manifest(run.path)["rows"]
    assert (found["in"], found["kept"], found["quarantined"]) == (6, 5, {"other-form": 1})
    assert json.loads((run.path / "quarantine.jsonl").read_text())["line"] == 4


def test_a_dialogue_in_which_nobody_asks_is_told(tmp_path):
    asks = {"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]}
    silent = {"messages": [{"role": "system", "content": "Be."}, {"role": "assistant", "content": "Hello."}]}

    path = write(tmp_path / "chats.jsonl", [asks, silent, asks])
    config = step_class("sample").parse({"data": str(path), "model": "m"}, where="t")
    run = Run(tmp_path / "out", stage="sample", config={}, inputs={})
    prompts = list(_distinct_prompts(Context(run, config, {"data": str(path)}, 0), config, str(path), 0))
    assert [place for _, place in prompts] == [("chats.jsonl", 1)]
    (tally,) = [each for each in run.tallies if each.stage == "prompts"]
    assert [(item.reason, item.line, item.asked_by) for item in tally.dropped] == [
        ("no-prompt", 2, ""),
        ("repeated-prompt", 3, "data"),
    ]


def test_pairs_without_scores_cost_themselves_where_a_loss_reads_scores():
    turn, answer = Message(role="user", content="Hi."), Message(role="assistant", content="Yes.")
    bare = Preference(prompt=(turn,), chosen=(answer,), rejected=(replace(answer, content="No."),), file="p", line=3)
    tally = Tally("scores")
    scored = replace(bare, score_chosen=1.0, score_rejected=0.0)
    assert list(apply(with_scores, [scored, bare, replace(bare, score_chosen=1.0)], tally)) == [scored]
    assert [(item.reason, item.place) for item in tally.dropped] == [("unscored", "p:3")] * 2

"""Decisions of persons in training: the tables of a run directory are read as was decided, held-out rows too."""

import pytest

from notus.core.artifacts import DECISIONS
from notus.core.errors import UnseenError
from notus.core.records import Decision, Dialogue
from notus.core.run import read_json
from notus.core.stage import Tally
from notus.core.tables import read_records
from notus.decisions.apply import Applied
from notus.decisions.read import write_rulings
from notus.decisions.ruling import Ruling
from notus.decisions.settle import settle
from notus.steps.base import decided_for, references_of
from notus.steps.registry import step_class
from notus.steps.train.data import chosen_of, decided_lines, dialogues_of, held_out_of, pairs_or_rows
from tests.steps.test_mixture import place, train

__all__ = ["place"]


def on(pair, what, number=1, **more):
    return Ruling(target=pair.id, of="pair", what=what, who="ana", prompt=pair.prompt_id, number=number, **more)


def test_pairs_and_their_held_out_ones(place):
    folder = place / "one"
    rows, held = pairs_or_rows(folder), held_out_of(folder)
    store = place / "decisions.jsonl"
    write_rulings(store, [on(rows[0], "swap"), on(rows[1], "drop", 2), on(held[0], "drop", 3), on(rows[2], "keep", 4)])
    path, summary = train(place, "dpo", "dpo", pairs=str(folder), decisions=str(store))
    assert summary["decisions"] == "4 applied, 0 not in these data, 0 conflicts"
    tally = next(each for each in read_json(path / "tally.json") if each["stage"] == "read")
    assert (tally["in"], tally["out"], tally["dropped"]) == (
        len(rows) + len(held),
        len(rows) + len(held) - 2,
        {"decided-drop": 2},
    )
    changes = list(read_records(DECISIONS.at(path), Decision))
    assert {(each.target, each.field) for each in changes} == {(rows[0].id, "swap"), (rows[0].id, "id")}
    with pytest.raises(UnseenError, match=r"--drop 00: no record and no answer of .*one has this id"):
        train(place, "dpo", "none", pairs=str(folder), drop=["00"])
    assert not (place / "runs" / "none" / "model").exists()  # told before the training
    plain, _ = train(place, "dpo", "plain", pairs=str(folder))
    assert "decisions" not in read_json(plain / "config.json")


def test_sft_learns_the_swapped_answer(place):
    folder = place / "one"
    rows = pairs_or_rows(folder)
    applied = Applied(
        settle([on(rows[0], "swap"), on(rows[1], "edit", 2, field="chosen", value="so")]), drop=(rows[2].id,)
    )
    tally = Tally("data", "rows")
    found = dialogues_of(folder, tally, applied)
    assert [talk.messages[-1].content for talk in found[:2]] == ["no", "so"]
    assert len(found) == len(rows) - 1
    assert (tally.taken, tally.given, len(tally.dropped)) == (len(rows), len(rows) - 1, 1)
    assert len(chosen_of(folder / "held_out.parquet", tally, applied)) == len(held_out_of(folder))
    path, summary = train(place, "sft", "sft", data=str(folder), drop=[rows[2].id])
    assert summary["decisions"] == "1 applied, 0 not in these data, 0 conflicts"
    talks = list(read_records(place / "one-talks" / "dialogues.parquet", Dialogue))
    _, summary = train(place, "sft", "talks", data=str(place / "one-talks"), drop=[talks[0].id])
    assert summary["decisions"] == "1 applied, 0 not in these data, 0 conflicts"
    assert path.exists()


def test_a_preview_shows_the_rows_as_was_decided(place):
    rows = pairs_or_rows(place / "one")
    config = step_class("dpo").parse(
        {"start": str(place / "start"), "pairs": str(place / "one"), "drop": [rows[0].id]}, where="test"
    )
    inputs = {key: target for key, (target, _) in references_of(config).items()}
    assert decided_for(config, inputs).drop == (rows[0].id,)
    preview = config.preview(inputs, 1, 0)
    assert preview.about[-1] == "Decisions: 1 applied, 0 not in these data, 0 conflicts."
    shown = str(preview).replace("][", "")
    assert (rows[0].chosen[0].content, rows[1].chosen[0].content) == ("cold", "small")
    assert "small" in shown
    assert "cold" not in shown


def test_what_decisions_would_do_is_told_before_a_training(place):
    folder = place / "one"
    (held, *_), store = held_out_of(folder), place / "held.jsonl"
    write_rulings(store, [on(held, "keep"), Ruling(target="e" * 16, of="pair", what="drop", who="ana", number=2)])

    def told(decisions):
        settings = {"start": str(place / "start"), "pairs": str(folder)} | decisions
        config = step_class("dpo").parse(settings, where="test")
        return decided_lines(config, {key: target for key, (target, _) in references_of(config).items()})

    assert told({}) == ()
    assert told({"decisions": str(store)}) == ("Decisions: 1 applied, 1 not in these data, 0 conflicts.",)
    write_rulings(store, [Ruling(target=each * 16, of="pair", what="drop", who="ana") for each in "ef"])
    assert told({"decisions": str(store)}) == (
        "Decisions: 0 applied, 2 not in these data, 0 conflicts.",
        f"Decisions: none of the 2 decisions is on a record of {folder}: is it the right store?",
    )


def test_a_ranker_keeps_checkpoints_by_number_and_drops_rows_by_id(place):
    rows = pairs_or_rows(place / "one")
    config = step_class("train-ranker").parse({"pairs": "x", "keep": 2, "drop": [rows[0].id]}, where="test")
    assert (config.keep, config.kept_ids) == (2, ())
    assert decided_for(config, {}).drop == (rows[0].id,)

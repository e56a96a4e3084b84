"""What a training step reads: pairs, or unpaired rows where the loss takes them."""

import pytest
from msgspec import structs

from notus.core.errors import DataError
from notus.core.records import Completion, Dialogue, Feedback, Message, Preference, Unpaired
from notus.core.run import read_manifest
from notus.core.stage import Tally
from notus.core.tables import write_records
from notus.engine.load import save_model
from notus.steps.perform import PlannedStep, do_step
from notus.steps.train.data import dialogues_of
from notus.steps.train.dpo import Dpo

LIMITS = {"max_length": 96, "max_prompt_length": 48}


def turn(role, text):
    return (Message(role=role, content=text),)


PAIRS = [
    Preference(prompt=turn("user", f"{a}?"), chosen=turn("assistant", b), rejected=turn("assistant", "no idea"))
    for a, b in (("hot", "cold"), ("big", "small"), ("up", "down"))
]
ROWS = [
    Unpaired(prompt=pair.prompt, answer=answer, desirable=answer is pair.chosen)
    for pair in PAIRS
    for answer in (pair.chosen, pair.rejected)
]


@pytest.fixture
def start(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "start")
    return str(tmp_path / "start")


def step(tmp_path, start, loss):
    inputs = {"start": start, "pairs": str(tmp_path / "data")}
    config = Dpo.parse({**inputs, "loss": {"name": loss}, "batch_size": 2, "limits": LIMITS}, where="x")
    planned = PlannedStep(name="dpo", config=config, seed=0, needs={}, given=inputs, digest="x", inputs={})
    run = do_step(planned, tmp_path / loss, inputs)
    return read_manifest(run.path)["summary"]


def written(tmp_path, records):
    names = {Preference: "preferences", Unpaired: "unpaired", Dialogue: "dialogues", Feedback: "feedback"}
    write_records(tmp_path / f"{names[type(records[0])]}.parquet", records, type(records[0]))
    return tmp_path


def test_an_unwanted_answer_is_never_imitated(tmp_path):
    tally = Tally("data")
    found = dialogues_of(written(tmp_path, ROWS), tally)
    assert [each.messages for each in found] == [(*pair.prompt, *pair.chosen) for pair in PAIRS]
    assert [(item.id, item.reason) for item in tally.dropped] == [
        (row.id, "undesirable") for row in ROWS if not row.desirable
    ]
    assert (tally.taken, tally.given) == (6, 3)


def test_pairs_that_contradict_themselves_are_counted(tmp_path):
    against = structs.replace(PAIRS[0], score_chosen=1.0, score_rejected=2.0)
    stated = structs.replace(PAIRS[0], margin=-1.0)
    same = structs.replace(PAIRS[0], rejected=PAIRS[0].chosen)
    tally = Tally("data")
    assert len(dialogues_of(written(tmp_path, [*PAIRS, against, stated, same]), tally)) == 6
    assert tally.counts == {"reversed": 2, "same-text": 1}


def test_what_a_dialogue_says_of_itself_is_counted(tmp_path):
    talk = Dialogue(messages=(*PAIRS[0].prompt, *PAIRS[0].chosen), extra={"split": "test", "score": 1, "n": 2})
    tally = Tally("data")
    assert dialogues_of(written(tmp_path, [talk, structs.replace(talk, extra={})]), tally) == [
        talk,
        structs.replace(talk, extra={}),
    ]
    assert tally.counts == {"split-unused": 1, "score-unused": 1}


def test_feedback_is_not_imitated_without_a_choice(tmp_path):
    feedback = Feedback(prompt=PAIRS[0].prompt, completions=(Completion(text="a"),))
    with pytest.raises(DataError, match="notus export --layout ultrachat") as caught:
        dialogues_of(written(tmp_path, [feedback]), Tally("data"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rows", [PAIRS, ROWS], ids=["pairs", "rows"])
def test_losses_of_rows_take_rows_and_pairs(tmp_path, start, rows):
    (tmp_path / "data").mkdir()
    name = "preferences" if rows is PAIRS else "unpaired"
    write_records(tmp_path / "data" / f"{name}.parquet", rows, type(rows[0]))
    assert step(tmp_path, start, "kto")["rows"] == 6
    if rows is PAIRS:
        assert step(tmp_path, start, "sigmoid")["rows"] == 3
    else:
        with pytest.raises(DataError, match="set the loss to kto or bco_unpaired"):
            step(tmp_path, start, "sigmoid")

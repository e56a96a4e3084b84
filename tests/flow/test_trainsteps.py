"""What a training step reads: pairs, or unpaired rows where the loss takes them."""

import pytest

from notus.core.errors import DataError
from notus.core.records import Message, Preference, Unpaired
from notus.core.run import read_manifest
from notus.core.tables import write_records
from notus.flow import kinds
from notus.flow.recipe import PlannedStep
from notus.flow.steps import do_step
from notus.models.local import save_model

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
    config = kinds.Dpo.parse({**inputs, "loss": {"name": loss}, "batch_size": 2, "limits": LIMITS}, where="x")
    planned = PlannedStep(name="dpo", config=config, seed=0, needs={}, given=inputs, digest="x", inputs={})
    run = do_step(planned, tmp_path / loss, inputs)
    return read_manifest(run.path)["summary"]


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

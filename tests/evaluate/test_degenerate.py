"""Few distinct answers: what is flagged, what is not, and NullModel."""

import gzip
import json

import msgspec
import pytest

from notus.core.errors import DataError
from notus.core.records import Message, Output
from notus.core.tables import write_records
from notus.evaluate.degenerate import count_distinct, read_answers
from tests.helpers.paths import SHARED as SHARED_FOLDER

SHARED = SHARED_FOLDER / "data" / "alpaca_eval"
LONG = "I am glad to help, and here is all that there is to say about it"


def test_answers_of_their_own_are_not_flagged():
    found = count_distinct((f"prompt {n}", f"answer {n}") for n in range(50))
    assert (found.outputs, found.prompts, found.distinct, found.flagged) == (50, 50, 50, False)


def test_one_answer_to_everything_is_flagged_whatever_its_case_and_spaces():
    found = count_distinct((f"prompt {n}", ["The same.", "the  SAME. "][n % 2]) for n in range(20))
    assert (found.distinct, found.same.mean, found.flagged) == (1, 1.0, True)
    assert "1 distinct answer to 20 prompts" in found.describe()


def test_one_frame_with_the_prompt_in_it_is_flagged_by_its_stretch():
    found = count_distinct((f"prompt {n}", f"{n}: {LONG}") for n in range(40))
    assert (found.distinct, found.same.low > 0.1, found.flagged) == (40, False, True)
    assert "the same eight words" in found.describe()


def test_what_the_prompt_itself_holds_is_not_counted():
    found = count_distinct((f"Repeat: {LONG}, {n}", f"{LONG}, {n}") for n in range(40))
    assert not found.flagged


def test_samples_of_one_prompt_count_once():
    found = count_distinct([("a", "x"), ("a", "x"), ("b", "y")])
    assert (found.outputs, found.prompts, found.same.mean) == (3, 2, 0.5)


def test_few_prompts_flag_nothing():
    assert not count_distinct((f"prompt {n}", "same") for n in range(9)).flagged
    assert count_distinct((f"prompt {n}", "same") for n in range(10)).flagged
    assert count_distinct([]) is None


def test_outputs_of_all_forms_are_read(tmp_path):
    alpaca = tmp_path / "outputs.json"
    alpaca.write_text(json.dumps([{"instruction": "i", "output": "o", "generator": "g", "dataset": "d"}]))
    notes = tmp_path / "annotations.json"
    row = {"instruction": "i", "output_1": "r", "generator_1": "ref", "output_2": "m", "generator_2": "mine"}
    notes.write_text(json.dumps([row]))
    (tmp_path / "run").mkdir()
    own = Output(prompt=(Message(role="user", content="i"),), text="t", model="ours")
    write_records(tmp_path / "run" / "outputs.parquet", [own], Output)
    assert read_answers(alpaca) == {"g": [("i", "o")]}
    assert read_answers(notes) == {"mine": [("i", "m")]}
    assert read_answers(tmp_path / "run") == {"ours": [("i", "t")]}
    lines = tmp_path / "outputs.jsonl"
    lines.write_bytes(msgspec.json.encode(own))
    assert read_answers(lines) == {"ours": [("i", "t")]}


def test_a_row_without_an_answer_is_named(tmp_path):
    path = tmp_path / "outputs.json"
    path.write_text('[{"instruction": "i"}]')
    with pytest.raises(DataError, match=r"outputs\.json:1: there is no prompt with an answer"):
        read_answers(path)
    with pytest.raises(DataError, match="cannot read"):
        read_answers(tmp_path / "none.json")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not there")
def test_nullmodel_is_caught_and_no_other():
    name = "annotations_NullModel_weighted_alpaca_eval_gpt4_turbo.json.gz"
    rows = json.loads(gzip.decompress((SHARED / name).read_bytes()))
    null = count_distinct([(row["instruction"], row["output_2"]) for row in rows], "NullModel")
    assert (null.prompts, null.distinct, null.same.mean, null.flagged) == (805, 1, 1.0, True)
    (same,) = read_answers(SHARED / name).values()
    assert count_distinct(same).flagged
    for other in ("text_davinci_003", "zephyr-7b-beta"):
        ((model, answers),) = read_answers(SHARED / f"outputs_{other}.json.gz").items()
        assert not count_distinct(answers, model).flagged, model

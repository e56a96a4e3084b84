"""Rows that are written against the columns that the documentation of each format gives, as Arrow types."""

from typing import Any

import pyarrow as pa
import pytest

from notus.core.records import Dialogue, Feedback, Message, Preference, Unpaired
from notus.formats.families.ultrafeedback import decode
from notus.formats.format import Data
from notus.formats.registry import FORMATS
from notus.formats.write import encode_row
from tests.helpers.data_examples import raw_row

TEXT, NUMBER = pa.string(), pa.float64()
TURNS = pa.list_(pa.struct({"content": TEXT, "role": TEXT}))
RATED = pa.struct({"Rating": TEXT, "Rationale": TEXT})
TYPED = pa.struct({"Rating": TEXT, "Rationale": TEXT, "Rationale For Rating": TEXT, "Type": pa.list_(TEXT)})
ANSWER = {
    "annotations": pa.struct(
        {"helpfulness": TYPED, "honesty": RATED, "instruction_following": RATED, "truthfulness": TYPED}
    ),
    **dict.fromkeys(("critique", "custom_system_prompt", "model", "principle", "response"), TEXT),
    **dict.fromkeys(("fine-grained_score", "overall_score"), NUMBER),
}
DOCUMENTED: dict[str, tuple[str, dict[str, Any]]] = {
    "h4": (
        "https://huggingface.co/datasets/HuggingFaceH4/ultrafeedback_binarized",
        {"prompt": TEXT, "prompt_id": TEXT, "chosen": TURNS, "rejected": TURNS, "messages": TURNS}
        | {"score_chosen": NUMBER, "score_rejected": NUMBER},
    ),
    "argilla": (
        "https://huggingface.co/datasets/argilla/ultrafeedback-binarized-preferences",
        {"source": TEXT, "instruction": TEXT, "chosen_response": TEXT, "rejected_response": TEXT}
        | {"chosen_avg_rating": NUMBER, "rejected_avg_rating": NUMBER, "chosen_model": TEXT},
    ),
    "argilla-cleaned": (
        "https://huggingface.co/datasets/argilla/ultrafeedback-binarized-preferences-cleaned",
        {"source": TEXT, "prompt": TEXT, "chosen": TURNS, "chosen-rating": NUMBER, "chosen-model": TEXT}
        | {"rejected": TURNS, "rejected-rating": NUMBER, "rejected-model": TEXT},
    ),
    "ultrafeedback": (
        "https://huggingface.co/datasets/openbmb/UltraFeedback",
        {"source": TEXT, "instruction": TEXT, "models": pa.list_(TEXT), "completions": pa.list_(pa.struct(ANSWER))}
        | {"correct_answers": pa.list_(TEXT), "incorrect_answers": pa.list_(TEXT)},
    ),
    "ultrachat": (
        "https://huggingface.co/datasets/HuggingFaceH4/ultrachat_200k",
        {"prompt": TEXT, "prompt_id": TEXT, "messages": TURNS},
    ),
    **{
        name: ("https://huggingface.co/docs/trl/dataset_formats", columns)
        for name, columns in {
            "trl": {"prompt": TURNS, "chosen": TURNS, "rejected": TURNS},
            "trl-implicit": {"chosen": TURNS, "rejected": TURNS},
            "trl-unpaired": {"prompt": TURNS, "completion": TURNS, "label": pa.bool_()},
            "trl-sft": {"messages": TURNS},
            "trl-prompt-completion": {"prompt": TURNS, "completion": TURNS},
            "trl-grpo": {"prompt": TURNS},
        }.items()
    },
}
"""Format → the page that gives its columns, and the columns."""
NOT_BESIDE = {"trl-implicit": {"prompt"}, "trl-sft": {"prompt", "completion"}, "trl-prompt-completion": {"messages"}}
"""Columns by which TRL would take a row for one of another type."""


def turn(role: Any, content: str) -> Message:
    return Message(role=role, content=content)


ASKED, SAID, OTHER = (turn("user", "Name a river."),), (turn("assistant", "The Oder."),), (turn("assistant", "No."),)
RECORDS: dict[type[Data], list[Data]] = {
    Preference: [
        Preference(prompt=ASKED, chosen=SAID, rejected=OTHER, score_chosen=4.5, score_rejected=1, source="flan"),
        Preference(prompt=ASKED, chosen=SAID, rejected=OTHER, model_chosen="alder", extra={"prompts": 3}),
    ],
    Unpaired: [Unpaired(prompt=ASKED, answer=SAID, desirable=True, score=2.0)],
    Dialogue: [
        Dialogue(messages=(turn("system", "Be brief."), *ASKED, *SAID, turn("user", "And?"), *OTHER)),
        Dialogue(messages=(*ASKED, *SAID), source="flan", extra={"prompt": "River?", "prompt_id": "7"}),
    ],
    Feedback: [decode(raw_row())],
}
CHECKED = Dialogue(messages=ASKED, extra={"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}], "key": 1})


def test_each_format_that_is_written_has_its_documented_columns_here():
    assert {name for name, each in FORMATS.items() if each.encode is not None} == set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_rows_have_the_documented_columns_and_types(name):
    _, columns = DOCUMENTED[name]
    kind = FORMATS[name].record
    assert kind is not None
    given = [CHECKED] if name == "trl-grpo" else RECORDS[kind]
    records = [each for each in given if name != "trl-prompt-completion" or "prompt" not in each.extra]
    rows = [encode_row(record, name) for record in records]
    for row in rows:
        assert columns.keys() <= row.keys()
        assert not NOT_BESIDE.get(name, set()) & row.keys()
    documented = [{column: row[column] for column in columns} for row in rows]
    # A key that the type has not is lost on the way, and so is a value of another type.
    assert pa.Table.from_pylist(documented, pa.schema(columns)).to_pylist() == documented

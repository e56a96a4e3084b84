import json

import pytest

from notus.core.errors import DataError
from notus.evaluate.harness.run import LOCAL, read_task_rows

SHORT = {
    "arc_easy": {"query": "Question: Hot?", "choices": ["Fire", "Ice"], "gold": 0},
    "mmlu": {"subject": "anatomy", "question": "Bone?", "choices": ["a", "b", "c", "d"], "answer": "C"},
    "truthfulqa_mc2": {"question": "Pigs?", "mc1_targets": {"No": 1, "Yes": 0}, "mc2_targets": {"No": 1, "Yes": 0}},
}
HUB = {
    "arc_easy": {"question": "Hot?", "choices": {"text": ["Fire", "Ice"], "label": ["A", "B"]}, "answerKey": "A"},
    "mmlu": {**SHORT["mmlu"], "answer": 2},
    "truthfulqa_mc2": {
        "question": "Pigs?",
        "mc1_targets": {"choices": ["No", "Yes"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["No", "Yes"], "labels": [1, 0]},
    },
    "hellaswag": {"activity_label": "Roof", "ctx_a": "A man", "ctx_b": "he", "endings": ["x", "y"], "label": "1"},
    "winogrande": {"sentence": "The _ fell.", "option1": "cup", "option2": "sun", "answer": "1"},
    "gsm8k": {"question": "1 + 1?", "answer": "It is 2.\n#### 2"},
    "drop": {"query_id": "1", "passage": "P", "question": "Q", "answer": {"number": "2"}, "validated_answers": {}},
}


def write(folder, *rows, name="rows.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("task", HUB)
def test_the_hubs_own_rows_stay_as_they_are(task, tmp_path):
    ((name, parts),) = read_task_rows(task, write(tmp_path, HUB[task])).items()
    assert name == ("mmlu_anatomy" if task == "mmlu" else task)
    assert parts == {"test": [HUB[task]], "shots": []}


@pytest.mark.parametrize("task", SHORT)
def test_short_rows_become_the_hubs(task, tmp_path):
    (parts,) = read_task_rows(task, write(tmp_path, SHORT[task])).values()
    assert parts["test"] == [HUB[task]]


def test_rows_of_dev_and_train_are_examples(tmp_path):
    rows = [{**SHORT["mmlu"], "split": split} for split in ("dev", "val", "train", "test")]
    other = {**SHORT["mmlu"], "subject": "law", "split": "dev"}
    found = read_task_rows("mmlu", write(tmp_path, *rows, other))
    assert {name: [len(of) for of in parts.values()] for name, parts in found.items()} == {"mmlu_anatomy": [2, 2]}
    with pytest.raises(DataError, match="no question to ask"):
        read_task_rows("mmlu", write(tmp_path, other))


@pytest.mark.parametrize(
    ("task", "change", "words"),
    [
        ("arc_easy", {"gold": 2}, "2 is no number of one of its 2 choices"),
        ("arc_easy", {"gold": True}, "True is no number"),
        ("arc_easy", {"choices": "Fire"}, "no list of texts"),
        ("arc_easy", {"query": 3}, "has no attribute|is no text"),
        ("mmlu", {"answer": "E"}, "'E' is no number"),
        ("mmlu", {"choices": ["a"]}, "has 1 choices, not 4"),
        ("mmlu", {"subject": None}, "no 'subject'"),
        ("truthfulqa_mc2", {"mc2_targets": {"No": 0}}, "do not make a question"),
        ("truthfulqa_mc2", {"mc2_targets": {"No": 2}}, "do not make a question"),
    ],
)
def test_a_row_that_does_not_fit_is_named(task, change, words, tmp_path):
    path = write(tmp_path, SHORT[task], {**SHORT[task], **change})
    with pytest.raises(DataError, match=rf"row 2 is no row of '{task}'.*({words})"):
        read_task_rows(task, path)


@pytest.mark.parametrize(
    ("task", "change", "words"),
    [
        ("arc_easy", {"answerKey": "C"}, "'C' is none of its 2 choices"),
        ("hellaswag", {"label": "2"}, "2 is no number of one of its 2 choices"),
        ("winogrande", {"answer": "3"}, "'3', not 1 or 2"),
        ("winogrande", {"sentence": "It fell."}, "no gap"),
        ("gsm8k", {"answer": "2"}, "does not end in"),
        ("drop", {"passage": None}, "None is no text"),
    ],
)
def test_a_hub_row_that_does_not_fit_is_named(task, change, words, tmp_path):
    with pytest.raises(DataError, match=f"row 1 is no row of '{task}': .*{words}"):
        read_task_rows(task, write(tmp_path, {**HUB[task], **change}))


@pytest.mark.parametrize("task", sorted(LOCAL))
def test_a_row_without_its_fields_is_told(task, tmp_path):
    with pytest.raises(DataError, match=r"row 1 is no row of .*it has no '"):
        read_task_rows(task, write(tmp_path, {"nothing": 1}))

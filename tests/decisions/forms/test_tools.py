"""Argilla and Label Studio: what they take, whose each decision is, and what was not handed in."""

import json
from xml.etree import ElementTree as ET

import pytest

from notus.core.errors import DataError
from notus.decisions.forms.form import read_form, write_form
from notus.decisions.forms.item import Item, encode_key, target_text

ITEMS = [
    Item(
        id=f"{number:016x}",
        of="completion",
        texts={"prompt": f"What <b>{number}</b>?", "answer": f"So & {number}."},
        editable=("answer",),
        scores={"overall_score": 10.0},
        reasons=("tail", "wording"),
        evidence="odd",
        source="made",
        file="a.jsonl",
        line=number,
        queue="random",
    )
    for number in range(1, 4)
]
ANN, BO = "0b0f3a52-0f7a-4a62-9d6c-0f5c3c8f3a10", "1b0f3a52-0f7a-4a62-9d6c-0f5c3c8f3a10"


def said(returned):
    return sorted((ruling.who, ruling.target[-1], ruling.what, ruling.value) for _, ruling in returned.rulings)


@pytest.fixture
def records(tmp_path):
    """A folder of Argilla's, and its records."""
    write_form(ITEMS, tmp_path / "argilla", "argilla")
    return tmp_path / "argilla", json.loads((tmp_path / "argilla" / "records.json").read_text())


def back(folder, records):
    (folder / "records.json").write_text(json.dumps(records))
    return read_form(folder, who="unknown")


def test_a_folder_of_argilla_says_what_its_sdk_reads(records):
    """The keys are those of argilla 2.8.0: ``Settings._from_dict``, ``DatasetModel``, ``Record.from_dict``."""
    folder, rows = records
    settings = json.loads((folder / ".argilla" / "settings.json").read_text())
    dataset = json.loads((folder / ".argilla" / "dataset.json").read_text())
    assert dataset["name"] == "decisions"
    assert dataset["distribution"] == settings["distribution"] == {"strategy": "overlap", "min_submitted": 1}
    fields = {field["name"]: field for field in settings["fields"]}
    assert list(fields) == ["reasons", "evidence", "prompt", "answer", "scores"]
    assert {field["settings"]["type"] for field in fields.values()} == {"text"}
    questions = {question["name"]: question for question in settings["questions"]}
    assert list(questions) == ["decision", "score", "why", "new_answer"]
    options = [option["value"] for option in questions["decision"]["settings"]["options"]]
    assert options == ["keep", "drop", "cannot-tell"]
    assert [question["required"] for question in questions.values()] == [True, False, False, False]
    for item, row in zip(ITEMS, rows, strict=True):
        assert row["id"] == target_text(item)
        assert row["metadata"]["key"] == encode_key(item)
        assert row["fields"].keys() <= fields.keys()
        assert (row["suggestions"], row["responses"]) == ({}, {})
    with pytest.raises(DataError, match="is not empty; name another folder"):
        write_form(ITEMS, folder, "argilla")


def test_each_response_of_argilla_is_its_users(records):
    folder, rows = records
    rows[0]["responses"] = {
        "decision": [{"value": "keep", "user_id": ANN}, {"value": "drop", "user_id": BO}],
        "score": [{"value": "3", "user_id": BO}],
        "why": [{"value": "", "user_id": ANN}, {"value": None, "user_id": BO}],
    }
    rows[1]["responses"] = {"decision": [{"value": "keep", "user_id": ANN}]}
    rows[2]["responses"] = {"decision": [{"value": "keep", "user_id": ANN}]}
    for row, status in zip(rows, ("completed", "pending", None), strict=True):
        row["status"] = status
    returned = back(folder, rows)
    assert said(returned) == [
        (ANN, "1", "keep", None),
        (ANN, "3", "keep", None),
        (BO, "1", "drop", None),
        (BO, "1", "set-score", 3.0),
    ]
    assert sum(returned.aside.values()) == 1
    assert "a flat export says which were submitted" in next(iter(returned.aside))
    assert returned.rulings[0][1].reasons == ("tail", "wording")
    assert returned.empty == 1


def test_flat_records_say_what_was_submitted(tmp_path):
    rows = []
    for item, status in zip(ITEMS, ("submitted", "draft", "discarded"), strict=True):
        row = {"id": target_text(item), "_server_id": "1", "key": encode_key(item), "prompt": item.texts["prompt"]}
        row |= {
            "decision.responses": ["drop"],
            "decision.responses.users": [ANN],
            "decision.responses.status": [status],
        }
        rows.append(row | {"decision.suggestion": "keep", "why.responses": None})
    (tmp_path / "flat.json").write_text(json.dumps(rows))
    returned = read_form(tmp_path / "flat.json", names={ANN: "ana"})
    assert said(returned) == [("ana", "1", "drop", None)]
    assert dict(returned.aside) == {"drafts": 1, "discarded": 1}
    rows[0]["decision.responses.users"] = []
    (tmp_path / "flat.json").write_text(json.dumps(rows))
    assert (
        read_form(tmp_path / "flat.json", who="a").unreadable[0].startswith("row 1: decision.responses has 1 values of")
    )


def test_records_of_others_are_unknown(records):
    folder, rows = records
    for row in rows:
        row["responses"] = {"decision": [{"value": "keep", "user_id": ANN}]}
    rows[0] |= {"id": "7", "metadata": {}}
    rows[1] |= {"id": None}
    rows[2]["fields"]["answer"] = "changed"
    returned = back(folder, rows)
    assert len(returned.unknown) == 2
    assert [line[:32] for line in returned.changed] == ["row 3: the text of 'answer' was"]
    with pytest.raises(DataError, match=r"is a folder without records\.json"):
        read_form(folder / ".argilla", who="a")


@pytest.fixture
def tasks(tmp_path):
    """A file of tasks, and the tasks."""
    written = write_form(ITEMS, tmp_path / "tasks.json", "label-studio")
    assert written.paths == (tmp_path / "tasks.json", tmp_path / "tasks.xml")
    return tmp_path / "tasks.json", json.loads((tmp_path / "tasks.json").read_text())


def annotation(person, **values):
    types = {"decision": "choices"}
    result = [
        {"from_name": name, "to_name": "prompt", "type": types.get(name, "textarea"), "value": value}
        for name, value in values.items()
    ]
    return {"id": 1, "completed_by": person, "was_cancelled": False, "result": result}


def test_the_interface_names_what_the_tasks_hold(tasks):
    path, rows = tasks
    view = ET.fromstring(path.with_suffix(".xml").read_text())
    shown = {each.attrib["name"]: each.attrib["value"] for each in view.iter("Text")}
    assert shown == {name: f"${name}" for name in ("reasons", "evidence", "prompt", "answer", "scores")}
    for row in rows:
        assert {value.removeprefix("$") for value in shown.values()} <= row["data"].keys()
        assert all(isinstance(row["data"][name], str) for name in shown)
    (choices,) = view.iter("Choices")
    assert [each.attrib["value"] for each in choices] == ["keep", "drop", "cannot-tell"]
    controls = {choices.attrib["name"], *(each.attrib["name"] for each in view.iter("TextArea"))}
    assert controls == {"decision", "score", "why", "new_answer"}
    targets = {each.attrib["toName"] for each in view.iter() if "toName" in each.attrib}
    assert targets <= shown.keys()


def test_each_annotation_is_its_persons(tasks):
    path, rows = tasks
    rows[0]["annotations"] = [
        annotation(3, decision={"choices": ["keep"]}, score={"text": ["7"]}),
        annotation({"id": 4, "email": "bo@example.org"}, decision={"choices": ["drop"]}, why={"text": ["a", "b"]}),
        annotation(5, decision={"choices": ["drop"]}) | {"was_cancelled": True},
    ]
    rows[1]["annotations"] = [annotation(3, score={"number": 2.5})]
    rows[2]["annotations"] = [annotation(None, new_answer={"text": "Yes."})]
    path.write_text(json.dumps(rows))
    returned = read_form(path, who="someone", names={"3": "ana"})
    assert said(returned) == [
        ("ana", "1", "keep", None),
        ("ana", "1", "set-score", 7.0),
        ("ana", "2", "set-score", 2.5),
        ("bo@example.org", "1", "drop", None),
        ("someone", "3", "edit", "Yes."),
    ]
    assert dict(returned.aside) == {"skipped": 1}
    assert [ruling.why for _, ruling in returned.rulings if ruling.who.startswith("bo")] == ["a\nb"]


def test_tasks_that_nobody_annotated_are_empty_and_broken_ones_are_told(tasks):
    path, rows = tasks
    rows[0] |= {"annotations": []}
    rows[1] |= {"annotations": "none"}
    rows[2] |= {"annotations": [annotation(1, decision={"choices": ["keep", "drop"]})]}
    path.write_text(json.dumps(rows))
    returned = read_form(path, who="a")
    assert returned.empty == 1
    assert returned.unreadable == [
        "row 2: 'annotations' is no list of objects; export the tasks as JSON",
        "row 3: the decision is 'keep drop'; write keep, drop, cannot-tell, or nothing",
    ]

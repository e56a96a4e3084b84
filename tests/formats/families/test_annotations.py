"""Exports of Argilla and Label Studio: what users said, what was only suggested, what was not submitted."""

import json
from pathlib import Path
from typing import Any

import pytest

from notus.core.records import Completion, Feedback, Message, Ranking, Rating
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine, RowError
from notus.formats.registry import FORMATS, detect
from notus.formats.source import open_source

Row = dict[str, Any]
ASKED = (Message(role="user", content="Name a river."),)
FIELDS: Row = {"instruction": "Name a river.", "response1": "The Oder.", "response2": "No."}


def read(name: str, row: Row) -> Feedback:
    assert detect(row) == name
    found = FORMATS[name].decode(row)
    assert isinstance(found, Feedback)
    return found


def by(user: str, value: Any, status: str = "submitted") -> Row:
    return {"user_id": user, "value": value, "status": status}


def nested(responses: Row, fields: Row = FIELDS) -> Row:
    suggestions = {"preference": {"value": "response2", "score": 0.9, "agent": "cedar"}}
    metadata = {"model1": "alder", "model2": "birch", "topic": "water"}
    row: Row = {"id": "r1", "status": "completed", "fields": fields, "responses": responses}
    return row | {"suggestions": suggestions, "metadata": metadata, "vectors": {}}


def test_argillas_records_keep_votes_apart_from_suggestions_and_drafts() -> None:
    votes = [by("ann", "response1"), by("bo", "tie"), by("cy", "response2", "draft")]
    found = read("argilla-records", nested({"preference": votes, "quality": [by("ann", 4)]}))
    assert found == Feedback(
        prompt=ASKED,
        completions=(Completion(text="The Oder.", model="alder"), Completion(text="No.", model="birch")),
        rankings=(
            Ranking(ranks=(1, 2), rater="ann", question="preference"),
            Ranking(ranks=(1, 1), rater="bo", question="preference"),
        ),
        extra={
            "id": "r1",
            "status": "completed",
            "suggestions": {"preference": {"value": "response2", "score": 0.9, "agent": "cedar"}},
            "metadata": {"model1": "alder", "model2": "birch", "topic": "water"},
            "vectors": {},
            # A mark for the record, of which no question says which answer it is of.
            "responses": {"quality": [{"user_id": "ann", "value": 4, "status": "submitted"}]},
            "responses_aside": {"preference": [{"user_id": "cy", "value": "response2", "status": "draft"}]},
        },
    )


def test_argillas_flat_rows_say_the_same() -> None:
    row = FIELDS | {"id": "r1", "model1": "alder", "model2": "birch"}
    row |= {"preference.responses": ["response1", "response2"], "preference.responses.users": ["ann", "bo"]}
    row |= {"preference.responses.status": ["submitted", "discarded"], "response2-rating.responses": [1]}
    row |= {"response2-rating.responses.users": ["ann"], "preference.suggestion": "response2"}
    row |= {"preference.suggestion.score": None, "preference.suggestion.agent": "cedar"}
    assert read("argilla-records", row) == Feedback(
        prompt=ASKED,
        completions=(
            Completion(text="The Oder.", model="alder"),
            Completion(text="No.", model="birch", ratings=(Rating(aspect="rating", value=1, rater="ann"),)),
        ),
        rankings=(Ranking(ranks=(1, 2), rater="ann", question="preference"),),
        extra={
            "id": "r1",
            "suggestions": {"preference": {"value": "response2", "score": None, "agent": "cedar"}},
            "responses_aside": {"preference": [{"user_id": "bo", "value": "response2", "status": "discarded"}]},
        },
    )


def test_numbers_rate_the_only_answer_of_a_record() -> None:
    fields = {"prompt": "Name a river.", "response": "The Oder."}
    (answer,) = read("argilla-records", nested({"quality": [by("ann", 4), by("bo", 2)]}, fields)).completions
    assert answer.ratings == (
        Rating(aspect="quality", value=4, rater="ann"),
        Rating(aspect="quality", value=2, rater="bo"),
    )


THREE = {"instruction": "Name a river.", "generation-1": "The Oder.", "generation-2": "No.", "generation-3": "Hm."}


@pytest.mark.parametrize(
    ("value", "ranks"),
    [
        ([{"rank": 2, "value": "generation-1"}, {"rank": 1, "value": "generation-3"}], (2, None, 1)),
        ({"rank": [1, 1, 2], "value": ["generation-3", "generation-2", "generation-1"]}, (2, 1, 1)),
        (["generation-2", "generation-1", "generation-3"], (2, 1, 3)),
        ("generation-2", (2, 1, 2)),
        ("3", (2, 2, 1)),
    ],
    ids=["ranks", "ranks as columns", "an order", "the best", "the best by its mark"],
)
def test_argillas_rankings(value: Any, ranks: tuple[int | None, ...]) -> None:
    row = THREE | {"order": [by("ann", value)], "order-suggestion": None, "metadata": "{}", "external_id": "r1"}
    found = read("argilla1-records", row)
    assert found.rankings == (Ranking(ranks=ranks, rater="ann", question="order"),)
    assert found.extra == {"metadata": "{}", "external_id": "r1"}


def test_argilla_1_as_arrow_stores_it_with_a_suggestion() -> None:
    answered = {"user_id": ["ann", "bo"], "value": ["response1", "other"], "status": ["submitted", "submitted"]}
    row = FIELDS | {"pick": answered, "pick-suggestion": "response2", "metadata": '{"model-1": "alder"}'}
    found = read("argilla1-records", row | {"pick-suggestion-metadata": {"type": None, "score": 0.5, "agent": "cedar"}})
    assert found.rankings == (Ranking(ranks=(1, 2), rater="ann", question="pick"),)
    assert found.completions[0].model == "alder"
    assert found.extra["suggestions"] == {"pick": {"value": "response2", "type": None, "score": 0.5, "agent": "cedar"}}
    assert found.extra["responses"] == {"pick": [{"user_id": "bo", "value": "other", "status": "submitted"}]}


def result(name: str, of: str, kind: str, **value: Any) -> Row:
    return {"id": f"x{name}", "from_name": name, "to_name": of, "type": kind, "value": value}


def task(*annotations: Row, **data: Any) -> Row:
    texts = data or {"prompt": "Name a river.", "text1": "The Oder.", "text2": "No.", "topic": "water"}
    return {"id": 1, "data": texts, "annotations": list(annotations), "predictions": [], "meta": {}, "project": 3}


def annotation(who: Any, *results: Row, cancelled: bool = False) -> Row:
    return {"id": 7, "completed_by": who, "result": list(results), "was_cancelled": cancelled, "lead_time": 9.1}


def test_a_task_of_label_studio_with_several_annotators() -> None:
    ranked = result("better", "text1,text2", "pairwise", selected="right")
    stars = result("stars", "text1", "rating", rating=4)
    reason = result("why", "text1", "textarea", text=["It names one."])
    other = result("topic", "prompt", "choices", choices=["water"])
    first = annotation(1, ranked, stars, other)
    second = annotation(
        {"id": 2, "email": "bo@example.org"}, ranked, result("reason", "text1", "textarea", text=["Hm."])
    )
    skipped = annotation(5, ranked, cancelled=True)
    found = read("label-studio", task(first, second, skipped))
    assert found.completions == (
        Completion(text="The Oder.", ratings=(Rating(aspect="stars", value=4, rater="1"),)),
        Completion(text="No."),
    )
    assert found.rankings == (
        Ranking(ranks=(2, 1), rater="1", question="better"),
        Ranking(ranks=(2, 1), rater="bo@example.org", question="better", rationale="Hm."),
    )
    assert found.extra["topic"] == "water"
    assert found.extra["label_studio"]["annotations"] == [first, second, skipped]
    assert read("label-studio", task(annotation(1, ranked, reason))).rankings[0].rationale == ""


def test_left_is_the_first_that_a_choice_is_about() -> None:
    data = {"prompt": "Name a river.", "draft": "The Oder.", "edited": "No."}
    ranked = result("better", "edited,draft", "pairwise", selected="left")
    found = read("label-studio", task(annotation(1, ranked), **data))
    assert {item.text: rank for item, rank in zip(found.completions, found.rankings[0].ranks, strict=True)} == {
        "No.": 1,
        "The Oder.": 2,
    }


def small(who: int, **change: Any) -> Row:
    row: Row = {"id": 1, "prompt": "Name a river.", "text1": "The Oder.", "text2": "No.", "annotator": who}
    return row | {"annotation_id": who + 6, "lead_time": 9.1, "better": [{"selected": "left"}]} | change


def test_rows_of_json_min_are_one_annotation_each(tmp_path: Path) -> None:
    rows = [small(1), small(2, better=[{"selected": "right"}], text2_stars=[{"rating": 2}], stars=[{"rating": 5}])]
    (tmp_path / "export.json").write_text(json.dumps(rows))
    source = open_source(str(tmp_path / "export.json"))
    (found,) = source.records(Tally("read"), Quarantine())
    assert source.format == "label-studio-min"
    assert isinstance(found, Feedback)
    assert found.rankings == (
        Ranking(ranks=(1, 2), rater="1", question="better"),
        Ranking(ranks=(2, 1), rater="2", question="better"),
    )
    assert found.completions[1].ratings == (Rating(aspect="stars", value=2, rater="2"),)
    assert found.extra["joined_rows"][1]["responses"] == {"stars": [{"user_id": "2", "value": 5}]}


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        (nested({"pick": [by("ann", "a")]}, {"prompt": "Name a river."}), "fields.response", "missing-field"),
        (nested({"pick": []}, {"response1": "a", "response2": "b"}), "fields.prompt", "missing-field"),
        (task(prompt="Name a river."), "data.response", "missing-field"),
        (task(annotation([1], result("s", "text1", "rating", rating=1))), "annotations[0].completed_by", "wrong-type"),
        (
            FIELDS | {"q.responses": ["response1"], "q.responses.users": []},
            "q.responses.users",
            "length-mismatch",
        ),
    ],
)
def test_an_export_that_cannot_be_read_names_the_field_and_the_rule(row: Row, field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        read(detect(row) or "", row)
    assert (caught.value.field, caught.value.rule) == (field, rule)

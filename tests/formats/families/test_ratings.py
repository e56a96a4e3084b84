"""Several answers in a row with their ratings; UltraFeedback's are in ``test_ultrafeedback``."""

from pathlib import Path
from typing import Any

import pytest

from notus.core.records import Completion, Feedback, Message, Rating, Scale
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine, RowError
from notus.formats.registry import FORMATS, detect
from notus.formats.source import open_source, write_jsonl

Row = dict[str, Any]
ASKED = (Message(role="user", content="Name a river."),)
GRADES = Scale(low=1, high=5)


def read(name: str, row: Row) -> Feedback:
    assert detect(row) == name
    found = FORMATS[name].decode(row)
    assert isinstance(found, Feedback)
    return found


def judged(**change: Any) -> Row:
    answer: Row = {
        "model": "alder",
        "response": "The Oder.",
        "gpt4_scores": [-2, "N/A"],
        "gpt4_feedback": ["Good.", ""],
    }
    return {"instruction": "Name a river.", "completions": [answer | change]}


def test_repeated_scores_have_their_annotators_and_any_scale() -> None:
    assert read("feedback", judged(annotators=["ann", "bo"])).completions[0].ratings == (
        Rating(aspect="rubric", value=-2, rationale="Good.", rater="ann"),
        Rating(aspect="rubric", value=None, rater="bo"),
    )
    assert read("feedback", judged(annotators=["ann"])).completions[0].extra == {"annotators": ["ann"]}


def generated(**change: Any) -> Row:
    row: Row = {
        "instruction": "Name a river.",
        "generations": ["The Oder.", "No."],
        "generation_models": ["alder", "birch"],
    }
    row |= {"ratings": [5, None], "rationales": ["It names one.", None], "model_name": "cedar"}
    return row | {"distilabel_metadata": {"raw_output_ultra_feedback_0": "…"}} | change


def test_a_null_of_distilabel_costs_a_score_and_not_the_row() -> None:
    assert read("distilabel", generated()) == Feedback(
        prompt=ASKED,
        completions=(
            Completion(
                text="The Oder.",
                model="alder",
                ratings=(Rating(aspect="rating", value=5, rationale="It names one.", rater="cedar"),),
            ),
            Completion(text="No.", model="birch"),
        ),
        extra={"distilabel_metadata": {"raw_output_ultra_feedback_0": "…"}},
    )
    assert [item.ratings for item in read("distilabel", generated(ratings=None, rationales=None)).completions] == [
        (),
        (),
    ]
    # A column of another name that holds no list of ratings says nothing of the answers: it stays as it is.
    beside = read("distilabel", generated(ratings=None, rationales=None, rating="unused"))
    assert [item.ratings for item in beside.completions] == [(), ()]
    assert beside.extra["rating"] == "unused"
    reasoned = read("distilabel", generated(rationales=["a", "b"])).completions[1].ratings
    assert reasoned == (Rating(aspect="rating", value=None, rationale="b", rater="cedar"),)


def test_an_answer_that_was_not_generated_goes_and_is_told() -> None:
    row = generated(generations=["The Oder.", None], ratings=[5, 2], rationales=["It names one.", "There is none."])
    found = read("distilabel", row)
    assert [item.text for item in found.completions] == ["The Oder."]
    assert found.extra["generations_as_read"] == ["The Oder.", None]
    # What is said of the answer that is missing is kept too.
    assert found.extra["ratings_as_read"] == [5, 2]
    assert found.extra["rationales_as_read"] == ["It names one.", "There is none."]
    assert found.extra["generation_models_as_read"] == row["generation_models"]


def test_answers_that_were_not_generated_are_counted(tmp_path: Path) -> None:
    rows = [generated(), generated(generations=[None, "No."]), generated(generations=["The Oder.", None])]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    tally = Tally("read")
    assert len(list(open_source(str(tmp_path / "rows.jsonl")).records(tally, Quarantine()))) == 3
    assert tally.counts == {"null-generation": 2}


def test_rationales_are_of_the_types_where_there_are_others_for_the_ratings() -> None:
    row = generated(ratings=[5, 1], types=[["1", "3"], "None"], rationales=["a", "b"])
    found = read("distilabel", row | {"rationales-for-ratings": ["c", "d"]})
    assert [item.ratings[0] for item in found.completions] == [
        Rating(aspect="rating", value=5, rationale="c", types=("1", "3"), types_rationale="a", rater="cedar"),
        Rating(aspect="rating", value=1, rationale="d", types=("None",), types_rationale="b", rater="cedar"),
    ]


def test_a_pair_beside_all_answers_of_distilabel_stays_a_further_column() -> None:
    turns = [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "The Oder."}]
    found = read("distilabel", generated(prompt="Name a river.", prompt_id="x", chosen=turns, rejected=turns))
    assert len(found.completions) == 2
    assert found.extra["chosen"] == turns


def test_answers_as_objects_with_a_score_each() -> None:
    first: Row = {
        "text": "The Oder.",
        "llm": "alder",
        "score": 4.5,
        "reason": "It names one.",
        "judge": "cedar",
        "n": 1,
    }
    row: Row = {
        "question": "Name a river.",
        "answers": [first, {"text": "No.", "llm": "birch", "score": None}],
        "id": 7,
    }
    assert read("scored-answers", row) == Feedback(
        prompt=ASKED,
        completions=(
            Completion(
                text="The Oder.",
                model="alder",
                ratings=(Rating(aspect="score", value=4.5, rationale="It names one.", rater="cedar"),),
                extra={"n": 1},
            ),
            Completion(text="No.", model="birch"),
        ),
        extra={"id": 7},
    )
    several: Row = {
        "prompt": "Name a river.",
        "completions": [{"response": "No.", "scores": {"helpful": 1, "honest": 5}}],
    }
    assert [(each.aspect, each.value) for each in read("scored-answers", several).completions[0].ratings] == [
        ("helpful", 1),
        ("honest", 5),
    ]


def test_an_empty_score_of_an_answer_is_not_made_up_from_a_column_of_a_like_name() -> None:
    answers = [{"text": "The Oder.", "score": 2, "rating": 9}, {"text": "No.", "score": None, "rating": 8}]
    found = read("scored-answers", {"prompt": "Name a river.", "answers": answers})
    # On scores of 1 to 5 beside ratings of 1 to 10, an 8 in the place of the empty score would make "No." the best.
    assert [[(each.aspect, each.value) for each in item.ratings] for item in found.completions] == [[("score", 2)], []]
    assert [item.extra["rating"] for item in found.completions] == [9, 8]


def test_prometheus_feedback_is_a_grade_with_its_reason() -> None:
    row: Row = {"orig_instruction": "Name a river.", "instruction": "###Task …", "orig_response": "The Oder."}
    row |= {"orig_score": "5", "orig_feedback": "It names one.", "orig_criteria": "Right?"}
    assert read("prometheus-feedback", row) == Feedback(
        prompt=ASKED,
        completions=(
            Completion(
                text="The Oder.",
                ratings=(Rating(aspect="rubric", value=5, rationale="It names one.", scale=GRADES),),
                extra={"instruction": "###Task …", "orig_criteria": "Right?"},
            ),
        ),
    )


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        (generated(ratings=[5]), "ratings", "length-mismatch"),
        (generated(ratings=["good", 1]), "ratings[0]", "not-a-number"),
        (generated(generations=[None, None]), "generations", "no-completion"),
        (generated(generation_models=["alder"]), "generation_models", "length-mismatch"),
        ({"orig_instruction": "a", "orig_response": "b", "orig_score": 6}, "orig_score", "out-of-range"),
        ({"prompt": "a", "answers": [{"text": "b", "score": 1}, "c"]}, "answers[1]", "wrong-type"),
    ],
)
def test_a_bad_row_names_the_field_and_the_rule(row: Row, field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        read(detect(row) or "", row)
    assert (caught.value.field, caught.value.rule) == (field, rule)

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.core.records import Completion, Critique, Feedback, Message, Rating, Scale
from notus.formats.families.ultrafeedback import decode, decode_json, to_ultrafeedback
from notus.formats.quarantine import RowError
from tests.helpers.data_examples import ASPECT_NAMES, SHARED, raw_row

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_grade = st.none() | st.sampled_from([0.0, 1.0, 4.0, 7.5, 10.0, 1e-07, 100.0]) | st.floats(0, 100)
_scale = st.none() | st.sampled_from([Scale(low=1, high=5), Scale(low=1, high=10), Scale(low=-2, high=2.5)])
_free = st.dictionaries(st.sampled_from(["row", "note", "x-1"]), st.none() | st.booleans() | st.integers(-9, 9) | _text)


@st.composite
def _ratings(draw: st.DrawFn) -> tuple[Rating, ...]:
    aspects = draw(st.lists(st.sampled_from([*ASPECT_NAMES, "style", "a.b"]), unique=True, max_size=5))
    return tuple(
        Rating(
            aspect=aspect,
            value=draw(_grade),
            rationale=draw(_text),
            types=tuple(draw(st.lists(_text, max_size=2))),
            types_rationale=draw(_text),
            rater=draw(_text),
            scale=draw(_scale),
        )
        for aspect in aspects
    )


@st.composite
def _feedback(draw: st.DrawFn) -> Feedback:
    critiques = st.none() | st.builds(Critique, text=_text, score=_grade, rater=_text, scale=_scale)
    completions = st.lists(
        st.builds(
            Completion,
            text=_text,
            model=_text,
            ratings=_ratings(),
            critique=critiques,
            principle=_text,
            system_prompt=_text,
            extra=_free,
        ),
        min_size=1,
        max_size=3,
    )
    return Feedback(
        prompt=(Message(role="user", content=draw(_text)),),
        completions=tuple(draw(completions)),
        source=draw(_text),
        extra=draw(_free),
    )


@settings(max_examples=150, deadline=None)
@given(_feedback())
def test_what_is_written_reads_as_the_same_record(feedback: Feedback) -> None:
    row = to_ultrafeedback(feedback)
    assert decode(json.loads(json.dumps(row))) == feedback
    assert decode(row) == feedback


def test_the_fast_reader_says_what_the_careful_one_says() -> None:
    row = raw_row()
    assert decode_json(json.dumps(row).encode()) == decode(row)


def test_fields_go_where_they_belong() -> None:
    found = decode(raw_row())
    assert found.prompt == (Message(role="user", content="Name a river."),)
    assert found.source == "evol_instruct"
    assert found.extra == {}  # models, fine-grained scores and empty answer lists follow from the rest
    birch = found.completions[1]
    assert (birch.model, birch.principle, birch.system_prompt) == ("birch", "helpfulness", "Answer kindly.")
    assert (birch.mean_rating, birch.overall_score) == (5.0, 8.0)
    assert birch.ratings[0] == Rating(
        aspect="helpfulness",
        value=5.0,
        rationale="Why 5.",
        types=("1", "3"),
        types_rationale="About helpfulness.",
        scale=Scale(low=1, high=5),
    )
    assert birch.ratings[1] == Rating(
        aspect="honesty", value=None, rationale="About honesty.", scale=Scale(low=1, high=5)
    )
    assert birch.critique is not None
    assert birch.critique.scale == Scale(low=1, high=10)


@pytest.mark.parametrize(
    ("written", "value"),
    [("7.5", 7.5), (7.5, 7.5), (4, 4.0), (" 3 ", 3.0), ("N/A", None), ("n/a", None), ("0", 0.0)],
)
def test_a_rating_keeps_its_value(written: object, value: float | None) -> None:
    row = raw_row()
    row["completions"][0]["annotations"]["honesty"]["Rating"] = written
    assert decode(row).completions[0].ratings[1].value == value


def test_what_contradicts_the_rest_is_kept() -> None:
    row = raw_row()
    row["models"] = ["alder", "cedar", "birch", "dogwood"]
    row["correct_answers"] = ["The Rhine"]
    row["completions"][2]["fine-grained_score"] = 3.5
    found = decode_json(json.dumps(row).encode())
    assert found.extra == {"models": row["models"], "correct_answers": ["The Rhine"]}
    assert found.completions[2].extra == {"fine-grained_score": 3.5}
    assert decode(to_ultrafeedback(found)) == found


def test_unknown_fields_are_kept_at_every_depth_and_written_back() -> None:
    row = raw_row()
    row["language"] = "en"
    row["completions"][1]["tokens"] = 12
    row["completions"][1]["annotations"]["honesty"]["Seconds"] = 3
    found = decode(row)
    assert found.extra == {"language": "en"}
    assert found.completions[1].extra == {"tokens": 12, "annotations": {"honesty": {"Seconds": 3}}}
    written = to_ultrafeedback(found)
    assert written["completions"][1]["annotations"]["honesty"] == row["completions"][1]["annotations"]["honesty"]
    assert decode(written) == found


def test_an_aspect_that_was_left_an_empty_list_is_not_rated() -> None:
    row = raw_row()
    row["completions"][0]["annotations"]["honesty"] = []
    assert [rating.aspect for rating in decode(row).completions[0].ratings] == [
        "helpfulness",
        "instruction_following",
        "truthfulness",
    ]


def test_nulls_count_as_absent() -> None:
    row = raw_row()
    row["source"] = row["models"] = row["completions"][0]["principle"] = row["completions"][0]["critique"] = None
    row["completions"][0]["overall_score"] = None
    found = decode(row)
    assert (found.source, found.completions[0].principle, found.completions[0].critique) == ("", "", None)


def _broken(change: Any) -> dict[str, Any]:
    row = raw_row()
    change(row, row["completions"][1])
    return row


BAD = [
    (lambda row, _: row.pop("instruction"), "instruction", "missing-field"),
    (lambda row, _: row.update(instruction=None), "instruction", "missing-field"),
    (lambda row, _: row.update(instruction=3), "instruction", "wrong-type"),
    (lambda row, _: row.pop("completions"), "completions", "missing-field"),
    (lambda row, _: row.update(completions=[]), "completions", "no-completion"),
    (lambda row, _: row.update(completions="none"), "completions", "wrong-type"),
    (lambda row, _: row.update(completions=[7]), "completions[0]", "wrong-type"),
    (lambda row, _: row.update(models="alder"), "models", "wrong-type"),
    (lambda _, item: item.pop("response"), "completions[1].response", "missing-field"),
    (lambda _, item: item.pop("model"), "completions[1].model", "missing-field"),
    (lambda _, item: item.update(response=["a"]), "completions[1].response", "wrong-type"),
    (lambda _, item: item.pop("annotations"), "completions[1].annotations", "missing-field"),
    (lambda _, item: item.update(annotations=[1]), "completions[1].annotations", "wrong-type"),
    (lambda _, item: item.update(overall_score="good"), "completions[1].overall_score", "not-a-number"),
    (lambda _, item: item.update(overall_score=True), "completions[1].overall_score", "not-a-number"),
    (lambda _, item: item.update(overall_score=101), "completions[1].overall_score", "out-of-range"),
    (lambda _, item: item.update(overall_score=10**400), "completions[1].overall_score", "out-of-range"),
    (lambda _, item: item["annotations"].update(honesty="4"), "completions[1].annotations.honesty", "wrong-type"),
    (lambda _, item: item["annotations"].update({"": {"Rating": "4"}}), "completions[1].annotations.", "empty-name"),
    (
        lambda _, item: item["annotations"]["honesty"].pop("Rating"),
        "completions[1].annotations.honesty.Rating",
        "missing-field",
    ),
    (
        lambda _, item: item["annotations"]["honesty"].update(Rating="four"),
        "completions[1].annotations.honesty.Rating",
        "not-a-number",
    ),
    (
        lambda _, item: item["annotations"]["honesty"].update(Rating="5/10"),
        "completions[1].annotations.honesty.Rating",
        "not-a-number",
    ),
    (
        lambda _, item: item["annotations"]["honesty"].update(Rating="-1"),
        "completions[1].annotations.honesty.Rating",
        "out-of-range",
    ),
    (
        lambda _, item: item["annotations"]["honesty"].update(Rationale=["a", "b"]),
        "completions[1].annotations.honesty.Rationale",
        "wrong-type",
    ),
]


@pytest.mark.parametrize(("change", "field", "rule"), BAD)
def test_a_bad_row_names_the_field_and_the_rule(change: Any, field: str, rule: str) -> None:
    row = _broken(change)
    with pytest.raises(RowError) as caught:
        decode(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)
    assert "\n" not in str(caught.value)
    with pytest.raises((msgspec.MsgspecError, RowError)):
        decode_json(json.dumps(row).encode())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"prompt": (Message(role="system", content="Be brief."), Message(role="user", content="Hi"))},
            "one user turn",
        ),
        ({"extra": {"instruction": "another"}}, "'instruction'"),
        (
            {"completions": (Completion(text="a", ratings=(Rating(aspect="x", value=1.0),) * 2),)},
            "'x' is rated twice",
        ),
    ],
)
def test_what_the_layout_cannot_hold_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        to_ultrafeedback(msgspec.structs.replace(decode(raw_row()), **change))


def test_the_real_row_is_read_whole_and_written_back() -> None:
    path = SHARED / "ultrafeedback" / "raw_row0.json"
    if not path.exists():
        pytest.skip("the real row is not here")
    raw = json.loads(path.read_bytes())
    found = decode_json(path.read_bytes())
    assert found == decode(raw)
    assert to_ultrafeedback(found) == raw
    means = [item.mean_rating for item in found.completions]
    scores = [item.overall_score for item in found.completions]
    assert means == [1.25, 5.0, 4.0, 1.25]  # the first and the last tie by mean rating …
    assert scores == [4.0, 7.5, 6.0, 3.0]  # … and differ by overall score

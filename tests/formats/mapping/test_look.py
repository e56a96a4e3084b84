"""What a file is said to look like, why near formats do not fit, and the mapping that is offered."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from notus.core.errors import DataError
from notus.core.stage import Tally
from notus.formats.format import Row
from notus.formats.mapping.columns import columns_of
from notus.formats.mapping.decode import mapping_name
from notus.formats.mapping.look import look_at
from notus.formats.mapping.suggest import as_options, as_yaml, suggest
from notus.formats.mapping.targets import parse_mapping, read_options
from notus.formats.quarantine import Quarantine
from notus.formats.registry import FORMATS, fitting, nearest_formats, unlike
from notus.formats.source import open_source, write_jsonl

SAMPLED = [name for name, each in FORMATS.items() if each.sample is not None and each.matches is not None]


@pytest.mark.parametrize("name", SAMPLED)
def test_a_sample_is_detected_and_read_as_its_format(name: str) -> None:
    own = FORMATS[name]
    assert own.sample is not None
    row = json.loads(json.dumps(own.sample))
    assert fitting(row)[0] == name
    assert type(own.decode(row)) is own.record


def test_every_format_has_a_sample() -> None:
    assert [name for name, each in FORMATS.items() if each.sample is None] == []


@pytest.mark.parametrize(
    ("row", "name", "reasons"),
    [
        ({"instruction": "?", "rejected_response": "no"}, "argilla", ("chosen_response is missing",)),
        ({"prompt": "?", "chosen": "x"}, "trl", ("rejected is missing",)),
        ({"prompt": "?", "completion": "x", "score": 2}, "trl-unpaired", ("label is missing",)),
        (
            {"prompt": "?", "chosen": {"t": "x"}, "rejected": "y"},
            "trl",
            ("chosen is an object, and a text there",),
        ),
    ],
)
def test_it_is_said_why_a_near_format_does_not_fit(row: Row, name: str, reasons: tuple[str, ...]) -> None:
    near = unlike(row, FORMATS[name])
    assert near is not None
    assert near.reasons == reasons
    assert name in [each.format for each in nearest_formats(row, 4)]


def test_nothing_is_near_to_a_row_that_shares_no_name() -> None:
    assert nearest_formats({"colour": "red"}) == []


def test_a_row_that_fits_several_formats_is_told_as_such() -> None:
    row = {"prompt": "?", "chosen": "x", "rejected": "y", "completion": "x", "label": True}
    assert {"trl", "trl-unpaired"} <= set(fitting(row))


SHAPES: dict[str, tuple[Row, dict[str, Any]]] = {
    "synonyms": (
        {"instruction": "Why?", "output_good": "So.", "output_bad": "No."},
        {"prompt": "instruction", "chosen": "output_good", "rejected": "output_bad"},
    ),
    "votes": (
        {"prompt": "Why?", "response_a": "So.", "response_b": "No.", "winner": "A", "annotator": "ann"},
        {"prompt": "prompt", "answer_a": "response_a", "answer_b": "response_b", "rater": "annotator"},
    ),
    "nested": (
        {"question": "Why?", "answers": [{"text": "So.", "llm": "oak", "score": 4}]},
        {
            "prompt": "question",
            "answers.text": "answers.*.text",
            "answers.model": "answers.*.llm",
            "answers.score": "answers.*.score",
        },
    ),
    "ratings": (
        {"prompt": "Why?", "model": "oak", "response": "So.", "annotator": "ann", "rating": 4},
        {
            "prompt": "prompt",
            "answers.text": "response",
            "answers.model": "model",
            "answers.score": "rating",
            "rater": "annotator",
        },
    ),
    "thumbs": (
        {"query": "Why?", "reply": "So.", "thumbs": "up"},
        {"prompt": "query", "answer": "reply", "label": {"column": "thumbs", "values": {"up": True}}},
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_mapping_is_offered_that_reads_the_rows(name: str) -> None:
    row, expected = SHAPES[name]
    tried = suggest([row])
    assert tried is not None
    assert {target: tried.map.get(target) for target in expected} == expected
    assert (tried.read, tried.of) == (1, 1)


def test_two_answers_without_a_vote_are_never_offered_as_one() -> None:
    tried = suggest([{"prompt": "Why?", "response_a": "So.", "response_b": "No.", "ms": 3}])
    assert tried is not None
    assert tried.missing == ("winner",)
    assert "answer" not in tried.map


def test_what_is_missing_is_asked_for_with_the_columns_that_may_be_it(tmp_path: Path) -> None:
    drafts = [{"text": "So.", "points": 3}, {"text": "No.", "points": 1}]
    write_jsonl(tmp_path / "rows.jsonl", [{"ticket": {"subject": "Why", "body": "Why is it so?"}, "drafts": drafts}])
    tried = look_at([(tmp_path / "rows.jsonl", "")]).suggestion
    assert tried is not None
    assert (tried.missing, set(tried.open)) == (("prompt",), {"ticket.subject", "ticket.body"})
    with pytest.raises(DataError, match=r"ticket\.subject or ticket\.body.*answers\.text=drafts"):
        open_source(str(tmp_path / "rows.jsonl"))


def test_a_vote_for_one_side_alone_is_not_taken_for_the_vote() -> None:
    row = {"prompt": "Why?", "response_a": "So.", "response_b": "No."}
    rows = [row | {"winner_model_a": n % 2, "winner_model_b": 1 - n % 2} for n in range(4)]
    tried = suggest(rows)
    assert tried is not None
    assert tried.missing == ("winner",)


def test_what_is_printed_is_read_again_as_the_same_mapping(tmp_path: Path) -> None:
    rows = [{"q": "Why?", "answer_1": "So.", "answer_2": "No.", "my vote": vote, "who": "ann"} for vote in (1, 2, 2, 1)]
    tried = suggest([{**row, "preference": row["my vote"]} for row in rows])
    assert tried is not None
    options = shlex.split(as_options(tried.map))
    assert parse_mapping(read_options(options[1::2])).given == parse_mapping(tried.map).given
    file = tmp_path / "mapping.yaml"
    file.write_text(as_yaml(tried.map))
    assert parse_mapping(file).given == parse_mapping(tried.map).given


def test_the_columns_are_counted() -> None:
    columns = columns_of([{"a": 1, "b": [{"c": "x"}]}, {"a": None, "b": []}, {"a": 2.5}])
    assert columns["a"].type == "number"
    assert columns["a"].nulls == pytest.approx(1 / 3)
    assert (columns["b.*.c"].type, columns["b.*.c"].count) == ("text", 1)


def test_an_unknown_format_is_answered_with_columns_near_formats_and_a_mapping(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [{"instruction": "Why?", "rejected_response": "No.", "good_one": "So."}])
    with pytest.raises(DataError) as error:
        open_source(str(tmp_path / "rows.jsonl"))
    said = str(error.value)
    assert "\n" not in said
    assert "instruction, rejected_response, good_one" in said
    assert "argilla (chosen_response is missing)" in said
    given = shlex.split(said.partition("; try: notus read ")[2])[2::2]
    source = open_source(str(tmp_path / "rows.jsonl"), format=mapping_name(read_options(given)))
    assert len(list(source.records(Tally("read"), Quarantine()))) == 1


def test_a_look_counts_what_would_be_put_aside(tmp_path: Path) -> None:
    rows = [{"prompt": "?", "chosen": "x", "rejected": "y"}, {"prompt": "?", "chosen": "x", "rejected": [1]}]
    (tmp_path / "rows.jsonl").write_text("\n".join([*map(json.dumps, rows), "{broken"]))
    looked = look_at([(tmp_path / "rows.jsonl", "")])
    assert (looked.format, looked.rows, looked.broken) == ("trl", 3, 1)
    assert looked.faults == {"wrong-type": 1}


def test_scores_of_raters_in_columns_of_a_table_are_a_rating_each(tmp_path: Path) -> None:
    """As a workbook has them: numbers stand as texts, the system is the one that answered, the task has a number."""
    lines = ["Task no;Task text;System;Output;Score Anna;Score Ben"]
    lines += [f"{n};Write the offer number {n}.;alpha-7b;Here is offer {n}.;{n};{7 - n}" for n in range(1, 5)]
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n")
    found = look_at([(tmp_path / "ratings.csv", "")]).suggestion
    assert found is not None
    assert (found.record, found.read) == ("Feedback", 4)
    assert found.map == {
        "prompt": "Task text",
        "answers.text": "Output",
        "answers.model": "System",
        "answers.score": {"raters": "Score *"},
    }


def test_thumbs_of_several_answers_are_a_score(tmp_path: Path) -> None:
    def said(text: str, thumb: str) -> dict[str, Any]:
        return {"text": text, "model": "oak", "feedback": {"thumbs": thumb}}

    rows = [{"prompt": f"Why {n}?", "candidates": [said("So.", "up"), said("No.", "down")]} for n in range(3)]
    (tmp_path / "log.json").write_text(json.dumps(rows))
    found = look_at([(tmp_path / "log.json", "")]).suggestion
    assert found is not None
    assert found.read == 3
    assert found.map["answers.score"] == {"column": "candidates.*.feedback.thumbs", "values": {"up": 1, "down": 0}}


def test_votes_in_one_column_are_no_raters_and_in_two_they_are() -> None:
    pair = {"prompt": "Why?", "response_a": "So.", "response_b": "No."}
    one = suggest([pair | {"winner_anna": vote} for vote in ("A", "B")])
    two = suggest([pair | {"winner_anna": vote, "winner_ben": "B"} for vote in ("A", "B")])
    assert one is not None
    assert two is not None
    assert two.map["winner"] == {"raters": "winner_*"}
    assert not isinstance(one.map["winner"], dict) or "raters" not in one.map["winner"]


def thread(number: int, **change: Any) -> Row:
    drafts = [
        {
            "author": "bot-a",
            "body": f"Hold the button for ten seconds, {number}.",
            "reviews": {"scores": {"mara": 4, "liu": 5}},
        },
        {
            "author": "bot-b",
            "body": f"Turn it off and on again, please, {number}.",
            "reviews": {"scores": {"mara": 2, "liu": 1}},
        },
    ]
    return {
        "id": f"T-{number}",
        "customer": {"name": "C", "message": f"How do I reset it, {number}?"},
        "drafts": drafts,
    } | change


def test_scores_under_the_names_of_reviewers_are_offered_as_theirs() -> None:
    found = suggest([thread(n, prompt="n/a") for n in range(4)])
    assert found is not None
    # The column 'prompt' holds nothing but "n/a": what the customer wrote is the prompt.
    assert found.map == {
        "prompt": "customer.message",
        "answers.text": "drafts.*.body",
        "answers.model": "drafts.*.author",
        "answers.score": {"raters": "drafts.*.reviews.scores.*"},
    }
    assert found.read == 4


def test_scores_under_the_names_of_aspects_are_offered_as_theirs() -> None:
    rows = [thread(n) for n in range(4)]
    for row in rows:
        for draft in row["drafts"]:
            draft |= {"scores": {"tone": 3, "accuracy": 4}}
            del draft["reviews"]
    found = suggest(rows)
    assert found is not None
    assert found.map["answers.rating.*"] == "drafts.*.scores.*"
    assert "answers.score" not in found.map
    assert found.read == 4

"""Anybody's tables of votes and of ratings: names that are usual, values that name an answer, rows that stand apart."""

import random
from pathlib import Path
from typing import Any

import pytest

from notus.core.records import Completion, Feedback, Message, Ranking, Rating
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine, RowError
from notus.formats.registry import FORMATS, detect
from notus.formats.source import open_source, write_jsonl

Row = dict[str, Any]
ASKED = (Message(role="user", content="Name a river."),)


def read(name: str, row: Row) -> Feedback:
    found = FORMATS[name].decode(row)
    assert isinstance(found, Feedback)
    return found


def vote(**change: Any) -> Row:
    row: Row = {"prompt": "Name a river.", "response_a": "The Oder.", "response_b": "No.", "winner": "B"}
    return row | {"annotator": "ann"} | change


def rated(**change: Any) -> Row:
    return {"prompt": "Name a river.", "response": "The Oder.", "model": "alder", "rating": 4} | change


def test_a_row_of_votes() -> None:
    row = vote(model_a="alder", model_b="birch", reason="It refuses.", aspect="helpful", strength=2, batch=7)
    assert read("votes", row) == Feedback(
        prompt=ASKED,
        completions=(Completion(text="The Oder.", model="alder"), Completion(text="No.", model="birch")),
        rankings=(Ranking(ranks=(2, 1), rater="ann", question="helpful", rationale="It refuses.", strength=2),),
        extra={"batch": 7},
    )


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        ("response_a", "response_b", ["A", "a ", "left", "first", "model_a", "response_a", "answer_a"]),
        ("answer1", "answer2", ["1", 1, 1.0, "a", "answer1", "model_1"]),
        ("completion_0", "completion_1", ["0", 0, "A", "completion_0"]),
        ("output_left", "output_right", ["left", "LEFT", "output_left"]),
        ("Response A", "Response B", ["A", "Response A", "model_a"]),
    ],
)
def test_an_answer_is_named_by_its_mark_its_column_or_its_side(one: str, two: str, words: list[Any]) -> None:
    for word in words:
        row = {"question": "Name a river.", one: "The Oder.", two: "No.", "preference": word}
        assert detect(row) == "votes"
        assert read("votes", row).rankings[0].ranks == (1, 2)


@pytest.mark.parametrize("word", ["tie", "Draw", "equal", "both", "same", "neither", "tie (bothbad)"])
def test_ties_are_kept(word: str) -> None:
    found = read("votes", vote(winner=word))
    assert found.rankings[0].ranks == (1, 1)
    assert ("winner" in found.extra) == (word in ("neither", "tie (bothbad)"))


def test_no_other_column_is_the_vote_where_the_vote_is_empty() -> None:
    row: Row = {"question": "Name a river.", "answer_left": "The Oder.", "answer_right": "No."}
    assert read("votes", row | {"preferred": "left", "label": "right"}).rankings == (Ranking(ranks=(1, 2)),)
    # "right" is what the column 'label' says of something else: it is no vote for the second answer.
    with pytest.raises(RowError) as caught:
        read("votes", row | {"preferred": None, "label": "right"})
    assert (caught.value.field, caught.value.rule) == ("preferred", "missing-field")
    assert "'label' is not taken in its place" in str(caught.value)
    assert detect(row | {"preferred": None, "label": "right"}) != "votes"


def test_the_winner_may_be_a_models_name() -> None:
    models = {"model_a": "alder", "model_b": "birch"}
    assert read("votes", vote(winner="birch", **models)).rankings[0].ranks == (2, 1)
    crossed = vote(winner="a", model_a="b", model_b="a")  # the first answer, or that of the model 'a'?
    with pytest.raises(RowError) as caught:
        read("votes", crossed)
    assert caught.value.rule == "unknown-vote"


@pytest.mark.parametrize(
    "row",
    [
        vote(winner=1),  # the first, or the second counted from 0?
        vote(winner="0"),
        vote(winner="the better one"),
        vote(winner=None),
        vote(question="And another?"),
        vote(answer_a="a", answer_b="b"),
        rated(rating="good"),
        rated(rating=None),
        rated(answer="The Elbe."),
        rated(chosen="a", rejected="b"),
        {"prompt": "Name a river.", "completion": "The Oder.", "label": True, "score": 3.5},
    ],
)
def test_what_could_be_meant_in_two_ways_is_no_table_of_ours(row: Row) -> None:
    assert detect(row) not in ("votes", "ratings")


def test_votes_of_three_raters_stand_on_one_record_wherever_their_rows_are(tmp_path: Path) -> None:
    rows = [
        vote(prompt=f"Name a river of {land}.", annotator=who, winner=word)
        for land in ("Poland", "France", "Spain")
        for who, word in (("ann", "A"), ("bo", "B"), ("cy", "tie"))
    ]
    random.Random(0).shuffle(rows)
    write_jsonl(tmp_path / "rows.jsonl", rows)
    tally = Tally("read")
    found = list(open_source(str(tmp_path / "rows.jsonl")).records(tally, Quarantine()))
    assert len(found) == 3
    expected = {"ann": (1, 2), "bo": (2, 1), "cy": (1, 1)}
    for record in found:
        assert isinstance(record, Feedback)
        assert {item.rater: item.ranks for item in record.rankings} == expected
    assert tally.counts["row-joined"] == 6


def test_a_row_of_ratings() -> None:
    row = rated(annotator=3.0, rationale="Right.", aspect="helpful", batch=7, system="Be brief.")
    assert read("ratings", row) == Feedback(
        prompt=(Message(role="system", content="Be brief."), *ASKED),
        completions=(
            Completion(
                text="The Oder.",
                model="alder",
                ratings=(Rating(aspect="helpful", value=4, rater="3", rationale="Right."),),
                extra={"batch": 7},
            ),
        ),
    )


def test_several_scores_are_several_aspects_and_a_missing_one_costs_itself() -> None:
    row: Row = {"Question": "Name a river.", "Answer": "The Oder.", "Judge": "cedar", "Score": "7.5", "Rating": None}
    assert read("ratings", row).completions[0].ratings == (Rating(aspect="score", value=7.5, rater="cedar"),)
    found = read("ratings", row | {"Rating": "N/A"}).completions[0].ratings
    assert found == (
        Rating(aspect="rating", value=None, rater="cedar"),
        Rating(aspect="score", value=7.5, rater="cedar"),
    )


def test_alpacas_input_is_part_of_the_prompt() -> None:
    row: Row = {"instruction": "Name a river.", "input": "In Poland.", "output": "The Oder.", "score": 5}
    found = read("ratings", row)
    assert found.prompt[0].content == "Name a river.\n\nIn Poland."
    assert found.extra == {"input": "In Poland."}


def test_ratings_of_several_people_stand_on_one_answer(tmp_path: Path) -> None:
    rows = [
        rated(response=text, model=model, annotator=who, rating=value)
        for text, model, values in (("The Oder.", "alder", (4, 5)), ("No.", "birch", (1, 2)))
        for who, value in zip(("ann", "bo"), values, strict=True)
    ]
    write_jsonl(tmp_path / "rows.jsonl", [rows[0], rows[3], rows[1], rows[2]])
    (found,) = open_source(str(tmp_path / "rows.jsonl")).records(Tally("read"), Quarantine())
    assert isinstance(found, Feedback)
    marks = {item.model: {rating.rater: rating.value for rating in item.ratings} for item in found.completions}
    assert marks == {"alder": {"ann": 4, "bo": 5}, "birch": {"ann": 1, "bo": 2}}

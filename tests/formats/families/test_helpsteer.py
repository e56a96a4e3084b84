"""HelpSteer's rows: attributes of one answer, preferences of several people, their texts."""

from pathlib import Path
from typing import Any

import pytest

from notus.core.records import Completion, Critique, Feedback, Message, Ranking, Rating, Scale
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine, RowError
from notus.formats.registry import FORMATS
from notus.formats.source import open_source, write_jsonl
from tests.helpers.data_examples import helpsteer as steered

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
Row = dict[str, Any]
HELPSTEER = FORMATS["helpsteer"]
GRADES = Scale(low=0, high=4)
STRENGTHS = Scale(low=0, high=3)
ASKED = (Message(role="user", content="Name a river."),)


def helpsteer(row: dict[str, Any]) -> Feedback:
    found = HELPSTEER.decode(row)
    assert isinstance(found, Feedback)
    return found


def test_a_helpsteer_row_is_an_answer_with_its_attributes() -> None:
    found = helpsteer(steered(complexity=None, lang="en", model="alder"))
    assert found == Feedback(
        prompt=(Message(role="user", content="Name a river."),),
        completions=(
            Completion(
                text="The Oder.",
                model="alder",
                ratings=(
                    Rating(aspect="helpfulness", value=4.0, scale=GRADES),
                    Rating(aspect="correctness", value=4.0, scale=GRADES),
                    Rating(aspect="coherence", value=4.0, scale=GRADES),
                    Rating(aspect="verbosity", value=1.0, scale=GRADES),
                ),
                extra={"lang": "en"},
            ),
        ),
    )


def test_a_prompt_of_several_turns_is_taken_apart() -> None:
    found = helpsteer(steered(prompt="Hi.\n<extra_id_1>Assistant\nHello.\n\nWell?\n<extra_id_1>User\nName one."))
    turns = [(turn.role, turn.content) for turn in found.prompt]
    assert turns == [("user", "Hi."), ("assistant", "Hello.\n\nWell?"), ("user", "Name one.")]


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        (steered(response=None), "response", "missing-field"),
        (steered(prompt=["a"]), "prompt", "wrong-type"),
        (steered(coherence="good"), "coherence", "not-a-number"),
        (steered(verbosity=-1), "verbosity", "out-of-range"),
        (steered(verbosity=5), "verbosity", "out-of-range"),
    ],
)
def test_a_bad_helpsteer_row_names_the_field_and_the_rule(row: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        helpsteer(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


@pytest.mark.parametrize("missing", [None, "", "N/A", "null", float("nan")])
def test_a_score_that_is_missing_costs_that_score_and_not_the_row(missing: object) -> None:
    (answer,) = helpsteer(steered(coherence=missing)).completions
    assert [rating.aspect for rating in answer.ratings] == ["helpfulness", "correctness", "complexity", "verbosity"]
    assert helpsteer(steered(**dict.fromkeys(ATTRIBUTES, missing))).completions[0].ratings == ()


def test_where_annotators_disagree_each_has_a_rating() -> None:
    (answer,) = helpsteer(steered(helpfulness=[4, None, 2])).completions
    assert [rating.value for rating in answer.ratings if rating.aspect == "helpfulness"] == [4, 2]


def test_two_rows_with_the_same_answer_are_two_answers(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [steered(), steered(prompt="Name a lake."), steered(helpfulness=0)])
    first, second = open_source(str(tmp_path / "rows.jsonl")).records(Tally("read"), Quarantine())
    assert isinstance(first, Feedback)
    assert isinstance(second, Feedback)
    assert [[item.ratings[0].value for item in each.completions] for each in (first, second)] == [[4, 0], [4]]


@pytest.mark.parametrize(("strength", "ranks"), [(-3, (1, 2)), (0, (1, 1)), ("2", (2, 1))])
def test_the_sign_of_a_preference_is_the_vote(strength: object, ranks: tuple[int, int]) -> None:
    row: Row = {"prompt": "Name a river.", "response_1": "The Oder.", "response_2": "No.", "split": "train"}
    row |= {"preference_strength": strength, "preference_statement": "One names it."}
    assert FORMATS["helpsteer-preference"].decode(row) == Feedback(
        prompt=ASKED,
        completions=(Completion(text="The Oder."), Completion(text="No.")),
        rankings=(Ranking(ranks=ranks, strength=abs(int(str(strength))), scale=STRENGTHS, rationale="One names it."),),
        extra={"split": "train"},
    )


def third(**change: Any) -> dict[str, Any]:
    context = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Name a river."},
    ]
    said = [
        {"score": -2, "reasoning": "One names it.", "feedback1": "Right.", "feedback2": "Refuses."},
        {"score": 0, "reasoning": "Both are short.", "feedback1": "", "feedback2": None},
        {"score": None, "reasoning": "Cannot say."},
    ]
    row: Row = {"domain": "general", "language": "english", "context": context, "response1": "The Oder."}
    return row | {"response2": "No.", "overall_preference": -1, "individual_preference": said} | change


def test_each_individual_preference_of_helpsteer_3_is_a_vote() -> None:
    assert FORMATS["helpsteer3"].decode(third()) == Feedback(
        prompt=(Message(role="user", content="Hi."), Message(role="assistant", content="Hello."), *ASKED),
        completions=(
            Completion(text="The Oder.", extra={"feedback": ["Right.", "", ""]}),
            Completion(text="No.", extra={"feedback": ["Refuses.", "", ""]}),
        ),
        rankings=(
            Ranking(ranks=(1, 2), strength=2, scale=STRENGTHS, rationale="One names it."),
            Ranking(ranks=(1, 1), strength=0, scale=STRENGTHS, rationale="Both are short."),
        ),
        extra={
            "domain": "general",
            "language": "english",
            "overall_preference": -1,
            "individual_preference": [{}, {}, {"reasoning": "Cannot say."}],  # no vote, and not lost
        },
    )


def test_the_overall_preference_is_a_vote_where_there_is_no_other() -> None:
    found = FORMATS["helpsteer3"].decode(third(individual_preference=[], overall_preference=3))
    assert isinstance(found, Feedback)
    assert found.rankings == (Ranking(ranks=(2, 1), strength=3, scale=STRENGTHS),)
    assert "overall_preference" not in found.extra


def test_texts_on_one_answer_are_critiques_without_a_score() -> None:
    row: Row = {
        "domain": "code",
        "context": third()["context"],
        "response": "The Oder.",
        "feedback": ["Right.", "Short."],
    }
    found = FORMATS["helpsteer3-feedback"].decode(row)
    assert isinstance(found, Feedback)
    assert found.completions[0].critique == Critique(text="Right.", score=None)
    assert [each["text"] for each in found.completions[0].extra["critiques"]] == ["Short."]


def test_a_source_joins_the_rows_and_accounts_for_each(tmp_path: Path) -> None:
    rows = [steered(response="a"), steered(response="b"), steered(response=3), steered(prompt="Name a lake.")]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    source = open_source(str(tmp_path / "rows.jsonl"))
    tally = Tally("read")
    records = list(source.records(tally, Quarantine()))
    assert source.format == "helpsteer"
    assert [len(record.completions) for record in records if isinstance(record, Feedback)] == [2, 1]
    assert tally.summary() == {
        "stage": "read",
        "in": 4,
        "out": 2,
        "dropped": {"wrong-type": 1},
        "counts": {"row-joined": 1},
    }

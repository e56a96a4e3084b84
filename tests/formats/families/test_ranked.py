"""Ranked lists, answers with rewards, and Snorkel's rows with the pair of them."""

from pathlib import Path
from typing import Any

import pytest

from notus.core.records import Completion, Feedback, Message, Preference, Rating, Scale
from notus.core.stage import Tally
from notus.formats.families.ranked import RANKER_SCORE, ranker_score
from notus.formats.quarantine import Quarantine, RowError
from notus.formats.registry import FORMATS, detect
from notus.formats.source import open_source, write_jsonl
from tests.helpers.data_examples import snorkel as ranked
from tests.helpers.places import unplaced

Row = dict[str, Any]


def feedback(name: str, row: Row) -> Feedback:
    assert detect(row) == name
    found = FORMATS[name].decode(row)
    assert isinstance(found, Feedback)
    return found


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]


def nectar(**change: Any) -> Row:
    answers = [
        {"answer": "The Oder.", "model": "alder", "rank": 1.0},
        {"answer": "A lake.", "model": "birch", "rank": 3.0, "length": 7},
        {"answer": "The Spree.", "model": None, "rank": 2.0},
    ]
    row = {"prompt": "\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: A river?\n\nAssistant: ", "answers": answers}
    return row | {"turns": 2, "num_responses": 3, "source": ["lmsys-chat-1m"], "good_natured": True} | change


def test_nectar_is_a_dialogue_with_answers_in_order() -> None:
    found = feedback("nectar", nectar())
    assert [(turn.role, turn.content) for turn in found.prompt] == [
        ("user", "Hi."),
        ("assistant", "Hello."),
        ("user", "A river?"),
    ]
    assert [(item.text, item.model) for item in found.completions] == [
        ("The Oder.", "alder"),
        ("A lake.", "birch"),
        ("The Spree.", ""),
    ]
    assert [ranking.ranks for ranking in found.rankings] == [(1, 3, 2)]
    assert found.completions[1].extra == {"length": 7}
    assert (found.source, found.extra) == ("lmsys-chat-1m", {"turns": 2, "num_responses": 3, "good_natured": True})
    several = feedback("nectar", nectar(source=["flan", "ultrafeedback"]))
    assert (several.source, several.extra["source"]) == ("", ["flan", "ultrafeedback"])


def test_nemo_rl_counts_from_0_and_holds_answers_of_several_turns() -> None:
    call = [{"role": "assistant", "content": "Wait."}, {"role": "user", "content": "?"}, *turns("", "The Oder.")[1:]]
    row: Row = {"context": turns("A river?"), "task_name": "rivers"}
    row |= {"completions": [{"rank": 1, "completion": turns("", "No.")[1:]}, {"rank": 0, "completion": call}]}
    found = feedback("nemo-rl", row)
    assert [ranking.ranks for ranking in found.rankings] == [(2, 1)]
    assert [item.text for item in found.completions] == ["No.", "The Oder."]
    assert found.completions[0].turns == ()
    assert [turn.content for turn in found.completions[1].turns] == ["Wait.", "?", "The Oder."]
    assert found.extra == {"task_name": "rivers"}


def test_any_list_of_answers_with_ranks_is_read_ties_and_gaps_too() -> None:
    answers = [
        {"text": "The Oder.", "rank": 1},
        {"text": "The Spree.", "rank": "1", "score": "7.5"},
        {"text": "No.", "rank": 3, "score": "N/A"},
        {"text": "A lake.", "rank": None},
        {"text": "Hm."},
    ]
    found = feedback("ranked", {"question": "A river?", "responses": answers, "id": 7})
    assert found.prompt == (Message(role="user", content="A river?"),)
    assert [ranking.ranks for ranking in found.rankings] == [(1, 1, 3, None, None)]
    assert [item.ratings for item in found.completions[:3]] == [
        (),
        (Rating(aspect="score", value=7.5),),
        (Rating(aspect="score", value=None),),
    ]
    assert found.extra == {"id": 7}
    unranked = [{"text": "a", "rank": None}, {"text": "b", "rank": None}]
    assert feedback("ranked", {"question": "?", "responses": unranked}).rankings == ()


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        (nectar(answers=[{"answer": "a", "rank": 1.5}]), "answers[0].rank", "not-a-rank"),
        (nectar(answers=[{"answer": "a", "rank": -1}]), "answers[0].rank", "not-a-rank"),
        (nectar(answers=[{"answer": "a", "rank": "best"}]), "answers[0].rank", "not-a-number"),
        (nectar(answers=[{"answer": "a", "rank": 1}, {"rank": 2}]), "answers[1].answer", "missing-field"),
        (nectar(answers=[{"answer": "a", "rank": 1}, "b"]), "answers[1]", "wrong-type"),
        (nectar(answers=[]), "answers", "empty-list"),
        (nectar(prompt=None), "prompt", "missing-field"),
    ],
)
def test_a_bad_ranked_list_names_the_field_and_the_rule(row: Row, field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        FORMATS["nectar"].decode(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


@pytest.mark.parametrize(
    ("answers", "rewards", "rater"), [("responses", "rewards_armorm", "armorm"), ("gen_responses", "rewards", "")]
)
def test_magpie_has_a_reward_for_each_answer_and_its_pair_is_not_counted_again(
    answers: str, rewards: str, rater: str
) -> None:
    texts = ["A river.", "The Oder.", "No.", "The Spree.", "A lake."]
    scores = [{"score": 0.11}, {"score": 0.17, "head": 3}, {"score": None}, {"score": 0.16}, {"score": 0.05}]
    row: Row = {"uuid": "7", "instruction": "A river?", answers: texts, rewards: scores}
    row |= {"chosen": turns("A river?", "The Oder."), "rejected": turns("A river?", "Another.")}
    found = feedback("magpie", row)
    assert [item.text for item in found.completions] == texts
    (ratings,) = {tuple(rating.aspect for rating in item.ratings) for item in found.completions}
    assert ratings == ("reward",)
    assert [item.ratings[0].value for item in found.completions] == [0.11, 0.17, None, 0.16, 0.05]
    assert {item.ratings[0].rater for item in found.completions} == {rater}
    assert found.completions[1].extra == {rewards: {"head": 3}}
    assert found.extra == {"uuid": "7", "chosen_index": 1, "rejected": row["rejected"]}
    plain = FORMATS["magpie"].decode(row | {rewards: [1, 2, 3, 4, 5]})
    assert isinstance(plain, Feedback)
    assert [item.mean_rating for item in plain.completions] == [1, 2, 3, 4, 5]
    with pytest.raises(RowError, match="length-mismatch"):
        FORMATS["magpie"].decode(row | {rewards: [1, 2]})


def capybara(**change: Any) -> Row:
    before = ("Hi.", "Hello.", "A river?")
    row: Row = {
        "source": "Airoboros",
        "original_response": "A river.",
        "new_generations": ["The Oder.", "No.", "A lake."],
    }
    row |= {"chosen": turns(*before, "The Oder."), "rejected": turns(*before, "No."), "prompt": "A river?"}
    return row | {"rating_chosen": 5, "rating_rejected": 1, "chosen_model": "alder", "rejected_model": "birch"} | change


def test_capybara_keeps_all_answers_and_ranks_the_two_that_were_rated() -> None:
    found = feedback("capybara", capybara())
    assert [turn.content for turn in found.prompt] == ["Hi.", "Hello.", "A river?"]
    assert [(item.text, item.model) for item in found.completions] == [
        ("A river.", ""),
        ("The Oder.", "alder"),
        ("No.", "birch"),
        ("A lake.", ""),
    ]
    assert [item.mean_rating for item in found.completions] == [None, 5, 1, None]
    assert found.completions[1].ratings == (Rating(aspect="rating", value=5, scale=Scale(low=1, high=5)),)
    assert [ranking.ranks for ranking in found.rankings] == [(None, 1, 2, None)]
    assert (found.source, found.extra) == ("Airoboros", {})


def test_a_pair_of_capybara_that_is_not_among_the_answers_is_added_to_them() -> None:
    before = ("Hi.", "Hello.", "A river?")
    found = feedback("capybara", capybara(rejected=turns(*before, "Never."), rating_rejected=None, prompt="Another"))
    assert [item.text for item in found.completions] == ["A river.", "The Oder.", "No.", "A lake.", "Never."]
    assert [ranking.ranks for ranking in found.rankings] == [(None, 1, None, None, 2)]
    assert found.completions[4].ratings[0].value is None
    assert found.extra == {"prompt": "Another"}
    same = feedback("capybara", capybara(rejected=turns(*before, "The Oder.")))
    assert [item.text for item in same.completions][-1] == "The Oder."
    assert [ranking.ranks for ranking in same.rankings] == [(None, 1, None, None, 2)]


def snorkel(row: dict[str, Any]) -> Feedback:
    found = FORMATS["snorkel"].decode(row)
    assert isinstance(found, Feedback)
    return found


def pair(row: dict[str, Any]) -> Preference:
    found = FORMATS["snorkel-pairs"].decode(row)
    assert isinstance(found, Preference)
    return found


def test_a_snorkel_row_is_feedback_with_a_rankers_scores() -> None:
    found = snorkel(ranked())
    assert [item.text for item in found.completions] == ["The Oder.", "A river.", "No."]
    assert [ranker_score(item) for item in found.completions] == [1.5, -0.25, -7.5]
    assert [item.mean_rating for item in found.completions] == [None, None, None]
    assert found.extra == {"prompt_id": "flan_7", "chosen_index": 0, "rejected_index": 2}
    other = [{"role": "assistant", "content": "Another."}]
    assert snorkel(ranked(chosen=other)).extra == {"prompt_id": "flan_7", "chosen": other, "rejected_index": 2}


def test_a_score_of_a_ranker_that_is_missing_costs_that_score() -> None:
    for nothing in (None, float("nan"), "N/A"):
        found = snorkel(ranked(all_rm_scores=[1.0, nothing, 2.0]))
        assert [ranker_score(item) for item in found.completions] == [1.0, None, 2.0]


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        (ranked(all_rm_scores=[1.0]), "all_rm_scores", "length-mismatch"),
        (ranked(all_rm_scores=[1.0, "good", 2.0]), "all_rm_scores[1]", "not-a-number"),
        (ranked(all_rm_scores=[1.0, True, 2.0]), "all_rm_scores[1]", "not-a-number"),
        (ranked(all_generated_responses=["a", 3, "b"]), "all_generated_responses[1]", "wrong-type"),
        (ranked(all_generated_responses=[]), "all_generated_responses", "empty-list"),
        (ranked(prompt=None), "prompt", "missing-field"),
    ],
)
def test_a_bad_snorkel_row_names_the_field_and_the_rule(row: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        snorkel(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


def test_a_ranker_score_survives_our_own_records(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [snorkel(ranked())])
    source = open_source(str(tmp_path / "rows.jsonl"))
    (record,) = unplaced(source.records(Tally("read"), Quarantine()))
    assert source.format == "notus-feedback"
    assert record == FORMATS["snorkel"].decode(ranked())


@pytest.mark.parametrize(("value", "found"), [(3, 3.0), (-1.5, -1.5), (True, None), ("3", None), (None, None)])
def test_only_a_number_is_a_ranker_score(value: object, found: float | None) -> None:
    assert ranker_score(Completion(text="a", extra={RANKER_SCORE: value})) == found
    assert ranker_score(Completion(text="a")) is None


def test_the_pair_of_a_snorkel_row_carries_the_rankers_scores() -> None:
    found = pair(ranked())
    assert [turns[-1].content for turns in (found.prompt, found.chosen, found.rejected)] == [
        "Name a river.",
        "The Oder.",
        "No.",
    ]
    assert (found.score_chosen, found.score_rejected) == (1.5, -7.5)
    other = ranked(
        rejected=[{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "Another."}]
    )
    assert pair(other).score_rejected is None
    with pytest.raises(RowError, match="length-mismatch"):
        pair(ranked(all_rm_scores=[1.0]))

"""Votes of Chatbot Arena and of published comparisons: hand-made rows in their published schemas, read one by one."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.records import Completion, Feedback, Message, Ranking, Rating, Scale
from notus.core.stage import Tally
from notus.formats.families.votes import part_conversations
from notus.formats.quarantine import Quarantine, RowError
from notus.formats.registry import FORMATS
from notus.formats.source import open_source, write_jsonl

Row = dict[str, Any]


def user(text: str) -> Row:
    return {"role": "user", "content": text}


def said(text: str) -> Row:
    return {"role": "assistant", "content": text}


def turns(*rows: Row) -> tuple[Message, ...]:
    return tuple(Message(**row) for row in rows)


ASKED = turns(user("Name a river."))
ONE = Scale(low=0, high=1)
CLEAR = Scale(low=0, high=2)
GRADES = Scale(low=1, high=5)


def read(name: str, row: Row) -> Feedback:
    found = FORMATS[name].decode(row)
    assert isinstance(found, Feedback)
    return found


def arena(**change: Any) -> Row:
    row: Row = {"question_id": "q1", "model_a": "alder", "model_b": "birch", "winner": "model_a", "judge": "user_7"}
    row |= {"conversation_a": [user("Name a river."), said("The Oder.")], "turn": 1, "language": "English"}
    return row | {"conversation_b": [user("Name a river."), said("No.")]} | change


def test_an_arena_vote_keeps_models_judge_and_language() -> None:
    assert read("arena", arena()) == Feedback(
        prompt=ASKED,
        completions=(Completion(text="The Oder.", model="alder"), Completion(text="No.", model="birch")),
        rankings=(Ranking(ranks=(1, 2), rater="user_7"),),
        extra={"question_id": "q1", "turn": 1, "language": "English"},
    )


def test_conversations_that_part_after_the_first_turn_are_answers_of_several_turns() -> None:
    one = [user("Hi."), said("Hello."), user("A river?"), said("The Oder.")]
    two = [user("Hi."), said("Yes?"), user("A river?"), said("No.")]
    found = read("arena", arena(conversation_a=one, conversation_b=two, turn=2, winner="model_b"))
    assert found.prompt == turns(user("Hi."))
    assert [item.text for item in found.completions] == ["The Oder.", "No."]
    assert [item.turns for item in found.completions] == [turns(*one[1:]), turns(*two[1:])]
    assert found.rankings[0].ranks == (2, 1)


def test_turns_after_the_one_that_was_judged_are_no_part_of_the_answer() -> None:
    longer = [user("Name a river."), said("The Oder."), user("Another?"), said("The Elbe.")]
    row = arena(conversation_a=longer, turn=1, judge=["gpt-4", "pair-v2"])
    found = read("arena", row)
    assert [item.answer for item in found.completions] == [turns(said("The Oder.")), turns(said("No."))]
    assert found.extra["conversation_a_as_read"] == longer
    assert found.rankings[0].rater == "gpt-4, pair-v2"


@pytest.mark.parametrize("winner", ["tie", "tie (bothbad)", "both_bad"])
def test_an_arena_tie_is_kept_and_one_of_two_bad_answers_is_told_apart(winner: str) -> None:
    found = read("arena", arena(winner=winner))
    assert found.rankings[0].ranks == (1, 1)
    assert found.extra.get("winner") == (None if winner == "tie" else winner)


_texts = st.lists(st.sampled_from("ab"), min_size=1, max_size=4)


@given(_texts, _texts, st.booleans())
def test_prompt_and_answer_are_the_conversation_again_and_what_both_share_is_the_prompt(
    one: list[str], two: list[str], same_questions: bool
) -> None:
    first, second = (
        tuple(turn for number, text in enumerate(side) for turn in turns(user(f"{number}{text * odd}"), said(text)))
        for side, odd in ((one, not same_questions), (two, not same_questions))
    )
    if first[0] != second[0]:
        with pytest.raises(RowError, match="prompt-mismatch"):
            part_conversations(first, second, "b")
        return
    prompt, *answers = part_conversations(first, second, "b")
    assert (*prompt, *answers[0]) == first
    assert (*prompt, *answers[1]) == second
    assert all(answer[0].role == "assistant" for answer in answers)
    longer = len(prompt) + 2  # one exchange more in the prompt: not shared, or nothing left to answer
    assert first[:longer] != second[:longer] or min(len(first), len(second)) <= longer


def kaggle(**change: Any) -> Row:
    row: Row = {"id": 7, "model_a": "alder", "model_b": "birch", "prompt": '["Name a river."]'}
    row |= {"response_a": '["The Oder."]', "response_b": '["No."]'}
    return row | {"winner_model_a": 0, "winner_model_b": 0, "winner_tie": 1} | change


def test_kaggles_lists_in_texts_are_turns() -> None:
    assert read("arena-kaggle", kaggle()) == Feedback(
        prompt=ASKED,
        completions=(Completion(text="The Oder.", model="alder"), Completion(text="No.", model="birch")),
        rankings=(Ranking(ranks=(1, 1)),),
        extra={"id": 7},
    )
    row = kaggle(prompt='["Hi.", "A river?"]', response_a='["Hello.", "The Oder."]', response_b='["Hello.", null]')
    found = read("arena-kaggle", row | {"winner_model_a": "1", "winner_tie": "0", "winner_model_b": "0"})
    assert found.prompt == turns(user("Hi."), said("Hello."), user("A river?"))
    assert [item.text for item in found.completions] == ["The Oder.", ""]
    assert found.extra["response_b_as_read"] == '["Hello.", null]'
    assert found.rankings[0].ranks == (1, 2)


def test_a_plain_text_that_is_a_list_is_not_taken_for_kaggles() -> None:
    row = kaggle(prompt="Give me a list.", response_a='["a"]', response_b="[a note] No.")
    assert [item.text for item in read("arena-kaggle", row).completions] == ['["a"]', "[a note] No."]


def pku(**change: Any) -> Row:
    row: Row = {"prompt": "Name a river.", "response_0": "The Oder.", "response_1": "No.", "prompt_source": "x"}
    row |= {"response_0_source": "Alpaca-7B", "is_response_0_safe": True, "response_1_severity_level": 2}
    return row | {"better_response_id": 0, "safer_response_id": 1} | change


def test_better_and_safer_are_two_questions() -> None:
    assert read("pku-saferlhf", pku()) == Feedback(
        prompt=ASKED,
        completions=(
            Completion(text="The Oder.", model="Alpaca-7B", extra={"is_safe": True}),
            Completion(text="No.", extra={"severity_level": 2}),
        ),
        source="x",
        rankings=(Ranking(ranks=(1, 2), question="better"), Ranking(ranks=(2, 1), question="safer")),
    )
    assert [vote.question for vote in read("pku-saferlhf", pku(better_response_id=None)).rankings] == ["safer"]


def test_shp_prefers_a_where_its_label_is_1() -> None:
    row: Row = {"post_id": "p", "domain": "askscience", "history": "Name a river.", "human_ref_A": "The Oder."}
    row |= {"human_ref_B": "No.", "labels": 1, "score_A": 30, "score_B": 10, "score_ratio": 3.0}
    assert read("shp", row) == Feedback(
        prompt=ASKED,
        completions=(Completion(text="The Oder.", extra={"score": 30}), Completion(text="No.", extra={"score": 10})),
        source="askscience",
        rankings=(Ranking(ranks=(1, 2), strength=3.0),),
        extra={"post_id": "p"},
    )
    assert read("shp", row | {"labels": 0}).rankings[0].ranks == (2, 1)


def webgpt(one: Any, two: Any) -> Row:
    row: Row = {"question": {"dataset": "eli5", "id": "q", "full_text": "Name a river."}, "quotes_0": {"title": ["t"]}}
    return row | {"answer_0": "The Oder. [1]", "answer_1": "No.", "score_0": one, "score_1": two}


@pytest.mark.parametrize(
    ("one", "two", "ranks", "strength", "kept"),
    [
        (0.33, -0.33, (1, 2), 0.33, False),
        (-1, 1, (2, 1), 1.0, False),
        (0.0, -0.0, (1, 1), 0.0, False),
        (0.5, 0.25, (1, 2), None, True),
        (None, 1, (2, 1), None, True),
    ],
)
def test_two_scores_of_webgpt_are_one_vote(
    one: Any, two: Any, ranks: tuple[int, int], strength: float | None, kept: bool
) -> None:
    found = read("webgpt", webgpt(one, two))
    assert found.completions == (
        Completion(text="The Oder. [1]", extra={"quotes": {"title": ["t"]}}),
        Completion(text="No."),
    )
    assert found.source == "eli5"
    scale = None if strength is None else ONE
    assert found.rankings == (Ranking(ranks=ranks, strength=strength, scale=scale),)
    assert found.extra == {"question": {"id": "q"}} | ({"score_0": one, "score_1": two} if kept else {})


def test_scores_that_are_missing_cost_the_vote_and_not_the_row() -> None:
    assert read("webgpt", webgpt(None, "N/A")).rankings == ()


def test_the_prompt_of_a_summary_is_its_post() -> None:
    info: Row = {"id": "t1", "post": "Name a river.", "title": "A walk", "article": None}
    row: Row = {"info": info, "choice": 1, "worker": "w1", "batch": "b0", "extra": {"confidence": 8}}
    row |= {"summaries": [{"text": "The Oder.", "policy": "sup1", "note": None}, {"text": "No.", "policy": "ref"}]}
    assert read("summarize-feedback", row) == Feedback(
        prompt=ASKED,
        completions=(Completion(text="The Oder.", model="sup1"), Completion(text="No.", model="ref")),
        rankings=(Ranking(ranks=(2, 1), rater="w1"),),
        extra={
            "batch": "b0",
            "extra": {"confidence": 8},
            "info": {"id": "t1", "title": "A walk", "article": None},
        },
    )
    of_news = row | {"info": {"id": "t2", "post": None, "article": "Rivers rise."}}
    assert read("summarize-feedback", of_news).prompt == turns(user("Rivers rise."))


def test_prometheus_has_a_vote_with_its_reason_and_two_grades() -> None:
    row: Row = {"orig_instruction": "Name a river.", "instruction": "###Task Description: …", "orig_criteria": "Right?"}
    row |= {"orig_response_A": "The Oder.", "orig_response_B": "No.", "orig_preference": "A", "orig_feedback": "A is."}
    row |= {"orig_score_A": "5", "orig_score_B": None, "orig_feedback_A": "It names one."}
    assert read("prometheus-preference", row) == Feedback(
        prompt=ASKED,
        completions=(
            Completion(
                text="The Oder.",
                ratings=(Rating(aspect="rubric", value=5, rationale="It names one.", scale=GRADES),),
            ),
            Completion(text="No."),
        ),
        rankings=(Ranking(ranks=(1, 2), rationale="A is."),),
        extra={"instruction": "###Task Description: …", "orig_criteria": "Right?"},
    )
    del row["orig_instruction"]
    assert read("prometheus-preference", row | {"instruction": "Name a river."}).prompt == ASKED


def test_multipref_has_a_vote_for_each_annotator_and_aspect() -> None:
    worker: Row = {"evaluator": "normal_1", "overall_pref": "A-is-clearly-better", "helpful_pref": "Tie"}
    worker |= {"helpful_own_reason": "Both are short.", "time_spent": 12}
    expert: Row = {"evaluator": "expert_2", "overall_pref": "B-is-slightly-better", "truthful_pref": None}
    row: Row = {"comparison_id": "c", "text": "Name a river.", "model_a": "alder", "completion_a": "The Oder."}
    row |= {"model_b": "birch", "completion_b": "No.", "source": "flan", "category": "Open QA"}
    row |= {"normal_worker_annotations": [worker], "expert_worker_annotations": [expert]}
    assert read("multipref", row) == Feedback(
        prompt=ASKED,
        completions=(Completion(text="The Oder.", model="alder"), Completion(text="No.", model="birch")),
        source="flan",
        rankings=(
            Ranking(ranks=(1, 2), rater="normal_1", question="overall", strength=2, scale=CLEAR),
            Ranking(
                ranks=(1, 1),
                rater="normal_1",
                question="helpful",
                strength=0,
                scale=CLEAR,
                rationale="Both are short.",
            ),
            Ranking(ranks=(2, 1), rater="expert_2", question="overall", strength=1, scale=CLEAR),
        ),
        extra={
            "comparison_id": "c",
            "category": "Open QA",
            "normal_worker_annotations": [{"evaluator": "normal_1", "time_spent": 12}],
            "expert_worker_annotations": [{"evaluator": "expert_2"}],
        },
    )


def test_tulus_annotators_say_what_is_acceptable_too() -> None:
    row: Row = {"instance_id": "t", "prompt": "Name a river.", "model_a": "alder", "model_b": "birch"}
    row |= {"completion_a": "The Oder.", "completion_b": "No.", "preference": "a-is-slightly-better"}
    row |= {"completion_a_is_acceptable": "yes", "completion_b_is_acceptable": "no", "evaluator": "ann"}
    assert read("tulu-human", row) == Feedback(
        prompt=ASKED,
        completions=(
            Completion(
                text="The Oder.",
                model="alder",
                ratings=(Rating(aspect="acceptable", value=1, rater="ann", scale=ONE),),
            ),
            Completion(
                text="No.", model="birch", ratings=(Rating(aspect="acceptable", value=0, rater="ann", scale=ONE),)
            ),
        ),
        rankings=(Ranking(ranks=(1, 2), rater="ann", strength=1, scale=CLEAR),),
        extra={"instance_id": "t"},
    )


@pytest.mark.parametrize(
    ("name", "row", "field", "rule"),
    [
        ("arena", arena(winner="model_c"), "winner", "unknown-vote"),
        ("arena", arena(winner=None), "winner", "missing-field"),
        ("arena", arena(conversation_b=[user("Name a lake."), said("No.")]), "conversation_b", "prompt-mismatch"),
        ("arena", arena(conversation_a=[user("Name a river.")]), "conversation_b", "no-answer"),
        ("arena-kaggle", kaggle(winner_tie=0), "winner_model_a", "unknown-vote"),
        ("arena-kaggle", kaggle(winner_model_a=1), "winner_model_a", "unknown-vote"),
        ("arena-kaggle", kaggle(response_b='["No.", "b"]'), "response_b", "length-mismatch"),
        ("arena-kaggle", kaggle(response_b='["No'), "response_b", "broken-json"),
        ("pku-saferlhf", pku(better_response_id=2), "better_response_id", "unknown-vote"),
        ("pku-saferlhf", pku(better_response_id=True), "better_response_id", "unknown-vote"),
        ("pku-saferlhf", pku(better_response_id=None, safer_response_id=None), "better_response_id", "missing-field"),
        ("webgpt", webgpt(1.5, -1.5), "score_0", "out-of-range"),
        ("webgpt", webgpt("good", 0), "score_0", "not-a-number"),
    ],
)
def test_a_bad_vote_names_the_field_and_the_rule(name: str, row: Row, field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        read(name, row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


def test_votes_on_the_same_two_answers_are_one_record_whichever_stands_first(tmp_path: Path) -> None:
    swapped = arena(judge="user_8", winner="model_a", model_a="birch", model_b="alder")
    swapped |= {"conversation_a": arena()["conversation_b"], "conversation_b": arena()["conversation_a"]}
    other = arena(judge="user_9", model_b="cedar")
    write_jsonl(tmp_path / "rows.jsonl", [arena(), other, swapped])
    tally = Tally("read")
    first, second = open_source(str(tmp_path / "rows.jsonl")).records(tally, Quarantine())
    assert isinstance(first, Feedback)
    assert isinstance(second, Feedback)
    assert [item.model for item in first.completions] == ["alder", "birch"]
    assert first.rankings == (Ranking(ranks=(1, 2), rater="user_7"), Ranking(ranks=(2, 1), rater="user_8"))
    assert [item.model for item in second.completions] == ["alder", "cedar"]
    assert tally.counts["row-joined"] == 1

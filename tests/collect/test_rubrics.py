"""A judge's rubric in the settings of a collection, and when it is asked again."""

import pytest

from notus.collect.again import decide_again, place_of, queued_questions
from notus.collect.settings import JudgeSettings
from notus.core.errors import ConfigError
from notus.core.records import ASPECTS, Completion, Critique, Feedback, Message, Rating
from notus.core.stage import Tally
from notus.llm.judge import ask
from notus.llm.protocol import Decoding
from notus.preferences.repair import Doubt
from tests.helpers.judge_examples import Scripted


@pytest.fixture
def rubric(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("criteria: [{name: facts, text: Is it true}]\nchecklist: [{name: short, text: Is it short}]\n")
    return str(path)


def judge(**settings):
    return JudgeSettings.parse({"endpoint": "judge", **settings}, where="test")


def test_with_a_rubric_no_aspect_is_rated_unless_it_is_named(rubric):
    assert judge().aspects == ASPECTS
    assert judge(rubric=rubric).aspects == ()
    assert judge(rubric=rubric, aspects=["honesty"]).aspects == ("honesty",)


def test_a_rubric_counts_by_content_and_going_on_does_not(rubric, tmp_path):
    moved = tmp_path / "moved.yaml"
    moved.write_text((tmp_path / "mine.yaml").read_text())
    assert judge(rubric=rubric).resolved() == judge(rubric=str(moved), unread="go-on").resolved()
    moved.write_text(moved.read_text().replace("short}", "brief}"))
    assert judge(rubric=rubric).resolved() != judge(rubric=str(moved)).resolved()
    assert "rubric" not in judge().resolved()  # those of before count as they did


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"critique": False}, "'critique' is false"),
        ({"prompts": {"critique": "judge_critique"}}, "in the place of 'critique'"),
        ({"parsers": {"grade": "score"}}, "in the place of 'grade'"),
        ({"unread": "ask"}, "unread"),
    ],
)
def test_what_a_rubric_leaves_without_use_is_refused(settings, words, rubric):
    with pytest.raises(ConfigError, match=words):
        judge(rubric=rubric, **settings)


def test_an_aspect_and_a_point_of_one_name_are_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("criteria: [{name: honesty, text: Is it honest}]")
    with pytest.raises(ConfigError, match="'honesty' is a point of the rubric and an aspect too"):
        judge(rubric=str(tmp_path / "mine.yaml"), aspects=["honesty"])


def test_asked_again_its_grades_take_the_place_of_those_before(rubric):
    before = (Rating(aspect="facts", value=1), Rating(aspect="short", value=0), Rating(aspect="honesty", value=3))
    answer = Completion(text="So.", ratings=before, critique=Critique(text="Bad.", score=10))
    row = Feedback(prompt=(Message(role="user", content="Why?"),), completions=(answer,), file="f", line=1)
    at = {"id": row.completion_id(0), "feedback_id": row.id, "prompt_id": row.prompt_id, "index": 0}
    doubt = Doubt(**at, source="", model="", overall_score=10.0, mean_rating=None, file="f", line=1)
    questions = queued_questions([row], [doubt], judge(rubric=rubric).judges())
    generator = Scripted(lambda _: "Good.\nfacts: 5\nshort: yes")
    judged = {
        each.question.about: each
        for each in ask(generator, generator.models["judge"], (q for _, q in questions), Decoding())
    }
    decisions, left = [], set()
    (after,) = decide_again([row], Tally("again"), judged, "mine", decisions, left)
    (item,) = after.completions
    assert {rating.aspect: (rating.value, rating.rater) for rating in item.ratings} == {
        "honesty": (3, ""),
        "facts": (5, "mine"),
        "short": (1, "mine"),
    }
    assert (item.critique.text, item.critique.score) == ("Good.", 10)
    assert [decision.rule for decision in decisions] == ["judge-asked-again:confirmed"]
    assert left == set()
    assert place_of(row, 0) in judged

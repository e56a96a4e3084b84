from typing import get_args

import pytest

from notus.core.records import Completion, Critique, Decision, Feedback, Rating, Scale
from notus.core.stage import Tally, apply
from notus.preferences.repair import RepairVerdict, repair, verdict
from tests.helpers.data_examples import completion, feedback


@pytest.mark.parametrize(
    ("mean", "score", "what"),
    [
        (1.0, 10.0, "set-to-1"),
        (2.0, 10.0, "set-to-1"),
        (2.25, 10.0, "ask-again"),
        (4.0, 10.0, "ask-again"),
        (4.25, 10.0, "keep"),
        (5.0, 10.0, "keep"),
        (None, 10.0, "ask-again"),
        (1.0, 9.5, ""),
        (1.0, 1.0, ""),
        (1.0, None, ""),
    ],
)
def test_the_published_rule(mean: float | None, score: float | None, what: str) -> None:
    assert verdict(completion(mean=mean, score=score)) == what
    assert what in get_args(RepairVerdict)


def test_ratings_that_are_not_applicable_do_not_count() -> None:
    ratings = (Rating(aspect="honesty", value=None), Rating(aspect="helpfulness", value=2.0))
    assert verdict(Completion(text="a", ratings=ratings, critique=Critique(text="", score=10.0))) == "set-to-1"


def test_a_ten_on_another_scale_is_none_of_the_rules_business() -> None:
    five, ten, hundred = (Scale(low=1, high=high) for high in (5, 10, 100))

    def judged(of_rating: Scale | None, of_score: Scale | None) -> Completion:
        rating = Rating(aspect="x", value=1.0, scale=of_rating)
        return Completion(
            text="a", ratings=(rating,), critique=Critique(text="", score=10.0, scale=of_score, rater="j")
        )

    assert [verdict(judged(*scales)) for scales in ((None, None), (five, ten), (five, hundred), (ten, ten))] == [
        "set-to-1",
        "set-to-1",
        "",
        "",
    ]
    after, tally, decisions = run(feedback(judged(five, hundred), judged(five, ten)))
    assert (tally.counts, len(decisions)) == ({"other-scale": 1, "set-to-1": 1}, 1)
    assert after.completions[1].critique == Critique(text="", score=1.0, scale=ten, rater="j")


def run(record: Feedback) -> tuple[Feedback, Tally, list[Decision]]:
    tally, decisions = Tally("repair"), []
    (found,) = apply(lambda records, tally: repair(records, tally, decisions), [record], tally)
    return found, tally, decisions


def test_each_change_is_a_decision_and_a_note_on_the_record() -> None:
    before = feedback(
        completion("bad", 1.0, 10.0), completion("middling", 3.0, 10.0), completion("good", 5.0, 10.0), completion()
    )
    after, tally, decisions = run(before)
    assert [item.overall_score for item in after.completions] == [1.0, 10.0, 10.0, None]
    note = {"rule": "overall-score-10", "from": 10.0}
    assert [item.extra for item in after.completions] == [
        {"repair": note | {"verdict": "set-to-1"}},
        {"repair": note | {"verdict": "ask-again"}},
        {},
        {},
    ]
    assert decisions == [
        Decision(
            target=before.completion_id(0),
            field="critique.score",
            before=10.0,
            after=1.0,
            rule="overall-score-10:set-to-1",
            by="rule",
        )
    ]
    assert tally.summary() == {
        "stage": "repair",
        "in": 1,
        "out": 1,
        "dropped": {},
        "counts": {"ask-again": 1, "keep": 1, "set-to-1": 1},
    }
    assert (after.id, after.completion_id(0)) == (before.id, before.completion_id(0))
    assert before.completions[0].overall_score == 10.0


def test_a_second_time_changes_nothing() -> None:
    once, _, _ = run(feedback(completion("bad", 1.0, 10.0), completion("middling", 3.0, 10.0)))
    twice, _, decisions = run(once)
    assert twice == once
    assert decisions == []


def test_a_row_without_a_ten_passes_untouched() -> None:
    record = feedback(completion("a", 1.0, 9.0), completion("b", 1.0))
    assert run(record)[0] is record

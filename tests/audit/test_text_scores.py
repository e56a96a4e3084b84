import random

import numpy as np

from notus.audit.feedback import audit
from notus.audit.wording import TextModels, TextScores, learn_models
from notus.core.records import Completion, Critique, Feedback, Rating
from tests.helpers.data_examples import feedback

SAID = {1: "useless and wrong", 2: "thin and wrong", 3: "fair and plain", 4: "rich and plain", 5: "rich and exact"}


def answer(grade: int, score: float, rng: random.Random, rationale: int | None = None) -> Completion:
    ratings = tuple(
        Rating(aspect=aspect, value=grade, rationale=f"It is {SAID[rationale or grade]}.") for aspect in ("a", "b")
    )
    critique = Critique(text=f"This is {SAID[grade]}, {rng.choice(['really', 'indeed', 'all told'])}.", score=score)
    return Completion(text=f"{rng.random()}", ratings=ratings, critique=critique)


def world(false: set[int]) -> list[Feedback]:
    rng = random.Random(3)
    rows = []
    for number in range(300):
        grades = [rng.randint(1, 5) for _ in range(4)]
        items = [answer(grade, 10.0 if number in false and i == 0 else 2.0 * grade - 1, rng, None) for i, grade in
                 enumerate([1, *grades[1:]] if number in false else grades)]  # fmt: skip
        rows.append(feedback(*items, prompt=f"{number}"))
    return rows


def test_parts_read_the_same_as_the_whole() -> None:
    rows = world({5, 9})
    models = learn_models(rows)
    whole, parts = TextScores(models), [TextScores(models), TextScores(models)]
    for number, row in enumerate(rows):
        whole.add(row)
        parts[number >= 130].add(row)
    for text_scores in (whole, *parts):
        text_scores.finish()
    parts[0].merge(parts[1])
    assert np.allclose(whole.expected, parts[0].expected)
    for columns, found in zip(whole.rationales(), parts[0].rationales(), strict=True):
        assert all(np.allclose(a, b) for a, b in zip(columns, found, strict=True))
    assert list(whole.rationales()) == []


def test_tens_teach_nothing() -> None:
    false = set(range(0, 60, 2))
    expected = TextScores(learn_models(world(false)))
    for row in world(false):
        expected.add(row)
    expected.finish()
    assert np.mean([expected.expected[4 * number] for number in false]) < 3


def test_tens_teach_nothing_though_they_are_many() -> None:
    """A fifth of all scores are 10s of useless answers, far more than the twentieth that is left out anyway: where they
    taught, "useless and wrong" would speak for about 6, the mean of 240 10s and some 190 1s."""
    rows = world(set(range(240)))
    models = learn_models(rows)
    scores = [item.critique.score for row in rows for item in row.completions]
    assert scores.count(10.0) == 240
    assert models.critique is not None
    useless, exact = models.critique.predict([f"This is {SAID[grade]}, really." for grade in (1, 5)], [0, 0])
    assert useless < 2.5
    assert exact > 7.5


def test_tens_teach_where_most_scores_are_tens() -> None:
    """Of 400 scores 240 are 10, each of them deserved: without them there would be nothing but 2s to learn from."""
    rng = random.Random(5)
    grades = [10.0] * 240 + [2.0] * 160
    rng.shuffle(grades)
    rows = [feedback(answer(5 if grade == 10 else 1, grade, rng), prompt=f"{n}") for n, grade in enumerate(grades)]
    models = learn_models(rows)
    assert models.critique is not None
    good, bad = models.critique.predict([f"This is {SAID[grade]}, really." for grade in (5, 1)], [0, 0])
    assert good > 9
    assert bad < 3


def test_false_tens_lead_the_audit_with_their_reasons() -> None:
    false = set(range(0, 60, 2))
    found = audit(world(false))
    top = found.ranked(len(false))
    assert {row.id for row in top} == {world(false)[number].completion_id(0) for number in false}
    assert all("score-against-wording" in row.reasons for row in top)
    assert all("the wording speaks for" in row.evidence for row in top)


def test_a_rating_against_its_rationale_is_a_reason() -> None:
    rows = world(set())
    rng = random.Random(1)
    rows[7] = feedback(answer(1, 1.0, rng, rationale=5), *rows[7].completions[1:], prompt="7")
    row = next(row for row in audit(rows).rows if row.id == rows[7].completion_id(0))
    assert "rating-against-rationale" in row.reasons


def test_the_same_text_with_two_scores_is_marked() -> None:
    twin = Completion(text="a", critique=Critique(text="x", score=2.0))
    text_scores = TextScores(TextModels())
    text_scores.add(feedback(twin, Completion(text="a", critique=Critique(text="x", score=3.0)), Completion(text="b")))
    text_scores.add(feedback(twin, twin))
    text_scores.finish()
    assert list(text_scores.repeated) == [1, 1, 0, 0, 0]


def test_without_a_model_of_critiques_no_score_is_expected_of_any_completion() -> None:
    rows = world(set())[:3]
    unread = TextScores(TextModels())
    for row in rows:
        unread.add(row)
    unread.finish()
    assert len(unread.expected) == len(unread.repeated) == 12
    assert np.isnan(unread.expected).all()

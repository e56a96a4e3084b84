import hashlib

import numpy as np

from benchmarks.flips import by_scores, by_text, flip, measure, table, without_scores
from benchmarks.judgements import is_for_building, judged_by
from notus.core.records import Message, Preference


def pairs(count: int = 300) -> list[Preference]:
    """Chosen says yes and rejected no, with a point between them, and every tenth pair is a tie."""

    def turns(text: str) -> tuple[Message, ...]:
        return (Message(role="assistant", content=text),)

    return [
        Preference(
            prompt=(Message(role="user", content=f"Question {number}"),),
            chosen=turns(f"yes {number % 7} of course"),
            rejected=turns(f"no {number % 5} of course"),
            score_chosen=5.0,
            score_rejected=5.0 if number % 10 == 0 else 4.0,
        )
        for number in range(count)
    ]


def test_a_flip_changes_answers_and_scores_and_twice_is_nothing() -> None:
    given = pairs()
    flipped, which = flip(given, 0.2, 3)
    assert 30 < which.sum() < 90
    for before, after, swapped in zip(given, flipped, which.tolist(), strict=True):
        if swapped:
            assert (after.chosen, after.score_chosen) == (before.rejected, before.score_rejected)
            assert (after.rejected, after.score_rejected) == (before.chosen, before.score_chosen)
        else:
            assert after == before
    assert flip(flipped, 1.0, 0)[0] != flipped
    assert flip(flip(given, 1.0, 0)[0], 1.0, 1)[0] == given
    assert np.array_equal(flip(given, 0.2, 3)[1], which)


def test_flips_are_found_by_scores_but_for_ties_and_by_text_without_them() -> None:
    given = pairs()
    flipped, which = flip(given, 0.1, 0)
    ties = np.arange(300) % 10 == 0
    assert set(by_scores(flipped)[which & ~ties].tolist()) == {1.0}
    assert set(by_scores(flipped)[ties].tolist()) == {0.0}
    assert set(by_scores(without_scores(flipped)).tolist()) == {0.0}
    suspicion = by_text(flipped)
    assert suspicion[which].min() > suspicion[~which].max()
    figures = measure(given, lambda some, _: by_text(some))
    assert figures["30%"]["AUROC"][0] > 0.99
    assert "| 30% | " in table({"made": {"by text": figures}})


def test_half_of_the_tasks_are_for_building() -> None:
    names = [str(number) for number in range(400)]
    first = [hashlib.sha256(name.encode()).hexdigest()[:2] for name in names]
    assert [is_for_building(name) for name in names] == [int(byte, 16) % 2 == 0 for byte in first]


def test_answers_that_both_judges_scored_stay_where_there_are_too_many() -> None:
    said = {"score": 4.0, "text": "So."}
    items = [
        {"model": "a", "response": "1", "judges": {"one": said}},
        {"model": "b", "response": "2", "judges": {"one": said, "two": said}},
        {"model": "c", "response": "3", "judges": {"two": said}},
    ]
    task = {"task": "t", "completions": items}
    assert [item.model for item in judged_by([task], "one")[0].completions] == ["b", "a"]
    assert [item.model for item in judged_by([task], "one", 1)[0].completions] == ["b"]
    assert judged_by([task], "three") == []

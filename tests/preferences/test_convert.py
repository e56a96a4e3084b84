"""Unpaired rows for KTO and dialogues for SFT, of feedback and of pairs."""

from itertools import combinations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import ConfigError
from notus.core.records import Dialogue, Feedback, Message, Preference, Unpaired
from notus.core.stage import Tally, apply
from notus.preferences.convert import dialogues, unpaired
from tests.helpers.data_examples import completion, feedback


def pair(chosen: str = "good", rejected: str = "poor") -> Preference:
    return Preference(
        prompt=(Message(role="user", content="Name a river."),),
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        score_chosen=4.5,
        score_rejected=1.0,
        source="flan",
        model_chosen="alder",
        model_rejected="birch",
        feedback_id="f",
        extra={"n": 1},
    )


def rated(*means: float | None) -> Feedback:
    return feedback(*(completion(f"answer {n}", mean, model=f"model {n}") for n, mean in enumerate(means)))


def test_a_pair_gives_both_its_answers() -> None:
    good, poor = apply(unpaired(), [pair()], Tally("convert"))
    assert good == Unpaired(
        prompt=pair().prompt,
        answer=pair().chosen,
        desirable=True,
        score=4.5,
        source="flan",
        model="alder",
        feedback_id="f",
        extra={"n": 1},
    )
    assert (poor.answer, poor.desirable, poor.score, poor.model) == (pair().rejected, False, 1.0, "birch")


def test_of_labelled_answers_the_wanted_ones_alone_become_dialogues() -> None:
    tally = Tally("convert")
    rows = [*apply(unpaired(), [pair("good", "poor"), pair("fine", "good")], Tally("divide"))]
    found = list(apply(dialogues(), rows, tally))
    assert [each.messages[-1].content for each in found] == ["good", "fine"]
    assert [item.reason for item in tally.dropped] == ["undesirable", "undesirable"]
    assert found[0].extra == {"model": "alder", "score_chosen": 4.5, "feedback_id": "f"}


def test_a_chosen_answer_that_scores_contradict_is_counted() -> None:
    tally = Tally("convert")
    against = msgspec.structs.replace(pair(), score_chosen=1.0, score_rejected=2.0)
    stated = msgspec.structs.replace(pair("other"), score_chosen=None, margin=-0.5)
    assert len(list(apply(dialogues(), [pair("sound"), against, stated], tally))) == 3
    assert tally.counts == {"reversed": 2}


def test_a_pair_of_equal_answers_is_dropped() -> None:
    tally = Tally("convert")
    assert list(apply(unpaired(), [pair("same", "same")], tally)) == []
    assert [item.reason for item in tally.dropped] == ["same-text"]


def test_an_answer_is_wanted_above_the_mean_of_its_prompt() -> None:
    tally = Tally("convert")
    found = list(apply(unpaired(), [rated(5, 3, 1, 3, None)], tally))
    assert [(item.model, item.desirable, item.score) for item in found] == [("model 0", True, 5), ("model 2", False, 1)]
    assert found[0].extra == {"strategy": "mean-rating", "border": 3.0}
    assert tally.counts == {"unscored-completion": 1, "at-the-border": 2}


def test_a_threshold_is_the_same_for_all_prompts() -> None:
    found = list(apply(unpaired(threshold=4), [rated(5, 4.5), rated(4, 1)], Tally("convert")))
    assert [item.desirable for item in found] == [True, True, False]


@pytest.mark.parametrize(("means", "reason"), [((None, None), "unscored"), ((3, 3), "all-at-the-border")])
def test_feedback_that_says_nothing_is_dropped(means: tuple[float | None, ...], reason: str) -> None:
    tally = Tally("convert")
    assert list(apply(unpaired(), [rated(*means)], tally)) == []
    assert [item.reason for item in tally.dropped] == [reason]


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0, None]), min_size=1, max_size=6))
def test_every_wanted_answer_beats_every_unwanted_one(means: list[float | None]) -> None:
    tally = Tally("convert")
    found = list(apply(unpaired(), [rated(*means)], tally))
    for one, two in combinations(found, 2):
        better, worse = (one, two) if one.desirable else (two, one)
        assert one.desirable == two.desirable or (better.score or 0) > (worse.score or 0)
    lost = tally.counts["unscored-completion"] + tally.counts["at-the-border"]
    assert len(found) + lost == len(means)
    assert bool(found) != bool(tally.dropped)


def test_the_best_answers_become_dialogues_the_first_of_equal_ones_first() -> None:
    tally = Tally("convert")
    found = list(apply(dialogues(top=2), [rated(3, 5, None, 3)], tally))
    assert [item.messages[-1].content for item in found] == ["answer 1", "answer 0"]
    record = rated(3, 5, None, 3)
    assert found[0] == Dialogue(
        messages=(*record.prompt, Message(role="assistant", content="answer 1")),
        extra={"model": "model 1", "score_chosen": 5.0, "strategy": "mean-rating", "feedback_id": record.id},
    )
    assert tally.counts == {"unscored-completion": 1, "tie-at-the-cut": 1}


def test_a_pair_gives_its_chosen_answer_once() -> None:
    tally = Tally("convert")
    (found,) = apply(dialogues(), [pair(), pair(rejected="another")], tally)
    assert found.messages == (*pair().prompt, *pair().chosen)
    assert [item.reason for item in tally.dropped] == ["duplicate"]


def test_feedback_without_a_score_gives_no_dialogue() -> None:
    tally = Tally("convert")
    assert list(apply(dialogues("critique"), [rated(3, 5)], tally)) == []
    assert [item.reason for item in tally.dropped] == ["unscored"]


def test_what_cannot_be_meant_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="'top' is 0"):
        dialogues(top=0)
    for make in (dialogues, unpaired):
        with pytest.raises(ConfigError, match="did you mean 'mean-rating'"):
            make("mean-ratin")


def test_answers_at_the_border_are_neither_and_are_counted() -> None:
    """Of the scores 1, 2, 3 and 2 the mean is 2, which two of them are."""
    tally = Tally("convert")
    found = list(apply(unpaired(), [rated(1.0, 2.0, 3.0, 2.0)], tally))
    assert [(each.score, each.desirable) for each in found] == [(1.0, False), (3.0, True)]
    assert tally.counts["at-the-border"] == 2

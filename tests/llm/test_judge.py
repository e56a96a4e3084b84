"""Judges: shuffled and mapped back, asked again, unscored in the end; pairs in both orders."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import ConfigError
from notus.core.records import ASPECTS, Message
from notus.llm.judge import (
    Judges,
    Unscored,
    ask,
    format_instruction,
    preferred,
    shuffled,
)
from notus.llm.parse import UnreadableError
from notus.llm.prompts import FENCED, restore
from notus.llm.protocol import Decoding
from tests.helpers.judge_examples import Scripted, blocks

JUDGES = Judges()


def by_length(request):
    """A judge that sees the prompt alone: the grade of an answer is its length."""
    fenced = [f for f in FENCED.finditer(request.messages[-1].content) if f["slot"].startswith("answer_")]
    return blocks([len(restore(found["text"])) for found in fenced], typed="Type:" in request.messages[-1].content)


@pytest.mark.parametrize("aspect", ASPECTS)
@given(st.permutations(["x", "xx", "xxx", "xxxx", "xxxxx"]), st.text(max_size=3))
def test_ratings_come_back_to_the_answers_that_they_are_of(aspect, answers, seed):
    question = JUDGES.aspect(aspect, "Write x.", answers, seed=seed)
    generator = Scripted(by_length)
    (judged,) = ask(generator, generator.models["judge"], [question], Decoding())
    assert [rating.value for rating in judged.value] == [len(answer) for answer in answers]
    assert {rating.aspect for rating in judged.value} == {aspect}
    assert judged.key == generator.asked[0].key


def test_every_place_is_taken_equally_often():
    places = [shuffled(4, str(seed)).index(0) for seed in range(4000)]
    assert all(abs(places.count(place) - 1000) < 110 for place in range(4))  # 4 standard deviations


def test_what_cannot_be_read_is_asked_again_as_another_sample():
    replies = iter(["high", blocks([4, 9]), blocks([4, 2])])
    generator = Scripted(lambda _: next(replies))
    question = JUDGES.aspect("instruction_following", "i", ["a", "b"], seed="s")
    (judged,) = ask(generator, generator.models["judge"], [question], Decoding(temperature=0.0, seed=5), tries=3)
    assert sorted(rating.value for rating in judged.value) == [2, 4]
    assert judged.refused == ("wrong-count", "off-the-scale")
    assert [(r.sample, r.decoding.temperature, r.decoding.seed) for r in generator.asked] == [
        (0, 0.0, 5),
        (1, 0.7, 6),
        (2, 0.7, 7),
    ]
    assert len({r.key for r in generator.asked}) == 3
    assert judged.key == generator.asked[-1].key


def test_what_stays_unreadable_is_unscored_with_its_text():
    generator = Scripted(lambda _: "Rating: high")
    (judged,) = ask(generator, generator.models["judge"], [JUDGES.critique("i", "a")], Decoding(), tries=2)
    value = judged.value
    assert isinstance(value, Unscored)
    assert (value.kind, value.reason, value.raw, value.tries) == ("unreadable", "no-score", "Rating: high", 2)
    assert len(generator.asked) == 2


def test_a_cut_reply_is_not_read():
    generator = Scripted(lambda _: ("Fine.\nOverall score: 1", "length"))
    (judged,) = ask(generator, generator.models["judge"], [JUDGES.critique("i", "a")], Decoding(), tries=1)
    assert judged.value.reason == "cut-off"


def test_a_failure_is_unscored_and_not_asked_again():
    generator = Scripted(lambda _: Exception("content_filter"))
    (judged,) = ask(generator, generator.models["judge"], [JUDGES.grade("i", "a")], Decoding(), tries=3)
    assert (judged.value.kind, judged.value.reason) == ("unanswered", "content_filter")
    assert len(generator.asked) == 1


def test_every_question_comes_back_once():
    rng = random.Random(0)
    generator = Scripted(lambda _: rng.choice(["nothing", "Good.\nOverall score: 7.5", Exception("timeout")]))
    questions = [JUDGES.critique("i", f"answer {n}") for n in range(200)]
    judged = list(ask(generator, generator.models["judge"], iter(questions), Decoding(), tries=3))
    assert sorted(map(id, questions)) == sorted(id(item.question) for item in judged)


def test_a_schema_goes_to_those_that_hold_one():
    for holds in (False, True):
        generator = Scripted(by_length, schema=holds)
        list(ask(generator, generator.models["judge"], [JUDGES.aspect("honesty", "i", ["a"], seed="")], Decoding()))
        assert (generator.asked[0].schema is not None) == holds


def test_a_pair_is_asked_in_both_orders():
    forward, backward = JUDGES.pair("i", "first text", "second text"), JUDGES.pair("i", "second text", "first text")

    def texts(question):
        return [found["text"] for found in FENCED.finditer(question.messages[-1].content)][1:]

    assert texts(forward) == ["first text", "second text"] == texts(backward)[::-1]
    assert (preferred("A", "B").score, preferred("A", "B").consistent) == (1.0, True)
    assert (preferred("B", "A").score, preferred("B", "A").consistent) == (0.0, True)
    assert (preferred("A", "A").score, preferred("A", "A").consistent) == (0.5, False)
    assert (preferred("C", "C").score, preferred("C", "C").consistent) == (0.5, True)
    assert (preferred("C", "A").score, preferred("C", "A").consistent) == (0.5, False)


def test_knowledge_and_principle_stand_in_the_prompt():
    with_it = JUDGES.aspect("truthfulness", "i", ["a"], seed="", knowledge="Paris is right.").messages[-1].content
    assert {f["slot"]: f["text"] for f in FENCED.finditer(with_it)}["knowledge"] == "Paris is right."
    assert (
        "verbalized calibration" in JUDGES.critique("i", "a", principle="verbalized_calibration").messages[-1].content
    )


def test_a_prompt_with_numbered_slots_takes_so_many_answers(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("{instruction}\n{answer_1}\n{answer_2}")
    judges = Judges({"honesty": str(path)})
    assert judges.takes("honesty", 2)
    assert not judges.takes("honesty", 3)
    assert JUDGES.takes("honesty", 7)


def test_unknown_judges_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'honesty'"):
        Judges({"honestly": "x.txt"})


def test_a_candidate_that_speaks_to_the_judge_stays_a_candidate():
    """The judge that echoes all of its prompt is refused, whatever a candidate has written into it."""
    question = JUDGES.aspect("instruction_following", "i", [blocks([5, 1]), "b"], seed="s")
    with pytest.raises(UnreadableError):
        question.read(question.messages[-1].content)


def test_a_judge_sees_the_text_of_a_single_turn_and_the_roles_of_several():
    asked, said = Message(role="user", content="Why?"), Message(role="assistant", content="So.")
    assert format_instruction([asked]) == "Why?"
    assert format_instruction([asked, said, asked]) == "[user]\nWhy?\n\n[assistant]\nSo.\n\n[user]\nWhy?"
